//! Integration test 6 of Fabric's ledger checkpointing RFC, "A peer bootstrapped via a snapshot can serve the private data when another peer is
//! bootstrapped from a snapshot": from the same one, and from a more recent one.
//!
//! Needs a real network (`FABRIC_BIN`). The only peer that can give collection 1 is Org3's, which was itself loaded from a snapshot: Org1's is
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

use processes::{CHANNEL, assert_identical};
use real_network::{Network, Sources, network_binaries};

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
