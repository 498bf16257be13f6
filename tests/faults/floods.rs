//! Floods: of handshakes by strangers whose addresses are invented, of sessions and streams by a member. Who is served keeps its rate,
//! and who is new gets in.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use quinn::Endpoint;
use snapferry::{
    bootstrap::Outcome,
    chunking::BufferPool,
    snapshot::{CHUNK_BYTES, ChunkIndex},
    transport::{
        asking::{ConnectParams, Session},
        endpoint::{Tuning, endpoint_config},
        fault::ErrorCode,
        limits::{SESSIONS_PER_ORG_MAX, STREAMS_MAX},
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
const SLOW: LinkSpec = LinkSpec {
    down: false,
    latency_ms: 20,
    jitter_ms: 0,
    bandwidth_bytes_per_s: Some(800_000),
    queue_bytes: 128_000,
    loss_ppm: 0,
    duplicate_ppm: 0,
    reorder_ppm: 0,
    reorder_ms: 0,
    corrupt_ppm: 0,
    mtu: None,
};
const MIB: u64 = CHUNK_BYTES;
const NEWCOMER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 101));
const FLOODER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 102));

/// One source; the joiner's way to it is slow.
fn world(seed: u64) -> World {
    let sources = vec![SourceSpec::of(1).over(SLOW)];
    World::new(&Scenario { snapshot_bytes: 8 * MIB, sources, min_orgs: 1, ..Scenario::default() }, seed)
}

async fn took(joiner: &Joiner, world: &World) -> Duration {
    let begun = Instant::now();
    let joined = joiner.start(&world.addresses()).task.await.unwrap().unwrap();
    assert_eq!(joined.outcome, Outcome::Landed);
    let id = &world.golden.id;
    assert_eq!(joiner.landed(id.channel.as_str(), id.block_number.0).as_ref(), Some(&world.golden.files));
    begun.elapsed()
}

fn simulated<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(test)
}

/// How long the join takes if nothing happens.
fn undisturbed() -> Duration {
    simulated(async {
        let world = world(1_301);
        took(&world.joiner, &world).await
    })
}

/// A way to dial from there, with that peer's TLS pair.
fn dialler(world: &mut World, ip: IpAddr, peer: &SimPeer) -> (Endpoint, quinn::ClientConfig) {
    let tuning = Tuning { rng_seed: Some(seed(world.rng.bits())), ..Tuning::default() };
    let base = world.channel.now();
    let tls = client_config(world.joiner.live.trust(), &peer.tls, NameCheck::OrgOnly, Arc::new(move || base)).unwrap();
    let endpoint = world.net.host([ip]).unwrap().endpoint(PORT, endpoint_config(&tuning), None).unwrap();
    (endpoint, tuning.client(tls).unwrap())
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
            flood.push(dialler(&mut world, ip, &stranger));
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

/// Defence: so many sessions, streams and buffers for one organisation. Removed, one member's streams that nobody reads hold every buffer,
/// and all others wait for them.
/// R5: a member opens sessions and streams without end, and reads nothing. It gets its share, and another's join keeps its rate.
#[test]
fn a_member_that_opens_all_it_can_and_reads_nothing_slows_nobody_else() {
    let free = undisturbed();
    simulated(async {
        let mut world = world(1_301);
        let member = world.channel.peer(3, 5);
        let (endpoint, quic) = dialler(&mut world, FLOODER, &member);
        let base = world.channel.now();
        let clock: snapferry::transport::WallClock = Arc::new(move || base);
        let params = ConnectParams {
            address: world.source(1).address(),
            server_name: "source".to_owned(),
            quic,
            channel: Arc::new(world.channel.config().clone()),
            context: SessionContext::new(Arc::clone(&member.identity), member.tls.leaf().clone(), clock),
            grant: Some(member.grant.clone()),
            buffers: BufferPool::new(4),
        };
        let world = &world;
        let flooding = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let (mut sessions, mut refused) = (Vec::new(), 0);
            for _ in 0..3 * SESSIONS_PER_ORG_MAX {
                match Session::connect(&endpoint, &params).await {
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
                let claim = session.catalog().await.unwrap().claims.remove(0);
                let open = LeaseOpen { id: claim.id.clone(), manifest_hash: claim.manifest_hash };
                let lease_id = session.open_lease(open).await.unwrap().lease_id;
                let files = (0..).zip(world.golden.manifest.files());
                let (file_index, file) = files.max_by_key(|(_, file)| file.size).unwrap();
                let request = ChunkRequest {
                    id: claim.id,
                    manifest_hash: claim.manifest_hash,
                    file_index,
                    first_chunk: ChunkIndex(0),
                    count: ChunkIndex::count(file.size).unwrap().min(16),
                    accept_zstd: false,
                    class: RequestClass::Frontier,
                    lease_id,
                };
                for _ in 0..STREAMS_MAX {
                    let (session, request, size) = (Arc::clone(session), request.clone(), file.size);
                    // Kept, and never read.
                    opening.spawn(async move { (session.chunks(request, size).await.ok(), session) });
                }
            }
            (opening.join_all().await, sessions)
        };
        let (flooded, held) = tokio::join!(took(&world.joiner, world), flooding);
        assert!(held.0.iter().filter(|(stream, _)| stream.is_some()).count() > 64, "else it was no flood");
        assert!(flooded <= free + free / 5, "{flooded:?}, else {free:?}");
    });
}
