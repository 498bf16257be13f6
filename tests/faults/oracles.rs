//! Each oracle sees what it is there for: a good run, changed in one place, is found.

use snapferry::{bootstrap::JoinError, snapshot::CHUNK_BYTES};

use crate::sim::{
    run::{AttemptReport, Crash, FailedFor, Report, run},
    scenario::{Expect, Happening, LinkSpec, Scenario, Timed},
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
