//! The wire end to end on loopback, with the recorded network's keys and snapshots: what is asked arrives byte for byte, what may not
//! be asked is refused with the right code and the session lives on, and whoever breaks the protocol is found out.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/loopback.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod loopback;

use std::{path::Path, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use loopback::{Joiner, Service, liar, liar_granting, read, recorded, sampled};
use quinn::{RecvStream, SendStream};
use snapferry::{
    chunking::{Codec, CodecContext},
    snapshot::{
        BlockNumber, CHUNK_BYTES, ChunkIndex, ChunkTree, Manifest, ManifestFile, ManifestHash, SnapshotFile,
        SnapshotId, hash_small,
    },
    transport::{
        asking::{AskError, AskProblem, ChunkStream, Misbehaviour, Session},
        fault::{ErrorCode, Fault},
        limits::{FRAME_BYTES_MAX, SERVE_BUFFERS_PER_SESSION},
        serving::ServeLimits,
        tls::ALPN,
        wire::{Body, ChunkHeader, ChunkRequest, ChunkTreeRequest, LeaseOpen, RequestClass, WireCodec},
    },
};

fn id(block_number: u64) -> SnapshotId {
    SnapshotId { channel: "mychannel".parse().unwrap(), block_number: BlockNumber(block_number) }
}

fn request(manifest: &Manifest, file_index: usize, first: u32, count: u32) -> ChunkRequest {
    ChunkRequest {
        id: manifest.id().clone(),
        manifest_hash: manifest.hash(),
        file_index: u32::try_from(file_index).unwrap(),
        first_chunk: ChunkIndex(first),
        count,
        accept_zstd: true,
        class: RequestClass::Bulk,
        lease_id: 0,
    }
}

/// The raw bytes of all chunks of a run, and how many came compressed.
async fn raw(stream: &mut ChunkStream) -> Result<(Vec<u8>, usize), AskError> {
    let (mut bytes, mut compressed) = (Vec::new(), 0);
    let mut context = CodecContext::new();
    while let Some(chunk) = stream.next().await? {
        let mut raw = vec![0; chunk.raw_len as usize];
        context.decompress(chunk.codec, &chunk.wire, &mut raw).unwrap();
        compressed += usize::from(chunk.codec == Codec::Zstd);
        bytes.extend(raw);
    }
    Ok((bytes, compressed))
}

async fn file(session: &Session, manifest: &Manifest, index: usize) -> (Vec<u8>, usize) {
    let size = manifest.files()[index].size;
    let (mut bytes, mut compressed) = (Vec::new(), 0);
    let chunks = ChunkIndex::count(size).unwrap();
    for first in (0..chunks).step_by(16) {
        let run = request(manifest, index, first, (chunks - first).min(16));
        let mut stream = loopback::chunks(session, run, size).await.unwrap();
        let (more, zstd) = raw(&mut stream).await.unwrap();
        bytes.extend(more);
        compressed += zstd;
        assert!(stream.next().await.unwrap().is_none(), "the end is the end");
        assert!(stream.received().load(Ordering::Relaxed) > 0);
    }
    (bytes, compressed)
}

fn on_disk(completed: &Path, manifest: &Manifest, file: &ManifestFile) -> Vec<u8> {
    let block = manifest.id().block_number.to_string();
    std::fs::read(completed.join("mychannel").join(block).join(file.file.name())).unwrap()
}

#[tokio::test]
async fn the_recorded_snapshots_arrive_byte_for_byte() {
    let completed = recorded();
    let service = Service::start(1, completed.path(), ServeLimits::default());
    let joiner = Joiner::new(3);
    let session = joiner.connect(service.address).await.unwrap();
    assert_eq!(session.peer().msp_id.as_str(), "Org1MSP");
    assert_eq!((session.hello().limits.streams, session.clock_ahead_s()), (64, 0));
    session.ping().await.unwrap();

    let listing = session.catalog().await.unwrap();
    let (version, entries) = service.catalog.page(session.channel());
    assert_eq!(listing.version, version);
    assert_eq!(listing.claims.iter().map(|claim| claim.id.block_number.0).collect::<Vec<_>>(), [83, 132]);
    for (claim, entry) in listing.claims.iter().zip(&entries) {
        assert_eq!((claim.manifest_hash, claim.snapshot_hash), (entry.manifest_hash, entry.snapshot_hash));
        assert!(claim.last_block_commit_hash.is_some() && !claim.partial && !claim.only_metadata_available);
    }
    for claim in &listing.claims {
        let manifest = session.manifest(&claim.id, claim.manifest_hash).await.unwrap();
        assert_eq!(claim.total_bytes, manifest.total_bytes());
        for (index, listed) in manifest.files().iter().enumerate() {
            let (bytes, _) = file(&session, &manifest, index).await;
            assert_eq!(bytes, on_disk(completed.path(), &manifest, listed), "{}", listed.file);
            assert_eq!(hash_small(&bytes), listed.root);
            let tree = tree_request(&manifest, index);
            assert_eq!(session.tree(tree, listed.size).await.unwrap(), [], "one chunk has no tree");
        }
    }
    session.close(ErrorCode::Ok, "done");
    service.stop().await;
}

fn tree_request(manifest: &Manifest, index: usize) -> ChunkTreeRequest {
    ChunkTreeRequest {
        id: manifest.id().clone(),
        manifest_hash: manifest.hash(),
        file_index: u32::try_from(index).unwrap(),
        span: None,
    }
}

async fn only_manifest(session: &Session) -> Manifest {
    let listing = session.catalog().await.unwrap();
    let claim = &listing.claims[0];
    session.manifest(&claim.id, claim.manifest_hash).await.unwrap()
}

fn public_state(manifest: &Manifest) -> (usize, ManifestFile) {
    let files = manifest.files().iter().cloned().enumerate();
    files.into_iter().find(|(_, file)| file.file == SnapshotFile::PublicStateData).unwrap()
}

#[tokio::test]
async fn a_file_of_many_chunks_arrives_with_its_tree_compressed_where_that_pays() {
    for compressible in [true, false] {
        let completed = sampled(20 << 20, compressible);
        let service = Service::start(1, completed.path(), ServeLimits::default());
        let joiner = Joiner::new(2);
        let session = joiner.connect(service.address).await.unwrap();
        let manifest = only_manifest(&session).await;
        let (index, listed) = public_state(&manifest);
        let values = session.tree(tree_request(&manifest, index), listed.size).await.unwrap();
        assert_eq!(ChunkTree::merge(listed.size, &values).unwrap(), listed.root);
        let (bytes, compressed) = file(&session, &manifest, index).await;
        assert!(bytes == on_disk(completed.path(), &manifest, &listed), "{} bytes differ", listed.file);
        let chunks = listed.size.div_ceil(CHUNK_BYTES) as usize;
        assert!(chunks > 10);
        assert_eq!(compressed > chunks / 2, compressible, "{compressed} of {chunks} chunks");
        // Without leave nothing is compressed.
        let run = ChunkRequest { accept_zstd: false, ..request(&manifest, index, 3, 2) };
        let mut stream = loopback::chunks(&session, run, listed.size).await.unwrap();
        let (some, compressed) = raw(&mut stream).await.unwrap();
        assert_eq!((some.as_slice(), compressed), (&bytes[3 << 20..5 << 20], 0));
        drop(session);
        service.stop().await;
    }
}

#[tokio::test]
async fn what_may_not_be_asked_is_refused_and_the_session_lives_on() {
    let completed = recorded();
    let service = Service::start(1, completed.path(), ServeLimits::default());
    let joiner = Joiner::new(3);
    let session = joiner.connect(service.address).await.unwrap();
    let manifest = session.manifest(&id(83), session.catalog().await.unwrap().claims[0].manifest_hash).await.unwrap();
    let size = manifest.files()[4].size;
    let open = LeaseOpen { id: id(83), manifest_hash: manifest.hash() };
    let lease_id = session.open_lease(open).await.unwrap().lease_id;
    let good = ChunkRequest { lease_id, ..request(&manifest, 4, 0, 1) };
    let wrong_hash = ManifestHash([7; 32]);
    for (what, bad, code) in [
        ("manifest hash", ChunkRequest { manifest_hash: wrong_hash, ..good.clone() }, ErrorCode::NotFound),
        ("snapshot", ChunkRequest { id: id(84), ..good.clone() }, ErrorCode::NotFound),
        ("file", ChunkRequest { file_index: 200, ..good.clone() }, ErrorCode::Protocol),
        ("range", ChunkRequest { first_chunk: ChunkIndex(1), ..good.clone() }, ErrorCode::Protocol),
    ] {
        // A size that makes the request pass our own check.
        let error = match session.chunks(bad, 1 << 30).await {
            Ok(mut stream) => stream.next().await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.code(), Some(code), "{what}: {error}");
        assert_ne!(error.fault(), Fault::Peer, "{what}");
        if let AskProblem::Refused { refusal, .. } = &error.problem {
            assert!(!refusal.detail.is_empty(), "{what}: the words came over the control stream");
        }
    }
    let other = SnapshotId { channel: "otherchannel".parse().unwrap(), block_number: BlockNumber(83) };
    for bad in [session.manifest(&id(83), wrong_hash), session.manifest(&other, manifest.hash())] {
        assert_eq!(bad.await.unwrap_err().code(), Some(ErrorCode::NotFound));
    }
    let tree = ChunkTreeRequest { span: Some(0), ..tree_request(&manifest, 4) };
    assert_eq!(session.tree(tree, size).await.unwrap_err().code(), Some(ErrorCode::Protocol));
    let nonce = Bytes::from_static(b"nonce");
    let get = snapferry::transport::wire::AttestationGet { id: id(83), nonce };
    assert_eq!(session.attestations(get).await.unwrap_err().code(), Some(ErrorCode::NotFound));
    // Ours to avoid: never sent.
    for count in [0, 2, 17] {
        let error = session.chunks(ChunkRequest { count, ..good.clone() }, size).await.unwrap_err();
        assert!(matches!(error.problem, AskProblem::BadRequest { .. }), "{error}");
    }
    let (bytes, _) = file(&session, &manifest, 4).await;
    assert_eq!(bytes.len() as u64, size, "the session lives on");
    service.stop().await;
}

/// A client that speaks the protocol by hand, accepted.
struct ByHand {
    connection: quinn::Connection,
    send: SendStream,
    recv: RecvStream,
    _joiner: Joiner,
}

impl ByHand {
    async fn connect(service: &Service) -> Self {
        let joiner = Joiner::new(3);
        let connection = joiner.dial(service.address).await;
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        let context = loopback::context(3);
        let config = loopback::config();
        snapferry::transport::session::authenticate_client(&connection, &mut send, &mut recv, &context, &config)
            .await
            .unwrap();
        loopback::write(&mut send, 1, Body::Hello(Default::default())).await;
        assert!(matches!(read(&mut recv).await.unwrap().body, Body::HelloAck(_)));
        Self { connection, send, recv, _joiner: joiner }
    }

    /// The code by which a range request of these bytes is refused on its stream, and the words about it.
    async fn range(&mut self, bytes: &[u8]) -> (u64, u64) {
        let (mut send, mut recv) = self.connection.open_bi().await.unwrap();
        send.write_all(&u32::try_from(bytes.len()).unwrap().to_be_bytes()).await.unwrap();
        send.write_all(bytes).await.unwrap();
        let _ = send.finish();
        let code = match recv.read_to_end(1 << 20).await {
            Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(code))) => code.into_inner(),
            other => panic!("not refused: {other:?}"),
        };
        let words = read(&mut self.recv).await.unwrap();
        let Body::Error(refusal) = words.body else { panic!("no refusal: {words:?}") };
        assert_eq!(u64::from(refusal.code.number()), code);
        (words.request_id, code)
    }

    async fn close_code(&self) -> u64 {
        // Without the rule that is tested, it would stay open for ever.
        let closed = tokio::time::timeout(std::time::Duration::from_secs(60), self.connection.closed());
        match closed.await.expect("it stays open") {
            quinn::ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            other => panic!("closed otherwise: {other}"),
        }
    }
}

