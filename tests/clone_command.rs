//! `clone` with the real binary: a new peer of Org1 gets what Org1's other peer has, channel by channel, and nobody else's word counts.
//!
//! The source's peer is a fake that checks what a real one checks; its service is a real one over recorded and synthetic snapshots.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/beside_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod beside_peer;
#[path = "common/config_blocks.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod config_blocks;
#[path = "common/fake_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod fake_peer;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Lines},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::SystemTime,
};

use beside_peer::{Ended, Machine, Service, admin_msp, binary, fixture, org_folder, run};
use config_blocks::{Change, of_channel, unsigned};
use fake_peer::{FakePeer, Joins, Ledger};
use rustix::process::{Pid, Signal, kill_process};
use rusty_leveldb::{DB, LdbIterator as _, Options};
use serde_json::Value;
use tempfile::TempDir;

const OTHER: &str = "otherchannel";

/// The machine of the source: peer and service of an organisation that has `mychannel`, recorded, and `otherchannel`, of which there is a
/// snapshot if it is made.
struct Source {
    machine: Machine,
}

impl Source {
    fn new(org: u8) -> Self {
        let machine = Machine::new(org, false);
        let blocks = machine.path("blocks");
        fs::create_dir(&blocks).unwrap();
        fs::copy(fixture("config_block.pb"), blocks.join("mychannel.block")).unwrap();
        fs::write(blocks.join("otherchannel.block"), of_channel(OTHER)).unwrap();
        let settings = fs::read_to_string(machine.path("snapferry.yaml")).unwrap();
        let (settings, _) = settings.split_once("channels:").unwrap();
        let channels = "channels: {mychannel: {configBlock: blocks}, otherchannel: {configBlock: blocks}}\n";
        fs::write(machine.path("snapferry.yaml"), format!("{settings}{channels}")).unwrap();
        Self { machine }
    }

    /// Makes a snapshot of `otherchannel`; tells its block.
    fn make_other(&self) -> u64 {
        let making = self.machine.path("making");
        let block = self.machine.path("blocks/otherchannel.block");
        let args = ["sample", making.to_str().unwrap(), "--config-block", block.to_str().unwrap()];
        let block = self.machine.json(&args)["block_number"].as_u64().unwrap();
        let folder = self.machine.path("root/completed").join(OTHER);
        fs::create_dir_all(&folder).unwrap();
        fs::rename(making, folder.join(block.to_string())).unwrap();
        block
    }

    /// Its service, once all that is there is advertised.
    fn serve(&self, other: Option<u64>) -> Service {
        let mut service = self.machine.serve(&[83, 132]);
        if let Some(block) = other {
            advertised(&mut service, OTHER, block);
        }
        service
    }

    fn blocks(&self) -> String {
        self.machine.path("blocks").display().to_string()
    }
}

fn advertised(service: &mut Service, channel: &str, block: u64) {
    let name = format!("snapshot={channel}/{block} ");
    service.wait_log(|line| line.contains("-> advertised ") && line.contains(&name));
}

/// The machine of the new peer of Org1.
struct Target {
    dir: TempDir,
}

impl Target {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `clone`, by Org1's admin, into the databases of this machine's peer.
    fn command(&self, from: &str, args: &[&str]) -> Command {
        let mut command = self.landing(from, &["--loader", "ledger", "--ledger", "ledgersData"]);
        command.args(args);
        command
    }

    /// One that says itself where it loads, if it does.
    fn landing(&self, from: &str, args: &[&str]) -> Command {
        let peer = org_folder(1, "peers/peer0.org1.example.com");
        let mut command = binary();
        command.current_dir(self.dir.path()).args(["clone", "--from", from, "--land", "land", "--state-dir", "state"]);
        command.args(["--msp-id", "Org1MSP", "--msp-config-path"]).arg(admin_msp(1));
        command.arg("--tls-cert").arg(peer.join("tls/server.crt")).arg("--tls-key").arg(peer.join("tls/server.key"));
        command.args(args);
        command
    }

