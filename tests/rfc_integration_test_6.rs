//! Integration test 6 of Fabric's ledger checkpointing RFC, "A peer bootstrapped via a snapshot can serve the private data when another peer is
//! bootstrapped from a snapshot": from the same one, and from a more recent one.
//!
//! On recorded data without a peer, as far as the hashes go by which private data are given on; and with a real network (`FABRIC_BIN`). The only peer that can give collection 1 is Org3's, which was itself loaded from a snapshot: Org1's is
//! stopped, Org2's is the one that begins anew.
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

use processes::{CHANNEL, Join, Root, Service, assert_identical, binary};
use real_network::{Network, Sources, load, network_binaries};
use serde_json::Value;
use snapferry::{
    disk::OsDir,
    ledger::{leveldb::Database, stores::Store},
};
use tempfile::TempDir;

#[test]
fn private_data_come_from_a_peer_that_was_loaded_itself() {
    let Some(binaries) = network_binaries() else { return };
    let mut network = Network::start(&binaries, &[1, 2, 3]);
    network.define(2, &[1, 2, 3], &[1, 2]);
    network.invoke(1, &[1, 2], &["putpvt", "collection-1", "p1-", "0", "8", "60", "seed"]);
    network.invoke(1, &[1, 2], &["putpvt", "collection-1", "p1-", "5", "8", "70", "again"]);
    network.invoke(1, &[1, 2], &["put", "k", "0", "40", "90", "seed"]);
    let first = network.snapshot([1, 2]);

    first.load(&network.peer(3).ledgers());
    network.peer_mut(3).restart();
    network.joined.push(3);
    network.settle();
    network.install(3);
    network.approve(3, 2);
    let keys = ["p1-000000", "p1-000005", "p1-000012"];
    let values = keys.map(|key| network.query(1, &["getpvt", "collection-1", key]).unwrap());
    for key in keys {
        network.wait_same(3, 1, &["getpvt", "collection-1", key]);
    }

    // A more recent one, by the peer that was loaded and one that wasn't.
    network.invoke(1, &[1, 2], &["put", "k", "30", "30", "90", "later"]);
    let second = network.snapshot([2, 3]);
    network.peer_mut(1).stop();
    network.joined.retain(|org| *org != 1);
    for (snapshot, sequence) in [(first, 3), (second, 4)] {
        begin_anew(&mut network, &snapshot);
        // Its organisation's approvals went with the peer, its only one: it approves another definition.
        network.define_by(&[3, 2], sequence, &[1, 2, 3], &[1, 2]);
        network.settle();
        for (key, value) in keys.iter().zip(&values) {
            network.wait_answer(2, &["getpvt", "collection-1", key], value);
        }
        assert_eq!(network.query(2, &["range", "", ""]), network.query(3, &["range", "", ""]));
        let last = network.settle();
        assert_identical(&network.peer(2).snapshot(last), &network.peer(3).snapshot(last));
    }
}

/// Org2's peer loses all that it has, and is loaded from that snapshot.
fn begin_anew(network: &mut Network, snapshot: &Sources) {
    network.peer_mut(2).restart_after(|peer| {
        peer.forget();
        snapshot.load_as(2, &peer.ledgers());
    });
    assert_eq!(network.peer(2).channels(), [CHANNEL]);
    let last = network.settle();
    assert!(last >= snapshot.block);
    network.install(2);
}

/// What a bootstrapped peer reconciles it can hold to the hashes of the snapshot, and give on; those are in its own databases for every
/// transaction whose data are missing.
#[test]
fn a_bootstrapped_peer_has_the_hashes_by_which_it_serves_private_data() {
    let (root, land, peer) = (Root::with_recorded(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let services = [1, 2].map(|org| Service::start(org, &root, &[132]));
    let addresses = services.each_ref().map(|service| service.address);
    let ledgers = peer.path().join("ledgersData");
    load(Join::new(&addresses, land.path()).block(132), &ledgers).result();
    let output = binary().args(["inspect", "-c", CHANNEL, "-O", "json", "--ledger"]).arg(&ledgers).output().unwrap();
    let ledger: Value = serde_json::from_slice(&output.stdout).unwrap();
    let count = |missing: &Value| {
        missing["eligible_transactions"].as_u64().unwrap() + missing["ineligible_transactions"].as_u64().unwrap()
    };
    let transactions: u64 = ledger["missing_private_data"].as_array().unwrap().iter().map(count).sum();
    let folder = Store::PrivateData.folder().iter().fold(ledgers, |path, name| path.join(name));
    let database = Database::open(OsDir::open(&folder).unwrap()).unwrap();
    let keys = database.scan(..).map(|record| record.unwrap().0);
    let hashes = keys.filter(|key| key.starts_with(b"mychannel\0\x09")).count();
    assert!(hashes > 40 && hashes as u64 == transactions, "{hashes} records of hashes for {transactions} transactions");
}
