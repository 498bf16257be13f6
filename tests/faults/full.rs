//! Services that are full: who comes then waits at the door.

use std::time::Duration;

use snapferry::bootstrap::JoinEvent;
use tokio::time::{Instant, sleep};

use crate::{
    floods::{NEWCOMER, simulated, took},
    sim::{
        scenario::{LinkSpec, Scenario},
        world::World,
    },
};

/// Defence: a join that finds all its sources busy waits for one of them. Removed, whoever comes while others have all the places gives up
/// at once, and somebody has to try again by hand.
/// S7: every source has given its only place to another joiner when this one comes. It waits at the door, says so, and lands.
#[test]
fn a_join_waits_at_the_door_of_sources_that_are_full() {
    const SLOW: LinkSpec = LinkSpec::of(20, 400_000, 64_000);
    simulated(async {
        let mut world = World::new(&Scenario { snapshot_bytes: 4 << 20, links: SLOW, ..Scenario::default() }, 1_401);
        for number in 1..=3 {
            let source = world.source(number);
            source.crash();
            source.limits.sessions = 1;
            source.start();
        }
        let second = world.another_joiner(NEWCOMER);
        let world = &world;
        let waiting = async {
            sleep(Duration::from_secs(1)).await;
            let mut attempt = second.start(&world.addresses());
            attempt.lands(&second, &world.golden, &[]).await;
            let landed = Instant::now();
            let told = attempt.told.lock().unwrap();
            let reasons = told.iter().filter_map(|(_, event)| match event {
                JoinEvent::SourceFailed { reason, .. } => Some(reason.clone()),
                _ => None,
            });
            (reasons.collect::<Vec<_>>(), landed)
        };
        let first = async {
            let took = took(&world.joiner, world).await;
            (took, Instant::now())
        };
        let ((took, ended), (reasons, landed)) = tokio::join!(first, waiting);
        assert!(took > Duration::from_secs(2), "it was there when the second came: {took:?}");
        assert!(reasons.len() >= 3 && reasons.iter().all(|reason| reason.contains("busy")), "{reasons:?}");
        assert!(landed > ended);
    });
}
