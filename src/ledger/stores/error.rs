//! What keeps a snapshot from becoming records of the stores.

use crate::{
    ledger::SortError,
    snapshot::{BlockNumber, ReadError},
};

/// Why a file's records can't be made. All but [`Self::Sort`] and a failed read are the snapshot's fault, and a peer would refuse it too.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A file of the snapshot.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Sorting.
    #[error(transparent)]
    Sort(#[from] SortError),
    /// An entry of the collection-configuration history that is no peer.CollectionConfigPackage.
    #[error("the configuration of chaincode {chaincode:?} in block {block_number} can't be read")]
    Package {
        /// The chaincode.
        chaincode: String,
        /// The block that committed it.
        block_number: BlockNumber,
    },
    /// More collections in all configurations than [`super::COLLECTION_CONFIGS_MAX`].
    #[error("the history configures collections {max} times or more")]
    TooManyConfigs {
        /// The limit.
        max: usize,
    },
    /// A namespace of hashes that isn't `<namespace>$$h<collection>`, or one that holds a NUL.
    #[error("{namespace:?} is no namespace of private data")]
    Namespace {
        /// The namespace.
        namespace: String,
    },
    /// Hashes of a collection that no configuration before their block names, or that the chaincode's newest one doesn't.
    #[error("collection {collection:?} of chaincode {chaincode:?} has hashes of block {block_number}, but {why}")]
    NoConfig {
        /// The chaincode.
        chaincode: String,
        /// The collection.
        collection: String,
        /// The block that wrote the data.
        block_number: BlockNumber,
        /// What is missing.
        why: ConfigFault,
    },
    /// A number of a transaction that no block has.
    #[error("hashes of block {block_number} are of transaction {tx_number}, but no block has more than {max}")]
    TxNumber {
        /// The block.
        block_number: BlockNumber,
        /// The transaction's number in it.
        tx_number: u64,
        /// The limit.
        max: u64,
    },
    /// More keys than one block can write.
    #[error("block {block_number} would have written more than {max} private keys")]
    BlockKeys {
        /// The block.
        block_number: BlockNumber,
        /// The limit.
        max: u64,
    },
}

/// Which configuration is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigFault {
    /// None before the data.
    #[error("no configuration from before that block")]
    NoneBefore,
    /// It isn't in the newest one.
    #[error("the newest configuration doesn't name it")]
    NotInNewest,
}
