//! A source in the test's own process that is who it says (or isn't: the credentials are the test's) and tells the truth about a
//! snapshots folder, but for one [`Lie`].

use std::{
    io::Read as _,
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    path::Path,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::{Bytes, BytesMut};
use quinn::{Connection, Incoming, RecvStream, SendStream};
use snapferry::{
    catalog::{self, AttestBody, Catalog, CatalogEntry, ServedSnapshot},
    disk::OsDir,
    msp::{ChannelConfig, LocalIdentity, MspId, TlsPair},
    snapshot::{ChunkIndex, Manifest, SnapshotId, hash_small},
    transport::{
        WallClock,
        endpoint::{self, Tuning},
        fault::ErrorCode,
        live::LiveChannels,
        session::{SessionContext, authenticate_server},
        tls::{self, TlsBundle, TlsTrust},
        wire::{
            Attestation, AttestationGet, Body, CatalogClaim, CatalogPage, ChunkHeader, ChunkRequest, ChunkTreeRequest,
            Frame, Hello, Refusal, WireCodec,
        },
    },
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::processes::{Credentials, recorded};

/// A gibibyte of zeros in 32 KiB.
static BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| zstd::encode_all(std::io::repeat(0).take(1 << 30), 1).unwrap());

/// What it lies about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Nothing: an honest source.
    Nothing,
    /// A bit of every chunk.
    Chunks,
    /// Every two neighbouring chunks of an answer, each under the other's index.
    SwappedChunks,
    /// Every chunk of one file is one of another file.
    OtherFile,
    /// The last chunk of every answer lacks its last byte.
    ShortChunk,
    /// The last chunk of every answer has one byte more.
    LongChunk,
    /// Answers end one chunk too early.
    ShortFile,
    /// Answers go on behind their last chunk.
    LongFile,
    /// Every large chunk is a gibibyte of zeros, compressed, whatever its header says.
    Bomb,
    /// A bit of every list of a chunk tree.
    Tree,
    /// Its lists of chunk trees never come.
    SilentTree,
    /// A bit of a root in every manifest.
    Manifest,
    /// Its catalog doesn't ascend.
    Catalog,
    /// The snapshot hash of every line of its catalog.
    SnapshotHash,
    /// Nothing, but the first requests for a manifest and for a chunk tree come too soon for it.
    BusyAtFirst,
    /// Nothing, but it restarts on the first request for a chunk tree.
    RestartsAtFirst,
    /// Nothing, but it refuses all requests for chunk trees so.
    TreesRefused(ErrorCode),
    /// Nothing, but it refuses all requests for chunks so.
    ChunksRefused(ErrorCode),
    /// Nothing, but it attests nothing.
    AttestsNothing,
    /// It attests another snapshot than its catalog names.
    AttestsOther,
    /// The signature of its attestation is wrong.
    AttestsFalsely,
    /// Its attestation was made for somebody else.
    AttestsAgain,
    /// It has a manifest of its own under the right metadata, which proves every chunk of a file that it has altered. It attests
    /// nothing. (Only for files of one chunk.)
    OwnManifest,
    /// Nothing, but it is always too busy to give a manifest.
    ManifestNever,
}

/// The file that [`Lie::OwnManifest`] alters, by its place in the manifest.
const ALTERED: u32 = 0;

/// A source that runs until it is dropped.
pub struct Source {
    pub address: SocketAddr,
    /// The identity, in hexadecimal.
    pub identity_id: String,
    chunk_requests: Arc<AtomicUsize>,
    _runtime: Runtime,
    _state: TempDir,
}

/// What all of its connections share.
struct Shared {
    catalog: Catalog,
    context: SessionContext,
    config: Arc<ChannelConfig>,
    lie: Lie,
    chunk_requests: Arc<AtomicUsize>,
    manifest_requests: AtomicUsize,
    tree_requests: AtomicUsize,
}

