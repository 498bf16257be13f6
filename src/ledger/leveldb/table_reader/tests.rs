use std::collections::BTreeMap;

use proptest::{collection::btree_map, option, prelude::*};
use tempfile::TempDir;

use super::*;
use crate::{
    disk::{OsDir, read_small},
    ledger::leveldb::{Kind, TableMeta, TableWriter, block::BlockWriter},
};

type Records = Vec<(InternalKey, Vec<u8>)>;

fn folder() -> (TempDir, Arc<dyn Dir>) {
    let folder = TempDir::new().unwrap();
    let dir = OsDir::open(folder.path()).unwrap();
    (folder, dir)
}

fn put(dir: &dyn Dir, bytes: &[u8]) {
    let file = dir.open_file(&table_name(1), Access::ReadWrite).unwrap();
    file.set_len(0).unwrap();
    file.write_all_at(bytes, 0).unwrap();
}

fn write(dir: &dyn Dir, records: &Records) -> TableMeta {
    let mut table = TableWriter::create(dir, 1).unwrap();
    for (key, value) in records {
        table.add_of(key.user_key(), key.sequence(), key.kind(), value).unwrap();
    }
    table.finish().unwrap()
}

fn written(records: &Records) -> Vec<u8> {
    let (_folder, dir) = folder();
    let meta = write(&*dir, records);
    read_small(&*dir, &table_name(1), meta.bytes).unwrap()
}

fn read(dir: &dyn Dir, bytes: usize) -> Result<Records, LevelDbError> {
    TableReader::open(dir, 1, bytes as u64)?.iter().collect()
}

fn fault_of(bytes: &[u8]) -> TableFault {
    let (_folder, dir) = folder();
    put(&*dir, bytes);
    match read(&*dir, bytes.len()) {
        Err(LevelDbError::Table { fault, path }) => {
            assert!(path.ends_with("000001.ldb"));
            fault
        }
        other => panic!("{other:?}"),
    }
}

fn key(user_key: &[u8], sequence: u64) -> InternalKey {
    InternalKey::new(user_key, sequence, Kind::Put)
}

/// Some blocks of records that compress in part.
fn sample() -> Records {
    (0..400_u32)
        .map(|n| {
            (key(format!("key {n:05}").as_bytes(), u64::from(n)), blake3::hash(&n.to_le_bytes()).as_bytes().to_vec())
        })
        .collect()
}

