use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::{
    disk::OsDir,
    ledger::leveldb::{InternalKey, Kind},
};

fn folder() -> (TempDir, Arc<dyn Dir>) {
    let folder = TempDir::new().unwrap();
    let dir = OsDir::open(folder.path()).unwrap();
    (folder, dir)
}

fn table(number: u64, smallest: &str, largest: &str) -> TableMeta {
    let key = |key: &str| InternalKey::new(key.as_bytes(), number, Kind::Put);
    TableMeta { number, bytes: 100, smallest: key(smallest), largest: key(largest) }
}

fn version(tables: &[(u32, TableMeta)]) -> Version {
    let mut version = Version { log_number: 3, next_file: 20, last_sequence: 40, ..Version::default() };
    for (level, table) in tables {
        version.levels.entry(*level).or_default().insert(table.number, table.clone());
    }
    version
}

/// A MANIFEST with these edits, which CURRENT names.
fn write(dir: &dyn Dir, number: u64, edits: &[VersionEdit]) {
    let mut log = LogWriter::create(dir, &manifest_name(number)).unwrap();
    edits.iter().for_each(|edit| log.append(&edit.encode()).unwrap());
    write_durably(dir, CURRENT, format!("MANIFEST-{number:06}\n").as_bytes()).unwrap();
}

fn fault(edits: &[VersionEdit]) -> ManifestFault {
    let (_folder, dir) = folder();
    write(&*dir, 1, edits);
    match Version::read(&*dir) {
        Err(LevelDbError::Manifest { fault, .. }) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_version_comes_back_and_the_next_one_takes_its_place() {
    let (_folder, dir) = folder();
    assert_eq!(Version::read(&*dir).unwrap(), None);
    let mut version = version(&[(0, table(4, "a", "z")), (0, table(5, "b", "c")), (1, table(6, "a", "b"))]);
    version.write(&*dir, 2).unwrap();
    assert_eq!(Version::read(&*dir).unwrap(), Some((2, version.clone())));
    version.levels.remove(&0);
    // What a crash left under this number is in nobody's way.
    write_durably(&*dir, &manifest_name(7), b"torn").unwrap();
    version.write(&*dir, 7).unwrap();
    assert_eq!(Version::read(&*dir).unwrap(), Some((7, version)));
}

#[test]
fn edits_add_up() {
    let (_folder, dir) = folder();
    let first = version(&[(0, table(4, "a", "z")), (1, table(5, "a", "c"))]).to_edit();
    let second = VersionEdit {
        log_number: Some(9),
        last_sequence: Some(50),
        deleted: vec![(0, 4), (1, 5), (1, 17)],
        added: vec![(1, table(5, "a", "d")), (1, table(6, "e", "z"))],
        ..VersionEdit::default()
    };
    write(&*dir, 1, &[first, second]);
    let mut sum = version(&[(1, table(5, "a", "d")), (1, table(6, "e", "z"))]);
    (sum.log_number, sum.last_sequence) = (9, 50);
    assert_eq!(Version::read(&*dir).unwrap(), Some((1, sum)));
}

/// As goleveldb writes it when it opens a database whose logs it makes tables of.
#[test]
fn a_table_may_be_named_twice_in_the_same_words() {
    let (_folder, dir) = folder();
    let once = version(&[(0, table(5, "a", "c"))]);
    let mut edit = once.to_edit();
    edit.added.extend(edit.added.clone());
    write(&*dir, 1, &[edit]);
    assert_eq!(Version::read(&*dir).unwrap(), Some((1, once)));
}

#[test]
fn a_manifest_that_contradicts_itself_is_refused() {
    let whole = |tables: &[(u32, TableMeta)]| version(tables).to_edit();
    assert_eq!(fault(&[whole(&[(2, table(5, "a", "c")), (2, table(6, "b", "d"))])]), ManifestFault::Overlap(5, 6));
    let twice = [whole(&[(1, table(5, "a", "c"))]), whole(&[(1, table(5, "x", "y"))])];
    assert_eq!(fault(&twice), ManifestFault::TableTwice(5));
    let other = VersionEdit { comparator: Some("other".to_owned()), ..whole(&[]) };
    assert_eq!(fault(&[other]), ManifestFault::Comparator("other".to_owned()));
    for edit in [
        VersionEdit { comparator: None, ..whole(&[]) },
        VersionEdit { log_number: None, ..whole(&[]) },
        VersionEdit { next_file: None, ..whole(&[]) },
        VersionEdit { last_sequence: None, ..whole(&[]) },
    ] {
        assert!(matches!(fault(&[edit]), ManifestFault::Missing(_)));
    }
}

#[test]
fn a_manifest_over_its_limit_is_refused_unread() {
    let (_folder, dir) = folder();
    write(&*dir, 1, &[version(&[]).to_edit()]);
    let file = dir.open_file("MANIFEST-000001", Access::ReadWrite).unwrap();
    file.set_len(MANIFEST_BYTES_MAX).unwrap();
    assert!(Version::read(&*dir).is_ok());
    file.set_len(MANIFEST_BYTES_MAX + 1).unwrap();
    assert!(matches!(Version::read(&*dir), Err(LevelDbError::Disk(DiskError::TooLarge { .. }))));
}

#[test]
fn more_tables_than_the_limit_are_refused() {
    let tables = |count: usize| {
        let mut sum = Sum { tables: TABLES_MAX - 1, ..Sum::default() };
        let added = (0..count as u64).map(|number| (0, table(number, "a", "b"))).collect();
        sum.add(VersionEdit { added, ..VersionEdit::default() })
    };
    assert_eq!(tables(1), Ok(()));
    assert_eq!(tables(2), Err(ManifestFault::TooManyTables));
}

/// What goleveldb's `GetMeta` decides for the same files.
#[test]
fn the_manifest_that_the_peer_would_take_counts() {
    let (_folder, dir) = folder();
    let number = || Version::read(&*dir).map(|found| found.map(|(number, _)| number));
    for number in [1, 4, 9] {
        write(&*dir, number, &[version(&[]).to_edit()]);
    }
    let current = |name: &str, content: &str| write_durably(&*dir, name, content.as_bytes()).unwrap();
    current(CURRENT, "MANIFEST-000004\n");
    current("CURRENT.bak", "MANIFEST-000001\n");
    assert_eq!(number().unwrap(), Some(4));
    // A crash before the rename; the MANIFEST is whole.
    current("CURRENT.9", "MANIFEST-000009\n");
    assert_eq!(number().unwrap(), Some(9));
    current("CURRENT.9", "MANIFEST-00000");
    assert_eq!(number().unwrap(), Some(4));
    current("CURRENT.9", "MANIFEST-000001\n");
    assert_eq!(number().unwrap(), Some(4), "an old one");
    current(CURRENT, "");
    current("CURRENT.9", "");
    assert_eq!(number().unwrap(), Some(1), "the backup");
    current("CURRENT.bak", "MANIFEST-000002\n");
    assert!(matches!(number(), Err(LevelDbError::Current { .. })));
}

#[test]
fn logs_that_are_in_tables_already_are_left_out() {
    let (_folder, dir) = folder();
    for name in ["000001.log", "000002.log", "000003.log", "000012.log", "1000000.log", "x.log", "000004.ldb"] {
        write_durably(&*dir, name, b"").unwrap();
    }
    let mut version = version(&[]);
    assert_eq!(version.logs(&*dir).unwrap(), [3, 12, 1_000_000]);
    version.previous_log_number = 1;
    assert_eq!(version.logs(&*dir).unwrap(), [1, 3, 12, 1_000_000]);
}
