//! Why a snapshot can't be loaded into a peer's databases.

use std::io;

use crate::{
    disk::DiskError,
    ledger::{
        LedgerError, SortError,
        leveldb::{LevelDbError, TableFault},
        stores::{Status, Store, StoreError},
    },
    snapshot::{ChannelId, ContentError, FileDigest, SnapshotFile},
};

/// Why nothing was loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The folder isn't one into which may be loaded now.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A database of the peer.
    #[error(transparent)]
    LevelDb(#[from] LevelDbError),
    /// A peer whose state isn't in files.
    #[error(
        "{path} is of a peer with CouchDB: its state isn't there, so nothing can be loaded; the peer's own join can (--loader folder)"
    )]
    CouchDbPeer {
        /// Its `ledgersData`.
        path: String,
    },
    /// The peer has the channel.
    #[error("the peer already has channel {channel} ({status:?})")]
    ChannelExists {
        /// The channel.
        channel: ChannelId,
        /// As its record says.
        status: Status,
    },
    /// The channel's record is none that this Fabric writes.
    #[error(
        "the peer's record of channel {channel} can't be read: is this the ledgersData of another version of Fabric?"
    )]
    Record {
        /// The channel.
        channel: ChannelId,
    },
    /// A database of a Fabric that keeps its data in another way.
    #[error(
        "{} is of format {found:?}, and only {expected:?} can be loaded, that of Fabric 2.5 and later: start the peer's new version once, as its upgrade guide says",
        store.folder().join("/")
    )]
    Format {
        /// The database.
        store: Store,
        /// What it is of; empty: it doesn't say, as before Fabric 2.5.
        found: String,
        /// What it should be of.
        expected: String,
    },
    /// Block files of a channel that no record names.
    #[error("{path} isn't empty, though the peer doesn't know that channel: move it away")]
    Blocks {
        /// The channel's folder.
        path: String,
    },
    /// The bytes aren't those that were agreed on.
    #[error("{file}: SHA-256 {actual} where the metadata say {listed}")]
    HashMismatch {
        /// The file.
        file: SnapshotFile,
        /// As it is.
        actual: FileDigest,
        /// As it should be.
        listed: FileDigest,
    },
    /// Hashes are right, content isn't: whoever made the snapshot made a broken one.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// Whoever wanted it wants it no more.
    #[error("the load was called off: nothing was loaded")]
    CalledOff,
    /// A file can't be read.
    #[error("{file}: {source}")]
    Read {
        /// The file.
        file: SnapshotFile,
        /// What its stream said.
        source: io::Error,
    },
    /// What can't become records.
    #[error(transparent)]
    Snapshot(#[from] StoreError),
}

impl LoadError {
    /// Whether the bytes of the snapshot may be the cause: then their hash tells more.
    pub(super) const fn is_of_content(&self) -> bool {
        match self {
            Self::Content(_) => true,
            Self::Snapshot(error) => !matches!(error, StoreError::Sort(_)),
            Self::LevelDb(LevelDbError::Table { fault, .. }) => matches!(fault, TableFault::Order),
            _ => false,
        }
    }
}

impl From<SortError> for LoadError {
    fn from(error: SortError) -> Self {
        Self::Snapshot(error.into())
    }
}