/// R1: runs of 2^32 chunks, and the last chunk that can be counted.
#[tokio::test]
async fn requests_that_our_own_side_would_never_send_get_their_codes() {
    let completed = recorded();
    let service = Service::start(1, completed.path(), ServeLimits::default());
    let mut client = ByHand::connect(&service).await;
    let hash = service.catalog.page(&"mychannel".parse().unwrap()).1[0].manifest_hash;
    let chunk_request = |request_id: u64, first: u32, count: u32| {
        let request = ChunkRequest {
            id: id(83),
            manifest_hash: hash,
            file_index: 4,
            first_chunk: ChunkIndex(first),
            count,
            accept_zstd: true,
            class: RequestClass::Frontier,
            lease_id: 0,
        };
        snapferry::transport::wire::Frame { request_id, body: Body::ChunkRequest(request) }.encode().to_vec()
    };
    assert_eq!(client.range(&chunk_request(10, 0, 0)).await, (10, 14), "no chunk");
    assert_eq!(client.range(&chunk_request(11, 0, 17)).await, (11, 14), "more than 16");
    assert_eq!(client.range(&chunk_request(12, 0, 2)).await, (12, 2), "behind the end");
    let unknown = [0x08, 13, 0x9a, 0x01, 0x00];
    assert_eq!(client.range(&unknown).await, (13, 2), "a body of a later version");
    assert_eq!(client.range(&chunk_request(14, 0, u32::MAX)).await, (14, 14), "all that can be counted");
    assert_eq!(client.range(&chunk_request(15, u32::MAX - 1, 1)).await, (15, 2), "the last that can be counted");
    assert_eq!(client.range(&chunk_request(16, u32::MAX, 1)).await, (16, 2), "behind it");
    loopback::write(&mut client.send, 17, Body::Pong).await;
    let answer = read(&mut client.recv).await.unwrap();
    assert!(matches!(answer.body, Body::Error(refusal) if refusal.code == ErrorCode::Protocol));
    loopback::write(&mut client.send, 18, Body::Ping).await;
    assert_eq!(read(&mut client.recv).await.unwrap().body, Body::Pong, "the session lives on");
    service.stop().await;
}

