//! The asking side of a connection: dial, prove who we are, then ask for catalog, manifests, chunk trees and chunks.
//!
//! Decides: what an answer must look like to be taken; anything else is the source's fault ([`Misbehaviour`]) and closes the
//! connection. Leaves to `chunking` whether bytes are true, and to `bootstrap` whom to ask for what.

mod connect;
mod control;
mod error;
mod have;
mod lease;
mod listing;
mod one;
mod pieces;
mod run;
mod tree;

pub use connect::{ConnectParams, Session};
pub use control::SourceNews;
pub use error::{AskError, AskProblem, Misbehaviour, TlsRefusal};
pub use have::HaveWatch;
pub use listing::Listing;
pub use run::{ChunkStream, WireChunk};

pub use super::frame::FrameError;
