//! Sources that are who they say and tell the truth about their snapshots, but for one [`Lie`]: for tests over real sockets and over
//! simulated ones.

use std::{
    io::Read as _,
    sync::{
        Arc, LazyLock, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use bytes::{Bytes, BytesMut};
use quinn::{Connection, Incoming, RecvStream, SendStream};
use sha2::{Digest, Sha256};
use snapferry::{
    catalog::{self, AttestBody, Catalog, CatalogEntry, LEASE_TIME, ServedSnapshot},
    snapshot::{CHUNK_BYTES, ChunkIndex, Manifest, ManifestHash, SnapshotId, hash_small},
    transport::{
        endpoint,
        fault::ErrorCode,
        live::LiveChannels,
        session::{SessionContext, authenticate_server},
        wire::{
            Attestation, AttestationGet, Body, CatalogClaim, CatalogPage, ChunkHeader, ChunkRequest, ChunkTreeRequest,
            Frame, Hello, Lease, Notice, Refusal, WireCodec,
        },
    },
};
use tokio::time::Instant;

#[path = "lie.rs"]
mod lie;

pub use lie::Lie;

/// A gibibyte of zeros in 32 KiB.
static BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| zstd::encode_all(std::io::repeat(0).take(1 << 30), 1).unwrap());

/// So many answers of [`Lie::GoodThenBad`] and [`Lie::GoodThenTrickles`] are right.
const GOOD_ANSWERS: usize = 2;

/// So many requests for chunks are too many for [`Lie::ChunksBusyAtFirst`].
const BUSY_ANSWERS: usize = 12;

/// A group's BLAKE3 chaining value.
const TREE_VALUE_BYTES: usize = 32;

/// The file that [`Lie::OwnManifest`] alters, by its place in the manifest.
const ALTERED: u32 = 0;

/// What [`Lie::AttestsAsTold`] says, made of what an honest service would.
pub type Words = Box<dyn Fn(AttestBody) -> Vec<catalog::Attestation> + Send + Sync>;

/// A lying service: what all of its connections share.
pub struct LyingService {
    catalog: Arc<Catalog>,
    context: SessionContext,
    channels: LiveChannels,
    lie: Lie,
    words: OnceLock<Words>,
    catalog_requests: AtomicUsize,
    /// File and first chunk of each request.
    chunk_requests: Mutex<Vec<(u32, ChunkIndex)>>,
    first_chunk_request: OnceLock<Instant>,
    manifest_requests: AtomicUsize,
    tree_requests: AtomicUsize,
}

impl LyingService {
    /// Over what that catalog has.
    pub fn new(catalog: Arc<Catalog>, context: SessionContext, channels: LiveChannels, lie: Lie) -> Arc<Self> {
        let (catalog_requests, chunk_requests, manifest_requests, tree_requests) = Default::default();
        Arc::new(Self {
            catalog,
            context,
            channels,
            lie,
            words: OnceLock::new(),
            catalog_requests,
            chunk_requests,
            first_chunk_request: OnceLock::new(),
            manifest_requests,
            tree_requests,
        })
    }

    /// What it attests from now on, if it is [`Lie::AttestsAsTold`]; once.
    pub fn attests(&self, words: Words) {
        assert!(self.words.set(words).is_ok(), "it is told already");
    }

    /// How often it was asked for chunks.
    pub fn chunk_requests(&self) -> usize {
        self.chunks_asked().len()
    }

    /// File and first chunk of each request for chunks, in order.
    pub fn chunks_asked(&self) -> Vec<(u32, ChunkIndex)> {
        self.chunk_requests.lock().unwrap().clone()
    }

    /// How often it was asked for its catalog.
    pub fn catalog_requests(&self) -> usize {
        self.catalog_requests.load(Ordering::SeqCst)
    }

    /// One connection, to its end.
    pub async fn serve(self: Arc<Self>, incoming: Incoming) {
        // Who is refused by the joiner gets no further.
        let Ok(connection) = incoming.await else { return };
        let _ = Arc::clone(&self).session(connection).await;
    }

    async fn session(self: Arc<Self>, connection: Connection) -> Option<()> {
        let (mut send, mut recv) = connection.accept_bi().await.ok()?;
        authenticate_server(&connection, &mut send, &mut recv, &self.context, &self.channels).await.ok()?;
        let hello = read(&mut recv).await?;
        write(&mut send, hello.request_id, Body::HelloAck(Hello::default())).await;
        endpoint::accepted(&connection, 64);
        let control = Arc::clone(&self);
        tokio::spawn(async move {
            // Only who is fetched from already looks at it again.
            let mut flipping = false;
            while let Some(frame) = read(&mut recv).await {
                let watched = matches!(frame.body, Body::CatalogWatch);
                flipping |= watched;
                let flips = control.lie == Lie::FlipsCatalog
                    && (watched || flipping && matches!(frame.body, Body::CatalogGet(_)));
                let attests = matches!(frame.body, Body::AttestationGet(_));
                let answer = control.answer(frame.body);
                write(&mut send, frame.request_id, answer).await;
                if flips {
                    let version = (1 << 62) + control.catalog_requests.load(Ordering::SeqCst) as u64 + 1;
                    write(&mut send, 0, Body::Notice(Notice::CatalogChanged { version })).await;
                }
                if attests && control.lie == Lie::SilentOnceAttested {
                    std::future::pending::<()>().await;
                }
                if watched && control.lie == Lie::OlderCatalog {
                    write(&mut send, 0, Body::Notice(Notice::CatalogChanged { version: u64::MAX })).await;
                }
            }
        });
        while let Ok((send, recv)) = connection.accept_bi().await {
            tokio::spawn(Arc::clone(&self).stream(connection.clone(), send, recv));
        }
        Some(())
    }

    fn answer(&self, body: Body) -> Body {
        match body {
            Body::CatalogGet(_) => {
                let (mut version, entries) = self.catalog.page(self.channels.all()[0].channel());
                let mut entries: Vec<CatalogClaim> = entries.iter().map(|entry| self.claim(entry)).collect();
                let asked_before = self.catalog_requests.fetch_add(1, Ordering::SeqCst) > 0;
                match self.lie {
                    Lie::OtherChannel => entries.extend(entries.first().cloned().map(|mut other| {
                        // Later in the order of entries, so that nothing else is wrong with it.
                        other.id.channel = format!("{}2", other.id.channel).parse().unwrap();
                        other
                    })),
                    Lie::Catalog => entries.extend_from_within(..),
                    Lie::OlderCatalog if asked_before => {
                        version -= 1;
                        entries.clear();
                    }
                    Lie::FlipsCatalog if asked_before => {
                        let n = self.catalog_requests.load(Ordering::SeqCst) as u64;
                        version = (1 << 62) + n;
                        if n.is_multiple_of(2) {
                            entries.clear();
                        }
                    }
                    Lie::BlockItLacks => entries.extend(entries.last().cloned().map(|mut newest| {
                        newest.id.block_number.0 += 1_000;
                        flip(&mut newest.snapshot_hash.0);
                        newest
                    })),
                    _ => {}
                }
                Body::CatalogPage(CatalogPage { version, entries, ..CatalogPage::default() })
            }
            Body::ManifestGet(_)
                if self.lie == Lie::BusyAtFirst && self.manifest_requests.fetch_add(1, Ordering::SeqCst) == 0 =>
            {
                Body::Error(Refusal::new(ErrorCode::Busy, ""))
            }
            Body::ManifestGet(_) if self.lie == Lie::ManifestNever => Body::Error(Refusal::new(ErrorCode::Busy, "")),
            Body::ManifestGet(get) if self.catalog.snapshot(&get.id).is_none() => {
                Body::Error(Refusal::new(ErrorCode::NotFound, ""))
            }
            Body::CatalogWatch => Body::Notice(Notice::CatalogChanged { version: 0 }),
            Body::ManifestGet(get) => Body::Manifest(self.manifest_sent(&get.id).into()),
            Body::AttestationGet(_) if matches!(self.lie, Lie::AttestsNothing | Lie::OwnManifest) => {
                Body::Error(Refusal::new(ErrorCode::NotFound, ""))
            }
            Body::AttestationGet(get) if self.catalog.snapshot(&get.id).is_none() => {
                Body::Error(Refusal::new(ErrorCode::NotFound, ""))
            }
            Body::AttestationGet(get) if self.lie == Lie::AttestsTwo => {
                Body::Attestations([false, true].map(|other| self.attest(&get, other)).into())
            }
            Body::AttestationGet(get) if self.lie == Lie::AttestsAsTold => {
                let words = self.words.get().expect("the test says what");
                let wire = |said: catalog::Attestation| Attestation {
                    body: said.body_bytes().clone(),
                    signature: said.signature().clone(),
                };
                Body::Attestations(words(self.attest_body(&get)).into_iter().map(wire).collect())
            }
            Body::AttestationGet(get) => Body::Attestations(vec![self.attest(&get, false)]),
            Body::LeaseOpen(_) | Body::LeaseRenew(_) | Body::LeaseClose(_) => {
                Body::Lease(Lease { lease_id: 1, expires: LEASE_TIME, quota: 1 })
            }
            Body::Ping => Body::Pong,
            _ => Body::Error(Refusal::new(ErrorCode::Protocol, "")),
        }
    }

    /// What comes for the manifest that its catalog names.
    fn manifest_sent(&self, id: &SnapshotId) -> Vec<u8> {
        let mut bytes = self.manifest_named(id);
        let last_file = bytes.len() - last_file_bytes(&self.manifest(id));
        match self.lie {
            // Still a manifest, with another root: only its hash tells.
            Lie::Manifest => *bytes.last_mut().unwrap() ^= 1,
            Lie::ShortManifest => bytes.truncate(last_file),
            Lie::LongManifest => bytes.extend_from_within(last_file..),
            Lie::OtherGroups => {
                let groups = bytes.windows(3).rposition(|field| field == [0x40, 20, 0x4a]).unwrap();
                bytes[groups + 1] += 1;
            }
            _ => {}
        }
        bytes
    }

    /// The bytes of the manifest that its catalog names.
    fn manifest_named(&self, id: &SnapshotId) -> Vec<u8> {
        let mut bytes = self.manifest(id).encode();
        if let Lie::FileNamed(name) = self.lie {
            let honest = b"txids.data";
            while let Some(at) = bytes.windows(honest.len()).position(|window| window == honest) {
                bytes[at..at + honest.len()].copy_from_slice(name.as_bytes());
            }
        }
        bytes
    }

    fn manifest_hash(&self, id: &SnapshotId) -> ManifestHash {
        let hash = Sha256::new_with_prefix(b"snapferry/1 manifest\0").chain_update(self.manifest_named(id));
        ManifestHash(hash.finalize().into())
    }

    fn manifest(&self, id: &SnapshotId) -> Manifest {
        let snapshot = self.snapshot(id);
        if self.lie != Lie::OwnManifest {
            return Manifest::decode(&snapshot.manifest_bytes).unwrap();
        }
        let (mut files, mut bytes) = (snapshot.manifest.files().to_vec(), Vec::new());
        snapshot.read_chunk(ALTERED, ChunkIndex(0), &mut bytes).unwrap();
        flip(&mut bytes);
        files[ALTERED as usize].root = hash_small(&bytes);
        Manifest::new(snapshot.manifest.signable().clone(), files).unwrap()
    }

    fn snapshot(&self, id: &SnapshotId) -> Arc<ServedSnapshot> {
        self.catalog.snapshot(id).unwrap()
    }

    /// What an honest service would attest.
    fn attest_body(&self, get: &AttestationGet) -> AttestBody {
        let snapshot = self.snapshot(&get.id);
        let now = (self.context.clock)().duration_since(UNIX_EPOCH).unwrap().as_secs();
        AttestBody {
            id: get.id.clone(),
            snapshot_hash: snapshot.entry().snapshot_hash,
            manifest_hash: self.manifest_hash(&get.id),
            commit_hash: snapshot.commit_hash(),
            config_sequence: 1,
            issued_at: now,
            expires_at: now + 3_600,
            request_nonce: get.nonce.to_vec(),
            identity: self.context.identity.identity.serialized().clone(),
        }
    }

    /// `other`: of another snapshot, which doesn't exist.
    fn attest(&self, get: &AttestationGet, other: bool) -> Attestation {
        let mut body = self.attest_body(get);
        if other {
            flip(&mut body.snapshot_hash.0);
            flip(&mut body.manifest_hash.0);
        }
        match self.lie {
            Lie::AttestsOther => flip(&mut body.snapshot_hash.0),
            Lie::AttestsAgain => flip(&mut body.request_nonce),
            _ => {}
        }
        let signed = catalog::Attestation::sign(&body, &self.context.identity).unwrap();
        let mut body = signed.body_bytes().to_vec();
        if self.lie == Lie::AttestsFalsely {
            // Still an attestation in form: one bit of the snapshot hash, which begins behind version, channel and block.
            body[24] ^= 1;
        }
        Attestation { body: body.into(), signature: signed.signature().clone() }
    }

    fn claim(&self, entry: &CatalogEntry) -> CatalogClaim {
        let mut snapshot_hash = entry.snapshot_hash;
        if self.lie == Lie::SnapshotHash {
            flip(&mut snapshot_hash.0);
        }
        let snapshot = self.catalog.snapshot(&entry.id);
        CatalogClaim {
            id: entry.id.clone(),
            manifest_hash: snapshot.as_ref().map_or(entry.manifest_hash, |_| self.manifest_hash(&entry.id)),
            snapshot_hash,
            total_bytes: entry.total_bytes,
            files: entry.files,
            only_metadata_available: snapshot.is_none(),
            partial: false,
            flags: 0,
            last_block_commit_hash: snapshot.and_then(|snapshot| snapshot.commit_hash()),
        }
    }

    /// When it was asked for chunks first: now, if it wasn't before.
    fn asked_first(&self) -> Instant {
        *self.first_chunk_request.get_or_init(Instant::now)
    }

    async fn stream(self: Arc<Self>, connection: Connection, mut send: SendStream, mut recv: RecvStream) {
        let Some(frame) = read(&mut recv).await else { return };
        let first =
            matches!(frame.body, Body::ChunkTreeRequest(_)) && self.tree_requests.fetch_add(1, Ordering::SeqCst) == 0;
        let (mut answered, mut asked) = (0, 0);
        if let Body::ChunkRequest(request) = &frame.body {
            let mut requests = self.chunk_requests.lock().unwrap();
            answered = requests.len();
            let run = (request.file_index, request.first_chunk);
            asked = requests.iter().filter(|before| **before == run).count();
            requests.push(run);
        }
        match (frame.body, self.lie) {
            (_, Lie::SilentOnceAttested) => drop(send.stopped().await),
            (Body::ChunkTreeRequest(_), Lie::RestartsAtFirst) if first => {
                connection.close(ErrorCode::ShuttingDown.varint(), b"restarting");
            }
            (Body::ChunkTreeRequest(_), Lie::BusyAtFirst) if first => refuse(&mut send, ErrorCode::Busy),
            (Body::ChunkTreeRequest(_), Lie::TreesRefused(code))
            | (Body::ChunkRequest(_), Lie::ChunksRefused(code)) => refuse(&mut send, code),
            (Body::ChunkRequest(_), Lie::ChunksBusyAtFirst) if answered < BUSY_ANSWERS => {
                refuse(&mut send, ErrorCode::Busy);
            }
            (Body::ChunkRequest(_), Lie::ChunksBusyFor(long)) if self.asked_first().elapsed() < long => {
                refuse(&mut send, ErrorCode::Busy);
            }
            (Body::ChunkRequest(_), Lie::LeasesEndAtFirst(times)) if asked < times => {
                refuse(&mut send, ErrorCode::LeaseExpired);
            }
            // Deleted meanwhile, as anybody's may be.
            (Body::ChunkRequest(ChunkRequest { id, .. }) | Body::ChunkTreeRequest(ChunkTreeRequest { id, .. }), _)
                if self.catalog.snapshot(&id).is_none() =>
            {
                refuse(&mut send, ErrorCode::Gone);
            }
            (body, _) => self.give(body, send, answered).await,
        }
    }

    /// `answered`: requests for chunks before this one.
    async fn give(&self, body: Body, mut send: SendStream, answered: usize) {
        match body {
            Body::ChunkRequest(request) => self.chunks(&mut send, &request, answered).await,
            Body::ChunkTreeRequest(request) => self.tree(&mut send, &request).await,
            _ => return,
        }
        if self.lie == Lie::TreeNeverEnds {
            let _ = send.stopped().await;
            return;
        }
        let _ = send.finish();
        let _ = send.stopped().await;
    }

    async fn chunks(&self, send: &mut SendStream, request: &ChunkRequest, answered: usize) {
        match self.lie {
            Lie::EmptyAnswers => return,
            Lie::SilentChunks => return drop(send.stopped().await),
            _ => {}
        }
        let snapshot = self.snapshot(&request.id);
        let asked = request.first_chunk.0..request.first_chunk.0 + request.count;
        for index in asked.clone() {
            if self.lie == Lie::ShortFile && index + 1 == asked.end {
                return;
            }
            let mut bytes = self.chunk(&snapshot, request.file_index, index);
            let mut raw_len = u32::try_from(bytes.len()).unwrap();
            let mut codec = WireCodec::None;
            match self.lie {
                Lie::Chunks => flip(&mut bytes),
                Lie::GoodThenBad if answered >= GOOD_ANSWERS => flip(&mut bytes),
                Lie::EmptyChunks => {
                    bytes.clear();
                    raw_len = 0;
                }
                Lie::OwnManifest if request.file_index == ALTERED => flip(&mut bytes),
                Lie::ShortChunk if index + 1 == asked.end => {
                    bytes.pop();
                    raw_len -= 1;
                }
                Lie::LongChunk if index + 1 == asked.end => {
                    bytes.push(0);
                    raw_len += 1;
                }
                // Where it could be a compressed chunk by its length.
                Lie::Bomb if bytes.len() > BOMB.len() => (bytes, codec) = (BOMB.clone(), WireCodec::Zstd),
                _ => {}
            }
            let wire_len = u32::try_from(bytes.len()).unwrap();
            // Of a file of several chunks the next one, of any other one that the file doesn't have.
            let index = if self.lie == Lie::UnaskedChunks { asked.end } else { index };
            let header = ChunkHeader { index: ChunkIndex(index), codec, raw_len, wire_len };
            if self.lie == Lie::Trickles || self.lie == Lie::GoodThenTrickles && answered >= GOOD_ANSWERS {
                let _ = send.write_chunk(header.encode()).await;
                for byte in bytes {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    if send.write_chunk(Bytes::copy_from_slice(&[byte])).await.is_err() {
                        return;
                    }
                }
                continue;
            }
            if self.lie == Lie::FlipsCatalog {
                let _ = send.write_all_chunks(&mut [header.encode(), Bytes::copy_from_slice(&bytes[..1])]).await;
                let _ = send.stopped().await;
                return;
            }
            // Stopped by the joiner, once it has seen enough.
            if send.write_all_chunks(&mut [header.encode(), bytes.into()]).await.is_err() {
                return;
            }
        }
        if self.lie == Lie::LongFile {
            let header = ChunkHeader { index: ChunkIndex(asked.end), codec: WireCodec::None, raw_len: 1, wire_len: 1 };
            let _ = send.write_all_chunks(&mut [header.encode(), vec![7].into()]).await;
        }
    }

    /// The bytes that it gives for a chunk.
    fn chunk(&self, snapshot: &ServedSnapshot, file: u32, index: u32) -> Vec<u8> {
        let read = |file: u32, index: u32| {
            let mut bytes = Vec::new();
            snapshot.read_chunk(file, ChunkIndex(index), &mut bytes).unwrap();
            bytes
        };
        match self.lie {
            Lie::SwappedChunks => {
                // The last one is shorter: its length would tell.
                let whole = (snapshot.manifest.files()[file as usize].size / CHUNK_BYTES) as u32;
                read(file, if (index ^ 1).max(index) < whole { index ^ 1 } else { index })
            }
            Lie::OtherFile => {
                let mut bytes = read((file + 1) % snapshot.entry().files, 0);
                bytes.resize(read(file, index).len(), 0);
                bytes
            }
            _ => read(file, index),
        }
    }

    async fn tree(&self, send: &mut SendStream, request: &ChunkTreeRequest) {
        let snapshot = self.snapshot(&request.id);
        let other = self.lie == Lie::OtherTree;
        let file = if other { (request.file_index + 1) % snapshot.entry().files } else { request.file_index };
        let mut bytes = BytesMut::new();
        for value in snapshot.tree(file).unwrap().values() {
            bytes.extend_from_slice(value.as_bytes());
        }
        match self.lie {
            Lie::SilentTree => {
                let _ = send.stopped().await;
                return;
            }
            Lie::Tree => flip(&mut bytes),
            Lie::EmptyTree => bytes.clear(),
            Lie::ShortTree => bytes.truncate(bytes.len() - TREE_VALUE_BYTES),
            Lie::LongTree => bytes.extend_from_slice(&[7; TREE_VALUE_BYTES]),
            _ => {}
        }
        let _ = send.write_chunk(bytes.freeze()).await;
    }
}

/// What the last file of a manifest takes in its bytes: tags, lengths (below 128), name, size and two hashes.
fn last_file_bytes(manifest: &Manifest) -> usize {
    let file = manifest.files().last().unwrap();
    let size = (u64::BITS - file.size.leading_zeros()).div_ceil(7);
    2 + 2 + file.file.name().len() + 1 + size as usize + 2 * 34
}

fn refuse(send: &mut SendStream, code: ErrorCode) {
    // Stopped by the joiner, perhaps.
    let _ = send.reset(code.varint());
}

fn flip(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
}

async fn read(recv: &mut RecvStream) -> Option<Frame> {
    let mut length = [0; 4];
    recv.read_exact(&mut length).await.ok()?;
    let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
    recv.read_exact(&mut bytes).await.ok()?;
    Some(Frame::decode(bytes.into()).unwrap())
}

async fn write(send: &mut SendStream, request_id: u64, body: Body) {
    let bytes = Frame { request_id, body }.encode();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    // Closed by the joiner, perhaps.
    let _ = send.write_all_chunks(&mut [Bytes::copy_from_slice(&length), bytes]).await;
}
