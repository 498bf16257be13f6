//! WHICH bytes, from whom, and are they right: codec, proofs, plan and store (no tokio, no quinn).

mod buffer;
mod claims;
mod codec;
#[cfg(test)]
pub(crate) mod fixture;
pub mod plan;
mod proof;
mod spans;
mod store;
mod workers;

pub use buffer::{BufferPool, PooledBuf};
pub use codec::{Codec, CodecContext, CodecError, WINDOW_LOG_MAX, ZSTD_LEVEL};
pub use proof::{FileProof, FileTree, ProofError, VerifiedChunk, VerifiedFile};
pub use spans::SpanTree;
pub use store::{Candidates, FILES_DIR, JOURNAL_FILE, LOCK_FILE, SYNC_BYTES, SYNC_INTERVAL, Store, StoreError};
pub use workers::{Executor, HandedJob, WorkerState, WorkerThreads, Workers, step_back};
