//! Limits of the wire that only time, many requests or a source with a plan can cross: each is crossed here once, from the outside.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/loopback.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod loopback;

use std::{
    io::Write,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use loopback::{Joiner, Service, liar, read};
use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream};
use snapferry::{
    catalog::{ServedSnapshot, UnderWay},
    snapshot::{BlockNumber, ManifestHash, SnapshotHash, SnapshotId},
    transport::{
        asking::{AskError, AskProblem, ConnectParams, Misbehaviour, Session},
        endpoint,
        fault::{ErrorCode, Fault},
        limits::{
            ACCEPT_TIMEOUT, CATALOG_PAGES_MAX, CLOCK_SKEW_MAX, CONTROL_TIMEOUT, FRAME_BYTES_BEFORE_HELLO_MAX,
            FRAME_BYTES_MAX, HAVE_WATCHES_MAX, RANGE_REQUEST_TIMEOUT, REQUESTS_OPEN_MAX, SERVE_RECEIVE_WINDOW_BYTES,
            STREAMS_MAX,
        },
        serving::ServeLimits,
        session::{SessionContext, authenticate_client, authenticate_server},
        tls::{Usage, orgs_accepting},
        wire::{Body, CatalogClaim, CatalogPage, Frame, HaveGet, ManifestGet},
    },
};
use tokio::{task::JoinSet, time::Instant};

/// A client by hand: authenticated, without a Hello.
async fn authenticated(joiner: &Joiner, address: SocketAddr) -> (Connection, SendStream, RecvStream) {
    let connection = joiner.dial(address).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    let (context, config) = (loopback::context(3), loopback::config());
    authenticate_client(&connection, &mut send, &mut recv, &context, &config).await.unwrap();
    (connection, send, recv)
}

/// A client by hand, accepted.
async fn accepted(joiner: &Joiner, address: SocketAddr) -> (Connection, SendStream, RecvStream) {
    let (connection, mut send, mut recv) = authenticated(joiner, address).await;
    loopback::write(&mut send, 1, Body::Hello(Default::default())).await;
    assert!(matches!(read(&mut recv).await.unwrap().body, Body::HelloAck(_)));
    (connection, send, recv)
}

fn now<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn claim(block_number: u64) -> CatalogClaim {
    CatalogClaim {
        id: SnapshotId { channel: "mychannel".parse().unwrap(), block_number: BlockNumber(block_number) },
        manifest_hash: ManifestHash([1; 32]),
        snapshot_hash: SnapshotHash([2; 32]),
        total_bytes: 1,
        files: 4,
        only_metadata_available: false,
        partial: false,
        flags: 0,
        last_block_commit_hash: None,
    }
}

/// A session with a source that answers its control stream so, and ignores range streams.
async fn with_source(control: fn(Body) -> Option<Body>) -> (Session, quinn::Endpoint) {
    let (address, endpoint) = liar(1, control, |_, _| async {}).await;
    (Joiner::new(3).connect(address).await.unwrap(), endpoint)
}

/// A page with one snapshot, the block of its cursor; `pages` of them.
fn page(body: Body, pages: u64) -> Option<Body> {
    let Body::CatalogGet(get) = body else { return None };
    let next = if get.cursor + 1 < pages { get.cursor + 1 } else { 0 };
    Some(Body::CatalogPage(CatalogPage { version: 1, entries: vec![claim(get.cursor)], next, peer_begins_at: None }))
}

/// R1: entries of a catalog.
#[tokio::test]
async fn a_catalog_of_64_pages_is_taken_and_one_that_goes_on_is_the_sources_fault() {
    let (session, _endpoint) = with_source(|body| page(body, CATALOG_PAGES_MAX as u64)).await;
    assert_eq!(session.catalog().await.unwrap().claims.len(), CATALOG_PAGES_MAX);
    for endless in [|body| page(body, CATALOG_PAGES_MAX as u64 + 1), |body| page(body, u64::MAX)] {
        let (session, _endpoint) = with_source(endless).await;
        let error = session.catalog().await.unwrap_err();
        assert!(matches!(error.problem, AskProblem::Misbehaved(Misbehaviour::EndlessCatalog)), "{error}");
    }
}

