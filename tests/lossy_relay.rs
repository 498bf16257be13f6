//! The real binaries over bad links in real time: services of two organisations and a joiner, with a relay before each service that
//! loses, doubles, holds back and damages datagrams. What lands is byte-identical, and no source is taken for a liar.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;

use std::{net::SocketAddr, time::Duration};

use netsim::{Faults, Link, Relay, RelaySettings};
use processes::{Join, Root, Service, assert_identical};
use tempfile::TempDir;

const MS: Duration = Duration::from_millis(1);

/// 20 ms there and back, a fault for every thirtieth datagram.
fn bad() -> Link {
    Link {
        latency: MS * 10,
        jitter: MS,
        loss_ppm: 10_000,
        duplicate_ppm: 10_000,
        reorder_ppm: 10_000,
        reorder_delay: MS * 8,
        corrupt_ppm: 5_000,
        ..Link::default()
    }
}

/// A bad day on a thin line: every tenth datagram suffers, and the queue is short.
fn nasty() -> Link {
    Link {
        latency: MS * 20,
        jitter: MS * 2,
        bandwidth_bytes_per_s: Some(500_000),
        queue_bytes: 8 << 10,
        loss_ppm: 30_000,
        duplicate_ppm: 30_000,
        reorder_ppm: 30_000,
        reorder_delay: MS * 60,
        corrupt_ppm: 20_000,
        mtu: Some(1300),
        ..Link::default()
    }
}

/// A join of a sample of about `bytes` from two services, each behind a relay; gives the faults by direction.
fn land(bytes: u64, link: &Link) -> [Faults; 2] {
    let root = Root::new();
    let block = root.add_sample(bytes, 7);
    let services = [1, 2].map(|org| Service::start(org, &root, &[block]));
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let relay = |to, seed| RelaySettings { listen, to, up: link.clone(), down: link.clone(), seed };
    let relays = [0, 1].map(|n: usize| Relay::start(relay(services[n].address, n as u64)).unwrap());
    let land = TempDir::new().unwrap();
    let ended = Join::new(&relays.each_ref().map(Relay::address), land.path()).run();
    assert_eq!(ended.result()["organisations"], serde_json::json!(["Org1MSP", "Org2MSP"]));
    assert_identical(&land.path().join(format!("mychannel/{block}")), &root.snapshot(block));
    assert!(ended.of("source_dropped").is_empty(), "a bad link is no lie");
    let passed = relays.map(|relay| relay.passed());
    [passed[0].0.faults + passed[1].0.faults, passed[0].1.faults + passed[1].1.faults]
}

fn assert_all_met(faults: &Faults) {
    let Faults { lost, doubled, reordered, corrupted, .. } = *faults;
    assert!(lost > 0 && doubled > 0 && reordered > 0 && corrupted > 0, "{faults:?}");
}

#[test]
fn a_join_over_bad_links_lands_byte_identical() {
    let [_, down] = land(3 << 20, &bad());
    assert_all_met(&down);
}

#[test]
#[ignore = "half a minute: `just lossy-relay`"]
fn a_join_over_nasty_links_lands_byte_identical() {
    let [up, down] = land(2 << 20, &nasty()); // at some 50 KiB a second: more would outlast the patience of `processes`
    [up, down].iter().for_each(assert_all_met);
    assert!(down.tail_dropped > 0 && down.too_big > 0, "{down:?}");
    println!("up {up:?}\ndown {down:?}");
}
