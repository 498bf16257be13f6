//! What strangers and slow clients can't do to a service: fill it with handshakes, from invented addresses least of all, or hold its
//! buffers by not reading. And what clients must have to be given chunks: a lease, which keeps the snapshot there meanwhile.
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

use loopback::{Joiner, Service, admin, recorded, tls_pair};
use quinn::Connection;
use snapferry::{
    catalog::{Deleted, Holder, LEASE_TIME},
    msp::{IdentityId, MspId},
    snapshot::{BlockNumber, ChunkIndex, SnapshotFile, SnapshotId},
    transport::{
        asking::{AskError, AskProblem, Session},
        fault::{ErrorCode, Fault},
        limits::HANDSHAKES_BEFORE_RETRY,
        serving::ServeLimits,
        session::SessionContext,
        wire::{ChunkRequest, LeaseOpen, RequestClass},
    },
};
use tokio::{net::UdpSocket, time::Instant};

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

fn block_83() -> SnapshotId {
    SnapshotId { channel: "mychannel".parse().unwrap(), block_number: BlockNumber(83) }
}

async fn open(session: &Session) -> LeaseOpen {
    let claims = session.catalog().await.unwrap().claims;
    let claim = claims.into_iter().find(|claim| claim.id == block_83()).unwrap();
    LeaseOpen { id: claim.id, manifest_hash: claim.manifest_hash }
}

/// One chunk of block 83 by that lease.
async fn fetch(session: &Session, open: &LeaseOpen, lease_id: u64) -> Result<(), AskError> {
    let manifest = session.manifest(&open.id, open.manifest_hash).await.unwrap();
    let request = ChunkRequest {
        id: open.id.clone(),
        manifest_hash: open.manifest_hash,
        file_index: 0,
        first_chunk: ChunkIndex(0),
        count: 1,
        accept_zstd: false,
        class: RequestClass::Bulk,
        lease_id,
    };
    let mut stream = session.chunks(request, manifest.files()[0].size).await?;
    stream.next().await.map(drop)
}

fn code<T: std::fmt::Debug>(answer: Result<T, AskError>) -> ErrorCode {
    let error = answer.unwrap_err();
    assert_ne!(error.fault(), Fault::Peer, "{error}");
    error.code().unwrap()
}

#[tokio::test]
async fn chunks_need_a_lease_of_the_client_that_asks() {
    let completed = recorded();
    let service = Service::start(1, completed.path(), ServeLimits::default());
    let (joiner, stranger) = (Joiner::new(3), Joiner::new(2));
    let (first, other) =
        (joiner.connect(service.address).await.unwrap(), stranger.connect(service.address).await.unwrap());
    let snapshot = open(&first).await;
    assert_eq!(code(fetch(&first, &snapshot, 0).await), ErrorCode::LeaseRequired);
    let lease = first.open_lease(snapshot.clone()).await.unwrap();
    assert_eq!((lease.expires, lease.quota), (LEASE_TIME, 3));
    fetch(&first, &snapshot, lease.lease_id).await.unwrap();
    // It is the identity's: good on another connection, and nobody else's.
    let second = joiner.connect(service.address).await.unwrap();
    assert_eq!(second.open_lease(snapshot.clone()).await.unwrap().lease_id, lease.lease_id);
    fetch(&second, &snapshot, lease.lease_id).await.unwrap();
    for refused in [
        code(fetch(&other, &snapshot, lease.lease_id).await),
        code(other.renew_lease(lease.lease_id).await),
        code(other.close_lease(lease.lease_id).await),
    ] {
        assert_eq!(refused, ErrorCode::LeaseExpired);
    }
    let unknown = LeaseOpen { id: SnapshotId { block_number: BlockNumber(9), ..block_83() }, ..snapshot.clone() };
    assert_eq!(code(first.open_lease(unknown).await), ErrorCode::NotFound);
    // A connection that is lost leaves it; closed, it is no longer good.
    drop(first);
    second.renew_lease(lease.lease_id).await.unwrap();
    second.close_lease(lease.lease_id).await.unwrap();
    assert_eq!(code(fetch(&second, &snapshot, lease.lease_id).await), ErrorCode::LeaseExpired);
    service.stop().await;
}

