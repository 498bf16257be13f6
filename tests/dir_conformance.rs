//! One suite for every `Dir`: the simulated disk must not drift from the real one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

use std::{any::Any, io::ErrorKind, io::Read as _, sync::Arc};

#[path = "common/sim/disk.rs"]
#[allow(unreachable_pub, reason = "shared with the simulated joins")]
mod sim_disk;

use netsim::disk::SimDisk;
use sim_disk::sim_dir;
use snapferry::disk::{
    Access, Dir, DiskError, EntryKind, File, FileReader, OsDir, publish_dir, read_small, write_durably,
};

/// A fresh, empty folder; `beside` opens it a second time, as another process would, and `reopen` after this one ended (on the
/// simulated disk: by a power cut that left nothing that wasn't synced).
struct Fresh {
    dir: Arc<dyn Dir>,
    beside: Box<dyn Fn() -> Arc<dyn Dir>>,
    reopen: Box<dyn Fn() -> Arc<dyn Dir>>,
    _keep: Box<dyn Any>,
}

fn os() -> Fresh {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().to_owned();
    Fresh {
        dir: OsDir::open(&path).unwrap(),
        beside: {
            let path = path.clone();
            Box::new(move || OsDir::open(&path).unwrap())
        },
        reopen: Box::new(move || OsDir::open(&path).unwrap()),
        _keep: Box::new(temporary),
    }
}

fn simulated() -> Fresh {
    let disk = SimDisk::new();
    let dir = sim_dir(&disk);
    let beside = {
        let disk = disk.clone();
        move || sim_dir(&disk)
    };
    let reopen = move || {
        disk.lose_unsynced();
        sim_dir(&disk)
    };
    Fresh { dir, beside: Box::new(beside), reopen: Box::new(reopen), _keep: Box::new(()) }
}

macro_rules! suite {
    ($implementation:ident: $($behaviour:ident),+ $(,)?) => {
        mod $implementation {
            $(#[test]
            fn $behaviour() {
                super::$behaviour(super::$implementation());
            })+
        }
    };
}

macro_rules! suites {
    ($($implementation:ident),+) => {
        $(suite!($implementation:
            what_was_written_is_read_back,
            holes_read_as_zeros,
            data_ranges_cover_all_that_was_written,
            reading_past_the_end_is_short,
            access_decides_what_is_made,
            rename_replaces_a_file_atomically,
            rename_moves_between_folders,
            a_folder_is_never_renamed_over_another,
            removed_is_gone,
            what_is_too_deep_is_not_removed,
            list_is_sorted_and_tells_kinds,
            names_that_lead_elsewhere_are_refused,
            errors_tell_what_is_missing,
            the_lock_excludes_a_second_holder,
            the_lock_excludes_even_if_its_holder_removes_the_file,
            holes_take_no_space,
            synced_data_and_names_survive_reopening,
            small_files_are_written_whole_and_read_bounded,
            a_published_folder_needs_a_free_name,
            free_space_is_known,
        );)+
    };
}

suites!(os, simulated);

