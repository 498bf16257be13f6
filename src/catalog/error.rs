//! What can go wrong around the catalog.

use crate::{
    disk::DiskError,
    snapshot::{ChunkIndex, FolderError, SnapshotFile, SnapshotId},
};

/// The catalog itself can't work: the snapshots folder or our own state can't be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// `ROOT/completed` can't be listed.
    #[error(
        "can't list the peer's finished snapshots: {0} (finished folders belong to the peer's user and have mode 0700)"
    )]
    Completed(#[source] DiskError),
    /// Our own state can't be read or written.
    #[error("can't keep manifests in the state folder: {0}")]
    State(#[source] DiskError),
}

/// Why a folder under `completed/` isn't advertised.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A byte, a name or a count is wrong.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The folder's place says another snapshot than its metadata.
    #[error("its metadata are those of {0}")]
    OtherSnapshot(SnapshotId),
    /// It was written to while it was read.
    #[error("it changed while it was being read; the next scan reads it again")]
    Changed,
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A chunk of a served snapshot can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The snapshot has no such file.
    #[error("snapshot {id} has no file number {file_index}")]
    NoSuchFile {
        /// The snapshot.
        id: SnapshotId,
        /// The number asked for.
        file_index: u32,
    },
    /// The file has no such chunk.
    #[error("{file} of snapshot {id} has no chunk {}", chunk.0)]
    NoSuchChunk {
        /// The snapshot.
        id: SnapshotId,
        /// The file.
        file: SnapshotFile,
        /// The chunk asked for.
        chunk: ChunkIndex,
    },
    /// The bytes are no longer those that were hashed when the snapshot was found.
    #[error("chunk {} of {file} of snapshot {id} has rotted on our disk: `snapferry join --land DIR` fetches a good copy of the file from others", chunk.0)]
    CorruptAtSource {
        /// The snapshot.
        id: SnapshotId,
        /// The file.
        file: SnapshotFile,
        /// The chunk.
        chunk: ChunkIndex,
    },
    /// The snapshot is being joined, and this chunk isn't proved yet.
    #[error("chunk {} of {file} of snapshot {id} isn't here yet", chunk.0)]
    NotHere {
        /// The snapshot.
        id: SnapshotId,
        /// The file.
        file: SnapshotFile,
        /// The chunk.
        chunk: ChunkIndex,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}
