//! The catalog advertises finished snapshots whose every byte is right, and nothing else; it keeps what it found out.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

use snapferry::{
    catalog::{Catalog, ReadError, ScanReport},
    disk::{Access, Dir, DirEntry, DiskError, File, Lock, OsDir},
    snapshot::{BlockNumber, ChunkIndex, SnapshotId},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;

const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/network/snapshots/org1");

/// A peer's snapshots folder and our state folder.
struct Site {
    dir: TempDir,
    opened: Arc<AtomicUsize>,
    hook: Hook,
}

/// Told the path of every file and folder below `completed` before it is opened; the open fails if it says so.
type Hook = Arc<Mutex<Box<dyn FnMut(&Path) -> Result<(), DiskError> + Send>>>;

impl Site {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        fs::create_dir_all(dir.path().join("completed/mychannel")).unwrap();
        fs::create_dir_all(dir.path().join("state")).unwrap();
        Self { dir, opened: Arc::default(), hook: Arc::new(Mutex::new(Box::new(|_| Ok(())))) }
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.dir.path().join("completed/mychannel").join(name)
    }

    /// Puts the recorded snapshot `block` into place under `name`, as the peer does: complete, by one rename.
    fn add(&self, block: u64, name: &str) {
        let making = self.dir.path().join("making");
        fs::create_dir(&making).unwrap();
        for entry in fs::read_dir(format!("{RECORDED}/{block}")).unwrap() {
            let entry = entry.unwrap();
            fs::write(making.join(entry.file_name()), fs::read(entry.path()).unwrap()).unwrap();
        }
        fs::rename(making, self.folder(name)).unwrap();
    }

    /// From now on `hook` sees what is opened.
    fn watch(&self, hook: impl FnMut(&Path) -> Result<(), DiskError> + Send + 'static) {
        *self.hook.lock().unwrap() = Box::new(hook);
    }

    /// From now on what `broken` names can't be opened.
    fn fail(&self, broken: &[&str]) {
        let broken: Vec<PathBuf> = broken.iter().map(|name| self.dir.path().join("completed").join(name)).collect();
        self.watch(move |path| match broken.iter().any(|broken| broken == path) {
            true => Err(DiskError::io("open", path, std::io::ErrorKind::PermissionDenied.into())),
            false => Ok(()),
        });
    }

    /// A freshly started catalog that counts how many files it opens under `completed`.
    fn catalog(&self, started: SystemTime) -> Catalog {
        let completed = OsDir::open(&self.dir.path().join("completed")).unwrap();
        let (opened, hook) = (Arc::clone(&self.opened), Arc::clone(&self.hook));
        let counted = Arc::new(Counted { inner: completed, opened, hook });
        Catalog::open(counted, OsDir::open(&self.dir.path().join("state")).unwrap(), started)
    }
}

fn flip_last_byte(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(file, bytes).unwrap();
}

fn id(block: u64) -> SnapshotId {
    SnapshotId { channel: "mychannel".parse().unwrap(), block_number: BlockNumber(block) }
}

fn blocks(catalog: &Catalog) -> Vec<u64> {
    catalog.page(&id(0).channel).1.iter().map(|entry| entry.id.block_number.0).collect()
}

fn start() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn reasons(report: &ScanReport) -> Vec<&str> {
    report.refused.iter().map(|(_, reason)| reason.as_str()).collect()
}

#[test]
fn recorded_snapshots_are_advertised_and_their_chunks_prove_themselves() {
    let site = Site::new();
    site.add(83, "83");
    site.add(132, "132");
    let catalog = site.catalog(start());
    assert_eq!(blocks(&catalog), [0; 0]);
    let report = catalog.scan().unwrap();
    assert_eq!((report.added.len(), report.removed.len(), report.refused.len()), (2, 0, 0), "{report:?}");
    assert_eq!(blocks(&catalog), [83, 132]);
    let snapshot = catalog.snapshot(&id(83)).unwrap();
    assert_eq!(snapshot.manifest.hash(), catalog.page(&id(0).channel).1[0].manifest_hash);
    assert!(snapshot.commit_hash().is_some());
    let mut buf = Vec::new();
    for (index, file) in snapshot.manifest.files().iter().enumerate() {
        let index = u32::try_from(index).unwrap();
        snapshot.read_chunk(index, ChunkIndex(0), &mut buf).unwrap();
        assert_eq!(buf, fs::read(format!("{RECORDED}/83/{}", file.file)).unwrap());
        let behind = snapshot.read_chunk(index, ChunkIndex(1), &mut buf);
        assert!(matches!(behind, Err(ReadError::NoSuchChunk { .. })), "{behind:?}");
    }
    assert!(matches!(snapshot.read_chunk(99, ChunkIndex(0), &mut buf), Err(ReadError::NoSuchFile { .. })));
}

