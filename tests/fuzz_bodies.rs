//! The bodies of the fuzz targets, on stable: over the recorded files, over what `fuzz/corpus` holds (if somebody ran the fuzzer),
//! and over deterministic mutations of both.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

use std::{fs, path::PathBuf};

use numbers::Numbers;
use snapferry::{
    disk::OsDir,
    ledger::leveldb::{BatchWriter, LogWriter, TableWriter, Version},
    snapshot::{ChunkRoot, Manifest, ManifestFile, SignableMetadata, SnapshotFile},
};

#[path = "common/numbers.rs"]
#[allow(unreachable_pub, reason = "shared by several tests")]
mod numbers;

#[path = "../fuzz/bodies/chunk_tree.rs"]
mod chunk_tree;
#[path = "../fuzz/bodies/leveldb.rs"]
mod leveldb;
#[path = "../fuzz/bodies/manifest.rs"]
mod manifest;
#[path = "../fuzz/bodies/metadata.rs"]
mod metadata;
#[path = "../fuzz/bodies/records.rs"]
mod records;
#[path = "../fuzz/bodies/stores.rs"]
mod stores;
#[path = "../fuzz/bodies/table.rs"]
mod table;

/// Mutations per seed: some seconds in all, unoptimised.
const MUTATIONS: u64 = 2_000;

/// Longest seed; a longer file is cut, since a mutation runs over the whole.
const SEED_BYTES_MAX: usize = 4 << 10;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn recorded(name: &str) -> Vec<u8> {
    fs::read(root().join("tests/fixtures/network/snapshots/org1/132").join(name)).unwrap()
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(root().join("fuzz/corpus").join(target)) else { return Vec::new() };
    entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
}

fn mutated(seed: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(bytes.len());
        match numbers.below(6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << numbers.below(8),
            1 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][numbers.below(5)],
            2 => bytes.truncate(at),
            3 => bytes.insert(at, numbers.next() as u8),
            4 if !bytes.is_empty() => drop(bytes.remove(at)),
            _ => {
                let end = at + numbers.below(bytes.len() - at).min(64);
                let copy = bytes[at..end].to_vec();
                let to = numbers.below(bytes.len());
                bytes.splice(to..to, copy);
            }
        }
    }
    bytes
}

fn run(target: &str, mut seeds: Vec<Vec<u8>>, body: impl Fn(&[u8])) {
    seeds.extend(corpus(target));
    for (number, seed) in seeds.iter().enumerate() {
        body(seed);
        let mut numbers = Numbers(number as u64);
        let short = &seed[..seed.len().min(SEED_BYTES_MAX)];
        for _ in 0..MUTATIONS {
            body(&mutated(short, &mut numbers));
        }
    }
}

#[test]
fn metadata_bodies_hold() {
    let seeds = [SnapshotFile::SIGNABLE_METADATA, SnapshotFile::ADDITIONAL_METADATA];
    run("metadata", seeds.map(recorded).to_vec(), metadata::body);
}

#[test]
fn manifest_bodies_hold() {
    let signable = SignableMetadata::parse(&recorded(SnapshotFile::SIGNABLE_METADATA)).unwrap();
    let files = signable.files().iter().map(|(&file, &sha256)| {
        let bytes = recorded(file.name());
        ManifestFile { file, size: bytes.len() as u64, sha256, root: ChunkRoot(*blake3::hash(&bytes).as_bytes()) }
    });
    let files = files.collect();
    run("manifest", vec![Manifest::new(signable, files).unwrap().encode()], manifest::body);
}

/// Defence: readers of foreign bytes take any bytes; removed (a check of a length), some of these panic or are read twice
/// differently.
#[test]
fn records_bodies_hold() {
    let seeds = (0..).zip(SnapshotFile::ALL).map(|(index, file)| {
        let choice: u8 = index + 8 * 5;
        [&[choice][..], &recorded(file.name())].concat()
    });
    run("records", seeds.collect(), records::body);
}

