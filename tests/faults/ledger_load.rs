//! A load into a peer's database that is cut off before every single operation of its disk, and with every single operation failing: the
//! database is then what it was, or what was loaded.

use std::{collections::BTreeMap, ops::Range};

use netsim::{
    Rng,
    disk::{Fault, SimDisk},
};
use snapferry::ledger::leveldb::{
    BatchWriter, Bulk, Database, InternalKey, Kind, LevelDbError, LogWriter, TableWriter, Version,
};

use crate::sim::disk::sim_dir;

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// What is drawn of the states that a power cut may leave.
const SEED: u64 = 5;

fn range() -> Range<Vec<u8>> {
    b"m\0".to_vec()..b"m\x01".to_vec()
}

fn put(content: &mut Content, key: String, value: &str) -> (Vec<u8>, Vec<u8>) {
    content.insert(key.clone().into_bytes(), value.as_bytes().to_vec());
    (key.into_bytes(), value.as_bytes().to_vec())
}

/// A database with three channels in a table of each of two levels and in its log.
fn old() -> (SimDisk, Content) {
    let disk = SimDisk::new();
    let (dir, mut content) = (sim_dir(&disk), Content::new());
    let mut version = Version { log_number: 7, next_file: 8, last_sequence: 300, ..Version::default() };
    for (level, number, sequence) in [(2, 3, 1), (0, 4, 2)] {
        let mut table = TableWriter::create(&*dir, number).unwrap();
        for channel in ["a", "m", "z"] {
            for n in 0..40 * number {
                let (key, value) = put(&mut content, format!("{channel}\0{n:03}"), &format!("level {level}"));
                table.add(&key, sequence, &value).unwrap();
            }
        }
        let gone = InternalKey::new(b"z\x00gone", sequence, Kind::Deletion);
        table.add_of(gone.user_key(), gone.sequence(), gone.kind(), b"").unwrap();
        version.levels.entry(level).or_default().insert(number, table.finish().unwrap());
    }
    version.write(&*dir, 6).unwrap();
    let mut log = LogWriter::create(&*dir, "000007.log").unwrap();
    let mut batch = BatchWriter::new(301);
    for channel in ["a", "m", "z"] {
        let (key, value) = put(&mut content, format!("{channel}\0log"), "log");
        batch.put(&key, &value);
    }
    log.append(&batch.finish()).unwrap();
    log.sync().unwrap();
    dir.sync_dir().unwrap();
    (disk, content)
}

fn records() -> Content {
    (0..300).map(|n| (format!("m\0{n:04}").into_bytes(), b"loaded".to_vec())).collect()
}

fn with_records(old: &Content) -> Content {
    let mut content = old.clone();
    content.retain(|key, _| !range().contains(key));
    content.extend(records());
    content
}

/// Loads the records in two runs.
fn load(disk: &SimDisk) -> Result<(), LevelDbError> {
    let mut bulk = Bulk::begin(sim_dir(disk), vec![range()])?;
    let (mut even, mut odd) = (bulk.run(), bulk.run());
    for (index, (key, value)) in records().iter().enumerate() {
        let run = if index % 2 == 0 { &mut even } else { &mut odd };
        run.add(key, value)?;
    }
    for run in [even, odd] {
        bulk.take(run.finish()?);
    }
    bulk.commit()
}

fn content(disk: &SimDisk) -> Content {
    Database::open(sim_dir(disk)).unwrap().scan(..).collect::<Result<_, _>>().unwrap()
}

/// Old or new, and a load brings the new one about.
fn check(disk: &SimDisk, old: &Content, context: &str) -> bool {
    let new = with_records(old);
    let found = content(disk);
    assert!(found == *old || found == new, "{context}: a mixture of {} records", found.len());
    load(disk).unwrap_or_else(|error| panic!("{context}: it can't be loaded any more: {error}"));
    assert!(content(disk) == new, "{context}: loaded again");
    found == new
}

fn crash_everywhere(disk: SimDisk, old: &Content) {
    disk.keep_images();
    load(&disk).unwrap();
    let mut images = disk.taken_images();
    let operations = disk.operations();
    images.push(disk.image());
    let mut rng = Rng::new(SEED);
    let (mut states, mut switched) = (0, false);
    for image in &images {
        let context = format!("cut off before operation {} of {operations}", image.operation());
        let mut news = 0;
        let outcomes: Vec<SimDisk> = image.outcomes(&mut rng).into_iter().chain([image.killed()]).collect();
        for disk in &outcomes {
            news += usize::from(check(disk, old, &context));
        }
        states += outcomes.len();
        // Once it is durable, it stays.
        assert!(!switched || news == outcomes.len(), "{context}: the load is lost again");
        switched |= news == outcomes.len();
    }
    assert!(switched, "a load that says it is done is durable");
    assert!(images.len() > 15 && states > images.len() * 3, "{} crash points, {states} states", images.len());
}

#[test]
fn a_load_that_is_cut_off_anywhere_leaves_the_old_database_or_the_new_one() {
    let (disk, content) = old();
    crash_everywhere(disk, &content);
}

#[test]
fn a_load_whose_disk_fails_anywhere_says_so_or_is_whole() {
    let (probe, content_before) = old();
    let before = probe.operations();
    load(&probe).unwrap();
    for (at, kind) in (0..).zip(probe.log().iter().map(|operation| operation.kind)).skip(before as usize) {
        for fault in Fault::ALL.into_iter().filter(|fault| fault.fits(kind)) {
            let (disk, _) = old();
            disk.fail(at, fault);
            let done = load(&disk);
            let context = format!("operation {at} fails with {fault:?}");
            // Durable or not, what was said must hold after a power cut, too.
            disk.lose_unsynced();
            let new = content(&disk) == with_records(&content_before);
            assert!(done.is_err() || new, "{context}: it said that it is done");
            check(&disk, &content_before, &context);
        }
    }
}
