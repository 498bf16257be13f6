//! The first load into a database that isn't there yet, cut off before every single operation and with every single operation failing: where a
//! peer could start before, it can start after.

use std::{
    collections::BTreeMap,
    sync::{Arc, Barrier},
    thread,
};

use netsim::{
    Rng,
    disk::{Fault, SimDisk},
};
use snapferry::{
    disk::{Dir, DiskError, OsDir},
    ledger::leveldb::{Bulk, Database, LevelDbError, make_database},
};

use crate::sim::disk::sim_dir;

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// What is drawn of the states that a power cut may leave.
const SEED: u64 = 5;
/// Where a peer looks for it.
const NAME: &str = "stateLeveldb";

/// What is there before: nothing, a folder with these files, or what a kill left beside.
const STARTS: [Option<&[&str]>; 6] = [
    None,
    Some(&[]),
    Some(&["LOCK"]),
    Some(&["LOCK", "MANIFEST-000001"]),
    Some(&["LOCK", "LOG", "MANIFEST-000001", ".CURRENT.new"]),
    Some(&["LOCK", "LOG.old", "MANIFEST-000000"]),
];

fn start(files: Option<&[&str]>) -> SimDisk {
    let disk = SimDisk::new();
    if let Some(files) = files {
        let root = sim_dir(&disk);
        root.create_dir(NAME).unwrap();
        root.sync_dir().unwrap();
        files.iter().for_each(|name| disk.put(format!("{NAME}/{name}"), b"").unwrap());
    }
    disk
}

fn records() -> Content {
    (0..300).map(|n| (format!("m\0{n:04}").into_bytes(), b"loaded".to_vec())).collect()
}

fn load(disk: &SimDisk) -> Result<(), LevelDbError> {
    let mut bulk = Bulk::begin(make_database(&*sim_dir(disk), NAME)?, vec![b"m\0".to_vec()..b"m\x01".to_vec()])?;
    let mut run = bulk.run();
    records().iter().try_for_each(|(key, value)| run.add(key, value))?;
    bulk.take(run.finish()?);
    bulk.commit()
}

/// What a peer that starts finds; `None` if it doesn't start: at a folder that is neither empty nor a database.
fn started(disk: &SimDisk) -> Option<Content> {
    let folder = match sim_dir(disk).open_dir(NAME) {
        Err(error) if error.is_not_found() => return Some(Content::new()),
        folder => folder.unwrap(),
    };
    if folder.list().unwrap().is_empty() {
        return Some(Content::new());
    }
    let database = Database::open(folder).ok()?;
    Some(database.scan(..).collect::<Result<_, _>>().unwrap())
}

/// Whether all is loaded; and another try brings it about.
fn check(disk: &SimDisk, could_start: bool, context: &str) -> bool {
    let found = started(disk);
    assert!(found.is_some() || !could_start, "{context}: no peer starts any more");
    let found = found.unwrap_or_default();
    assert!(found.is_empty() || found == records(), "{context}: {} records", found.len());
    load(disk).unwrap_or_else(|error| panic!("{context}: it can't be loaded any more: {error}"));
    let names: Vec<String> = sim_dir(disk).list().unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, [NAME], "{context}");
    assert_eq!(started(disk), Some(records()), "{context}: loaded again");
    found == records()
}

#[test]
fn a_first_load_that_is_cut_off_anywhere_leaves_what_a_peer_opens() {
    for files in STARTS {
        let disk = start(files);
        let could_start = started(&disk).is_some();
        assert_eq!(could_start, files.is_none_or(<[_]>::is_empty), "{files:?}");
        disk.keep_images();
        load(&disk).unwrap();
        let (mut images, mut rng) = (disk.taken_images(), Rng::new(SEED));
        images.push(disk.image());
        for image in &images {
            let context = format!("{files:?}, cut off before operation {}", image.operation());
            for disk in image.outcomes(&mut rng).into_iter().chain([image.killed()]) {
                check(&disk, could_start, &context);
            }
        }
        assert!(images.len() > 15, "{}", images.len());
        let done = disk.image().outcomes(&mut rng);
        assert!(done.iter().all(|disk| check(disk, true, "done")), "a load that says it is done is durable");
    }
}