/// Defence: the cap on frames of accepted sessions; removed, a member makes us hold what it announces.
/// R1: a frame of a member.
#[tokio::test]
async fn a_frame_over_its_cap_closes_the_connection() {
    let completed = recorded();
    let service = Service::start(1, completed.path(), ServeLimits::default());
    let mut client = ByHand::connect(&service).await;
    let announced = u32::try_from(FRAME_BYTES_MAX + 1).unwrap();
    client.send.write_all(&announced.to_be_bytes()).await.unwrap();
    assert_eq!(client.close_code().await, 2);

    let client = ByHand::connect(&service).await;
    let (mut send, _recv) = client.connection.open_bi().await.unwrap();
    send.write_all(&1_025_u32.to_be_bytes()).await.unwrap();
    let _ = send.finish();
    assert_eq!(client.close_code().await, 2, "a request of more than 1 KiB on a range stream");

    let mut client = ByHand::connect(&service).await;
    client.send.write_all(&[0, 0, 0, 1, 0xff]).await.unwrap();
    assert_eq!(client.close_code().await, 2, "undecodable");
    service.stop().await;
}

/// C10: who speaks only another major version, or names none, gets no connection, and is told why; who speaks ours too speaks ours.
#[tokio::test]
async fn another_major_version_is_refused_as_such() {
    let completed = recorded();
    let service = Service::start(1, completed.path(), ServeLimits::default());
    let joiner = Joiner::new(3);
    let others: [&[&[u8]]; 4] = [&[b"snapferry/2"], &[b"snapferry/0"], &[b"snapferry/2", b"h3"], &[]];
    for protocols in others {
        let error = joiner.connect_with(&joiner.params_speaking(service.address, protocols)).await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::Version), "{protocols:?}: {error}");
    }
    let both = joiner.params_speaking(service.address, &[b"snapferry/2", ALPN]);
    joiner.connect_with(&both).await.unwrap();
    service.stop().await;
}

