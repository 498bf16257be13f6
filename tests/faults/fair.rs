//! What one organisation takes, others don't miss: rates are bounded per organisation, whatever the number of its sessions; and what
//! joiners take, a busy host doesn't miss. What it leaves them, they share.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use quinn::Endpoint;
use snapferry::{
    snapshot::CHUNK_BYTES,
    transport::{
        asking::{ConnectParams, Session},
        endpoint::Tuning,
        limits::{SESSIONS_PER_ORG_MAX, STREAMS_MAX, YIELDING_RATE},
    },
};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use super::floods::{FLOODER, dialler, largest_file, params, simulated};
use crate::sim::{
    joiner::Joiner,
    scenario::{Scenario, SourceSpec},
    world::World,
};

const fn ip(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
}

/// How long that joiner takes.
async fn took(joiner: &Joiner, world: &World) -> Duration {
    let begun = Instant::now();
    joiner.start(&world.addresses()).lands(joiner, &world.golden, &[]).await;
    begun.elapsed()
}

/// Two joiners of the last organisation and one of the second fetch from a single source at the same time: how long each takes, and how
/// many bytes each of them fetches.
fn three_join(rate_per_org: Option<u64>) -> ([Duration; 3], u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let snapshot_bytes = 16 * CHUNK_BYTES;
        let scenario =
            Scenario { snapshot_bytes, sources: vec![SourceSpec::of(1)], min_orgs: 1, ..Scenario::default() };
        let mut world = World::new(&scenario, 1_201);
        let source = world.source(1);
        source.crash();
        // So that what goes out is what the files hold.
        (source.limits.compressions, source.limits.rate_per_org) = (0, rate_per_org);
        source.start();
        let same = world.another_joiner(ip(101));
        let other = world.joiner_of(2, ip(102));
        let world = &world;
        let (first, second, other) = tokio::join!(took(&world.joiner, world), took(&same, world), took(&other, world));
        let data = world.golden.files.iter().filter(|(name, _)| !name.ends_with(".json"));
        ([first, second, other], data.map(|(_, bytes)| bytes.len() as u64).sum())
    })
}

/// Defence: one bucket for all sessions of an organisation. Removed, it takes its share once per session, or others wait for it.
/// Two sessions of one organisation share its rate, and another organisation's join takes as long as without any bound.
#[test]
fn an_organisations_sessions_share_its_rate_and_no_other_is_slowed() {
    const RATE: u64 = 1 << 20;
    let (free, bytes) = three_join(None);
    let ([first, second, other], _) = three_join(Some(RATE));
    // A bucket holds 16 MiB: one of the two could be through with that alone.
    let least = Duration::from_secs((2 * bytes - 16 * CHUNK_BYTES) / RATE);
    let last = first.max(second);
    assert!(last >= least, "{first:?} and {second:?} for {} MiB", 2 * bytes / CHUNK_BYTES);
    assert!(last <= least + least / 4, "{last:?} where {least:?} is possible");
    assert!(other <= free[2] + Duration::from_secs(1), "{other:?}, and without a bound {:?}", free[2]);
}

/// A join from sources that are busy, or not: how long it takes, and how many bytes the first of them sends.
fn joined_from(busy: &[bool]) -> (Duration, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let sources = (1..).zip(busy).map(|(org, _)| SourceSpec::of(org)).collect();
        let scenario = Scenario { snapshot_bytes: 32 * CHUNK_BYTES, sources, min_orgs: 1, ..Scenario::default() };
        let mut world = World::new(&scenario, 1_202);
        for (org, busy) in (1..).zip(busy) {
            let source = world.source(org);
            source.crash();
            source.limits.compressions = 0;
            source.busy.send_replace(*busy);
            source.start();
        }
        let begun = Instant::now();
        let joined = world.joiner.start(&world.addresses()).lands(&world.joiner, &world.golden, &[]).await;
        let first = world.addresses().first().map(ToString::to_string);
        let given = joined.shares.iter().find(|share| Some(&share.source) == first.as_ref());
        (begun.elapsed(), given.map_or(0, |share| share.wire_bytes))
    })
}

