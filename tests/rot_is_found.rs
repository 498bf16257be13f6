//! A service finds rot in its peer's files by itself, withholds that chunk and nothing else, and says so, also after a restart.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/beside_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod beside_peer;

use std::fs;

use beside_peer::{Machine, admin_msp};

/// Flips a bit in place; sizes and times stay as they were.
fn rot(machine: &Machine, file: &str) {
    let path = machine.folder(132).join(file);
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[5] ^= 1;
    fs::write(&path, bytes).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
}

#[test]
fn a_flipped_bit_is_found_named_and_known_after_a_restart() {
    let machine = Machine::new(1, false);
    let yaml = machine.path("snapferry.yaml");
    let text = fs::read_to_string(&yaml).unwrap().replace("allowDelete: false", "allowDelete: false, scrubPeriod: 1s");
    fs::write(&yaml, text).unwrap();
    let show = ["snapshot", "show", "-c", "mychannel", "-b", "132"];

    let mut service = machine.serve(&[83, 132]);
    assert_eq!(machine.json(&show)["rotten"].as_array().unwrap().len(), 0);
    rot(&machine, "public_state.data");
    let line = service.wait_log(|line| line.contains("has rotted"));
    assert!(line.contains("file=public_state.data") && line.contains("snapshot=mychannel/132"), "{line}");
    let rotten = machine.json(&show)["rotten"].clone();
    assert_eq!(rotten[0]["file"], "public_state.data");
    assert_eq!((rotten.as_array().unwrap().len(), &rotten[0]["chunk"]), (1, &0.into()));
    let listed = machine.run(&["snapshot", "list"]).expect(0).stdout;
    assert!(listed.contains("rotten chunks: 1,"), "{listed}");

    // Also without a service, and it is offered again: the other chunks are good.
    service.stop();
    assert_eq!(machine.json(&show)["rotten"], rotten);
    let _service = machine.serve(&[83, 132]);
    assert_eq!(machine.json(&show)["rotten"], rotten);
}

/// L12: what rotted is fetched again from another organisation's peer, and given from our own state.
#[test]
fn a_rotten_chunk_is_repaired_from_another_organisation_and_given_again() {
    let (ours, theirs) = (Machine::new(1, false), Machine::new(2, false));
    let service = ours.serve(&[83, 132]);
    let other = theirs.serve(&[83, 132]);
    let (from, own) = (other.address.as_str(), service.address.as_str());
    // Listing takes an admin, or a grant by one.
    let (admin, others) = (admin_msp(1), admin_msp(3));
    let repair = ["snapshot", "repair", "-c", "mychannel", "-b", "132", "--msp-config-path", &admin, "--from", from];
    let show = ["snapshot", "show", "-c", "mychannel", "-b", "132"];

    assert_eq!(ours.json(&repair)["repaired"], serde_json::json!([]), "nothing is known to have rotted");
    rot(&ours, "public_state.data");
    let rotten = fs::read(ours.folder(132).join("public_state.data")).unwrap();
    let all = [&repair[..], &["--read-all"]].concat();
    let dry = ours.json(&[&all[..], &["--dry-run"]].concat());
    let expected = serde_json::json!([{"file": "public_state.data", "chunk": 0}]);
    assert_eq!((&dry["to_repair"], &dry["repaired"]), (&expected, &serde_json::json!([])));
    // Nobody who has it: nothing is changed, and the same command goes on later.
    let alone = [&all[..8], &["--from", own, "--read-all", "--deadline", "20s"]].concat();
    let refused = ours.run(&alone);
    assert!(
        refused.code == 4 && refused.stderr.contains("nobody gives 1 chunk of mychannel/132"),
        "{}",
        refused.stderr
    );

    let told = ours.run(&all).expect(0);
    assert!(told.stderr.contains("repaired 1 of 1: chunk 0 of public_state.data"), "{}", told.stderr);
    assert!(told.stdout.contains("1 chunk of mychannel/132 lies in our own state now"), "{}", told.stdout);
    assert_eq!(
        fs::read(ours.folder(132).join("public_state.data")).unwrap(),
        rotten,
        "the peer's folder is the peer's"
    );
    assert_eq!(ours.json(&all)["repaired"], serde_json::json!([]), "once is enough");

    // Whoever joins from our service alone gets the right bytes.
    let joiner = Machine::new(3, false);
    let join = ["join", "-c", "mychannel", "-b", "132", "--land", "landing", "--from", own];
    let join =
        [&join[..], &["--policy", "OR('Org1MSP.peer')", "--min-orgs", "1", "--msp-config-path", &others]].concat();
    joiner.run(&join).expect(0);
    let right = fs::read(theirs.folder(132).join("public_state.data")).unwrap();
    assert_eq!(fs::read(joiner.path("landing/mychannel/132/public_state.data")).unwrap(), right);
    let rotten = ours.json(&show)["rotten"].clone();
    assert_eq!((&rotten[0]["file"], &rotten[0]["repaired"]), (&"public_state.data".into(), &true.into()), "{rotten}");
}
