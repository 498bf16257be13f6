//! Databases that an independent LevelDB changes while they are read.

#![allow(clippy::disallowed_methods, reason = "the tests change files behind the reader's back")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use rusty_leveldb::{DB, Options};
use tempfile::TempDir;

use super::*;
use crate::disk::{Access, DirEntry, DiskError, File, Lock, OsDir};

/// A few KiB of writes make a table, and a few tables a compaction.
fn open(folder: &Path) -> DB {
    let options = Options { write_buffer_size: 4 << 10, max_file_size: 8 << 10, block_size: 512, ..Options::default() };
    DB::open(folder, options).unwrap()
}

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

fn content(database: &Database) -> Result<Content, LevelDbError> {
    database.scan(..).collect()
}

/// A folder in which nothing can be changed or locked, and something happens before one of the looks at its list.
#[derive(Debug)]
struct Watched {
    dir: Arc<dyn Dir>,
    lists: AtomicU64,
    before: u64,
    hook: Mutex<Option<PathBuf>>,
}

impl Watched {
    fn wrap(folder: &Path, before: u64, writes: bool) -> Arc<dyn Dir> {
        let hook = Mutex::new(writes.then(|| folder.to_owned()));
        Arc::new(Self { dir: OsDir::open(folder).unwrap(), lists: AtomicU64::new(0), before, hook })
    }
}

impl Dir for Watched {
    fn path(&self) -> &Path {
        self.dir.path()
    }
    fn list(&self) -> Result<Vec<DirEntry>, DiskError> {
        if self.lists.fetch_add(1, Ordering::Relaxed) + 1 == self.before
            && let Some(folder) = self.hook.lock().unwrap().take()
        {
            rewrite(&folder);
        }
        self.dir.list()
    }
    fn open_file(&self, name: &str, access: Access) -> Result<Arc<dyn File>, DiskError> {
        assert_eq!(access, Access::Read, "{name}");
        self.dir.open_file(name, access)
    }
    fn open_dir(&self, name: &str) -> Result<Arc<dyn Dir>, DiskError> {
        panic!("open {name}")
    }
    fn create_dir(&self, name: &str) -> Result<(), DiskError> {
        panic!("create {name}")
    }
    fn rename(&self, from: &str, _: &dyn Dir, _: &str) -> Result<(), DiskError> {
        panic!("rename {from}")
    }
    fn remove_file(&self, name: &str) -> Result<(), DiskError> {
        panic!("remove {name}")
    }
    fn remove_dir(&self, name: &str) -> Result<(), DiskError> {
        panic!("remove {name}")
    }
    fn remove_dir_all(&self, name: &str) -> Result<(), DiskError> {
        panic!("remove {name}")
    }
    fn sync_dir(&self) -> Result<(), DiskError> {
        panic!("sync")
    }
    fn lock(&self, name: &str) -> Result<Lock, DiskError> {
        panic!("lock {name}")
    }
    fn free_space(&self) -> Result<u64, DiskError> {
        self.dir.free_space()
    }
}

/// 200 keys: the first half in tables, the rest in the log.
fn write(folder: &Path) -> Content {
    let mut db = open(folder);
    let mut content = Content::new();
    for key in 0..200_u64 {
        let (key, value) = (format!("key {key:03}").into_bytes(), vec![key as u8; 90]);
        db.put(&key, &value).unwrap();
        content.insert(key, value);
    }
    db.close().unwrap();
    content
}

/// What the log holds goes into tables, and the tables are compacted: no file of before is left.
fn rewrite(folder: &Path) {
    let before = names(folder);
    let mut db = open(folder);
    db.put(b"key 999", b"new").unwrap();
    db.compact_range(b"a", b"z").unwrap();
    db.close().unwrap();
    // Opened once more: what isn't needed any more goes.
    open(folder).close().unwrap();
    let left: Vec<_> = names(folder).into_iter().filter(|name| before.contains(name)).collect();
    assert!(!left.iter().any(|name| name.ends_with(".ldb") || name.ends_with(".log")), "{left:?}");
}