fn make(dir: &dyn Dir, name: &str, bytes: &[u8]) -> Arc<dyn File> {
    let file = dir.open_file(name, Access::ReadWrite).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

fn content(dir: &dyn Dir, name: &str) -> Vec<u8> {
    read_small(dir, name, 1 << 20).unwrap()
}

fn names(dir: &dyn Dir) -> Vec<String> {
    dir.list().unwrap().into_iter().map(|entry| entry.name).collect()
}

fn kind<T: std::fmt::Debug>(result: Result<T, DiskError>) -> ErrorKind {
    result.unwrap_err().kind()
}

fn what_was_written_is_read_back(fresh: Fresh) {
    let file = make(&*fresh.dir, "a", b"0123456789");
    file.write_all_at(b"xy", 4).unwrap();
    file.write_all_at(b"end", 9).unwrap();
    assert_eq!(content(&*fresh.dir, "a"), b"0123xy678end");
    file.set_len(5).unwrap();
    assert_eq!((file.len().unwrap(), content(&*fresh.dir, "a")), (5, b"0123x".to_vec()));
    let mut streamed = Vec::new();
    FileReader::new(file).read_to_end(&mut streamed).unwrap();
    assert_eq!(streamed, b"0123x");
}

fn holes_read_as_zeros(fresh: Fresh) {
    let file = make(&*fresh.dir, "a", b"abc");
    file.set_len(100_000).unwrap();
    file.write_all_at(b"z", 70_000).unwrap();
    let mut expected = vec![0; 100_000];
    expected[..3].copy_from_slice(b"abc");
    expected[70_000] = b'z';
    assert_eq!(content(&*fresh.dir, "a"), expected);
    file.set_len(2).unwrap();
    file.set_len(4).unwrap();
    assert_eq!(content(&*fresh.dir, "a"), b"ab\0\0", "what was cut off doesn't come back");
}

fn data_ranges_cover_all_that_was_written(fresh: Fresh) {
    let file = make(&*fresh.dir, "a", b"");
    assert_eq!(file.data_ranges().unwrap(), vec![]);
    assert!(file.is_empty().unwrap());
    file.set_len(16 << 20).unwrap();
    for at in [3 << 20, (9 << 20) + 17] {
        file.write_all_at(b"x", at).unwrap();
    }
    let ranges = file.data_ranges().unwrap();
    for at in [3 << 20, (9 << 20) + 17] {
        assert!(ranges.iter().any(|range| range.contains(&at)), "{at} in {ranges:?}");
    }
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "ascending: {ranges:?}");
    assert!(ranges.iter().all(|range| range.start < range.end && range.end <= 16 << 20));
}

fn reading_past_the_end_is_short(fresh: Fresh) {
    let file = make(&*fresh.dir, "a", b"abc");
    let mut buf = [9; 8];
    assert_eq!(file.read_at(&mut buf, 1).unwrap(), 2);
    assert_eq!(&buf[..2], b"bc");
    assert_eq!(file.read_at(&mut buf, 3).unwrap(), 0);
    assert_eq!(file.read_at(&mut buf, 1 << 40).unwrap(), 0);
    assert_eq!(kind(file.read_exact_at(&mut buf, 0)), ErrorKind::UnexpectedEof);
    file.read_exact_at(&mut buf[..3], 0).unwrap();
    file.read_exact_at(&mut [], 3).unwrap();
}

fn access_decides_what_is_made(fresh: Fresh) {
    assert_eq!(kind(fresh.dir.open_file("a", Access::Read)), ErrorKind::NotFound);
    fresh.dir.open_file("a", Access::CreateNew).unwrap().write_all_at(b"kept", 0).unwrap();
    assert_eq!(kind(fresh.dir.open_file("a", Access::CreateNew)), ErrorKind::AlreadyExists);
    fresh.dir.open_file("a", Access::ReadWrite).unwrap();
    assert_eq!(content(&*fresh.dir, "a"), b"kept");
    fresh.dir.open_file("b", Access::ReadWrite).unwrap();
    assert_eq!(names(&*fresh.dir), ["a", "b"]);
}

fn rename_replaces_a_file_atomically(fresh: Fresh) {
    make(&*fresh.dir, "old", b"old");
    make(&*fresh.dir, "new", b"new");
    let open_before = fresh.dir.open_file("old", Access::Read).unwrap();
    fresh.dir.rename("new", &*fresh.dir, "old").unwrap();
    assert_eq!(names(&*fresh.dir), ["old"]);
    assert_eq!(content(&*fresh.dir, "old"), b"new");
    let mut buf = [0; 3];
    open_before.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!(&buf, b"old", "who had it open still reads the old bytes");
}

fn rename_moves_between_folders(fresh: Fresh) {
    fresh.dir.create_dir("from").unwrap();
    fresh.dir.create_dir("to").unwrap();
    let (from, to) = (fresh.dir.open_dir("from").unwrap(), fresh.dir.open_dir("to").unwrap());
    from.create_dir("sub").unwrap();
    make(&*from.open_dir("sub").unwrap(), "a", b"abc");
    from.rename("sub", &*to, "moved").unwrap();
    assert_eq!(names(&*from), Vec::<String>::new());
    assert_eq!(content(&*to.open_dir("moved").unwrap(), "a"), b"abc");
}

