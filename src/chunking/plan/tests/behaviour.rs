//! One test per rule.

use super::*;

fn requests(world: &World) -> impl Iterator<Item = (SourceId, u32, Class)> {
    world.trace.iter().filter_map(|action| match action {
        Action::Request { source, count, class, .. } => Some((*source, *count, *class)),
        Action::Cancel { .. } => None,
    })
}

#[test]
fn one_fast_source_is_kept_busy_with_long_requests_in_order() {
    let mut world = World::new(2048, vec![Sim { rtt: MS / 10, ..source(700) }]);
    world.complete(10 * SEC);
    let ideal = SEC * 2048 / 700;
    assert!(world.now < ideal + ideal / 50, "{:?} for {ideal:?}", world.now);
    assert!(requests(&world).count() <= 2048 / 4 + 8, "{} requests for 2048 chunks", requests(&world).count());
    let starts: Vec<u32> = world
        .trace
        .iter()
        .filter_map(|action| if let Action::Request { first, .. } = action { Some(first.0) } else { None })
        .collect();
    assert!(starts.is_sorted());
}

#[test]
fn scarce_permits_do_not_shrink_requests_to_single_chunks() {
    let mut world = World::new(1024, vec![source(700)]);
    world.write_time = 40 * MS; // permits come back one by one, and are what is short
    world.complete(60 * SEC);
    let single = requests(&world).filter(|(_, count, _)| *count < 4).count();
    assert!(single < 16, "{single} short ones of {}", requests(&world).count());
}

#[test]
fn equal_sources_do_not_fetch_the_end_twice() {
    let mut world = World::new(256, vec![source(50), source(50)]);
    let status = world.complete(60 * SEC);
    assert!(status.chunks_asked_twice <= 4, "{}", status.chunks_asked_twice);
}

/// As many chunks as can be counted: an entry for each would take all memory of this machine.
/// R1: eight files of nearly 2^32 chunks.
#[test]
fn eight_files_of_four_pebibytes_are_one_entry_in_memory() {
    let largest = u64::from(u32::MAX) * CHUNK_BYTES;
    let mut plan = Plan::new(Layout::new([largest; 8]).unwrap(), PlanConfig::default());
    plan.handle(Duration::ZERO, Event::SourceJoined { source: SourceId(0), identity: [0; 32], rtt: MS });
    let mut asked = 0;
    while let Some(action) = plan.poll(Duration::ZERO) {
        let Action::Request { file_index: 0, .. } = action else { panic!("{action:?}") };
        asked += 1;
    }
    assert!(asked > 0);
    assert_eq!(plan.chunks.missing().runs().count(), 1);
    assert_eq!(plan.chunks.missing().len() + plan.chunks.asked_len(), 8 * u64::from(u32::MAX));
}

/// S5: the plan.
#[test]
fn nothing_is_asked_without_a_free_permit() {
    let mut world = World::new(64, vec![source(1000)]);
    world.write_time = SEC * 3600; // a disk that hangs
    world.run(30 * SEC);
    assert_eq!(world.asked, 32);
    assert_eq!(world.plan.status().waits_for, WaitsFor::Local);
}

#[test]
fn two_equal_sources_share_the_work() {
    let mut world = World::new(1024, vec![source(40), source(40)]);
    world.complete(60 * SEC);
    assert!((0.4..=0.6).contains(&world.share(0)), "{}", world.share(0));
    let ideal = SEC * 1024 / 80;
    assert!(world.now < ideal + ideal / 20, "{:?} for {ideal:?}", world.now);
}

#[test]
fn four_capped_sources_give_nearly_the_sum_of_their_rates() {
    let mut world = World::new(2048, vec![source(20), source(30), source(40), source(10)]);
    world.complete(120 * SEC);
    let ideal = SEC * 2048 / 100;
    assert!(world.now < ideal + ideal / 20, "{:?} for {ideal:?}", world.now);
}

/// S6: the plan.
#[test]
fn a_ten_times_faster_source_does_most_and_the_slow_one_never_delays_the_frontier() {
    let mut world = World::new(1024, vec![source(10), source(100)]);
    world.complete(60 * SEC);
    assert!((0.8..=0.95).contains(&world.share(1)), "{}", world.share(1));
    let slow_frontier = requests(&world).skip(8).filter(|(s, _, class)| *s == SourceId(0) && *class == Class::Frontier);
    assert_eq!(slow_frontier.count(), 0);
}