    fn clone(&self, from: &str, args: &[&str]) -> Ended {
        run(&mut self.command(from, args))
    }

    fn inspect(&self, channel: &str) -> Value {
        let ledgers = self.path("ledgersData");
        let mut command = binary();
        run(command.args(["inspect", "-O", "json", "-c", channel, "--ledger"]).arg(ledgers)).expect(0).json()
    }

    fn store(&self, name: &str) -> DB {
        DB::open(self.path("ledgersData").join(name), Options { compressor: 1, ..Options::default() }).unwrap()
    }

    /// Every file of its databases with its length and time.
    fn files(&self) -> BTreeMap<PathBuf, (u64, SystemTime)> {
        let (mut files, mut folders) = (BTreeMap::new(), vec![self.path("ledgersData")]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let metadata = entry.metadata().unwrap();
                if metadata.is_dir() {
                    folders.push(entry.path());
                }
                files.insert(entry.path(), (metadata.len(), metadata.modified().unwrap()));
            }
        }
        files
    }
}

/// Flags that name the source's peer.
fn of_peer(peer: &FakePeer) -> [String; 4] {
    let [address, ca] = [peer.address.to_string(), peer.file("ca.crt").display().to_string()];
    ["--source-peer-address".to_owned(), address, "--source-peer-tls-root-cert-file".to_owned(), ca]
}

/// Org1's peer: `mychannel` up to block 132, and `otherchannel` if it ends somewhere.
fn source_peer(other: Option<u64>) -> FakePeer {
    let peer = FakePeer::start();
    let block = |last, config: Vec<u8>| Ledger { last, config_block: Some(config), ..Ledger::default() };
    peer.add("mychannel", block(132, fs::read(fixture("config_block.pb")).unwrap()));
    if let Some(last) = other {
        peer.add(OTHER, block(last, of_channel(OTHER)));
    }
    peer
}

fn args(of_peer: &[String]) -> Vec<&str> {
    of_peer.iter().map(String::as_str).collect()
}

/// Channels and their configurations are the source's peer's; nothing else is known of them.
#[test]
fn all_channels_of_the_sources_peer_are_cloned_and_done_again_nothing_is_asked() {
    let (source, target) = (Source::new(1), Target::new());
    let other = source.make_other();
    let service = source.serve(Some(other));
    let peer = source_peer(Some(other));
    let of_peer = of_peer(&peer);
    let from = service.address.clone();
    let cloned = target.clone(&from, &args(&of_peer)).expect(0);
    for line in ["mychannel     block 132, ", "otherchannel  block ", "next: start the peer"] {
        assert!(cloned.stdout.contains(line), "no {line:?} in {}", cloned.stdout);
    }
    assert!(cloned.stderr.contains("mychannel (1 of 2)") && cloned.stderr.contains("otherchannel (2 of 2)"));
    assert!(cloned.stderr.contains("Org1MSP vouches for mychannel at block 132"), "{}", cloned.stderr);
    for (channel, block) in [("mychannel", 132), (OTHER, other)] {
        let ledger = target.inspect(channel);
        assert_eq!((&ledger["status"], &ledger["height"]), (&"active".into(), &(block + 1).into()));
    }
    assert!(!peer.calls().contains(&"Generate".to_owned()), "what is there is enough: {:?}", peer.calls());
    // It says what is still to come, as the databases say it.
    let eligible = |collection: &Value| collection["eligible_transactions"].as_u64().unwrap();
    let missing = target.inspect("mychannel")["missing_private_data"].clone();
    let transactions: u64 = missing.as_array().unwrap().iter().map(eligible).sum();
    assert!(transactions > 0);
    let words = format!("private data of {transactions} transactions to come");
    assert!(cloned.stdout.contains(&words), "no {words:?} in {}", cloned.stdout);
    // By a receipt that names the rule.
    let receipts: Vec<_> = fs::read_dir(target.path("state/receipts")).unwrap().collect();
    assert_eq!(receipts.len(), 2);
    let receipt = receipts[0].as_ref().unwrap().path();
    let judged = run(binary().args(["verify", "--receipt"]).arg(receipt)).expect(0);
    assert!(judged.stdout.contains("OR('Org1MSP.peer')"), "{}", judged.stdout);

    service.kill();
    let again = target.clone(&from, &[&args(&of_peer)[..], &["-O", "json"]].concat()).expect(0);
    let result: Value = serde_json::from_str(again.stdout.lines().last().unwrap()).unwrap();
    for channel in [0, 1] {
        assert_eq!(result["channels"][channel]["outcome"], "already_in_the_peer", "{result}");
    }
    assert_eq!(result["missing_private_data"][0]["transactions"], transactions);
}