fn a_folder_is_never_renamed_over_another(fresh: Fresh) {
    fresh.dir.create_dir("a").unwrap();
    fresh.dir.create_dir("b").unwrap();
    assert_eq!(kind(fresh.dir.rename("a", &*fresh.dir, "b")), ErrorKind::AlreadyExists);
    make(&*fresh.dir, "c", b"");
    assert_eq!(kind(fresh.dir.rename("a", &*fresh.dir, "c")), ErrorKind::AlreadyExists);
    assert_eq!(names(&*fresh.dir), ["a", "b", "c"]);
}

fn removed_is_gone(fresh: Fresh) {
    make(&*fresh.dir, "a", b"");
    fresh.dir.remove_file("a").unwrap();
    assert_eq!(kind(fresh.dir.remove_file("a")), ErrorKind::NotFound);
    fresh.dir.create_dir("d").unwrap();
    let d = fresh.dir.open_dir("d").unwrap();
    d.create_dir("e").unwrap();
    make(&*d.open_dir("e").unwrap(), "f", b"abc");
    make(&*d, "g", b"abc");
    assert_eq!(kind(fresh.dir.remove_dir("d")), ErrorKind::DirectoryNotEmpty);
    fresh.dir.remove_dir_all("d").unwrap();
    assert_eq!(kind(fresh.dir.remove_dir_all("d")), ErrorKind::NotFound);
    make(&*fresh.dir, "file", b"");
    assert!(matches!(fresh.dir.remove_dir_all("file"), Err(DiskError::NotADir { .. })));
    assert!(matches!(fresh.dir.remove_dir("file"), Err(DiskError::NotADir { .. })));
    fresh.dir.create_dir("empty").unwrap();
    fresh.dir.remove_dir("empty").unwrap();
    assert_eq!(kind(fresh.dir.remove_dir("empty")), ErrorKind::NotFound);
    assert_eq!(names(&*fresh.dir), ["file"]);
}

fn what_is_too_deep_is_not_removed(fresh: Fresh) {
    /// Folders within each other that are removed at once (src/disk/os.rs).
    const REMOVE_DEPTH_MAX: usize = 32;
    for (name, folders) in [("legal", REMOVE_DEPTH_MAX), ("deep", REMOVE_DEPTH_MAX + 1)] {
        let mut dir = Arc::clone(&fresh.dir);
        for depth in 0..folders {
            let name = if depth == 0 { name } else { "d" };
            dir.create_dir(name).unwrap();
            dir = dir.open_dir(name).unwrap();
        }
        make(&*dir, "file", b"abc");
    }
    fresh.dir.remove_dir_all("legal").unwrap();
    assert!(matches!(fresh.dir.remove_dir_all("deep"), Err(DiskError::Io { .. })));
    assert_eq!(names(&*fresh.dir), ["deep"]);
}

fn list_is_sorted_and_tells_kinds(fresh: Fresh) {
    make(&*fresh.dir, "c", b"abc");
    make(&*fresh.dir, "B", b"");
    fresh.dir.create_dir("a").unwrap();
    let found: Vec<_> = fresh.dir.list().unwrap().into_iter().map(|entry| (entry.name, entry.kind)).collect();
    let expected = [("B", EntryKind::File), ("a", EntryKind::Dir), ("c", EntryKind::File)];
    assert_eq!(found, expected.map(|(name, kind)| (name.to_owned(), kind)));
    let c = fresh.dir.list().unwrap().pop().unwrap();
    assert_eq!((c.len, c.links), (3, 1));
    make(&*fresh.dir, "d", b"");
    let entries = fresh.dir.list().unwrap();
    assert_eq!(entries[2], c, "untouched means unchanged");
    assert_ne!(entries[3].inode, c.inode);
}

