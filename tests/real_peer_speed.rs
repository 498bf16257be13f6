//! How much faster a direct load is than the peer's own import of the same folder, in the same run, and in how much memory. Not part of the
//! tests that always run: it takes minutes, and says nothing on an unoptimised build.
//!
//!     FABRIC_BIN=... cargo test --release --test real_peer_speed -- --ignored --nocapture
//!
//! `SPEED_ROUNDS` (3), `SPEED_BYTES` (1487 MB) and `SPEED_EXPIRING_BYTES` (258 MB) may be given.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;
#[path = "common/real_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod real_peer;

use processes::{CHANNEL, Join, Root, Service, binary};
use real_peer::{RealPeer, binaries};
use serde_json::Value;
use std::{path::Path, time::Duration, time::Instant};
use tempfile::TempDir;

/// fabric.md 5: the peak of a stock peer that imports 1.5 GB.
const MEMORY_MAX: u64 = 215_000_000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// One import.
#[derive(Debug, Clone, Copy)]
struct Import {
    took: Duration,
    peak_bytes: u64,
}

/// Writes a sample where services look; its block and bytes.
fn sample(root: &Root, args: &[&str]) -> (u64, u64) {
    let making = root.path().join("making");
    let output = binary().arg("sample").arg(&making).args(args).args(["-O", "json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (block, bytes) = (told["block_number"].as_u64().unwrap(), told["bytes"].as_u64().unwrap());
    std::fs::rename(making, root.snapshot(block)).unwrap();
    (block, bytes)
}

/// By the peer itself: from the call until it no longer joins, and has the channel.
fn by_the_peer(binaries: &Path, folder: &Path) -> Import {
    let peer = RealPeer::start(binaries, false);
    let begun = Instant::now();
    peer.cli(&["channel", "joinbysnapshot", "--snapshotpath", folder.to_str().unwrap()]);
    let until = Instant::now() + Duration::from_secs(1_800);
    while !peer.cli(&["channel", "joinbysnapshotstatus"]).contains("No joinbysnapshot operation is in progress") {
        assert!(Instant::now() < until, "{}", peer.log());
        std::thread::sleep(Duration::from_millis(100)); // how long it takes is what is measured
    }
    let took = begun.elapsed();
    assert_eq!(peer.channels(), [CHANNEL], "{}", peer.log());
    Import { took, peak_bytes: peer.peak_bytes() }
}

/// Straight into a stopped peer's databases, from the folder that has landed; the peer must start on them.
fn directly(binaries: &Path, sources: &[Service], land: &Path, block: u64) -> Import {
    let mut peer = RealPeer::new(binaries, false);
    let ledgers = peer.ledgers();
    std::fs::create_dir_all(ledgers.parent().unwrap()).unwrap();
    let addresses: Vec<_> = sources.iter().map(|source| source.address).collect();
    let join = Join::new(&addresses, land).block(block);
    let join = join.args(["--loader", "ledger", "--ledger", ledgers.to_str().unwrap()]);
    let joining = join.start();
    let peak_bytes = joining.peak_until_end();
    let ended = joining.wait();
    let result = ended.result();
    assert_eq!(result["outcome"], "already_there");
    let took = Duration::from_secs_f64(result["load_seconds"].as_f64().unwrap());
    peer.restart_after(|_| ());
    assert_eq!(peer.channels(), [CHANNEL], "{}", peer.log());
    peer.assert_calm();
    Import { took, peak_bytes }
}

/// Medians of both in turn, printed; the ratio and the direct load's peak.
fn compare(binaries: &Path, what: &str, args: &[&str]) -> (f64, u64) {
    let root = Root::new();
    let (block, bytes) = sample(&root, args);
    let sources = [1, 2].map(|org| Service::start(org, &root, &[block]));
    let addresses: Vec<_> = sources.iter().map(|source| source.address).collect();
    let land = TempDir::new().unwrap();
    Join::new(&addresses, land.path()).block(block).run().result();
    let folder = land.path().join(CHANNEL).join(block.to_string());
    let (mut stock, mut direct) = (Vec::new(), Vec::new());
    for _ in 0..number("SPEED_ROUNDS", 3) {
        stock.push(by_the_peer(binaries, &folder));
        direct.push(directly(binaries, &sources, land.path(), block));
        println!(
            "{what}, {bytes} bytes: the peer's own import {:?}, the direct load {:?}",
            stock.last(),
            direct.last()
        );
    }
    let median = |imports: &mut Vec<Import>| {
        imports.sort_by_key(|import| import.took);
        imports[imports.len() / 2]
    };
    let (stock, direct) = (median(&mut stock), median(&mut direct));
    let ratio = stock.took.as_secs_f64() / direct.took.as_secs_f64();
    println!(
        "{what}: {ratio:.1} times as fast ({:.1} s for {:.1} s)",
        direct.took.as_secs_f64(),
        stock.took.as_secs_f64()
    );
    (ratio, direct.peak_bytes)
}

#[test]
#[ignore = "minutes, in a release build: see the head of this file"]
fn a_direct_load_is_many_times_as_fast_as_the_peers_own_import() {
    let Some(binaries) = binaries() else { return };
    let size = number("SPEED_BYTES", 1_487_000_000).to_string();
    let (ratio, peak_bytes) = compare(&binaries, "data that stay", &["--size", &size]);
    assert!(ratio >= 5.0 && peak_bytes < MEMORY_MAX, "{ratio} {peak_bytes}");
    let size = number("SPEED_EXPIRING_BYTES", 258_000_000).to_string();
    let expiring = ["--size", &size, "--private-hashes", "125000", "--expiring"];
    let (ratio, peak_bytes) = compare(&binaries, "125 000 private keys that expire", &expiring);
    assert!(ratio >= 50.0 && peak_bytes < MEMORY_MAX, "{ratio} {peak_bytes}");
}
