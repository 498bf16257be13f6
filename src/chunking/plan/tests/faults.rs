//! The plan among sources that are slow, silent, busy, or lie (`faults.md`, S and L), in virtual time.

use super::*;

/// Four sources: one good, one a hundred times slower, one that falls silent after so many chunks, one that lies every so often.
fn good_slow_silent_lying(silent_after: u64, bad_every: u64) -> Vec<Sim> {
    let slow = Sim { chunk_time: 2 * SEC, ..source(50) };
    vec![source(50), slow, Sim { silent_after, ..source(50) }, Sim { bad_every, ..source(50) }]
}

fn hedges(world: &World) -> impl Iterator<Item = &Action> {
    world.trace.iter().filter(|action| matches!(action, Action::Cancel { reason: CancelReason::Outrun, .. }))
}

#[test]
fn bad_company_makes_a_transfer_at_most_three_tenths_longer_than_the_good_source_alone() {
    let mut slowest: f64 = 0.0;
    for chunks in [8, 24, 64, 128, 256, 1024] {
        let mut alone = World::new(chunks, vec![source(50)]);
        alone.complete(600 * SEC);
        for (silent_after, bad_every) in [(0, 1), (1, 2), (7, 5), (40, 20), (300, 200)] {
            for first in 0..4 {
                let mut sims = good_slow_silent_lying(silent_after, bad_every);
                sims.rotate_left(first); // the order in which they join decides who is asked for the first chunks
                let mut world = World::new(chunks, sims);
                let status = world.complete(600 * SEC);
                let ratio = world.now.as_secs_f64() / alone.now.as_secs_f64();
                slowest = slowest.max(ratio);
                let case = format!("{chunks} chunks, silent after {silent_after}, bad every {bad_every}, turn {first}");
                assert!(ratio <= 1.3, "{case}: {ratio}");
                assert!(status.hedged_bytes * 20 <= chunks * CHUNK_BYTES, "{case}: {} hedged", status.hedged_bytes);
            }
        }
    }
    assert!(slowest > 0.9, "bad company helps nobody: {slowest}");
}

#[test]
fn s6_the_loader_waits_for_the_slowest_source_no_longer_than_until_the_hedge() {
    // Both are equal until one falls silent with chunks that the loader comes to: no measured rate could have warned.
    let mut world = World::new(1024, vec![source(50), Sim { silent_after: 300, ..source(50) }]);
    let status = world.complete(60 * SEC);
    let hedge_after = status.hedge_after.unwrap();
    assert!(hedge_after < 2 * SEC, "sooner than any deadline: {hedge_after:?}");
    assert!(hedges(&world).count() > 0);
    // The helper has its own queue before it: half a second's work.
    assert!(world.loader_stood < hedge_after + SEC, "{:?} for {hedge_after:?}", world.loader_stood);
}

#[test]
fn hedges_stop_at_their_allowance() {
    // Each request to the second source falls silent: what it holds is late again and again.
    let mut world = World::new(60, vec![source(5), Sim { silent_after: 0, ..source(5) }]);
    world.plan.config.stall_after = 3600 * SEC;
    let status = world.complete(600 * SEC);
    assert!(status.hedged_bytes <= 3 * CHUNK_BYTES, "{}", status.hedged_bytes);
    let mut none = World::new(19, vec![source(5), Sim { silent_after: 0, ..source(5) }]);
    assert_eq!(none.complete(600 * SEC).hedged_bytes, 0, "a chunk would be more than 5 %: the end-game does it");
}

#[test]
fn clean_sources_are_hardly_ever_hedged() {
    for rates in [&[50, 50][..], &[20, 30, 40, 10], &[5, 100], &[700, 700, 700]] {
        let mut world = World::new(1024, rates.iter().map(|rate| source(*rate)).collect());
        let status = world.complete(600 * SEC);
        assert!(status.hedged_bytes <= 4 * CHUNK_BYTES, "{rates:?}: {}", status.hedged_bytes);
    }
}

