//! The driver's loop: one thing after the other is told to the plan, and the plan is asked what to do next.
//!
//! Leaves what each of them means to its neighbours: the disk's words to `disk`, the news of sources to `sources`.

use std::{future::Future, pin::Pin, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time,
};

use super::{Driver, message::Message};
use crate::{
    bootstrap::{error::JoinError, event::JoinEvent, in_order::Proved, keeper::SourceIndex, ready::Ready},
    chunking::plan::Event,
    transport::sleep_until,
};

/// How often progress is told and the store is asked whether a sync is due.
const TICK: Duration = Duration::from_millis(200);
/// How often sources and agreement are judged by the clock, as the serving side judges its sessions.
const JUDGE_EVERY: Duration = Duration::from_secs(60);

impl Driver<'_> {
    pub(super) async fn run(
        &mut self,
        inbound: &mut mpsc::UnboundedReceiver<Message>,
        mut stop: Pin<&mut (dyn Future<Output = ()> + Send)>,
    ) -> Result<Proved, JoinError> {
        let ready: Vec<(SourceIndex, Ready)> =
            self.job.sources.ready().iter().map(|(index, ready)| (*index, ready.clone())).collect();
        for (index, ready) in ready {
            self.source_ready(index, &ready);
        }
        let mut tick = time::interval(TICK);
        tick.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            self.advance_pass();
            self.poll_plan();
            // Nothing is asked while the disk is full: then the plan's own wake-ups mean nothing.
            let wakeup = match self.paused {
                _ if self.waits_for_disk() || self.waits_for_workers() => None,
                Some((until, _)) => Some(until),
                None => self.plan.next_wakeup().map(|at| self.started + at),
            };
            tokio::select! {
                biased;
                () = &mut stop => return Err(JoinError::Stopped),
                // Rare, and before the chunks: a fast transfer must not silence them.
                _ = tick.tick() => {
                    self.tell_progress();
                    self.sync_if_due();
                    if let Some(error) = self.withheld() {
                        return Err(error);
                    }
                }
                // A configuration that changes may take a source's membership, or the agreement itself; time may take a certificate.
                () = due(&mut self.job.changes, self.judged + JUDGE_EVERY) => {
                    self.judged = time::Instant::now();
                    (self.job.still)()?;
                    for news in self.job.sources.judge_again() {
                        self.source_news(news);
                    }
                }
                news = self.job.sources.next() => self.source_news(news),
                Some(message) = inbound.recv() => {
                    if let Some(proved) = self.take(message)? {
                        self.tell_progress();
                        return Ok(proved);
                    }
                    // What has piled up goes in before the plan is asked again.
                    for _ in 0..64 {
                        let Ok(message) = inbound.try_recv() else { break };
                        if let Some(proved) = self.take(message)? {
                            self.tell_progress();
                            return Ok(proved);
                        }
                    }
                }
                () = sleep_until(wakeup) => {}
            }
            if self.nobody_left() {
                return Err(match self.last_lie.clone().filter(|_| self.job.sources.all_dropped()) {
                    Some(reason) => JoinError::EverySourceDropped { reason },
                    None => JoinError::NoSource { troubles: self.job.sources.troubles() },
                });
            }
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn event(&mut self, event: Event) {
        let now = self.now();
        self.plan.handle(now, event);
    }

    fn take(&mut self, message: Message) -> Result<Option<Proved>, JoinError> {
        match message {
            Message::Plan(event) => {
                if let Event::ChunkArrived { linear, .. } = event {
                    self.meter.received(self.layout.bytes(linear));
                    self.in_workers += 1;
                }
                if matches!(event, Event::ChunkArrived { .. } | Event::Progress { .. }) {
                    self.drought.hope();
                }
                self.event(event);
            }
            Message::Written { linear, source, wire_bytes, raw_bytes, kept } => {
                self.in_workers = self.in_workers.saturating_sub(1);
                self.trying.take_if(|trying| *trying == linear);
                if !self.plan.is_wanted(linear) {
                    return Ok(None); // the copy that came second: it changes nothing
                }
                self.event(Event::ChunkVerified { linear });
                if self.plan.is_wanted(linear) {
                    // Its request was given up meanwhile; the chunk is as good.
                    self.event(Event::AlreadyPresent { range: linear..linear + 1 });
                } else if kept && linear >= self.hashed {
                    self.kept.insert(linear);
                } else {
                    self.event(Event::ChunkReleased { linear });
                }
                self.job.sources.gave(source.0);
                self.drought.gave();
                self.meter.add(self.started.elapsed(), raw_bytes);
                let share = self.shares.entry(source.0).or_default();
                share.verified_bytes += raw_bytes;
                share.wire_bytes += wire_bytes;
            }
            Message::Rejected { linear, source, peer, reason } => {
                self.in_workers = self.in_workers.saturating_sub(1);
                self.event(Event::ChunkRejected { linear, source });
                self.shares.entry(source.0).or_default().chunks_rejected += 1;
                self.ban(&peer, &reason);
            }
            Message::NotWritten { writing, error } => self.not_written(writing, error)?,
            Message::Ended(asked) => self.request_ended(asked),
            Message::Hashed { linear } => {
                self.hashed = linear;
                let later = self.kept.split_off(&linear);
                for released in std::mem::replace(&mut self.kept, later) {
                    self.event(Event::ChunkReleased { linear: released });
                }
                self.event(Event::LoaderAt { linear });
            }
            Message::Lost { chunks } => self.lost(&chunks),
            Message::LeaseEnding { source, drain } => {
                let source = self.job.sources.address(source).to_owned();
                (self.job.observer)(JoinEvent::SourceEnds { source, drain });
            }
            Message::FileVerified { file, size } => {
                (self.job.observer)(JoinEvent::FileVerified { file: file.to_string(), size });
            }
            Message::Synced(result) => self.synced(result)?,
            Message::Proved(proved) => self.proved = Some(*proved),
            Message::Failed(error) => return Err(*error),
        }
        Ok(self.finished())
    }

    fn tell_progress(&mut self) {
        let waits_for = self.plan.status().waits_for;
        let shares = self.shares.values().cloned().collect();
        let mut progress = self.meter.progress(self.started.elapsed(), shares, waits_for);
        progress.memory_peak_bytes = self.job.buffers.peak_bytes();
        if let Some(words) = self.job.sources.all_refuse(&self.job.agreed) {
            progress.waiting_for = Some(words);
        }
        if let Some((_, shortage)) = self.paused {
            progress.waiting_for = Some(shortage.words().to_owned());
        }
        (self.job.observer)(JoinEvent::Progress(progress));
    }
}

/// When the configuration has changed, or that time has come.
async fn due(changes: &mut watch::Receiver<u64>, at: time::Instant) {
    tokio::select! {
        biased;
        // Nobody changes it any more: time goes on.
        Ok(()) = changes.changed() => {}
        () = time::sleep_until(at) => {}
    }
}
