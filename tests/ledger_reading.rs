//! A stopped peer's ledger can be looked at without a peer: as the real binary shows it, over databases that an independent LevelDB made of
//! what a real peer held.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::SystemTime,
};

use rusty_leveldb::{DB, Options};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/network");
const CHANNEL: &str = "mychannel\0";
/// Hashes of the recorded blocks 131 to 133; the first two are what the peer itself answered.
const HASH_131: &str = "37c15acb369ef6d5a457e9c891a3bfc31aeddad8215c4a8e9615688fb3e5999e";
const HASH_132: &str = "35faf461cedd944485e7cc6a99dd463ec1ba42c2f62301b47d514a331d3fd51d";
const HASH_133: &str = "7e4d730a88d911a5c2b8de5eb0cf63a17d6b92fa9284eff66eca7e59454aaa5e";
/// How block 133 begins in the peer's block file.
const BLOCK_133: &str = "b828850120fb9615a1c0b630b189b18339da3f5ef3ec49eda13f7097d6ace395d407c5dc65\
                         2035faf461cedd944485e7cc6a99dd463ec1ba42c2f62301b47d514a331d3fd51d";

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// What a real peer held in a database right after it had joined from the snapshot of block 132.
fn recorded(dump: &str) -> Records {
    let packed = fs::read(format!("{FIXTURES}/expected/132/{dump}.kv.zst")).unwrap();
    let text = String::from_utf8(zstd::decode_all(&packed[..]).unwrap()).unwrap();
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ').unwrap();
        (hex::decode(key).unwrap(), hex::decode(value).unwrap())
    };
    text.lines().map(pair).collect()
}

/// The `ledgersData` of Org3's peer.
struct Peer {
    dir: TempDir,
}