#[test]
fn behind_the_frontier_each_source_prefers_its_own_blocks_within_the_window() {
    let mut world = World::new(1024, vec![source(40), source(40)]);
    world.complete(60 * SEC);
    let owner = |block| {
        let rank = |id: &SourceId| world.plan.sources[id].rendezvous(block);
        world.plan.sources.keys().copied().max_by_key(rank).unwrap()
    };
    let bulk = |action: &Action| match action {
        Action::Request { source, first, class: Class::Bulk, .. } => Some(owner(u64::from(first.0) / 16) == *source),
        _ => None,
    };
    let own: Vec<bool> = world.trace.iter().filter_map(bulk).collect();
    let share = own.iter().filter(|own| **own).count() as f64 / own.len() as f64;
    assert!(own.len() > 20 && share > 0.7, "{share} of {} requests", own.len());
    let prefetch = requests(&world).filter(|(_, _, class)| *class == Class::Prefetch).count();
    assert_eq!(prefetch, 0, "nothing hung, so nothing beyond the window");
}

#[test]
fn a_source_that_falls_silent_at_the_end_does_not_hold_it() {
    let mut world = World::new(256, vec![source(50), Sim { silent_after: 120, ..source(50) }]);
    let status = world.complete(60 * SEC);
    assert!(world.now < 5 * SEC, "no stall timer was waited for: {:?}", world.now);
    assert!(status.chunks_asked_twice > 0 && status.chunks_asked_twice <= 32, "{}", status.chunks_asked_twice);
    assert!(world.trace.iter().any(|a| matches!(a, Action::Cancel { reason: CancelReason::NotNeeded, .. })));
}

/// S2: the plan.
#[test]
fn a_silent_source_is_demoted_not_banned_and_probed_again() {
    let mut world = World::new(4096, vec![source(50), Sim { silent_after: 40, ..source(50) }]);
    world.run(8 * SEC);
    let stalled = CancelReason::Stalled;
    let late =
        |a: &Action| matches!(a, Action::Cancel { reason, .. } if *reason == stalled || *reason == CancelReason::Late);
    assert!(world.trace.iter().any(late));
    assert_eq!(world.plan.status().sources[&SourceId(1)].state, SourceState::Demoted);
    world.sims[1].silent_after = u64::MAX; // it recovers, a probe finds out
    let before = world.plan.status().sources[&SourceId(1)].chunks_verified;
    world.complete(200 * SEC);
    assert!(world.plan.status().sources[&SourceId(1)].chunks_verified > before + 500);
}

/// S1: the plan.
#[test]
fn a_trickle_is_cancelled_only_while_another_source_is_above_the_floor() {
    for other in [true, false] {
        let mut plan = Plan::new(Layout::new([64 * CHUNK_BYTES]).unwrap(), PlanConfig::default());
        plan.handle(Duration::ZERO, Event::SourceJoined { source: SourceId(0), identity: [1; 32], rtt: MS });
        let Some(Action::Request { id, .. }) = plan.poll(Duration::ZERO) else { panic!("nothing asked") };
        if other {
            plan.handle(Duration::ZERO, Event::SourceJoined { source: SourceId(1), identity: [2; 32], rtt: MS });
        }
        let mut actions = Vec::new();
        let mut now = Duration::ZERO;
        let mut cancelled_it = false;
        while now < 11 * SEC {
            actions.extend(std::iter::from_fn(|| plan.poll(now)));
            for action in std::mem::take(&mut actions) {
                match action {
                    Action::Request { id, source: SourceId(1), file_index, first, count, .. } => {
                        let start = plan.layout.linear(file_index, first).unwrap();
                        for linear in start..start + u64::from(count) {
                            plan.handle(now, Event::ChunkArrived { request: id, linear, wire_bytes: CHUNK_BYTES });
                        }
                        plan.handle(now, Event::RequestEnded { request: id, outcome: Outcome::Completed });
                    }
                    Action::Cancel { id: cancelled, reason } => {
                        assert!(other && reason == CancelReason::TooSlow);
                        assert!(now >= 10 * SEC);
                        cancelled_it |= cancelled == id;
                    }
                    Action::Request { .. } => {}
                }
            }
            now += SEC;
            plan.handle(now, Event::Progress { request: id, bytes: 1 });
        }
        assert_eq!(cancelled_it, other);
        let state = plan.status().sources[&SourceId(0)].state;
        assert_eq!(state, if other { SourceState::Demoted } else { SourceState::Active });
    }
}

