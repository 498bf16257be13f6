//! A seed is a run: the same one gives the same trace, in one process and in two.

use std::{process::Command, time::Duration};

use snapferry::msp::ChannelConfig;

use crate::sim::{
    channel::{Change, SimChannel},
    draw::draw,
    run::run,
    scenario::{LinkSpec, Scenario},
};

/// A test whose process has this variable tells the shapes of its runs in lines that begin so.
const SHAPE: &str = "NETSIM_SHAPE";

/// A path on which all goes wrong that a datagram can meet.
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

/// Oracle 7: nor does a trace depend on what differs between two processes: addresses, hash seeds, ids, what was made before. Seeds of the
/// swarm have life cycles, liars and crashes of the joiner too.
#[test]
fn the_same_seed_gives_the_same_trace_in_another_process() {
    let shapes = || {
        let lossy = (0..3).map(|seed| run(&lossy(), seed).shape);
        lossy.chain((0..6).map(|seed| run(&draw(seed), seed).shape)).map(|shape| format!("{SHAPE} {shape:016x}"))
    };
    if std::env::var_os(SHAPE).is_some() {
        return shapes().for_each(|line| println!("{line}"));
    }
    let this = "seeds::the_same_seed_gives_the_same_trace_in_another_process";
    let mut again = Command::new(std::env::current_exe().unwrap());
    let again = again.args(["--exact", this, "--nocapture"]).env(SHAPE, "1").output().unwrap();
    let (told, why) = (String::from_utf8_lossy(&again.stdout), String::from_utf8_lossy(&again.stderr));
    assert!(again.status.success(), "{told}{why}");
    let theirs: Vec<&str> = told.lines().filter_map(|line| line.find(SHAPE).map(|at| &line[at..])).collect();
    assert_eq!(theirs, shapes().collect::<Vec<_>>());
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
