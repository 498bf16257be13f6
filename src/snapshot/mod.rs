//! What a snapshot is: its id, its closed set of files, metadata, records, manifest and chunk tree (no tokio, no network).

mod digest;
mod file_set;
mod id;

pub use digest::{BlockHash, ChunkRoot, FileDigest, GroupValue, HexError, ManifestHash, SnapshotHash};
pub use file_set::SnapshotFile;
pub use id::{BlockNumber, ByteRange, CHUNK_BYTES, ChannelId, ChannelIdError, ChunkIndex, SnapshotId};
