//! Integration test 2 of Fabric's ledger checkpointing RFC, "Join a new Org using a snapshot": its peer gets what the channel has, of private
//! data what its organisation may have, says so of what it can't know, and nothing at all of a snapshot that isn't what it should be.
//!
//! On recorded data without a peer, and with a real network of an orderer and peers (`FABRIC_BIN`): then the peer catches up, and its own
//! snapshot of a later block is that of the others, byte for byte.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/network_config.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod network_config;
#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;
#[path = "common/real_network.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod real_network;
#[path = "common/real_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod real_peer;

use processes::{CHANNEL, Join, Root, Service, assert_identical, binary, copy_folder};
use real_network::{Network, load, network_binaries};
use serde_json::Value;
use std::{fs, path::Path};
use tempfile::TempDir;

/// Defence: what a joined peer holds of private data is what its organisation's collections give it. Removed (collection 2's data handed to
/// whoever joins, or its members mistaken), Org3 reads what Org1 and Org2 keep from it.
#[test]
fn a_new_organisations_peer_joins_by_a_snapshot_and_has_what_it_may_have() {
    let Some(binaries) = network_binaries() else { return };
    let mut network = Network::start(&binaries, &[1, 2]);
    for (number, collection) in [(1, "collection-1"), (2, "collection-2")] {
        let prefix = format!("p{number}-");
        network.invoke(1, &[1, 2], &["putpvt", collection, &prefix, "0", "8", "60", "seed"]);
        network.invoke(1, &[1, 2], &["putpvt", collection, &prefix, "5", "8", "70", "again"]);
    }
    network.invoke(1, &[1, 2], &["put", "k", "0", "40", "90", "seed"]);
    network.add_org3();
    network.define(2, &[1, 2, 3], &[1, 2]);
    let sources = network.snapshot([1, 2]);
    // Blocks that the snapshot lacks: the peer catches up with the orderer.
    network.invoke(1, &[1, 2], &["put", "k", "30", "40", "120", "later"]);
    network.invoke(1, &[1, 2], &["putpvt", "collection-1", "p1-", "20", "4", "60", "later"]);

    sources.load(&network.peer(3).ledgers());
    network.peer_mut(3).restart();
    network.joined.push(3);
    assert_eq!(network.peer(3).channels(), [CHANNEL]);
    let last = network.settle();
    assert!(last > sources.block, "{last}");
    network.install(3);
    network.approve(3, 2);

    // Simulation, and commit of what the new peer endorsed.
    network.wait_same(3, 1, &["range", "", ""]);
    network.invoke(3, &[1, 3], &["incr", "counter"]);
    network.invoke(3, &[2, 3], &["incr", "counter"]);
    network.settle();
    assert_eq!(network.query(3, &["get", "counter"]).unwrap().trim(), "2");
    assert_eq!(network.query(3, &["range", "", ""]), network.query(2, &["range", "", ""]));

    // Private data: those from before the snapshot come by the reconciler.
    for key in ["p1-000000", "p1-000012", "p1-000021"] {
        network.wait_same(3, 1, &["getpvt", "collection-1", key]);
    }
    let second = ["getpvt", "collection-2", "p2-000003"];
    network.query(1, &second).unwrap();
    let none = network.query(3, &second).unwrap_err();
    assert!(none.contains("private data matching public hash version is not available"), "{none}");
    let hash = ["getpvthash", "collection-2", "p2-000003"];
    assert_eq!(network.query(3, &hash).unwrap(), network.query(1, &hash).unwrap());

    // What was before the snapshot, it can't know.
    let out = TempDir::new().unwrap();
    let out = out.path().join("block");
    let before = network.peer(3).try_cli(&["channel", "fetch", "2", out.to_str().unwrap(), "-c", CHANNEL]);
    assert!(!before.status.success(), "{before:?}");
    let block = |number: u64| {
        let call = format!(r#"{{"Args":["GetBlockByNumber","{CHANNEL}","{number}"]}}"#);
        network.peer(3).try_cli(&["chaincode", "query", "-C", CHANNEL, "-n", "qscc", "-c", &call])
    };
    let before = block(sources.block);
    let said = String::from_utf8_lossy(&before.stderr).into_owned();
    assert!(!before.status.success() && said.contains("The ledger is bootstrapped from a snapshot"), "{before:?}");
    assert!(block(sources.block + 1).status.success());

    let later = network.settle();
    assert_identical(&network.peer(3).snapshot(later), &network.peer(1).snapshot(later));

    // Collection 2 takes Org3 in: what it missed until then comes.
    network.define(3, &[1, 2, 3], &[1, 2, 3]);
    network.settle();
    network.approve(3, 3);
    for key in ["p2-000003", "p2-000012"] {
        network.wait_same(3, 1, &["getpvt", "collection-2", key]);
    }
}

/// The same by the running peer's own join, as far as that is another way: it catches up, reads the same, and makes the same snapshot.
#[test]
fn a_new_organisations_running_peer_joins_by_a_snapshot_and_catches_up() {
    let Some(binaries) = network_binaries() else { return };
    let mut network = Network::start(&binaries, &[1, 2]);
    network.invoke(1, &[1, 2], &["putpvt", "collection-1", "p1-", "0", "8", "60", "seed"]);
    network.invoke(1, &[1, 2], &["put", "k", "0", "40", "90", "seed"]);
    network.add_org3();
    network.define(2, &[1, 2, 3], &[1, 2]);
    let sources = network.snapshot([1, 2]);
    network.invoke(1, &[1, 2], &["put", "k", "30", "40", "120", "later"]);

    network.peer_mut(3).restart();
    sources.join(network.peer(3));
    network.joined.push(3);
    let last = network.settle();
    assert!(last > sources.block, "{last}");
    network.install(3);
    network.approve(3, 2);
    network.wait_same(3, 1, &["range", "", ""]);
    network.wait_same(3, 1, &["getpvt", "collection-1", "p1-000003"]);
    let later = network.settle();
    assert_identical(&network.peer(3).snapshot(later), &network.peer(1).snapshot(later));
}

/// What a loaded ledger says is missing of the private data of `labcc`: collection, transactions that the peer may have, and may not.
fn missing(ledgers: &Path) -> Vec<(String, u64, u64)> {
    let output = binary().args(["inspect", "-c", CHANNEL, "-O", "json", "--ledger"]).arg(ledgers).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let row = |row: &Value| {
        let count = |name: &str| row[name].as_u64().unwrap();
        let name = row["collection"].as_str().unwrap().to_owned();
        (name, count("eligible_transactions"), count("ineligible_transactions"))
    };
    let rows = told["missing_private_data"].as_array().unwrap();
    rows.iter().filter(|row| row["namespace"] == "labcc").map(row).collect()
}

/// The recorded network without a peer: Org3 is a member of collection 1, not of 2.
#[test]
fn of_each_collection_the_new_organisation_is_due_what_its_members_are() {
    let (root, land, peer) = (Root::with_recorded(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let sources = [1, 2].map(|org| Service::start(org, &root, &[132]));
    let addresses = sources.each_ref().map(|source| source.address);
    let ledgers = peer.path().join("ledgersData");
    load(Join::new(&addresses, land.path()).block(132), &ledgers).result();
    // Collection 3 took Org3 in later on.
    let expected = [
        ("_implicit_org_Org1MSP", 0, 3),
        ("_implicit_org_Org2MSP", 0, 1),
        ("collection-1", 16, 0),
        ("collection-2", 0, 16),
        ("collection-3", 6, 0),
    ];
    assert_eq!(missing(&ledgers), expected.map(|(name, due, not_due)| (name.to_owned(), due, not_due)));
}

/// What is done to a file.
type Damage = fn(&mut Vec<u8>);

/// A snapshot folder of another format, with corrupted files, or with hashes that aren't those of its files.
#[test]
fn a_damaged_snapshot_is_refused_and_leaves_nothing() {
    let (root, peer) = (Root::with_recorded(), TempDir::new().unwrap());
    let sources = [1, 2].map(|org| Service::start(org, &root, &[132]));
    let addresses = sources.each_ref().map(|source| source.address);
    let ledgers = peer.path().join("ledgersData");
    let damages: [(&str, Damage); 4] = [
        ("public_state.data", |bytes| bytes[0] = 2),
        ("private_state_hashes.data", |bytes| bytes[1000] ^= 1),
        ("txids.data", |bytes| bytes.truncate(bytes.len() - 1)),
        ("_snapshot_signable_metadata.json", |bytes| {
            let at = bytes.windows(2).position(|two| two == b": ").unwrap();
            bytes.insert(at, b' ');
        }),
    ];
    for (name, damage) in damages {
        let folder = TempDir::new().unwrap();
        copy_folder(&root.snapshot(132), folder.path());
        let file = folder.path().join(name);
        let mut bytes = fs::read(&file).unwrap();
        damage(&mut bytes);
        fs::remove_file(&file).unwrap();
        fs::write(&file, bytes).unwrap();
        let ended = load(Join::from_folder(&addresses, folder.path()), &ledgers);
        assert_eq!(ended.code, Some(3), "{name}: {}", ended.stderr);
        let output = binary().args(["inspect", "-c", CHANNEL, "--ledger"]).arg(&ledgers).output().unwrap();
        assert!(!output.status.success(), "{name}: {output:?}");
    }
    // The way is free for a good one.
    load(Join::from_folder(&addresses, &root.snapshot(132)), &ledgers).result();
}
