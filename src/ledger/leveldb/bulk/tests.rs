//! Loads into databases that an independent LevelDB wrote, read by it again and by our own reader.

use proptest::{collection::vec, prelude::*};
use rusty_leveldb::{DB, LdbIterator, Options};
use tempfile::TempDir;

use super::*;
use crate::{
    disk::{Access, DiskError, OsDir},
    ledger::leveldb::{Database, Kind, TableFault, TableMeta, table::table_name},
};

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// A few KiB of writes make a table, and a few tables a compaction.
fn options() -> Options {
    Options { write_buffer_size: 4 << 10, max_file_size: 8 << 10, block_size: 512, ..Options::default() }
}

fn dir(folder: &TempDir) -> Arc<dyn Dir> {
    OsDir::open(folder.path()).unwrap()
}

/// All keys of a channel.
fn channel(name: &str) -> Range<Vec<u8>> {
    [name.as_bytes(), &[0]].concat()..[name.as_bytes(), &[1]].concat()
}

/// Loads the records in so many runs, which interleave.
fn load(folder: &TempDir, replaced: Vec<Range<Vec<u8>>>, records: &Content, runs: usize) {
    let mut bulk = Bulk::begin(dir(folder), replaced).unwrap();
    let mut open: Vec<Run> = (0..runs).map(|_| bulk.run()).collect();
    for (index, (key, value)) in records.iter().enumerate() {
        open[index % runs].add(key, value).unwrap();
    }
    open.into_iter().for_each(|run| bulk.take(run.finish().unwrap()));
    bulk.commit().unwrap();
}

fn ours(folder: &TempDir) -> Content {
    Database::open(dir(folder)).unwrap().scan(..).collect::<Result<_, _>>().unwrap()
}

fn theirs(folder: &TempDir) -> Content {
    let options = Options { create_if_missing: false, paranoid_checks: true, ..options() };
    let mut db = DB::open(folder.path(), options).unwrap();
    let (mut iterator, mut content) = (db.new_iter().unwrap(), Content::new());
    while let Some((key, value)) = iterator.next() {
        content.insert(key, value.to_vec());
    }
    // Its `get` isn't used: that takes a deletion of the next key for one of the key that was asked for.
    for (key, value) in content.iter().step_by(content.len() / 1_000 + 1) {
        iterator.seek(key);
        let found = iterator.current().map(|(key, value)| (key.to_vec(), value.to_vec()));
        assert_eq!(found, Some((key.clone(), value.clone())), "found as it is listed");
    }
    db.close().unwrap();
    content
}

fn names(folder: &TempDir) -> Vec<String> {
    dir(folder).list().unwrap().into_iter().map(|entry| entry.name).collect()
}

/// 35 MB of the channel, which can't be compressed.
fn many(name: &str) -> Content {
    let record = |n: u32| {
        let key = [name.as_bytes(), &[0], format!("labcc\0key {n:06}").as_bytes()].concat();
        let mut value = vec![0; n as usize % 1_000];
        blake3::Hasher::new().update(&n.to_le_bytes()).finalize_xof().fill(&mut value);
        (key, value)
    };
    (0..70_000).map(record).collect()
}

#[test]
fn a_new_database_holds_what_was_loaded() {
    for runs in [1, 3] {
        let (folder, mut records) = (TempDir::new().unwrap(), many("c"));
        load(&folder, vec![channel("c")], &records, runs);
        assert!(names(&folder).iter().filter(|name| name.ends_with(".ldb")).count() > runs, "several tables");
        assert!(ours(&folder) == records, "{runs} runs");
        assert!(theirs(&folder) == records, "{runs} runs");
        // It goes on as any other database does.
        let mut db = DB::open(folder.path(), options()).unwrap();
        for (key, value) in [(&b"a"[..], &b"before"[..]), (b"c\0labcc\0key 000500", b"again"), (b"z", b"behind")] {
            db.put(key, value).unwrap();
            records.insert(key.to_vec(), value.to_vec());
        }
        let gone = b"c\0labcc\0key 000501";
        db.delete(gone).unwrap();
        records.remove(&gone[..]);
        db.compact_range(b"a", b"zz").unwrap();
        db.close().unwrap();
        assert!(ours(&folder) == records, "{runs} runs");
    }
}