#[test]
fn a_snapshot_with_a_flipped_byte_is_never_advertised_and_the_reason_is_said() {
    let site = Site::new();
    site.add(83, "83");
    site.add(132, "132");
    flip_last_byte(&site.folder("83").join("public_state.data"));
    let catalog = site.catalog(start());
    let report = catalog.scan().unwrap();
    assert_eq!(blocks(&catalog), [132]);
    assert!(reasons(&report)[0].contains("public_state.data has SHA-256"), "{report:?}");
    let before = site.opened.load(Ordering::SeqCst);
    assert_eq!(reasons(&catalog.scan().unwrap()).len(), 1, "still refused");
    assert_eq!(site.opened.load(Ordering::SeqCst), before, "and not read again while nothing changes");
    flip_last_byte(&site.folder("83").join("public_state.data"));
    assert_eq!(catalog.scan().unwrap().added, [id(83)], "repaired");
}

#[test]
fn a_folder_in_the_place_of_another_snapshot_is_refused() {
    let site = Site::new();
    site.add(83, "84");
    let report = site.catalog(start()).scan().unwrap();
    assert!(reasons(&report)[0].contains("mychannel/83"), "{report:?}");
}

#[test]
fn snapshots_come_and_go_while_running_and_the_version_grows() {
    let site = Site::new();
    let catalog = site.catalog(start());
    let mut changes = catalog.subscribe(&id(0).channel);
    let other_channel = "other".parse().unwrap();
    let other = catalog.subscribe(&other_channel);
    let first = *changes.borrow_and_update();
    catalog.scan().unwrap();
    assert!(!changes.has_changed().unwrap(), "nothing to tell");
    site.add(83, "83");
    catalog.scan().unwrap();
    assert!(changes.has_changed().unwrap());
    let second = *changes.borrow_and_update();
    let held = catalog.snapshot(&id(83)).unwrap();
    fs::remove_dir_all(site.folder("83")).unwrap();
    assert_eq!(catalog.scan().unwrap().removed, [id(83)]);
    let third = catalog.page(&id(83).channel).0;
    assert!(first < second && second < third);
    assert!(!other.has_changed().unwrap(), "nobody is woken for another channel");
    assert_eq!(catalog.page(&other_channel).0, first);
    assert!(catalog.snapshot(&id(83)).is_none());
    held.read_chunk(0, ChunkIndex(0), &mut Vec::new()).unwrap();
    let restarted = site.catalog(start() + Duration::from_secs(1));
    assert!(restarted.page(&id(83).channel).0 > third, "versions grow across a restart");
}

#[test]
fn folders_in_the_making_foreign_names_and_links_are_not_looked_at() {
    let site = Site::new();
    for name in ["083", "+83", "mychannel-83-1234", "83.tmp", "-1"] {
        site.add(83, name);
    }
    std::os::unix::fs::symlink(site.folder("083"), site.folder("83")).unwrap();
    let channels = site.dir.path().join("completed");
    std::os::unix::fs::symlink(channels.join("mychannel"), channels.join("linked")).unwrap();
    fs::rename(site.folder("+83"), site.dir.path().join("moved")).unwrap();
    fs::create_dir_all(channels.join("Bad_Channel")).unwrap();
    fs::rename(site.dir.path().join("moved"), channels.join("Bad_Channel/83")).unwrap();
    let catalog = site.catalog(start());
    let report = catalog.scan().unwrap();
    assert!(report.added.is_empty() && report.refused.is_empty(), "{report:?}");
    assert_eq!(site.opened.load(Ordering::SeqCst), 0);
}

