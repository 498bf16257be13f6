//! What the store promises, on a real folder, with a disk that fails at any chosen operation.

use std::io::ErrorKind;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{
    chunking::{VerifiedFile, fixture::Sample},
    disk::{
        OsDir,
        faulty::{Faults, FaultyDir},
        read_small,
    },
    snapshot::SnapshotMetadata,
};

const MIB: usize = CHUNK_BYTES as usize;
const NOW: Duration = Duration::ZERO;

/// A landing folder with the job's folder in it.
struct Place {
    root: Arc<dyn Dir>,
    _keep: TempDir,
}

impl Place {
    fn new() -> Self {
        let keep = tempfile::tempdir().unwrap();
        let root = OsDir::open(keep.path()).unwrap();
        root.create_dir("job").unwrap();
        Self { root, _keep: keep }
    }

    fn job(&self) -> Arc<dyn Dir> {
        self.root.open_dir("job").unwrap()
    }

    fn open(&self, sample: &Sample) -> (Store, Vec<Candidates>) {
        Store::open(self.job(), &sample.manifest).unwrap()
    }

    fn names(&self) -> Vec<String> {
        self.root.list().unwrap().into_iter().map(|entry| entry.name).collect()
    }

    fn file(&self, sample: &Sample, file_index: u32) -> Arc<dyn File> {
        let name = sample.manifest.files()[file_index as usize].file.name();
        self.job().open_dir(FILES_DIR).unwrap().open_file(name, Access::ReadWrite).unwrap()
    }

    fn assert_published(&self, sample: &Sample) {
        let land = self.root.open_dir("132").unwrap();
        for (listed, bytes) in sample.manifest.files().iter().zip(&sample.files) {
            assert_eq!(&read_small(&*land, listed.file.name(), 1 << 30).unwrap(), bytes);
        }
        let read = |name| read_small(&*land, name, 1 << 20).unwrap();
        let metadata =
            SnapshotMetadata::parse(&read(SnapshotFile::SIGNABLE_METADATA), &read(SnapshotFile::ADDITIONAL_METADATA));
        assert_eq!(metadata.unwrap(), sample.metadata);
        assert_eq!(land.list().unwrap().len(), sample.files.len() + 2, "and nothing else");
    }
}

/// Whether each (file, chunk) is proved by what the store holds.
fn rehash_all(store: &Store, sample: &Sample) -> Vec<bool> {
    let rehash = |(file, chunk): (u32, u32)| {
        let found = store.rehash(&sample.trees[file as usize], ChunkIndex(chunk), &sample.buffers, NOW).unwrap();
        found.inspect(|found| assert_eq!(found.bytes(), sample.raw(file, chunk))).is_some()
    };
    sample.all().into_iter().map(rehash).collect()
}

fn write_all(store: &Store, sample: &Sample) {
    sample.all().into_iter().for_each(|(file, chunk)| store.write(&sample.chunk(file, chunk), NOW).unwrap());
}

