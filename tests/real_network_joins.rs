//! A join that mostly works is no join: Org3's peer begins anew again and again in a real network (`FABRIC_BIN`), by either loader, and each time it
//! catches up with the others, reads the same, and makes the same snapshot.
//!
//! So often: `JOINS` (20).
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
#[ignore = "minutes with a real network; `FABRIC_BIN=... cargo test --test real_network_joins -- --ignored`"]
fn peers_join_catch_up_and_make_the_same_snapshot_time_after_time() {
    let Some(binaries) = network_binaries() else { return };
    let joins: usize = std::env::var("JOINS").map_or(20, |text| text.parse().unwrap());
    let mut network = Network::start(&binaries, &[1, 2, 3]);
    network.define(2, &[1, 2, 3], &[1, 2]);
    network.invoke(1, &[1, 2], &["putpvt", "collection-1", "p1-", "0", "8", "60", "seed"]);
    network.invoke(1, &[1, 2], &["put", "k", "0", "40", "90", "seed"]);
    let sources = network.snapshot([1, 2]);
    network.joined.push(3);
    for round in 0..joins {
        for direct in [true, false] {
            // One block more to catch up with each time.
            network.invoke(1, &[1, 2], &["put", "k", &round.to_string(), "40", "120", "later"]);
            begin_anew(&mut network, &sources, direct);
            println!("join {round}, {}", if direct { "direct" } else { "by the peer itself" });
            let last = network.settle();
            assert!(last > sources.block);
            network.install(3);
            if round == 0 && direct {
                network.approve(3, 2);
            }
            network.wait_same(3, 1, &["range", "", ""]);
            network.wait_same(3, 1, &["getpvt", "collection-1", "p1-000003"]);
            let last = network.settle();
            assert_identical(&network.peer(3).snapshot(last), &network.peer(1).snapshot(last));
        }
    }
}

/// Org3's peer loses all that it has, and has the channel again by the snapshot.
fn begin_anew(network: &mut Network, sources: &Sources, direct: bool) {
    let peer = network.peer_mut(3);
    peer.stop();
    peer.forget();
    if direct {
        sources.load(&peer.ledgers());
    }
    peer.restart();
    if !direct {
        sources.join(peer);
    }
    assert_eq!(peer.channels(), [CHANNEL]);
}
