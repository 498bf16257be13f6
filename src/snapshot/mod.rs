//! What a snapshot is: its id, its closed set of files, metadata, records, manifest and chunk tree (no tokio, no network).

mod chunk_tree;
mod collections;
mod content_check;
mod content_error;
mod cross_check;
mod digest;
mod file_hashing;
mod file_set;
mod folder;
mod height;
mod id;
mod inspect;
mod items;
mod manifest;
mod metadata;
pub(crate) mod protobuf;
mod reader;
mod records;
mod sample;
mod writer;

pub use chunk_tree::{
    ChunkTree, ChunkTreeBuilder, GROUPS_PER_SPAN, SPAN_BYTES, ValueCountError, group_value, hash_small, merge_span,
    merge_spans,
};
pub use content_check::{CHANNEL_CONFIG_BYTES_MAX, ContentCheck, FileSummary};
pub use content_error::{ContentError, ItemFault, NamespaceFault};
pub use cross_check::{ContentSummary, cross_check};
pub use digest::{AuditChain, BlockHash, ChunkRoot, FileDigest, GroupValue, HexError, ManifestHash, SnapshotHash};
pub use file_set::SnapshotFile;
pub use folder::{FolderError, VerifiedFolder, check_exact_set, read_metadata, verify_folder};
pub use height::Height;
pub(crate) use height::{put_ordered, split_ordered};
pub use id::{BlockNumber, ByteRange, CHUNK_BYTES, ChannelId, ChannelIdError, ChunkIndex, SnapshotId};
pub use inspect::{
    CollectionConfigInspection, CollectionDefinition, CollectionInspection, FileInspection, InspectError, Inspection,
    NamespaceInspection, inspect_folder, inspect_folder_with,
};
pub use items::ITEM_BYTES_MAX;
pub use manifest::{MANIFEST_BYTES_MAX, Manifest, ManifestError, ManifestFile};
pub use metadata::{
    AdditionalMetadata, METADATA_BYTES_MAX, MetadataError, SignableMetadata, SnapshotMetadata, StateDbType,
};
pub use protobuf::WireError;
pub use reader::{ConfigHistoryReader, ItemReader, ReadError, StateReader, decode_count_file, decode_rows_file};
pub use records::{
    CHANNEL_CONFIG_KEY, COUNTS_BYTES_MAX, ConfigHistoryEntry, NAMESPACE_BYTES_MAX, NAMESPACES_MAX, NamespaceRow,
    StateRecord, encode_count, encode_rows, put_item, split_private_namespace,
};
pub use sample::{SampleNumbers, SampleSpec, write_sample, write_sample_with};
pub use writer::{FileWriter, SnapshotFacts, SnapshotWriter, WriteError};
