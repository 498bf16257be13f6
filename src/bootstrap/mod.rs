//! join
mod error;
mod event;
mod fetch;
mod in_order;
mod meter;
mod request;
mod sources;
pub use error::{JoinError, SourceTrouble};
pub use event::*;