impl Peer {
    fn stopped() -> Self {
        let peer = Self { dir: TempDir::new().unwrap() };
        for (store, dump) in [
            ("ledgerProvider", "common/ledgerProvider"),
            ("chains/index", "common/chains_index"),
            ("stateLeveldb", "common/stateLeveldb"),
            ("pvtdataStore", "org3/pvtdataStore"),
        ] {
            fs::create_dir_all(peer.path().join(store)).unwrap();
            peer.change(store, |db| recorded(dump).iter().for_each(|(key, value)| db.put(key, value).unwrap()));
        }
        peer.change("fileLock", |_| ());
        peer
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn open(&self, store: &str) -> DB {
        let options =
            Options { write_buffer_size: 256 << 10, max_file_size: 64 << 10, compressor: 1, ..Options::default() };
        DB::open(self.path().join(store), options).unwrap()
    }

    fn change(&self, store: &str, change: impl FnOnce(&mut DB)) {
        let mut db = self.open(store);
        change(&mut db);
        db.close().unwrap();
    }

    /// Runs `args` with the folder and the channel behind them.
    fn run(&self, args: &[&str], rest: &[&str]) -> Run {
        let ledger = self.path().to_str().unwrap();
        run(&[args, &["--ledger", ledger, "-c", "mychannel"], rest].concat())
    }

    fn inspect(&self) -> Value {
        let run = self.run(&["inspect", "-O", "json"], &[]);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""));
        serde_json::from_str(&run.stdout).unwrap()
    }

    /// Every file with its length and time.
    fn files(&self) -> BTreeMap<PathBuf, (u64, SystemTime)> {
        let (mut files, mut folders) = (BTreeMap::new(), vec![self.path().to_owned()]);
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

struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run(args: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snapferry"));
    let output = command.env_clear().args(args).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Missing transactions of Org3's peer per collection, (eligible, ineligible), counted in the dump itself.
fn missing() -> BTreeMap<(String, String), (u64, u64)> {
    let mut missing = BTreeMap::<_, (u64, u64)>::new();
    for (key, value) in recorded("org3/pvtdataStore") {
        let Some(rest) = key.strip_prefix(CHANNEL.as_bytes()) else { continue };
        let bits = value[8.min(value.len())..].iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut parts = rest[1..].splitn(3, |byte| *byte == 0);
        let mut part = || parts.next().unwrap();
        match rest[0] {
            // Behind two bytes, which are any block from 1 to 255 reversed.
            4 => missing.entry((text(&part()[2..]), text(part()))).or_default().0 += bits,
            5 => missing.entry((text(part()), text(part()))).or_default().1 += bits,
            _ => {}
        }
    }
    missing
}

fn missing_of(inspection: &Value) -> BTreeMap<(String, String), (u64, u64)> {
    let collections = inspection["missing_private_data"].as_array().unwrap().iter().map(|collection| {
        let text = |field: &str| collection[field].as_str().unwrap().to_owned();
        let number = |field: &str| collection[field].as_u64().unwrap();
        let numbers = (number("eligible_transactions"), number("ineligible_transactions"));
        ((text("namespace"), text("collection")), numbers)
    });
    collections.collect()
}

#[test]
fn inspect_shows_what_the_peer_itself_says_of_its_ledger() {
    let peer = Peer::stopped();
    let before = peer.files();
    let ledger = peer.inspect();
    assert_eq!(peer.files(), before, "nothing is changed");
    assert_eq!((&ledger["channel"], &ledger["status"]), (&json!("mychannel"), &json!("active")));
    assert_eq!((&ledger["height"], &ledger["state_block"]), (&json!(133), &json!(132)));
    assert_eq!((&ledger["current_block_hash"], &ledger["previous_block_hash"]), (&json!(HASH_132), &json!(HASH_131)));

    // What came out of the snapshot is what was in it.
    let snapshot = run(&["inspect", &format!("{FIXTURES}/snapshots/org1/132"), "-O", "json"]);
    let snapshot: Value = serde_json::from_str(&snapshot.stdout).unwrap();
    let boot = &ledger["boot_snapshot"];
    assert_eq!((&boot["block_number"], &boot["last_block_hash"]), (&json!(132), &json!(HASH_132)));
    assert_eq!(boot["snapshot_hash"], snapshot["snapshot_hash"]);
    let of_kind = |kind: &str, fields: &[&str]| -> Vec<Value> {
        let namespaces = ledger["state"].as_array().unwrap().iter().filter(|namespace| namespace["kind"] == kind);
        namespaces.map(|namespace| fields.iter().map(|field| (*field, namespace[*field].clone())).collect()).collect()
    };
    assert_eq!(Value::from(of_kind("public", &["namespace", "keys", "bytes"])), snapshot["public_state"]);
    let hashes = of_kind("hashes", &["namespace", "collection", "keys", "bytes"]);
    assert_eq!(Value::from(hashes), snapshot["private_state_hashes"]);
    assert!(of_kind("private", &["keys"]).is_empty());

    assert_eq!(missing_of(&ledger), missing());
    assert!(missing().values().any(|(eligible, _)| *eligible > 0), "else this shows nothing");
    assert!(missing().values().any(|(_, ineligible)| *ineligible > 0), "else this shows nothing");
}

#[test]
fn inspect_shows_text_for_people() {
    let run = Peer::stopped().run(&["inspect"], &[]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    for line in [
        "height               133",
        &format!("current block hash   {HASH_132}"),
        "from a snapshot at   block 132",
        "hashes of private state",
        "missing private data, in transactions",
    ] {
        assert!(run.stdout.lines().any(|found| found == line), "{line}\n{}", run.stdout);
    }
}

/// The peer has committed a block, asked in vain for private data, and got some.
#[test]
fn inspect_follows_a_peer_that_has_gone_on() {
    let peer = Peer::stopped();
    let with = |rest: &[u8]| [CHANNEL.as_bytes(), rest].concat();
    peer.change("chains/index", |db| {
        // uvarint(133); file 0, offset 11, length 5170.
        db.put(&with(b"indexCheckpointKey"), &[0x85, 1]).unwrap();
        db.put(&with(b"n\x01\x85"), &[0, 11, 0xb2, 0x28]).unwrap();
    });
    let blocks = peer.path().join("chains/chains/mychannel");
    fs::create_dir_all(&blocks).unwrap();
    let file = [&[0; 11][..], &hex::decode(BLOCK_133).unwrap(), &[7; 100]].concat();
    fs::write(blocks.join("blockfile_000000"), &file).unwrap();
    peer.change("pvtdataStore", |db| {
        for (key, value) in recorded("org3/pvtdataStore").range(with(&[4])..with(&[5])) {
            let mut moved = key.clone();
            moved[CHANNEL.len()] = 8;
            db.delete(key).unwrap();
            db.put(&moved, value).unwrap();
        }
    });
    peer.change("stateLeveldb", |db| {
        // DBValue with the version 133, 0.
        db.put(&with(b"dlabcc$$pcollection-1\0key"), b"\x0a\x03\x01\x85\0\x12\x05value").unwrap();
        db.put(&with(b"s"), b"\x01\x85\0").unwrap();
    });

    let ledger = peer.inspect();
    assert_eq!((&ledger["height"], &ledger["state_block"]), (&json!(134), &json!(133)));
    assert_eq!((&ledger["current_block_hash"], &ledger["previous_block_hash"]), (&json!(HASH_133), &json!(HASH_132)));
    assert_eq!(ledger["boot_snapshot"]["block_number"], 132);
    assert_eq!(missing_of(&ledger), missing());
    let private = json!({"namespace": "labcc", "kind": "private", "collection": "collection-1", "keys": 1, "bytes": 8});
    assert!(ledger["state"].as_array().unwrap().contains(&private));

    fs::write(blocks.join("blockfile_000000"), &file[1..]).unwrap();
    let run = peer.run(&["inspect"], &[]);
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(run.stderr.contains("holds no header of block 133 at byte 11"), "{}", run.stderr);
}

/// A peer doesn't ask for private data that have expired, though it removes what it notes of them many blocks later.
#[test]
fn what_has_expired_is_missing_no_more() {
    let peer = Peer::stopped();
    let with = |rest: &[u8]| [CHANNEL.as_bytes(), rest].concat();
    let records = recorded("org3/pvtdataStore");
    // 03, and the expiring block in one or two bytes behind their number.
    let expiring = records.range(with(&[3])..with(&[4])).map(|(key, _)| {
        let at = &key[CHANNEL.len() + 1..];
        at[1..=usize::from(at[0])].iter().fold(0, |block, byte| block << 8 | u64::from(*byte))
    });
    let (first, last) = expiring.fold((u64::MAX, 0), |(first, last), at| (first.min(at), last.max(at)));
    assert!(first > 132 && last > first, "{first} {last}");
    let missing_at = |mut block: u64| {
        let mut number = Vec::new();
        while block >= 0x80 {
            number.push(block as u8 | 0x80);
            block >>= 7;
        }
        number.push(block as u8);
        peer.change("pvtdataStore", |db| db.put(&with(&[1]), &number).unwrap());
        missing_of(&peer.inspect())
    };
    assert_eq!(missing_at(first - 1), missing());
    let transactions = |missing: BTreeMap<_, (u64, u64)>| missing.values().map(|(a, b)| a + b).sum::<u64>();
    let (all, some, rest) = (transactions(missing()), transactions(missing_at(first)), transactions(missing_at(last)));
    assert!(all > some && some > rest && rest > 0, "{all} {some} {rest}");
}

#[test]
fn scan_shows_every_record_of_a_namespace_and_get_each_one() {
    let peer = Peer::stopped();
    let packed = fs::read(format!("{FIXTURES}/expected/132/records.tsv.zst")).unwrap();
    let text = String::from_utf8(zstd::decode_all(&packed[..]).unwrap()).unwrap();
    for (kind, namespace) in [("public_state", "labcc"), ("private_state_hashes", "labcc$$hcollection-1")] {
        let prefix = format!("{kind}\t\"{namespace}\"\t");
        let records: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(&prefix)).collect();
        assert!(records.len() > 20);
        let run = peer.run(&["ledger", "scan", "-O", "json"], &[namespace]);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""));
        let found: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(found.iter().map(as_recorded).collect::<Vec<_>>(), records);

        for found in found.iter().step_by(60) {
            let key = hex::encode(bytes_of(found, "key"));
            let run = peer.run(&["ledger", "get", "--hex", "-O", "json"], &[namespace, &key]);
            assert_eq!(run.code, 0, "{}", run.stderr);
            assert_eq!(serde_json::from_str::<Value>(&run.stdout).unwrap(), *found);
        }
    }
}

