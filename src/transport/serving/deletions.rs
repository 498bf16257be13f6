//! Does the deletions that waited for downloads, once the last lease has ended: whoever closes it, or time does.

use std::sync::Arc;

use tokio::time::Instant;

use super::listener::Shared;
use crate::{
    catalog::AuditRecord,
    transport::{off_the_driver, sleep_until},
};

/// For as long as the service runs.
pub(super) async fn finish(shared: Arc<Shared>) {
    let context = &shared.context;
    let mut changes = context.catalog.lease_changes();
    loop {
        changes.borrow_and_update();
        let (catalog, now) = (Arc::clone(&context.catalog), Instant::now().into_std());
        let looked = off_the_driver(&context.workers, move || catalog.finish_pending(now)).await;
        // A panic was said on stderr; what waits is looked at again with the next change.
        let looked = looked.unwrap_or_default();
        for id in looked.deleted {
            shared.recorder.record(AuditRecord::deleted_at_last(id), (context.session.clock)());
        }
        tokio::select! {
            biased;
            changed = changes.changed() => if changed.is_err() {
                return;
            },
            () = sleep_until(looked.again.map(Instant::from_std)) => {}
        }
    }
}