#[test]
fn when_all_sources_are_slow_the_transfer_goes_on_and_keeps_what_it_has() {
    let mut world =
        World::new(200, vec![Sim { silent_after: 30, ..source(20) }, Sim { silent_after: 30, ..source(20) }]);
    let before = world.run(30 * SEC).chunks_verified;
    assert_eq!(before, 60);
    world.sims.iter_mut().for_each(|sim| (sim.silent_after, sim.free_at) = (u64::MAX, world.now));
    let status = world.complete(120 * SEC);
    assert_eq!(status.chunks_verified, 200);
}

/// S7: the plan.
#[test]
fn a_busy_source_is_left_alone_until_it_said_so() {
    let mut world = World::new(16, vec![Sim { busy_until: 3 * SEC, ..source(50) }]);
    world.run(500 * MS);
    assert!(matches!(world.plan.status().waits_for, WaitsFor::RetryAfter { .. }));
    world.complete(10 * SEC);
    let busy: Vec<_> = requests(&world).collect();
    assert!(busy.len() < 24, "asked {} times", busy.len());
}

#[test]
fn a_source_whose_limit_is_exceeded_gets_runs_of_half_the_length() {
    let mut plan = Plan::new(Layout::new([640 * CHUNK_BYTES]).unwrap(), PlanConfig::default());
    plan.handle(Duration::ZERO, Event::SourceJoined { source: SourceId(0), identity: [1; 32], rtt: MS });
    let mut longest = Vec::new();
    for step in 0..8 {
        let now = SEC * 2 * step;
        let runs: Vec<_> = std::iter::from_fn(|| plan.poll(now))
            .filter_map(|action| if let Action::Request { id, count, .. } = action { Some((id, count)) } else { None })
            .collect();
        longest.push(runs.iter().map(|(_, count)| *count).max().unwrap_or(0));
        let outcome = |n| Outcome::Refused(if n == 0 { Refusal::RunTooLong } else { Refusal::Request });
        for (n, (id, _)) in runs.into_iter().enumerate() {
            plan.handle(now, Event::RequestEnded { request: id, outcome: outcome(n) });
        }
    }
    assert_eq!(longest[0], 2);
    assert!(plan.sources[&SourceId(0)].run_max == 1);
    assert!(longest[5..].iter().all(|run| *run == 1), "{longest:?}");
}

/// L7: the plan.
#[test]
fn what_a_source_lacks_is_asked_of_the_others() {
    let mut plan = Plan::new(Layout::new([4 * CHUNK_BYTES]).unwrap(), PlanConfig::default());
    plan.handle(Duration::ZERO, Event::SourceJoined { source: SourceId(0), identity: [1; 32], rtt: MS });
    let mut asked = 0;
    while let Some(action) = plan.poll(Duration::ZERO) {
        let Action::Request { id, .. } = action else { panic!("{action:?}") };
        asked += 1;
        let outcome = Outcome::Refused(Refusal::ChunkLacking);
        plan.handle(Duration::ZERO, Event::RequestEnded { request: id, outcome });
    }
    assert!(asked <= 4, "each chunk once");
    assert_eq!(plan.status().waits_for, WaitsFor::Chunks);
    plan.handle(Duration::ZERO, Event::SourceJoined { source: SourceId(1), identity: [2; 32], rtt: MS });
    assert!(matches!(plan.poll(Duration::ZERO), Some(Action::Request { source: SourceId(1), .. })));
}

#[test]
fn a_partial_source_is_asked_only_for_what_it_says_it_has() {
    let mut world = World::new(40, vec![source(100)]);
    let has = |world: &mut World, have| {
        let now = world.now;
        world.plan.handle(now, Event::Has { source: SourceId(0), have });
    };
    has(&mut world, Have::Ranges(Vec::new()));
    world.run(SEC);
    assert_eq!(requests(&world).count(), 0, "it has nothing yet");
    assert_eq!(world.plan.next_wakeup(), None, "nor is there anything to wait for but its word");
    has(&mut world, Have::Ranges(vec![3..5, 20..29]));
    world.run(SEC);
    assert_eq!(world.plan.status().chunks_missing, 40 - 11);
    world.run(200 * SEC);
    assert_eq!(world.plan.status().chunks_missing, 40 - 11, "time alone gives it no more");
    has(&mut world, Have::Complete);
    world.complete(10 * SEC);
}

