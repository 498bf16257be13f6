//! What the disk promises to those who test with it.

use std::{collections::BTreeSet, io::ErrorKind};

use super::*;

fn write(dir: &SimDir, name: &str, bytes: &[u8]) -> SimFile {
    let file = dir.open(name, Opening::ReadWrite).unwrap();
    file.write_at(bytes, 0).unwrap();
    file
}

fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> ErrorKind {
    result.unwrap_err().kind()
}

/// What may be read from `path` after a power cut now; `None`: it isn't there.
fn may_be(disk: &SimDisk, path: &str) -> BTreeSet<Option<Vec<u8>>> {
    disk.image().outcomes(&mut Rng::new(1)).iter().map(|disk| disk.read(path)).collect()
}

fn some(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(bytes.to_vec())
}

#[test]
fn a_power_cut_keeps_tears_or_loses_what_was_not_synced() {
    let disk = SimDisk::new();
    let file = write(&disk.root(), "a", b"1234");
    assert_eq!(may_be(&disk, "a"), BTreeSet::from([None, some(b""), some(b"12"), some(b"1234")]));
    disk.root().sync().unwrap();
    assert_eq!(may_be(&disk, "a"), BTreeSet::from([some(b""), some(b"12"), some(b"1234")]));
    file.sync().unwrap();
    assert_eq!(may_be(&disk, "a"), BTreeSet::from([some(b"1234")]));
    file.write_at(b"abcd", 2).unwrap();
    file.set_len(5).unwrap();
    let expected = [&b"1234"[..], b"12ab", b"12abcd", b"1234\0", b"12ab\0", b"12abc"];
    assert_eq!(may_be(&disk, "a"), expected.map(some).into());
    let mut drawn = BTreeSet::new();
    for seed in 0..200 {
        drawn.insert(disk.image().drawn(&mut Rng::new(seed)).read("a"));
    }
    assert_eq!(drawn, expected.map(some).into(), "what is drawn is what is enumerated");
}

#[test]
fn synced_bytes_may_lose_their_name_and_names_their_bytes() {
    let disk = SimDisk::new();
    write(&disk.root(), "a", b"12").sync().unwrap();
    assert_eq!(may_be(&disk, "a"), BTreeSet::from([None, some(b"12")]));
    let root = disk.root();
    root.sync().unwrap();
    write(&root, "b", b"34");
    root.rename("b", &root, "a").unwrap();
    assert_eq!(may_be(&disk, "a"), [&b"12"[..], b"", b"3", b"34"].map(some).into(), "never no name at all");
    // In order: the new name can't be there without the file having been made.
    assert_eq!(may_be(&disk, "b"), BTreeSet::from([None, some(b""), some(b"3"), some(b"34")]));
}

#[test]
fn two_folders_reach_the_disk_in_either_order_but_a_rename_between_them_is_one_step() {
    let disk = SimDisk::new();
    let root = disk.root();
    for name in ["x", "y"] {
        root.create_dir(name).unwrap();
    }
    root.sync().unwrap();
    let (x, y) = (root.open_dir("x").unwrap(), root.open_dir("y").unwrap());
    write(&x, "a", b"").sync().unwrap();
    write(&y, "b", b"").sync().unwrap();
    let there = |disk: &SimDisk| -> BTreeSet<Vec<String>> {
        let files = |disk: SimDisk| disk.paths().into_iter().filter(|path| !path.ends_with('/')).collect();
        disk.image().outcomes(&mut Rng::new(1)).into_iter().map(files).collect()
    };
    let paths = |paths: &[&str]| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
    let either = [paths(&[]), paths(&["x/a"]), paths(&["y/b"]), paths(&["x/a", "y/b"])];
    assert_eq!(there(&disk), either.into());
    x.sync().unwrap();
    y.sync().unwrap();
    x.rename("a", &y, "c").unwrap();
    assert_eq!(there(&disk), BTreeSet::from([paths(&["x/a", "y/b"]), paths(&["y/b", "y/c"])]));
    write(&x, "later", b"").sync().unwrap();
    y.sync().unwrap();
    let after = BTreeSet::from([paths(&["y/b", "y/c"]), paths(&["x/later", "y/b", "y/c"])]);
    assert_eq!(there(&disk), after, "the rename took its other half along, not what came after it");
}

