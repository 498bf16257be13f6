//! What happens to sources while others download from them: their snapshots are deleted.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use snapferry::{catalog::Catalog, snapshot::SnapshotId};

use crate::sim::{
    run::{Report, run_with},
    scenario::{Expect, Happening, LinkSpec, Scenario, Timed},
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

/// C2: sources are killed or stopped in mid-transfer and come back: they are dialled again, and nothing that was proved is fetched again
/// (an oracle of every run).
#[test]
fn sources_that_restart_are_dialled_again() {
    let happenings = vec![
        (2_000, Happening::Crash(1)),
        (2_500, Happening::Stop(2)),
        (3_000, Happening::Crash(3)),
        (6_000, Happening::Restart(1)),
        (6_500, Happening::Restart(2)),
        (90_000, Happening::Restart(3)),
    ];
    let (report, _) = run(happenings, 34);
    report.check();
    assert_eq!(report.attempts.len(), 1, "{}", report.account("in one go"));
    let of = |number| report.samples.last().unwrap().by_source[&number];
    assert!(of(1) > 0 && of(2) > 0 && told(&report, "Landed")[0] < Duration::from_secs(90), "{}", report.account(""));
}

/// C3: a newer snapshot appears at a source in mid-transfer: what was begun is finished.
#[test]
fn a_newer_snapshot_does_not_change_the_target() {
    let newer = (1..=3).map(|number| (2_000 + 500 * number, Happening::NewSnapshot(number as usize))).collect();
    let (report, _) = run(newer, 35);
    report.check();
    let agreed = told(&report, "agreed on");
    assert!(agreed.len() == 1 && report.attempts.len() == 1, "{}", report.account("agreed once"));
    assert_eq!(report.ended.as_ref().unwrap().as_ref().unwrap().id.block_number.0, 21);
}

/// C4, C5: an organisation is removed, or a peer's certificate revoked, in mid-transfer: what it is sent for ends within a second, and the others
/// finish; the two that are left are enough.
#[test]
fn who_is_no_member_any_more_sends_nothing_from_then_on() {
    for gone in [Happening::RemoveOrg(1), Happening::Revoke(1)] {
        let (report, _) = run(vec![(3_000, gone.clone())], 36);
        report.check();
        let line =
            report.log.iter().find(|line| line.text.starts_with("lost") || line.text.starts_with("can't be used"));
        let at = line.unwrap_or_else(|| panic!("{}", report.account("nobody was left out"))).at;
        assert!(at < Duration::from_secs(4), "{gone:?}: {}", report.account("too late"));
        let by = |at| report.samples.iter().rfind(|sample| sample.at <= at).unwrap().by_source.get(&1).copied();
        assert_eq!(by(Duration::from_secs(4)), by(Duration::from_secs(3_600)), "{gone:?}");
        assert!(report.attempts[0].dropped.is_empty(), "no malice");
    }
}

/// C7: a clock that is a day off: a source's own word then is of another day, and isn't taken; the others are enough. If it is the joiner's
/// clock, nobody's is, and the refusal says so.
#[test]
fn a_clock_that_is_a_day_off_vouches_for_nothing() {
    const DAY_S: i64 = 24 * 3_600;
    for off in [DAY_S, -DAY_S] {
        let mut scenario = Scenario { links: SLOW, min_orgs: 3, ..Scenario::default() };
        scenario.sources[0].clock_ahead_s = off;
        scenario.expect = Expect::Refused;
        let report = run_with(&scenario, 37, |_| ());
        report.check();
        scenario.min_orgs = 2;
        scenario.expect = Expect::Lands;
        run_with(&scenario, 37, |_| ()).check();
        scenario.sources[0].clock_ahead_s = 0;
        scenario.joiner.clock_ahead_s = off;
        scenario.expect = Expect::Refused;
        let report = run_with(&scenario, 38, |_| ());
        report.check();
        let text = report.ended.unwrap().unwrap_err().to_string();
        assert!(text.contains("more than 5 minutes from ours: compare the clocks"), "{text}");
    }
}
