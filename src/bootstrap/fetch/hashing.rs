//! The in-order pass: what it finds in the store, how it runs, and when what it gave is all.

use std::sync::Arc;

use super::Driver;
use crate::{
    bootstrap::{
        error::JoinError,
        event::JoinEvent,
        in_order::{Pass, PassOf, Proved},
    },
    chunking::{Workers, plan::Event},
};

impl Driver<'_> {
    /// What the store claims isn't asked for; the in-order pass proves it when it reads it.
    pub(super) fn resume(&mut self) {
        let mut bytes = 0;
        for candidates in std::mem::take(&mut self.job.candidates) {
            for chunk in candidates.claimed.into_iter().chain(candidates.unclaimed) {
                let Some(linear) = self.layout.linear(candidates.file_index, chunk) else { continue };
                bytes += self.layout.bytes(linear);
                self.inbox.claimed(linear, linear + 1);
                self.reused.insert(linear, linear + 1);
                self.event(Event::AlreadyPresent { range: linear..linear + 1 });
            }
        }
        self.reused_bytes = bytes;
        if bytes > 0 {
            (self.job.observer)(JoinEvent::Resuming { bytes });
            self.meter.start_at(bytes);
        }
    }

    /// Starts the in-order pass: on its own thread, unless nothing here has one.
    pub(super) fn start_pass(&mut self) -> Result<Option<std::thread::JoinHandle<()>>, JoinError> {
        let of = PassOf {
            agreed: Arc::clone(&self.job.agreed),
            layout: self.layout.clone(),
            trees: Arc::clone(&self.job.trees),
            store: Arc::clone(&self.job.store),
            buffers: self.job.buffers.clone(),
            started: self.started,
            feeder: self.job.feeder.clone(),
        };
        let pass = Pass::new(of, self.inbox.clone());
        let sender = self.sender.clone();
        let report = move |message| drop(sender.send(message)); // nobody listens once the transfer is over
        if matches!(self.job.workers, Workers::Threads(_)) {
            return pass.start(report).map(Some).map_err(JoinError::Threads);
        }
        self.pass = Some(pass);
        Ok(None)
    }

    /// Lets a pass without a thread take what has come.
    pub(super) fn advance_pass(&mut self) {
        let sender = &self.sender;
        let report = |message| drop(sender.send(message));
        if self.pass.as_mut().is_some_and(|pass| !pass.advance(&report)) {
            self.pass = None;
        }
    }

    /// Whether every chunk is hashed and was written.
    pub(super) fn is_through(&self) -> bool {
        // The pass may be through before the worker that wrote the last chunk has said so.
        let status = self.plan.status();
        self.proved.is_some() && status.chunks_verified == status.chunks_total
    }

    /// What the pass gave, once every chunk that it hashed lies in the store, too, and is durable there.
    pub(super) fn finished(&mut self) -> Option<Proved> {
        if !self.is_through() {
            return None;
        }
        // And a file may have begun anew behind the pass: what was hashed from memory counts only once it is written.
        let missing = self.job.store.missing();
        if missing.is_empty() {
            if self.job.store.is_synced() {
                return self.proved.take();
            }
            // While there are sources: a file that fails this sync is fetched from them again.
            self.sync_if_due();
            return None;
        }
        let missing = missing.into_iter().filter_map(|(file_index, chunk)| self.layout.linear(file_index, chunk));
        self.lost(&missing.collect());
        None
    }
}
