//! A direct load with the real binary that is killed at drawn moments, while chunks come and while a landed folder is read: what is left is no
//! channel, or the whole one, and the same command brings it about without a download of what was there.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/numbers.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod numbers;
#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;
#[path = "common/real_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod real_peer;

use numbers::Numbers;
use processes::{CHANNEL, Join, Root, Service, binary};
use real_peer::{RealPeer, binaries};
use serde_json::Value;
use snapferry::{
    disk::OsDir,
    ledger::{leveldb::Database, stores::Store},
};
use std::{collections::BTreeMap, path::Path};
use tempfile::TempDir;

/// Drawn moments come from it.
const SEED: u64 = 11;
const BYTES: u64 = 96 << 20;
/// Kills of a load beside the transfer, and of one that reads the folder.
const KILLS: usize = 5;

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

struct Place {
    services: [Service; 2],
    land: TempDir,
    block: u64,
    bytes: u64,
    _root: Root,
}

impl Place {
    fn new() -> Self {
        let root = Root::new();
        let block = root.add_sample(BYTES, 5);
        let files = std::fs::read_dir(root.snapshot(block)).unwrap();
        let bytes = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
        let services = [1, 2].map(|org| Service::start(org, &root, &[block]));
        Self { services, land: TempDir::new().unwrap(), block, bytes, _root: root }
    }

    fn join_to(&self, land: &Path, ledgers: &Path) -> Join {
        let join = Join::new(&self.services.each_ref().map(|service| service.address), land).block(self.block);
        join.args(["--loader", "ledger", "--ledger", ledgers.to_str().unwrap()])
    }

    fn join(&self, ledgers: &Path) -> Join {
        self.join_to(self.land.path(), ledgers)
    }

    /// Whether the last one had told its end before. Kills loads into that peer at drawn moments: while chunks come first, then while the folder that has landed is read.
    fn kill_loads(&self, ledgers: &Path, rng: &mut Numbers, between: &mut dyn FnMut()) -> bool {
        for kill in 0..KILLS {
            let joining = self.join(ledgers).start();
            // Later each time: what was fetched is there.
            let at = (self.bytes / KILLS as u64) * kill as u64 + rng.next() % (self.bytes / KILLS as u64);
            joining.wait_verified(at.min(self.bytes * 9 / 10));
            assert_eq!(joining.kill().code, None);
            println!("killed when {at} of {} were proved", self.bytes);
            let is_whole = is_whole(ledgers, self.block);
            between();
            if is_whole {
                return false;
            }
        }
        let landed = Join::new(&self.services.each_ref().map(|service| service.address), self.land.path());
        assert_eq!(landed.block(self.block).run().result()["outcome"], "landed");
        for _ in 0..KILLS {
            let joining = self.join(ledgers).start();
            let at = rng.next() % self.bytes;
            joining.wait_for(|told| (told["event"] == "loading" && told["bytes"].as_u64()? >= at).then_some(()));
            let killed = joining.kill();
            println!("killed at {at} of {}", self.bytes);
            let is_whole = is_whole(ledgers, self.block);
            between();
            if is_whole {
                return !killed.of("result").is_empty(); // that kill came too late
            }
        }
        false
    }

    /// The same command once more, after the kills.
    fn go_on(&self, ledgers: &Path, was_told: bool) {
        let outcome = if is_whole(ledgers, self.block) { "already_in_the_peer" } else { "already_there" };
        let ended = self.join(ledgers).run();
        match was_told {
            true => ended.assert_failed(1, &["the peer already has channel mychannel"]),
            false => assert_eq!(ended.result()["outcome"], outcome),
        }
        assert!(ended.of("progress").is_empty(), "nothing is fetched");
    }
}

/// Whether the channel is whole there; panics if it is said to be, and isn't.
fn is_whole(ledgers: &Path, block: u64) -> bool {
    let output = binary().args(["inspect", "-c", CHANNEL, "-O", "json", "--ledger"]).arg(ledgers).output().unwrap();
    if !output.status.success() {
        let errors = String::from_utf8(output.stderr).unwrap();
        let none = ["has no channel", "is no peer's ledgersData"];
        assert!(none.iter().any(|words| errors.contains(words)), "{:?} {errors}", output.status);
        return false;
    }
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let is_active = told["status"] == "active";
    // What isn't active may have got as far as its databases: a peer drops it all the same, and our next run finishes it.
    let heights = if is_active { [block + 1; 2] } else { [0, block + 1] };
    assert!(heights.contains(&told["height"].as_u64().unwrap()), "{told}");
    is_active
}

/// All that the databases hold.
fn everything(ledgers: &Path) -> BTreeMap<String, Records> {
    let of = |store: Store| {
        let folder = store.folder().iter().fold(ledgers.to_owned(), |path, name| path.join(name));
        let database = Database::open(OsDir::open(&folder).unwrap()).unwrap();
        (store.folder().join("/"), database.scan(..).map(Result::unwrap).collect())
    };
    Store::ALL.into_iter().map(of).collect()
}

/// B2: fed again, no download of what was there.
#[test]
fn a_load_that_is_killed_at_any_moment_leaves_no_channel_or_the_whole_one() {
    println!("seed {SEED}");
    let place = Place::new();
    let (undisturbed, disturbed) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let [undisturbed, ledgers] = [undisturbed.path(), disturbed.path()].map(|folder| folder.join("ledgersData"));
    let was_told = place.kill_loads(&ledgers, &mut Numbers(SEED), &mut || ());
    place.go_on(&ledgers, was_told);
    let land = TempDir::new().unwrap();
    place.join_to(land.path(), &undisturbed).run().result();
    let (found, expected) = (everything(&ledgers), everything(&undisturbed));
    for (store, records) in &expected {
        assert!(found[store] == *records, "{store}: {} records for {}", found[store].len(), records.len());
    }
    let left: Vec<_> = std::fs::read_dir(&ledgers).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_str().unwrap().starts_with('.')), "{left:?}");
}

/// The same, and after each kill a real peer starts, lists no channel, and stops.
#[test]
fn a_real_peer_starts_after_every_kill_and_has_no_channel_or_the_whole_one() {
    let Some(binaries) = binaries() else { return };
    println!("seed {SEED}");
    let place = Place::new();
    let mut peer = RealPeer::new(&binaries, false);
    let ledgers = peer.ledgers();
    std::fs::create_dir_all(ledgers.parent().unwrap()).unwrap();
    let mut rng = Numbers(SEED + 1);
    let was_told = place.kill_loads(&ledgers, &mut rng, &mut || {
        peer.restart_after(|_| ());
        assert!(peer.channels().is_empty() || peer.channels() == [CHANNEL], "{}", peer.log());
        peer.stop();
    });
    peer.restart_after(|_| place.go_on(&ledgers, was_told));
    assert_eq!(peer.channels(), [CHANNEL], "{}", peer.log());
    peer.assert_calm();
}
