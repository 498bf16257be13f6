//! The peer's own stores: how their databases lie on the disk, and what Fabric keeps in them (no tokio).

mod error;
pub mod leveldb;
pub mod load;
mod running;
mod sort;
pub mod stores;

pub use error::LedgerError;
pub use running::refuse_running_peer;
pub use sort::{Record, SortError, Sorted, Sorter};