/// Defence: a source steps back while others on its host need it. Removed, it sends as much as one with nothing else to do.
/// Beside a source that is free it gives next to nothing, and the join takes hardly longer than from the free one alone.
#[test]
fn a_busy_source_leaves_the_work_to_one_that_is_free() {
    let (alone, _) = joined_from(&[false]);
    let (with_busy, given) = joined_from(&[true, false]);
    let (_, given_if_free) = joined_from(&[false, false]);
    assert!(with_busy <= alone * 13 / 10, "{with_busy:?}, and from the free one alone {alone:?}");
    let most = YIELDING_RATE * (with_busy.as_secs() + 1) + CHUNK_BYTES;
    assert!(given <= most && given < given_if_free, "{given} of {most} bytes, free {given_if_free}");
}

/// Defence: a source that steps back refuses nothing. A join from busy ones only takes its time, and ends.
#[test]
fn a_join_from_busy_sources_only_takes_its_time_and_ends() {
    let (took, given) = joined_from(&[true]);
    assert!(given >= 24 * CHUNK_BYTES, "{given}");
    let least = Duration::from_secs((given - CHUNK_BYTES) / YIELDING_RATE);
    assert!(took >= least && took <= least * 3 / 2 + Duration::from_secs(2), "{took:?} where {least:?} is possible");
}

/// One busy source, of which two joiners fetch.
fn busy_world() -> World {
    let (snapshot_bytes, sources) = (16 * CHUNK_BYTES, vec![SourceSpec::of(1)]);
    let mut world = World::new(&Scenario { snapshot_bytes, sources, min_orgs: 1, ..Scenario::default() }, 1_203);
    let source = world.source(1);
    source.crash();
    source.limits.compressions = 0;
    source.busy.send_replace(true);
    source.start();
    world
}

/// On so many sessions all streams that it may have, each of which takes what comes, and asks anew.
async fn take_all(endpoint: &Endpoint, params: &ConnectParams, world: &World, sessions: usize) -> JoinSet<()> {
    let mut taking = JoinSet::new();
    for _ in 0..sessions {
        let session = Arc::new(Session::connect(endpoint, params).await.unwrap());
        let (request, size) = largest_file(&session, world).await;
        for _ in 0..STREAMS_MAX {
            let (session, request) = (Arc::clone(&session), request.clone());
            taking.spawn(async move {
                while let Ok(mut stream) = session.chunks(request.clone(), size).await {
                    while let Ok(Some(_)) = stream.next().await {}
                }
            });
        }
    }
    // Until all of them are asked.
    tokio::time::sleep(Duration::from_secs(1)).await;
    taking
}

/// Defence: while the host is busy, organisations have a chunk in turn, and the members of one as well. Removed, a member that asks on all
/// its streams at once has the next two minutes, and whoever else asks takes the source for stalled, again and again.
/// R5: a member asks a busy source on all streams of all sessions that it gets, and takes all that comes. Another member's join
/// gets half of what there is, whether it is of the same organisation or not.
#[test]
fn a_member_that_asks_for_all_of_a_busy_source_leaves_others_their_half() {
    let alone = simulated(async {
        let world = busy_world();
        took(&world.joiner, &world).await
    });
    // The joiner is of the fourth; one session is left for it.
    for org in [3, 4] {
        simulated(async {
            let mut world = busy_world();
            let member = world.channel.peer(org, 5);
            let (endpoint, quic) = dialler(&mut world, FLOODER, &member, Tuning::default());
            let params = params(&mut world, &member, quic);
            let taking = take_all(&endpoint, &params, &world, SESSIONS_PER_ORG_MAX - 1).await;
            let beside = timeout(10 * alone, took(&world.joiner, &world)).await.expect("it waits for them");
            assert!(!taking.is_empty(), "else it was no flood");
            assert!(beside <= 2 * alone + Duration::from_secs(2), "{beside:?}, and alone {alone:?}");
        });
    }
}
