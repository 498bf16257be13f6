//! Which run is asked next, and of whom: frontier, bulk, prefetch, probes.

use std::ops::Range;

use super::{
    Plan, Request,
    event::{Action, Class, RequestId, SourceId},
    source::Source,
};

/// Blocks of the rendezvous hash, in chunks: a request never needs more than one.
const BLOCK_CHUNKS: u64 = 16;
/// A source that isn't measured is taken for the fastest of the others where an order is needed, else for one of this rate (chunks/s).
const RATE_ASSUMED: f64 = 10.0;

/// A request to be sent.
pub(super) struct Pick {
    pub(super) source: SourceId,
    pub(super) run: Range<u64>,
    pub(super) class: Class,
    /// Its first chunk is late at another source.
    pub(super) hedges: bool,
}

/// Sources that share the work now: the ready ones that aren't demoted, or all ready ones if there is no other.
pub(super) struct Team {
    pub(super) members: Vec<Member>,
    pub(super) chunks_per_s: f64,
}

#[derive(Clone, Copy)]
pub(super) struct Member {
    pub(super) id: SourceId,
    /// Chunks that it should owe: its share of the budget.
    pub(super) target: u32,
    pub(super) chunks_per_s: f64,
}

impl Plan {
    pub(super) fn choose(&self) -> Option<Pick> {
        let (fit, reserve): (Vec<_>, Vec<_>) =
            self.ready().partition(|(_, source)| !source.is_demoted(self.now, &self.config));
        let (fit, reserve) = if fit.is_empty() { (reserve, fit) } else { (fit, reserve) };
        if fit.is_empty() || self.permits_free() == 0 {
            return None;
        }
        let (team, reserve) = (self.team(&fit), self.team(&reserve));
        self.probe(&team, &reserve)
            .or_else(|| self.hedge(&team))
            .or_else(|| self.frontier(&team))
            .or_else(|| self.bulk(&team))
            .or_else(|| self.second(&team))
            .or_else(|| self.last_resort(&team, &reserve))
    }

    /// Takes the permits and writes the request down.
    pub(super) fn send(&mut self, pick: Pick) -> Option<Action> {
        let Pick { source: id, run, class, hedges } = pick;
        let (file_index, first) = self.layout.chunk(run.start)?;
        let count = u32::try_from(run.end - run.start).ok()?;
        let request = RequestId(self.next_request);
        let source = self.sources.get_mut(&id)?;
        self.requests_since_probe =
            if source.is_demoted(self.now, &self.config) { 0 } else { self.requests_since_probe.saturating_add(1) };
        source.took_request(self.now, count);
        self.next_request += 1;
        if self.chunks.is_asked_once(run.start) {
            self.chunks_asked_twice += u64::from(count);
        }
        if hedges {
            self.hedged_bytes += self.layout.bytes(run.start);
            let late = self.requests.values_mut().filter(|late| late.owes.start == run.start && !late.owes.is_empty());
            late.for_each(|late| late.hedged = true);
        }
        self.chunks.ask(run.clone(), request);
        self.requests.insert(request, Request::new(id, run, self.now));
        self.set_deadline(request);
        Some(Action::Request { id: request, source: id, file_index, first, count, class })
    }

    pub(super) fn permits_free(&self) -> u32 {
        self.config.budget_chunks.saturating_sub(self.chunks.permits_used())
    }

    fn ready(&self) -> impl Iterator<Item = (SourceId, &Source)> {
        self.sources.iter().filter(|(_, source)| source.is_ready(self.now)).map(|(id, source)| (*id, source))
    }

    /// Shares the budget out max-min fairly: who wants less than an equal part gets what it wants, the others split the rest
    /// evenly. In proportion to measured rates instead, a source with a larger part would be measured faster and win more and more.
    fn team(&self, sources: &[(SourceId, &Source)]) -> Team {
        let config = &self.config;
        let mut order: Vec<(SourceId, &Source)> = sources.to_vec();
        order.sort_by_key(|(id, source)| (source.wanted(config), *id));
        let measured = order.iter().filter_map(|(_, source)| source.rate.chunks_per_s());
        let assumed = measured.reduce(f64::max).unwrap_or(RATE_ASSUMED);
        let mut left = config.budget_chunks;
        let mut members = Vec::with_capacity(order.len());
        for ((id, source), sharing) in order.iter().zip((1..=order.len()).rev()) {
            let equal = left.div_ceil(u32::try_from(sharing).unwrap_or(u32::MAX));
            let target = source.wanted(config).min(equal).max(config.in_flight_min);
            left = left.saturating_sub(target);
            let chunks_per_s = source.rate.chunks_per_s().unwrap_or(assumed);
            members.push(Member { id: *id, target, chunks_per_s });
        }
        Team { chunks_per_s: members.iter().map(|member| member.chunks_per_s).sum(), members }
    }

