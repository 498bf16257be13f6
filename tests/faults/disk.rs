//! The joiner's disk: a whole join, cut off before every single operation, and with every single operation failing.
//!
//! Enumerated, not drawn: a join's operations are few, and the ones that matter are those nobody thought of. A plain run takes each crash
//! point with the corners of what may be left; `just faults-exhaustive` takes every subset.

use std::{
    collections::BTreeSet,
    fmt,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use netsim::{
    Rng,
    disk::{Fault, Image, Kind, SimDisk, SyncLie},
};
use snapferry::{
    chunking::{Candidates, Store},
    snapshot::{CHUNK_BYTES, Manifest},
};

use crate::sim::{
    channel::SimChannel,
    disk::sim_dir,
    run::{Report, run_with},
    scenario::{Expect, JoinerSpec, LinkSpec, Scenario, SourceSpec},
};

const SEED: u64 = 1;
/// One simulation is one thread; more threads are more states.
const THREADS: usize = 2;
/// Where the snapshot is published, and where the work on it is done.
const LAND: &str = "land/simchannel/21";
const WORK: [&str; 3] = ["land", ".snapferry", "simchannel-21"];
/// A pause for space, and the rest of a join.
const BACK_IN_S: u64 = 120;

/// So slow that what came first is synced and noted before all is there.
fn scenario(expect: Expect) -> Scenario {
    let links = LinkSpec { latency_ms: 5, bandwidth_bytes_per_s: Some(1_000_000), ..LinkSpec::default() };
    Scenario {
        snapshot_bytes: 3 << 20,
        min_orgs: 1,
        sources: vec![SourceSpec::of(1)],
        joiner: JoinerSpec::default(),
        links,
        deadline_s: BACK_IN_S,
        expect,
        ..Scenario::default()
    }
}

fn join_on(disk: &SimDisk, expect: Expect) -> Report {
    run_with(&scenario(expect), SEED, |world| world.joiner.disk = disk.clone())
}

/// What came of an enumeration: all but the first four must be 0 of a correct program.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Tally {
    operations: usize,
    crash_points: usize,
    /// Different disks that a crash may leave.
    states: usize,
    faults: usize,
    /// Something else than the quorum's bytes was published.
    wrong: usize,
    /// The join had said that it landed, and the folder or the receipt is gone.
    lost: usize,
    /// Something was fetched again that the journal called durable.
    fetched_again: usize,
    /// It didn't land, though nothing went wrong any more.
    stuck: usize,
}

impl Tally {
    fn is_clean(&self) -> bool {
        (self.wrong, self.lost, self.fetched_again, self.stuck) == (0, 0, 0, 0)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operations, crash_points, states, faults, wrong, lost, fetched_again, stuck } = self;
        write!(
            f,
            "{operations} operations, {crash_points} crash points, {states} states, {faults} faults: {wrong} wrong, "
        )?;
        write!(f, "{lost} acknowledged and lost, {fetched_again} fetched again, {stuck} stuck")
    }
}

/// How much is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effort {
    /// Of each crash point: nothing unsynced kept, all of it, and one state drawn. Of each operation one kind of fault.
    Corners,
    /// Every state that a crash may leave, every kind of fault.
    All,
}

/// The disk that a join begins with, and what it does to it.
struct Watched {
    images: Vec<Image>,
    /// After it has said that it landed.
    end: Image,
    receipt: String,
    operations: Vec<Kind>,
}

fn watch(lie: Option<SyncLie>) -> Watched {
    let disk = SimDisk::new();
    disk.keep_images();
    disk.lie_about_syncs(lie);
    let report = join_on(&disk, Expect::Lands);
    report.check();
    let receipt = report.ended.unwrap().unwrap().receipt.unwrap();
    Watched {
        images: disk.taken_images(),
        end: disk.image(),
        receipt: receipt.to_str().unwrap().trim_start_matches('/').to_owned(),
        operations: disk.log().iter().map(|operation| operation.kind).collect(),
    }
}

fn manifest() -> Manifest {
    SimChannel::shared(scenario(Expect::Lands).organisations)
        .golden(scenario(Expect::Lands).snapshot_bytes, 1)
        .manifest
        .clone()
}

/// Bytes that the durable journal of the work folder calls durable at that moment, whatever is left of the files themselves.
fn claimed_bytes(image: &Image) -> u64 {
    let (live, bare) = (image.killed(), image.killed());
    bare.lose_unsynced();
    let journal = WORK.join("/") + "/journal";
    let Some(durable) = bare.read(&journal).filter(|_| live.read(&journal).is_some()) else { return 0 };
    live.put(&journal, &durable).unwrap();
    let job = WORK.iter().try_fold(sim_dir(&live), |dir, name| dir.open_dir(name)).unwrap();
    let manifest = manifest();
    let (_store, candidates) = Store::open(job, &manifest).unwrap();
    let of_file = |of: &Candidates| {
        let size = manifest.files()[of.file_index as usize].size;
        of.claimed.iter().map(|chunk| (size - u64::from(chunk.0) * CHUNK_BYTES).min(CHUNK_BYTES)).sum::<u64>()
    };
    candidates.iter().map(of_file).sum()
}

