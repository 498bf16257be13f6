//! What the disk says, and what follows: a full one is waited for, a file whose sync failed begins anew, any other trouble ends the
//! transfer.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time;

use super::{
    Driver,
    message::{Answer, Failing, Message},
};
use crate::{
    bootstrap::{error::JoinError, event::JoinEvent, writing::Writing},
    chunking::{Store, StoreError, plan::Event},
    transport::off_the_driver,
};

/// How long the transfer rests after the disk said that it's full.
const DISK_FULL_PAUSE: Duration = Duration::from_secs(3);
/// How often one file may begin anew before the disk counts as broken.
const START_OVER_MAX: u32 = 3;

impl Driver<'_> {
    /// Has the chunk that found the disk full written once more.
    pub(super) fn try_refused(&mut self) {
        let Some(writing) = self.refused.take() else { return };
        self.trying = Some(writing.linear);
        let (store, inbox, started) = (Arc::clone(&self.job.store), self.inbox.clone(), self.started);
        let answer = Answer::new(&self.sender, "a worker");
        self.job.workers.run(move |_| writing.write(&store, &inbox, started.elapsed(), answer));
    }

    pub(super) fn not_written(&mut self, writing: Box<Writing>, error: StoreError) -> Result<(), JoinError> {
        let linear = writing.linear;
        self.trying.take_if(|trying| *trying == linear);
        // But for one, the chunks are dropped: they are fetched again when there is room.
        if self.plan.is_wanted(linear) {
            self.event(Event::ChunkVerified { linear });
            self.event(Event::Lost { range: linear..linear + 1 });
        }
        match error {
            StoreError::Disk(error) if error.is_full() => {
                if self.paused_until.is_none() {
                    (self.job.observer)(JoinEvent::DiskFull { reason: error.to_string() });
                }
                self.refused.get_or_insert(writing);
                self.paused_until = Some(time::Instant::now() + DISK_FULL_PAUSE);
                Ok(())
            }
            StoreError::StartsOver { .. } => Ok(()),
            error => Err(error.into()),
        }
    }

    pub(super) fn synced(&mut self, result: Result<Vec<Failing>, StoreError>) -> Result<(), JoinError> {
        self.syncing = false;
        match result {
            Ok(failing) => failing.into_iter().try_for_each(|failing| self.begun_anew(failing)),
            Err(StoreError::Disk(error)) if error.is_full() => {
                (self.job.observer)(JoinEvent::DiskFull { reason: error.to_string() });
                self.paused_until = Some(time::Instant::now() + DISK_FULL_PAUSE);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// All chunks of a file are missing again, whether they were hashed or not.
    fn begun_anew(&mut self, Failing { file_index, file, source }: Failing) -> Result<(), JoinError> {
        let times = self.started_over.entry(file_index).or_default();
        *times += 1;
        if *times > START_OVER_MAX {
            return Err(JoinError::DiskKeepsFailing { file, times: *times, source });
        }
        tracing::warn!(%file, error = %source, "a sync failed: the file is fetched again");
        if let Some(range) = self.layout.file(file_index) {
            self.inbox.lost(range.start, range.end);
            self.lost(&range.collect());
        }
        Ok(())
    }

    pub(super) fn lost(&mut self, chunks: &BTreeSet<u64>) {
        for &linear in chunks {
            let bytes = self.layout.bytes(linear);
            if !self.plan.is_wanted(linear) {
                self.meter.remove(bytes);
            }
            if self.reused.contains(linear) {
                self.reused.remove(linear, linear + 1);
                self.reused_bytes -= bytes;
            }
            self.event(Event::Lost { range: linear..linear + 1 });
        }
    }

    /// Starts a sync of what was written, if none runs and it is time.
    pub(super) fn sync_if_due(&mut self) {
        if !self.syncing && self.job.store.sync_due(self.now()) {
            self.syncing = true;
            let (store, answer) = (Arc::clone(&self.job.store), Answer::new(&self.sender, "a sync"));
            let workers = self.job.workers.clone();
            tokio::spawn(async move {
                let _ = off_the_driver(&workers, move || answer.give(Message::Synced(sync(&store)))).await;
            });
        }
    }

    pub(super) async fn sync_at_end(&self) {
        let store = Arc::clone(&self.job.store);
        // What could not be made durable, the store has thrown away: the next run fetches it again.
        let _ = off_the_driver(&self.job.workers, move || store.sync().map(drop)).await;
    }
}

/// Makes durable what was written; a file that fails begins anew, at once and off the thread that drives QUIC.
fn sync(store: &Store) -> Result<Vec<Failing>, StoreError> {
    match store.sync() {
        Ok(_) => Ok(Vec::new()),
        Err(StoreError::SyncFailed { files, source }) => {
            let source = Arc::new(source);
            let begin_anew = |(file_index, file)| {
                store.start_over(file_index)?;
                Ok(Failing { file_index, file, source: Arc::clone(&source) })
            };
            files.into_iter().map(begin_anew).collect()
        }
        Err(error) => Err(error),
    }
}