    /// One request in sixteen goes to a demoted source that owes nothing: one chunk, far from the loader.
    fn probe(&self, team: &Team, reserve: &Team) -> Option<Pick> {
        if self.requests_since_probe + 1 < self.config.probe_every {
            return None;
        }
        let idle =
            reserve.members.iter().filter(|member| self.sources.get(&member.id).is_some_and(|s| s.requests == 0));
        let mut picks = idle.filter_map(|member| {
            let start = self.ahead(member, team)?.start;
            Some(Pick { source: member.id, run: start..start + 1, class: self.class(start), hedges: false })
        });
        picks.next()
    }

    /// The first missing chunks of the frontier, to whoever of the fast ones will be through first.
    fn frontier(&self, team: &Team) -> Option<Pick> {
        let end = self.frontier_end();
        let mut from = self.front();
        while let Some(run) = self.chunks.missing().first_in(from..end) {
            let can: Vec<&Member> = team.members.iter().filter(|m| !self.lacks(m.id, run.start)).collect();
            let fastest = can.iter().map(|member| member.chunks_per_s).fold(0.0, f64::max);
            let mut fast: Vec<&&Member> = can.iter().filter(|member| member.chunks_per_s * 2.0 >= fastest).collect();
            fast.sort_by(|a, b| self.eta_s(a).total_cmp(&self.eta_s(b)));
            let urgent = self.is_starving(run.start);
            // The run may go on behind the frontier: requests stay long, and with one source all is in order.
            let missing = self.chunks.missing().end_of_run(run.start);
            if let Some(pick) = fast.into_iter().find_map(|m| self.fit(m, run.start..missing, urgent)) {
                return Some(pick);
            }
            from = run.end;
        }
        None
    }

    /// Behind the frontier, to whoever has the least of what it should have.
    fn bulk(&self, team: &Team) -> Option<Pick> {
        let mut members: Vec<&Member> = team.members.iter().collect();
        let fill = |m: &Member| f64::from(self.in_flight(m.id)) / f64::from(m.target.max(1));
        members.sort_by(|a, b| fill(a).total_cmp(&fill(b)).then(b.chunks_per_s.total_cmp(&a.chunks_per_s)));
        members.into_iter().filter(|member| self.has_room(member)).find_map(|member| {
            let run = self.ahead(member, team)?;
            self.fit(member, run, false)
        })
    }

    /// Nothing is in flight and nothing could be asked by the rules: whoever has a missing chunk is asked for it.
    fn last_resort(&self, team: &Team, reserve: &Team) -> Option<Pick> {
        if !self.requests.is_empty() {
            return None;
        }
        let mut everybody = team.members.iter().chain(&reserve.members);
        everybody.find_map(|member| {
            let run = self.askable(member.id, 0..self.layout.total())?;
            self.fit(member, run, true)
        })
    }

    /// Where this source goes on behind the frontier: the first missing run of its own blocks, else of any, no nearer
    /// than the loader comes meanwhile; a fast source also nearer; else beyond the window.
    fn ahead(&self, member: &Member, team: &Team) -> Option<Range<u64>> {
        let total = self.layout.total();
        let near = self.frontier_end();
        let far = self.front().saturating_add(u64::from(self.config.window_chunks)).clamp(near, total);
        if team.members.iter().all(|other| other.id == member.id) {
            return self.askable(member.id, near..total);
        }
        let travel_s = f64::from(self.in_flight(member.id) + 1) / member.chunks_per_s;
        let lead = self.front().saturating_add((travel_s * team.chunks_per_s).min(1e9) as u64).clamp(near, far);
        let fast = team.members.iter().all(|other| member.chunks_per_s * 2.0 >= other.chunks_per_s);
        self.rarest(member, near..total)
            .or_else(|| self.own_block(member, team, lead..far))
            .or_else(|| self.askable(member.id, lead..far))
            .or_else(|| fast.then(|| self.askable(member.id, near..lead)).flatten())
            .or_else(|| self.askable(member.id, far..total))
            .map(|run| run.start..run.end.min(run.start - run.start % BLOCK_CHUNKS + BLOCK_CHUNKS))
    }

