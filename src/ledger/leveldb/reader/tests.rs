//! Databases that an independent LevelDB wrote.

#![allow(clippy::disallowed_methods, reason = "the tests damage files behind the reader's back")]

use proptest::{collection::vec, prelude::*};
use rusty_leveldb::{DB, Options};
use tempfile::TempDir;

use super::*;
use crate::{
    disk::OsDir,
    ledger::leveldb::{BatchWriter, LogFault, LogWriter, TableWriter},
};

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// A few KiB of writes make a table, and a few tables a compaction.
fn options(compressor: u8) -> Options {
    Options { write_buffer_size: 4 << 10, max_file_size: 8 << 10, block_size: 512, compressor, ..Options::default() }
}

#[derive(Debug, Clone)]
enum Step {
    Put(u16, usize),
    Delete(u16),
    Flush,
    Compact(u16, u16),
    Reopen,
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => (0..400_u16, 0..300_usize).prop_map(|(key, len)| Step::Put(key, len)),
        10 => (0..400_u16).prop_map(Step::Delete),
        1 => Just(Step::Flush),
        1 => (0..400_u16, 0..400_u16).prop_map(|(a, b)| Step::Compact(a.min(b), a.max(b))),
        1 => Just(Step::Reopen),
    ]
}

fn key(number: u16) -> Vec<u8> {
    // Some are prefixes of others.
    format!("channel\0{}", number / 7 * 7).into_bytes().into_iter().chain((0..number % 7).map(|_| b'x')).collect()
}

/// Does it in `folder` with the other implementation, and says what must be there.
fn write(folder: &TempDir, compressor: u8, steps: &[Step]) -> Content {
    let open = || DB::open(folder.path(), options(compressor)).unwrap();
    let (mut db, mut content) = (open(), Content::new());
    for (index, step) in steps.iter().enumerate() {
        match *step {
            Step::Put(number, len) => {
                let value = vec![index as u8; len];
                db.put(&key(number), &value).unwrap();
                content.insert(key(number), value);
            }
            Step::Delete(number) => {
                db.delete(&key(number)).unwrap();
                content.remove(&key(number));
            }
            Step::Flush => db.flush().unwrap(),
            Step::Compact(from, to) => db.compact_range(&key(from), &key(to)).unwrap(),
            Step::Reopen => {
                db.close().unwrap();
                db = open();
            }
        }
    }
    db.close().unwrap();
    content
}

fn open(folder: &TempDir) -> Result<Database, LevelDbError> {
    Database::open(OsDir::open(folder.path()).unwrap())
}

fn all(scan: Scan<'_>) -> Content {
    let pairs: Vec<_> = scan.collect::<Result<_, _>>().unwrap();
    assert!(pairs.is_sorted_by(|(a, _), (b, _)| a < b), "ascending, each key once");
    pairs.into_iter().collect()
}

/// What a run of steps that leaves several levels and a log made.
fn large(compressor: u8) -> (TempDir, Content) {
    let folder = TempDir::new().unwrap();
    let puts = (0..3_000_u32).map(|index| Step::Put((index * 7_919 % 400) as u16, 40 + index as usize % 60));
    let deletes = (0..40).map(|index| Step::Delete(index * 10));
    let content = write(&folder, compressor, &puts.chain(deletes).collect::<Vec<_>>());
    (folder, content)
}

fn named(folder: &TempDir, suffix: &str) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.to_str().unwrap().ends_with(suffix)).collect();
    files.sort();
    files
}

#[test]
fn levels_and_log_are_read_as_they_were_written() {
    for compressor in [0, 1] {
        let (folder, content) = large(compressor);
        let database = open(&folder).unwrap();
        assert!(database.runs.iter().any(|run| run.len() > 1), "a level of several tables");
        assert!(database.recent.keys().any(|key| key.kind() == Kind::Deletion), "deletions in the log");
        assert_eq!(all(database.scan(..)), content, "{compressor}");
        for number in 0..400 {
            assert_eq!(database.get(&key(number)).unwrap().as_ref(), content.get(&key(number)));
        }
        assert_eq!(database.get(b"channel").unwrap(), None);
        assert_eq!(database.get(b"d").unwrap(), None);
        let before = named(&folder, "").len();
        drop(database);
        assert_eq!(named(&folder, "").len(), before, "nothing is written");
    }
}

#[test]
fn a_folder_without_a_database_is_said_to_be_one() {
    let folder = TempDir::new().unwrap();
    assert!(matches!(open(&folder), Err(LevelDbError::NoDatabase { .. })));
}