#[test]
fn the_copy_that_loses_is_cancelled_and_the_rest_of_its_run_asked_anew() {
    let mut world = World::new(256, vec![source(50), source(50)]);
    world.run(SEC);
    world.sims[1].free_at = world.now + 3600 * SEC; // what it is asked from here on doesn't come
    world.run(4 * SEC);
    let outrun = hedges(&world).count();
    assert!(outrun > 0, "{:?}", world.plan.status());
    let status = world.complete(60 * SEC);
    assert!(status.chunks_asked_twice <= 12 + 32, "{}", status.chunks_asked_twice);
}

#[test]
fn l7_a_source_that_claims_all_and_has_nothing_costs_round_trips_and_no_timeout() {
    let mut alone = World::new(512, vec![source(50)]);
    alone.complete(60 * SEC);
    let mut world = World::new(512, vec![Sim { has: 0..0, ..source(50) }, source(50)]);
    world.run(SEC);
    assert_eq!(world.plan.status().sources[&SourceId(0)].state, SourceState::Demoted);
    world.complete(60 * SEC);
    assert!(world.now <= alone.now + alone.now / 10, "{:?} for {:?}", world.now, alone.now);
    let timeouts = world.trace.iter().filter(|action| matches!(action, Action::Cancel { .. }));
    assert_eq!(timeouts.count(), 0);
    let asked = |action: &&Action| matches!(action, Action::Request { source: SourceId(0), .. });
    assert!(world.trace.iter().filter(asked).count() < 24);
}

#[test]
fn l9_a_source_that_turns_slow_or_bad_at_the_very_end_is_finished_by_others() {
    for late in [Sim { silent_after: 126, ..source(50) }, Sim { bad_every: 127, ..source(50) }] {
        let mut alone = World::new(256, vec![source(50)]);
        alone.complete(60 * SEC);
        let mut world = World::new(256, vec![source(50), late]);
        world.complete(60 * SEC);
        assert!(world.now < alone.now, "{:?} for {:?}", world.now, alone.now);
    }
}

#[test]
fn s4_a_rate_that_drops_a_hundredfold_moves_the_runs_to_others() {
    let mut world = World::new(2048, vec![source(50), source(50)]);
    world.run(5 * SEC);
    let before = world.plan.status().sources[&SourceId(1)].chunks_verified;
    world.sims[1].chunk_time = 2 * SEC;
    world.complete(120 * SEC);
    let after = world.plan.status().sources[&SourceId(1)].chunks_verified - before;
    assert!(after < 60, "{after} more from the slow one");
    assert!(world.now < 45 * SEC, "{:?}", world.now);
}

#[test]
fn s7_when_all_are_busy_it_waits_as_long_as_they_said_and_keeps_what_it_has() {
    let mut world = World::new(512, vec![source(50), source(50)]);
    let before = world.run(2 * SEC).chunks_verified;
    let until = world.now + 20 * SEC;
    world.sims.iter_mut().for_each(|sim| sim.busy_until = until);
    let status = world.run(15 * SEC);
    assert!(status.chunks_verified >= before);
    assert!(matches!(status.waits_for, WaitsFor::RetryAfter { .. }), "{:?}", status.waits_for);
    assert!(status.sources.values().all(|source| !matches!(source.state, SourceState::Banned | SourceState::Demoted)));
    world.complete(120 * SEC);
}

/// S7: the plan, beside a source that lacks what is missing.
#[test]
fn s7_a_busy_source_that_has_the_rest_is_waited_for_though_others_lack_it() {
    let partial = Sim { has: 0..40, announces: true, ..source(50) };
    let mut world = World::new(64, vec![partial, Sim { busy_until: 60 * SEC, ..source(50) }]);
    let status = world.run(30 * SEC);
    assert_eq!(status.chunks_missing, 24);
    assert!(matches!(status.waits_for, WaitsFor::RetryAfter { .. }), "{:?}", status.waits_for);
    world.complete(180 * SEC);
}

