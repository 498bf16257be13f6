//! Sources that are slow, lossy or busy, and a joiner that is.

use std::time::Duration;

use snapferry::{snapshot::CHUNK_BYTES, transport::fault::ErrorCode};

use crate::sim::{
    liar::Of as Lie,
    run::{Report, Sample, Who, run, run_with},
    scenario::{Happening, JoinerSpec, LinkSpec, Scenario, SourceSpec, Timed},
};

/// A megabyte a second.
const GOOD: LinkSpec = LinkSpec::of(20, 1_000_000, 128_000);
const HUNDREDTH: LinkSpec = LinkSpec { bandwidth_bytes_per_s: Some(10_000), ..GOOD };

fn sources(first: SourceSpec) -> Vec<SourceSpec> {
    vec![first, SourceSpec::of(2).over(GOOD), SourceSpec::of(3).over(GOOD)]
}

fn last(report: &Report) -> &Sample {
    report.samples.last().unwrap()
}

/// Proved bytes of a source at that time.
fn from_at(report: &Report, number: usize, at: Duration) -> u64 {
    let before = report.samples.iter().rfind(|sample| sample.at <= at);
    before.and_then(|sample| sample.by_source.get(&number)).copied().unwrap_or(0)
}

/// S1: a byte of a chunk comes every five seconds, which keeps the stall timer quiet: the rate floor finds out after ten.
#[test]
fn trickling_sources_are_gone_around() {
    assert_gone_around(Lie::Trickles, Duration::from_secs(10), 56);
}

/// S2: all values of a chunk tree come, and never the end of the stream, and nobody else gives one yet. It is told after 5 s; who comes
/// later gives it, and the join ends.
#[test]
fn a_tree_that_never_ends_is_told_and_asked_elsewhere() {
    let endless = SourceSpec::of(1).lying(Lie::TreeNeverEnds);
    let refusing = SourceSpec::of(2).lying(Lie::TreesRefused(ErrorCode::Internal));
    let sources = vec![endless, refusing, SourceSpec { down: true, ..SourceSpec::of(3) }];
    let happenings = vec![Timed { at_ms: 20_000, what: Happening::Restart(3) }];
    let report = run(&Scenario { snapshot_bytes: 4 << 20, sources, happenings, ..Scenario::default() }, 104);
    report.check();
    assert_eq!(report.attempts.len(), 1, "{}", report.account("it was given up"));
    let told = report.log.iter().find(|line| line.who == Who::Source(1) && line.text.contains("5 s to a request"));
    let told = told.unwrap_or_else(|| panic!("{}", report.account("it waited for the end")));
    assert!(told.at < Duration::from_secs(20) && report.took <= Duration::from_secs(60), "{}", report.account("late"));
    assert!(report.attempts[0].dropped.is_empty(), "silence is no lie");
}

/// S2: sources are asked for chunks and say nothing, on connections that live: the stall timer finds out after five seconds.
#[test]
fn silent_sources_are_gone_around() {
    assert_gone_around(Lie::SilentChunks, Duration::from_secs(5), 57);
}

/// Six bad sources, the first of all, and two good ones. What the bad ones owe together, four chunks each, is more than the end-game asks
/// twice (16), and than hedges may (5 %): unless it is taken from them, the join never ends. Nobody is dropped: slowness is no malice.
fn assert_gone_around(lie: Lie, found_out: Duration, seed: u64) {
    let joiner = JoinerSpec { budget_mib: 32, ..JoinerSpec::default() };
    let good = [2, 3].map(|org| SourceSpec::of(org).over(GOOD));
    let alone = Scenario { snapshot_bytes: 24 << 20, joiner, sources: good.to_vec(), ..Scenario::default() };
    let bad = vec![SourceSpec::of(1).over(GOOD).lying(lie); 6];
    let together = Scenario { sources: [bad, good.to_vec()].concat(), ..alone.clone() };
    let alone = run(&alone, seed);
    alone.check();
    let mut liars = Vec::new();
    let report = run_with(&together, seed, |world| {
        liars = world.services.iter().filter_map(|service| service.liar.clone()).collect();
    });
    report.check();
    assert!(report.attempts[0].dropped.is_empty(), "no malice");
    let within = alone.took + found_out + Duration::from_secs(1);
    assert!(report.took < within, "{}", report.account(&format!("they were waited for, longer than {within:?}")));
    let asked: Vec<usize> = liars.iter().map(|liar| liar.chunk_requests()).collect();
    assert!(asked.iter().all(|asked| (1..=4).contains(asked)), "two requests, then only probes: {asked:?}");
    assert!((1..=6).all(|number| last(&report).by_source.get(&number).is_none_or(|bytes| *bytes == 0)), "no chunk");
}