/// C8: a catalog of another channel.
#[tokio::test]
async fn a_catalog_with_an_entry_of_another_channel_is_the_sources_fault() {
    let (session, _endpoint) = with_source(|body| {
        let Some(Body::CatalogPage(mut page)) = page(body, 1) else { return None };
        page.entries[0].id.channel = "other".parse().unwrap();
        Some(Body::CatalogPage(page))
    })
    .await;
    let error = session.catalog().await.unwrap_err();
    let AskProblem::Misbehaved(Misbehaviour::ForeignEntry(id)) = &error.problem else { panic!("{error}") };
    assert_eq!((id.channel.as_str(), error.fault()), ("other", Fault::Peer));
}

/// Defence: the cap on a source's frames. Removed, the joiner waits for what is announced, and holds what comes of it.
/// R1: a frame of a source, as for a page of a million entries. Nothing follows its length, so nothing of it is waited for.
#[tokio::test]
async fn a_frame_that_a_source_announces_beyond_the_cap_is_refused_unread() {
    for announced in [FRAME_BYTES_MAX as u32 + 1, u32::MAX] {
        let server = loopback::bind_server(1);
        let address = server.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let connection = server.accept().await.unwrap().await.unwrap();
            let (mut send, mut recv) = connection.accept_bi().await.unwrap();
            let (context, channels) = (loopback::context(1), loopback::live());
            authenticate_server(&connection, &mut send, &mut recv, &context, &channels).await.unwrap();
            let hello = read(&mut recv).await.unwrap();
            loopback::write(&mut send, hello.request_id, Body::HelloAck(Default::default())).await;
            let _asked = read(&mut recv).await.unwrap();
            send.write_all(&announced.to_be_bytes()).await.unwrap();
            connection.closed().await
        });
        let session = Joiner::new(3).connect(address).await.unwrap();
        let error = session.catalog().await.unwrap_err();
        assert_eq!(error.fault(), Fault::Peer, "{announced}: {error}");
        let ConnectionError::ApplicationClosed(close) = serving.await.unwrap() else { panic!("{announced}") };
        assert_eq!(close.error_code, ErrorCode::Protocol.varint());
    }
}

#[tokio::test]
async fn a_catalog_that_changes_between_all_pages_is_given_up_on() {
    /// Listings that are started (src/transport/asking/listing.rs), each with a page and one that doesn't fit it.
    const RESTARTS_MAX: u64 = 3;
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let (session, _endpoint) = with_source(|_| {
        let version = ASKED.fetch_add(1, Ordering::SeqCst);
        Some(Body::CatalogPage(CatalogPage { version, entries: Vec::new(), next: 1, peer_begins_at: None }))
    })
    .await;
    let error = session.catalog().await.unwrap_err();
    assert!(matches!(error.problem, AskProblem::CatalogChanges), "{error}");
    assert_eq!(error.fault(), Fault::Link, "a service that is reading its folder lies to nobody");
    assert_eq!(ASKED.load(Ordering::SeqCst), 2 * RESTARTS_MAX);

    static CHANGED_TWICE: AtomicU64 = AtomicU64::new(0);
    let (session, _endpoint) = with_source(|_| {
        let version = CHANGED_TWICE.fetch_add(1, Ordering::SeqCst).min(2 * (RESTARTS_MAX - 1));
        Some(Body::CatalogPage(CatalogPage {
            version,
            entries: Vec::new(),
            next: u64::from(version < 4),
            peer_begins_at: None,
        }))
    })
    .await;
    assert_eq!(session.catalog().await.unwrap().version, 4);
}

