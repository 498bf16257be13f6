//! A whole join, cut off before every single operation of its disk, and with every single operation failing.
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
    disk::{Fault, Kind, SimDisk, SyncLie},
};

use super::{LAND, SEED, claimed_bytes, fetched, golden, join_on, receipt, total_bytes, watch};
use crate::sim::{run::Report, scenario::Expect};

/// One simulation is one thread; more threads are more states.
const THREADS: usize = 2;

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

/// Something that isn't the quorum's snapshot lay published, at some moment of a join that kept its images, or lies there now.
fn was_wrong(disk: &SimDisk) -> bool {
    let golden = golden();
    let before = disk.taken_images().into_iter().map(|image| image.killed());
    before.chain([disk.clone()]).any(|disk| disk.folder(LAND).is_some_and(|files| files != golden.files))
}

/// A new join, watched all the time.
fn join_again(disk: &SimDisk, expect: Expect, tally: &mut Tally) -> Report {
    disk.keep_images();
    let report = join_on(disk, expect);
    tally.wrong += usize::from(was_wrong(disk));
    report
}

/// Joins on what a crash has left, at most twice, and tells what is broken.
fn recover(disk: &SimDisk, claimed: u64, acknowledged: Option<&str>) -> Tally {
    let mut tally = Tally { states: 1, wrong: usize::from(was_wrong(disk)), ..Tally::default() };
    let is_published = disk.folder(LAND).is_some();
    if let Some(receipt) = acknowledged {
        tally.lost += usize::from(!is_published || disk.read(receipt).is_none());
    }
    let claimed = if is_published { total_bytes() } else { claimed };
    let wrong_before = tally.wrong;
    let report = join_again(disk, Expect::Lands, &mut tally);
    tally.fetched_again += usize::from(fetched(&report) + claimed > total_bytes());
    if report.broken().is_err() && tally.wrong == wrong_before {
        tally.stuck += usize::from(join_again(disk, Expect::Lands, &mut tally).broken().is_err());
    }
    tally
}

/// Fails one operation of a join, joins again, and tells what is broken.
fn fail(operation: u64, fault: Fault) -> Tally {
    let disk = SimDisk::new();
    disk.fail(operation, fault);
    let mut tally = Tally { faults: 1, ..Tally::default() };
    let first = join_again(&disk, Expect::Either, &mut tally);
    if matches!(first.ended, Some(Ok(_))) {
        // It coped: then it must be true.
        disk.lose_unsynced();
        let is_there = disk.folder(LAND).is_some() && receipt(&first).is_some_and(|path| disk.read(path).is_some());
        tally.lost += usize::from(!is_there);
        tally.wrong += usize::from(was_wrong(&disk));
    }
    let second = join_again(&disk, Expect::Lands, &mut tally);
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
    assert!(tally.crash_points > 100 && tally.states > 100, "{tally}");
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
