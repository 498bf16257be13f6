//! Does the deletions that waited for downloads, once the last lease has ended: whoever closes it, or time does.

use std::sync::Arc;

use tokio::time::{self, Instant};

use super::ServeContext;
use crate::transport::off_the_driver;

/// For as long as the service runs.
pub(super) async fn finish(context: ServeContext) {
    let mut changes = context.catalog.lease_changes();
    loop {
        changes.borrow_and_update();
        let (catalog, now) = (Arc::clone(&context.catalog), Instant::now().into_std());
        // A panic was said on stderr; what waits is looked at again with the next change.
        let next = off_the_driver(&context.workers, move || catalog.finish_pending(now)).await.ok().flatten();
        tokio::select! {
            biased;
            changed = changes.changed() => if changed.is_err() {
                return;
            },
            () = sleep_until(next) => {}
        }
    }
}

async fn sleep_until(at: Option<std::time::Instant>) {
    match at {
        Some(at) => time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
