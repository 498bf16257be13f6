//! Organisations that don't say the same about a block: nothing is fetched unless enough of them do, and the operator reads who says
//! what.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;

use processes::{Credentials, Join, Root, Service, assert_identical, fixture, names};
use serde_json::{Value, json};
use tempfile::TempDir;

const SAMPLE: u64 = 1 << 20;
/// A rule that one organisation satisfies.
const EITHER: [&str; 4] = ["--min-orgs", "1", "--policy", "OR('Org1MSP.peer', 'Org2MSP.peer')"];

/// Asserts that the join was refused with those words and left nothing.
fn assert_refused(services: &[&Service], args: &[&str], code: i32, words: &[&str]) {
    let land = TempDir::new().unwrap();
    let from: Vec<_> = services.iter().map(|service| service.address).collect();
    Join::new(&from, land.path()).args(args.iter().copied()).run().assert_failed(code, words);
    assert_eq!(names(land.path()), [""; 0], "nothing was begun");
    for service in services {
        assert!(!service.log().iter().any(|line| line.contains("chunks asked")), "nothing was asked for");
    }
}

/// The first digits of a snapshot's hash, as errors show it.
fn hash(root: &Root, block: u64) -> String {
    let file = std::fs::read(root.snapshot(block).join("_snapshot_additional_metadata.json")).unwrap();
    let metadata: Value = serde_json::from_slice(&file).unwrap();
    metadata["snapshot_hash"].as_str().unwrap()[..12].to_owned()
}

#[test]
fn two_snapshots_of_one_block_are_refused_and_both_are_named() {
    let roots = [Root::new(), Root::new()];
    let blocks = [roots[0].add_sample(SAMPLE, 1), roots[1].add_sample(SAMPLE, 2)];
    assert_eq!(blocks[0], blocks[1]);
    let services = [1, 2].map(|org| Service::start(org, &roots[usize::from(org) - 1], &blocks[..1]));
    let services = services.each_ref();
    let (block, one, two) = (format!("block {}", blocks[0]), hash(&roots[0], blocks[0]), hash(&roots[1], blocks[0]));
    let said = [block.as_str(), "Org1MSP (live) attests", &one, "Org2MSP (live) attests", &two];
    assert_refused(&services, &[], 3, &[&said[..], &["lacking: one more organisation"]].concat());
    // One organisation would do, but which?
    assert_refused(&services, &EITHER, 3, &[&said[..], &["split"]].concat());
    // Asked alone, each may be believed by whoever wants to.
    let land = TempDir::new().unwrap();
    Join::new(&[services[1].address], land.path()).args(EITHER).run().result();
    assert_identical(&land.path().join(format!("mychannel/{}", blocks[1])), &roots[1].snapshot(blocks[1]));
}

/// Defence: who names another commit hash isn't counted with the rest; removed, what no hash covers is one source's choice.
#[test]
fn another_commit_hash_does_not_count_together() {
    let roots = [Root::new(), Root::new()];
    roots.iter().for_each(|root| root.put(83, &fixture("snapshots/org1/83")));
    let additional = roots[1].snapshot(83).join("_snapshot_additional_metadata.json");
    let text = std::fs::read_to_string(&additional).unwrap();
    let before = serde_json::from_str::<Value>(&text).unwrap()["last_block_commit_hash"].as_str().unwrap().to_owned();
    let after: String = before.chars().rev().collect();
    assert_ne!(before, after);
    std::fs::write(&additional, text.replace(&before, &after)).unwrap();

    let [honest, altered] = [1, 2].map(|org| Service::start(org, &roots[usize::from(org) - 1], &[83]));
    let words = [format!("commit hash {}", &before[..12]), format!("commit hash {}", &after[..12])];
    let words = [words[0].as_str(), &words[1], "Org1MSP", "Org2MSP"];
    assert_refused(&[&honest, &altered], &[], 3, &words);
    assert_refused(&[&honest, &altered], &EITHER, 3, &words);

    // A third organisation decides it; the chunks of the other are as good.
    let third = Service::start(3, &roots[0], &[83]);
    let land = TempDir::new().unwrap();
    let from = [altered.address, honest.address, third.address];
    let joined = Join::new(&from, land.path()).args(["--count-self"]).run();
    assert_eq!(joined.result()["organisations"], json!(["Org1MSP", "Org3MSP"]));
    assert_identical(&land.path().join("mychannel/83"), &roots[0].snapshot(83));
}

#[test]
fn a_block_that_one_organisation_has_alone_is_not_taken() {
    let (newer, older) = (Root::with_recorded(), Root::new());
    older.put(83, &fixture("snapshots/org1/83"));
    let services = [Service::start(1, &newer, &[83, 132]), Service::start(2, &older, &[83])];
    let services = services.each_ref();
    assert_refused(&services, &["-b", "132"], 3, &["block 132", "Org1MSP (live) attests"]);
    assert_refused(&services, &["-b", "7"], 1, &["no source offers a snapshot of channel mychannel at block 7"]);
    let land = TempDir::new().unwrap();
    let joined = Join::new(&services.map(|service| service.address), land.path()).run();
    assert_eq!(joined.result()["block_number"], 83);
}

#[test]
fn two_peers_of_one_organisation_count_once() {
    let root = Root::with_recorded();
    let second = Credentials::of("org1-peer1", "Org1MSP");
    let services = [Service::start(1, &root, &[132]), Service::start_as(&second, &root, &[132])];
    assert_refused(&services.each_ref(), &[], 3, &["lacking: one more organisation", "Org1MSP (live) attests"]);
}