#[test]
fn a_channel_that_fails_loses_none_of_the_others_and_the_same_command_goes_on() {
    let (source, target) = (Source::new(1), Target::new());
    let mut service = source.serve(None);
    let blocks = source.blocks();
    let flags = ["--config-block", blocks.as_str()];
    // All that the blocks configure.
    let partial = target.clone(&service.address, &flags).expect(6);
    assert!(partial.stdout.contains("otherchannel  FAILED: no source offers a snapshot of channel otherchannel"));
    assert!(partial.stdout.contains("mychannel     block 132, "), "{}", partial.stdout);
    let line = partial.stderr.lines().last().unwrap();
    assert!(line.contains("1 of 2 channels could not be cloned: otherchannel: "), "{line}");
    assert!(line.contains("--source-peer-address") && line.contains("snapferry snapshot submit"), "{line}");
    assert_eq!(target.inspect("mychannel")["height"], 133);

    let other = source.make_other();
    advertised(&mut service, OTHER, other);
    let rest = target.clone(&service.address, &flags).expect(0);
    assert!(rest.stdout.contains("mychannel     there already"), "{}", rest.stdout);
    assert_eq!(target.inspect(OTHER)["height"], other + 1);
    // One that nobody has heard of, by itself, is no partial success.
    let unknown = target.clone(&service.address, &[&flags[..], &["-c", "nosuch"]].concat()).expect(2);
    assert!(unknown.stderr.contains("holds no usable configuration block of channel nosuch"), "{}", unknown.stderr);
}

#[test]
fn a_service_of_another_organisation_is_refused_by_name() {
    let (source, target) = (Source::new(2), Target::new());
    let service = source.serve(None);
    let (blocks, from) = (source.blocks(), service.address.as_str());
    let refused = target.clone(from, &["--config-block", &blocks, "-c", "mychannel"]).expect(2);
    let line = refused.stderr.lines().last().unwrap();
    assert!(line.contains(&format!("{from} is a service of Org2MSP, not of Org1MSP")), "{line}");
    // Beside one of our own, too: it was named by mistake.
    let own = Source::new(1);
    let ours = own.serve(None);
    let both = format!("{},{from}", ours.address);
    target.clone(&both, &["--config-block", &blocks, "-c", "mychannel"]).expect(2);
    assert!(!target.path("land/mychannel").exists());
    // A peer of theirs isn't asked either: what it says of a channel would be believed.
    let theirs = FakePeer::start_of("Org2MSP", Joins::Well);
    let of_peer = of_peer(&theirs);
    let peer = target.clone(&ours.address, &[&args(&of_peer)[..], &["-c", "mychannel"]].concat()).expect(5);
    let line = peer.stderr.lines().last().unwrap();
    assert!(
        line.contains("creator org unknown, creator is malformed") && line.contains("--source-peer-address"),
        "{line}"
    );
    assert_eq!(theirs.calls(), ["GetChannels"]);
    let rule = target.clone(from, &["--config-block", &blocks, "--min-orgs", "2"]).expect(2);
    assert!(rule.stderr.contains("believes our own organisation alone"), "{}", rule.stderr);
}

