//! WHICH bytes, from whom, and are they right: codec, proofs, plan and store (no tokio, no quinn).

mod buffer;
mod codec;
mod workers;

pub use buffer::{BufferPool, PooledBuf};
pub use codec::{Codec, CodecContext, CodecError, WINDOW_LOG_MAX, ZSTD_LEVEL};
pub use workers::{WorkerState, WorkerThreads, Workers};
