//! One good source in bad company.

use std::time::Duration;

use crate::sim::{
    liar::Of as Lie,
    run::run,
    scenario::{Happening, LinkSpec, Scenario, SourceSpec, Timed},
};

/// Of a good source: a megabyte a second.
const GOOD: LinkSpec = LinkSpec::of(20, 1_000_000, 128_000);
const SLOW: LinkSpec = LinkSpec { bandwidth_bytes_per_s: Some(10_000), ..GOOD };

/// The good source and one that only vouches, so that two do; or the good one, one a hundred times slower, one that falls silent and one
/// that lies.
fn took(snapshot_bytes: u64, in_bad_company: bool, silent_from_ms: u64, lie: Lie, seed: u64) -> Duration {
    let good = SourceSpec::of(1).over(GOOD);
    let mut scenario = Scenario { snapshot_bytes, organisations: 5, min_orgs: 2, ..Scenario::default() };
    if in_bad_company {
        let slow = SourceSpec::of(2).over(SLOW);
        let silent = SourceSpec::of(3).over(GOOD);
        scenario.sources = vec![good, slow, silent, SourceSpec::of(4).over(GOOD).lying(lie)];
        scenario.happenings = vec![Timed { at_ms: silent_from_ms, what: Happening::Mute(vec![3]) }];
    } else {
        scenario.sources = vec![good];
        scenario.min_orgs = 1;
    }
    let report = run(&scenario, seed);
    report.check();
    report.took
}

/// S1, S2, L1: with a source that is a hundred times slower, one that falls silent and one that lies, a join takes at most 1.3 times as long as with
/// the good one alone, and its memory stays in its budget (an oracle of every run).
#[test]
fn bad_company_makes_a_join_at_most_three_tenths_longer() {
    for (snapshot_bytes, silent_from_ms, lie) in
        [(8 << 20, 1_500, Lie::Chunks), (24 << 20, 4_000, Lie::GoodThenBad), (24 << 20, 300, Lie::Chunks)]
    {
        let alone = took(snapshot_bytes, false, 0, Lie::Nothing, 5);
        let together = took(snapshot_bytes, true, silent_from_ms, lie, 5);
        let ratio = together.as_secs_f64() / alone.as_secs_f64();
        println!("{} MiB: {together:?} for {alone:?}: {ratio:.2}", snapshot_bytes >> 20);
        assert!(ratio <= 1.3, "{} MiB: {together:?} for {alone:?}", snapshot_bytes >> 20);
    }
}

/// S2: whenever one of four falls silent, from the very beginning or in any step before the first chunk, the join takes at most 1.3 times
/// as long as with the good one alone.
#[test]
fn whenever_a_source_falls_silent_a_join_takes_at_most_three_tenths_longer() {
    let alone = took(8 << 20, false, 0, Lie::Nothing, 5);
    for silent_from_ms in [0, 30, 60, 90, 120, 150, 200, 250, 300, 400] {
        let together = took(8 << 20, true, silent_from_ms, Lie::Chunks, 5);
        let ratio = together.as_secs_f64() / alone.as_secs_f64();
        println!("silent from {silent_from_ms} ms: {together:?} for {alone:?}: {ratio:.2}");
        assert!(ratio <= 1.3, "silent from {silent_from_ms} ms: {together:?} for {alone:?}");
    }
}

/// S2: the first sources fall silent right after they have attested, before they gave a manifest or a chunk tree: others are asked beside
/// them at once, and the join takes at most 1.3 times as long as with the good one alone.
#[test]
fn sources_that_are_silent_once_they_have_attested_make_a_join_at_most_three_tenths_longer() {
    let snapshot_bytes = 8 << 20;
    let alone = took(snapshot_bytes, false, 0, Lie::Nothing, 5);
    for silent in [1, 2] {
        let quiet = (2..2 + silent).map(|org| SourceSpec::of(org).over(GOOD).lying(Lie::SilentOnceAttested));
        let sources = quiet.chain([SourceSpec::of(1).over(GOOD)]).collect();
        let report = run(&Scenario { snapshot_bytes, organisations: 5, sources, ..Scenario::default() }, 5);
        report.check();
        let ratio = report.took.as_secs_f64() / alone.as_secs_f64();
        println!("{silent} silent: {:?} for {alone:?}: {ratio:.2}", report.took);
        assert!(ratio <= 1.3, "{}", report.account("it was waited for"));
    }
}

