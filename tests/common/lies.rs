//! Sources that are who they say and tell the truth about their snapshots, but for one [`Lie`]: for tests over real sockets and over
//! simulated ones.

use std::{
    io::Read as _,
    ops::Range,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use bytes::{Bytes, BytesMut};
use quinn::{Connection, Incoming, RecvStream, SendStream};
use snapferry::{
    catalog::{self, AttestBody, Catalog, CatalogEntry, ServedSnapshot},
    snapshot::{ChunkIndex, Manifest, SnapshotId, hash_small},
    transport::{
        endpoint,
        fault::ErrorCode,
        live::LiveChannels,
        session::{SessionContext, authenticate_server},
        wire::{
            Attestation, AttestationGet, Body, CatalogClaim, CatalogPage, ChunkHeader, ChunkRequest, ChunkTreeRequest,
            Frame, Hello, Refusal, WireCodec,
        },
    },
};

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
    /// Nothing, but a byte of a chunk comes every five seconds.
    Trickles,
    /// Nothing, but no chunk ever comes, on a connection that lives.
    SilentChunks,
    /// Every request for chunks ends at once, as if it were done.
    EmptyAnswers,
    /// Chunks come that nobody asked for, under their right index.
    UnaskedChunks,
    /// The first answers are right, then it sends a bit that is wrong.
    GoodThenBad,
    /// Its catalog has a block that it lacks, the newest of all.
    BlockItLacks,
}

impl Lie {
    /// All that a seed may draw.
    pub const ALL: [Self; 31] = [
        Self::Nothing,
        Self::Chunks,
        Self::SwappedChunks,
        Self::OtherFile,
        Self::ShortChunk,
        Self::LongChunk,
        Self::ShortFile,
        Self::LongFile,
        Self::Bomb,
        Self::Tree,
        Self::SilentTree,
        Self::Manifest,
        Self::Catalog,
        Self::SnapshotHash,
        Self::BusyAtFirst,
        Self::RestartsAtFirst,
        Self::TreesRefused(ErrorCode::Internal),
        Self::ChunksRefused(ErrorCode::Busy),
        Self::ChunksRefused(ErrorCode::ChunkUnavailable),
        Self::ChunksRefused(ErrorCode::ChunkCorruptAtSource),
        Self::ChunksRefused(ErrorCode::Gone),
        Self::AttestsNothing,
        Self::AttestsOther,
        Self::AttestsFalsely,
        Self::AttestsAgain,
        Self::ManifestNever,
        Self::Trickles,
        Self::SilentChunks,
        Self::EmptyAnswers,
        Self::UnaskedChunks,
        Self::GoodThenBad,
    ];

    /// Whether an honest service would never do it. Slow, silent, busy and rotten ones are only bad.
    pub const fn is_malice(self) -> bool {
        !matches!(
            self,
            Self::Nothing
                | Self::SilentTree
                | Self::BusyAtFirst
                | Self::RestartsAtFirst
                | Self::TreesRefused(_)
                | Self::ChunksRefused(_)
                | Self::AttestsNothing
                | Self::ManifestNever
                | Self::Trickles
                | Self::SilentChunks
                | Self::BlockItLacks
        )
    }
}

/// So many answers of [`Lie::GoodThenBad`] are right.
const GOOD_ANSWERS: usize = 2;

/// The file that [`Lie::OwnManifest`] alters, by its place in the manifest.
const ALTERED: u32 = 0;

/// A lying service: what all of its connections share.
pub struct LyingService {
    catalog: Arc<Catalog>,
    context: SessionContext,
    channels: LiveChannels,
    lie: Lie,
    chunk_requests: AtomicUsize,
    manifest_requests: AtomicUsize,
    tree_requests: AtomicUsize,
}

impl LyingService {
    /// Over what that catalog has.
    pub fn new(catalog: Arc<Catalog>, context: SessionContext, channels: LiveChannels, lie: Lie) -> Arc<Self> {
        let (chunk_requests, manifest_requests, tree_requests) = Default::default();
        Arc::new(Self { catalog, context, channels, lie, chunk_requests, manifest_requests, tree_requests })
    }

    /// How often it was asked for chunks.
    pub fn chunk_requests(&self) -> usize {
        self.chunk_requests.load(Ordering::SeqCst)
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
                let (version, entries) = self.catalog.page(self.channels.all()[0].channel());
                let mut entries: Vec<CatalogClaim> = entries.iter().map(|entry| self.claim(entry)).collect();
                match self.lie {
                    Lie::Catalog => entries.extend_from_within(..),
                    Lie::BlockItLacks => entries.extend(entries.last().cloned().map(|mut newest| {
                        newest.id.block_number.0 += 1_000;
                        flip(&mut newest.snapshot_hash.0);
                        newest
                    })),
                    _ => {}
                }
                Body::CatalogPage(CatalogPage { version, entries, next: 0 })
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
            Body::AttestationGet(get) if self.catalog.snapshot(&get.id).is_none() => {
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
        let now = (self.context.clock)().duration_since(UNIX_EPOCH).unwrap().as_secs();
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
        let answered = self.chunk_requests.fetch_add(1, Ordering::SeqCst);
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
            let mut bytes = self.chunk(&snapshot, request.file_index, index, &asked);
            let mut raw_len = u32::try_from(bytes.len()).unwrap();
            let mut codec = WireCodec::None;
            match self.lie {
                Lie::Chunks => flip(&mut bytes),
                Lie::GoodThenBad if answered >= GOOD_ANSWERS => flip(&mut bytes),
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
            if self.lie == Lie::Trickles {
                let _ = send.write_chunk(header.encode()).await;
                for byte in bytes {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    if send.write_chunk(Bytes::copy_from_slice(&[byte])).await.is_err() {
                        return;
                    }
                }
                continue;
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