#[tokio::test]
async fn more_requests_than_may_be_open_fail_at_once_and_the_others_wait_on() {
    let (session, _endpoint) = with_source(|_| None).await;
    let session = Arc::new(session);
    let mut asking = JoinSet::new();
    for _ in 0..=REQUESTS_OPEN_MAX {
        let session = Arc::clone(&session);
        asking.spawn(async move { session.ping().await });
    }
    let error: AskError = asking.join_next().await.unwrap().unwrap().unwrap_err();
    assert!(matches!(error.problem, AskProblem::ControlEnded), "{error}");
    assert_ne!(error.fault(), Fault::Peer);
    assert!(asking.try_join_next().is_none());
    assert_eq!(asking.len(), REQUESTS_OPEN_MAX);
}

/// R5: streams.
#[tokio::test]
async fn a_stream_more_than_allowed_waits_until_others_are_done() {
    let completed = loopback::recorded();
    let service = Service::start(1, completed.path(), ServeLimits::default());
    let joiner = Joiner::new(3);
    let (connection, _send, _recv) = accepted(&joiner, service.address).await;
    // The first waits for the server's word that there may be more than one.
    let mut streams = vec![connection.open_bi().await.unwrap()];
    while let Some(stream) = now(connection.open_bi()) {
        streams.push(stream.unwrap());
    }
    assert_eq!(streams.len(), STREAMS_MAX as usize, "beside the control stream");
    assert!(connection.close_reason().is_none());
    // QUIC's credit comes in portions of an eighth.
    for (mut send, mut recv) in streams.drain(..STREAMS_MAX as usize / 4) {
        send.finish().unwrap();
        let refused = recv.read_to_end(1).await.unwrap_err();
        let quinn::ReadToEndError::Read(ReadError::Reset(code)) = refused else { panic!("{refused}") };
        assert_eq!(code, ErrorCode::Protocol.varint(), "no request came");
    }
    connection.open_bi().await.unwrap();
    service.stop().await;
}

/// R6: a control stream that is not read.
#[tokio::test]
async fn an_asker_that_does_not_read_is_not_answered_further() {
    let completed = loopback::recorded();
    let service = Service::start(1, completed.path(), ServeLimits::default());
    let joiner = Joiner::new(3);
    let (_connection, mut send, mut recv) = accepted(&joiner, service.address).await;
    let entry = service.catalog.page(&"mychannel".parse().unwrap()).1.remove(0);
    let get = ManifestGet { id: entry.id, manifest_hash: entry.manifest_hash };
    let mut requests = Vec::new();
    for request_id in 2..20_000 {
        let frame = Frame { request_id, body: Body::ManifestGet(get.clone()) }.encode();
        requests.extend(u32::try_from(frame.len()).unwrap().to_be_bytes());
        requests.extend(frame);
    }
    let mut rest = &requests[..];
    // What fits its window of answers is answered, a window of requests is taken, then nothing moves.
    while let Ok(written) = tokio::time::timeout(Duration::from_secs(1), send.write(rest)).await {
        rest = &rest[written.unwrap()..];
        assert!(rest.len() > requests.len() / 2, "all of it was taken");
    }
    assert!(requests.len() - rest.len() > SERVE_RECEIVE_WINDOW_BYTES as usize);
    // Once it reads, all goes on, in order.
    let reading = tokio::spawn(async move {
        for request_id in 2..20_000 {
            let answer = read(&mut recv).await.unwrap();
            assert!(answer.request_id == request_id && matches!(answer.body, Body::Manifest(_)));
        }
    });
    send.write_all(rest).await.unwrap();
    reading.await.unwrap();
    service.stop().await;
}

// From here on time is virtual once the connections stand: nothing comes, so the clock jumps.

