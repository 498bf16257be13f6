//! Joiners of one organisation that serve each other while they join (`join --serve`): nobody waits for whom he helps, and the other
//! organisations' sources send less.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use snapferry::bootstrap::Joined;

use crate::sim::{
    joiner::Joiner,
    scenario::{LinkSpec, Scenario, SourceSpec},
    service::PORT,
    world::{JOINER, World, source_ip},
};

const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 101));
const MIB: u64 = 1 << 20;

const fn link(bytes_per_s: u64) -> LinkSpec {
    LinkSpec::of(10, bytes_per_s, 256_000)
}

/// Three organisations' sources, and two joiners of the fourth; each joiner has links of that speed to every source.
struct Two {
    world: World,
    other: Joiner,
}

impl Two {
    fn new(snapshot_bytes: u64, first: u64, second: u64, seed: u64) -> Self {
        let sources = [1, 2, 3].map(|org| SourceSpec::of(org).over(link(first))).into();
        let scenario = Scenario { snapshot_bytes, sources, ..Scenario::default() };
        let mut world = World::new(&scenario, seed);
        let other = world.another_joiner(OTHER);
        for number in 1..=3 {
            world.net.set_link(source_ip(number), OTHER, link(second).link());
            world.net.set_link(OTHER, source_ip(number), link(second).link());
        }
        world.net.set_link(JOINER, OTHER, link(4_000_000).link());
        world.net.set_link(OTHER, JOINER, link(4_000_000).link());
        Self { world, other }
    }

    /// Both join, the second one a while later; each is told to ask the sources and the other one.
    async fn join(&self, later: Duration) -> [Joined; 2] {
        let sources = self.world.addresses();
        let with = |ip| [sources.clone(), vec![format!("{ip}:{PORT}")]].concat();
        let mut first = self.world.joiner.start(&with(OTHER));
        tokio::time::sleep(later).await;
        let mut second = self.other.start(&with(JOINER));
        let golden = &self.world.golden;
        let (first, second) =
            tokio::join!(first.lands(&self.world.joiner, golden, &[]), second.lands(&self.other, golden, &[]));
        [first, second]
    }
}

fn from(joined: &Joined, ip: IpAddr) -> u64 {
    let address = format!("{ip}:{PORT}");
    let of_source = joined.shares.iter().filter(|share| share.source == address);
    assert!(of_source.clone().all(|share| !share.dropped && share.chunks_rejected == 0));
    of_source.map(|share| share.verified_bytes).sum()
}

fn simulated<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(test)
}

/// The second one begins later and overtakes: first it gets from the other, then it gives. Neither waits for the other.
#[test]
fn two_joiners_that_serve_each_other_both_land() {
    simulated(async {
        let mut two = Two::new(32 * MIB, 120_000, 800_000, 41);
        two.world.joiner.serves_at = Some(PORT);
        two.other.serves_at = Some(PORT);
        let [first, second] = two.join(Duration::from_secs(30)).await;
        let (helped, helping) = (from(&first, OTHER), from(&second, JOINER));
        assert!(helped > 0 && helping > 0, "{helped} and {helping}");
    });
}

/// What one joiner has proved, the other gets from it: most of its bytes, though its own links to the sources are slow.
#[test]
fn a_joiner_far_from_the_sources_gets_most_from_one_that_is_near() {
    simulated(async {
        let mut two = Two::new(16 * MIB, 400_000, 60_000, 42);
        two.world.joiner.serves_at = Some(PORT);
        let [first, second] = two.join(Duration::ZERO).await;
        assert_eq!(from(&first, OTHER), 0, "who doesn't serve gives nothing");
        assert!(from(&second, JOINER) > second.total_bytes / 2, "{:?}", second.shares);
    });
}
