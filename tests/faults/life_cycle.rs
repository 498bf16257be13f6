//! What happens to sources while others download from them: their snapshots are deleted.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use snapferry::{
    catalog::{Catalog, Holder, LEASE_TIME},
    msp::IdentityId,
    snapshot::{CHUNK_BYTES, SnapshotId},
};
use tokio::time::{Instant, sleep};

use crate::sim::{
    liar::Of as Lie,
    run::{Line, Report, Sample, Who, run_with},
    scenario::{Expect, Happening, LinkSpec, Scenario, SourceSpec, Timed},
};

/// What a source's lease is asked of.
type Held = (Arc<Catalog>, SnapshotId);

/// So slow that a join of 4 MiB is still going on when something happens.
const SLOW: LinkSpec = LinkSpec::of(20, 400_000, 64_000);

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

/// C1: a join that takes longer than a lease renews it: the deletion waits for all of it.
#[test]
fn a_lease_is_renewed_while_chunks_flow() {
    let slower = LinkSpec { bandwidth_bytes_per_s: Some(1_800), queue_bytes: 6_000, ..SLOW };
    let slower = (1..=3).map(|number| (2_500, Happening::Link(number, slower)));
    let asked = (1..=3).map(|number| (3_000, Happening::AskDeletion(number)));
    let happenings = slower.chain(asked).map(|(at_ms, what)| Timed { at_ms, what }).collect();
    let report = run_with(
        &Scenario { snapshot_bytes: 5 << 20, links: SLOW, happenings, deadline_s: 3_600, ..Scenario::default() },
        40,
        |_| (),
    );
    report.check();
    let landed = told(&report, "Landed")[0];
    assert!(landed > LEASE_TIME + LEASE_TIME / 4, "it was too quick: {landed:?}");
    assert_eq!(report.attempts.len(), 1, "{}", report.account("in one go"));
}

/// C1: nobody has the snapshot any more, but a newer one: that is joined instead.
#[test]
fn when_every_source_has_deleted_it_another_block_is_joined() {
    let newer = (1..=3).map(|number| (2_000, Happening::NewSnapshot(number)));
    let gone = (1..=3).map(|number| (3_000, Happening::Delete(number)));
    let (report, left) = run(newer.chain(gone).collect(), 37);
    let Some(Ok(joined)) = &report.ended else { panic!("{}", report.account("nothing was joined")) };
    let agreed = told(&report, "agreed on");
    assert!(agreed.len() == 2 && agreed[1] > Duration::from_secs(3), "{}", report.account("agreed anew"));
    report.check();
    assert_eq!(told(&report, "OtherSnapshot").len(), 1, "{}", report.account("x"));
    assert!(joined.id.block_number.0 > 100, "{}", joined.id);
    assert_eq!(left, [false; 3]);
}

/// Each source's catalog and the snapshot, handed to a task that runs beside the join.
fn beside<F: Future<Output = ()> + Send + 'static>(seed: u64, task: fn(Vec<Held>, Holder) -> F) -> Report {
    let done = Arc::new(AtomicBool::new(false));
    let through = Arc::clone(&done);
    let scenario = Scenario { snapshot_bytes: 4 << 20, links: SLOW, deadline_s: 1_200, ..Scenario::default() };
    let report = run_with(&scenario, seed, |world| {
        let held =
            world.services.iter().map(|service| (Arc::clone(service.catalog().unwrap()), world.golden.id.clone()));
        let identity = &world.joiner.peer.identity.identity;
        let joiner = Holder { msp_id: identity.msp_id().clone(), identity_id: identity.id() };
        let task = task(held.collect(), joiner);
        tokio::spawn(async move {
            task.await;
            through.store(true, Ordering::SeqCst);
        });
    });
    assert!(done.load(Ordering::SeqCst), "{}", report.account("what was to happen beside it failed, or came too late"));
    report
}

/// Defence: a lease that ended under way is opened anew, and the request repeated. Removed, every source refuses from then on.
#[test]
fn a_lease_that_ends_under_way_is_opened_anew() {
    let report = beside(38, |sources, joiner| async move {
        for _ in 0..3 {
            for (catalog, id) in &sources {
                while catalog.leases_of(id, now()).is_empty() {
                    sleep(Duration::from_millis(50)).await;
                }
                // Leases are numbered from 1.
                let closed = (1..10).filter(|lease_id| catalog.close_lease(*lease_id, &joiner, now()).is_ok());
                assert_eq!(closed.count(), 1);
            }
        }
    });
    report.check();
    assert!(told(&report, "lost").is_empty() && report.attempts.len() == 1, "{}", report.account("without a break"));
}

