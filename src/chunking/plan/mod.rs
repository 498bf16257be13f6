//! The scheduler of a transfer: which chunk is asked of whom, and when.
//!
//! ```text
//!   sources come, go, lie ──┐                             ┌── Request { source, file, run, class }
//!   chunks arrive, prove,   ├──> handle(now, event)       │
//!   are written, are lost   │        Plan        poll(now) ──> Cancel { request, reason }
//!   requests end, loader at ┘                             └── next_wakeup: when to poll if nothing happens
//! ```
//!
//! A value, not a task: no clock, no socket, no lock, no randomness. The driver feeds every event with its time, then
//! polls until `None`, then sleeps until the next event or [`Plan::next_wakeup`]. The same events give the same actions.
//!
//! It decides the run, its source and its urgency (`choose.rs`), how much may be in flight, and when a request has waited
//! long enough (`watch.rs`). It leaves to others: whether bytes are right (proofs), who is banned (the driver), how bytes move.
//!
//! **Where runs start.** SHA-256 of a file and the content check need chunks in order, the budget's permits come back when a
//! chunk is written, so memory doesn't depend on order, but what is written far ahead has left the page cache when the loader comes and is
//! read from disk again. So:
//! - the 16 chunks ahead of the loader (*frontier*) go strictly by need, to the fastest sources;
//! - behind them, within 256 chunks (*window*), each aligned block of 16 belongs to the source with the highest rendezvous
//!   hash (identity, block): joiners that start together ask different sources for the same block, and each source
//!   reads its disk in runs. A source takes its own blocks first, then the nearest of the others';
//! - a run starts no nearer than the loader can come while it travels, so a slow source works far ahead and nobody
//!   waits for it;
//! - beyond the window only if nothing nearer is missing (*prefetch*): a chunk that hangs at one source must not stop the others.
//!   With one source there is nothing to spread: it goes strictly in order.
//!
//! **How much.** A permit of the budget per chunk is taken before the request goes out. A source's share follows its rate
//! and round trip; runs are a quarter of the share (four streams), at most a second's work, so that work stays shared.
//!
//! **Asked twice** (`second.rs`) is a chunk of the frontier that takes twice as long as 95 of 100 do (*hedge*, at most 5 % of all bytes),
//! and the last chunks (*end-game*). The first copy that proves itself wins.
//!
//! **Who has what** (`has.rs`): nobody is asked for what it hasn't announced, or refused a while ago. Where nobody has everything, the
//! rarest chunks behind the frontier go first (`scarce.rs`).

mod choose;
mod chunks;
mod config;
mod event;
mod has;
mod layout;
mod ranges;
mod rate;
mod scarce;
mod second;
mod source;
mod status;
mod times;
mod watch;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    time::Duration,
};

use chunks::Chunks;
pub use config::PlanConfig;
pub use event::{Action, CancelReason, Class, Event, Have, Outcome, Refusal, RequestId, SourceId};
pub use layout::{Layout, LayoutError};
use rate::FOUNDED_BY_BYTES;
use scarce::Scarce;
use source::{Link, PENALTY, RETRY_DEFAULT, Source};
pub use status::{PlanStatus, SourceState, SourceStatus, WaitsFor};
use times::ChunkTimes;

/// The scheduler of one transfer.
#[derive(Debug)]
pub struct Plan {
    layout: Layout,
    config: PlanConfig,
    chunks: Chunks,
    sources: BTreeMap<SourceId, Source>,
    requests: BTreeMap<RequestId, Request>,
    /// Cancellations that the driver hasn't been told yet.
    cancels: VecDeque<(SourceId, RequestId, CancelReason)>,
    loader: u64,
    next_request: u64,
    requests_since_probe: u32,
    chunks_asked_twice: u64,
    hedged_bytes: u64,
    hedged_bytes_max: u64,
    /// From being asked to being here, of all chunks of some size.
    times: ChunkTimes,
    scarce: Scarce,
    /// The latest time seen: time never runs backwards here.
    now: Duration,
}

/// A request in flight. Chunks arrive in order, so what it owes is one range.
#[derive(Debug)]
struct Request {
    source: SourceId,
    owes: Range<u64>,
    /// Bytes of the next chunk that came already.
    partial_bytes: u64,
    sent_at: Duration,
    /// What it owes next is asked of another source too, as it was late.
    hedged: bool,
    /// When it should be through; `None` if the source wasn't measured.
    expected_at: Option<Duration>,
    deadline: Option<Duration>,
}

impl Request {
    const fn new(source: SourceId, owes: Range<u64>, sent_at: Duration) -> Self {
        Self { source, owes, partial_bytes: 0, sent_at, hedged: false, expected_at: None, deadline: None }
    }
}