fn bytes_of(line: &Value, field: &str) -> Vec<u8> {
    let digits = |text: &Value| hex::decode(text.as_str().unwrap()).unwrap();
    line[field].as_str().map_or_else(|| digits(&line[format!("{field}_hex")]), |text| text.as_bytes().to_vec())
}

/// As the recorded text says it.
fn as_recorded(line: &Value) -> String {
    let (key, value) = (hex::encode(bytes_of(line, "key")), bytes_of(line, "value"));
    let value = match value.len() {
        0..=195 => hex::encode(&value),
        len => format!("[{len} bytes sha256 {}]", hex::encode(Sha256::digest(&value))),
    };
    let metadata = line["metadata_hex"].as_str().unwrap_or_default();
    format!("{key}\tv={value}\tmd={metadata}\tver={},{}", line["block_number"], line["tx_number"])
}

#[test]
fn text_is_printed_as_it_is_and_bytes_in_hexadecimal_digits() {
    let peer = Peer::stopped();
    let get = |key: &str| peer.run(&["ledger", "get", "--hex"], &["labcc", key]).stdout;
    // A composite key's value.
    assert_eq!(get("0063617200636f6c6f7572300069643030303000"), "s1-b0\n");
    peer.change("stateLeveldb", |db| {
        for (key, value) in [("terminal", b"\x1b[2J".as_slice()), ("bytes", b"\xff\0")] {
            let key = format!("{CHANNEL}dlabcc\0{key}");
            db.put(key.as_bytes(), &[b"\x0a\x03\x01\x85\0\x12", &[value.len() as u8][..], value].concat()).unwrap();
        }
    });
    let get = |key: &str| peer.run(&["ledger", "get"], &["labcc", key]).stdout;
    assert_eq!(get("terminal"), "0x1b5b324a\n", "no text that a terminal obeys");
    assert_eq!(get("bytes"), "0xff00\n");
    let scan = peer.run(&["ledger", "scan"], &["labcc", "bytes", "bytes0"]).stdout;
    assert_eq!(scan, "bytes\t133:0\t0xff00\n");
}