/// Defence: sessions are counted per organisation; removed, one takes all places from the others.
/// R5: connections of one organisation.
#[tokio::test]
async fn an_organisation_gets_its_share_of_sessions_and_no_more() {
    let completed = recorded();
    let limits = ServeLimits { sessions_per_org: 2, ..ServeLimits::default() };
    let service = Service::start(1, completed.path(), limits);
    let joiner = Joiner::new(3);
    let first = joiner.connect(service.address).await.unwrap();
    let _second = joiner.connect(service.address).await.unwrap();
    let error = joiner.connect(service.address).await.unwrap_err();
    assert_eq!((error.code(), error.fault()), (Some(ErrorCode::Busy), Fault::Link), "{error}");
    let _other = Joiner::new(2).connect(service.address).await.unwrap();
    drop(first);
    // The seat is free once the server has noticed.
    let mut tries = 0;
    while let Err(error) = joiner.connect(service.address).await {
        assert_eq!(error.code(), Some(ErrorCode::Busy), "{error}");
        tries += 1;
        assert!(tries < 1_000);
    }
    service.stop().await;
}

/// R6: answers that nobody takes.
#[tokio::test]
async fn many_streams_that_nobody_reads_do_not_stop_another_session() {
    let completed = sampled(24 << 20, false);
    let service = Service::start(1, completed.path(), ServeLimits::default());
    let idle = Joiner::new(2).connect(service.address).await.unwrap();
    let manifest = only_manifest(&idle).await;
    let (index, listed) = public_state(&manifest);
    let mut held = Vec::new();
    for _ in 0..3 * SERVE_BUFFERS_PER_SESSION {
        held.push(loopback::chunks(&idle, request(&manifest, index, 0, 16), listed.size).await.unwrap());
    }
    let reading = Joiner::new(3).connect(service.address).await.unwrap();
    let (bytes, _) = tokio::time::timeout(Duration::from_secs(60), file(&reading, &manifest, index)).await.unwrap();
    assert!(bytes == on_disk(completed.path(), &manifest, &listed));
    // Given up, their buffers come back and the first session goes on as well.
    drop(held);
    let (bytes, _) = tokio::time::timeout(Duration::from_secs(60), file(&idle, &manifest, index)).await.unwrap();
    assert_eq!(bytes.len() as u64, listed.size);
    service.stop().await;
}

