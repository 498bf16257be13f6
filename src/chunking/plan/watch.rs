//! What happens when nothing happens: deadlines, stalls, the rate floor, and when to look again.

use std::time::Duration;

use super::{
    Plan,
    event::{CancelReason, RequestId, SourceId},
    source::{Link, PENALTY, Source},
};

/// Fewer bytes from a source in a window of the rate floor are next to nothing: a few bytes a second keep any stall timer quiet.
const STARVING_BYTES: u64 = 4 << 10;
/// A request may take this many times what the source's rate promises.
const DEADLINE_FACTOR: u32 = 4;

impl Plan {
    /// Handles every timer that has run out.
    pub(super) fn watch(&mut self) {
        let now = self.now;
        self.sources.values_mut().for_each(|source| source.has.expire(now));
        let busy: Vec<SourceId> = self.sources.iter().filter(|(_, s)| s.requests > 0).map(|(id, _)| *id).collect();
        for id in busy {
            self.watch_stall(id);
            self.watch_floor(id);
        }
        let late = |deadline: Option<Duration>| deadline.is_some_and(|at| at <= now);
        let late: Vec<RequestId> = self.requests.iter().filter(|(_, r)| late(r.deadline)).map(|(id, _)| *id).collect();
        late.into_iter().for_each(|id| self.late(id));
        while let Some(id) = self.gives_way() {
            self.outrun(id);
        }
    }

    /// When to poll again if no event comes; `None` if only an event can change anything.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Duration> {
        let config = &self.config;
        let idle = self.chunks.missing().is_empty();
        let of_sources = self.sources.values().filter(|source| source.link == Link::Up).flat_map(|source| {
            let busy = source.requests > 0;
            [
                busy.then(|| source.last_byte + config.stall_after),
                busy.then(|| source.floor_from + config.rate_floor_window),
                Some(source.wait_until).filter(|_| !self.is_complete()),
                source.demoted_until(config).filter(|_| !idle),
                source.has.refused_until(),
            ]
        });
        let of_requests = self.requests.values().flat_map(|request| {
            // In the end-game a request that is overdue is taken over by whoever idles.
            [request.deadline, request.expected_at.filter(|_| idle), self.hedge_at(request)]
        });
        of_sources.chain(of_requests).flatten().filter(|at| *at > self.now).min()
    }

    /// Expectation and deadline of a request just sent. A source serves its streams side by side, so what it shall have in
    /// hand counts in full. None before the source is measured.
    pub(super) fn set_deadline(&mut self, id: RequestId) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        let Some(source) = self.sources.get(&request.source) else { return };
        let queue = source.in_flight.max(source.wanted(&self.config));
        request.expected_at = source.time_for(source.in_flight).map(|time| self.now + time);
        request.deadline =
            source.time_for(queue).map(|time| self.now + (time * DEADLINE_FACTOR).max(self.config.deadline_min));
    }

    /// The first measurement of a source: from now on its requests have deadlines.
    pub(super) fn set_deadlines(&mut self, id: SourceId) {
        let open: Vec<RequestId> = self.requests_of(id).map(|(request, _)| request).collect();
        open.into_iter().for_each(|request| self.set_deadline(request));
    }

    /// Whether somebody else could do it: a late request at the only source is better waited for.
    fn has_other(&self, id: SourceId, suits: impl Fn(&Source) -> bool) -> bool {
        self.sources.iter().any(|(other, source)| *other != id && source.is_ready(self.now) && suits(source))
    }

    fn late(&mut self, id: RequestId) {
        let Some(of) = self.requests.get(&id).map(|request| request.source) else { return };
        let other = self.has_other(of, |source| !source.is_demoted(self.now, &self.config));
        if let Some(source) = self.sources.get_mut(&of) {
            source.narrow(&self.config);
            source.rate.late(self.now);
        }
        if other {
            self.cancel(id, CancelReason::Late);
        } else {
            self.set_deadline(id);
        }
    }

    fn watch_stall(&mut self, id: SourceId) {
        let stalled =
            self.sources.get(&id).is_some_and(|source| source.last_byte + self.config.stall_after <= self.now);
        if stalled {
            self.drop_slow(id, CancelReason::Stalled);
        }
    }

    fn watch_floor(&mut self, id: SourceId) {
        let (now, floor) = (self.now, self.config.rate_floor_bytes_per_s);
        let Some(source) = self.sources.get_mut(&id).filter(|source| source.requests > 0) else { return };
        let span = now.saturating_sub(source.floor_from);
        if span < self.config.rate_floor_window {
            return;
        }
        let slow = (source.floor_bytes as f64) < floor as f64 * span.as_secs_f64();
        let starves = source.floor_bytes < STARVING_BYTES;
        (source.floor_from, source.floor_bytes) = (now, 0);
        let above = |source: &Source| source.rate.wire_bytes_per_s().is_some_and(|rate| rate >= floor as f64);
        // What gives next to nothing is as bad as silence: then anybody is better who isn't known to be bad, measured or not.
        let better = |source: &Source| above(source) || (starves && !source.is_demoted(now, &self.config));
        if slow && self.has_other(id, better) {
            self.drop_slow(id, CancelReason::TooSlow);
        }
    }

    /// Another source brought what this request owed next: what it says of its source is the same as a missed deadline.
    pub(super) fn outrun(&mut self, id: RequestId) {
        let of = self.requests.get(&id).map(|request| request.source);
        if let Some(source) = of.and_then(|of| self.sources.get_mut(&of)) {
            source.narrow(&self.config);
            source.rate.late(self.now);
        }
        self.cancel(id, CancelReason::Outrun);
    }

    /// Cancels all that a source owes and demotes it: quality, no ban.
    fn drop_slow(&mut self, id: SourceId, reason: CancelReason) {
        let owed: Vec<RequestId> = self.requests_of(id).map(|(request, _)| request).collect();
        if let Some(source) = self.sources.get_mut(&id) {
            source.narrow(&self.config);
            source.demote(self.now, &self.config, PENALTY);
            if source.rate.chunks_per_s().is_some() {
                source.rate.late(self.now);
            }
        }
        owed.into_iter().for_each(|request| self.cancel(request, reason));
    }
}
