//! Requests for chunks and for values of chunk trees, and the header before each chunk.

use bytes::{Bytes, BytesMut};
use prost::Message;

use super::{Broken, WireError, file_index, hash, snapshot_id, snapshot_id_pb};
use crate::{
    snapshot::{CHUNK_BYTES, ChunkIndex, ManifestHash, SnapshotId},
    transport::{
        limits::{CHUNK_HEADER_BYTES_MAX, RUN_CHUNKS_MAX},
        pb,
    },
};

/// How urgent a run is: the server sends in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum RequestClass {
    /// Nobody waits for it yet.
    Prefetch,
    /// The body of the transfer.
    #[default]
    Bulk,
    /// The loader waits for it.
    Frontier,
}

/// How a chunk's bytes are written on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WireCodec {
    /// As they are.
    None,
    /// One independent zstd frame.
    Zstd,
}

/// Asks for a contiguous run of chunks of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkRequest {
    /// Which snapshot.
    pub id: SnapshotId,
    /// The manifest by which the file index counts.
    pub manifest_hash: ManifestHash,
    /// Index in the manifest's list of files, 0 to 7.
    pub file_index: u32,
    /// First chunk of the run.
    pub first_chunk: ChunkIndex,
    /// Length of the run, 1 to 16.
    pub count: u32,
    /// Whether chunks may come compressed.
    pub accept_zstd: bool,
    /// How urgent it is.
    pub class: RequestClass,
    /// 0: none.
    pub lease_id: u64,
}

/// Asks for values of a file's chunk tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkTreeRequest {
    /// Which snapshot.
    pub id: SnapshotId,
    /// The manifest by which the file index counts.
    pub manifest_hash: ManifestHash,
    /// Index in the manifest's list of files, 0 to 7.
    pub file_index: u32,
    /// `None`: the whole list, or the span list of a file above 64 GiB. `Some(n)`: the group values of span n.
    pub span: Option<u32>,
}

/// Stands before each chunk of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkHeader {
    /// The chunk.
    pub index: ChunkIndex,
    /// How its bytes are written.
    pub codec: WireCodec,
    /// Bytes of the chunk, 1 to 1 MiB.
    pub raw_len: u32,
    /// Bytes that follow: `raw_len` without codec, less with zstd.
    pub wire_len: u32,
}

impl ChunkHeader {
    /// The header's bytes, with the length before them.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let codec = match self.codec {
            WireCodec::None => pb::ChunkCodec::None,
            WireCodec::Zstd => pb::ChunkCodec::Zstd,
        };
        let header = pb::ChunkHeader {
            index: self.index.0,
            codec: codec.into(),
            raw_len: self.raw_len,
            wire_len: self.wire_len,
        }
        .encode_to_vec();
        let mut out = BytesMut::with_capacity(4 + header.len());
        // Four fields of at most six bytes: the length fits.
        out.extend_from_slice(&u32::try_from(header.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(&header);
        out.freeze()
    }

    /// Decodes the bytes behind the length, and checks what holds for every chunk; which index and length are due, the caller knows.
    ///
    /// # Errors
    /// [`WireError`]: not a header, lengths beyond 1 MiB or against the codec.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > CHUNK_HEADER_BYTES_MAX {
            return Err(WireError::Undecodable);
        }
        let header = pb::ChunkHeader::decode(bytes).map_err(|_| WireError::Undecodable)?;
        let field = |field| WireError::Field { request_id: 0, field };
        let codec = match pb::ChunkCodec::try_from(header.codec) {
            Ok(pb::ChunkCodec::None) => WireCodec::None,
            Ok(pb::ChunkCodec::Zstd) => WireCodec::Zstd,
            Err(_) => return Err(field("codec")),
        };
        if header.raw_len == 0 || u64::from(header.raw_len) > CHUNK_BYTES {
            return Err(field("raw_len"));
        }
        let fits = match codec {
            WireCodec::None => header.wire_len == header.raw_len,
            WireCodec::Zstd => header.wire_len > 0 && header.wire_len < header.raw_len,
        };
        if !fits {
            return Err(field("wire_len"));
        }
        Ok(Self { index: ChunkIndex(header.index), codec, raw_len: header.raw_len, wire_len: header.wire_len })
    }
}

impl TryFrom<pb::ChunkRequest> for ChunkRequest {
    type Error = Broken;
    fn try_from(request: pb::ChunkRequest) -> Result<Self, Broken> {
        if request.count == 0 || request.count > RUN_CHUNKS_MAX {
            return Err(Broken::RunLength(request.count));
        }
        // The end of the run must be countable; whether the file is that long, the server sees.
        if request.first_chunk.checked_add(request.count).is_none() {
            return Err(Broken::Field("first_chunk"));
        }
        let class = match pb::RequestClass::try_from(request.class) {
            Ok(pb::RequestClass::Frontier) => RequestClass::Frontier,
            Ok(pb::RequestClass::Prefetch) => RequestClass::Prefetch,
            // A class of a later minor version is no reason to refuse.
            Ok(pb::RequestClass::Bulk) | Err(_) => RequestClass::Bulk,
        };
        Ok(Self {
            id: snapshot_id(request.snapshot)?,
            manifest_hash: hash(&request.manifest_hash, "manifest_hash")?,
            file_index: file_index(request.file_index)?,
            first_chunk: ChunkIndex(request.first_chunk),
            count: request.count,
            accept_zstd: request.accept_zstd,
            class,
            lease_id: request.lease_id,
        })
    }
}

impl From<ChunkRequest> for pb::ChunkRequest {
    fn from(request: ChunkRequest) -> Self {
        let class = match request.class {
            RequestClass::Prefetch => pb::RequestClass::Prefetch,
            RequestClass::Bulk => pb::RequestClass::Bulk,
            RequestClass::Frontier => pb::RequestClass::Frontier,
        };
        Self {
            snapshot: Some(snapshot_id_pb(&request.id)),
            manifest_hash: Bytes::copy_from_slice(request.manifest_hash.as_bytes()),
            file_index: request.file_index,
            first_chunk: request.first_chunk.0,
            count: request.count,
            accept_zstd: request.accept_zstd,
            class: class.into(),
            lease_id: request.lease_id,
        }
    }
}

impl TryFrom<pb::ChunkTreeRequest> for ChunkTreeRequest {
    type Error = Broken;
    fn try_from(request: pb::ChunkTreeRequest) -> Result<Self, Broken> {
        Ok(Self {
            id: snapshot_id(request.snapshot)?,
            manifest_hash: hash(&request.manifest_hash, "manifest_hash")?,
            file_index: file_index(request.file_index)?,
            span: request.span,
        })
    }
}

impl From<ChunkTreeRequest> for pb::ChunkTreeRequest {
    fn from(request: ChunkTreeRequest) -> Self {
        Self {
            snapshot: Some(snapshot_id_pb(&request.id)),
            manifest_hash: Bytes::copy_from_slice(request.manifest_hash.as_bytes()),
            file_index: request.file_index,
            span: request.span,
        }
    }
}