fn names_that_lead_elsewhere_are_refused(fresh: Fresh) {
    make(&*fresh.dir, "a", b"");
    for bad in ["", ".", "..", "/", "a/b", "../a", "/a", "a\0", "a\\b"] {
        let dir = &*fresh.dir;
        let refusals = [
            dir.create_dir(bad).err(),
            dir.open_dir(bad).err(),
            dir.open_file(bad, Access::Read).err(),
            dir.open_file(bad, Access::ReadWrite).err(),
            dir.rename(bad, dir, "b").err(),
            dir.rename("a", dir, bad).err(),
            dir.remove_file(bad).err(),
            dir.remove_dir(bad).err(),
            dir.remove_dir_all(bad).err(),
            dir.lock(bad).err(),
            write_durably(dir, bad, b"").err(),
        ];
        for refusal in refusals {
            assert!(matches!(refusal, Some(DiskError::Name { .. })), "{bad:?}: {refusal:?}");
        }
    }
    assert_eq!(names(&*fresh.dir), ["a"]);
}

fn errors_tell_what_is_missing(fresh: Fresh) {
    let dir = &*fresh.dir;
    make(dir, "file", b"");
    dir.create_dir("dir").unwrap();
    dir.create_dir("dir").unwrap();
    assert_eq!(kind(dir.open_dir("none")), ErrorKind::NotFound);
    assert_eq!(kind(dir.rename("none", dir, "x")), ErrorKind::NotFound);
    assert!(matches!(dir.open_dir("file"), Err(DiskError::NotADir { .. })));
    assert!(matches!(dir.create_dir("file"), Err(DiskError::NotADir { .. })));
    assert!(matches!(dir.open_file("dir", Access::Read), Err(DiskError::NotAFile { .. })));
    assert!(matches!(dir.open_file("dir", Access::ReadWrite), Err(DiskError::NotAFile { .. })));
    let error = dir.open_file("none", Access::Read).unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("none"), "{error}");
}

fn the_lock_excludes_a_second_holder(fresh: Fresh) {
    let held = fresh.dir.lock("lock").unwrap();
    let second = (fresh.beside)();
    let refusal = second.lock("lock").unwrap_err();
    assert!(matches!(&refusal, DiskError::Locked { path } if path.ends_with("lock")), "{refusal}");
    second.lock("another").unwrap();
    drop(held);
    second.lock("lock").unwrap();
}

fn the_lock_excludes_even_if_its_holder_removes_the_file(fresh: Fresh) {
    use std::sync::atomic::{AtomicU32, Ordering};
    const ROUNDS: u32 = 2000;
    let (inside, held) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let dir = (fresh.beside)();
            let (inside, held) = (&inside, &held);
            scope.spawn(move || {
                while held.load(Ordering::SeqCst) < ROUNDS {
                    match dir.lock("lock") {
                        Ok(_lock) => {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold it");
                            held.fetch_add(1, Ordering::SeqCst);
                            inside.fetch_sub(1, Ordering::SeqCst);
                            dir.remove_file("lock").unwrap(); // its last deed
                        }
                        Err(error) => assert!(matches!(error, DiskError::Locked { .. }), "{error}"),
                    }
                }
            });
        }
    });
}

fn holes_take_no_space(fresh: Fresh) {
    const MIB: u64 = 1 << 20;
    let file = make(&*fresh.dir, "a", b"");
    file.set_len(64 * MIB).unwrap();
    assert!(file.allocated().unwrap() < MIB, "{}", file.allocated().unwrap());
    file.write_all_at(&vec![7; 1 << 20], 9 * MIB).unwrap();
    file.sync().unwrap();
    assert!((MIB..2 * MIB).contains(&file.allocated().unwrap()), "{}", file.allocated().unwrap());
}