/// Defence: 5 s for all until accepted; removed, silence holds a place for ever.
/// R6: a handshake that takes for ever.
#[tokio::test]
async fn whoever_does_not_say_in_time_who_it_is_is_let_go_like_a_stranger() {
    let completed = loopback::recorded();
    let service = Service::start(1, completed.path(), ServeLimits::default());
    let joiner = Joiner::new(3);
    let begun = Instant::now();
    let silent = joiner.dial(service.address).await;
    let slow = joiner.dial(service.address).await;
    let (mut send, _recv) = slow.open_bi().await.unwrap();
    send.write_all(&[0]).await.unwrap();
    let no_hello = authenticated(&joiner, service.address).await;
    let staying = joiner.connect(service.address).await.unwrap();
    tokio::time::pause();
    for (what, connection) in [("silent", &silent), ("slow", &slow), ("no hello", &no_hello.0)] {
        let ConnectionError::ApplicationClosed(close) = connection.closed().await else { panic!("{what}") };
        assert_eq!((close.error_code, close.reason.len()), (ErrorCode::Unauthorized.varint(), 0), "{what}");
    }
    assert!(begun.elapsed() >= ACCEPT_TIMEOUT && begun.elapsed() < 2 * ACCEPT_TIMEOUT, "{:?}", begun.elapsed());
    staying.ping().await.unwrap();
}

#[tokio::test]
async fn a_source_that_does_not_greet_in_time_is_the_links_fault() {
    for authenticates in [false, true] {
        let server = loopback::bind_server(1);
        let address = server.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let connection = server.accept().await.unwrap().await.unwrap();
            let (mut send, mut recv) = connection.accept_bi().await.unwrap();
            if authenticates {
                let channels = loopback::live();
                authenticate_server(&connection, &mut send, &mut recv, &loopback::context(1), &channels).await.unwrap();
            }
            connection.closed().await;
        });
        let joiner = Joiner::new(3);
        let params = joiner.params(address);
        let context = SessionContext { timeout: Duration::from_millis(500), ..params.context.clone() };
        let error = joiner.connect_with(&ConnectParams { context, ..params }).await.unwrap_err();
        assert_eq!(error.fault(), Fault::Link, "{error}");
        serving.await.unwrap();
    }
    assert_eq!(Joiner::new(3).params(([127, 0, 0, 1], 1).into()).context.timeout, ACCEPT_TIMEOUT);
}

#[tokio::test]
async fn a_request_without_an_answer_is_given_up() {
    let (session, _endpoint) = with_source(|_| None).await;
    tokio::time::pause();
    let begun = Instant::now();
    let error = session.ping().await.unwrap_err();
    assert!(matches!(error.problem, AskProblem::Silent { .. }), "{error}");
    assert_eq!(error.fault(), Fault::Link);
    assert!(begun.elapsed() >= CONTROL_TIMEOUT && begun.elapsed() < CONTROL_TIMEOUT + Duration::from_secs(1));
}

#[tokio::test]
async fn a_range_stream_without_a_request_is_refused_in_time() {
    let completed = loopback::recorded();
    let service = Service::start(1, completed.path(), ServeLimits::default());
    let joiner = Joiner::new(3);
    let (connection, _send, mut control) = accepted(&joiner, service.address).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    tokio::time::pause();
    let begun = Instant::now();
    // Half of a frame's length, then nothing.
    send.write_all(&[0, 0]).await.unwrap();
    let error = recv.read(&mut [0]).await.unwrap_err();
    assert!(matches!(&error, ReadError::Reset(code) if *code == ErrorCode::Protocol.varint()), "{error}");
    let elapsed = begun.elapsed();
    assert!(
        elapsed >= RANGE_REQUEST_TIMEOUT && elapsed < RANGE_REQUEST_TIMEOUT + Duration::from_secs(1),
        "{elapsed:?}"
    );
    assert!(
        matches!(read(&mut control).await.unwrap().body, Body::Error(refusal) if refusal.code == ErrorCode::Protocol)
    );
}

