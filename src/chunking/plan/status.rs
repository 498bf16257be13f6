//! A plan as an operator sees it.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Plan,
    event::SourceId,
    source::{Link, Source},
};
use crate::snapshot::CHUNK_BYTES;

/// Where a transfer stands.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PlanStatus {
    /// Every source that was ever announced.
    pub sources: BTreeMap<SourceId, SourceStatus>,
    /// All chunks.
    pub chunks_total: u64,
    /// Neither asked nor here.
    pub chunks_missing: u64,
    /// In flight.
    pub chunks_asked: u64,
    /// Proved, also before this run.
    pub chunks_verified: u64,
    /// Proved and released: written or handed to the loader.
    pub chunks_written: u64,
    /// Chunks that were asked a second time: hedges and end-game.
    pub chunks_asked_twice: u64,
    /// Bytes of those that were asked a second time because the loader waits for them (hedges).
    pub hedged_bytes: u64,
    /// After so long a chunk that the loader waits for is asked a second time; `None` while too little is known.
    pub hedge_after: Option<Duration>,
    /// Permits of the budget in use.
    pub permits_used: u32,
    /// What the transfer waits for.
    pub waits_for: WaitsFor,
}

/// One source.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SourceStatus {
    /// Chunks it owes.
    pub in_flight: u32,
    /// Its rate in bytes of the snapshot per second (decompressed), while it owes something; `None` before the first chunk.
    pub bytes_per_s: Option<f64>,
    /// Chunks from it that were proved.
    pub chunks_verified: u64,
    /// What it may be asked.
    pub state: SourceState,
}

/// What a source may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceState {
    /// Anything.
    Active,
    /// Nothing until then: it said so, or its requests broke off.
    Waiting {
        /// In the plan's time.
        until: Duration,
    },
    /// Only probes, unless nobody else is there: it was slow.
    Demoted,
    /// Nothing: the link is lost.
    Gone,
    /// Nothing ever again.
    Banned,
}

/// What a transfer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitsFor {
    /// Nothing: it is complete.
    Nothing,
    /// Chunks on their way.
    Network,
    /// Chunks to be proved or written: workers, disk or loader are behind.
    Local,
    /// The sources that have what is missing want to be asked later.
    RetryAfter {
        /// When the first one may be asked, in the plan's time.
        until: Duration,
    },
    /// Chunks that none of the connected sources has.
    Chunks,
    /// Any source at all.
    Sources,
    /// The next poll: there is something to ask.
    Poll,
}

impl Plan {
    /// A copy of where the transfer stands.
    #[must_use]
    pub fn status(&self) -> PlanStatus {
        let sources = self.sources.iter().map(|(id, source)| {
            let state = match source.link {
                Link::Banned => SourceState::Banned,
                Link::Gone => SourceState::Gone,
                Link::Up if source.wait_until > self.now => SourceState::Waiting { until: source.wait_until },
                Link::Up if source.is_demoted(self.now, &self.config) => SourceState::Demoted,
                Link::Up => SourceState::Active,
            };
            let status = SourceStatus {
                in_flight: source.in_flight,
                bytes_per_s: source.rate.chunks_per_s().map(|rate| rate * CHUNK_BYTES as f64),
                chunks_verified: source.verified,
                state,
            };
            (*id, status)
        });
        PlanStatus {
            sources: sources.collect(),
            chunks_total: self.layout.total(),
            chunks_missing: self.chunks.missing().len(),
            chunks_asked: self.chunks.asked_len(),
            chunks_verified: self.chunks.verified().len(),
            chunks_written: self.chunks.written_len(),
            chunks_asked_twice: self.chunks_asked_twice,
            hedged_bytes: self.hedged_bytes,
            hedge_after: self.hedge_after(),
            permits_used: self.chunks.permits_used(),
            waits_for: self.waits_for(),
        }
    }

    fn waits_for(&self) -> WaitsFor {
        let up = || self.sources.iter().filter(|(_, source)| source.link == Link::Up);
        let askable = |(id, _): &(&SourceId, &Source)| self.askable(**id, 0..self.layout.total()).is_some();
        if self.is_complete() {
            WaitsFor::Nothing
        } else if self.chunks.asked_len() > 0 {
            WaitsFor::Network
        } else if self.chunks.missing().is_empty() || self.permits_free() == 0 {
            WaitsFor::Local
        } else if up().filter(askable).any(|(_, source)| source.is_ready(self.now)) {
            WaitsFor::Poll
        } else if let Some(until) = up().filter(askable).map(|(_, source)| source.wait_until).min() {
            WaitsFor::RetryAfter { until }
        } else if up().next().is_some() {
            WaitsFor::Chunks
        } else {
            WaitsFor::Sources
        }
    }
}
