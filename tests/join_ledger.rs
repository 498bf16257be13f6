//! `join --loader ledger` with the real binary: what was fetched and proved lies in a stopped peer's databases, and nothing else does.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/config_blocks.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod config_blocks;
#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;

use config_blocks::of_channel;
use processes::{CHANNEL, Credentials, Ended, Join, PATIENCE, Root, Service, binary};
use rustix::process::Signal;
use serde_json::Value;
use snapferry::{
    disk::OsDir,
    ledger::{LiveLedgers, stores::Status},
};
use std::{fs, path::Path, time::Instant};
use tempfile::TempDir;

const BLOCK: u64 = 132;

struct Place {
    root: Root,
    land: TempDir,
    peer: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { root: Root::with_recorded(), land: TempDir::new().unwrap(), peer: TempDir::new().unwrap() }
    }

    fn join(&self, sources: &[Service], more: &[&str]) -> Ended {
        self.command(sources, more).run()
    }

    fn command(&self, sources: &[Service], more: &[&str]) -> Join {
        let addresses: Vec<_> = sources.iter().map(|source| source.address).collect();
        let join = Join::new(&addresses, self.land.path()).block(BLOCK).args(["--loader", "ledger"]);
        join.args(["--ledger", self.ledgers().to_str().unwrap()]).args(more.iter().copied())
    }

    fn ledgers(&self) -> std::path::PathBuf {
        self.peer.path().join("ledgersData")
    }

    fn services(&self) -> [Service; 2] {
        [1, 2].map(|org| Service::start(org, &self.root, &[BLOCK]))
    }
}

