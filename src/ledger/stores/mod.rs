//! What Fabric keeps in a peer's databases, and the records that a snapshot becomes in them (fabric: core/ledger/kvledger).
//!
//! Decides keys and values; which files hold them is for the databases. All is streamed: a file of the snapshot is read once, and each store
//! gets runs of ascending records. What must be sorted otherwise goes through [`super::Sorter`].
//!
//! ```text
//! confighistory.data        -> config_history -> ConfigHistory                            first: the others need CollectionHistory
//! txids.data                -> index          -> Index
//! public_state.data         -> public_state   -> State
//! private_state_hashes.data -> private_hashes -> State
//!                                | Gathered::expiries                  -> Bookkeeper `C/0`
//!                                | Gathered::missing                   -> PrivateData, two runs
//! both state files          -> MetadataHints  -> Bookkeeper `C/1`
//! metadata                  -> ledger_record, state_savepoint, history_savepoint, BootstrappingInfo
//! ```
//!
//! A snapshot without private data has neither of their files: its history is [`CollectionHistory::new`], its rest [`Gathered::nothing`].

mod bitset;
mod bookkeeping;
mod bootstrapping_info;
mod btl;
mod collections;
mod config_history;
mod eligibility;
mod error;
mod expiring;
mod hashes;
mod history;
mod id_store;
mod index;
mod keys;
mod membership;
mod missing;
mod private_data;
#[cfg(test)]
pub(crate) mod recorded;
mod state;
mod store;

pub use bitset::TxSet;
pub use bookkeeping::{Expiries, MetadataHints};
pub use bootstrapping_info::{BOOTSTRAPPING_INFO_FILE, BootstrappingInfo, CHAINS_FOLDER, FIRST_BLOCK_FILE};
pub use collections::{COLLECTION_CONFIGS_MAX, CollectionHistory};
pub use config_history::config_history;
pub use error::{ConfigFault, StoreError};
pub use expiring::Expiring;
pub use hashes::{Gathered, private_hashes};
pub use history::history_savepoint;
pub use id_store::{LedgerRecord, Status, key as ledger_key, record as ledger_record};
pub use index::index;
pub use keys::{LevelKey, put_reversed, savepoint_of, split_namespace, split_reversed};
pub use missing::{BLOCK_KEYS_MAX, MissingKey};
pub use private_data::MissingData;
pub use state::{StateEntry, public_state, state_savepoint};
pub use store::{FormatRecord, KeyRange, Store};

/// Takes the records of one run, key and value, in ascending order. `E` is the error of whoever writes them.
pub type Put<'p, E> = &'p mut dyn FnMut(&[u8], &[u8]) -> Result<(), E>;
