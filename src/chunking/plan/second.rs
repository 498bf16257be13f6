//! Who is asked a second time for a chunk that is already in flight: hedges of what the loader waits for, and the end-game.

use std::time::Duration;

use super::{
    Plan, Request,
    choose::{Member, Pick, Team},
    event::{RequestId, SourceId},
};

/// A chunk that takes so many times what 95 of 100 take is late.
const HEDGE_FACTOR: u32 = 2;
/// A source that needs so many times what the quickest needs doesn't help at the end.
const SOON_FACTOR: f64 = 2.0;

impl Plan {
    /// The first late chunk of the frontier, to whoever else will be through with it first. One chunk: if the second copy wins, the
    /// late request is cancelled, and its rest goes to the fast sources as any other missing chunk.
    pub(super) fn hedge(&self, team: &Team) -> Option<Pick> {
        let late = self.requests.values().filter(|request| self.hedge_at(request).is_some_and(|at| at <= self.now));
        let mut late: Vec<&Request> = late.collect();
        late.sort_by_key(|request| request.owes.start);
        let helpers = self.helpers(team);
        late.into_iter().find_map(|request| {
            let start = request.owes.start;
            let helper = helpers.iter().find(|m| m.id != request.source && !self.lacks(m.id, start))?;
            Some(Pick { source: helper.id, run: start..start + 1, class: self.class(start), hedges: true })
        })
    }

    /// Who may be asked a second time for something, the quickest first. A slow one that idles isn't while a quick one is about to;
    /// nor one of which nothing is known: it may be the worst of all.
    fn helpers<'a>(&self, team: &'a Team) -> Vec<&'a Member> {
        let known = || team.members.iter().filter(|member| self.has_delivered(member.id));
        let soonest = known().map(|member| self.eta_s(member)).fold(f64::MAX, f64::min);
        let soon = |member: &&Member| self.has_room(member) && self.eta_s(member) <= soonest * SOON_FACTOR;
        let mut helpers: Vec<&Member> = known().filter(soon).collect();
        helpers.sort_by(|a, b| self.eta_s(a).total_cmp(&self.eta_s(b)));
        helpers
    }

    /// When the next chunk of a request will be late enough to be asked a second time: only one of the frontier, and only within the
    /// allowance. Its age counts from the request, as the measured times do.
    pub(super) fn hedge_at(&self, request: &Request) -> Option<Duration> {
        let start = request.owes.start;
        let bytes = self.hedged_bytes.saturating_add(self.layout.bytes(start));
        let waited_for = !request.owes.is_empty() && (self.front()..self.frontier_end()).contains(&start);
        if !waited_for || bytes > self.hedged_bytes_max || !self.chunks.is_asked_once(start) {
            return None;
        }
        // An answer can't be here before its round trip, however near the others are.
        let rtt = self.sources.get(&request.source)?.rtt;
        Some(request.sent_at + self.hedge_after()?.max(rtt * HEDGE_FACTOR))
    }

    /// The age at which a frontier chunk is late; `None` while too few chunks were measured.
    pub(super) fn hedge_after(&self) -> Option<Duration> {
        self.times.p95().map(|p95| (p95 * HEDGE_FACTOR).max(self.config.hedge_age_min))
    }

    /// At the end, nothing is missing and a source idles: it takes over the tail of a request that it can beat. The
    /// first copy that proves itself wins. Without that condition two equal sources would both fetch all of the last chunks.
    pub(super) fn second(&self, team: &Team) -> Option<Pick> {
        if !self.is_end_game(team.chunks_per_s) {
            return None;
        }
        let mut owing: Vec<&Request> = self.requests.values().collect();
        // Those of which nothing is known first, then the latest.
        owing
            .sort_by_key(|request| std::cmp::Reverse(request.expected_at.map_or(Duration::MAX, |at| at.max(self.now))));
        self.helpers(team).into_iter().find_map(|helper| {
            owing.iter().filter(|request| self.can_beat(helper, request)).find_map(|request| self.tail(helper, request))
        })
    }

    /// Whether so little is left that it may be asked twice: nothing missing, and no more asked than 16 chunks or a second's work.
    pub(super) fn is_end_game(&self, chunks_per_s: f64) -> bool {
        let left = self.chunks.asked_len();
        let few = u64::from(self.config.end_game_chunks).max(chunks_per_s as u64);
        self.chunks.missing().is_empty() && (1..=few).contains(&left)
    }

    fn can_beat(&self, helper: &Member, request: &Request) -> bool {
        let left_s = request.expected_at.map_or(0.0, |at| at.saturating_sub(self.now).as_secs_f64());
        request.source != helper.id && (self.is_overdue(request) || self.eta_s(helper) < left_s)
    }

    fn has_delivered(&self, id: SourceId) -> bool {
        self.sources.get(&id).is_some_and(|source| source.delivered)
    }

    fn is_overdue(&self, request: &Request) -> bool {
        request.expected_at.is_none_or(|at| at <= self.now)
    }

    /// In the end-game, a chunk both copies of which are overdue while a third source idles: the request that was sent first gives way to
    /// it. Else two bad sources that hold the same chunk would hold up the end until a deadline.
    pub(super) fn gives_way(&self) -> Option<RequestId> {
        if !self.chunks.missing().is_empty() {
            return None;
        }
        let overdue: Vec<_> = self.requests.iter().filter(|(_, request)| self.is_overdue(request)).collect();
        let waits = |(first, request): &(&RequestId, &Request)| {
            let linear = request.owes.clone().find(|linear| self.chunks.is_wanted(*linear))?;
            let (_, second) = overdue.iter().find(|(id, other)| *id > *first && other.owes.contains(&linear))?;
            self.idles(linear, [request.source, second.source]).then_some(**first)
        };
        overdue.iter().find_map(waits)
    }

    /// Whether a measured source other than these owes nothing and has the chunk.
    fn idles(&self, linear: u64, but: [SourceId; 2]) -> bool {
        self.sources.iter().any(|(id, source)| {
            !but.contains(id)
                && source.requests == 0
                && source.is_ready(self.now)
                && !source.is_demoted(self.now, &self.config)
                && self.has_delivered(*id)
                && !self.lacks(*id, linear)
        })
    }

    /// The last chunks that a request owes and nobody else brings: the two meet in the middle.
    fn tail(&self, helper: &Member, request: &Request) -> Option<Pick> {
        let free = |linear: u64| self.chunks.is_asked_once(linear) && !self.lacks(helper.id, linear);
        let last = request.owes.clone().rev().find(|linear| free(*linear))?;
        let room = self.permits_free().min(helper.target - self.in_flight(helper.id)).min(self.least(helper));
        let start = (request.owes.start..=last).rev().take_while(|linear| free(*linear)).take(room as usize).last()?;
        Some(Pick { source: helper.id, run: start..last + 1, class: self.class(start), hedges: false })
    }
}