#[test]
fn a_rejected_chunk_waits_for_another_source() {
    let mut world = World::new(64, vec![Sim { bad_every: 10, ..source(50) }]);
    let status = world.run(60 * SEC);
    assert_eq!(status.waits_for, WaitsFor::Sources);
    assert_eq!(status.chunks_verified, 9);
    assert_eq!(status.sources[&SourceId(0)].state, SourceState::Banned);
    let now = world.now;
    world.plan.handle(now, Event::SourceLeft { source: SourceId(0) }); // its connection closes: that lifts no ban
    world.plan.handle(now, Event::SourceJoined { source: SourceId(0), identity: [1; 32], rtt: MS });
    assert_eq!(world.plan.poll(now), None, "a banned source stays banned");
    world.join(source(50));
    world.complete(120 * SEC);
}

#[test]
fn what_was_present_is_never_asked_and_what_was_lost_is_asked_again() {
    let mut world = World::new(100, vec![]);
    world.verified.extend(10..90);
    world.released.extend(10..90);
    world.plan.handle(Duration::ZERO, Event::AlreadyPresent { range: 10..90 });
    world.join(source(50));
    world.complete(60 * SEC);
    assert_eq!(world.asked, 20);
    world.plan.handle(world.now, Event::Lost { range: 50..60 });
    world.verified.retain(|linear| !(50..60).contains(linear));
    world.released.retain(|linear| !(50..60).contains(linear));
    assert_eq!(world.plan.status().chunks_missing, 10);
    world.complete(60 * SEC);
    assert_eq!(world.asked, 30);
}

#[test]
fn a_lost_link_gives_its_chunks_back_and_may_return() {
    let mut world = World::new(400, vec![source(50), source(50)]);
    world.run(SEC);
    world.leave(SourceId(1));
    assert_eq!(world.plan.status().sources[&SourceId(1)].in_flight, 0);
    world.run(2 * SEC);
    world.plan.handle(world.now, Event::SourceJoined { source: SourceId(1), identity: [2; 32], rtt: MS });
    world.sims[1].free_at = world.now;
    world.complete(20 * SEC);
    assert!(world.share(1) > 0.2);
}

#[test]
fn a_late_request_goes_to_another_source_and_is_waited_for_if_there_is_none() {
    for others in [1, 0] {
        let mut world = World::new(3000, vec![source(50)]);
        (0..others).for_each(|_| world.join(source(50)));
        world.run(3 * SEC);
        world.sims[0].chunk_time = 2 * SEC; // a hundred times slower
        world.run(16 * SEC);
        let late = world
            .trace
            .iter()
            .filter(|a| matches!(a, Action::Cancel { reason: CancelReason::Late | CancelReason::Outrun, .. }))
            .count();
        assert_eq!(late > 0, others > 0, "{late} cancelled");
    }
}

#[test]
fn an_empty_snapshot_is_complete_and_asks_nothing() {
    let mut plan = Plan::new(Layout::new([0, 0]).unwrap(), PlanConfig::default());
    plan.handle(Duration::ZERO, Event::SourceJoined { source: SourceId(0), identity: [1; 32], rtt: MS });
    assert!(plan.is_complete());
    assert_eq!((plan.poll(Duration::ZERO), plan.next_wakeup()), (None, None));
}

#[test]
fn events_that_do_not_fit_change_nothing() {
    let mut plan = Plan::new(Layout::new([8 * CHUNK_BYTES]).unwrap(), PlanConfig::default());
    plan.handle(Duration::ZERO, Event::SourceJoined { source: SourceId(0), identity: [1; 32], rtt: MS });
    let Some(Action::Request { id, .. }) = plan.poll(Duration::ZERO) else { panic!("nothing asked") };
    let before = plan.status();
    for event in [
        Event::ChunkArrived { request: RequestId(99), linear: 0, wire_bytes: 1 },
        Event::ChunkArrived { request: id, linear: 1, wire_bytes: 1 },
        Event::ChunkArrived { request: id, linear: u64::MAX, wire_bytes: u64::MAX },
        Event::ChunkVerified { linear: 0 },
        Event::ChunkReleased { linear: 0 },
        Event::ChunkRejected { linear: 0, source: SourceId(7) },
        Event::Progress { request: RequestId(99), bytes: u64::MAX },
        Event::RequestEnded { request: RequestId(99), outcome: Outcome::Broken },
        Event::AlreadyPresent { range: 9..u64::MAX },
        Event::Lost { range: 7..7 },
        Event::ChunkRejected { linear: u64::MAX, source: SourceId(0) },
    ] {
        plan.handle(Duration::ZERO, event);
        assert_eq!(plan.status(), before);
    }
}