fn total_bytes() -> u64 {
    manifest().files().iter().map(|file| file.size).sum()
}

/// Joins on what a crash has left, at most twice, and tells what is broken.
fn recover(disk: &SimDisk, claimed: u64, acknowledged: Option<&str>) -> Tally {
    let mut tally = Tally { states: 1, ..Tally::default() };
    let golden = &SimChannel::shared(4).golden(3 << 20, 1).files;
    let published = disk.folder(LAND);
    tally.wrong += usize::from(published.as_ref().is_some_and(|files| files != golden));
    if let Some(receipt) = acknowledged {
        tally.lost += usize::from(published.is_none() || disk.read(receipt).is_none());
    }
    let claimed = if published.is_some() { total_bytes() } else { claimed };
    let report = join_on(disk, Expect::Lands);
    let received: u64 = report.attempts.iter().map(|attempt| attempt.received_bytes).sum();
    tally.fetched_again += usize::from(received + claimed > total_bytes());
    match report.broken() {
        Ok(()) => {}
        Err(_) if report.landed.as_ref().is_some_and(|files| files != golden) => tally.wrong += 1,
        Err(_) => tally.stuck += usize::from(join_on(disk, Expect::Lands).broken().is_err()),
    }
    tally
}

/// Fails one operation of a join, joins again, and tells what is broken.
fn fail(operation: u64, fault: Fault) -> Tally {
    let disk = SimDisk::new();
    disk.fail(operation, fault);
    let mut tally = Tally { faults: 1, ..Tally::default() };
    let golden = &SimChannel::shared(4).golden(3 << 20, 1).files;
    let first = join_on(&disk, Expect::Either);
    let wrong = |report: &Report| report.landed.as_ref().is_some_and(|files| files != golden);
    tally.wrong += usize::from(wrong(&first));
    if matches!(first.ended, Some(Ok(_))) {
        // It coped: then it must be true.
        disk.lose_unsynced();
        tally.lost += usize::from(disk.folder(LAND).as_ref() != Some(golden));
    }
    let second = join_on(&disk, Expect::Lands);
    tally.wrong += usize::from(wrong(&second));
    tally.stuck += usize::from(first.broken().is_err() || second.broken().is_err());
    tally
}

/// Does every piece of work on all threads.
fn all<T: Send + Sync>(work: Vec<T>, one: impl Fn(&T) -> Tally + Sync) -> Tally {
    let (next, sum) = (AtomicUsize::new(0), Mutex::new(Tally::default()));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(item) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let of_one = one(item);
                    let mut sum = sum.lock().unwrap();
                    sum.states += of_one.states;
                    sum.faults += of_one.faults;
                    sum.wrong += of_one.wrong;
                    sum.lost += of_one.lost;
                    sum.fetched_again += of_one.fetched_again;
                    sum.stuck += of_one.stuck;
                }
            });
        }
    });
    sum.into_inner().unwrap()
}

/// Every crash point of a join on such a disk.
fn crashes(effort: Effort, lie: Option<SyncLie>) -> Tally {
    let watched = watch(lie);
    let (mut rng, mut seen, mut states) = (Rng::new(SEED), BTreeSet::new(), Vec::new());
    for (image, acknowledged) in watched.images.iter().map(|image| (image, false)).chain([(&watched.end, true)]) {
        let left = match effort {
            Effort::All => image.outcomes(&mut rng),
            Effort::Corners => {
                let bare = image.killed();
                bare.lose_unsynced();
                vec![bare, image.killed(), image.drawn(&mut rng)]
            }
        };
        let claimed = claimed_bytes(image);
        let new = left.into_iter().filter(|disk| seen.insert((disk.hash(), claimed, acknowledged)));
        states.extend(new.map(|disk| (disk, claimed, acknowledged)));
    }
    let mut tally =
        all(states, |(disk, claimed, acknowledged)| recover(disk, *claimed, acknowledged.then_some(&*watched.receipt)));
    (tally.operations, tally.crash_points) = (watched.operations.len(), watched.images.len() + 1);
    tally
}

/// Every operation of a join, failing.
fn faults(effort: Effort) -> Tally {
    let kinds = watch(None).operations;
    let one = |(at, kind): (usize, &Kind)| {
        let of_kind: Vec<Fault> = Fault::ALL.into_iter().filter(|fault| fault.fits(*kind)).collect();
        let chosen = if effort == Effort::All { of_kind.clone() } else { vec![of_kind[at % of_kind.len()]] };
        chosen.into_iter().map(move |fault| (at as u64, fault)).collect::<Vec<_>>()
    };
    let work: Vec<(u64, Fault)> = kinds.iter().enumerate().flat_map(one).collect();
    all(work, |(operation, fault)| fail(*operation, *fault))
}

fn is_in_work(path: &Path) -> bool {
    path.to_string_lossy().contains("/.snapferry/simchannel-21/files/")
}

