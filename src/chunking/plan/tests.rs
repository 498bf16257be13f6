//! Behaviour of the plan against simulated sources in virtual time.

use std::collections::BTreeSet;

use super::*;
use crate::snapshot::{CHUNK_BYTES, ChunkIndex};

const MS: Duration = Duration::from_millis(1);
const SEC: Duration = Duration::from_secs(1);

/// A source that serves its requests one after the other, chunk by chunk.
#[derive(Debug, Clone)]
struct Sim {
    chunk_time: Duration,
    rtt: Duration,
    /// From here on (in chunks it sent) it is silent.
    silent_after: u64,
    /// Every so many chunks one is bad; 0: never. It is banned for the first one.
    bad_every: u64,
    /// Every so many chunks the request breaks off; 0: never.
    breaks_every: u64,
    /// Says BUSY until then.
    busy_until: Duration,
    /// What it has; it answers CHUNK_UNAVAILABLE to anything else.
    has: Range<u64>,
    /// Whether it announces that; else it claims to have everything.
    announces: bool,
    sent: u64,
    /// When it can begin the next chunk.
    free_at: Duration,
}

fn source(chunks_per_s: u64) -> Sim {
    Sim {
        chunk_time: SEC / u32::try_from(chunks_per_s).unwrap(),
        rtt: 10 * MS,
        silent_after: u64::MAX,
        bad_every: 0,
        breaks_every: 0,
        busy_until: Duration::ZERO,
        has: 0..u64::MAX,
        announces: false,
        sent: 0,
        free_at: Duration::ZERO,
    }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Chunk { request: RequestId, linear: u64, bad: bool },
    End { request: RequestId, outcome: OutcomeKey },
    Release { linear: u64 },
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum OutcomeKey {
    Completed,
    Broken,
    Busy(Duration),
    Lacking,
}

/// A plan, its sources, and a driver that writes each chunk some time after it was proved.
struct World {
    plan: Plan,
    sims: Vec<Sim>,
    write_time: Duration,
    now: Duration,
    due: BTreeSet<(Duration, u64, Due)>,
    sequence: u64,
    open: BTreeMap<RequestId, SourceId>,
    banned: BTreeSet<SourceId>,
    verified: BTreeSet<u64>,
    released: BTreeSet<u64>,
    /// Chunks in flight by the driver's own count, and held.
    owed: BTreeMap<RequestId, Range<u64>>,
    held: u32,
    asked: u64,
    /// When the loader went on last, and the longest that it ever stood.
    loader_since: Duration,
    loader_stood: Duration,
    trace: Vec<Action>,
}

impl World {
    fn new(chunks: u64, sims: Vec<Sim>) -> Self {
        Self::of(Layout::new([chunks * CHUNK_BYTES]).unwrap(), PlanConfig::default(), sims)
    }

    fn of(layout: Layout, config: PlanConfig, sims: Vec<Sim>) -> Self {
        let mut world = Self {
            plan: Plan::new(layout, config),
            sims: Vec::new(),
            write_time: MS,
            now: Duration::ZERO,
            due: BTreeSet::new(),
            sequence: 0,
            open: BTreeMap::new(),
            banned: BTreeSet::new(),
            verified: BTreeSet::new(),
            released: BTreeSet::new(),
            owed: BTreeMap::new(),
            held: 0,
            asked: 0,
            loader_since: Duration::ZERO,
            loader_stood: Duration::ZERO,
            trace: Vec::new(),
        };
        sims.into_iter().for_each(|sim| world.join(sim));
        world
    }

    fn join(&mut self, sim: Sim) {
        let source = SourceId(u32::try_from(self.sims.len()).unwrap());
        if sim.announces {
            let have = Have::Ranges(vec![sim.has.clone()]);
            self.plan.handle(self.now, Event::Has { source, have });
        }
        let event = Event::SourceJoined { source, identity: [source.0 as u8 + 1; 32], rtt: sim.rtt };
        self.sims.push(sim);
        self.plan.handle(self.now, event);
    }

    fn after(&mut self, at: Duration, due: Due) {
        self.sequence += 1;
        self.due.insert((at, self.sequence, due));
    }

    fn act(&mut self) {
        let budget = self.plan.config.budget_chunks;
        for step in 0.. {
            assert!(step < 500, "poll never ends");
            let Some(action) = self.plan.poll(self.now) else { break };
            self.trace.push(action);
            match action {
                Action::Cancel { id, .. } => {
                    assert!(self.open.remove(&id).is_some(), "cancelled twice");
                    self.owed.remove(&id);
                    self.due.retain(|(_, _, due)| !matches!(due, Due::Chunk { request, .. } | Due::End { request, .. } if *request == id));
                }
                Action::Request { id, source, file_index, first, count, class } => {
                    self.serve(id, source, file_index, first, count, class)
                }
            }
            if matches!(action, Action::Request { .. }) {
                assert!(self.permits() <= budget, "over budget");
            }
        }
        assert_eq!(self.permits(), self.plan.status().permits_used);
    }

    /// Permits in use by the driver's own count.
    fn permits(&self) -> u32 {
        self.held + self.owed.values().map(|run| u32::try_from(run.end - run.start).unwrap()).sum::<u32>()
    }

    fn serve(&mut self, id: RequestId, source: SourceId, file_index: u32, first: ChunkIndex, count: u32, class: Class) {
        assert!((1..=16).contains(&count));
        assert!(!self.banned.contains(&source), "asked a banned source");
        let start = self.plan.layout.linear(file_index, first).unwrap();
        let last =
            self.plan.layout.linear(file_index, ChunkIndex(first.0 + count - 1)).expect("a run stays in its file");
        for linear in start..=last {
            assert!(!self.verified.contains(&linear), "asked a proved chunk");
            let twice = self.owed.iter().filter(|(_, run)| run.contains(&linear)).map(|(id, _)| self.open[id]);
            let others: Vec<SourceId> = twice.collect();
            assert!(others.len() <= 1 && !others.contains(&source), "asked twice of one source or thrice");
            let hedge = class == Class::Frontier && count == 1;
            assert!(others.is_empty() || hedge || self.plan.status().chunks_missing == 0, "asked twice before the end");
            let sim = &self.sims[source.0 as usize];
            assert!(!sim.announces || sim.has.contains(&linear), "asked for what it hasn't announced");
        }
        let status = self.plan.status();
        assert!(status.hedged_bytes * 20 <= self.plan.layout.total_bytes(), "hedged more than 5 %");
        self.asked += u64::from(count);
        self.open.insert(id, source);
        self.owed.insert(id, start..last + 1);
        assert!(self.open.values().filter(|of| **of == source).count() <= 4);
        let sim = self.sims[source.0 as usize].clone();
        if self.now < sim.busy_until {
            return self.after(self.now + sim.rtt, Due::End { request: id, outcome: OutcomeKey::Busy(SEC) });
        }
        if !sim.has.contains(&start) {
            return self.after(self.now + sim.rtt, Due::End { request: id, outcome: OutcomeKey::Lacking });
        }
        let mut at = sim.free_at.max(self.now + sim.rtt / 2);
        for linear in start..=last {
            let sim = &mut self.sims[source.0 as usize];
            if sim.sent >= sim.silent_after {
                return;
            }
            sim.sent += 1;
            let nth = sim.sent;
            at += sim.chunk_time;
            sim.free_at = at;
            let arrives = at + sim.rtt / 2;
            let hits = |every: u64| every > 0 && nth.is_multiple_of(every);
            let (broken, bad) = (hits(sim.breaks_every), hits(sim.bad_every));
            if broken {
                return self.after(arrives, Due::End { request: id, outcome: OutcomeKey::Broken });
            }
            self.after(arrives, Due::Chunk { request: id, linear, bad });
            if linear == last {
                self.after(arrives, Due::End { request: id, outcome: OutcomeKey::Completed });
            }
        }
    }

    /// One step of virtual time; `false` if nothing happens any more until `limit`.
    fn step(&mut self, limit: Duration) -> bool {
        self.act();
        if self.plan.is_complete() {
            return false;
        }
        let event = self.due.first().map(|(at, _, _)| *at);
        let Some(next) = event.into_iter().chain(self.plan.next_wakeup()).min() else { return false };
        assert!(next >= self.now);
        if next > limit {
            self.now = limit;
            return false;
        }
        self.now = next;
        while self.due.first().is_some_and(|(at, _, _)| *at <= self.now) {
            let (_, _, due) = self.due.pop_first().unwrap();
            self.happens(due);
        }
        true
    }

    fn happens(&mut self, due: Due) {
        match due {
            Due::Chunk { request, linear, bad } => {
                let source = self.open[&request];
                let wire_bytes = self.plan.layout.bytes(linear);
                self.plan.handle(self.now, Event::ChunkArrived { request, linear, wire_bytes });
                self.owed.get_mut(&request).unwrap().start = linear + 1;
                if !self.plan.is_wanted(linear) {
                    return;
                }
                if bad {
                    self.plan.handle(self.now, Event::ChunkRejected { linear, source });
                    return self.ban(source);
                }
                self.held += 1;
                self.plan.handle(self.now, Event::ChunkVerified { linear });
                assert!(self.verified.insert(linear), "proved twice");
                self.after(self.now + self.write_time, Due::Release { linear });
            }
            Due::End { request, outcome } => {
                self.open.remove(&request);
                self.owed.remove(&request);
                let outcome = match outcome {
                    OutcomeKey::Completed => Outcome::Completed,
                    OutcomeKey::Broken => Outcome::Broken,
                    OutcomeKey::Busy(retry_after) => Outcome::Refused(Refusal::Wait { retry_after }),
                    OutcomeKey::Lacking => Outcome::Refused(Refusal::ChunkLacking),
                };
                self.plan.handle(self.now, Event::RequestEnded { request, outcome });
            }
            Due::Release { linear } => {
                self.held -= 1;
                self.released.insert(linear);
                self.plan.handle(self.now, Event::ChunkReleased { linear });
                let mut loader = self.plan.loader;
                while self.released.contains(&loader) {
                    loader += 1;
                }
                if loader > self.plan.loader {
                    self.loader_stood = self.loader_stood.max(self.now - self.loader_since);
                    self.loader_since = self.now;
                }
                self.plan.handle(self.now, Event::LoaderAt { linear: loader });
            }
        }
    }

    fn ban(&mut self, source: SourceId) {
        self.gone(source);
        self.banned.insert(source);
        self.plan.handle(self.now, Event::SourceBanned { source });
    }

    fn leave(&mut self, source: SourceId) {
        self.gone(source);
        self.plan.handle(self.now, Event::SourceLeft { source });
    }

    fn gone(&mut self, source: SourceId) {
        let of: Vec<RequestId> = self.open.iter().filter(|(_, s)| **s == source).map(|(id, _)| *id).collect();
        self.due.retain(
            |(_, _, due)| !matches!(due, Due::Chunk { request, .. } | Due::End { request, .. } if of.contains(request)),
        );
        for id in of {
            self.open.remove(&id);
            self.owed.remove(&id);
        }
    }

    /// Runs until nothing happens any more or `limit` of virtual time is over.
    fn run(&mut self, limit: Duration) -> PlanStatus {
        while self.now < limit && self.step(limit) {}
        self.plan.status()
    }

    fn complete(&mut self, limit: Duration) -> PlanStatus {
        let status = self.run(limit);
        assert!(self.plan.is_complete(), "not complete after {:?}: {status:#?}", self.now);
        assert_eq!(status.waits_for, WaitsFor::Nothing);
        assert_eq!(status.permits_used, 0);
        status
    }

    fn share(&self, source: u32) -> f64 {
        self.plan.status().sources[&SourceId(source)].chunks_verified as f64 / self.plan.layout.total() as f64
    }
}

mod behaviour;
mod faults;
mod properties;
