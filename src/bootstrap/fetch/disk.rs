//! What the disk says, and what follows: space and descriptors are waited for, a file whose sync failed begins anew, any other trouble
//! ends the transfer.

use std::{collections::BTreeSet, sync::Arc};

use tokio::time;

use super::{
    Driver,
    message::{Answer, Failing, Message, Synced},
};
use crate::{
    bootstrap::{
        error::JoinError,
        shortage::{SHORTAGE_PAUSE, Shortage},
        writing::Writing,
    },
    chunking::{Store, StoreError, plan::Event},
    disk::DiskError,
    transport::off_the_driver,
};

/// How often one file may begin anew before the disk counts as broken.
const START_OVER_MAX: u32 = 3;

impl Driver<'_> {
    /// Has the chunk that found the disk full written once more.
    pub(super) fn try_refused(&mut self) {
        let Some(writing) = self.refused.take() else { return };
        self.trying = Some(writing.linear);
        self.in_workers += 1;
        let (store, inbox, started) = (Arc::clone(&self.job.store), self.inbox.clone(), self.started);
        let answer = Answer::new(&self.sender, "a worker");
        self.job.workers.run(move |_| writing.write(&store, &inbox, started.elapsed(), answer));
    }

    /// Whether nothing is asked until the disk has answered.
    pub(super) fn waits_for_disk(&self) -> bool {
        self.trying.is_some() || !self.failing.is_empty()
    }

    /// Whether the transfer rests.
    pub(super) fn rests(&self) -> bool {
        self.paused.is_some_and(|(until, _)| time::Instant::now() < until)
    }

    /// Rests until somebody may have freed some.
    fn rest(&mut self, shortage: Shortage, error: &DiskError) {
        if self.paused.is_none() {
            (self.job.observer)(shortage.event(error.to_string()));
            // What it has written may be what lacks here: it is loaded from the folder, once that is whole.
            if let Some(feeder) = self.job.feeder.as_ref().filter(|_| matches!(shortage, Shortage::Space)) {
                feeder.call_off();
            }
        }
        self.paused = Some((time::Instant::now() + SHORTAGE_PAUSE, shortage));
    }

    pub(super) fn not_written(&mut self, writing: Box<Writing>, error: StoreError) -> Result<(), JoinError> {
        let linear = writing.linear;
        self.in_workers = self.in_workers.saturating_sub(1);
        self.trying.take_if(|trying| *trying == linear);
        // But for one, the chunks are dropped: they are fetched again when there is room.
        if self.plan.is_wanted(linear) {
            self.event(Event::ChunkVerified { linear });
            self.event(Event::Lost { range: linear..linear + 1 });
        }
        match error {
            StoreError::Disk(error) if let Some(shortage) = Shortage::of(&error) => {
                self.refused.get_or_insert(writing);
                self.rest(shortage, &error);
                Ok(())
            }
            StoreError::StartsOver { .. } => Ok(()),
            error => Err(error.into()),
        }
    }

    pub(super) fn synced(&mut self, synced: Synced) -> Result<(), JoinError> {
        self.syncing = false;
        self.failing = synced.failing;
        synced.begun_anew.into_iter().try_for_each(|failing| self.begun_anew(failing))?;
        match synced.error {
            None => Ok(()),
            Some(StoreError::Disk(error)) if let Some(shortage) = Shortage::of(&error) => {
                self.rest(shortage, &error);
                Ok(())
            }
            Some(error) => Err(error.into()),
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
        // Where space is given late, only a sync finds that there is none: what comes at once would find none either.
        if let Some(shortage) = Shortage::of(&source) {
            self.rest(shortage, &source);
        }
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

    /// Starts a sync of what was written, if none runs and it is time, or has files begin anew that couldn't before.
    pub(super) fn sync_if_due(&mut self) {
        let due = !self.failing.is_empty() || self.job.store.sync_due(self.now()) || self.is_through();
        if self.syncing || self.rests() || !due {
            return;
        }
        self.syncing = true;
        let (store, answer) = (Arc::clone(&self.job.store), Answer::new(&self.sender, "a sync"));
        let (workers, failing) = (self.job.workers.clone(), self.failing.clone());
        tokio::spawn(async move {
            let _ = off_the_driver(&workers, move || answer.give(Message::Synced(sync(&store, failing)))).await;
        });
    }

    pub(super) async fn sync_at_end(&self) {
        let store = Arc::clone(&self.job.store);
        // What could not be made durable, the store has thrown away: the next run fetches it again.
        let _ = off_the_driver(&self.job.workers, move || store.sync().map(drop)).await;
    }
}

/// Makes durable what was written, unless files still have to begin anew. One that fails begins anew, at once and off the thread that
/// drives QUIC.
fn sync(store: &Store, mut failing: Vec<Failing>) -> Synced {
    let mut synced = Synced::default();
    if failing.is_empty() {
        match store.sync() {
            Ok(_) => {}
            Err(StoreError::SyncFailed { files, source }) => {
                let source = Arc::new(source);
                let failed = |(file_index, file)| Failing { file_index, file, source: Arc::clone(&source) };
                failing = files.into_iter().map(failed).collect();
            }
            Err(error) => synced.error = Some(error),
        }
    }
    for file in failing {
        match store.start_over(file.file_index) {
            Ok(()) => synced.begun_anew.push(file),
            Err(error) => {
                synced.failing.push(file);
                synced.error.get_or_insert(error);
            }
        }
    }
    synced
}