impl Source {
    /// A source of those credentials over `completed`.
    pub fn start(who: &Credentials, completed: &Path, lie: Lie) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _guard = runtime.enter();
        let state = TempDir::new().unwrap();
        let open = |path: &Path| OsDir::open(path).unwrap();
        let catalog = Catalog::open(open(completed), open(state.path()), SystemTime::now());
        catalog.scan().unwrap();
        let block = std::fs::read(recorded("config_block.pb")).unwrap();
        let config = Arc::new(ChannelConfig::from_block(&block).unwrap());
        let identity = LocalIdentity::load(&MspId::new(&who.msp_id).unwrap(), &who.msp_dir).unwrap();
        let identity_id = identity.identity.id().to_string();
        let pair = TlsPair::load(&who.tls_cert, &who.tls_key).unwrap();
        let clock: WallClock = Arc::new(SystemTime::now);
        let trust = TlsTrust::new(TlsBundle::new([&*config]));
        let server = Tuning::default().server(tls::server_config(trust, &pair, Arc::clone(&clock)).unwrap()).unwrap();
        let endpoint = endpoint::bind((Ipv4Addr::LOCALHOST, 0).into(), Some(server), &Tuning::default()).unwrap();
        let address = endpoint.local_addr().unwrap();
        let chunk_requests = Arc::new(AtomicUsize::new(0));
        let context = SessionContext::new(Arc::new(identity), pair.leaf().clone(), clock);
        let shared = Arc::new(Shared {
            catalog,
            context,
            config,
            lie,
            chunk_requests: Arc::clone(&chunk_requests),
            manifest_requests: AtomicUsize::new(0),
            tree_requests: AtomicUsize::new(0),
        });
        runtime.spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                tokio::spawn(Arc::clone(&shared).serve(incoming));
            }
        });
        drop(_guard);
        Self { address, identity_id, chunk_requests, _runtime: runtime, _state: state }
    }

    /// How often it was asked for chunks.
    pub fn chunk_requests(&self) -> usize {
        self.chunk_requests.load(Ordering::SeqCst)
    }
}

impl Shared {
    async fn serve(self: Arc<Self>, incoming: Incoming) {
        // Who is refused by the joiner gets no further.
        let Ok(connection) = incoming.await else { return };
        let _ = Arc::clone(&self).session(connection).await;
    }