impl Plan {
    /// A plan for all chunks of `layout`, with nothing present and nobody to ask.
    #[must_use]
    pub fn new(layout: Layout, config: PlanConfig) -> Self {
        let hedged_bytes_max = layout.total_bytes() / 100 * u64::from(config.hedge_per_cent_max);
        Self {
            chunks: Chunks::new(layout.total()),
            layout,
            config: config.sane(),
            sources: BTreeMap::new(),
            requests: BTreeMap::new(),
            cancels: VecDeque::new(),
            loader: 0,
            next_request: 0,
            requests_since_probe: 0,
            chunks_asked_twice: 0,
            hedged_bytes: 0,
            hedged_bytes_max,
            times: ChunkTimes::new(),
            scarce: Scarce::default(),
            now: Duration::ZERO,
        }
    }

    /// The layout of its positions.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Takes in what happened at `now` (since a start that the driver chose; the same for all calls).
    pub fn handle(&mut self, now: Duration, event: Event) {
        self.now = self.now.max(now);
        match event {
            Event::SourceJoined { source, identity, rtt } => self.joined(source, &identity, rtt),
            Event::SourceLeft { source } => self.left(source, Link::Gone),
            Event::SourceBanned { source } => self.left(source, Link::Banned),
            Event::Has { source, have } => {
                let (config, total) = (&self.config, self.layout.total());
                self.sources.entry(source).or_insert_with(|| Source::new(config)).has.announce(&have, total);
                self.count_holders();
            }
            Event::AlreadyPresent { range } => {
                self.chunks.present(range);
                self.cancel_unneeded();
            }
            Event::Lost { range } => self.chunks.lose(range),
            Event::ChunkArrived { request, linear, wire_bytes } => self.arrived(request, linear, wire_bytes),
            Event::Progress { request, bytes } => self.progress(request, bytes),
            Event::ChunkVerified { linear } => {
                if let Some(source) = self.chunks.verify(linear) {
                    if let Some(source) = source.and_then(|id| self.sources.get_mut(&id)) {
                        source.verified += 1;
                    }
                    self.cancel_unneeded();
                }
            }
            Event::ChunkReleased { linear } => self.chunks.release(linear),
            Event::ChunkRejected { linear, .. } if linear >= self.layout.total() => {}
            Event::ChunkRejected { linear, source } => {
                let now = self.now;
                self.sources.entry(source).and_modify(|source| source.has.refuse(now, linear));
                self.chunks.reject(linear);
            }
            Event::RequestEnded { request, outcome } => self.ended(request, outcome),
            Event::LoaderAt { linear } => self.loader = linear,
        }
    }

    /// The next thing to do at `now`; `None` until something happens or [`Self::next_wakeup`] is reached.
    pub fn poll(&mut self, now: Duration) -> Option<Action> {
        self.now = self.now.max(now);
        self.watch();
        if let Some((_, id, reason)) = self.cancels.pop_front() {
            return Some(Action::Cancel { id, reason });
        }
        let pick = self.choose()?;
        self.send(pick)
    }