/// L12: the serving side.
#[tokio::test]
async fn rot_at_the_source_is_refused_as_such_and_nothing_of_it_is_sent() {
    let completed = sampled(4 << 20, false);
    let service = Service::start(1, completed.path(), ServeLimits::default());
    let session = Joiner::new(3).connect(service.address).await.unwrap();
    let manifest = only_manifest(&session).await;
    let (index, listed) = public_state(&manifest);
    let mut rotten = on_disk(completed.path(), &manifest, &listed);
    rotten[(1 << 20) + 5] ^= 1;
    let block = manifest.id().block_number.to_string();
    let path = completed.path().join("mychannel").join(block).join(listed.file.name());
    // In place: the service has the file open.
    std::io::Write::write_all(&mut std::fs::OpenOptions::new().write(true).open(path).unwrap(), &rotten).unwrap();
    let mut stream = loopback::chunks(&session, request(&manifest, index, 0, 3), listed.size).await.unwrap();
    let (mut came, mut context) = (Vec::new(), CodecContext::new());
    let error = loop {
        match stream.next().await {
            Ok(chunk) => {
                let chunk = chunk.unwrap();
                let mut raw = vec![0; chunk.raw_len as usize];
                context.decompress(chunk.codec, &chunk.wire, &mut raw).unwrap();
                came.push(raw);
            }
            Err(error) => break error,
        }
    };
    assert_eq!((error.code(), error.fault()), (Some(ErrorCode::ChunkCorruptAtSource), Fault::Link));
    assert!(came.len() <= 1 && came.iter().all(|raw| raw[..] == rotten[..1 << 20]));
    // The chunks beside it are still served.
    let mut stream = loopback::chunks(&session, request(&manifest, index, 2, 1), listed.size).await.unwrap();
    assert_eq!(raw(&mut stream).await.unwrap().0, &rotten[2 << 20..3 << 20]);
    service.stop().await;
}