#[test]
fn a_range_ends_before_its_end_and_keys_may_be_given_in_hexadecimal_digits() {
    let peer = Peer::stopped();
    let keys = |args: &[&str], rest: &[&str]| -> Vec<String> {
        let run = peer.run(&[&["ledger", "scan"], args].concat(), rest);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""));
        run.stdout.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
    };
    let all = keys(&[], &["labcc"]);
    let plain: Vec<&String> = all.iter().filter(|key| !key.starts_with("0x")).collect();
    let (first, end) = (plain[3].as_str(), plain[9].as_str());
    let from = all.iter().position(|key| key == first).unwrap();
    let to = all.iter().position(|key| key == end).unwrap();
    assert_eq!(keys(&[], &["labcc", first, end]), all[from..to]);
    assert_eq!(keys(&["--hex"], &["labcc", &hex::encode(first), &hex::encode(end)]), all[from..to]);
    assert_eq!(keys(&[], &["labcc", first]), all[from..]);
    assert_eq!(keys(&[], &["labcc", end, first]), Vec::<String>::new());
    assert_eq!(keys(&[], &["lab"]), Vec::<String>::new());
    let run = peer.run(&["ledger", "get", "--hex"], &["labcc", "0g"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    let run = peer.run(&["ledger", "get"], &["labcc", "no such key"]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(run.stderr.contains("\"no such key\" has no value in namespace \"labcc\""), "{}", run.stderr);
}

#[test]
fn a_running_peer_is_refused_and_not_hindered() {
    let peer = Peer::stopped();
    let running = peer.open("fileLock");
    for args in [&["inspect"][..], &["ledger", "scan"]] {
        let run = peer.run(args, if args.len() > 1 { &["labcc"] } else { &[] });
        assert_eq!((run.code, run.stdout.as_str()), (1, ""));
        assert!(run.stderr.contains("a peer runs on"), "{}", run.stderr);
    }
    drop(running);
    peer.inspect();
    drop(peer.open("fileLock"));
}

#[test]
fn what_is_no_peers_ledger_or_is_damaged_is_said_so() {
    let peer = Peer::stopped();
    let inspect = |ledger: &Path, channel: &str| run(&["inspect", "--ledger", ledger.to_str().unwrap(), "-c", channel]);
    let other = inspect(peer.path(), "nosuch");
    assert_eq!(other.code, 2, "{}", other.stderr);
    assert!(other.stderr.contains("the peer has no channel nosuch; it has mychannel"), "{}", other.stderr);

    let elsewhere = inspect(&peer.path().join("chains"), "mychannel");
    assert_eq!(elsewhere.code, 2, "{}", elsewhere.stderr);
    assert!(elsewhere.stderr.contains("it has no ledgerProvider; name the ledgersData"), "{}", elsewhere.stderr);

    // As with CouchDB: no state, but the rest.
    fs::rename(peer.path().join("stateLeveldb"), peer.path().join("away")).unwrap();
    let ledger = peer.inspect();
    assert_eq!((&ledger["height"], &ledger["state"]), (&json!(133), &Value::Null));
    let run = peer.run(&["ledger", "get"], &["labcc", "key"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    fs::rename(peer.path().join("away"), peer.path().join("stateLeveldb")).unwrap();

    let table = peer.files().into_keys().find(|path| {
        path.starts_with(peer.path().join("stateLeveldb")) && path.extension().is_some_and(|end| end == "ldb")
    });
    let table = table.unwrap();
    let mut bytes = fs::read(&table).unwrap();
    bytes[100] ^= 1;
    fs::write(&table, &bytes).unwrap();
    let damaged = inspect(peer.path(), "mychannel");
    assert_eq!((damaged.code, damaged.stdout.as_str()), (3, ""));
    assert!(damaged.stderr.contains(table.to_str().unwrap()), "{}", damaged.stderr);
}