#[test]
fn nothing_loaded_is_an_empty_database() {
    let folder = TempDir::new().unwrap();
    load(&folder, vec![channel("c")], &Content::new(), 2);
    assert_eq!((ours(&folder), theirs(&folder)), (Content::new(), Content::new()));
}

#[derive(Debug, Clone)]
enum Step {
    Put(u16, usize),
    Delete(u16),
    Flush,
    Compact(u16, u16),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        60 => (0..600_u16, 0..300_usize).prop_map(|(key, len)| Step::Put(key, len)),
        15 => (0..600_u16).prop_map(Step::Delete),
        1 => Just(Step::Flush),
        1 => (0..600_u16, 0..600_u16).prop_map(|(a, b)| Step::Compact(a.min(b), a.max(b))),
        1 => Just(Step::Reopen),
    ];
    vec(step, 0..900)
}

/// Keys of three channels, of which `m` lies between the others, of one whose name begins with `m`, and the format of all.
fn key(number: u16) -> Vec<u8> {
    match number {
        0 => b"_\0f".to_vec(),
        number => {
            [["a", "m", "mm", "z"][number as usize / 150].as_bytes(), &[0], format!("{number}").as_bytes()].concat()
        }
    }
}

fn write(folder: &TempDir, steps: &[Step], content: &mut Content) {
    let mut db = DB::open(folder.path(), options()).unwrap();
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
                db = DB::open(folder.path(), options()).unwrap();
            }
        }
    }
    db.close().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn other_keys_stay_and_older_ones_of_the_range_go(
        before in steps(),
        between in steps(),
        loaded in vec((0..3_usize, vec(0..400_u16, 0..80)), 1..3),
        runs in 1..4_usize,
    ) {
        let (folder, mut content) = (TempDir::new().unwrap(), Content::new());
        let mut steps = [&before, &between].into_iter();
        for (which, numbers) in loaded {
            steps.next().into_iter().for_each(|steps| write(&folder, steps, &mut content));
            let range = channel(["m", "a", "never"][which]);
            // One key alone, too.
            let replaced = vec![range.clone(), b"_\0f".to_vec()..b"_\0f\0".to_vec()];
            let records: Content = numbers.into_iter().map(|n| ([&range.start[..], &n.to_be_bytes()].concat(), vec![n as u8; 90]))
                .chain([(b"_\0f".to_vec(), b"2.0".to_vec())]).collect();
            load(&folder, replaced.clone(), &records, runs);
            content.retain(|key, _| !replaced.iter().any(|range| range.contains(key)));
            content.extend(records);
            prop_assert_eq!(&ours(&folder), &content);
        }
        prop_assert_eq!(&theirs(&folder), &content);
    }
}

/// The state that matters most, made on purpose: old records of the range in the log, in level 0 and in deep levels.
#[test]
fn old_records_vanish_from_every_level_and_the_log() {
    let (folder, mut content) = (TempDir::new().unwrap(), Content::new());
    let puts: Vec<Step> =
        (0..4_000_u32).map(|n| Step::Put((n * 7_919 % 599 + 1) as u16, 60 + n as usize % 60)).collect();
    write(&folder, &[&puts[..], &[Step::Compact(0, 599)], &puts[..700], &[Step::Delete(160)]].concat(), &mut content);
    let (_, version) = Version::read(&*dir(&folder)).unwrap().unwrap();
    let bulk = Bulk::begin(dir(&folder), vec![channel("m")]).unwrap();
    let spans = |table: &TableMeta| bulk.target.replaced.touch(table.smallest.user_key(), table.largest.user_key());
    let touched = version.levels.iter().filter(|(_, tables)| tables.values().any(spans)).count();
    assert!(
        touched > 1 && bulk.recent.keys().any(|key| bulk.target.replaced.holds(key.user_key())),
        "{touched} levels"
    );
    assert!(bulk.recent.keys().any(|key| key.kind() == Kind::Deletion));
    drop(bulk);

    let records: Content = std::iter::once((b"m\0".to_vec(), b"the only one".to_vec())).collect();
    load(&folder, vec![channel("m")], &records, 1);
    content.retain(|key, _| !channel("m").contains(key));
    content.extend(records);
    assert_eq!(ours(&folder), content);
    assert_eq!(theirs(&folder), content);
}

