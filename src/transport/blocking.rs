//! Work that may wait for a disk, off the thread that drives QUIC.

use std::io;

use crate::chunking::Workers;

/// Runs `work` where it holds nobody up: on a thread that may block, or at once where there is only one thread.
///
/// Not on the workers themselves: it may wait for a disk to sync, and chunks would wait behind it.
///
/// # Errors
/// If it panicked (said on stderr already), or no thread could be had.
pub(crate) async fn off_the_driver<T: Send + 'static>(
    workers: &Workers,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    match workers {
        Workers::Threads(_) => tokio::task::spawn_blocking(work).await.map_err(io::Error::other),
        Workers::Inline | Workers::By(_) => Ok(work()),
    }
}