#[test]
fn a_terabyte_is_planned_without_scanning_it() {
    let layout = Layout::new([1 << 40, 1 << 39]).unwrap();
    let mut plan = Plan::new(layout, PlanConfig::default());
    // Every second block is there already: as fragmented as a resumed transfer gets.
    for block in (0..(1u64 << 20) / 16).step_by(2) {
        plan.handle(Duration::ZERO, Event::AlreadyPresent { range: block * 16..block * 16 + 16 });
    }
    for n in 0..4u8 {
        let joined = Event::SourceJoined { source: SourceId(n.into()), identity: [n; 32], rtt: MS };
        plan.handle(Duration::ZERO, joined);
    }
    // Scanning a million chunks at each of these steps would take minutes.
    let mut done = 0;
    for step in 1..2000 {
        let now = MS * step;
        while let Some(action) = plan.poll(now) {
            let Action::Request { id, file_index, first, count, .. } = action else { continue };
            let start = plan.layout.linear(file_index, first).unwrap();
            for linear in start..start + u64::from(count) {
                plan.handle(now + MS / 2, Event::ChunkArrived { request: id, linear, wire_bytes: CHUNK_BYTES });
                plan.handle(now + MS / 2, Event::ChunkVerified { linear });
                plan.handle(now + MS / 2, Event::ChunkReleased { linear });
                done += 1;
            }
            plan.handle(now + MS / 2, Event::RequestEnded { request: id, outcome: Outcome::Completed });
            if done % 1000 < 16 {
                break;
            }
        }
        if done > 20_000 {
            return;
        }
    }
    panic!("only {done} chunks");
}

#[test]
fn what_is_lost_behind_the_loader_is_asked_first_and_by_several_requests() {
    let mut plan = Plan::new(Layout::new([100 * CHUNK_BYTES]).unwrap(), PlanConfig::default());
    plan.handle(Duration::ZERO, Event::SourceJoined { source: SourceId(0), identity: [1; 32], rtt: MS });
    plan.handle(Duration::ZERO, Event::AlreadyPresent { range: 0..100 });
    plan.handle(Duration::ZERO, Event::LoaderAt { linear: 90 });
    plan.handle(Duration::ZERO, Event::Lost { range: 0..64 });
    plan.handle(Duration::ZERO, Event::Lost { range: 95..96 });
    let first = plan.poll(Duration::ZERO);
    assert!(matches!(first, Some(Action::Request { first: ChunkIndex(0), class: Class::Frontier, .. })), "{first:?}");
    // A source that isn't measured is asked for four chunks; measured, for more: never one at a time.
    assert!(plan.status().chunks_asked >= 2);
}

#[test]
fn a_chunk_that_came_as_its_request_was_given_up_takes_a_permit_until_it_is_dealt_with() {
    let budget_chunks = 4;
    let layout = Layout::new([16 * CHUNK_BYTES]).unwrap();
    let mut plan = Plan::new(layout, PlanConfig { budget_chunks, ..PlanConfig::default() });
    let joined = |source, identity| Event::SourceJoined { source: SourceId(source), identity: [identity; 32], rtt: MS };
    plan.handle(Duration::ZERO, joined(0, 1));
    let Some(Action::Request { id, first, .. }) = plan.poll(Duration::ZERO) else { panic!("nothing is asked") };
    plan.handle(MS, Event::SourceBanned { source: SourceId(0) });
    plan.handle(MS, Event::ChunkArrived { request: id, linear: first.0.into(), wire_bytes: CHUNK_BYTES });
    assert_eq!(plan.status().permits_used, 1);
    plan.handle(MS, joined(1, 2));
    let asked: u32 = std::iter::from_fn(|| plan.poll(MS))
        .map(|action| if let Action::Request { count, .. } = action { count } else { 0 })
        .sum();
    assert!(asked < budget_chunks, "{asked} beside the one that is here");
    plan.handle(MS, Event::ChunkVerified { linear: first.0.into() });
    plan.handle(MS, Event::ChunkReleased { linear: first.0.into() });
    assert_eq!((plan.status().chunks_verified, plan.status().permits_used), (1, asked));
}