/// LevelDB looks into the tables of level 0 by their numbers, the highest first (goleveldb looks into all of them).
#[test]
fn tables_of_level_0_stay_in_the_order_of_their_age() {
    let folder = TempDir::new().unwrap();
    let dir = dir(&folder);
    let mut version = Version { log_number: 9, next_file: 10, last_sequence: 40, ..Version::default() };
    // Of four tables the second one holds something that is replaced.
    for number in 1..5 {
        let mut table = TableWriter::create(&*dir, number).unwrap();
        table.add(b"a\0key", number * 10, b"").unwrap();
        if number == 2 {
            table.add(b"m\0key", number * 10, b"").unwrap();
        }
        version.levels.entry(0).or_default().insert(number, table.finish().unwrap());
    }
    version.write(&*dir, 8).unwrap();
    load(&folder, vec![channel("m")], &Content::new(), 0);
    let (_, after) = Version::read(&*dir).unwrap().unwrap();
    let tables: Vec<&TableMeta> = after.levels[&0].values().collect();
    assert_eq!(tables.iter().map(|table| table.largest.sequence()).collect::<Vec<_>>(), [10, 20, 30, 40]);
    assert!(tables[0].number == 1 && tables[1].number > 8, "{tables:?}");
}

#[test]
fn a_table_that_spans_the_range_makes_room_in_its_level() {
    let folder = TempDir::new().unwrap();
    let dir = dir(&folder);
    let mut table = TableWriter::create(&*dir, 1).unwrap();
    ["a\0x", "l\0x", "n\0x", "z\0x"].iter().for_each(|key| table.add(key.as_bytes(), 1, b"").unwrap());
    let mut version = Version { log_number: 9, next_file: 10, last_sequence: 1, ..Version::default() };
    version.levels.entry(1).or_default().insert(1, table.finish().unwrap());
    version.write(&*dir, 8).unwrap();
    load(&folder, vec![channel("m")], &std::iter::once((b"m\0x".to_vec(), vec![])).collect(), 1);
    let (_, after) = Version::read(&*dir).unwrap().unwrap();
    let mut spans: Vec<_> =
        after.levels[&1].values().map(|table| (table.smallest.user_key(), table.largest.user_key())).collect();
    spans.sort_unstable();
    assert_eq!(spans, [(&b"a\0x"[..], &b"l\0x"[..]), (b"m\0x", b"m\0x"), (b"n\0x", b"z\0x")]);
}

#[test]
fn what_a_load_left_is_removed_by_the_next_one() {
    let (folder, records) = (TempDir::new().unwrap(), many("c"));
    load(&folder, vec![channel("c")], &records, 1);
    let before = names(&folder);
    let bulk = Bulk::begin(dir(&folder), vec![channel("d")]).unwrap();
    let mut run = bulk.run();
    run.add(b"d\0", b"").unwrap();
    run.finish().unwrap();
    drop(bulk);
    assert_ne!(names(&folder), before);
    drop(Bulk::begin(dir(&folder), vec![channel("d")]).unwrap());
    assert_eq!(names(&folder), before);
    // And a load that ends well leaves nothing of the database before.
    load(&folder, vec![channel("c")], &Content::new(), 1);
    let files = names(&folder);
    assert!(files.len() == 3 && files[2].starts_with("MANIFEST-"), "{files:?}");
}

#[test]
fn a_database_that_is_open_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let mut db = DB::open(folder.path(), options()).unwrap();
    let refused = Bulk::begin(dir(&folder), vec![]);
    assert!(matches!(refused, Err(LevelDbError::Disk(DiskError::Locked { .. }))));
    db.close().unwrap();
    drop(db);
    let bulk = Bulk::begin(dir(&folder), vec![]).unwrap();
    assert!(DB::open(folder.path(), options()).is_err());
    drop(bulk);
}