/// What is logged, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// C7: both sides name the skew.
#[tokio::test]
async fn clocks_more_than_five_minutes_apart_are_warned_of_on_both_sides() {
    let completed = loopback::recorded();
    for (apart, warnings) in [(CLOCK_SKEW_MAX, 0), (CLOCK_SKEW_MAX + Duration::from_secs(1), 2)] {
        let theirs = loopback::now() + apart;
        let session = SessionContext { clock: Arc::new(move || theirs), ..loopback::context(1) };
        let limits = ServeLimits::default();
        let service = Service::start_with(session, loopback::bind_server(1), completed.path(), limits);
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let guard = tracing::subscriber::set_default(subscriber);
        let session = Joiner::new(3).connect(service.address).await.unwrap();
        drop(guard);
        assert_eq!(session.clock_ahead_s().unsigned_abs(), apart.as_secs());
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let told = text.lines().filter(|line| line.contains("WARN") && line.contains("differ by more than 5 minutes"));
        assert_eq!(told.count(), warnings, "{apart:?}: {text}");
        service.stop().await;
    }
}

#[tokio::test]
async fn before_it_is_accepted_a_client_may_send_one_longest_frame() {
    let server = loopback::bind_server(1);
    let joiner = Joiner::new(3);
    let accepting = async { server.accept().await.unwrap().await.unwrap() };
    let (client, server) = tokio::join!(joiner.dial(server.local_addr().unwrap()), accepting);
    let (mut send, _recv) = client.open_bi().await.unwrap();
    let (bytes, mut sent) = (vec![0; 1 << 20], 0);
    while let Some(written) = now(send.write(&bytes)) {
        sent += written.unwrap();
    }
    assert_eq!(sent, 4 + FRAME_BYTES_BEFORE_HELLO_MAX);
    endpoint::accepted(&server, STREAMS_MAX);
    while sent < SERVE_RECEIVE_WINDOW_BYTES as usize {
        sent += send.write(&bytes).await.unwrap();
    }
    assert_eq!(sent, SERVE_RECEIVE_WINDOW_BYTES as usize);
}

#[test]
fn a_tls_chain_has_at_most_eight_certificates() {
    let (config, leaf) = (loopback::config(), loopback::tls_pair(3).leaf().clone());
    let ca = config.orgs().values().find(|org| org.msp_id().as_str() == "Org3MSP").unwrap().tls_roots()[0].clone();
    for (certificates, organisations) in [(1, 1), (8, 1), (9, 0)] {
        let chain: Vec<_> = std::iter::once(leaf.clone()).chain(vec![ca.clone(); certificates - 1]).collect();
        let accepting = orgs_accepting(&config, &chain, loopback::now(), Usage::Client);
        assert_eq!(accepting.len(), organisations, "{certificates} certificates");
    }
}

/// R5: a session watches what a partial source gets of so many files, and no more.
#[tokio::test]
async fn no_more_files_are_watched_on_one_connection_than_the_limit() {
    let recorded = loopback::recorded();
    let whole = Service::start(2, recorded.path(), ServeLimits::default());
    let snapshot = whole.catalog.all_served().remove(0);
    let (manifest, files) = ((*snapshot.manifest).clone(), snapshot.manifest.files().len() as u32);
    let trees = (0..files).map(|file| snapshot.tree(file).unwrap().clone()).collect();
    let chunks = UnderWay::new(Arc::new(|_, _| None), Arc::new(|_| Vec::new()), Arc::new(|| 1));
    let empty = tempfile::tempdir().unwrap();
    let service = Service::start(1, empty.path(), ServeLimits::default());
    service.catalog.share(Arc::new(ServedSnapshot::under_way(manifest.clone(), trees, chunks)));
    let session = Joiner::new(3).connect(service.address).await.unwrap();
    let get = |file_index| HaveGet { id: manifest.id().clone(), manifest_hash: manifest.hash(), file_index };
    let mut watched = Vec::new();
    for nth in 0..HAVE_WATCHES_MAX as u32 {
        watched.push(session.watch_have(get(nth % files)).await.unwrap());
    }
    let refused = session.watch_have(get(0)).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::LimitExceeded), "{refused}");
    assert!(session.have(get(0)).await.is_ok(), "it may still ask");
}