/// A table from its blocks' contents, whatever they hold: each with the key that the index shall have.
fn forged(blocks: &[(InternalKey, u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut place = |kind: u8, content: &[u8]| {
        let handle = Handle { offset: bytes.len() as u64, len: content.len() as u64 };
        bytes.extend_from_slice(content);
        bytes.push(kind);
        bytes.extend_from_slice(&masked_crc(&[content, &[kind]]).to_le_bytes());
        handle
    };
    let mut index = BlockWriter::new(1);
    for (last, kind, content) in blocks {
        let mut handle = Vec::new();
        place(*kind, content).put(&mut handle);
        index.add(last.as_bytes(), &handle);
    }
    let metaindex = BlockWriter::new(1).finish(|content| place(UNCOMPRESSED, content));
    let index = index.finish(|content| place(UNCOMPRESSED, content));
    bytes.extend(Footer { metaindex, index }.encode());
    bytes
}

fn block(keys: &[&InternalKey]) -> Vec<u8> {
    let mut block = BlockWriter::new(16);
    keys.iter().for_each(|key| block.add(key.as_bytes(), b"v"));
    block.finish(<[u8]>::to_vec)
}

#[test]
fn the_bytes_are_those_of_leveldb() {
    // The checksums were computed apart.
    let golden = [
        // "a" with the number 5 -> "x"; its restart; uncompressed
        &b"\x00\x09\x01a\x01\x05\0\0\0\0\0\0x\0\0\0\0\x01\0\0\0"[..],
        b"\x00\x2a\xf1\xa1\x7f",
        // metaindex
        b"\0\0\0\0\x01\0\0\0",
        b"\x00\xc0\xf2\xa1\xb0",
        // index: the same key -> 0, 21
        b"\x00\x09\x02a\x01\x05\0\0\0\0\0\0\x00\x15\0\0\0\0\x01\0\0\0",
        b"\x00\xee\x0f\x7d\xb0",
        // footer: 26, 8; 39, 22
        b"\x1a\x08\x27\x16",
        &[0; 36],
        b"\x57\xfb\x80\x8b\x24\x75\x47\xdb",
    ];
    assert_eq!(written(&vec![(key(b"a", 5), b"x".to_vec())]), golden.concat());
}

#[test]
fn a_table_says_what_it_holds() {
    let (_folder, dir) = folder();
    let records = sample();
    let meta = write(&*dir, &records);
    assert_eq!((&meta.smallest, &meta.largest), (&records[0].0, &records[399].0));
    let table = TableReader::open(&*dir, 1, meta.bytes).unwrap();
    assert!(table.index.len() > 3, "{} blocks", table.index.len());
    assert!(meta.bytes < 400 * 50, "compressed: {}", meta.bytes);
    assert_eq!(table.iter().collect::<Result<Records, _>>().unwrap(), records);
}

#[test]
fn a_writer_refuses_disorder_and_emptiness() {
    let (_folder, dir) = folder();
    let mut table = TableWriter::create(&*dir, 1).unwrap();
    table.add(b"b", 5, b"").unwrap();
    for (user_key, sequence) in [(&b"a"[..], 5), (b"b", 5), (b"b", 6)] {
        let refused = table.add(user_key, sequence, b"");
        assert!(
            matches!(refused, Err(LevelDbError::Table { fault: TableFault::Order, .. })),
            "{user_key:?} {sequence}"
        );
    }
    table.add(b"b", 4, b"older").unwrap();
    table.finish().unwrap();
    let empty = TableWriter::create(&*dir, 2).unwrap().finish();
    assert!(matches!(empty, Err(LevelDbError::Table { fault: TableFault::Empty, .. })));
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let bytes = written(&sample()[..150].to_vec());
    let (_folder, dir) = folder();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        fault_of_in(&*dir, &damaged, at);
    }
    for len in (0..bytes.len()).step_by(13).chain(bytes.len() - 60..bytes.len()) {
        fault_of_in(&*dir, &bytes[..len], len);
        put(&*dir, &bytes[..len]);
        let cut = read(&*dir, bytes.len());
        assert!(matches!(cut, Err(LevelDbError::Table { fault: TableFault::Length { .. }, .. })));
    }
}

fn fault_of_in(dir: &dyn Dir, bytes: &[u8], at: usize) {
    put(dir, bytes);
    assert!(matches!(read(dir, bytes.len()), Err(LevelDbError::Table { .. })), "at {at}");
}

#[test]
fn sound_checksums_excuse_nothing() {
    let (a, b, c) = (key(b"a", 5), key(b"b", 5), key(b"c", 5));
    let fine = forged(&[(a.clone(), 0, block(&[&a])), (c.clone(), 0, block(&[&b]))]);
    let (_folder, dir) = folder();
    put(&*dir, &fine);
    assert_eq!(read(&*dir, fine.len()).unwrap().len(), 2);

    let one = |keys: &[&InternalKey], last: &InternalKey, kind| forged(&[(last.clone(), kind, block(keys))]);
    assert_eq!(fault_of(&one(&[&b, &a], &c, 0)), TableFault::Order, "descending");
    assert_eq!(fault_of(&one(&[&a, &a], &c, 0)), TableFault::Order, "twice");
    assert_eq!(fault_of(&one(&[&a, &c], &b, 0)), TableFault::Order, "above the index's key");
    assert_eq!(fault_of(&one(&[&a], &a, 2)), TableFault::Compression(0), "an unknown compression");
    assert_eq!(fault_of(&one(&[&a], &a, 1)), TableFault::Compression(0), "not Snappy");
    let below = [(b.clone(), 0, block(&[&b])), (c.clone(), 0, block(&[&a]))];
    assert_eq!(fault_of(&forged(&below)), TableFault::Order, "below the block before");
    let index = [(b.clone(), 0, block(&[&b])), (a.clone(), 0, block(&[&a]))];
    assert_eq!(fault_of(&forged(&index)), TableFault::Order, "an index that descends");
    assert_eq!(fault_of(&forged(&[(c, 0, vec![1, 2, 3])])), TableFault::Block(0));
}

/// R1: a block, as stated by Snappy.
#[test]
fn a_huge_block_takes_no_memory() {
    let mut huge = Vec::new();
    crate::snapshot::protobuf::put_uvarint(&mut huge, BLOCK_BYTES_MAX as u64 + 1);
    assert_eq!(fault_of(&forged(&[(key(b"a", 1), SNAPPY, huge)])), TableFault::TooLong(0));
    let mut legal = Vec::new();
    crate::snapshot::protobuf::put_uvarint(&mut legal, 1000);
    assert_eq!(fault_of(&forged(&[(key(b"a", 1), SNAPPY, legal)])), TableFault::Compression(0));
}

/// R1: a block, as stated by the index of a sparse file.
#[test]
fn a_block_over_the_limit_is_refused() {
    let (_folder, dir) = folder();
    let end = BLOCK_BYTES_MAX as u64 + 6;
    let mut bytes = Vec::new();
    let mut place = |content: &[u8]| {
        let handle = Handle { offset: end + bytes.len() as u64, len: content.len() as u64 };
        bytes.extend_from_slice(content);
        bytes.push(UNCOMPRESSED);
        bytes.extend_from_slice(&masked_crc(&[content, &[UNCOMPRESSED]]).to_le_bytes());
        handle
    };
    let mut index = BlockWriter::new(1);
    let mut handle = Vec::new();
    Handle { offset: 0, len: BLOCK_BYTES_MAX as u64 + 1 }.put(&mut handle);
    index.add(key(b"a", 1).as_bytes(), &handle);
    let metaindex = BlockWriter::new(1).finish(&mut place);
    let index = index.finish(&mut place);
    bytes.extend(Footer { metaindex, index }.encode());
    dir.open_file(&table_name(1), Access::CreateNew).unwrap().write_all_at(&bytes, end).unwrap();
    let error = read(&*dir, end as usize + bytes.len()).unwrap_err();
    assert!(matches!(error, LevelDbError::Table { fault: TableFault::TooLong(0), .. }), "{error}");
}

#[test]
fn an_iterator_ends_after_its_first_error() {
    let (_folder, dir) = folder();
    let mut bytes = written(&sample());
    bytes[5000] ^= 1;
    put(&*dir, &bytes);
    let found: Vec<_> = TableReader::open(&*dir, 1, bytes.len() as u64).unwrap().iter().collect();
    assert!(found.len() > 10 && found.iter().rev().skip(1).all(Result::is_ok) && found.last().unwrap().is_err());
}

fn records() -> impl Strategy<Value = Records> {
    let user_keys = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..20),
        "[ab]{1,12}".prop_map(String::into_bytes),
        (0..400_u32).prop_map(|n| format!("a common beginning {n:04}").into_bytes()),
    ];
    let values = prop_oneof![prop::collection::vec(any::<u8>(), 0..200), (0..9000_usize).prop_map(|len| vec![7; len])];
    let of_key = btree_map(0..1_u64 << 50, option::of(values), 1..3);
    btree_map(user_keys, of_key, 1..60).prop_map(|keys: BTreeMap<Vec<u8>, BTreeMap<u64, Option<Vec<u8>>>>| {
        let versions = keys.into_iter().flat_map(|(user_key, versions)| {
            versions.into_iter().rev().map(move |(sequence, value)| match value {
                Some(value) => (key(&user_key, sequence), value),
                None => (InternalKey::new(&user_key, sequence, Kind::Deletion), Vec::new()),
            })
        });
        versions.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn records_come_back_from_anywhere(records in records(), wanted in any::<prop::sample::Index>(), shift in -1_i64..2) {
        let (_folder, dir) = folder();
        let meta = write(&*dir, &records);
        prop_assert_eq!((&meta.smallest, &meta.largest), (&records[0].0, &records.last().unwrap().0));
        prop_assert_eq!(&read(&*dir, meta.bytes as usize).unwrap(), &records);
        // At a key, just below it, and just above.
        let at = &records[wanted.index(records.len())].0;
        let from = key(at.user_key(), at.sequence().saturating_add_signed(shift));
        let found: Result<Records, _> = TableReader::open(&*dir, 1, meta.bytes).unwrap().seek(&from).collect();
        let expected: Records = records.into_iter().filter(|(key, _)| *key >= from).collect();
        prop_assert_eq!(found.unwrap(), expected);
    }
}
