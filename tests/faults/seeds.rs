//! A seed is a run: the same one gives the same trace, in one process and in two.

use std::time::Duration;

use snapferry::msp::ChannelConfig;

use crate::sim::{
    channel::{Change, SimChannel},
    run::run,
    scenario::{LinkSpec, Scenario},
};

/// What the traces of the first seeds must be, whoever runs them.
fn lossy() -> Scenario {
    let links = LinkSpec {
        latency_ms: 30,
        jitter_ms: 5,
        loss_ppm: 20_000,
        duplicate_ppm: 10_000,
        reorder_ppm: 10_000,
        reorder_ms: 20,
        corrupt_ppm: 5_000,
        ..LinkSpec::default()
    };
    Scenario { links, ..Scenario::default() }
}

/// Oracle 7.
#[test]
fn the_same_seed_gives_the_same_trace_and_another_one_another() {
    let shapes: Vec<u64> = (0..6).map(|seed| run(&lossy(), seed).shape).collect();
    let again: Vec<u64> = (0..6).map(|seed| run(&lossy(), seed).shape).collect();
    assert_eq!(shapes, again);
    assert!(shapes.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn the_simulators_channel_is_one_that_counts_and_its_updates_are_signed() {
    let channel = SimChannel::shared(4);
    let peer = channel.peer(2, 0);
    channel.config().validate(&peer.identity.identity, channel.now()).unwrap();
    let without = channel.newer(1, &Change { without: vec![2], ..Change::default() });
    without.validate(&peer.identity.identity, channel.now()).unwrap_err();
    channel.revoking(&peer).validate(&peer.identity.identity, channel.now()).unwrap_err();
    let rotating = channel.newer(1, &Change { rotating: vec![2], ..Change::default() });
    let next = channel.rotated_peer(2);
    rotating.validate(&peer.identity.identity, channel.now()).unwrap();
    rotating.validate(&next.identity.identity, channel.now() + Duration::from_secs(86_400)).unwrap();
    channel.config().validate(&next.identity.identity, channel.now()).unwrap_err();
    // Not signed by the orderer: nobody's.
    let mut block = channel.newer_block(1, &Change::default());
    let last = block.len() - 5;
    block[last] ^= 1;
    channel.config().successor(&block).unwrap_err();
    let again = ChannelConfig::from_block(&channel.newer_block(1, &Change::default())).unwrap();
    assert_eq!(again.sequence(), channel.config().sequence() + 1);
}