fn synced_data_and_names_survive_reopening(fresh: Fresh) {
    fresh.dir.create_dir("d").unwrap();
    let d = fresh.dir.open_dir("d").unwrap();
    make(&*d, "a", b"abc").sync().unwrap();
    d.sync_dir().unwrap();
    fresh.dir.sync_dir().unwrap();
    drop(d);
    let reopened = (fresh.reopen)();
    assert_eq!(names(&*reopened), ["d"]);
    assert_eq!(content(&*reopened.open_dir("d").unwrap(), "a"), b"abc");
}

fn small_files_are_written_whole_and_read_bounded(fresh: Fresh) {
    let dir = &*fresh.dir;
    write_durably(dir, "a", b"first, and longer").unwrap();
    make(dir, ".a.new", b"left by a crash in the middle of a write");
    write_durably(dir, "a", b"second").unwrap();
    assert_eq!(names(dir), ["a"]);
    assert_eq!(read_small(dir, "a", 6).unwrap(), b"second");
    assert!(matches!(read_small(dir, "a", 5), Err(DiskError::TooLarge { len: 6, max: 5, .. })));
    assert_eq!(kind(read_small(dir, "b", 5)), ErrorKind::NotFound);
}

fn a_published_folder_needs_a_free_name(fresh: Fresh) {
    let dir = &*fresh.dir;
    for (name, bytes) in [("one", b"1"), ("two", b"2")] {
        dir.create_dir(name).unwrap();
        make(&*dir.open_dir(name).unwrap(), "a", bytes).sync().unwrap();
    }
    dir.create_dir("land").unwrap();
    let land = dir.open_dir("land").unwrap();
    publish_dir(dir, "one", &*land, "83").unwrap();
    assert_eq!(kind(publish_dir(dir, "two", &*land, "83")), ErrorKind::AlreadyExists);
    assert_eq!(content(&*land.open_dir("83").unwrap(), "a"), b"1");
    assert_eq!(names(dir), ["land", "two"]);
}

fn free_space_is_known(fresh: Fresh) {
    assert!(fresh.dir.free_space().unwrap() > 0);
}

// What can't be had from every disk at will.

#[test]
fn refusals_of_the_simulated_disk_are_told_as_the_systems_are() {
    let disk = SimDisk::new();
    let dir = sim_dir(&disk);
    let file = make(&*dir, "a", b"abc");
    for refusal in [ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied, ErrorKind::QuotaExceeded] {
        disk.refuse_changes(Some(refusal));
        let refused = dir.create_dir("d").unwrap_err();
        assert_eq!((refused.kind(), refused.is_full()), (refusal, refusal == ErrorKind::QuotaExceeded));
        assert!(refused.to_string().contains("/d"), "{refused}");
        assert_eq!(content(&*dir, "a"), b"abc");
        dir.create_dir("").unwrap_err();
    }
    disk.refuse_changes(None);
    disk.set_capacity(Some(8192));
    let full = file.write_all_at(&[1; 9000], 0).unwrap_err();
    assert!(full.is_full() && full.kind() == ErrorKind::StorageFull, "{full}");
    assert!(dir.free_space().unwrap() <= 4096);
}