    /// The first missing run of the rarest chunks that this source has, if some are rare.
    fn rarest(&self, member: &Member, range: Range<u64>) -> Option<Range<u64>> {
        self.scarce.ranks().find_map(|rank| {
            let mut from = range.start;
            while let Some(run) = self.askable(member.id, from..range.end) {
                if let Some(rare) = rank.first_in(run.clone()) {
                    return Some(rare);
                }
                from = run.end;
            }
            None
        })
    }

    fn own_block(&self, member: &Member, team: &Team, range: Range<u64>) -> Option<Range<u64>> {
        let hash = |id: &SourceId, block| self.sources.get(id).map(|source| source.rendezvous(block));
        let mut from = range.start;
        while let Some(run) = self.askable(member.id, from..range.end) {
            let block = run.start / BLOCK_CHUNKS;
            let having = team.members.iter().map(|other| other.id).filter(|id| !self.lacks(*id, run.start));
            let owner = having.max_by_key(|id| (hash(id, block), *id));
            if owner == Some(member.id) {
                return Some(run);
            }
            from = (block + 1) * BLOCK_CHUNKS;
        }
        None
    }

    /// The first missing run in `range` that this source isn't known to lack.
    pub(super) fn askable(&self, id: SourceId, range: Range<u64>) -> Option<Range<u64>> {
        self.chunks.missing().first_without(range, self.sources.get(&id)?.has.lacks())
    }

    /// As much of `missing` from its start as this source, the budget and the file allow; `None` if that would be a request too short
    /// to be worth sending now.
    fn fit(&self, member: &Member, missing: Range<u64>, urgent: bool) -> Option<Pick> {
        let source = self.sources.get(&member.id).filter(|_| self.has_room(member))?;
        let start = missing.start;
        let (lacks_from, file_end) = (source.has.lacks().first_in(missing.clone()), self.layout.file_end(start));
        let end = missing.end.min(file_end).min(lacks_from.map_or(u64::MAX, |lacked| lacked.start));
        let there = u32::try_from(end.saturating_sub(start)).unwrap_or(u32::MAX);
        let least = self.least(member);
        let streams = self.config.requests_per_source_max;
        let second = source.rate.chunks_per_s().map_or(u32::MAX, |rate| rate.ceil() as u32); // one second's work
        let run = (member.target.div_ceil(streams).max(least)).min(second.max(1));
        let run = run.min(source.run_max).min(self.config.run_chunks_max).min(there);
        let room = self.permits_free().min(member.target - self.in_flight(member.id));
        let needed = if urgent { 1 } else { least.min(run) };
        if run == 0 || room < needed {
            return None;
        }
        let run = start..start + u64::from(run.min(room));
        Some(Pick { source: member.id, run, class: self.class(start), hedges: false })
    }

    pub(super) fn least(&self, member: &Member) -> u32 {
        self.config.run_chunks_least.min(member.target / 2).min(self.config.budget_chunks / 4).max(1)
    }

    pub(super) fn has_room(&self, member: &Member) -> bool {
        self.sources.get(&member.id).is_some_and(|source| {
            source.requests < self.config.requests_per_source_max && source.in_flight < member.target
        })
    }

    pub(super) fn in_flight(&self, id: SourceId) -> u32 {
        self.sources.get(&id).map_or(0, |source| source.in_flight)
    }

    pub(super) fn lacks(&self, id: SourceId, linear: u64) -> bool {
        self.sources.get(&id).is_none_or(|source| source.has.lacks().contains(linear))
    }

    /// Seconds until this source would be through with one more chunk.
    pub(super) fn eta_s(&self, member: &Member) -> f64 {
        let rtt = self.sources.get(&member.id).map_or(0.0, |source| source.rtt.as_secs_f64());
        rtt + f64::from(self.in_flight(member.id) + 1) / member.chunks_per_s
    }

    pub(super) fn class(&self, linear: u64) -> Class {
        if linear < self.frontier_end() {
            Class::Frontier
        } else if linear < self.front().saturating_add(u64::from(self.config.window_chunks)) {
            Class::Bulk
        } else {
            Class::Prefetch
        }
    }

    /// Where the frontier begins: at the loader, or before it if chunks that it had taken were lost from the disk since.
    pub(super) fn front(&self) -> u64 {
        self.chunks.missing().first_in(0..self.loader).map_or(self.loader, |lost| lost.start)
    }

    pub(super) fn frontier_end(&self) -> u64 {
        self.front().saturating_add(u64::from(self.config.frontier_chunks)).min(self.layout.total())
    }

    /// The loader's very next chunk isn't even asked.
    fn is_starving(&self, missing: u64) -> bool {
        missing <= self.chunks.verified().end_of_run(self.front())
    }
}