#[test]
fn a_torn_log_loses_only_its_last_batches() {
    let folder = TempDir::new().unwrap();
    write(&folder, 0, &[Step::Put(1, 5), Step::Put(2, 5), Step::Put(3, 5)]);
    let log = named(&folder, ".log").pop().unwrap();
    let bytes = std::fs::read(&log).unwrap();
    let mut before = 4;
    for cut in (0..bytes.len()).rev() {
        std::fs::write(&log, &bytes[..cut]).unwrap();
        let found = all(open(&folder).unwrap().scan(..));
        let expected: Vec<_> = (1..=3).map(key).take(found.len()).collect();
        assert_eq!(found.into_keys().collect::<Vec<_>>(), expected);
        assert!(expected.len() <= before);
        before = expected.len();
    }
    assert_eq!(before, 0);
    let mut damaged = bytes;
    damaged[20] ^= 1;
    std::fs::write(&log, &damaged).unwrap();
    assert!(matches!(open(&folder), Err(LevelDbError::Log { fault: LogFault::Damaged, .. })));
}

#[test]
fn damage_in_any_table_is_an_error_and_a_missing_one_too() {
    let (folder, content) = large(1);
    let read = || open(&folder).and_then(|database| database.scan(..).collect::<Result<Content, _>>());
    for table in named(&folder, ".ldb") {
        let bytes = std::fs::read(&table).unwrap();
        let (mut harmless, mut found) = (0, 0);
        for at in (0..bytes.len()).step_by(151) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            std::fs::write(&table, &damaged).unwrap();
            match read() {
                // A filter is not read.
                Ok(same) => {
                    assert_eq!(same, content);
                    harmless += 1;
                }
                Err(LevelDbError::Table { path, .. }) => {
                    assert_eq!(path, table);
                    found += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(found > harmless, "{found} {harmless}");
        std::fs::remove_file(&table).unwrap();
        assert!(matches!(read(), Err(LevelDbError::Disk(error)) if error.is_not_found()));
        std::fs::write(&table, &bytes).unwrap();
    }
    assert_eq!(read().unwrap(), content);
}

#[test]
fn a_table_that_holds_other_keys_than_the_manifest_says_is_refused() {
    let folder = TempDir::new().unwrap();
    let dir = OsDir::open(folder.path()).unwrap();
    let mut table = TableWriter::create(&*dir, 4).unwrap();
    for (key, sequence) in [("a", 1), ("b", 2), ("c", 3)] {
        table.add(key.as_bytes(), sequence, b"value").unwrap();
    }
    let mut table = table.finish().unwrap();
    table.largest = InternalKey::new(b"bb", 9, Kind::Put);
    let mut version = Version { log_number: 3, next_file: 6, last_sequence: 9, ..Version::default() };
    version.levels.entry(1).or_default().insert(4, table);
    version.write(&*dir, 5).unwrap();
    let database = open(&folder).unwrap();
    let found: Vec<_> = database.scan(..).collect();
    assert_eq!(found.len(), 3, "the scan ends after the error");
    assert!(matches!(&found[2], Err(LevelDbError::Table { fault: TableFault::Range, .. })));
}

/// R1: any number of batches in a log.
#[test]
fn logs_over_the_limit_are_refused() {
    let folder = TempDir::new().unwrap();
    let dir = OsDir::open(folder.path()).unwrap();
    Version { log_number: 3, next_file: 6, ..Version::default() }.write(&*dir, 5).unwrap();
    let mut bytes = 0;
    for number in [3, 4] {
        let mut log = LogWriter::create(&*dir, &format!("{number:06}.log")).unwrap();
        let mut batch = BatchWriter::new(number);
        batch.put(b"key", &[number as u8; 1_000]);
        let record = batch.finish();
        log.append(&record).unwrap();
        bytes += record.len();
    }
    let database = Database::open_within(Arc::clone(&dir), bytes).unwrap();
    assert_eq!(database.get(b"key").unwrap(), Some(vec![4; 1_000]), "the newer one");
    let refused = Database::open_within(dir, bytes - 1);
    assert!(matches!(refused, Err(LevelDbError::Disk(DiskError::TooLarge { .. }))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_was_done_is_read(
        steps in vec(steps(), 0..400),
        compressor in 0..2_u8,
        ranges in vec((0..400_u16, 0..400_u16), 8),
    ) {
        let folder = TempDir::new().unwrap();
        let content = write(&folder, compressor, &steps);
        let database = open(&folder).unwrap();
        prop_assert_eq!(&all(database.scan(..)), &content);
        for (a, b) in ranges {
            let (low, high) = (key(a).min(key(b)), key(a).max(key(b)));
            for range in [
                (Bound::Included(low.clone()), Bound::Excluded(high.clone())),
                (Bound::Excluded(low.clone()), Bound::Included(high.clone())),
                (Bound::Excluded(low), Bound::Unbounded),
            ] {
                let is_empty = matches!(&range, (Bound::Included(low), Bound::Excluded(high)) | (Bound::Excluded(low), Bound::Included(high)) if low >= high);
                let expected = if is_empty { Content::new() } else { content.range(range.clone()).map(|(key, value)| (key.clone(), value.clone())).collect() };
                prop_assert_eq!(all(database.scan(range)), expected);
            }
        }
    }
}
