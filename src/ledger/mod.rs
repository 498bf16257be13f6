//! The peer's own stores: how their databases lie on the disk, and what Fabric keeps in them (no tokio).

mod sort;
pub mod stores;

pub use sort::{Record, SortError, Sorted, Sorter};