#[test]
fn a_half_made_folder_is_refused_until_it_is_whole() {
    let site = Site::new();
    site.add(83, "83");
    let (missing, aside) = (site.folder("83").join("txids.data"), site.dir.path().join("aside"));
    fs::rename(&missing, &aside).unwrap();
    let catalog = site.catalog(start());
    assert!(reasons(&catalog.scan().unwrap())[0].contains("txids.data is missing"));
    fs::rename(&aside, &missing).unwrap();
    assert_eq!(catalog.scan().unwrap().added, [id(83)]);
}

#[test]
fn after_a_restart_unchanged_files_are_not_read_again() {
    let site = Site::new();
    site.add(83, "83");
    site.catalog(start()).scan().unwrap();
    let first = site.opened.swap(0, Ordering::SeqCst);
    let catalog = site.catalog(start());
    catalog.scan().unwrap();
    assert_eq!(blocks(&catalog), [83]);
    let second = site.opened.load(Ordering::SeqCst);
    // First: two metadata files and eight data files are read, then the eight are opened to be served.
    assert_eq!((first, second), (18, 8));
    catalog.snapshot(&id(83)).unwrap().read_chunk(4, ChunkIndex(0), &mut Vec::new()).unwrap();
}

#[test]
fn a_changed_file_is_read_again_and_found_out_also_after_a_restart() {
    let site = Site::new();
    site.add(83, "83");
    let running = site.catalog(start());
    running.scan().unwrap();
    let file = site.folder("83").join("txids.data");
    flip_last_byte(&file);
    let later = fs::metadata(&file).unwrap().modified().unwrap() + Duration::from_secs(1);
    fs::File::options().write(true).open(&file).unwrap().set_modified(later).unwrap();
    let restarted = site.catalog(start());
    assert!(reasons(&restarted.scan().unwrap())[0].contains("txids.data has SHA-256"));
    let report = running.scan().unwrap();
    assert_eq!((report.removed.as_slice(), report.refused.len()), ([id(83)].as_slice(), 1));
}

#[test]
fn a_byte_that_rots_behind_an_unchanged_stamp_is_not_served() {
    let site = Site::new();
    site.add(83, "83");
    let catalog = site.catalog(start());
    catalog.scan().unwrap();
    let snapshot = catalog.snapshot(&id(83)).unwrap();
    let files = snapshot.manifest.files();
    let index = u32::try_from(files.iter().position(|file| file.file.name() == "txids.data").unwrap()).unwrap();
    flip_last_byte(&site.folder("83").join("txids.data"));
    let mut buf = Vec::new();
    let rotten = snapshot.read_chunk(index, ChunkIndex(0), &mut buf);
    assert!(matches!(rotten, Err(ReadError::CorruptAtSource { .. })) && buf.is_empty(), "{rotten:?}");
    fs::File::options().write(true).open(site.folder("83").join("txids.data")).unwrap().set_len(10).unwrap();
    let short = snapshot.read_chunk(index, ChunkIndex(0), &mut buf);
    assert!(matches!(short, Err(ReadError::CorruptAtSource { .. })), "{short:?}");
}

#[test]
fn a_damaged_cache_is_built_again() {
    let site = Site::new();
    site.add(83, "83");
    site.catalog(start()).scan().unwrap();
    flip_last_byte(&site.dir.path().join("state/mychannel/83"));
    site.opened.store(0, Ordering::SeqCst);
    let catalog = site.catalog(start());
    catalog.scan().unwrap();
    assert_eq!((blocks(&catalog), site.opened.load(Ordering::SeqCst)), (vec![83], 18));
}

#[test]
fn the_cache_of_a_snapshot_that_went_while_we_were_stopped_goes_too() {
    let site = Site::new();
    site.add(83, "83");
    site.catalog(start()).scan().unwrap();
    let cache = site.dir.path().join("state/mychannel/83");
    assert!(cache.exists());
    fs::remove_dir_all(site.folder("83")).unwrap();
    site.catalog(start()).scan().unwrap();
    assert!(!cache.exists());
}

#[test]
fn a_file_that_changes_while_it_is_read_is_not_believed() {
    let site = Site::new();
    site.add(83, "83");
    let mut touched = Some(site.folder("83").join("confighistory.data"));
    site.watch(move |path| {
        if let Some(touched) = touched.take_if(|_| path.ends_with("txids.metadata")) {
            fs::File::options().write(true).open(touched).unwrap().set_modified(start()).unwrap();
        }
        Ok(())
    });
    let catalog = site.catalog(start());
    assert!(reasons(&catalog.scan().unwrap())[0].contains("changed while it was being read"));
    assert_eq!(catalog.scan().unwrap().added, [id(83)], "looked at again without being asked");
}