#[tokio::test]
async fn an_organisation_that_has_its_leases_is_told_when_to_come_again() {
    let completed = recorded();
    let service = Service::start(1, completed.path(), ServeLimits::default());
    let session = Joiner::new(3).connect(service.address).await.unwrap();
    let now = Instant::now().into_std();
    let of_org3 = |id| Holder { msp_id: MspId::new("Org3MSP").unwrap(), identity_id: IdentityId([id; 32]) };
    let leases: Vec<_> = (0..4).map(|id| service.catalog.open_lease(&block_83(), &of_org3(id), now).unwrap()).collect();
    let snapshot = open(&session).await;
    let error = session.open_lease(snapshot.clone()).await.unwrap_err();
    let AskProblem::Refused { refusal, .. } = &error.problem else { panic!("{error}") };
    assert_eq!(refusal.code, ErrorCode::Busy);
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(30)));
    // Others aren't kept out by it.
    let other = Joiner::new(2).connect(service.address).await.unwrap();
    other.open_lease(snapshot.clone()).await.unwrap();
    service.catalog.close_lease(leases[0].lease_id, &of_org3(0), now).unwrap();
    session.open_lease(snapshot).await.unwrap();
    service.stop().await;
}

/// C1: the wire.
#[tokio::test]
async fn a_deletion_waits_for_who_downloads_and_is_over_for_everybody_else() {
    let completed = recorded();
    let service = Service::start(1, completed.path(), ServeLimits::default());
    let holding = Joiner::new(3).connect(service.address).await.unwrap();
    let late = Joiner::with(admin(3), tls_pair(3)).connect(service.address).await.unwrap();
    let snapshot = open(&holding).await;
    let lease_id = holding.open_lease(snapshot.clone()).await.unwrap().lease_id;
    let delete = |force| service.catalog.request_deletion(&block_83(), force, Instant::now().into_std()).unwrap();
    assert_eq!(delete(false), Deleted::Pending);
    let only_metadata = async |session: &Session| {
        let claims = session.catalog().await.unwrap().claims;
        claims.into_iter().find(|claim| claim.id == block_83()).unwrap().only_metadata_available
    };
    assert!(only_metadata(&late).await && !only_metadata(&holding).await);
    assert_eq!(code(late.open_lease(snapshot.clone()).await), ErrorCode::Gone);
    assert_eq!(code(fetch(&late, &snapshot, lease_id).await), ErrorCode::LeaseExpired);
    fetch(&holding, &snapshot, lease_id).await.unwrap();
    // Forced: who downloads hears of it, on a later connection, too.
    let mut news = holding.news();
    assert_eq!(delete(true), Deleted::Pending);
    let (ending, told) = news.wait_for(|news| news.lease_ending.is_some()).await.unwrap().lease_ending.unwrap();
    assert_eq!(ending, lease_id);
    assert!(told > Duration::from_secs(590) && told <= Duration::from_secs(600), "{told:?}");
    let again = Joiner::new(3).connect(service.address).await.unwrap();
    again.news().wait_for(|news| news.lease_ending.is_some()).await.unwrap();
    fetch(&again, &snapshot, lease_id).await.unwrap();
    let mut versions = service.catalog.subscribe(&block_83().channel);
    holding.close_lease(lease_id).await.unwrap();
    while service.catalog.snapshot(&block_83()).is_some() {
        versions.changed().await.unwrap();
    }
    assert_eq!(code(fetch(&holding, &snapshot, lease_id).await), ErrorCode::Gone);
    assert!(only_metadata(&holding).await);
    assert!(!completed.path().join("mychannel/83").exists());
    service.stop().await;
}

#[tokio::test]
async fn a_bounded_rate_is_announced() {
    let completed = loopback::recorded();
    let limits = ServeLimits { rate_per_org: Some(5 << 20), ..ServeLimits::default() };
    let service = Service::start_with(loopback::context(1), loopback::bind_server(1), completed.path(), limits);
    let session = Joiner::new(3).connect(service.address).await.unwrap();
    assert_eq!(session.hello().limits.rate_bytes_per_s, 5 << 20);
    drop(session);
    service.stop().await;
}
