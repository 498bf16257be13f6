//! What happens to sources while others download from them: their snapshots are deleted.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use snapferry::{catalog::Catalog, snapshot::SnapshotId};

use crate::sim::{
    run::{Report, run_with},
    scenario::{Happening, LinkSpec, Scenario, Timed},
};

/// What a source's lease is asked of.
type Held = (Arc<Catalog>, SnapshotId);

/// So slow that a join of 4 MiB is still going on when something happens.
const SLOW: LinkSpec = LinkSpec {
    down: false,
    latency_ms: 20,
    jitter_ms: 0,
    bandwidth_bytes_per_s: Some(400_000),
    queue_bytes: 64_000,
    loss_ppm: 0,
    duplicate_ppm: 0,
    reorder_ppm: 0,
    reorder_ms: 0,
    corrupt_ppm: 0,
    mtu: None,
};

/// Of a join of three sources: what came of it, and whether each has its data still.
fn run(happenings: Vec<(u64, Happening)>, seed: u64) -> (Report, Vec<bool>) {
    let happenings = happenings.into_iter().map(|(at_ms, what)| Timed { at_ms, what }).collect();
    let scenario = Scenario { snapshot_bytes: 4 << 20, links: SLOW, happenings, ..Scenario::default() };
    let seen: Arc<Mutex<Vec<Held>>> = Arc::default();
    let report = run_with(&scenario, seed, |world| {
        let catalogs = world.services.iter().map(|service| Arc::clone(service.catalog().unwrap()));
        *seen.lock().unwrap() = catalogs.map(|catalog| (catalog, world.golden.id.clone())).collect();
    });
    let seen = seen.lock().unwrap().clone();
    (report, seen.iter().map(|(catalog, id)| catalog.snapshot(id).is_some()).collect())
}

fn told(report: &Report, text: &str) -> Vec<Duration> {
    report.log.iter().filter(|line| line.text.contains(text)).map(|line| line.at).collect()
}

/// C1: every source's admin has the snapshot deleted in mid-transfer: the join has its leases, gets all of it, and only then it is deleted.
#[test]
fn a_deletion_waits_for_a_join_that_holds_a_lease() {
    let (report, left) = run((1..=3).map(|number| (3_000, Happening::AskDeletion(number))).collect(), 31);
    report.check();
    assert_eq!(report.attempts.len(), 1, "{}", report.account("in one go"));
    assert!(told(&report, "Landed")[0] > Duration::from_secs(3));
    assert_eq!(left, [false; 3], "the lease was closed, and what waited for it is done");
}

/// C1: without a lease to wait for (the folder goes at once) what one source no longer gives, the others do.
#[test]
fn a_snapshot_that_goes_at_once_is_fetched_from_the_others() {
    let (report, left) = run(vec![(3_000, Happening::Delete(1)), (3_500, Happening::Delete(2))], 32);
    report.check();
    assert_eq!((report.attempts.len(), left), (1, vec![false, false, true]));
}

/// C1: a forced deletion: who downloads is told, has ten minutes, and then goes on elsewhere; though it could hear nothing for longer.
#[test]
fn a_forced_deletion_gives_ten_minutes_and_no_more() {
    const LATER: u64 = 11 * 60_000;
    let (report, left) = run(
        vec![
            (3_000, Happening::ForceDeletion(1)),
            (3_500, Happening::Cut(vec![1, 2, 3])),
            (LATER, Happening::Heal(vec![1, 2, 3])),
        ],
        33,
    );
    report.check();
    let ends = told(&report, "SourceEnds");
    assert!(ends.len() == 1 && ends[0] < Duration::from_millis(3_500), "{}", report.account("told once, at once"));
    assert_eq!((report.attempts.len(), left), (1, vec![false, true, true]));
}
