//! Tables of any bytes, and tables with right checksums around a block of any bytes: refused, or ascending records that are the same
//! again when written anew, and that a search finds.

use std::sync::Arc;

use snapferry::{
    disk::{Access, Dir, OsDir},
    ledger::leveldb::{InternalKey, LevelDbError, TableReader, TableWriter},
};

type Records = Vec<(InternalKey, Vec<u8>)>;

/// `data`: 0 and a file's bytes, or 1 (as it is) or 2 (Snappy) and the content of a data block.
pub(crate) fn body(data: &[u8]) {
    let Some((&choice, content)) = data.split_first() else { return };
    let file = if choice == 0 { content.to_vec() } else { table_around(choice - 1, content) };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let dir = OsDir::open(folder.path()).expect("it opens");
    dir.open_file("000001.ldb", Access::CreateNew).and_then(|made| made.write_all_at(&file, 0)).expect("it is written");

    let Ok(table) = TableReader::open(&*dir, 1, file.len() as u64) else { return };
    let records: Result<Records, LevelDbError> = table.iter().collect();
    let Ok(records) = records else { return };
    assert!(records.iter().is_sorted_by(|(one, _), (other, _)| one < other));
    let Some((middle, _)) = records.get(records.len() / 2) else { return };
    let found: Result<Records, LevelDbError> = table.seek(middle).collect();
    assert_eq!(found.expect("it was read before"), records[records.len() / 2..]);
    assert_eq!(again(&dir, &records), records);
}

fn again(dir: &Arc<dyn Dir>, records: &Records) -> Records {
    let mut table = TableWriter::create(&**dir, 2).expect("it is made");
    for (key, value) in records {
        table.add_of(key.user_key(), key.sequence(), key.kind(), value).expect("it ascends");
    }
    let meta = table.finish().expect("it isn't empty");
    let read: Result<Records, LevelDbError> =
        TableReader::open(&**dir, 2, meta.bytes).expect("it opens").iter().collect();
    read.expect("it is whole")
}

fn table_around(kind: u8, content: &[u8]) -> Vec<u8> {
    const NO_RECORD: [u8; 8] = [0, 0, 0, 0, 1, 0, 0, 0];
    let mut file = Vec::new();
    let mut put = |kind: u8, content: &[u8]| {
        let handle = [file.len() as u64, content.len() as u64];
        let checksum = crc32c::crc32c_append(crc32c::crc32c(content), &[kind]);
        file.extend_from_slice(content);
        file.push(kind);
        file.extend_from_slice(&checksum.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes());
        handle.into_iter().flat_map(uvarint).collect::<Vec<u8>>()
    };
    let handle = put(kind, content);
    // One key above any other, then where the block lies.
    let mut index = vec![0, 48, handle.len() as u8];
    index.extend_from_slice(&[0xff; 40]);
    index.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
    index.extend_from_slice(&handle);
    index.extend_from_slice(&NO_RECORD);
    let mut footer = put(0, &NO_RECORD);
    footer.extend(put(0, &index));
    footer.resize(40, 0);
    footer.extend_from_slice(&0xdb47_7524_8b80_fb57_u64.to_le_bytes());
    file.extend(footer);
    file
}

fn uvarint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}