/// Defence: readers of a peer's own stores, which somebody may have damaged.
#[test]
fn stores_bodies_hold() {
    let with = |choice: u8, key: &[u8], value: &[u8]| [&[choice, key.len() as u8], key, value].concat();
    let info = [&b"\x08\x07\x12\x20"[..], &[1; 32], b"\x1a\x20", &[2; 32]].concat();
    let config = b"\x0a\x11\x0a\x0f\x0a\x02in\x12\x06\x0a\x04mine\x28\x80\x01";
    let set = b"\0\0\0\0\0\0\0\x42\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x02";
    let seeds = vec![
        with(0, b"\x06\xfe\xff", b"rest"),
        with(1, b"", &info),
        with(2, b"", b"\x08\x02\x12\x06\x0a\x01{\x12\x01["),
        with(3, b"dcc\0key", b"\x0a\x03\x01\x05\x00\x12\x05value\x1a\x02md"),
        with(4, b"\x04\x07\xf8cc\0in", set),
        with(4, b"\x05cc\0out\0\x07\xf8", set),
        with(5, b"", set),
        with(6, b"s", b"\x01\x84\x08\xff\xff\xff\xff\xff\xff\xff\xff"),
        with(7, b"", config),
    ];
    run("stores", seeds, stores::body);
}

#[test]
fn chunk_tree_bodies_hold() {
    let with = |choice: u8, size: u64, len: usize| {
        [&[choice][..], &size.to_le_bytes(), &0_u32.to_le_bytes(), &vec![7; len]].concat()
    };
    run("chunk_tree", vec![with(1, 3 << 20, 96), with(9, 5, 40), with(3, 1 << 40, 64)], chunk_tree::body);
    // Several groups, in slices of a ragged and of a large size.
    for len in [77, 4_096, 1 << 20] {
        chunk_tree::body(&with(u8::MAX, 2 << 20, len));
    }
}

/// A log with batches, the batch alone, and an edit of a MANIFEST.
#[test]
fn leveldb_bodies_hold() {
    let folder = tempfile::tempdir().unwrap();
    let dir = OsDir::open(folder.path()).unwrap();
    let mut batch = BatchWriter::new(77);
    batch.put(b"mychannel\0indexCheckpointKey", &[132]);
    batch.delete(b"mychannel\0b");
    let record = batch.finish();
    let mut log = LogWriter::create(&*dir, "log").unwrap();
    for record in [&record[..], &[], &[7; 40_000], &record] {
        log.append(record).unwrap();
    }
    let log = fs::read(folder.path().join("log")).unwrap();
    let version = Version { log_number: 3, next_file: 5, last_sequence: 9, ..Version::default() };
    // Of the long log only its end; mutations of the whole would be mutations of one record.
    leveldb::body(&log);
    run("leveldb", vec![log[log.len() - 100..].to_vec(), record, version.to_edit().encode()], leveldb::body);
}

/// A whole table, and blocks of records as they are and compressed.
#[test]
fn table_bodies_hold() {
    let folder = tempfile::tempdir().unwrap();
    let dir = OsDir::open(folder.path()).unwrap();
    let mut table = TableWriter::create(&*dir, 1).unwrap();
    (0..300_u64).for_each(|n| table.add(format!("key {n:04}").as_bytes(), n, &n.to_be_bytes()).unwrap());
    table.finish().unwrap();
    let file = fs::read(folder.path().join("000001.ldb")).unwrap();
    // "aa" with the number 5 -> "x", "ab" likewise -> "".
    let block = b"\x00\x0a\x01aa\x01\x05\0\0\0\0\0\0x\x01\x09\x00b\x01\x05\0\0\0\0\0\0\0\0\0\0\x01\0\0\0";
    let compressed = snap::raw::Encoder::new().compress_vec(block).unwrap();
    let seeds = [[&[0][..], &file].concat(), [&[1][..], block].concat(), [&[2][..], &compressed].concat()];
    run("table", seeds.to_vec(), table::body);
}