/// Its descriptor still reads, and nothing in it changes: only its place tells.
#[test]
fn a_folder_that_is_moved_away_while_it_is_read_is_not_advertised() {
    for kept in [false, true] {
        let site = Site::new();
        site.add(83, "83");
        if kept {
            site.catalog(start()).scan().unwrap();
        }
        let mut moved = Some((site.folder("83"), site.dir.path().join("aside")));
        site.watch(move |path| {
            if let Some((from, to)) = moved.take_if(|_| path.ends_with("txids.metadata")) {
                fs::rename(from, to).unwrap();
            }
            Ok(())
        });
        let catalog = site.catalog(start());
        let report = catalog.scan().unwrap();
        assert!(report.added.is_empty() && report.refused.is_empty(), "{report:?}");
        assert_eq!(blocks(&catalog), [0; 0]);
    }
}

#[test]
fn a_folder_that_cannot_be_looked_at_hides_no_other_and_what_was_advertised_from_it_stays() {
    let site = Site::new();
    site.add(83, "83");
    let catalog = site.catalog(start());
    assert_eq!(catalog.scan().unwrap().added, [id(83)]);
    for broken in ["mychannel/83", "mychannel/90", "other", "mychannel"] {
        fs::create_dir_all(site.dir.path().join("completed").join(broken)).unwrap();
        site.fail(&[broken]);
        let report = catalog.scan().unwrap();
        assert!(report.added.is_empty() && report.removed.is_empty(), "{broken}: {report:?}");
        let refused: Vec<String> = report.refused.iter().map(|(id, _)| id.to_string()).collect();
        let expected: &[&str] = if broken.contains('/') { &[broken] } else { &[] };
        assert_eq!(refused, expected, "a refused snapshot, or else a channel");
        assert!(reasons(&report).iter().all(|reason| reason.contains("cannot open")), "{report:?}");
        assert_eq!(blocks(&catalog), [83]);
        if broken == "mychannel/90" {
            fs::remove_dir(site.folder("90")).unwrap();
        }
    }
    catalog.snapshot(&id(83)).unwrap().read_chunk(0, ChunkIndex(0), &mut Vec::new()).unwrap();

    site.add(132, "132");
    site.fail(&["mychannel/83", "other"]);
    assert_eq!(catalog.scan().unwrap().added, [id(132)]);
    fs::remove_dir_all(site.folder("132")).unwrap();
    assert_eq!(catalog.scan().unwrap().removed, [id(132)]);
    fs::remove_dir_all(site.folder("83")).unwrap();
    assert_eq!(catalog.scan().unwrap().removed, [id(83)], "a folder that is gone is gone");
}

#[test]
fn what_was_found_out_about_a_folder_is_kept_while_it_cannot_be_looked_at() {
    let site = Site::new();
    site.add(83, "83");
    site.catalog(start()).scan().unwrap();
    for broken in ["mychannel/83", "mychannel"] {
        let restarted = site.catalog(start());
        site.fail(&[broken]);
        restarted.scan().unwrap();
        assert_eq!(blocks(&restarted), [0; 0]);
        site.fail(&[]);
        site.opened.store(0, Ordering::SeqCst);
        assert_eq!(restarted.scan().unwrap().added, [id(83)]);
        assert_eq!(site.opened.load(Ordering::SeqCst), 8, "opened to be served, but not read again");
    }
}