fn json(args: &[&str], folder: &Path) -> Value {
    let output = binary().args(args).arg(folder).args(["-O", "json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn what_was_fetched_lies_in_the_peers_databases() {
    let place = Place::new();
    let ended = place.join(&place.services(), &[]);
    let result = ended.result();
    assert!(result["load_seconds"].as_f64().unwrap() > 0.0, "{result}");
    let ledger = json(&["inspect", "-c", CHANNEL, "--ledger"], &place.ledgers());
    assert_eq!((&ledger["height"], &ledger["boot_snapshot"]["block_number"]), (&(BLOCK + 1).into(), &BLOCK.into()));
    assert_eq!(ledger["boot_snapshot"]["snapshot_hash"], result["snapshot_hash"]);
    // As many keys in each namespace as the snapshot's own rows say.
    let folder = Path::new(result["path"].as_str().unwrap());
    let snapshot = json(&["inspect"], folder);
    assert!(ledger["state"].as_array().unwrap().len() > 3, "{ledger}");
    assert_eq!(ledger["channel"], snapshot["channel"], "{snapshot}");
    let left: Vec<_> = fs::read_dir(place.land.path().join(".snapferry")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    // It's there: nothing is loaded over it.
    place.join(&place.services(), &[]).assert_failed(1, &["the peer already has channel mychannel"]);
}

/// B2: whoever was killed right behind the last write could tell nobody: the same command says that all is done, and does nothing.
#[test]
fn a_load_that_was_killed_before_it_could_tell_its_end_is_told_by_the_next_run() {
    let place = Place::new();
    let services = place.services();
    let joining = place.command(&services, &[]).start();
    let total = joining.wait_for(|told| told["total_bytes"].as_u64());
    joining.wait_verified(total);
    // So that taking leave of them takes its time.
    services.iter().for_each(|service| service.signal(Signal::STOP));
    let ledgers = LiveLedgers::new(OsDir::open(&place.ledgers()).unwrap());
    let until = Instant::now() + PATIENCE;
    while ledgers.status(&CHANNEL.parse().unwrap()).ok().flatten() != Some(Status::Active) {
        assert!(Instant::now() < until, "it never became active");
        std::thread::yield_now();
    }
    let killed = joining.kill();
    services.iter().for_each(|service| service.signal(Signal::CONT));
    assert!(killed.code.is_none() && killed.of("result").is_empty(), "it had told its end: {}", killed.stdout);

    let is_told = || {
        let ended = place.join(&services, &[]);
        let result = ended.result();
        assert_eq!((&result["outcome"], &result["block_number"]), (&"already_in_the_peer".into(), &BLOCK.into()));
        assert!(ended.of("source_ready").is_empty(), "nobody is asked");
    };
    is_told();
    // A peer has started on it since.
    let lock = fs::File::open(place.ledgers().join("fileLock/LOCK")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    is_told();
    drop(lock);
    // Spelled otherwise.
    let addresses = services.each_ref().map(|source| source.address);
    let join = || Join::new(&addresses, place.land.path()).args(["--loader", "ledger"]);
    let spelled = format!("{}/", place.ledgers().display());
    assert_eq!(join().args(["--ledger", &spelled]).run().result()["outcome"], "already_in_the_peer");
    // Another block isn't there, nor is it another organisation's, nor is anybody told who lands elsewhere.
    let ledgers = ["--ledger", place.ledgers().to_str().unwrap()].map(str::to_owned);
    let ledgers = ledgers.each_ref().map(String::as_str);
    let other = join().args(ledgers).block(83).run();
    other.assert_failed(1, &["block 83 can't be joined by", "by the snapshot of block 132", "peer node unjoin"]);
    let other = Join::new_as(&Credentials::admin(1), &addresses, place.land.path()).args(["--loader", "ledger"]);
    other.args(ledgers).run().assert_failed(1, &["the peer already has channel mychannel"]);
    let elsewhere = TempDir::new().unwrap();
    let other = Join::new(&addresses, elsewhere.path()).args(["--loader", "ledger"]).args(ledgers).run();
    other.assert_failed(1, &["the peer already has channel mychannel"]);
}

#[test]
fn a_dry_run_and_a_place_where_no_peer_looks_load_nothing() {
    let place = Place::new();
    let services = place.services();
    let dry = place.join(&services, &["--dry-run"]);
    assert_eq!(dry.result()["outcome"], "dry_run");
    assert!(!place.ledgers().exists());
    let addresses: Vec<_> = services.iter().map(|source| source.address).collect();
    let join = Join::new(&addresses, place.land.path()).args(["--loader", "ledger"]).run();
    assert_eq!((join.code, join.stderr.contains("--ledger <DIR>")), (Some(2), true), "{}", join.stderr);
    assert!(!place.ledgers().exists());
    // A peer that never ran, and will keep its state elsewhere.
    let couchdb = [("SNAPFERRY_PEER_STATEDATABASE".to_owned(), "couchdb".to_owned())];
    let join = Join::new(&addresses, place.land.path()).block(BLOCK).variables(couchdb).args(["--loader", "ledger"]);
    let refused = join.args(["--ledger", place.ledgers().to_str().unwrap()]).run();
    refused.assert_failed(2, &["keeps its state in CouchDB", "--loader folder"]);
    assert!(!place.ledgers().exists());
    // Places where no peer would look.
    let (other, empty) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::write(other.path().join("something"), "").unwrap();
    for (folder, words) in [
        (other.path().to_owned(), "is no peer's ledgersData"),
        (other.path().join("x"), "No such file"),
        (empty.path().to_owned(), "is no peer's ledgersData"),
    ] {
        let join = Join::new(&addresses, place.land.path()).args(["--loader", "ledger"]);
        join.args(["--ledger", folder.to_str().unwrap()]).run().assert_failed(2, &[words, "peer.fileSystemPath"]);
    }
    // What root makes in another user's folder, that user's peer can't open. Only root can try.
    if rustix::process::geteuid().is_root() {
        let ledgers = other.path().join("ledgersData");
        fs::create_dir(&ledgers).unwrap();
        std::os::unix::fs::chown(&ledgers, Some(1234), None).unwrap();
        let join = Join::new(&addresses, place.land.path()).args(["--loader", "ledger"]);
        let ended = join.args(["--ledger", ledgers.to_str().unwrap()]).run();
        ended.assert_failed(2, &["belongs to user 1234", "run the command as the peer's user"]);
    }
}

/// The longest name that Fabric allows leaves no room for more in a file's name.
#[test]
fn a_channel_with_the_longest_name_is_landed_and_loaded() {
    let (root, place) = (TempDir::new().unwrap(), Place::new());
    let channel = "c".repeat(249);
    let config = root.path().join("config.block");
    fs::write(&config, of_channel(&channel)).unwrap();
    let making = root.path().join("making");
    let config_block = config.to_str().unwrap();
    let made = json(&["sample", "--keys", "50", "--txids", "60", "--config-block", config_block], &making);
    let folder = root.path().join("completed").join(&channel);
    fs::create_dir_all(&folder).unwrap();
    fs::rename(making, folder.join(made["block_number"].to_string())).unwrap();
    let services = [1, 2].map(|org| Service::start_in(&config, &Credentials::org(org), root.path(), &[]));
    for service in &services {
        service.wait_log(|line| line.contains("-> advertised ").then_some(()));
    }
    let from = services.each_ref().map(|service| service.address.to_string()).join(",");
    let state = TempDir::new().unwrap();
    let mut command = binary();
    command.args(["join", "-O", "json", "-c", &channel, "--from", &from, "--config-block", config_block]);
    command.arg("--land").arg(place.land.path()).arg("--state-dir").arg(state.path());
    command.args(["--loader", "ledger", "--ledger"]).arg(place.ledgers());
    Credentials::admin(3).flags(&mut command);
    let output = command.output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && said.contains(r#""outcome":"landed""#), "{said}");
    assert_eq!(json(&["inspect", "-c", &channel, "--ledger"], &place.ledgers())["status"], "active");
}
