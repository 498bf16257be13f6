//! A point in time that may never come, for a `select!`.

use tokio::time::{self, Instant};

/// Waits until `at`; for ever, if there is no such time.
pub(crate) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