/// Defence: one request is tried with three leases. Removed, a source whose leases end at once is asked for ever, and nobody hears of it.
#[test]
fn leases_that_end_again_and_again_are_a_refusal() {
    for ended in [2, 3] {
        let sources = vec![SourceSpec::of(1).lying(Lie::LeasesEndAtFirst(ended))];
        let report = run_with(&Scenario { min_orgs: 1, sources, links: SLOW, ..Scenario::default() }, 41, |_| ());
        report.check();
        assert_eq!(report.attempts.len(), 1, "{}", report.account("in one go"));
        let refused = |sample: &Sample| sample.waiting_for.as_ref().is_some_and(|words| words.contains("lease"));
        assert_eq!(report.samples.iter().any(refused), ended == 3, "{}", report.account("ended so often"));
    }
}

/// S7: all sources have given their leases to others of the joiner's organisation: it waits politely until one is free.
#[test]
fn a_join_waits_for_a_lease_and_says_so() {
    let report = beside(39, |sources, joiner| {
        for (catalog, id) in &sources {
            for other in 1..=4 {
                let other = Holder { identity_id: IdentityId([other; 32]), ..joiner.clone() };
                catalog.open_lease(id, &other, now()).unwrap();
            }
        }
        async {}
    });
    report.check();
    assert!(told(&report, "Landed")[0] > LEASE_TIME, "{}", report.account("none was free"));
    assert_eq!(report.attempts.len(), 1);
    let waits = |words: &Option<String>| words.as_ref().is_some_and(|words| words.contains("busy sources"));
    let waited = report.samples.iter().filter(|sample| waits(&sample.waiting_for)).count();
    assert!(waited * 2 > report.samples.len(), "{waited} of {}", report.samples.len());
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
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

/// C6: an organisation rotates its CAs in mid-transfer: the configuration has both generations, the peer comes back with certificates of
/// the next one, and gives chunks before and after. The others, whose sessions nothing ends, are never lost.
#[test]
fn a_source_gives_chunks_before_and_after_its_ca_is_rotated() {
    let happenings = [(3_000, Happening::RotateCa(1)), (4_000, Happening::Stop(1)), (11_000, Happening::Restart(1))];
    let happenings = happenings.map(|(at_ms, what)| Timed { at_ms, what }).into();
    let scenario = Scenario { snapshot_bytes: 24 << 20, links: SLOW, happenings, ..Scenario::default() };
    let report = run_with(&scenario, 39, |_| ());
    report.check();
    assert_eq!(report.attempts.len(), 1, "{}", report.account("in one go"));
    let by = |at| report.samples.iter().rfind(|sample| sample.at <= at).unwrap().by_source.get(&1).copied();
    let (before, after) = (by(Duration::from_secs(11)).unwrap_or(0), by(Duration::from_secs(3_600)).unwrap_or(0));
    assert!(before > 0 && after > before + CHUNK_BYTES, "{}", report.account("it gave none afterwards"));
    let lost = |line: &&Line| line.text.starts_with("lost") || line.text.starts_with("can't be used");
    assert!(report.log.iter().filter(lost).all(|line| line.who == Who::Source(1)), "{}", report.account("a break"));
    assert!(report.attempts[0].dropped.is_empty(), "no malice");
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

/// C1: a lease that has to end belongs to the block that goes: of the next target, on the same connection, nothing is said.
#[test]
fn a_lease_that_has_to_end_says_nothing_of_the_next_target() {
    let newer = (1..=3).map(|number| (2_000, Happening::NewSnapshot(number)));
    let forced = [(2_500, Happening::ForceDeletion(1))];
    let gone = (1..=3).map(|number| (3_000, Happening::Delete(number)));
    let (report, _) = run(newer.chain(forced).chain(gone).collect(), 37);
    let Some(Ok(joined)) = &report.ended else { panic!("{}", report.account("nothing was joined")) };
    assert!(joined.id.block_number.0 > 100, "{}", joined.id);
    assert_eq!(told(&report, "SourceEnds").len(), 1, "{}", report.account("told of what isn't deleted"));
}

/// C1: whenever a join ends, also while a lease is just being opened at a source that nobody needs any more, no source keeps one for it.
#[test]
fn a_lease_that_is_being_opened_at_the_end_is_closed_too() {
    for latency_ms in [40, 80, 120, 160, 200] {
        let good = LinkSpec { latency_ms: 10, ..LinkSpec::default() };
        let far = LinkSpec { latency_ms, ..good };
        let sources = vec![SourceSpec::of(1).over(good), SourceSpec::of(2).over(good), SourceSpec::of(3).over(far)];
        let mut catalogs = Vec::new();
        let report = run_with(&Scenario { snapshot_bytes: 400_000, sources, ..Scenario::default() }, 5, |world| {
            catalogs = world.services.iter().map(|service| Arc::clone(service.catalog().unwrap())).collect();
        });
        report.check();
        let id = &report.ended.as_ref().unwrap().as_ref().unwrap().id;
        let kept: Vec<_> = catalogs.iter().map(|catalog| catalog.leases_of(id, now()).len()).collect();
        assert_eq!(kept, [0, 0, 0], "{latency_ms} ms");
    }
}
