//! Each oracle sees what it is there for: a good run, changed in one place, is found.

use snapferry::{
    bootstrap::{JoinError, JoinEvent, TransferProgress},
    snapshot::CHUNK_BYTES,
};
use tokio::time::Instant;

use crate::sim::{
    joiner::Attempt,
    liar::Of,
    run::{AttemptReport, Crash, FailedFor, Report, run, run_with},
    scenario::{Expect, Happening, LinkSpec, Scenario, SourceSpec, Timed},
    world::World,
};

/// A join that is killed half way, and lands when it is run again.
fn killed_once() -> Report {
    let links = LinkSpec::of(20, 200_000, 64_000);
    let happenings = vec![Timed { at_ms: 6_000, what: Happening::KillJoiner }];
    run(&Scenario { snapshot_bytes: 6 << 20, links, happenings, ..Scenario::default() }, 7)
}

fn broken_by(change: impl FnOnce(&mut Report)) -> String {
    let mut report = killed_once();
    change(&mut report);
    report.broken().expect_err("nothing is found")
}

#[test]
fn a_join_that_is_killed_half_way_breaks_none() {
    let report = killed_once();
    report.check();
    assert_eq!(report.attempts.len(), 2);
    assert!(report.attempts[0].verified_bytes >= 2 * CHUNK_BYTES, "{}", report.account("too little to lose"));
    assert!(report.attempts[1].received_bytes > 0, "{}", report.account("it was over before"));
}

#[test]
fn what_is_published_is_looked_at() {
    let flipped = broken_by(|report| report.landed.as_mut().unwrap().values_mut().last().unwrap()[0] ^= 1);
    assert!(flipped.contains("isn't what the quorum has"), "{flipped}");
    let extra = broken_by(|report| drop(report.landed.as_mut().unwrap().insert("extra".to_owned(), Vec::new())));
    assert!(extra.contains("isn't what the quorum has"), "{extra}");
    let nothing = broken_by(|report| report.landed = None);
    assert!(nothing.contains("nothing is published"), "{nothing}");
    let another = broken_by(|report| report.others.push("simchannel/22".to_owned()));
    assert!(another.contains("simchannel/22 is published"), "{another}");
    let refused = broken_by(|report| {
        report.scenario.expect = Expect::Refused;
        report.ended = Some(Err(JoinError::Stopped));
    });
    assert!(refused.contains("refused, and published"), "{refused}");
}

#[test]
fn another_folder_that_appears_is_found() {
    let report = run_with(&Scenario::default(), 1, |world| {
        let (another, disk) = (world.channel.golden(world.golden.bytes, 3), world.joiner.disk.clone());
        world.beside(async move { another.put(&disk, "land") });
    });
    let broken = report.broken().unwrap_err();
    assert!(broken.contains("is published, and isn't what was joined"), "{broken}");
}

#[test]
fn how_it_ends_is_looked_at() {
    let late = broken_by(|report| report.ended = None);
    assert!(late.contains("at its deadline"), "{late}");
    let landed = broken_by(|report| report.scenario.expect = Expect::Refused);
    assert!(landed.contains("should have been refused"), "{landed}");
    let refused = broken_by(|report| report.ended = Some(Err(JoinError::Stopped)));
    assert!(refused.contains("should have landed"), "{refused}");
    let again = broken_by(|report| report.attempts[0].failed = Some((FailedFor::Another, "a bug".to_owned())));
    assert!(again.contains("had to be run again"), "{again}");
}

#[test]
fn who_is_blamed_is_looked_at() {
    let dropped = broken_by(|report| drop(report.attempts[0].dropped.insert(2, "a lie".to_owned())));
    assert!(dropped.contains("source 2 is honest"), "{dropped}");
    let banned = broken_by(|report| drop(report.banned.insert(3, "a lie".to_owned())));
    assert!(banned.contains("source 3 is honest"), "{banned}");
}

#[test]
fn memory_and_waste_are_looked_at() {
    let much = broken_by(|report| report.attempts[1].memory_peak_bytes = 9 * CHUNK_BYTES + 1);
    assert!(much.contains("bytes of memory"), "{much}");
    let vain = broken_by(|report| report.attempts[1].received_bytes += 32 << 20);
    assert!(vain.contains("are allowed"), "{vain}");
}

/// A run that was killed leaves all that it had proved, also to a later one that is not the next; a power cut may take of it.
#[test]
fn what_a_killed_run_had_is_looked_for() {
    let from_zero = |report: &mut Report| report.attempts[1].resumed_bytes = 0;
    let next = broken_by(from_zero);
    assert!(next.contains("proved bytes"), "{next}");
    let less = broken_by(|report| report.attempts[1].resumed_bytes = report.attempts[0].verified_bytes - 1);
    assert!(less.contains("proved bytes"), "{less}");
    let later = broken_by(|report| {
        from_zero(report);
        report.attempts.insert(1, AttemptReport::default());
    });
    assert!(later.contains("proved bytes"), "{later}");
    let mut report = killed_once();
    from_zero(&mut report);
    report.attempts[0].crashed = Some(Crash::PowerLost);
    report.check();
}

#[test]
#[should_panic(expected = "it failed beside")]
fn who_panics_beside_a_join_is_heard() {
    run_with(&Scenario::default(), 1, |world| world.beside(async { panic!("it failed beside") }));
}

/// A join that is looked at by itself, in a world that `change` has changed once it runs.
fn lands(first: SourceSpec, change: fn(&mut World, &Attempt)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let sources = vec![first, SourceSpec::of(2), SourceSpec::of(3)];
        let mut world = World::new(&Scenario { snapshot_bytes: 6 << 20, sources, ..Scenario::default() }, 7);
        let mut attempt = world.joiner.start(&world.addresses());
        change(&mut world, &attempt);
        attempt.lands(&world.joiner, &world.golden, &[]).await;
    });
}

#[test]
fn a_join_by_itself_breaks_none() {
    lands(SourceSpec::of(1), |_, _| ());
}

#[test]
#[should_panic(expected = "assertion `left == right` failed")]
fn another_block_is_seen_by_itself() {
    lands(SourceSpec::of(1), |world, _| world.golden = world.channel.golden(world.golden.bytes, 3));
}

#[test]
#[should_panic(expected = "an honest source is blamed")]
fn blame_is_seen_by_itself() {
    lands(SourceSpec::of(1).lying(Of::Chunks), |_, _| ());
}

#[test]
#[should_panic(expected = "bytes of memory")]
fn memory_is_seen_by_itself() {
    lands(SourceSpec::of(1), |world, _| world.joiner.spec.budget_mib = 1);
}

#[test]
#[should_panic(expected = "are allowed")]
fn waste_is_seen_by_itself() {
    lands(SourceSpec::of(1), |_, attempt| {
        let progress = TransferProgress {
            verified_bytes: 0,
            total_bytes: 6 << 20,
            bytes_per_second: 0,
            eta: None,
            received_bytes: 64 << 20,
            memory_peak_bytes: 0,
            shares: Vec::new(),
            waiting_for: None,
        };
        attempt.told.lock().unwrap().push((Instant::now(), JoinEvent::Progress(progress)));
    });
}
