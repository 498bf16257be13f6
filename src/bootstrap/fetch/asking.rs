//! What the plan decides, done: range requests, each a task of its own.

use std::sync::Arc;

use super::Driver;
use crate::{
    bootstrap::request::{self, Asked},
    chunking::plan::{Action, Event},
};

impl Driver<'_> {
    /// Whether nothing is asked until the workers have dropped second copies of what was proved meanwhile: those take memory, and no permit.
    pub(super) fn waits_for_workers(&self) -> bool {
        self.in_workers > self.plan.unproved_copies() + u64::from(self.trying.is_some())
    }

    pub(super) fn poll_plan(&mut self) {
        if self.rests() {
            return;
        }
        self.paused = None;
        self.try_refused();
        if self.waits_for_disk() || self.waits_for_workers() {
            return;
        }
        while let Some(action) = self.plan.poll(self.started.elapsed()) {
            match action {
                Action::Request { id, source, file_index, first, count, class } => {
                    let lease = self.leases.get(&source.0).map(|leasing| Arc::clone(&leasing.lease));
                    let Some((ready, lease)) = self.job.sources.ready().get(&source.0).zip(lease) else {
                        self.event(Event::SourceLeft { source });
                        continue;
                    };
                    let ask = request::Ask {
                        id,
                        source,
                        file_index,
                        first,
                        count,
                        class,
                        snapshot: self.job.agreed.id().clone(),
                        manifest_hash: self.job.agreed.manifest_hash(),
                        accept_zstd: self.job.accept_zstd,
                        session: Arc::clone(&ready.session),
                        lease,
                        layout: self.layout.clone(),
                        trees: Arc::clone(&self.job.trees),
                        store: Arc::clone(&self.job.store),
                        workers: self.job.workers.clone(),
                        buffers: self.job.buffers.clone(),
                        inbox: self.inbox.clone(),
                        started: self.started,
                        sender: self.sender.clone(),
                    };
                    self.requests.insert(id, (source, tokio::spawn(ask.run())));
                }
                Action::Cancel { id, .. } => {
                    if let Some((_, task)) = self.requests.remove(&id) {
                        task.abort(); // dropping the stream sends STOP_SENDING
                    }
                }
            }
        }
    }

    pub(super) fn request_ended(&mut self, asked: Asked) {
        self.requests.remove(&asked.id);
        if let Some(error) = &asked.refused {
            self.job.sources.refused(asked.source.0, error);
        }
        if let Some(reason) = asked.lie {
            self.ban(&asked.peer, &reason);
        }
        self.event(Event::RequestEnded { request: asked.id, outcome: asked.outcome });
    }
}