#[tokio::test]
async fn changes_of_the_catalog_are_pushed_to_whoever_asked() {
    let completed = recorded();
    std::fs::rename(completed.path().join("mychannel/132"), completed.path().join("aside")).unwrap();
    let service = Service::start(1, completed.path(), ServeLimits::default());
    let session = Joiner::new(3).connect(service.address).await.unwrap();
    let mut news = session.news();
    let before = session.watch_catalog().await.unwrap();
    assert_eq!(session.catalog().await.unwrap().claims.len(), 1);
    std::fs::rename(completed.path().join("aside"), completed.path().join("mychannel/132")).unwrap();
    service.catalog.scan().unwrap();
    news.wait_for(|news| news.catalog_version > before).await.unwrap();
    let listing = session.catalog().await.unwrap();
    assert_eq!((listing.claims.len(), listing.version > before), (2, true));
    // Stopping is announced, then the connection is closed with a word.
    service.stop().await;
    let error = session.closed().await;
    assert_eq!(error.code(), Some(ErrorCode::ShuttingDown), "{error}");
    assert!(news.borrow_and_update().going_away.is_some());
}

/// What a source sends for chunks 0 and 1 of a file of 2.5 chunks, and what that makes of it.
async fn lied(answer: Vec<u8>, end: bool) -> AskError {
    let (address, _endpoint) = liar(
        1,
        |_| None,
        move |mut send, mut recv| {
            let answer = answer.clone();
            async move {
                let _ = read(&mut recv).await;
                // May be stopped in the middle: the other side has seen enough.
                let _ = send.write_all(&answer).await;
                if end {
                    let _ = send.finish();
                }
                let _ = send.stopped().await;
            }
        },
    )
    .await;
    let joiner = Joiner::new(3);
    let session = joiner.connect(address).await.unwrap();
    let run = ChunkRequest {
        id: id(83),
        manifest_hash: ManifestHash([1; 32]),
        file_index: 4,
        first_chunk: ChunkIndex(1),
        count: 2,
        accept_zstd: false,
        class: RequestClass::Bulk,
        lease_id: 0,
    };
    let mut stream = session.chunks(run, 5 << 19).await.unwrap();
    let error = loop {
        match stream.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("taken as complete"),
            Err(error) => break error,
        }
    };
    if error.fault() == Fault::Peer {
        // Whatever is asked next, the verdict stays.
        assert_eq!(session.ping().await.unwrap_err().fault(), Fault::Peer);
    }
    error
}