/// S2: the first source gives its manifest and its chunks, but the lists of its chunk trees never come: they are asked of another one at
/// once, and the join takes at most 1.3 times as long as if they came.
#[test]
fn lists_that_never_come_make_a_join_at_most_three_tenths_longer() {
    let took = |lie| {
        let sources = vec![SourceSpec::of(1).over(GOOD).lying(lie), SourceSpec::of(2).over(GOOD)];
        let report = run(&Scenario { snapshot_bytes: 8 << 20, sources, ..Scenario::default() }, 7);
        report.check();
        report.took
    };
    let (good, late) = (took(Lie::Nothing), took(Lie::SilentTree));
    println!("{late:?} for {good:?}");
    assert!(late.as_secs_f64() <= 1.3 * good.as_secs_f64(), "{late:?} for {good:?}");
}

/// A source falls silent before it has said what it attests, and the others don't agree: its word decides, so it is waited for.
#[test]
fn a_silent_source_is_waited_for_while_the_others_do_not_agree() {
    let forked = SourceSpec { forked: true, ..SourceSpec::of(1).over(GOOD) };
    // The slow one holds the question up until the third is silent.
    let sources = vec![forked, SourceSpec::of(2).over(SLOW), SourceSpec::of(3).over(GOOD)];
    let happenings = [(300, Happening::Mute(vec![3])), (12_000, Happening::Heal(vec![3]))];
    let happenings = happenings.map(|(at_ms, what)| Timed { at_ms, what }).into();
    let report = run(&Scenario { snapshot_bytes: 100_000, sources, happenings, ..Scenario::default() }, 6);
    report.check();
    assert_eq!(report.attempts.len(), 1, "{}", report.account("it was given up"));
    let agreed = report.log.iter().find(|line| line.text.starts_with("agreed on")).unwrap();
    assert!(agreed.at > Duration::from_secs(12), "{}", report.account("it wasn't silent when it was asked"));
}

/// N5: those who answered at once were enough, and are stopped before the grace for whoever is late is over: they are waited for.
#[test]
fn who_was_enough_and_stops_at_once_is_waited_for() {
    for stopped_at_ms in [220, 300, 400, 500, 700, 900] {
        let late = LinkSpec { latency_ms: 1_000, ..GOOD };
        let sources = vec![SourceSpec::of(1).over(GOOD), SourceSpec::of(2).over(GOOD), SourceSpec::of(3).over(late)];
        let stops = [1, 2].map(|number| Timed { at_ms: stopped_at_ms, what: Happening::Stop(number) });
        let back = [1, 2].map(|number| Timed { at_ms: 1_000, what: Happening::Restart(number) });
        let happenings = [stops, back].concat();
        let report = run(&Scenario { snapshot_bytes: 1 << 20, sources, happenings, ..Scenario::default() }, 9);
        report.check();
        assert_eq!(report.attempts.len(), 1, "{}", report.account(&format!("stopped at {stopped_at_ms} ms")));
    }
}

/// L5: those who answered at once were enough, until one of them turned out to lie: whoever was late is heard after all, in the same join.
#[test]
fn who_was_late_is_heard_when_one_of_those_who_were_enough_has_lied() {
    for late_from_ms in [0, 100, 150, 200, 250] {
        let liar = SourceSpec::of(2).over(GOOD).lying(Lie::OtherGroups);
        let sources = vec![liar, SourceSpec::of(1).over(GOOD), SourceSpec::of(3).over(GOOD)];
        let late = Happening::Link(3, LinkSpec { latency_ms: 600, ..GOOD });
        let happenings = vec![Timed { at_ms: late_from_ms, what: late }];
        let report = run(&Scenario { snapshot_bytes: 1 << 20, sources, happenings, ..Scenario::default() }, 8);
        report.check();
        assert_eq!(report.attempts.len(), 1, "{}", report.account(&format!("late from {late_from_ms} ms")));
    }
}