#[test]
fn who_is_refused_together_comes_back_one_by_one_and_never_too_soon() {
    let back = |jitter_seed: u64, retry_after: Duration| {
        let config = PlanConfig { jitter_seed, ..PlanConfig::default() };
        let mut source = Source::new(&config);
        source.join(&[7; 32], MS);
        source.wait(SEC, retry_after, &config);
        source.wait_until - SEC
    };
    let times: BTreeSet<Duration> = (0..50).map(|joiner| back(joiner, 8 * SEC)).collect();
    assert!(times.len() > 45, "{times:?}");
    assert!(times.iter().all(|time| (8 * SEC..10 * SEC).contains(time)), "{times:?}");
    assert!(times.last().unwrap().saturating_sub(*times.first().unwrap()) > SEC);
    assert_eq!(back(1, 8 * SEC), back(1, 8 * SEC));
    assert!(back(1, Duration::ZERO) >= 100 * MS, "not in a tight loop");
    assert!(back(1, Duration::MAX) <= 375 * SEC, "not for ever");
}

#[test]
fn probes_are_between_five_and_ten_of_a_hundred_requests() {
    let mut world = World::new(4096, vec![source(50), source(1)]);
    let source = world.plan.sources.get_mut(&SourceId(1)).unwrap();
    (0..8).for_each(|_| source.demote(Duration::ZERO, &PlanConfig::default(), 1.0));
    world.sims[1].breaks_every = 1; // no chunk makes the demotion good
    world.run(30 * SEC);
    let of = |id: u32| {
        let asked = |action: &&Action| matches!(action, Action::Request { source, .. } if source.0 == id);
        world.trace.iter().filter(asked).count()
    };
    let probes = of(1) as f64 / (of(0) + of(1)) as f64;
    assert!((0.01..=0.10).contains(&probes), "{probes}"); // fewer than 5 %: it is left alone after each failure
}

#[test]
fn partial_sources_are_asked_only_for_what_they_announced() {
    // The harness refuses any other request.
    let partial = |has: Range<u64>| Sim { has, announces: true, ..source(50) };
    let mut world = World::new(300, vec![partial(0..120), partial(100..220)]);
    let status = world.run(60 * SEC);
    assert_eq!((status.chunks_verified, status.waits_for), (220, WaitsFor::Chunks));
    let have = Have::Ranges(vec![100..260, 280..300]);
    world.sims[1].announces = false; // the harness knows one range; that refusals are none is asserted below
    world.sims[1].has = 100..300;
    world.plan.handle(world.now, Event::Has { source: SourceId(1), have });
    let status = world.run(120 * SEC);
    assert_eq!((status.chunks_verified, status.waits_for), (280, WaitsFor::Chunks));
    world.plan.handle(world.now, Event::Has { source: SourceId(1), have: Have::Complete });
    world.complete(180 * SEC);
}

#[test]
fn the_rarest_go_first_only_where_nobody_has_everything() {
    for complete in [false, true] {
        let partial = |has: Range<u64>| Sim { has, announces: true, ..source(50) };
        // Only the first has the second half.
        let mut sims = vec![partial(0..2000), partial(0..1000), partial(0..1000)];
        if complete {
            sims.push(source(50));
        }
        let mut world = World::of(Layout::new([2001 * CHUNK_BYTES]).unwrap(), PlanConfig::default(), sims);
        world.run(3 * SEC);
        let rare = |action: &&Action| matches!(action, Action::Request { first, .. } if first.0 >= 1000);
        let share = world.trace.iter().filter(rare).count() as f64 / world.trace.len() as f64;
        if complete {
            assert_eq!(share, 0.0);
        } else {
            assert!(share > 0.1, "{share}");
        }
    }
}
