//! Why a peer's stores can't be used: the operator's mistake, the disk's fault, or files that aren't what a peer writes.

use std::path::PathBuf;

use super::{leveldb::LevelDbError, stores::Store};
use crate::{
    disk::DiskError,
    snapshot::{BlockNumber, ChannelId},
};

/// A peer's stores that can't be read. Every variant names the folder, or what is in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A database's files.
    #[error(transparent)]
    LevelDb(#[from] LevelDbError),
    /// A peer works there, and changes what we look at.
    #[error("a peer runs on {}, or a load into it is under way: stop it, or look at a copy that was made while it was stopped", path.display())]
    PeerRuns {
        /// Its `ledgersData`.
        path: PathBuf,
    },
    /// A folder that isn't a peer's.
    #[error("{} is no peer's ledgersData: it has no {}", path.display(), store.folder().join("/"))]
    NoStore {
        /// The folder.
        path: PathBuf,
        /// The database that isn't there.
        store: Store,
    },
    /// The peer hasn't joined the channel.
    #[error("the peer has no channel {channel}; it has {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })]
    NoChannel {
        /// The channel.
        channel: ChannelId,
        /// Those that it has.
        known: Vec<String>,
    },
    /// A record that isn't what Fabric writes.
    #[error("{}: the record {key} is not what a peer writes: {what}", store.folder().join("/"))]
    Record {
        /// The database.
        store: Store,
        /// The key, printable, cut to 300 characters.
        key: String,
        /// What's wrong.
        what: &'static str,
    },
    /// A block file that holds something else where the index says that a block is.
    #[error("{} holds no header of block {block_number} at byte {offset}, where the index says that it is", path.display())]
    Block {
        /// The block file.
        path: PathBuf,
        /// The block.
        block_number: BlockNumber,
        /// Where, in bytes.
        offset: u64,
    },
}

impl LedgerError {
    pub(super) fn record(store: Store, key: &[u8], what: &'static str) -> Self {
        Self::Record { store, key: key.escape_ascii().to_string().chars().take(300).collect(), what }
    }
}
