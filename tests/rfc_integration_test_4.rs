//! Integration test 4 of Fabric's ledger checkpointing RFC, "Failure during bootstrapping the peer, before peer loads the full data": killed in
//! the middle, it has no channel, and can join again by the same snapshot, by another one, or by the genesis block.
//!
//! With the databases alone, and with a real peer (`FABRIC_BIN`) that starts after the kill.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;
#[path = "common/real_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod real_peer;

use processes::{CHANNEL, Join, Root, Service, assert_identical, binary, fixture};
use real_peer::{RealPeer, binaries};
use serde_json::Value;
use std::{fs, path::Path};
use tempfile::TempDir;

/// Enough that there is a middle.
const BYTES: u64 = 48 << 20;

struct Place {
    root: Root,
    services: [Service; 2],
    /// A large snapshot, and a small one.
    blocks: [u64; 2],
}

impl Place {
    fn new() -> Self {
        let root = Root::new();
        let blocks = [root.add_sample(BYTES, 4), root.add_sample_with(BYTES / 16, 5, &["--txids", "7000"])];
        let services = [1, 2].map(|org| Service::start(org, &root, &blocks));
        Self { root, services, blocks }
    }

    fn join(&self, block: u64, land: &Path, ledgers: &Path) -> Join {
        let addresses = self.services.each_ref().map(|service| service.address);
        let join = Join::new(&addresses, land).block(block);
        join.args(["--loader", "ledger", "--ledger", ledgers.to_str().unwrap()])
    }

    /// Kills a load of the large one in its middle: the peer's record says that it began, and not that it ended.
    fn kill_a_load(&self, ledgers: &Path) {
        let land = TempDir::new().unwrap();
        let joining = self.join(self.blocks[0], land.path(), ledgers).start();
        joining.wait_verified(BYTES / 3);
        assert_eq!(joining.kill().code, None, "it had ended");
        assert_eq!(status(ledgers), "under construction");
    }
}

fn inspect(ledgers: &Path) -> Value {
    let output = binary().args(["inspect", "-c", CHANNEL, "-O", "json", "--ledger"]).arg(ledgers).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the channel's record in the databases says.
fn status(ledgers: &Path) -> String {
    inspect(ledgers)["status"].as_str().unwrap().to_owned()
}

/// B1, B2: nothing of the channel is there, and either snapshot can be loaded.
#[test]
fn after_a_kill_before_the_end_the_same_or_another_snapshot_is_loaded() {
    let place = Place::new();
    for block in place.blocks {
        let (peer, land) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let ledgers = peer.path().join("ledgersData");
        place.kill_a_load(&ledgers);
        place.join(block, land.path(), &ledgers).run().result();
        assert_eq!(status(&ledgers), "active");
        assert_eq!(inspect(&ledgers)["height"], block + 1);
    }
}

/// B1, B2: so it is for a real peer, that starts in between and drops what there is of the channel, or doesn't; the genesis block does, too.
#[test]
fn a_real_peer_joins_again_after_a_kill_before_the_end() {
    let Some(binaries) = binaries() else { return };
    let place = Place::new();
    for (block, starts_between) in place.blocks.into_iter().flat_map(|block| [(block, false), (block, true)]) {
        let (mut peer, land) = (RealPeer::new(&binaries, false), TempDir::new().unwrap());
        let ledgers = peer.ledgers();
        place.kill_a_load(&ledgers);
        if starts_between {
            peer.restart();
            assert!(peer.channels().is_empty(), "{}", peer.log());
        }
        peer.restart_after(|_| {
            place.join(block, land.path(), &ledgers).run().result();
        });
        assert_eq!(peer.channels(), [CHANNEL], "{}", peer.log());
        assert_identical(&peer.snapshot(block), &place.root.snapshot(block));
        peer.assert_calm();
    }
    let mut peer = RealPeer::new(&binaries, false);
    place.kill_a_load(&peer.ledgers());
    peer.restart();
    let genesis = fixture("genesis.block");
    peer.cli(&["channel", "join", "-b", genesis.to_str().unwrap()]);
    assert_eq!(peer.channels(), [CHANNEL]);
    assert!(peer.cli(&["channel", "getinfo", "-c", CHANNEL]).contains("\"height\":1,"), "{}", peer.log());
    let left: Vec<_> = fs::read_dir(peer.ledgers()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_str().unwrap().starts_with('.')), "{left:?}");
    // It holds the channel now: no snapshot is loaded over it.
    let land = TempDir::new().unwrap();
    let ledgers = peer.ledgers();
    peer.stop();
    place
        .join(place.blocks[1], land.path(), &ledgers)
        .run()
        .assert_failed(1, &["the peer already has channel mychannel"]);
}