/// The source's peer is far ahead of its newest snapshot: the admin's request for one of now goes to it.
#[test]
fn a_snapshot_of_now_is_made_where_none_is_recent_enough() {
    let (source, target) = (Source::new(1), Target::new());
    let newer = source.machine.folder(132);
    let aside = source.machine.path("aside");
    fs::rename(&newer, &aside).unwrap();
    let service = source.machine.serve(&[83]);
    let peer = source_peer(None);
    let of_peer = of_peer(&peer);
    let with = |more: &[&'static str]| [&args(&of_peer)[..], more].concat();
    let enough = target.clone(&service.address, &with(&["--max-blocks-behind", "49", "--dry-run"])).expect(0);
    assert!(enough.stdout.contains("mychannel  block 83, ") && enough.stdout.contains("would be fetched"));
    let would = target.clone(&service.address, &with(&["--max-blocks-behind", "48", "--dry-run"])).expect(0);
    assert!(would.stdout.contains("a snapshot of now would be requested"), "{}", would.stdout);
    assert!(!peer.calls().contains(&"Generate".to_owned()), "{:?}", peer.calls());

    let mut cloning = target.command(&service.address, &with(&["--max-blocks-behind", "48"]));
    let cloning = cloning.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    peer.wait_calls("Generate", 1);
    // The peer's own disk does the rest.
    fs::rename(&aside, &newer).unwrap();
    let output = cloning.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && said.contains("waiting until its service offers it"), "{said}");
    assert_eq!(target.inspect("mychannel")["height"], 133);
    assert_eq!(peer.ledger("mychannel").generated, [132].into());
}

/// What a peer says is held to what we know: our own organisation is in the channel.
#[test]
fn a_peers_word_on_a_channel_that_does_not_know_us_is_not_taken() {
    let (source, target) = (Source::new(1), Target::new());
    let service = source.serve(None);
    let peer = source_peer(None);
    let of_peer = of_peer(&peer);
    for (block, words) in [
        (unsigned(1, &Change::Without(1)), "is nobody of Org1MSP"),
        (of_channel(OTHER), "it configures channel otherchannel"),
        (b"a block".to_vec(), "can't be used"),
    ] {
        peer.add("mychannel", Ledger { last: 132, config_block: Some(block), ..Ledger::default() });
        let refused = target.clone(&service.address, &args(&of_peer)).expect(3);
        assert!(refused.stderr.contains(words), "no {words:?} in {}", refused.stderr);
    }
    assert!(!target.path("state/bundles/mychannel").exists(), "nothing of it is on record");
}

/// The peer runs: it has its locks, and a reconciler that brings what was missing, bit by bit.
#[test]
fn the_wait_for_private_data_ends_when_none_is_missing_and_touches_nothing() {
    let (source, target) = (Source::new(1), Target::new());
    let service = source.serve(None);
    let blocks = source.blocks();
    let flags = ["-c", "mychannel", "--config-block", blocks.as_str()];
    target.clone(&service.address, &flags).expect(0);

    let wait = [&flags[..], &["--wait-private-data", "-O", "json"]].concat();
    // Who runs it holds these.
    let lock = target.store("fileLock");
    let mut private = target.store("pvtdataStore");
    let before = target.files();
    let mut waiting = Waiting::start(target.command(&service.address, &wait));
    let told = waiting.event("private_data");
    let collections = told["channels"][0]["collections"].as_array().unwrap();
    assert!(collections.iter().any(|collection| collection["collection"] == "collection-1"), "{told}");
    kill_process(Pid::from_child(&waiting.child), Signal::TERM).unwrap();
    let result = waiting.end(143);
    assert!(result["missing_private_data"][0]["transactions"].as_u64().unwrap() > 0, "{result}");
    assert!(target.files() == before, "a peer that runs must not notice");

    let mut waiting = Waiting::start(target.command(&service.address, &wait));
    waiting.event("private_data");
    let missing = keys(&mut private, &[0x04]);
    assert!(!missing.is_empty());
    let (first, rest) = missing.split_first().unwrap();
    // Once asked for in vain, and then found: it moves from one place to another.
    let value = private.get(first).unwrap();
    let later = [&first[..CHANNEL_BYTES], &[0x08], &first[CHANNEL_BYTES + 1..]].concat();
    private.put(&later, &value).unwrap();
    private.delete(first).unwrap();
    for key in rest {
        private.delete(key).unwrap();
    }
    private.flush().unwrap();
    private.compact_range(b"m", b"n").unwrap();
    private.delete(&later).unwrap();
    private.flush().unwrap();
    let result = waiting.end(0);
    assert_eq!(result["missing_private_data"][0]["transactions"], 0, "{result}");
    // What only others may have doesn't come, and isn't waited for.
    assert!(!keys(&mut private, &[0x05]).is_empty());
    drop(lock);
}