#[test]
fn tables_without_a_manifest_are_no_new_database() {
    for left in [table_name(3), "000003.log".to_owned()] {
        let folder = TempDir::new().unwrap();
        dir(&folder).open_file(&left, Access::CreateNew).unwrap();
        assert!(matches!(Bulk::begin(dir(&folder), vec![]), Err(LevelDbError::Current { .. })));
        assert!(names(&folder).contains(&left));
    }
}

#[test]
fn keys_out_of_order_or_out_of_range_are_refused() {
    let folder = TempDir::new().unwrap();
    let bulk = Bulk::begin(dir(&folder), vec![channel("c"), channel("e")]).unwrap();
    let order = |error| matches!(error, LevelDbError::Table { fault: TableFault::Order, .. });
    let outside = |error| matches!(error, LevelDbError::NotReplaced { .. });
    let mut run = bulk.run();
    assert!(outside(run.add(b"b\0x", b"").unwrap_err()), "before the first");
    run.add(b"c\0x", b"").unwrap();
    assert!(order(run.add(b"c\0x", b"").unwrap_err()));
    assert!(order(run.add(b"c\0a", b"").unwrap_err()));
    assert!(outside(run.add(b"d\0x", b"").unwrap_err()), "between");
    run.add(b"e\0x", b"").unwrap();
    assert!(outside(run.add(b"f\0x", b"").unwrap_err()), "behind the last");
    assert!(order(run.add(b"c\0z", b"").unwrap_err()), "in the range before");
}

fn fake(number: u64, first: &str, last: &str, mebibytes: u64) -> TableMeta {
    let key = |user_key: &str| InternalKey::new(user_key.as_bytes(), 1, Kind::Put);
    TableMeta { number, bytes: mebibytes << 20, smallest: key(first), largest: key(last) }
}

#[test]
fn a_run_goes_to_the_first_level_that_has_room() {
    let folder = TempDir::new().unwrap();
    let bulk = Bulk::begin(dir(&folder), vec![channel("c")]).unwrap();
    let mut levels = Levels::new();
    levels.insert(0, vec![fake(1, "a", "z", 5)]);
    levels.insert(1, vec![fake(2, "a", "b", 5), fake(3, "x", "z", 5)]);
    let run =
        |number, first: &str, last: &str, mebibytes| LoadedRun { tables: vec![fake(number, first, last, mebibytes)] };
    // 100 MiB fit into level 1, of which 10 are taken.
    let runs = vec![run(4, "ca", "cz", 20), run(5, "cb", "cc", 60), run(6, "ba", "bz", 19), run(7, "cc", "cd", 90)];
    place(&bulk.target, &mut levels, runs).unwrap();
    let at: BTreeMap<u64, u32> =
        levels.iter().flat_map(|(level, tables)| tables.iter().map(|table| (table.number, *level))).collect();
    // The largest first: 7 is too large for level 1, 5 isn't and touches 7 only; 4 overlaps both; 6 has room beside 5.
    assert_eq!(at, BTreeMap::from([(1, 0), (2, 1), (3, 1), (7, 2), (5, 1), (4, 3), (6, 1)]));

    let same = |number| run(number, "c", "d", 1);
    place(&bulk.target, &mut Levels::new(), (0..31).map(same).collect()).unwrap();
    let refused = place(&bulk.target, &mut Levels::new(), (0..32).map(same).collect());
    assert!(matches!(refused, Err(LevelDbError::TooManyRuns { .. })));
}

#[test]
fn numbers_of_files_are_known() {
    for (name, expected) in [
        ("000012.ldb", Some(12)),
        ("000013.sst", Some(13)),
        ("000014.log", Some(14)),
        ("MANIFEST-000015", Some(15)),
        ("CURRENT.16", Some(16)),
        ("CURRENT", None),
        ("CURRENT.bak", None),
        ("LOCK", None),
        ("LOG", None),
    ] {
        let folder = TempDir::new().unwrap();
        dir(&folder).open_file(name, Access::CreateNew).unwrap();
        assert_eq!(folder::highest_number(&*dir(&folder)).unwrap(), expected.unwrap_or(0), "{name}");
    }
}