/// D7: the path and the reason are told.
#[test]
fn a_folder_that_may_not_be_written_says_so() {
    use std::os::unix::fs::PermissionsExt;
    if rustix::process::geteuid().is_root() {
        return; // may write everywhere
    }
    let temporary = tempfile::tempdir().unwrap();
    let dir = OsDir::open(temporary.path()).unwrap();
    make(&*dir, "a", b"abc");
    std::fs::set_permissions(temporary.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
    assert_eq!(kind(dir.create_dir("d")), ErrorKind::PermissionDenied);
    assert_eq!(kind(dir.open_file("b", Access::ReadWrite)), ErrorKind::PermissionDenied);
    assert_eq!(content(&*dir, "a"), b"abc");
    std::fs::set_permissions(temporary.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
}

// What only a real file system has.

#[test]
fn links_pipes_and_strange_names_are_never_followed() {
    use std::os::unix::{ffi::OsStrExt, fs::symlink, net::UnixListener};
    let temporary = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), b"secret").unwrap();
    let at = |name: &str| temporary.path().join(name);
    symlink(outside.path().join("secret"), at("link")).unwrap();
    symlink(outside.path(), at("linkdir")).unwrap();
    symlink(outside.path().join("made"), at("dangling")).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    std::fs::write(temporary.path().join(std::ffi::OsStr::from_bytes(b"\xff")), b"").unwrap();

    let dir = OsDir::open(temporary.path()).unwrap();
    for access in [Access::Read, Access::ReadWrite] {
        for name in ["link", "linkdir", "dangling", "socket", "pipe"] {
            let refusal = dir.open_file(name, access).unwrap_err();
            assert!(matches!(refusal, DiskError::NotAFile { .. }), "{name}: {refusal}");
        }
    }
    assert!(matches!(dir.open_dir("linkdir"), Err(DiskError::NotADir { .. })));
    assert!(matches!(dir.create_dir("linkdir"), Err(DiskError::NotADir { .. })));
    assert!(matches!(dir.remove_dir("linkdir"), Err(DiskError::NotADir { .. })));
    assert!(matches!(dir.remove_dir_all("linkdir"), Err(DiskError::NotADir { .. })));
    assert!(matches!(dir.lock("link"), Err(DiskError::NotAFile { .. })));
    assert!(dir.list().unwrap().iter().all(|entry| entry.kind == EntryKind::Other), "{:?}", dir.list());
    assert_eq!(dir.list().unwrap().len(), 6);

    // Removing a folder with all of them in it leaves what the links point to.
    let parent = OsDir::open(temporary.path().parent().unwrap()).unwrap();
    parent.remove_dir_all(temporary.path().file_name().unwrap().to_str().unwrap()).unwrap();
    assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"secret");
    assert!(!outside.path().join("made").exists());
}

#[test]
fn what_is_forgotten_is_read_from_the_disk() {
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    const LEN: usize = 4 << 20;
    // The target folder: a temporary one may lie in memory, where there is no disk to read from.
    let temporary = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let dir = OsDir::open(temporary.path()).unwrap();
    let file = make(&*dir, "a", &vec![7; LEN]);
    let raw = std::fs::File::open(temporary.path().join("a")).unwrap();
    if u64::try_from(rustix::fs::fstatfs(&raw).unwrap().f_type).unwrap() == TMPFS_MAGIC {
        return;
    }
    // What this thread had fetched from a disk so far.
    let Ok(_) = std::fs::read_to_string("/proc/thread-self/io") else { return };
    let fetched = || -> usize {
        let told = std::fs::read_to_string("/proc/thread-self/io").unwrap();
        told.lines().find_map(|line| line.strip_prefix("read_bytes: ")).unwrap().parse().unwrap()
    };
    let mut bytes = vec![0; LEN];
    let mut read = || {
        let before = fetched();
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(bytes, vec![7; LEN]);
        fetched() - before
    };
    file.sync().unwrap();
    assert_eq!(read(), 0, "from the cache");
    file.forget_cached();
    assert_eq!(read(), LEN, "from the disk");
    file.write_all_at(&[8; 9], 0).unwrap();
    file.forget_cached();
    assert_eq!(
        read_small(&*dir, "a", 8 << 20).unwrap()[..10],
        [8, 8, 8, 8, 8, 8, 8, 8, 8, 7],
        "what isn't synced isn't lost"
    );
}

#[test]
fn a_folder_is_made_with_its_parents_and_mode() {
    use std::os::unix::fs::PermissionsExt;
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("a/b/c");
    assert_eq!(kind(OsDir::open(&path)), ErrorKind::NotFound);
    OsDir::create(&path, 0o700).unwrap().create_dir("d").unwrap();
    assert_eq!(names(&*OsDir::create(&path, 0o700).unwrap()), ["d"]);
    for made in ["a", "a/b", "a/b/c"] {
        let mode = std::fs::metadata(temporary.path().join(made)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{made}");
    }
    std::fs::write(temporary.path().join("file"), b"").unwrap();
    assert!(matches!(OsDir::open(&temporary.path().join("file")), Err(DiskError::NotADir { .. })));
}