fn is_data(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".data")
}

/// The folders that the finished snapshot is renamed between.
fn is_renamed_between(path: &Path) -> bool {
    path.ends_with("land/simchannel") || path.ends_with(".snapferry/simchannel-21")
}

/// D1: power is cut before every operation of a join.
#[test]
fn a_join_that_is_cut_off_anywhere_goes_on_with_what_was_durable() {
    let tally = crashes(Effort::Corners, None);
    println!("{tally}");
    assert!(tally.is_clean(), "{tally}");
    assert!(tally.crash_points > 100 && tally.states > tally.crash_points, "{tally}");
}

/// D2, D3: every operation of a join fails, with EIO, without space, or half done.
#[test]
fn a_join_whose_disk_fails_anywhere_lands_or_says_why_and_lands_when_run_again() {
    let tally = faults(Effort::Corners);
    println!("{tally}");
    assert!(tally.is_clean(), "{tally}");
    assert!(tally.faults > 150, "{tally}");
}

/// D1: three wrong orders of syncs are each found by the same enumeration. The program is right; the disk does what a wrong one would.
#[test]
fn wrong_orders_of_syncs_are_found() {
    // The journal is durable before the data that it names.
    let journal_first = crashes(Effort::Corners, Some(SyncLie::Late(is_in_work)));
    assert!(journal_first.fetched_again > 0, "{journal_first}");
    // Nobody ever waits for the data.
    let never = crashes(Effort::Corners, Some(SyncLie::Never(is_data)));
    assert!(never.wrong > 0, "{never}");
    // The name isn't made durable behind the renaming.
    let no_name = crashes(Effort::Corners, Some(SyncLie::Never(is_renamed_between)));
    assert!(no_name.lost > 0, "{no_name}");
}

/// D1, D2, D3: as above, every subset of what wasn't durable, every kind of fault.
#[test]
#[ignore = "minutes: just faults-exhaustive"]
fn every_state_and_every_fault() {
    let (crashed, failed) = (crashes(Effort::All, None), faults(Effort::All));
    println!("{crashed}\n{failed}");
    assert!(crashed.is_clean() && failed.is_clean(), "{crashed}\n{failed}");
}

/// Runs a join until the first sync is noted in its journal, then takes its power.
fn half_done() -> SimDisk {
    let watched = watch(None);
    let image = watched.images.iter().rfind(|image| (1..total_bytes()).contains(&claimed_bytes(image))).unwrap();
    let disk = image.killed();
    disk.lose_unsynced();
    disk
}

fn fetched(report: &Report) -> u64 {
    report.attempts.iter().map(|attempt| attempt.received_bytes).sum()
}

/// D4: a bit of a durable chunk rots between two runs: it is found when the chunk is hashed again, and only that chunk is fetched again.
#[test]
fn a_durable_chunk_that_rots_is_fetched_again_and_no_other() {
    let clean = join_on(&half_done(), Expect::Lands);
    for bit in [0, 1 << 20, 7_000_000] {
        let disk = half_done();
        assert!(disk.rot(WORK.join("/") + "/files/public_state.data", bit));
        let report = join_on(&disk, Expect::Lands);
        report.check();
        assert_eq!(fetched(&report), fetched(&clean) + CHUNK_BYTES, "bit {bit}");
    }
}

/// D5: a journal that is cut anywhere, damaged anywhere, or another transfer's never makes a join believe in what isn't there.
#[test]
fn a_damaged_journal_is_believed_up_to_the_damage() {
    let journal = WORK.join("/") + "/journal";
    let whole = half_done().read(&journal).unwrap();
    let damaged = |at: usize| [&whole[..at], &[whole[at] ^ 0x40], &whole[at + 1..]].concat();
    let places = (0..whole.len()).step_by(23);
    let mut journals: Vec<Vec<u8>> = places.flat_map(|at| [whole[..at].to_vec(), damaged(at)]).collect();
    journals.push([&whole[..], &[0xff; 40]].concat());
    for bytes in journals {
        let disk = half_done();
        disk.put(&journal, &bytes).unwrap();
        let report = join_on(&disk, Expect::Lands);
        report.check();
        assert!(fetched(&report) <= total_bytes(), "{} journal bytes", bytes.len());
    }
}

/// D7: a disk that can't be written any more ends a join with the path and the reason; afterwards it goes on.
#[test]
fn a_disk_that_refuses_changes_is_told_with_path_and_reason() {
    use std::io::ErrorKind;
    for kind in [ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied] {
        let disk = half_done();
        disk.refuse_changes(Some(kind));
        let report = join_on(&disk, Expect::Refused);
        report.check();
        let text = report.ended.unwrap().unwrap_err().to_string();
        assert!(text.contains("/land") || text.contains("/state"), "{kind}: {text}");
        assert!(text.contains(&std::io::Error::from(kind).to_string()), "{kind}: {text}");
        disk.refuse_changes(None);
        join_on(&disk, Expect::Lands).check();
    }
}
