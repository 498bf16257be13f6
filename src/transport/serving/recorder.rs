//! What sessions tell the audit log, and the one task that writes it.
//!
//! Sessions never wait for it: a record that finds no place is counted as missing. One writer, so that records stand in the order in
//! which things happened.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use tokio::sync::mpsc;

use crate::{
    catalog::{AuditLog, AuditRecord},
    chunking::Workers,
    transport::off_the_driver,
};

/// Records that may wait for the disk: two for each of 64 sessions, twice.
const RECORDS_QUEUED: usize = 256;

/// Where sessions put their records.
#[derive(Debug)]
pub(super) struct Recorder {
    queue: mpsc::Sender<(AuditRecord, SystemTime)>,
    missed: Arc<AtomicU64>,
}

impl Recorder {
    /// With its writer, which ends when the recorder is gone and all is written.
    pub(super) fn new(
        log: Option<Arc<AuditLog>>,
        workers: Workers,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, records) = mpsc::channel(RECORDS_QUEUED);
        let missed = Arc::default();
        let writer = write(log, workers, records, Arc::clone(&missed));
        (Self { queue, missed }, writer)
    }

    /// Has it written soon.
    pub(super) fn record(&self, record: AuditRecord, now: SystemTime) {
        if self.queue.try_send((record, now)).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn write(
    log: Option<Arc<AuditLog>>,
    workers: Workers,
    mut records: mpsc::Receiver<(AuditRecord, SystemTime)>,
    missed: Arc<AtomicU64>,
) {
    while let Some((record, now)) = records.recv().await {
        let Some(log) = log.clone() else { continue };
        let missed = missed.swap(0, Ordering::Relaxed);
        let append = move || {
            log.miss(missed);
            // A failure is in the service's log: serving goes on.
            let _ = log.append(&record, now);
        };
        if off_the_driver(&workers, append).await.is_err() {
            tracing::error!("a fetch can't be recorded: no thread for it");
        }
    }
}