/// S3: a third of what one source sends is lost, nothing of what it is sent: the others do its work, and it is not dropped.
#[test]
fn loss_in_one_direction_moves_the_runs_to_others() {
    let lossy = SourceSpec { sends: Some(LinkSpec { loss_ppm: 300_000, ..GOOD }), ..SourceSpec::of(1).over(GOOD) };
    let report = run(&Scenario { snapshot_bytes: 12 << 20, sources: sources(lossy), ..Scenario::default() }, 51);
    report.check();
    let (of_lossy, all) = (last(&report).by_source[&1], last(&report).verified_bytes);
    assert!(of_lossy < all / 8, "{of_lossy} of {all} came from the lossy one");
    assert!(report.took < Duration::from_secs(15), "{}", report.account("the others alone take 6 s"));
}

/// S4: the rate of a source drops a hundredfold in mid-transfer: what it owes moves to the others.
#[test]
fn a_source_that_becomes_a_hundred_times_slower_is_gone_around() {
    let drops = Duration::from_secs(3);
    let happenings = vec![Timed { at_ms: 3_000, what: Happening::Link(1, HUNDREDTH) }];
    let first = SourceSpec::of(1).over(GOOD);
    let scenario = Scenario { snapshot_bytes: 24 << 20, sources: sources(first), happenings, ..Scenario::default() };
    let report = run(&scenario, 52);
    report.check();
    let (before, all) = (from_at(&report, 1, drops), last(&report).by_source[&1]);
    assert!(before >= CHUNK_BYTES, "it was in use: {before}");
    assert!(all - before <= 3 * CHUNK_BYTES, "{} more came from it", all - before);
    // 3 s of three and the rest of two sources would be 10.5 s.
    assert!(report.took < Duration::from_secs(17), "{}", report.account("too slow"));
}

/// S5: the joiner's disk takes a second for each chunk: requests stop at the budget (an oracle of every run holds its memory to that), and
/// nobody is dropped or demoted for it.
#[test]
fn a_slow_disk_of_the_joiner_stops_requests_and_blames_nobody() {
    let joiner = JoinerSpec { budget_mib: 4, disk_ms_per_chunk: 1_000, ..JoinerSpec::default() };
    let report = run(&Scenario { snapshot_bytes: 12 << 20, joiner, ..Scenario::default() }, 53);
    report.check();
    let attempt = &report.attempts[0];
    assert!(attempt.memory_peak_bytes <= 5 * CHUNK_BYTES, "{}", attempt.memory_peak_bytes);
    assert!(attempt.received_bytes <= last(&report).total_bytes + 2 * CHUNK_BYTES, "{}", attempt.received_bytes);
    assert!(report.took >= Duration::from_secs(12), "the disk was that slow: {:?}", report.took);
}

/// S6: the chunk that is needed next is at the slowest source: somebody else is asked for it, long before it would be through.
#[test]
fn a_chunk_that_is_needed_next_is_not_waited_for_at_the_slowest_source() {
    let slow = SourceSpec::of(1).over(HUNDREDTH);
    let report = run(&Scenario { snapshot_bytes: 24 << 20, sources: sources(slow), ..Scenario::default() }, 54);
    report.check();
    // A chunk takes the slow one 105 s; two good ones are through in 12 s.
    assert!(report.took < Duration::from_secs(18), "{}", report.account("it was waited for"));
    assert!(report.attempts[0].dropped.is_empty());
}

/// S7: all sources are busy for a while: the join waits as long as they say, drops nobody, and then gets everything.
#[test]
fn when_all_are_busy_the_join_waits_and_keeps_what_it_has() {
    let sources = [1, 2, 3].map(|org| SourceSpec::of(org).over(GOOD).lying(Lie::ChunksBusyAtFirst)).into();
    let report = run(&Scenario { snapshot_bytes: 6 << 20, sources, ..Scenario::default() }, 55);
    report.check();
    assert!(report.attempts[0].dropped.is_empty() && report.attempts.len() == 1);
    let waited = report.samples.iter().filter(|sample| sample.waiting_for.is_some()).count();
    assert!(waited > 0, "{}", report.account("it says what it waits for"));
    assert!(report.took > Duration::from_secs(3) && report.took < Duration::from_secs(60), "{:?}", report.took);
    assert!(report.samples.is_sorted_by_key(|sample| sample.verified_bytes));
}
