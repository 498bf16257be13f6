//! What holds for any sources. The harness itself asserts on every action: within the budget, no banned source asked, no proved
//! chunk asked again, no chunk asked twice before the end, runs within one file.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Fault {
    Leave(u32),
    Rejoin(u32),
}

fn sims() -> impl Strategy<Value = Vec<Sim>> {
    let sim = (
        1u64..400,
        0u64..200,
        prop_oneof![2 => Just(u64::MAX), 1 => 0u64..60],
        prop_oneof![2 => Just(0u64), 1 => 2u64..50],
        prop_oneof![2 => Just(0u64), 1 => 2u64..30],
        0u64..4,
    );
    prop::collection::vec(sim, 0..4).prop_map(|all| {
        let bad = all.into_iter().map(|(rate, rtt, silent_after, bad_every, breaks_every, busy)| Sim {
            rtt: MS * u32::try_from(rtt).unwrap(),
            silent_after,
            bad_every,
            breaks_every,
            busy_until: SEC * u32::try_from(busy).unwrap(),
            ..source(rate)
        });
        // The last one is good.
        bad.chain([source(30)]).collect()
    })
}

fn faults() -> impl Strategy<Value = Vec<(u64, Fault)>> {
    let fault = prop_oneof![(0u32..5).prop_map(Fault::Leave), (0u32..5).prop_map(Fault::Rejoin)];
    prop::collection::vec((0u64..20_000, fault), 0..8)
}

fn run(sizes: &[u64], sims: &[Sim], faults: &[(u64, Fault)], budget_chunks: u32) -> World {
    let config = PlanConfig { budget_chunks, ..PlanConfig::default() };
    let mut world = World::of(Layout::new(sizes.iter().copied()).unwrap(), config, sims.to_vec());
    let mut faults = faults.to_vec();
    faults.sort_by_key(|(at, _)| *at);
    let good = SourceId(u32::try_from(sims.len()).unwrap() - 1);
    for (at, fault) in faults {
        world.run(MS * u32::try_from(at).unwrap());
        let (Fault::Leave(n) | Fault::Rejoin(n)) = fault;
        let source = SourceId(n);
        if source >= good || world.banned.contains(&source) {
            continue;
        }
        match fault {
            Fault::Leave(_) => world.leave(source),
            Fault::Rejoin(_) => {
                world.leave(source);
                world.plan.handle(world.now, Event::SourceJoined { source, identity: [9; 32], rtt: MS });
            }
        }
    }
    world.run(3600 * SEC);
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_finishes_while_one_good_source_stays(
        sizes in prop::collection::vec(0u64..80 * CHUNK_BYTES, 1..8),
        sims in sims(),
        faults in faults(),
        budget in prop_oneof![Just(32u32), 1u32..64],
    ) {
        let world = run(&sizes, &sims, &faults, budget);
        prop_assert!(world.plan.is_complete(), "{:?} {:#?}", world.now, world.plan.status());
        // One good source alone needs total / 30 s; stalls, waits and probes of the bad ones cost a bounded time on top.
        let alone = SEC * u32::try_from(world.plan.layout.total()).unwrap() / 30;
        prop_assert!(world.now < alone * 2 + 60 * SEC, "{:?} for {alone:?}", world.now);
    }

    #[test]
    fn clean_sources_waste_at_most_the_end_game(sizes in prop::collection::vec(0u64..200 * CHUNK_BYTES, 1..4), rates in prop::collection::vec(5u64..200, 1..5)) {
        let sims: Vec<Sim> = rates.into_iter().map(source).collect();
        let world = run(&sizes, &sims, &[], 32);
        prop_assert!(world.plan.is_complete());
        prop_assert!(world.asked <= world.plan.layout.total() + 32, "{} asked of {}", world.asked, world.plan.layout.total());
    }

    #[test]
    fn the_same_events_give_the_same_actions(sizes in prop::collection::vec(0u64..60 * CHUNK_BYTES, 1..4), sims in sims(), faults in faults()) {
        let (a, b) = (run(&sizes, &sims, &faults, 32), run(&sizes, &sims, &faults, 32));
        prop_assert_eq!(a.trace, b.trace);
        prop_assert_eq!(a.now, b.now);
    }
}