    /// Whether every chunk is verified and its permit released.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.chunks.is_complete()
    }

    /// Copies that arrived, are still wanted and aren't proved yet: what a driver has beyond them takes memory without a permit.
    #[must_use]
    pub fn unproved_copies(&self) -> u64 {
        self.chunks.unproved_copies()
    }

    /// Whether a chunk that arrived still needs to be proved; `false` for the copy that came second.
    #[must_use]
    pub fn is_wanted(&self, linear: u64) -> bool {
        self.chunks.is_wanted(linear)
    }

    fn joined(&mut self, id: SourceId, identity: &[u8; 32], rtt: Duration) {
        if self.sources.get(&id).is_some_and(|source| source.link == Link::Up) {
            self.left(id, Link::Gone); // a new connection: what the old one owed will not come
        }
        let config = &self.config;
        self.sources.entry(id).or_insert_with(|| Source::new(config)).join(identity, rtt);
        self.count_holders();
    }

    fn count_holders(&mut self) {
        let connected = self.sources.values().filter(|source| source.link == Link::Up);
        self.scarce = Scarce::among(connected, self.layout.total());
    }

    fn left(&mut self, id: SourceId, link: Link) {
        let owed: Vec<RequestId> = self.requests_of(id).map(|(request, _)| request).collect();
        for request in owed {
            self.forget(request);
        }
        self.cancels.retain(|(source, _, _)| *source != id);
        let config = &self.config;
        // A ban may come before the source was ever announced (a list of bans from an earlier job).
        let source = self.sources.entry(id).or_insert_with(|| Source::new(config));
        if source.link != Link::Banned {
            source.link = link;
        }
        self.count_holders();
    }

    fn arrived(&mut self, id: RequestId, linear: u64, wire_bytes: u64) {
        if !self.requests.contains_key(&id) {
            if id.0 < self.next_request {
                self.chunks.arrive_late(linear);
            }
            return;
        }
        let raw_bytes = self.layout.bytes(linear);
        let Some(request) = self.requests.get_mut(&id).filter(|request| request.owes.start == linear) else { return };
        let Some(source) = self.sources.get_mut(&request.source) else { return };
        let rest = wire_bytes.saturating_sub(request.partial_bytes);
        let unmeasured = source.rate.chunks_per_s().is_none();
        request.partial_bytes = 0;
        request.owes.start = linear + 1;
        request.hedged = false;
        if raw_bytes >= FOUNDED_BY_BYTES {
            self.times.add(self.now.saturating_sub(request.sent_at));
        }
        source.got_bytes(self.now, rest);
        source.rate.chunk(self.now, rest, wire_bytes, raw_bytes);
        source.got_chunk(self.now, &self.config);
        self.chunks.arrive(linear, id, request.source);
        let id = request.source;
        if unmeasured {
            self.set_deadlines(id);
        }
    }

    fn progress(&mut self, id: RequestId, bytes: u64) {
        let Some(request) = self.requests.get_mut(&id).filter(|request| !request.owes.is_empty()) else { return };
        request.partial_bytes = request.partial_bytes.saturating_add(bytes);
        let Some(source) = self.sources.get_mut(&request.source) else { return };
        source.got_bytes(self.now, bytes);
        source.rate.bytes(self.now, bytes);
    }

    fn ended(&mut self, id: RequestId, outcome: Outcome) {
        self.cancels.retain(|(_, cancelled, _)| *cancelled != id); // it was over before the driver heard of it
        let Some(request) = self.forget(id) else { return };
        let (now, config) = (self.now, &self.config);
        let Some(source) = self.sources.get_mut(&request.source) else { return };
        match outcome {
            Outcome::Completed if request.owes.is_empty() => {}
            // An early end as "done" (L4) is no progress, whatever the driver makes of it.
            Outcome::Completed | Outcome::Broken => {
                source.narrow(config);
                source.back_off(now, config);
            }
            Outcome::Refused(Refusal::Wait { retry_after }) => source.wait(now, retry_after, config),
            Outcome::Refused(Refusal::Request) => source.wait(now, RETRY_DEFAULT, config),
            Outcome::Refused(Refusal::Quality) => {
                source.demote(now, config, PENALTY);
                source.wait(now, RETRY_DEFAULT, config);
            }
            Outcome::Refused(Refusal::ChunkLacking) => source.said_it_lacks(now, request.owes.start, config),
            Outcome::Refused(Refusal::RunTooLong) => {
                if source.run_max == 1 {
                    source.back_off(now, config); // it can't be shorter: don't ask in a tight loop
                }
                source.run_max = (source.run_max / 2).max(1);
            }
        }
    }

    fn requests_of(&self, id: SourceId) -> impl Iterator<Item = (RequestId, &Request)> {
        self.requests.iter().filter(move |(_, request)| request.source == id).map(|(id, request)| (*id, request))
    }

    /// Drops a request: what it owes is missing again, its permits are free.
    fn forget(&mut self, id: RequestId) -> Option<Request> {
        let request = self.requests.remove(&id)?;
        self.chunks.give_up(request.owes.clone(), id);
        if let Some(source) = self.sources.get_mut(&request.source) {
            source.in_flight -= owed(&request);
            source.requests -= 1;
        }
        Some(request)
    }

    fn cancel(&mut self, id: RequestId, reason: CancelReason) {
        if let Some(request) = self.forget(id) {
            self.cancels.push_back((request.source, id, reason));
        }
    }

    /// Cancels requests all of whose chunks came from elsewhere, and late ones that lost their next one to a hedge. At most four per
    /// source, sixteen chunks each.
    fn cancel_unneeded(&mut self) {
        let unneeded = |request: &Request| {
            !request.owes.is_empty() && request.owes.clone().all(|linear| !self.chunks.is_wanted(linear))
        };
        let ids: Vec<RequestId> = self.requests.iter().filter(|(_, r)| unneeded(r)).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.cancel(id, CancelReason::NotNeeded));
        let lost = |request: &Request| request.hedged && !self.chunks.is_wanted(request.owes.start);
        let ids: Vec<RequestId> = self.requests.iter().filter(|(_, r)| lost(r)).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.outrun(id));
    }
}

/// Chunks that a request owes: at most a run.
fn owed(request: &Request) -> u32 {
    u32::try_from(request.owes.end - request.owes.start).unwrap_or(u32::MAX)
}
