//! Slow on purpose: connections that say a byte at a time who they are, a member that takes its chunks so. They get their share of
//! places and buffers; who is served keeps its rate, and who is new gets in.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use quinn::{ClientConfig, Endpoint};
use snapferry::{
    snapshot::CHUNK_BYTES,
    transport::{
        asking::Session,
        endpoint::Tuning,
        limits::{
            ACCEPT_TIMEOUT, FRAME_BYTES_BEFORE_HELLO_MAX, SERVE_BUFFERS_PER_SESSION, SESSIONS_PER_ADDRESS_MAX,
            SESSIONS_PER_ORG_MAX,
        },
    },
};
use tokio::{task::JoinSet, time::Instant};

use super::floods::{FLOODER, NEWCOMER, dialler, largest_file, params, simulated, took, undisturbed, world};

/// Handshakes under way that are taken at all (src/transport/serving/seats.rs).
const HANDSHAKES_MAX: usize = 64;

/// The connections of one machine that its other side hasn't refused or cut off.
#[derive(Default)]
struct Held {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// One connection after the other that announces a longest first frame and sends a byte of it now and then, until it is cut off; how long
/// each was borne. Refused, it comes again.
async fn dribble(endpoint: Endpoint, config: ClientConfig, to: SocketAddr, held: Arc<Held>) -> Vec<Duration> {
    let mut borne = Vec::new();
    while borne.len() < 2 {
        let begun = Instant::now();
        let Ok(connection) = endpoint.connect_with(config.clone(), to, "source").unwrap().await else {
            tokio::time::sleep(Duration::from_millis(500)).await;
            continue;
        };
        held.most.fetch_max(held.now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        let (mut send, _recv) = connection.open_bi().await.unwrap();
        let announced = u32::try_from(FRAME_BYTES_BEFORE_HELLO_MAX).unwrap();
        let mut bytes = announced.to_be_bytes().to_vec();
        while send.write_all(&bytes).await.is_ok() {
            bytes = vec![0];
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        held.now.fetch_sub(1, Ordering::Relaxed);
        borne.push(begun.elapsed());
    }
    borne
}

/// Defence: so many places for one address, and five seconds for all until accepted, however busy a connection looks. Removed, the places
/// are held for as long as somebody cares to send bytes, and nobody new gets in.
/// R6: every place for a handshake is taken by somebody who says who it is a byte at a time. An accepted session keeps its rate, and a
/// newcomer gets in once their time is over.
#[test]
fn who_says_a_byte_at_a_time_who_it_is_holds_no_place_for_long() {
    let free = undisturbed();
    simulated(async {
        let mut world = world(1_301);
        let member = world.channel.peer(2, 5);
        let source = world.source(1).address();
        let machines = u8::try_from(HANDSHAKES_MAX / SESSIONS_PER_ADDRESS_MAX).unwrap();
        let mut flood = Vec::new();
        for last in 0..machines {
            let (endpoint, config) = dialler(&mut world, IpAddr::from([10, 9, 0, last]), &member, Tuning::default());
            flood.push((endpoint, config, Arc::new(Held::default())));
        }
        let newcomer = world.another_joiner(NEWCOMER);
        let world = &world;
        let mut dribbling = JoinSet::new();
        let flooding = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            // Two more than there are places for each.
            for (endpoint, config, held) in flood.iter().flat_map(|one| vec![one; SESSIONS_PER_ADDRESS_MAX + 2]) {
                dribbling.spawn(dribble(endpoint.clone(), config.clone(), source, Arc::clone(held)));
            }
        };
        let joining = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            tokio::time::timeout(Duration::from_secs(60), took(&newcomer, world)).await.expect("it never gets in")
        };
        let (flooded, (), new) = tokio::join!(took(&world.joiner, world), flooding, joining);
        let borne = dribbling.join_all().await.concat();
        assert!(flooded <= free + free / 10, "{flooded:?}, else {free:?}");
        // Two for each place and some more: three times 5 s, the wait until it tries again (8 s at most by then) and the join.
        assert!(new <= Duration::from_secs(25), "{new:?}");
        let longest = borne.iter().max().unwrap();
        assert!(*longest <= ACCEPT_TIMEOUT + Duration::from_secs(1), "{longest:?}");
        assert!(
            borne.iter().filter(|borne| **borne >= ACCEPT_TIMEOUT).count() >= HANDSHAKES_MAX,
            "else it was no flood"
        );
        let most: Vec<usize> = flood.iter().map(|(.., held)| held.most.load(Ordering::Relaxed)).collect();
        assert_eq!(most, [SESSIONS_PER_ADDRESS_MAX; HANDSHAKES_MAX / SESSIONS_PER_ADDRESS_MAX], "each its share");
    });
}

/// Defence: so many buffers for one organisation. Removed, chunks that are taken a few bytes at a time hold all of them for hours, since
/// an answer of which something is taken isn't given up.
/// R6: a member asks for chunks on all sessions that it gets, and takes a few bytes of them at a time. Another's join keeps its rate.
#[test]
fn a_member_that_takes_its_chunks_a_few_bytes_at_a_time_slows_nobody_else() {
    /// What it takes of a stream in a round trip.
    const WINDOW_BYTES: u32 = 64;
    /// Streams of each session: together far more than there are buffers.
    const STREAMS: usize = 8;
    let free = undisturbed();
    simulated(async {
        let mut world = world(1_301);
        let member = world.channel.peer(3, 5);
        let tuning = Tuning { stream_receive_window_bytes: WINDOW_BYTES, ..Tuning::default() };
        let (endpoint, quic) = dialler(&mut world, FLOODER, &member, tuning);
        let params = params(&mut world, &member, quic);
        let world = &world;
        let mut taking = JoinSet::new();
        let flooding = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut received = Vec::new();
            for _ in 0..SESSIONS_PER_ORG_MAX {
                let session = Arc::new(Session::connect(&endpoint, &params).await.unwrap());
                let (request, size) = largest_file(&session, world).await;
                for _ in 0..STREAMS {
                    let mut stream = session.chunks(request.clone(), size).await.unwrap();
                    received.push(stream.received());
                    let session = Arc::clone(&session);
                    taking.spawn(async move {
                        let end = stream.next().await.map(drop);
                        drop(session);
                        end
                    });
                }
            }
            received
        };
        let joining = tokio::time::timeout(20 * free, took(&world.joiner, world));
        let (flooded, received) = tokio::join!(joining, flooding);
        let flooded = flooded.expect("it waits for them");
        let bytes: Vec<u64> = received.iter().map(|received| received.load(Ordering::Relaxed)).collect();
        assert!(bytes.iter().filter(|bytes| **bytes > 0).count() >= SERVE_BUFFERS_PER_SESSION, "else it was no flood");
        assert!(bytes.iter().all(|bytes| *bytes < CHUNK_BYTES) && taking.try_join_next().is_none(), "{bytes:?}");
        assert!(flooded <= free + free / 5, "{flooded:?}, else {free:?}");
    });
}
