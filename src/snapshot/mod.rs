//! What a snapshot is: its id, its closed set of files, metadata, records, manifest and chunk tree (no tokio, no network).

mod chunk_tree;
mod digest;
mod file_set;
mod id;

pub use chunk_tree::{
    ChunkTree, ChunkTreeBuilder, GROUPS_PER_SPAN, SPAN_BYTES, ValueCountError, group_value, hash_small, merge_span,
    merge_spans,
};
pub use digest::{BlockHash, ChunkRoot, FileDigest, GroupValue, HexError, ManifestHash, SnapshotHash};
pub use file_set::SnapshotFile;
pub use id::{BlockNumber, ByteRange, CHUNK_BYTES, ChannelId, ChannelIdError, ChunkIndex, SnapshotId};