    async fn session(self: Arc<Self>, connection: Connection) -> Option<()> {
        let (mut send, mut recv) = connection.accept_bi().await.ok()?;
        let channels = LiveChannels::new([(*self.config).clone()]);
        authenticate_server(&connection, &mut send, &mut recv, &self.context, &channels).await.ok()?;
        let hello = read(&mut recv).await?;
        write(&mut send, hello.request_id, Body::HelloAck(Hello::default())).await;
        endpoint::accepted(&connection, 64);
        let control = Arc::clone(&self);
        tokio::spawn(async move {
            while let Some(frame) = read(&mut recv).await {
                let answer = control.answer(frame.body);
                write(&mut send, frame.request_id, answer).await;
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
                let (version, entries) = self.catalog.page(self.config.channel());
                let mut entries: Vec<CatalogClaim> = entries.iter().map(|entry| self.claim(entry)).collect();
                if self.lie == Lie::Catalog {
                    entries.extend_from_within(..);
                }
                Body::CatalogPage(CatalogPage { version, entries, next: 0 })
            }
            Body::ManifestGet(_)
                if self.lie == Lie::BusyAtFirst && self.manifest_requests.fetch_add(1, Ordering::SeqCst) == 0 =>
            {
                Body::Error(Refusal::new(ErrorCode::Busy, ""))
            }
            Body::ManifestGet(_) if self.lie == Lie::ManifestNever => Body::Error(Refusal::new(ErrorCode::Busy, "")),
            Body::ManifestGet(get) => {
                let mut bytes = self.manifest(&get.id).encode();
                if self.lie == Lie::Manifest {
                    // Still a manifest, with another root: only its hash tells.
                    *bytes.last_mut().unwrap() ^= 1;
                }
                Body::Manifest(bytes.into())
            }
            Body::AttestationGet(_) if matches!(self.lie, Lie::AttestsNothing | Lie::OwnManifest) => {
                Body::Error(Refusal::new(ErrorCode::NotFound, ""))
            }
            Body::AttestationGet(get) => Body::Attestations(vec![self.attest(&get)]),
            Body::Ping => Body::Pong,
            _ => Body::Error(Refusal::new(ErrorCode::Protocol, "")),
        }
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

    fn attest(&self, get: &AttestationGet) -> Attestation {
        let snapshot = self.snapshot(&get.id);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut body = AttestBody {
            id: get.id.clone(),
            snapshot_hash: snapshot.entry().snapshot_hash,
            manifest_hash: snapshot.entry().manifest_hash,
            commit_hash: snapshot.commit_hash(),
            config_sequence: 1,
            issued_at: now,
            expires_at: now + 3_600,
            request_nonce: get.nonce.to_vec(),
            identity: self.context.identity.identity.serialized().clone(),
        };
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
        CatalogClaim {
            id: entry.id.clone(),
            manifest_hash: self.manifest(&entry.id).hash(),
            snapshot_hash,
            total_bytes: entry.total_bytes,
            files: entry.files,
            only_metadata_available: false,
            partial: false,
            flags: 0,
            last_block_commit_hash: self.snapshot(&entry.id).commit_hash(),
        }
    }

    async fn stream(self: Arc<Self>, connection: Connection, mut send: SendStream, mut recv: RecvStream) {
        let Some(frame) = read(&mut recv).await else { return };
        let first =
            matches!(frame.body, Body::ChunkTreeRequest(_)) && self.tree_requests.fetch_add(1, Ordering::SeqCst) == 0;
        match (frame.body, self.lie) {
            (Body::ChunkTreeRequest(_), Lie::RestartsAtFirst) if first => {
                connection.close(ErrorCode::ShuttingDown.varint(), b"restarting");
            }
            (Body::ChunkTreeRequest(_), Lie::BusyAtFirst) if first => refuse(&mut send, ErrorCode::Busy),
            (Body::ChunkTreeRequest(_), Lie::TreesRefused(code))
            | (Body::ChunkRequest(_), Lie::ChunksRefused(code)) => refuse(&mut send, code),
            (body, _) => self.give(body, send).await,
        }
    }

    async fn give(&self, body: Body, mut send: SendStream) {
        match body {
            Body::ChunkRequest(request) => self.chunks(&mut send, &request).await,
            Body::ChunkTreeRequest(request) => self.tree(&mut send, &request).await,
            _ => return,
        }
        let _ = send.finish();
        let _ = send.stopped().await;
    }

    async fn chunks(&self, send: &mut SendStream, request: &ChunkRequest) {
        self.chunk_requests.fetch_add(1, Ordering::SeqCst);
        let snapshot = self.snapshot(&request.id);
        let asked = request.first_chunk.0..request.first_chunk.0 + request.count;
        for index in asked.clone() {
            if self.lie == Lie::ShortFile && index + 1 == asked.end {
                return;
            }
            let mut bytes = self.chunk(&snapshot, request.file_index, index, &asked);
            let mut raw_len = u32::try_from(bytes.len()).unwrap();
            let mut codec = WireCodec::None;
            match self.lie {
                Lie::Chunks => flip(&mut bytes),
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
            let header = ChunkHeader { index: ChunkIndex(index), codec, raw_len, wire_len };
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

    /// The bytes that it gives for a chunk, of those that are asked for.
    fn chunk(&self, snapshot: &ServedSnapshot, file: u32, index: u32, asked: &Range<u32>) -> Vec<u8> {
        let read = |file: u32, index: u32| {
            let mut bytes = Vec::new();
            snapshot.read_chunk(file, ChunkIndex(index), &mut bytes).unwrap();
            bytes
        };
        match self.lie {
            Lie::SwappedChunks => {
                let other = asked.start + ((index - asked.start) ^ 1);
                read(file, if asked.contains(&other) { other } else { index })
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
        let mut bytes = BytesMut::new();
        for value in snapshot.tree(request.file_index).unwrap().values() {
            bytes.extend_from_slice(value.as_bytes());
        }
        match self.lie {
            Lie::SilentTree => {
                let _ = send.stopped().await;
                return;
            }
            Lie::Tree => flip(&mut bytes),
            _ => {}
        }
        let _ = send.write_chunk(bytes.freeze()).await;
    }
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