#[derive(Debug, Clone)]
enum Step {
    Write(prop::sample::Index),
    Sync,
    /// As after a kill: nothing more is synced, but written pages are there.
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![4 => any::<prop::sample::Index>().prop_map(Step::Write), 2 => Just(Step::Sync), 1 => Just(Step::Reopen)];
    prop::collection::vec(step, 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_written_chunk_is_lost_and_none_is_invented(steps in steps(), rot in any::<prop::sample::Index>()) {
        let sample = Sample::noise([2 * MIB + 5, 10, 2 * MIB, 0]);
        let place = Place::new();
        let all = sample.all();
        let (mut store, _) = place.open(&sample);
        let (mut written, mut durable) = (BTreeSet::new(), BTreeSet::new());
        for step in steps.into_iter().chain([Step::Reopen]) {
            match step {
                Step::Write(index) => {
                    let (file, chunk) = all[index.index(all.len())];
                    store.write(&sample.chunk(file, chunk), NOW).unwrap();
                    written.insert((file, ChunkIndex(chunk)));
                }
                Step::Sync => durable.extend(store.sync().unwrap()),
                Step::Reopen => {
                    drop(store);
                    let candidates;
                    (store, candidates) = place.open(&sample);
                    let pairs = |chunks: fn(&Candidates) -> &Vec<ChunkIndex>| -> BTreeSet<_> {
                        candidates.iter().flat_map(|found| chunks(found).iter().map(|chunk| (found.file_index, *chunk))).collect()
                    };
                    let claimed = pairs(|found| &found.claimed);
                    prop_assert_eq!(&claimed, &durable, "claimed is what was synced");
                    let either: BTreeSet<_> = claimed.union(&pairs(|found| &found.unclaimed)).copied().collect();
                    prop_assert!(written.is_subset(&either), "{:?} in {:?}", written, either);
                }
            }
        }
        let expected: Vec<_> = all.iter().map(|(file, chunk)| written.contains(&(*file, ChunkIndex(*chunk)))).collect();
        prop_assert_eq!(rehash_all(&store, &sample), expected.clone());

        // Rot: one flipped bit is found, and only there.
        let at = rot.index(all.len());
        let (file, chunk) = all[at];
        let offset = ChunkIndex(chunk).offset() + rot.index(sample.raw(file, chunk).len()) as u64;
        let raw = place.file(&sample, file);
        let mut byte = [0];
        raw.read_exact_at(&mut byte, offset).unwrap();
        raw.write_all_at(&[byte[0] ^ 1], offset).unwrap();
        let mut rotten = expected;
        rotten[at] = false;
        prop_assert_eq!(rehash_all(&store, &sample), rotten);
    }
}

#[test]
fn holes_are_skipped_without_reading() {
    let sample = Sample::noise([40 * MIB, 10, 10, 0]);
    let place = Place::new();
    let (store, candidates) = place.open(&sample);
    assert!(candidates.iter().all(|found| found.claimed.is_empty() && found.unclaimed.is_empty()), "{candidates:?}");
    store.write(&sample.chunk(0, 20), NOW).unwrap();
    drop(store);
    let (_, candidates) = place.open(&sample);
    assert_eq!(candidates[0].unclaimed, [ChunkIndex(20)]);
}

#[test]
fn a_sync_is_due_by_bytes_or_by_time() {
    let sample = Sample::noise([65 * MIB, 10, 10, 0]);
    let place = Place::new();
    let (store, _) = place.open(&sample);
    let at = Duration::from_secs(100);
    assert!(!store.sync_due(at));
    for chunk in 0..63 {
        store.write(&sample.chunk(0, chunk), at).unwrap();
    }
    store.write(&sample.chunk(0, 0), at).unwrap();
    assert!(!store.sync_due(at), "written twice counts once");
    store.write(&sample.chunk(0, 63), at).unwrap();
    assert!(store.sync_due(at));
    assert_eq!(store.sync().unwrap().len(), 64);
    assert!(!store.sync_due(at + SYNC_INTERVAL));
    store.write(&sample.chunk(1, 0), at).unwrap();
    assert!(!store.sync_due(at + SYNC_INTERVAL - Duration::from_millis(1)));
    assert!(store.sync_due(at + SYNC_INTERVAL));
}

/// D6: the store.
#[test]
fn two_processes_never_work_in_one_folder() {
    let sample = Sample::recorded();
    let place = Place::new();
    let open = place.open(&sample);
    let second = Store::open(place.job(), &sample.manifest);
    assert!(matches!(second, Err(StoreError::Disk(DiskError::Locked { .. }))));
    drop(open);
    place.open(&sample);
}

/// D5: the journal of another transfer.
#[test]
fn another_snapshots_journal_claims_nothing_and_its_chunks_are_not_taken() {
    let (one, two) = (Sample::noise([2 * MIB, 10, MIB, 0]), Sample::noise([2 * MIB, 11, MIB, 0]));
    let place = Place::new();
    let (store, _) = place.open(&one);
    write_all(&store, &one);
    store.sync().unwrap();
    let refused = store.write(&two.chunk(1, 0), NOW);
    assert!(matches!(refused, Err(StoreError::Foreign { .. })));
    drop(store);
    let (store, candidates) = place.open(&two);
    assert!(candidates.iter().all(|found| found.claimed.is_empty()));
    // All but file 1 have the same bytes in both: what proves itself is used again.
    assert_eq!(rehash_all(&store, &two), [true, true, false, true]);
}

#[test]
fn a_whole_folder_is_published_once() {
    let sample = Sample::recorded();
    let place = Place::new();
    let (store, _) = place.open(&sample);
    write_all(&store, &sample);
    store.publish(&sample.verified(), &sample.metadata, &*place.root, "132").unwrap();
    place.assert_published(&sample);
    assert!(matches!(store.write(&sample.chunk(0, 0), NOW), Err(StoreError::Published)));
    assert!(matches!(store.start_over(0), Err(StoreError::Published)));
    let left: Vec<_> = place.job().list().unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(left, [JOURNAL_FILE, LOCK_FILE]);
}

/// Defence: publishing takes a proof of every file; removed, a part is published as the whole.
#[test]
fn nothing_is_published_unless_all_is_proved() {
    let sample = Sample::recorded();
    let place = Place::new();
    let (store, _) = place.open(&sample);
    let verified = sample.verified();
    let publish = |store: &Store, files: &[VerifiedFile]| store.publish(files, &sample.metadata, &*place.root, "132");
    write_all(&store, &sample);
    assert!(
        matches!(publish(&store, &verified[1..]), Err(StoreError::Incomplete { .. })),
        "a file that isn't verified"
    );
    drop(store);
    let (store, _) = place.open(&sample);
    assert!(
        matches!(publish(&store, &verified), Err(StoreError::Incomplete { .. })),
        "chunks that nobody proved in this run"
    );
    assert!(rehash_all(&store, &sample).iter().all(|proved| *proved));
    store.start_over(3).unwrap();
    assert!(matches!(publish(&store, &verified), Err(StoreError::Incomplete { .. })), "a file that started over");
    let other = Sample::noise([5, 5, 5, 0]);
    let foreign = store.publish(&verified, &other.metadata, &*place.root, "132");
    assert!(matches!(foreign, Err(StoreError::Foreign { .. })));
    assert_eq!(place.names(), ["job"]);
    store.write(&sample.chunk(3, 0), NOW).unwrap();
    publish(&store, &verified).unwrap();
    place.assert_published(&sample);
}

/// L8, D8: the store.
#[test]
fn only_the_exact_set_is_published() {
    let sample = Sample::recorded();
    let place = Place::new();
    let (store, _) = place.open(&sample);
    write_all(&store, &sample);
    let files = place.job().open_dir(FILES_DIR).unwrap();
    let publish = || store.publish(&sample.verified(), &sample.metadata, &*place.root, "132");
    let refused = |what: &str| {
        let error = publish().unwrap_err();
        assert!(matches!(&error, StoreError::NotExactSet(_) | StoreError::Altered { .. }), "{what}: {error}");
        assert_eq!(place.names(), ["job"]);
    };
    for extra in ["public_state.dat", "PUBLIC_STATE.DATA", "extra.data"] {
        files.open_file(extra, Access::CreateNew).unwrap();
        refused(extra);
        files.remove_file(extra).unwrap();
    }
    files.create_dir("sub").unwrap();
    refused("a folder");
    files.remove_dir_all("sub").unwrap();
    let txids = place.file(&sample, 6);
    let len = txids.len().unwrap();
    txids.set_len(len + 1).unwrap();
    refused("longer");
    txids.set_len(len).unwrap();
    files.rename("txids.data", &*place.job(), "aside").unwrap();
    refused("missing");
    #[expect(clippy::disallowed_methods, reason = "Dir makes no links")]
    {
        std::os::unix::fs::symlink("../aside", files.path().join("txids.data")).unwrap();
        refused("a link");
        std::fs::remove_file(files.path().join("txids.data")).unwrap();
        std::fs::hard_link(place.job().path().join("aside"), files.path().join("txids.data")).unwrap();
        refused("a second name of a file elsewhere");
        std::fs::remove_file(files.path().join("txids.data")).unwrap();
    }
    place.job().rename("aside", &*files, "txids.data").unwrap();
    publish().unwrap();
    place.assert_published(&sample);
}

#[test]
fn what_others_left_in_the_work_folder_is_removed() {
    let sample = Sample::recorded();
    let place = Place::new();
    drop(place.open(&sample));
    let files = place.job().open_dir(FILES_DIR).unwrap();
    files.open_file("extra.data", Access::CreateNew).unwrap();
    files.create_dir("sub").unwrap();
    files.remove_file("txids.data").unwrap();
    place.root.open_file("precious", Access::CreateNew).unwrap().write_all_at(b"precious", 0).unwrap();
    std::fs::hard_link(place.root.path().join("precious"), files.path().join("txids.data")).unwrap();
    let (store, _) = place.open(&sample);
    write_all(&store, &sample);
    store.publish(&sample.verified(), &sample.metadata, &*place.root, "132").unwrap();
    place.assert_published(&sample);
    assert_eq!(read_small(&*place.root, "precious", 100).unwrap(), b"precious");
}

/// The numbers of the files that a failed sync names.
fn failed(error: &StoreError) -> Vec<u32> {
    match error {
        StoreError::SyncFailed { files, .. } => files.iter().map(|(file_index, _)| *file_index).collect(),
        _ => Vec::new(),
    }
}

/// D3: a failed sync, in the store.
#[test]
fn after_a_failed_sync_the_file_starts_over() {
    let sample = Sample::noise([2 * MIB, 10, MIB, 0]);
    let place = Place::new();
    let faults = Arc::new(Faults::default());
    let job = FaultyDir::wrap(place.job(), &faults);
    let (store, _) = Store::open(job, &sample.manifest).unwrap();
    store.write(&sample.chunk(0, 1), NOW).unwrap();
    store.sync().unwrap();
    store.write(&sample.chunk(0, 0), NOW).unwrap();
    store.write(&sample.chunk(1, 0), NOW).unwrap();
    faults.fail_next(1, ErrorKind::Other); // the sync of file 0
    let error = store.sync().unwrap_err();
    assert_eq!(failed(&error), [0], "{error}");
    assert!(matches!(store.write(&sample.chunk(0, 1), NOW), Err(StoreError::StartsOver { file_index: 0, .. })));
    assert!(store.rehash(&sample.trees[0], ChunkIndex(0), &sample.buffers, NOW).is_err(), "its pages prove nothing");
    assert_eq!(store.sync().unwrap(), [(1, ChunkIndex(0))], "the other file is claimed by the next sync");
    store.start_over(0).unwrap();
    drop(store);
    let (store, candidates) = place.open(&sample);
    assert_eq!(candidates[0].claimed, [], "claimed before, and taken back");
    assert_eq!(candidates[1].claimed, [ChunkIndex(0)]);
    assert_eq!(rehash_all(&store, &sample), [false, false, true, false]);
    write_all(&store, &sample);
    store.sync().unwrap();
    assert!(rehash_all(&store, &sample).iter().all(|proved| *proved));
}

/// D3: a failed sync and a restart, in the store.
#[test]
fn a_later_process_takes_nothing_of_a_file_whose_sync_failed() {
    let sample = Sample::recorded();
    let bad = sample.manifest.files().iter().position(|listed| listed.file == SnapshotFile::PublicStateData).unwrap();
    let number = u32::try_from(bad).unwrap();
    for publishing in [false, true] {
        let place = Place::new();
        let faults = Arc::new(Faults::default());
        let (store, _) = Store::open(FaultyDir::wrap(place.job(), &faults), &sample.manifest).unwrap();
        store.write(&sample.chunk(number, 0), NOW).unwrap();
        store.sync().unwrap();
        write_all(&store, &sample);
        faults.break_only(&["sync public_state.data"]);
        let failed_sync = if publishing {
            store.publish(&sample.verified(), &sample.metadata, &*place.root, "132").unwrap_err()
        } else {
            store.sync().unwrap_err()
        };
        assert_eq!(failed(&failed_sync), [number], "{failed_sync}");
        // The process ends here. The kernel calls the pages clean, reads give them, and every later sync succeeds.
        drop(store);
        let (store, candidates) = place.open(&sample);
        assert_eq!((&candidates[bad].claimed, &candidates[bad].unclaimed), (&vec![], &vec![]));
        let others: Vec<_> = (0..sample.files.len()).map(|file| file != bad).collect();
        assert_eq!(rehash_all(&store, &sample), others, "the other files are kept");
        drop(store);
        assert!(place.open(&sample).1[bad].claimed.is_empty(), "the claim of before is taken back for good");
    }
}

#[test]
fn what_another_process_left_is_synced_and_read_from_the_disk() {
    let sample = Sample::noise([2 * MIB, 10, MIB, 0]);
    let place = Place::new();
    let faults = Arc::new(Faults::default());
    let open = || Store::open(FaultyDir::wrap(place.job(), &faults), &sample.manifest).unwrap();
    let (store, _) = open();
    assert!(!faults.taken_log().iter().any(|done| done.starts_with("forget")), "there was nothing before");
    write_all(&store, &sample);
    store.sync().unwrap();
    drop(store);
    faults.taken_log();
    drop(open());
    let log = faults.taken_log();
    for listed in sample.manifest.files() {
        let done: Vec<_> = log.iter().filter(|done| done.ends_with(listed.file.name())).collect();
        assert_eq!(done, [&format!("sync {}", listed.file), &format!("forget {}", listed.file)]);
    }
    // A sync that fails here stands for one that the process before never saw.
    faults.break_only(&["sync txids.data"]);
    let (_, candidates) = open();
    assert_eq!(candidates[0].claimed.len(), 2);
    assert_eq!((&candidates[2].claimed, &candidates[2].unclaimed), (&vec![], &vec![]));
}

/// D3: what a sync may still lose isn't durable while it runs, nor after it has failed.
#[test]
fn a_sync_that_runs_is_no_sync_that_is_done() {
    let sample = Sample::noise([2 * MIB, 10, MIB, 0]);
    let place = Place::new();
    let faults = Arc::new(Faults::default());
    let (store, _) = Store::open(FaultyDir::wrap(place.job(), &faults), &sample.manifest).unwrap();
    let store = Arc::new(store);
    write_all(&store, &sample);
    for (operation, fails) in [("sync journal", true), ("sync txids.data", false)] {
        faults.break_only(if fails { std::slice::from_ref(&operation) } else { &[] });
        let (during, asked) = (Arc::new(Mutex::new(None)), Arc::clone(&store));
        let told = Arc::clone(&during);
        faults.before(operation, move || *told.lock().unwrap() = Some(asked.is_synced()));
        assert_eq!((store.sync().is_err(), *during.lock().unwrap()), (fails, Some(false)), "{operation}");
        assert_eq!(store.is_synced(), !fails, "{operation}");
    }
}

#[test]
fn every_file_that_fails_in_one_sync_is_named() {
    let sample = Sample::noise([2 * MIB, 10, MIB, 0]);
    let place = Place::new();
    let faults = Arc::new(Faults::default());
    let (store, _) = Store::open(FaultyDir::wrap(place.job(), &faults), &sample.manifest).unwrap();
    write_all(&store, &sample);
    let names: Vec<_> = [0, 2].map(|at: usize| format!("sync {}", sample.manifest.files()[at].file.name())).into();
    faults.break_only(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let error = store.sync().unwrap_err();
    assert_eq!(failed(&error), [0, 2], "{error}");
    assert!(error.to_string().contains("public_state.data, txids.data must be fetched again"), "{error}");
    faults.break_only(&[]);
    assert_eq!(store.sync().unwrap(), [(1, ChunkIndex(0))], "the file that was synced is claimed");
    assert_eq!(store.missing(), [(0, ChunkIndex(0)), (0, ChunkIndex(1)), (2, ChunkIndex(0))]);
    [0, 2].into_iter().for_each(|file_index| store.start_over(file_index).unwrap());
    write_all(&store, &sample);
    assert_eq!(store.sync().unwrap().len(), 4);
}

#[test]
fn missing_is_what_publishing_calls_incomplete() {
    let sample = Sample::recorded();
    let place = Place::new();
    let (store, _) = place.open(&sample);
    write_all(&store, &sample);
    store.sync().unwrap();
    assert_eq!(store.missing(), []);
    drop(store);
    let (store, _) = place.open(&sample);
    let all: Vec<_> = sample.all().into_iter().map(|(file, chunk)| (file, ChunkIndex(chunk))).collect();
    assert_eq!(store.missing(), all, "claimed in another run isn't proved in this one");
    for (at, &(file, chunk)) in all.iter().enumerate() {
        assert_eq!(store.missing(), all[at..]);
        let refused = store.publish(&sample.verified(), &sample.metadata, &*place.root, "132");
        assert!(matches!(refused, Err(StoreError::Incomplete { .. })), "{refused:?}");
        assert!(store.rehash(&sample.trees[file as usize], chunk, &sample.buffers, NOW).unwrap().is_some());
    }
    assert_eq!(store.missing(), []);
    store.publish(&sample.verified(), &sample.metadata, &*place.root, "132").unwrap();
}

#[test]
fn a_chunk_that_cannot_be_read_is_told_from_other_failures_and_is_missing() {
    let sample = Sample::noise([2 * MIB, 10, MIB, 0]);
    let place = Place::new();
    let faults = Arc::new(Faults::default());
    let (store, _) = Store::open(FaultyDir::wrap(place.job(), &faults), &sample.manifest).unwrap();
    write_all(&store, &sample);
    let rehash = |file: usize, chunk| store.rehash(&sample.trees[file], ChunkIndex(chunk), &sample.buffers, NOW);
    faults.break_only(&["read public_state.data"]);
    let error = rehash(0, 1).unwrap_err();
    let named = matches!(error, StoreError::Unreadable { file_index: 0, chunk: ChunkIndex(1), .. });
    assert!(named, "{error}");
    assert!(rehash(1, 0).unwrap().is_some());
    assert_eq!(store.missing(), [(0, ChunkIndex(1))]);
    // Written again (the disk gives the place another sector), it is there.
    faults.break_only(&[]);
    store.write(&sample.chunk(0, 1), NOW).unwrap();
    assert_eq!(store.missing(), []);
    assert!(rehash(0, 1).unwrap().is_some());
    // A file that somebody cut isn't a disk that can't be read.
    place.file(&sample, 0).set_len(CHUNK_BYTES + 9).unwrap();
    assert!(rehash(0, 1).unwrap().is_none());
    assert_eq!(store.missing(), [(0, ChunkIndex(1))]);
}

#[test]
fn data_is_durable_before_the_journal_claims_it_and_names_before_they_are_published() {
    let sample = Sample::recorded();
    let place = Place::new();
    let faults = Arc::new(Faults::default());
    let (job, root) = (FaultyDir::wrap(place.job(), &faults), FaultyDir::wrap(Arc::clone(&place.root), &faults));
    let (store, _) = Store::open(job, &sample.manifest).unwrap();
    let root_name = place.root.path().file_name().unwrap().to_str().unwrap().to_owned();
    faults.taken_log();

    store.write(&sample.chunk(4, 0), NOW).unwrap();
    store.sync().unwrap();
    let data = sample.manifest.files()[4].file.name();
    let expected =
        [format!("write {data}"), format!("sync {data}"), "write journal".to_owned(), "sync journal".to_owned()];
    assert_eq!(faults.taken_log(), expected);

    write_all(&store, &sample);
    faults.taken_log();
    store.publish(&sample.verified(), &sample.metadata, &*root, "132").unwrap();
    let log = faults.taken_log();
    let at = |what: &str| log.iter().position(|done| done == what).unwrap_or_else(|| panic!("{what} in {log:?}"));
    let rename = at("rename from job");
    for listed in sample.manifest.files() {
        assert!(at(&format!("sync {}", listed.file.name())) < rename, "{log:?}");
    }
    assert_eq!(log[rename - 1], "sync files", "{log:?}");
    assert_eq!(log[rename + 1..], [format!("sync {root_name}"), "sync job".to_owned()], "{log:?}");
}

/// D2: the store's last steps, in the same process.
#[test]
fn publishing_that_failed_goes_on_where_it_was() {
    let sample = Sample::recorded();
    for step in ["sync files", "rename from job", "sync root", "sync job"] {
        let (place, faults) = (Place::new(), Arc::new(Faults::default()));
        let job = FaultyDir::wrap(place.job(), &faults);
        place.root.create_dir("root").unwrap();
        let to = FaultyDir::wrap(place.root.open_dir("root").unwrap(), &faults);
        let (store, _) = Store::open(job, &sample.manifest).unwrap();
        write_all(&store, &sample);
        let publish = || store.publish(&sample.verified(), &sample.metadata, &*to, "132");
        faults.break_only(&[step]);
        publish().unwrap_err();
        faults.break_only(&[]);
        faults.taken_log();
        publish().unwrap();
        let log = faults.taken_log();
        assert_eq!(log[log.len() - 2..], ["sync root", "sync job"], "{step}: {log:?}");
        assert_eq!(log.len() == 2, matches!(step, "sync root" | "sync job"), "{step}: {log:?}");
        to.rename("132", &*FaultyDir::wrap(Arc::clone(&place.root), &faults), "132").unwrap();
        place.assert_published(&sample);
    }
}

/// Every single fault at every operation, then what a joiner would do: pause and repeat, or start a file over.
/// (faults.md D2, D3)
/// D2, D3: every operation of a store.
#[test]
fn any_single_fault_at_any_operation_ends_in_the_same_folder() {
    let sample = Sample::recorded();
    for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
        let mut operation = 0;
        loop {
            operation += 1;
            let place = Place::new();
            let faults = Arc::new(Faults::default());
            faults.fail_next(operation, kind);
            let mut attempts = 0;
            while let Err(error) = transfer(&place, &faults, &sample) {
                attempts += 1;
                assert!(attempts < 3, "operation {operation}: {error}");
                if let StoreError::Disk(disk) = &error {
                    assert_eq!(disk.is_full(), kind == ErrorKind::StorageFull, "operation {operation}: {error}");
                }
            }
            place.assert_published(&sample);
            if faults.left() > 0 {
                assert!(operation > 40, "the loop saw every operation of a transfer: {operation}");
                break;
            }
        }
    }
}

/// One run of a joiner, new process included. A published folder is seen before anything is done.
fn transfer(place: &Place, faults: &Arc<Faults>, sample: &Sample) -> Result<(), StoreError> {
    if place.names().contains(&"132".to_owned()) {
        return Ok(());
    }
    let job = FaultyDir::wrap(place.job(), faults);
    let root = FaultyDir::wrap(Arc::clone(&place.root), faults);
    let (store, _) = Store::open(job, &sample.manifest)?;
    for (file, chunk) in sample.all() {
        if store.rehash(&sample.trees[file as usize], ChunkIndex(chunk), &sample.buffers, NOW)?.is_none() {
            store.write(&sample.chunk(file, chunk), NOW)?;
        }
        if file % 4 == 3
            && let Err(StoreError::SyncFailed { files, .. }) = store.sync()
        {
            // Repaired within the run: the other way is a new process.
            for (file_index, _) in files {
                store.start_over(file_index)?;
                store.write(&sample.chunk(file_index, 0), NOW)?;
            }
            store.sync()?;
        }
    }
    store.publish(&sample.verified(), &sample.metadata, &*root, "132")
}