fn names(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// At every look: before the MANIFEST is read for the first time, the logs are listed, and so on.
#[test]
fn what_changes_meanwhile_is_read_again() {
    let mut looks = 0;
    for before in 1.. {
        let folder = TempDir::new().unwrap();
        let mut expected = write(folder.path());
        let dir = Watched::wrap(folder.path(), before, true);
        let read = Database::read_live(&dir, content).unwrap();
        if read == expected {
            break; // it never looked so often: nothing was changed
        }
        expected.insert(b"key 999".to_vec(), b"new".to_vec());
        assert!(read == expected, "a change before look {before}: {} keys", read.len());
        looks = before;
    }
    assert!(looks >= 4, "{looks}");
}

/// Tables that go while they are read.
#[test]
fn tables_may_vanish_under_the_reader() {
    let folder = TempDir::new().unwrap();
    let mut expected = write(folder.path());
    let attempts = AtomicU64::new(0);
    let read = Database::read_live(&Watched::wrap(folder.path(), 0, false), |database| {
        if attempts.fetch_add(1, Ordering::Relaxed) == 0 {
            rewrite(folder.path());
            assert!(content(database).is_err(), "its tables are gone");
        }
        content(database)
    });
    expected.insert(b"key 999".to_vec(), b"new".to_vec());
    assert!(read.unwrap() == expected);
    assert_eq!(attempts.into_inner(), 2);
}

#[test]
fn a_database_that_never_stands_still_is_given_up() {
    let folder = TempDir::new().unwrap();
    write(folder.path());
    let round = AtomicU64::new(0);
    let error = Database::read_live(&Watched::wrap(folder.path(), 0, false), |_| {
        let mut db = open(folder.path());
        let key = format!("other {}", round.fetch_add(1, Ordering::Relaxed));
        db.put(key.as_bytes(), b"value").unwrap();
        db.compact_range(b"a", b"z").unwrap();
        db.close().unwrap();
        Ok::<(), LevelDbError>(())
    });
    assert!(matches!(error, Err(LevelDbError::Changing { .. })), "{error:?}");
    assert_eq!(round.into_inner(), u64::from(ATTEMPTS_MAX));
}

/// Keys are written one after the other, each in a batch of its own, so whoever sees one of them must see all before it.
#[test]
fn a_reader_beside_a_writer_sees_every_batch_up_to_some_moment() {
    const KEYS: u64 = 6_000;
    let folder = TempDir::new().unwrap();
    open(folder.path()).close().unwrap();
    let (path, written) = (folder.path().to_owned(), Arc::new(AtomicU64::new(0)));
    let (counted, is_over) = (Arc::clone(&written), Arc::new(AtomicBool::new(false)));
    let over = Arc::clone(&is_over);
    let writer = std::thread::spawn(move || {
        let mut db = open(&path);
        for key in 0..KEYS {
            db.put(&key.to_be_bytes(), &[7; 60]).unwrap();
            if key % 8 == 0 {
                db.flush().unwrap();
                counted.store(key + 1, Ordering::Release);
            }
        }
        db.close().unwrap();
        over.store(true, Ordering::Release);
    });
    let dir = Watched::wrap(folder.path(), 0, false);
    let (mut reads, mut last) = (0, 0);
    loop {
        let ends = is_over.load(Ordering::Acquire);
        let at_least = written.load(Ordering::Acquire).max(last);
        match Database::read_live(&dir, content) {
            Ok(content) => {
                let keys: Vec<u64> =
                    content.keys().map(|key| u64::from_be_bytes(key[..].try_into().unwrap())).collect();
                assert!(keys.iter().copied().eq(0..keys.len() as u64), "gaps: {keys:?}");
                assert!(keys.len() as u64 >= at_least, "{} of {at_least} keys", keys.len());
                last = keys.len() as u64;
                reads += 1;
            }
            Err(LevelDbError::Changing { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        if ends {
            break;
        }
    }
    writer.join().unwrap();
    assert_eq!(last, KEYS);
    assert!(reads > 1, "{reads}");
}
