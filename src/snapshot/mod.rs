//! What a snapshot is: its id, its closed set of files, metadata, records, manifest and chunk tree (no tokio, no network).

mod chunk_tree;
mod digest;
mod file_set;
mod id;
mod manifest;
mod metadata;
mod protobuf;

pub use chunk_tree::{
    ChunkTree, ChunkTreeBuilder, GROUPS_PER_SPAN, SPAN_BYTES, ValueCountError, group_value, hash_small, merge_span,
    merge_spans,
};
pub use digest::{BlockHash, ChunkRoot, FileDigest, GroupValue, HexError, ManifestHash, SnapshotHash};
pub use file_set::SnapshotFile;
pub use id::{BlockNumber, ByteRange, CHUNK_BYTES, ChannelId, ChannelIdError, ChunkIndex, SnapshotId};
pub use manifest::{MANIFEST_BYTES_MAX, Manifest, ManifestError, ManifestFile};
pub use metadata::{
    AdditionalMetadata, METADATA_BYTES_MAX, MetadataError, SignableMetadata, SnapshotMetadata, StateDbType,
};
pub use protobuf::WireError;
