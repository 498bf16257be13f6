//! Integration test 5 of Fabric's ledger checkpointing RFC, "Failure during bootstrapping the peer, after peer loads the full data": the join is
//! finished, without the data being loaded once more.
//!
//! The moment is made by a load whose very last write, the peer's record of the channel, finds no place. Then the command runs again, over the
//! databases alone or those of a real peer (`FABRIC_BIN`). That it is finished by a peer that starts can't be: Fabric drops what isn't active.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;
#[path = "common/real_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod real_peer;

use processes::{CHANNEL, Ended, Join, Root, Service, assert_identical, binary};
use real_peer::{RealPeer, binaries};
use serde_json::Value;
use snapferry::{
    disk::OsDir,
    ledger::load::{FileStream, Load, load},
    snapshot::read_metadata,
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    time::SystemTime,
};
use tempfile::TempDir;

const BLOCK: u64 = 132;

/// Loads a recorded snapshot up to its last write, which fails.
fn load_all_but_the_record(root: &Root, ledgers: &Path) {
    let (folder, scratch) = (root.snapshot(BLOCK), TempDir::new().unwrap());
    let metadata = read_metadata(&*OsDir::open(&folder).unwrap()).unwrap();
    let (record, away) = (ledgers.join("ledgerProvider"), ledgers.join("away"));
    let failed = load(&Load {
        ledgers: OsDir::open(ledgers).unwrap(),
        metadata: &metadata,
        open: &|file| Ok(FileStream::Unproved(Box::new(File::open(folder.join(file.name())).unwrap()))),
        msp_id: "Org3MSP",
        scratch: OsDir::open(scratch.path()).unwrap(),
        sort_bytes: 1 << 20,
        may_activate: &|| {
            fs::rename(&record, &away).unwrap();
            fs::write(&record, "in the way").unwrap();
            true
        },
    });
    failed.unwrap_err();
    fs::remove_file(&record).unwrap();
    fs::rename(&away, &record).unwrap();
    assert_eq!(status(ledgers), "under construction");
}

/// What the peer's record says of the channel.
fn status(ledgers: &Path) -> String {
    let output = binary().args(["inspect", "-c", CHANNEL, "-O", "json", "--ledger"]).arg(ledgers).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    told["status"].as_str().unwrap().to_owned()
}

/// Tables and manifests of all stores but the peer's records, with their times.
fn tables(ledgers: &Path) -> BTreeMap<PathBuf, SystemTime> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![ledgers.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.metadata().unwrap().is_dir() && entry.file_name() != "ledgerProvider" {
                folders.push(entry.path());
            } else if entry.path().extension().is_some_and(|name| name == "ldb") {
                files.insert(entry.path(), entry.metadata().unwrap().modified().unwrap());
            }
        }
    }
    files
}

/// The same command as before the failure.
fn join(root: &Root, ledgers: &Path) -> Ended {
    let sources = [1, 2].map(|org| Service::start(org, root, &[BLOCK]));
    let addresses = sources.each_ref().map(|source| source.address);
    let join = Join::from_folder(&addresses, &root.snapshot(BLOCK));
    join.args(["--loader", "ledger", "--ledger", ledgers.to_str().unwrap()]).run()
}

/// B2: what lacks only the record isn't loaded once more.
#[test]
fn a_join_that_failed_behind_the_last_data_finishes() {
    let (root, peer) = (Root::with_recorded(), TempDir::new().unwrap());
    let ledgers = peer.path().join("ledgersData");
    fs::create_dir(&ledgers).unwrap();
    load_all_but_the_record(&root, &ledgers);
    let loaded = tables(&ledgers);
    assert!(loaded.len() > 5, "{loaded:?}");
    join(&root, &ledgers).result();
    assert_eq!((status(&ledgers), tables(&ledgers)), ("active".to_owned(), loaded));
}

/// B2: a real peer has the channel then; one that started in between has dropped it, and has it after the same command.
#[test]
fn a_real_peer_has_the_channel_that_was_finished_behind_its_last_data() {
    let Some(binaries) = binaries() else { return };
    let root = Root::with_recorded();
    for starts_between in [false, true] {
        let mut peer = RealPeer::new(&binaries, false);
        let ledgers = peer.ledgers();
        fs::create_dir(&ledgers).unwrap();
        load_all_but_the_record(&root, &ledgers);
        if starts_between {
            peer.restart();
            assert!(peer.channels().is_empty(), "{}", peer.log());
        }
        peer.restart_after(|_| {
            let loaded = tables(&ledgers);
            join(&root, &ledgers).result();
            assert_eq!(tables(&ledgers) == loaded, !starts_between);
        });
        assert_eq!(peer.channels(), [CHANNEL], "{}", peer.log());
        assert_identical(&peer.snapshot(BLOCK), &root.snapshot(BLOCK));
        peer.assert_calm();
    }
}