#[test]
fn a_folder_that_fails_each_time_is_read_ever_more_rarely() {
    let site = Site::new();
    site.add(83, "83");
    let file = site.folder("83").join("confighistory.data");
    let busy = file.clone();
    let touch = move |path: &Path, second: u64| {
        if path.ends_with("txids.metadata") {
            let time = start() + Duration::from_secs(second);
            fs::File::options().write(true).open(&busy).unwrap().set_modified(time).unwrap();
        }
    };
    let failing = |path: &Path| match path.ends_with("public_state.data") {
        true => Err(DiskError::io("read", path, std::io::Error::other("EIO"))),
        false => Ok(()),
    };
    for disk in [true, false] {
        let (reads, counted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, touch) = (Arc::clone(&reads), touch.clone());
        site.watch(move |path| {
            if path.ends_with("_snapshot_signable_metadata.json") {
                count.fetch_add(1, Ordering::SeqCst);
            }
            if disk {
                return failing(path);
            }
            touch(path, counted.fetch_add(1, Ordering::SeqCst) as u64);
            Ok(())
        });
        let catalog = site.catalog(start());
        let read_in: Vec<usize> = (1..=300)
            .filter(|_| {
                let before = reads.load(Ordering::SeqCst);
                assert_eq!(catalog.scan().unwrap().refused.len(), 1);
                reads.load(Ordering::SeqCst) > before
            })
            .collect();
        assert_eq!(read_in, [1, 2, 4, 8, 16, 32, 64, 128, 192, 256], "disk failure: {disk}");
        site.fail(&[]);
        let added = (0..64).find(|_| !catalog.scan().unwrap().added.is_empty());
        assert!(added.is_some(), "and advertised in the end");
        fs::remove_dir_all(site.dir.path().join("state/mychannel")).unwrap();
    }
}

#[test]
fn a_removal_during_a_long_read_is_noticed_before_the_next_folder_is_read() {
    let site = Site::new();
    site.add(132, "132");
    let catalog = Arc::new(site.catalog(start()));
    assert_eq!(catalog.scan().unwrap().added, [id(132)]);
    site.add(83, "83");
    site.add(83, "90");
    let (served, seen) = (Arc::clone(&catalog), Arc::new(Mutex::new(Vec::new())));
    let (removed, later) = (site.folder("132"), Arc::clone(&seen));
    site.watch(move |path| {
        if path.ends_with("83/txids.data") && removed.exists() {
            fs::remove_dir_all(&removed).unwrap();
        }
        if path.ends_with("90/txids.data") {
            later.lock().unwrap().push(blocks(&served));
        }
        Ok(())
    });
    let report = catalog.scan().unwrap();
    assert_eq!((report.added.as_slice(), report.removed.as_slice()), ([id(83)].as_slice(), [id(132)].as_slice()));
    assert_eq!(*seen.lock().unwrap(), [[83]], "while 90 was read");
    assert_eq!(report.refused.len(), 1, "90 is none: {report:?}");
}

/// A folder that counts the files that are opened in it and below, and lets a hook see what is opened.
struct Counted {
    inner: Arc<dyn Dir>,
    opened: Arc<AtomicUsize>,
    hook: Hook,
}

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl Dir for Counted {
    fn path(&self) -> &Path {
        self.inner.path()
    }
    fn create_dir(&self, name: &str) -> Result<(), DiskError> {
        self.inner.create_dir(name)
    }
    fn open_dir(&self, name: &str) -> Result<Arc<dyn Dir>, DiskError> {
        (self.hook.lock().unwrap())(&self.path().join(name))?;
        let inner = self.inner.open_dir(name)?;
        Ok(Arc::new(Self { inner, opened: Arc::clone(&self.opened), hook: Arc::clone(&self.hook) }))
    }
    fn list(&self) -> Result<Vec<DirEntry>, DiskError> {
        self.inner.list()
    }
    fn open_file(&self, name: &str, access: Access) -> Result<Arc<dyn File>, DiskError> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        (self.hook.lock().unwrap())(&self.path().join(name))?;
        self.inner.open_file(name, access)
    }
    fn rename(&self, from: &str, to_dir: &dyn Dir, to: &str) -> Result<(), DiskError> {
        self.inner.rename(from, to_dir, to)
    }
    fn remove_file(&self, name: &str) -> Result<(), DiskError> {
        self.inner.remove_file(name)
    }
    fn remove_dir(&self, name: &str) -> Result<(), DiskError> {
        self.inner.remove_dir(name)
    }
    fn remove_dir_all(&self, name: &str) -> Result<(), DiskError> {
        self.inner.remove_dir_all(name)
    }
    fn sync_dir(&self) -> Result<(), DiskError> {
        self.inner.sync_dir()
    }
    fn lock(&self, name: &str) -> Result<Lock, DiskError> {
        self.inner.lock(name)
    }
    fn free_space(&self) -> Result<u64, DiskError> {
        self.inner.free_space()
    }
}