fn chunk(index: u32, codec: WireCodec, raw_len: u32, wire_len: u32) -> Vec<u8> {
    let header = ChunkHeader { index: ChunkIndex(index), codec, raw_len, wire_len };
    [header.encode().to_vec(), vec![9; wire_len as usize]].concat()
}

/// L2, L3, L4: each breach of the framing by itself, over real sockets.
#[tokio::test]
async fn every_breach_of_the_framing_is_the_sources_fault() {
    const MIB: u32 = 1 << 20;
    const HALF: u32 = 1 << 19;
    let none = WireCodec::None;
    let first = chunk(1, none, MIB, MIB);
    let second = chunk(2, none, HALF, HALF);
    let (one, two) = (ChunkIndex(1), ChunkIndex(2));
    let due = |due, came| Misbehaviour::WrongIndex { due, came };
    for (what, answer, verdict) in [
        ("wrong index", chunk(2, none, MIB, MIB), Some(due(one, two))),
        ("the same again", [first.clone(), first.clone()].concat(), Some(due(two, one))),
        ("nothing", Vec::new(), Some(Misbehaviour::EarlyEnd(one))),
        ("one of two", first.clone(), Some(Misbehaviour::EarlyEnd(two))),
        ("cut in a chunk", first[..1000].to_vec(), Some(Misbehaviour::EarlyEnd(one))),
        ("cut in a header", first[..6].to_vec(), Some(Misbehaviour::EarlyEnd(one))),
        ("trailing byte", [first.clone(), second.clone(), vec![0]].concat(), Some(Misbehaviour::TrailingBytes)),
        (
            "short chunk",
            chunk(1, none, HALF, HALF),
            Some(Misbehaviour::WrongLength { chunk: one, due: MIB, came: HALF }),
        ),
        (
            "long last chunk",
            [first.clone(), chunk(2, none, MIB, MIB)].concat(),
            Some(Misbehaviour::WrongLength { chunk: two, due: HALF, came: MIB }),
        ),
        ("unasked codec", chunk(1, WireCodec::Zstd, MIB, 100), Some(Misbehaviour::UnaskedCodec(one))),
        ("codec none of another length", chunk(1, none, MIB, 100), None),
        ("a long header", [0, 0, 0, 65].into_iter().chain([0; 65]).collect(), None),
        ("no header", vec![0, 0, 0, 2, 0xff, 0xff], None),
    ] {
        let error = lied(answer, true).await;
        assert_eq!(error.fault(), Fault::Peer, "{what}: {error}");
        let AskProblem::Misbehaved(found) = error.problem else { panic!("{what}: {error}") };
        match verdict {
            Some(verdict) => assert_eq!(found, verdict, "{what}"),
            None => assert!(matches!(found, Misbehaviour::Header { chunk, .. } if chunk == one), "{what}: {found}"),
        }
    }
}

/// L5, R1: over real sockets. A list that is longer than said is not read on.
#[tokio::test]
async fn a_tree_of_another_length_and_a_swapped_manifest_are_the_sources_fault() {
    for values in [1_usize, 2, 4, 1_000_000] {
        let (address, _endpoint) = liar(
            1,
            |_| None,
            move |mut send, mut recv| async move {
                let _ = read(&mut recv).await;
                let _ = send.write_all(&vec![1; values * 32]).await;
                let _ = send.finish();
                let _ = send.stopped().await;
            },
        )
        .await;
        let session = Joiner::new(3).connect(address).await.unwrap();
        let request = ChunkTreeRequest { id: id(83), manifest_hash: ManifestHash([1; 32]), file_index: 4, span: None };
        let error = session.tree(request, 5 << 19).await.unwrap_err();
        assert!(matches!(error.problem, AskProblem::Misbehaved(Misbehaviour::TreeLength { due: 96, .. })), "{error}");
    }
    let control = |body| match body {
        Body::ManifestGet(_) => Some(Body::Manifest(Bytes::from_static(b"something else"))),
        _ => Some(Body::Pong),
    };
    let (address, _endpoint) = liar(2, control, |_, _| async {}).await;
    let session = Joiner::new(3).connect(address).await.unwrap();
    session.ping().await.unwrap();
    let error = session.manifest(&id(83), ManifestHash([1; 32])).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Peer, "{error}");
    // And an answer of another kind.
    let (address, _endpoint) = liar(2, |_| Some(Body::Pong), |_, _| async {}).await;
    let session = Joiner::new(3).connect(address).await.unwrap();
    let error = session.catalog().await.unwrap_err();
    assert!(matches!(error.problem, AskProblem::Misbehaved(Misbehaviour::WrongAnswer("catalog"))), "{error}");
}

