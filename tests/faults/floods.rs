//! Floods: of handshakes by strangers whose addresses are invented, of sessions and streams by a member. Who is served keeps its rate,
//! and who is new gets in.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use quinn::Endpoint;
use snapferry::{
    chunking::BufferPool,
    snapshot::{CHUNK_BYTES, ChunkIndex},
    transport::{
        WallClock,
        asking::{ConnectParams, Session},
        endpoint::{Tuning, endpoint_config},
        fault::ErrorCode,
        limits::{RUN_CHUNKS_MAX, SESSIONS_PER_ORG_MAX, STREAMS_MAX},
        session::SessionContext,
        tls::{NameCheck, client_config},
        wire::{ChunkRequest, LeaseOpen, RequestClass},
    },
};
use tokio::{task::JoinSet, time::Instant};

use crate::sim::{
    channel::SimPeer,
    joiner::Joiner,
    scenario::{LinkSpec, Scenario, SourceSpec},
    service::{PORT, seed},
    world::{World, source_ip},
};

/// So slow that the flood is there for most of the join.
const SLOW: LinkSpec = LinkSpec::of(20, 800_000, 128_000);
const MIB: u64 = CHUNK_BYTES;
pub(super) const NEWCOMER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 101));
pub(super) const FLOODER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 102));

/// One source; the joiner's way to it is slow.
pub(super) fn world(seed: u64) -> World {
    let sources = vec![SourceSpec::of(1).over(SLOW)];
    World::new(&Scenario { snapshot_bytes: 8 * MIB, sources, min_orgs: 1, ..Scenario::default() }, seed)
}

pub(super) async fn took(joiner: &Joiner, world: &World) -> Duration {
    let begun = Instant::now();
    joiner.start(&world.addresses()).lands(joiner, &world.golden, &[]).await;
    begun.elapsed()
}

pub(super) fn simulated<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(test)
}

/// How long the join takes if nothing happens.
pub(super) fn undisturbed() -> Duration {
    simulated(async {
        let world = world(1_301);
        took(&world.joiner, &world).await
    })
}

/// A way to dial from there, with that peer's TLS pair.
pub(super) fn dialler(
    world: &mut World,
    ip: IpAddr,
    peer: &SimPeer,
    tuning: Tuning,
) -> (Endpoint, quinn::ClientConfig) {
    let tuning = Tuning { rng_seed: Some(seed(world.rng.bits())), ..tuning };
    let base = world.channel.now();
    let tls = client_config(world.joiner.live.trust(), &peer.tls, NameCheck::OrgOnly, Arc::new(move || base)).unwrap();
    let endpoint = world.net.host([ip]).unwrap().endpoint(PORT, endpoint_config(&tuning), None).unwrap();
    (endpoint, tuning.client(tls).unwrap())
}

/// How that member asks the source.
pub(super) fn params(world: &mut World, member: &SimPeer, quic: quinn::ClientConfig) -> ConnectParams {
    let base = world.channel.now();
    let clock: WallClock = Arc::new(move || base);
    ConnectParams {
        address: world.source(1).address(),
        server_name: "source".to_owned(),
        quic,
        channel: Arc::new(world.channel.config().clone()),
        context: SessionContext::new(Arc::clone(&member.identity), member.tls.leaf().clone(), clock),
        grant: Some(member.grant.clone()),
        buffers: BufferPool::new(4),
    }
}

/// A request for as much of the largest file as may be asked at once, by a lease, and that file's size.
pub(super) async fn largest_file(session: &Session, world: &World) -> (ChunkRequest, u64) {
    let manifest = &world.golden.manifest;
    let (id, manifest_hash) = (manifest.id().clone(), manifest.hash());
    let lease = session.open_lease(LeaseOpen { id: id.clone(), manifest_hash }).await.unwrap();
    let (file_index, file) = (0..).zip(manifest.files()).max_by_key(|(_, file)| file.size).unwrap();
    let request = ChunkRequest {
        id,
        manifest_hash,
        file_index,
        first_chunk: ChunkIndex(0),
        count: ChunkIndex::count(file.size).unwrap().min(RUN_CHUNKS_MAX),
        accept_zstd: false,
        class: RequestClass::Frontier,
        lease_id: lease.lease_id,
    };
    (request, file.size)
}