#[test]
fn the_machine_is_gone_from_the_chosen_operation_on() {
    let disk = SimDisk::new();
    disk.crash_before(2);
    let root = disk.root();
    let file = root.open("a", Opening::ReadWrite).unwrap();
    file.write_at(b"1", 0).unwrap();
    let lock = root.lock("a");
    assert_eq!(kind(lock), ErrorKind::NotConnected);
    assert_eq!(kind(file.sync()), ErrorKind::NotConnected);
    assert_eq!(disk.operations(), 2, "what didn't happen isn't counted");
    disk.crash(&mut Rng::new(1));
    assert_eq!(kind(file.sync()), ErrorKind::NotConnected, "a handle of a dead process");
    disk.root().lock("b").unwrap();
}

#[test]
fn a_kill_loses_nothing_and_frees_the_locks() {
    let disk = SimDisk::new();
    let root = disk.root();
    write(&root, "a", b"1");
    let lock = root.lock("lock").unwrap();
    assert_eq!(kind(disk.root().lock("lock")), ErrorKind::WouldBlock);
    disk.kill();
    let again = disk.root().lock("lock").unwrap();
    drop(lock);
    assert_eq!(kind(disk.root().lock("lock")), ErrorKind::WouldBlock, "a dead process gives nothing back");
    drop(again);
    disk.root().lock("lock").unwrap();
    assert_eq!(disk.read("a"), some(b"1"));
}

#[test]
fn a_failed_sync_drops_what_waited_and_calls_it_clean() {
    let disk = SimDisk::new();
    let file = write(&disk.root(), "a", b"old");
    file.sync().unwrap();
    disk.root().sync().unwrap();
    file.write_at(b"new", 0).unwrap();
    disk.fail(disk.operations(), Fault::Io);
    file.sync().unwrap_err();
    file.sync().unwrap();
    assert_eq!(disk.read("a"), some(b"new"), "from the cache");
    assert_eq!(may_be(&disk, "a"), BTreeSet::from([some(b"old")]));
    file.forget_cached();
    assert_eq!(disk.read("a"), some(b"old"));
    file.write_at(b"x", 1).unwrap();
    file.forget_cached();
    assert_eq!(disk.read("a"), some(b"oxd"), "what waits isn't lost");
}

#[test]
fn one_operation_fails_and_the_next_one_works() {
    let disk = SimDisk::new();
    let root = disk.root();
    let file = write(&root, "a", b"0000");
    let fails = |fault| {
        disk.fail(disk.operations(), fault);
        (kind(file.write_at(b"1234", 0)), disk.read("a").unwrap())
    };
    assert_eq!(fails(Fault::Io), (ErrorKind::Other, b"0000".to_vec()));
    assert_eq!(fails(Fault::NoSpace), (ErrorKind::StorageFull, b"0000".to_vec()));
    assert_eq!(fails(Fault::Short), (ErrorKind::StorageFull, b"1200".to_vec()));
    file.write_at(b"1234", 0).unwrap();
    disk.fail(disk.operations(), Fault::Io);
    root.create_dir("d").unwrap_err();
    assert_eq!(disk.paths(), ["a"]);
    root.create_dir("d").unwrap();
}

#[test]
fn a_full_disk_takes_again_what_fits_once_something_is_removed() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(5 * 4096));
    let root = disk.root();
    write(&root, "a", &[1; 2 * 4096]);
    let file = root.open("b", Opening::ReadWrite).unwrap();
    assert_eq!(kind(file.write_at(&[2; 4 * 4096], 0)), ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 2 * 4096, "a short write");
    file.write_at(&[3; 4096], 0).unwrap();
    assert_eq!(root.free_space().unwrap(), 4096);
    root.remove("a").unwrap();
    file.write_at(&[2; 4 * 4096], 0).unwrap();
    assert_eq!((disk.used(), root.free_space().unwrap()), (4 * 4096, 4096));
}

#[test]
fn refusals_last_and_let_through_what_they_do_in_reality() {
    let disk = SimDisk::new();
    let root = disk.root();
    let file = write(&root, "a", b"1");
    let all = |refusal| {
        disk.refuse_changes(Some(refusal));
        let tries = [
            file.write_at(b"2", 0).err(),
            root.open("a", Opening::ReadWrite).err(),
            root.open("new", Opening::ReadWrite).err(),
            root.create_dir("d").err(),
            root.rename("a", &root, "a").err(),
        ];
        root.open("a", Opening::Read).unwrap();
        file.sync().unwrap();
        tries.map(|error| error.map(|error| error.kind()))
    };
    let ro = Some(ErrorKind::ReadOnlyFilesystem);
    assert_eq!(all(ErrorKind::ReadOnlyFilesystem), [ro; 5]);
    let denied = Some(ErrorKind::PermissionDenied);
    assert_eq!(all(ErrorKind::PermissionDenied), [None, denied, denied, denied, denied]);
    let quota = Some(ErrorKind::QuotaExceeded);
    assert_eq!(all(ErrorKind::QuotaExceeded), [quota, None, quota, quota, quota]);
    root.remove("a").unwrap();
    disk.refuse_changes(None);
    root.create_dir("d").unwrap();
}

