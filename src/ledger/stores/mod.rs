//! What Fabric keeps in a peer's databases, and the records that a snapshot becomes in them (fabric: core/ledger/kvledger).
//!
//! Decides keys and values; which files hold them is for the databases.

mod id_store;
mod keys;
mod store;

pub use id_store::{LedgerRecord, Status, key as ledger_key, record as ledger_record};
pub use keys::{LevelKey, put_reversed, savepoint_of, split_namespace, split_reversed};
pub use store::{KeyRange, Store};