/// Defence: from 16 handshakes under way on, an address must prove itself by a retry token. Removed, those who never answer take all
/// places, and nobody new gets in.
/// N7: hundreds of handshakes from addresses that never answer. An accepted session keeps its rate, and a newcomer gets in.
#[test]
fn a_flood_of_handshakes_leaves_accepted_sessions_their_rate_and_newcomers_their_way_in() {
    /// Each may have 8 connections (limits.sessionsPerAddress).
    const ADDRESSES: u8 = 60;
    let free = undisturbed();
    simulated(async {
        let mut world = world(1_301);
        let stranger = world.channel.peer(2, 5);
        let source = world.source(1).address();
        let mut flood = Vec::new();
        for last in 0..ADDRESSES {
            let ip = IpAddr::from([10, 9, 0, last]);
            // What is answered to an invented address reaches nobody.
            world.net.cut(&[source_ip(1)], &[ip]);
            flood.push(dialler(&mut world, ip, &stranger, Tuning::default()));
        }
        let retries = world.net.record(move |packet| {
            const RETRY: u8 = 0xf0;
            packet.from == source
                && packet.to.ip() != NEWCOMER
                && packet.bytes.first().is_some_and(|first| first & 0xf0 == RETRY)
        });
        let newcomer = world.another_joiner(NEWCOMER);
        let world = &world;
        let flooding = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut dialling = Vec::new();
            for _ in 0..8 {
                for (endpoint, config) in &flood {
                    dialling.push(endpoint.connect_with(config.clone(), source, "source").unwrap());
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            dialling
        };
        let joining = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            took(&newcomer, world).await
        };
        let (flooded, _dialling, new) = tokio::join!(took(&world.joiner, world), flooding, joining);
        assert!(retries.take().len() > 100, "else it was no flood");
        assert!(flooded <= free + free / 10, "{flooded:?}, else {free:?}");
        // Its way is quick; it is asked to prove its address, which takes a round trip.
        assert!(new <= Duration::from_secs(5), "{new:?}");
    });
}

/// Opens all that a member may open at the source, and reads nothing; kept as long as what it gives.
async fn flood(endpoint: &Endpoint, params: &ConnectParams, world: &World) -> impl Sized + use<> {
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (mut sessions, mut refused) = (Vec::new(), 0);
    for _ in 0..3 * SESSIONS_PER_ORG_MAX {
        match Session::connect(endpoint, params).await {
            Ok(session) => sessions.push(Arc::new(session)),
            Err(error) => {
                assert_eq!(error.code(), Some(ErrorCode::Busy), "{error}");
                refused += 1;
            }
        }
    }
    assert_eq!((sessions.len(), refused), (SESSIONS_PER_ORG_MAX, 2 * SESSIONS_PER_ORG_MAX));
    let mut opening = JoinSet::new();
    for session in &sessions {
        let (request, size) = largest_file(session, world).await;
        for _ in 0..STREAMS_MAX {
            let (session, request) = (Arc::clone(session), request.clone());
            // Kept, and never read.
            opening.spawn(async move { (session.chunks(request, size).await.ok(), session) });
        }
    }
    let streams = opening.join_all().await;
    assert!(streams.iter().filter(|(stream, _)| stream.is_some()).count() > 64, "else it was no flood");
    streams
}

/// Defence: so many sessions, streams and buffers for one organisation. Removed, one member's streams that nobody reads hold every buffer,
/// and all others wait for them.
/// R5: members of one organisation, or of two, open sessions and streams without end, and read nothing. They get their share, and
/// another's join keeps its rate.
#[test]
fn members_that_open_all_they_can_and_read_nothing_slow_nobody_else() {
    let free = undisturbed();
    for orgs in [vec![3], vec![2, 3]] {
        simulated(async {
            let mut world = world(1_301);
            let mut floods = Vec::new();
            for (last, org) in (102..).zip(&orgs) {
                let member = world.channel.peer(*org, 5);
                let ip = IpAddr::from([10, 0, 0, last]);
                let (endpoint, quic) = dialler(&mut world, ip, &member, Tuning::default());
                floods.push((endpoint, params(&mut world, &member, quic)));
            }
            let world = &world;
            let flooding = async {
                let mut held = Vec::new();
                for (endpoint, params) in &floods {
                    held.push(flood(endpoint, params, world).await);
                }
                held
            };
            let (flooded, _held) = tokio::join!(took(&world.joiner, world), flooding);
            assert!(flooded <= free + free / 5, "{flooded:?} while {orgs:?} flood, else {free:?}");
        });
    }
}
