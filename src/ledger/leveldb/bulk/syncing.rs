//! Makes finished tables durable beside the writing of the next ones: a sync takes as long as the disk needs for a table, and the processor
//! has nothing to do with it.

use std::{
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
};

use crate::disk::{DiskError, File};

/// Tables that may wait for their sync: the disk that falls behind holds up who writes.
const WAITING_MAX: usize = 4;

/// Syncs files in the order in which they come.
#[derive(Debug)]
pub(super) struct Syncing {
    files: SyncSender<Arc<dyn File>>,
    thread: JoinHandle<Result<(), DiskError>>,
}

impl Syncing {
    /// `None` if the system gives no thread: then files are synced by who writes them.
    pub(super) fn start() -> Option<Self> {
        let (files, finished) = sync_channel::<Arc<dyn File>>(WAITING_MAX);
        let thread = thread::Builder::new().name("sync".to_owned());
        let thread = thread.spawn(move || finished.iter().try_for_each(|file| file.sync()));
        Some(Self { files, thread: thread.ok()? })
    }

    /// Hands over a file that nobody writes to any more. What the disk says is told by [`Self::finish`], also if it has ended by now.
    pub(super) fn sync(&self, file: Arc<dyn File>) {
        let _ = self.files.send(file);
    }

    /// Waits until all are durable.
    ///
    /// # Errors
    /// What the disk said first.
    pub(super) fn finish(self) -> Result<(), DiskError> {
        drop(self.files);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