#[test]
fn a_first_load_whose_disk_fails_anywhere_leaves_what_a_peer_opens() {
    for files in STARTS {
        let probe = start(files);
        let (before, could_start) = (probe.operations(), started(&start(files)).is_some());
        load(&probe).unwrap();
        for (at, kind) in (0..).zip(probe.log().iter().map(|operation| operation.kind)).skip(before as usize) {
            for fault in Fault::ALL.into_iter().filter(|fault| fault.fits(kind)) {
                let disk = start(files);
                disk.fail(at, fault);
                let done = load(&disk);
                let context = format!("{files:?}, operation {at} fails with {fault:?}");
                disk.lose_unsynced();
                assert!(check(&disk, could_start, &context) || done.is_err(), "{context}: it said that it is done");
            }
        }
    }
}

/// Nobody knows whose that is.
#[test]
fn what_no_database_leaves_behind_is_never_replaced() {
    for name in ["000005.ldb", "000005.log", "notes.txt", "CURRENTLY", "folder/file"] {
        let disk = start(Some(&["LOCK"]));
        disk.put(format!("{NAME}/{name}"), b"somebody's").unwrap();
        let error = load(&disk).unwrap_err();
        let named = matches!(error, LevelDbError::Current { .. } | LevelDbError::Foreign { .. });
        assert!(named && error.to_string().contains(NAME), "{error}");
        assert_eq!(disk.read(format!("{NAME}/{name}")).unwrap(), b"somebody's");
        let names: Vec<String> = sim_dir(&disk).list().unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, [NAME]);
    }
}

/// A rest that somebody works with is not one.
#[test]
fn a_rest_that_is_locked_is_left_alone() {
    let disk = start(Some(&["LOCK", "MANIFEST-000001"]));
    let folder = sim_dir(&disk).open_dir(NAME).unwrap();
    let _held = folder.lock("LOCK").unwrap();
    assert!(matches!(load(&disk), Err(LevelDbError::Disk(DiskError::Locked { .. }))));
    assert_eq!(disk.read(format!("{NAME}/MANIFEST-000001")).unwrap(), b"");
}

/// On a real disk, with real locks: one of them has it, the others are told that it is taken.
#[test]
fn of_those_who_make_it_at_once_one_has_it() {
    const AT_ONCE: usize = 6;
    for files in [None, Some(&[][..]), Some(&["LOCK"])] {
        for round in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            if let Some(files) = files {
                std::fs::create_dir(folder.path().join(NAME)).unwrap();
                files.iter().for_each(|file| drop(std::fs::File::create(folder.path().join(NAME).join(file)).unwrap()));
            }
            let (go, parent) = (Barrier::new(AT_ONCE), OsDir::open(folder.path()).unwrap());
            let taken: Vec<_> = thread::scope(|scope| {
                let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(|| take(&go, &parent))).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let have = taken.iter().filter(|taken| taken.is_ok()).count();
            assert_eq!(have, 1, "{files:?}, round {round}: {taken:?}");
            let told = |taken: &Result<Bulk, LevelDbError>| {
                matches!(taken, Ok(_) | Err(LevelDbError::Disk(DiskError::Locked { .. })))
            };
            assert!(taken.iter().all(told), "{files:?}, round {round}: {taken:?}");
            let names: Vec<String> = parent.list().unwrap().into_iter().map(|entry| entry.name).collect();
            assert_eq!(names, [NAME], "{files:?}, round {round}");
        }
    }
}

fn take(go: &Barrier, parent: &Arc<dyn Dir>) -> Result<Bulk, LevelDbError> {
    go.wait();
    Bulk::begin(make_database(&**parent, NAME)?, Vec::new())
}
