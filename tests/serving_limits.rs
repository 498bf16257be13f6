//! What strangers and slow clients can't do to a service: fill it with handshakes, from invented addresses least of all, or hold its
//! buffers by not reading.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/loopback.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod loopback;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use loopback::{Joiner, Service};
use quinn::Connection;
use snapferry::{
    snapshot::{ChunkIndex, SnapshotFile},
    transport::{
        fault::{ErrorCode, Fault},
        limits::HANDSHAKES_BEFORE_RETRY,
        serving::ServeLimits,
        session::SessionContext,
        wire::{ChunkRequest, RequestClass},
    },
};
use tokio::net::UdpSocket;

/// Handshakes under way that are taken at all (src/transport/serving/seats.rs).
const HANDSHAKES_MAX: usize = 64;

/// A service of org1 that lets all of this machine's clients in and waits a minute for each to say who it is.
fn patient(completed: &Path) -> Service {
    let session = SessionContext { timeout: Duration::from_secs(60), ..loopback::context(1) };
    let limits = ServeLimits { sessions_per_address: 1_000, ..ServeLimits::default() };
    Service::start_with(session, loopback::bind_server(1), completed, limits)
}

/// Connections that never say a word: each is a handshake under way.
async fn silent(joiner: &Joiner, service: &Service, count: usize) -> Vec<Connection> {
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(joiner.dial(service.address).await);
    }
    connections
}

/// Passes datagrams between one client and `server`; true once the server asked the client to prove its address.
async fn watching(server: SocketAddr) -> (SocketAddr, Arc<AtomicBool>) {
    /// First byte of a Retry packet: long header, fixed bit, type 3 (RFC 9000 17.2.5).
    const RETRY: u8 = 0xf0;
    let inside = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let outside = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    outside.connect(server).await.unwrap();
    let address = inside.local_addr().unwrap();
    let seen = Arc::new(AtomicBool::new(false));
    let retried = Arc::clone(&seen);
    tokio::spawn(async move {
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        let mut client = None;
        loop {
            tokio::select! {
                Ok((len, from)) = inside.recv_from(&mut up) => {
                    client = Some(from);
                    let _ = outside.send(&up[..len]).await;
                }
                Ok(len) = outside.recv(&mut down) => {
                    retried.fetch_or(down[0] & 0xf0 == RETRY, Ordering::SeqCst);
                    let _ = inside.send_to(&down[..len], client.unwrap()).await;
                }
            }
        }
    });
    (address, seen)
}

/// Defence: retry tokens under load; removed, invented addresses take all places.
/// N7: over real sockets.
#[tokio::test]
async fn under_many_handshakes_an_address_has_to_prove_itself_and_then_gets_in() {
    let completed = loopback::recorded();
    let service = patient(completed.path());
    let joiner = Joiner::new(3);
    let held = silent(&joiner, &service, HANDSHAKES_BEFORE_RETRY - 1).await;
    let (address, asked) = watching(service.address).await;
    joiner.connect(address).await.unwrap().ping().await.unwrap();
    assert!(!asked.load(Ordering::SeqCst), "one more is still usual");
    let more = silent(&joiner, &service, 1).await;
    let (address, asked) = watching(service.address).await;
    joiner.connect(address).await.unwrap().ping().await.unwrap();
    assert!(asked.load(Ordering::SeqCst));
    drop((held, more));
    service.stop().await;
}

/// Defence: the cap on handshakes; removed, their number is bounded by memory only.
/// N7: over real sockets.
#[tokio::test]
async fn more_handshakes_than_the_cap_are_refused_at_once() {
    let completed = loopback::recorded();
    let service = patient(completed.path());
    let joiner = Joiner::new(3);
    let mut held = silent(&joiner, &service, HANDSHAKES_MAX).await;
    let error = joiner.connect(service.address).await.unwrap_err();
    assert_eq!((error.code(), error.fault()), (Some(ErrorCode::Busy), Fault::Link), "{error}");
    // A place is free once the server has noticed that somebody left.
    held.pop().unwrap().close(0_u32.into(), b"");
    let mut tries = 0;
    while let Err(error) = joiner.connect(service.address).await {
        assert_eq!(error.code(), Some(ErrorCode::Busy), "{error}");
        tries += 1;
        assert!(tries < 1_000);
    }
    service.stop().await;
}

/// R6: an answer that is not taken.
#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    let completed = loopback::sampled(16 << 20, false);
    let limits = ServeLimits { write_stall: Duration::from_millis(50), ..ServeLimits::default() };
    let service = Service::start(1, completed.path(), limits);
    let session = Joiner::new(3).connect(service.address).await.unwrap();
    let claim = session.catalog().await.unwrap().claims.remove(0);
    let manifest = session.manifest(&claim.id, claim.manifest_hash).await.unwrap();
    let index = manifest.files().iter().position(|file| file.file == SnapshotFile::PublicStateData).unwrap();
    let run = ChunkRequest {
        id: claim.id,
        manifest_hash: claim.manifest_hash,
        file_index: u32::try_from(index).unwrap(),
        first_chunk: ChunkIndex(0),
        count: 12,
        accept_zstd: false,
        class: RequestClass::Bulk,
        lease_id: 0,
    };
    let size = manifest.files()[index].size;
    let mut unread = loopback::chunks(&session, run.clone(), size).await.unwrap();
    // Longer than it takes the service to lose patience, however slow this machine is: the stream's window holds 2 of 12 chunks.
    let mut received = 0;
    let error = loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        match unread.next().await {
            Ok(chunk) => received += usize::from(chunk.is_some()),
            Err(error) => break error,
        }
        assert!(received < 12, "all of it came");
    };
    assert_eq!(error.code(), Some(ErrorCode::Cancelled), "{error}");
    // Only that answer is given up: what fits the stream's window can't stall, and arrives.
    let mut stream = loopback::chunks(&session, ChunkRequest { count: 1, ..run }, size).await.unwrap();
    assert!(stream.next().await.unwrap().is_some());
    assert!(stream.next().await.unwrap().is_none());
    service.stop().await;
}