#[tokio::test]
async fn a_service_that_grants_one_stream_serves_one_request_after_the_other() {
    let completed = sampled(6 << 20, false);
    let service = Service::start(1, completed.path(), ServeLimits { streams: 1, ..ServeLimits::default() });
    let session = Joiner::new(3).connect(service.address).await.unwrap();
    let manifest = only_manifest(&session).await;
    let (index, listed) = public_state(&manifest);
    session.tree(tree_request(&manifest, index), listed.size).await.unwrap();
    let (bytes, _) = file(&session, &manifest, index).await;
    assert!(bytes == on_disk(completed.path(), &manifest, &listed));
    service.stop().await;
}

#[tokio::test]
async fn a_source_that_never_grants_a_stream_is_silent() {
    let (address, _endpoint) = liar_granting(false, 1, |_| None, |_, _| async {}).await;
    let session = Joiner::new(3).connect(address).await.unwrap();
    let request = ChunkTreeRequest { id: id(83), manifest_hash: ManifestHash([1; 32]), file_index: 4, span: None };
    let asked = tokio::time::timeout(Duration::from_secs(20), session.tree(request, 5 << 19)).await;
    let error = asked.expect("it is given up").unwrap_err();
    assert!(matches!(error.problem, AskProblem::Silent { .. }), "{error}");
    assert_eq!(error.fault(), Fault::Link);
}

#[tokio::test]
async fn a_read_that_is_given_up_and_taken_up_again_loses_nothing() {
    let completed = sampled(6 << 20, false);
    let service = Service::start(1, completed.path(), ServeLimits::default());
    let session = Joiner::new(3).connect(service.address).await.unwrap();
    let manifest = only_manifest(&session).await;
    let (index, listed) = public_state(&manifest);
    let mut stream = loopback::chunks(&session, request(&manifest, index, 0, 4), listed.size).await.unwrap();
    let (mut chunks, mut given_up) = (Vec::new(), 0_u32);
    while chunks.len() < 4 {
        // Polled once, then dropped, unless it is ready.
        let next = std::pin::pin!(stream.next());
        let polled = futures_now(next);
        match polled {
            Some(chunk) => chunks.push(chunk.unwrap().unwrap()),
            None => {
                given_up += 1;
                tokio::task::yield_now().await;
            }
        }
    }
    assert!(given_up > 4);
    let bytes = on_disk(completed.path(), &manifest, &listed);
    for (chunk, raw) in chunks.iter().zip(bytes.chunks(1 << 20)) {
        let mut out = vec![0; raw.len()];
        CodecContext::new().decompress(chunk.codec, &chunk.wire, &mut out).unwrap();
        assert!(out == raw, "chunk {:?}", chunk.index);
    }
    service.stop().await;
}

fn futures_now<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}

// Virtual time: nothing comes, so the clock jumps to the end of the wait.
#[tokio::test(start_paused = true)]
async fn nobody_there_is_the_links_fault() {
    let joiner = Joiner::new(3);
    let unused = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let error = joiner.connect(unused.local_addr().unwrap()).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Link, "{error}");
    assert!(error.to_string().contains("UDP"), "{error}");
}