#[test]
fn without_descriptors_what_is_open_works_and_nothing_else_opens() {
    let disk = SimDisk::new();
    let root = disk.root();
    let file = write(&root, "a", b"1");
    root.create_dir("d").unwrap();
    disk.lack_descriptors(true);
    let tries = [
        root.open("a", Opening::Read).err(),
        root.open("new", Opening::CreateNew).err(),
        root.open_dir("d").err(),
        root.list().err(),
        root.lock("lock").err(),
    ];
    assert!(
        tries.iter().all(|error| error.as_ref().is_some_and(|error| error.raw_os_error() == Some(24))),
        "{tries:?}"
    );
    file.write_at(b"2", 0).unwrap();
    file.sync().unwrap();
    root.create_dir("e").unwrap();
    root.remove("a").unwrap();
    assert_eq!(disk.paths(), ["d/", "e/"]);
    disk.lack_descriptors(false);
    root.open("new", Opening::CreateNew).unwrap();
}

#[test]
fn a_broken_file_says_so_until_it_is_another_one() {
    let disk = SimDisk::new();
    let root = disk.root();
    let file = write(&root, "a", b"1");
    assert!(disk.break_file("a") && !disk.break_file("b"));
    assert_eq!(kind(file.read_at(&mut [0], 0)), ErrorKind::Other);
    assert_eq!(kind(file.write_at(b"2", 0)), ErrorKind::Other);
    assert_eq!(kind(file.sync()), ErrorKind::Other);
    root.remove("a").unwrap();
    write(&root, "a", b"2").sync().unwrap();
}

#[test]
fn rot_is_durable() {
    let disk = SimDisk::new();
    disk.put("d/a", b"a").unwrap();
    assert!(disk.rot("d/a", 1) && !disk.rot("d", 0) && !disk.rot("d/b", 0));
    assert_eq!(may_be(&disk, "d/a"), BTreeSet::from([some(b"c")]));
}

#[test]
fn one_run_gives_every_crash_point() {
    let disk = SimDisk::new();
    disk.keep_images();
    let root = disk.root();
    let file = write(&root, "a", b"1");
    file.read_at(&mut [0], 0).unwrap();
    file.sync().unwrap();
    root.sync().unwrap();
    let images = disk.taken_images();
    let points: Vec<u64> = images.iter().map(Image::operation).collect();
    assert_eq!(points, [0, 1, 3, 4], "making, writing, syncing twice; not reading");
    let count = |image: &Image| image.outcomes(&mut Rng::new(1)).len();
    assert_eq!(images.iter().map(count).collect::<Vec<_>>(), [1, 2, 3, 2]);
    assert_eq!(images[3].killed().read("a"), some(b"1"));
}

#[test]
fn too_many_choices_are_sampled_with_all_corners() {
    let disk = SimDisk::new();
    let root = disk.root();
    let file = root.open("a", Opening::ReadWrite).unwrap();
    root.sync().unwrap();
    let count = BYTES_EXHAUSTIVE_MAX + 4;
    for at in 0..count {
        file.write_at(b"x", at as u64).unwrap();
    }
    let outcomes = disk.image().outcomes(&mut Rng::new(7));
    let kept = |disk: &SimDisk| disk.read("a").unwrap().iter().filter(|byte| **byte == b'x').count();
    let with = |kept_bytes: usize| outcomes.iter().filter(|disk| kept(disk) == kept_bytes).count();
    assert_eq!([with(0), with(1), with(count - 1), with(count)], [1, count, count, 1]);
    assert!((400..=SAMPLE + 2 * count + 2).contains(&outcomes.len()), "{}", outcomes.len());
    let hashes = |seed| -> Vec<u64> { disk.image().outcomes(&mut Rng::new(seed)).iter().map(SimDisk::hash).collect() };
    assert_eq!(hashes(7), hashes(7));
    assert_ne!(hashes(7), hashes(8));
}
