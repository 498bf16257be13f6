//! The peer's own stores: how their databases lie on the disk, and what Fabric keeps in them (no tokio).

mod blocks;
mod error;
mod inspect;
pub mod leveldb;
mod live;
pub mod load;
mod running;
mod sort;
pub mod stores;
mod view;

pub use error::LedgerError;
pub use inspect::{BootSnapshot, LedgerInspection, MissingCollection, StateNamespace};
pub use live::LiveLedgers;
pub use running::refuse_running_peer;
pub use sort::{Record, SortError, Sorted, Sorter};
pub use view::{LedgerView, StateValue};