/// A `clone` that runs, and what it tells.
struct Waiting {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Waiting {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next event of that name.
    fn event(&mut self, name: &str) -> Value {
        let mut events = self.lines.by_ref().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        events.find(|told| told["event"] == name).unwrap_or_else(|| panic!("it ended without {name}"))
    }

    /// The result, and the exit code that comes with it.
    fn end(mut self, code: i32) -> Value {
        let result = self.event("result");
        assert_eq!(self.child.wait().unwrap().code(), Some(code), "{result}");
        result
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Gone already, if it was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `mychannel` and NUL, in front of the kind.
const CHANNEL_BYTES: usize = 10;

fn keys(private: &mut DB, kinds: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut records = private.new_iter().unwrap();
    while let Some((key, _)) = records.next() {
        if key.starts_with(b"mychannel\0") && kinds.contains(&key[CHANNEL_BYTES]) {
            found.push(key.to_vec());
        }
    }
    found
}

#[test]
fn without_a_loader_the_folders_land() {
    let (source, target) = (Source::new(1), Target::new());
    let service = source.serve(None);
    let blocks = source.blocks();
    let mut command = target.landing(&service.address, &["-c", "mychannel", "--config-block", &blocks]);
    let landed = run(&mut command).expect(0);
    let folder = target.path("land/mychannel/132");
    assert!(landed.stdout.contains(&format!(": in {}", shown(&folder))), "{}", landed.stdout);
    assert!(landed.stdout.contains("next: peer channel joinbysnapshot"), "{}", landed.stdout);
    let again = run(&mut command).expect(0);
    assert!(again.stdout.contains("already, every file was checked again"), "{}", again.stdout);
}

/// By its own join, as it says itself which channels it has.
#[test]
fn a_running_peer_takes_one_channel_after_the_other() {
    let (source, target) = (Source::new(1), Target::new());
    let other = source.make_other();
    let service = source.serve(Some(other));
    let (blocks, peer) = (source.blocks(), FakePeer::start_of("Org1MSP", Joins::Well));
    let [address, ca] = [peer.address.to_string(), peer.file("ca.crt").display().to_string()];
    let flags =
        ["--loader", "folder", "--peer-address", &address, "--tls-root-cert-file", &ca, "--config-block", &blocks];
    let cloned = run(&mut target.landing(&service.address, &flags)).expect(0);
    assert_eq!(cloned.stdout.matches("joined by the peer").count(), 2, "{}", cloned.stdout);
    assert_eq!((peer.ledger("mychannel").joined_by, peer.ledger(OTHER).joined_by), (Some(132), Some(other)));
    service.kill();
    let again = run(&mut target.landing("127.0.0.1:9", &flags)).expect(0);
    assert_eq!(again.stdout, "mychannel     there already\notherchannel  there already\n");
    assert_eq!(peer.calls().iter().filter(|call| *call == "JoinChainBySnapshot").count(), 2);
}

/// A peer that was told to join, and nobody saw the end: what it has then is proved, however often, and it is no "there already".
#[test]
fn what_a_clone_that_was_cut_off_told_the_peer_is_proved_by_the_next_one() {
    let (source, target) = (Source::new(1), Target::new());
    let service = source.serve(None);
    let blocks = source.blocks();
    for (joins, code, words) in [
        (Joins::Well, 0, "there already, as an earlier run told the peer to: its hash is the agreed one"),
        (Joins::OtherHash, 3, "it isn't what was agreed on"),
    ] {
        let peer = FakePeer::start_of("Org1MSP", Joins::Stays);
        let [address, ca] = [peer.address.to_string(), peer.file("ca.crt").display().to_string()];
        let flags = ["--loader", "folder", "--peer-address", &address, "--tls-root-cert-file", &ca];
        let flags = [&flags[..], &["-c", "mychannel", "--config-block", &blocks]].concat();
        let mut cut_off = Waiting::start(target.landing(&service.address, &[&flags[..], &["-O", "json"]].concat()));
        cut_off.event("peer_joins");
        drop(cut_off);
        peer.set_joins(joins);
        peer.finish_joining();
        for _ in 0..2 {
            let again = run(&mut target.landing(&service.address, &flags)).expect(code);
            assert!(format!("{}{}", again.stdout, again.stderr).contains(words), "{}\n{}", again.stdout, again.stderr);
        }
    }
}

/// Who looks into a folder that isn't there, or is another peer's, sees nothing missing.
#[test]
fn private_data_are_waited_for_only_where_they_can_be_looked_for() {
    let (source, target) = (Source::new(1), Target::new());
    let (blocks, peer) = (source.blocks(), FakePeer::start_of("Org1MSP", Joins::Well));
    let [address, ca] = [peer.address.to_string(), peer.file("ca.crt").display().to_string()];
    let waits = |from: &str, ledger: &str| {
        let flags = ["--loader", "folder", "--peer-address", &address, "--tls-root-cert-file", &ca, "-c", "mychannel"];
        let ledger = target.path(ledger).display().to_string();
        let flags = [&flags[..], &["--config-block", &blocks, "--ledger", &ledger, "--wait-private-data"]].concat();
        run(&mut target.landing(from, &flags)).expect(2)
    };
    let refused = waits("127.0.0.1:9", "typo/ledgersData");
    assert!(refused.stderr.contains("is no folder") && peer.calls().is_empty(), "{}", refused.stderr);

    source.make_other();
    let service = source.serve(None);
    target.clone(&service.address, &["-c", OTHER, "--config-block", &blocks]).expect(0);
    let refused = waits(&service.address, "ledgersData");
    assert!(refused.stderr.contains("has no channel mychannel; it has otherchannel"), "{}", refused.stderr);
    assert_eq!(peer.ledger("mychannel").joined_by, Some(132), "that is done all the same");
}

/// The source's peer takes its time; whoever waits goes, and the request stays.
#[test]
fn a_clone_that_is_stopped_says_what_it_has_not_begun() {
    let (source, target) = (Source::new(1), Target::new());
    let service = source.serve(None);
    let peer = source_peer(Some(7));
    peer.hold();
    let config = fs::read(fixture("config_block.pb")).unwrap();
    peer.add("mychannel", Ledger { last: 200, config_block: Some(config), ..Ledger::default() });
    let of_peer = of_peer(&peer);
    let args = [&args(&of_peer)[..], &["--max-blocks-behind", "0", "-O", "json"]].concat();
    let mut waiting = Waiting::start(target.command(&service.address, &args));
    assert_eq!(waiting.event("snapshot_requested")["block_number"], 200);
    kill_process(Pid::from_child(&waiting.child), Signal::TERM).unwrap();
    let result = waiting.end(143);
    let outcomes: Vec<_> = result["channels"].as_array().unwrap().iter().map(|channel| &channel["outcome"]).collect();
    assert_eq!(outcomes, ["failed", "not_begun"], "{result}");
    assert_eq!(peer.ledger("mychannel").pending, [200].into());
}

fn shown(path: &Path) -> String {
    path.canonicalize().unwrap().display().to_string()
}
