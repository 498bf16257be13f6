//! Swarm: a seed draws a scenario: sizes, links, sources, liars, and a random subset of the kinds of faults. Then a phase without any, in
//! which the join must end well: two honest organisations are always there.
//!
//! A subset, not all kinds each time: faults hide one another (a network that is always cut never shows what reordering does).

use netsim::Rng;

use super::{
    liar::Lie,
    scenario::{Expect, Happening, JoinerSpec, LinkSpec, Scenario, SourceSpec, Timed},
};

/// Faults come within this; then everything heals.
const FAULTS_MS: u64 = 20_000;
/// Nobody needs longer once everything works: a few idle timeouts, redials and bans' worth.
const DEADLINE_S: u64 = 900;
/// Chance of each kind to be in a run.
const HALF: u32 = 500_000;

/// The scenario of a seed.
pub fn draw(seed: u64) -> Scenario {
    let mut draw = Draw { rng: Rng::new(seed ^ 0x5377_6172_6d00_0000), happenings: Vec::new() };
    let organisations = 3 + draw.up_to(2);
    let sources = draw.sources(organisations);
    let (count, nat) = (sources.len(), draw.chance(HALF / 2));
    let links = draw.link();
    let joiner = JoinerSpec {
        budget_mib: [2, 4, 8, 32][draw.up_to(3)],
        disk_ms_per_chunk: if draw.chance(HALF / 2) { draw.rng.below(400) } else { 0 },
        back_after_ms: draw.rng.below(5_000),
        nat,
        ..JoinerSpec::default()
    };
    let snapshot_bytes = draw.snapshot_bytes();
    draw.network_faults(count, nat);
    draw.life_cycle(count, &sources);
    draw.joiner_faults();
    draw.other_target(count, snapshot_bytes);
    draw.heal(count, links);
    let mut happenings = draw.happenings;
    happenings.sort_by_key(|timed| timed.at_ms);
    Scenario {
        name: format!("swarm {seed}"),
        snapshot_bytes,
        organisations,
        min_orgs: 2,
        sources,
        joiner,
        dual_stack: false,
        links,
        happenings,
        deadline_s: DEADLINE_S,
        expect: Expect::Lands,
    }
}

struct Draw {
    rng: Rng,
    happenings: Vec<Timed>,
}

impl Draw {
    fn up_to(&mut self, most: usize) -> usize {
        usize::try_from(self.rng.below(most as u64 + 1)).unwrap()
    }

    fn chance(&mut self, ppm: u32) -> bool {
        self.rng.hits(ppm)
    }

    fn at(&mut self, at_ms: u64, what: Happening) {
        self.happenings.push(Timed { at_ms, what });
    }

    fn soon(&mut self) -> u64 {
        self.rng.below(FAULTS_MS)
    }

    /// Mostly small: loss takes its time. One in fifty has so many chunks that hedging has something to ask twice.
    fn snapshot_bytes(&mut self) -> u64 {
        if self.chance(20_000) { (24 + self.rng.below(8)) << 20 } else { (256 << 10) << self.rng.below(5) }
    }

    /// Two honest ones of two organisations first; then any.
    fn sources(&mut self, organisations: usize) -> Vec<SourceSpec> {
        let mut sources = vec![SourceSpec::of(1), SourceSpec::of(2)];
        for _ in 0..self.up_to(2) {
            let mut source = SourceSpec::of(1 + self.up_to(organisations - 2));
            if self.chance(HALF) {
                let place = self.up_to(Lie::all().len() - 1);
                source.lies = Lie::all().nth(place);
            }
            if source.lies.is_none() && self.chance(HALF / 4) {
                // A day off, either way: what it signs counts for nothing.
                source.clock_ahead_s = if self.chance(HALF) { 86_400 } else { -86_400 };
            }
            if source.lies.is_none() && source.org > 2 && self.chance(HALF / 4) {
                source.forked = true;
            }
            if self.chance(HALF / 2) {
                source.link = Some(LinkSpec {
                    bandwidth_bytes_per_s: Some(8_000 << self.rng.below(8)),
                    queue_bytes: 64 << 10,
                    ..self.link()
                });
            }
            sources.push(source);
        }
        // Whoever comes first in the list has no advantage.
        let by = self.up_to(sources.len() - 1);
        sources.rotate_left(by);
        sources
    }

    fn link(&mut self) -> LinkSpec {
        let mut link = LinkSpec { latency_ms: self.rng.below(120), ..LinkSpec::default() };
        if self.chance(HALF) {
            link.jitter_ms = self.rng.below(40);
        }
        if self.chance(HALF) {
            link.loss_ppm = u32::try_from(self.rng.below(50_000)).unwrap();
        }
        if self.chance(HALF) {
            link.duplicate_ppm = u32::try_from(self.rng.below(30_000)).unwrap();
        }
        if self.chance(HALF) {
            link.reorder_ppm = u32::try_from(self.rng.below(100_000)).unwrap();
            link.reorder_ms = 1 + self.rng.below(80);
        }
        if self.chance(HALF) {
            link.corrupt_ppm = u32::try_from(self.rng.below(20_000)).unwrap();
        }
        if self.chance(HALF / 4) {
            link.mtu = Some(1_280 + self.up_to(200));
        }
        if self.chance(HALF / 2) {
            link.bandwidth_bytes_per_s = Some(200_000 << self.rng.below(6));
            link.queue_bytes = 32_000 << self.rng.below(4);
        }
        link
    }

    fn network_faults(&mut self, count: usize, nat: bool) {
        if self.chance(HALF) {
            for _ in 0..=self.up_to(3) {
                let some: Vec<usize> = (1..=count).filter(|_| self.rng.hits(HALF)).collect();
                let at_ms = self.soon();
                let what = match self.up_to(2) {
                    0 => Happening::Cut(some.clone()),
                    1 => Happening::Mute(some.clone()),
                    _ => Happening::Deafen(some.clone()),
                };
                self.at(at_ms, what);
                let until = at_ms + self.rng.below(40_000);
                self.at(until.min(FAULTS_MS), Happening::Heal(some));
            }
        }
        if nat && self.chance(HALF) {
            let at_ms = self.soon();
            self.at(at_ms, Happening::RebindJoiner);
        }
        if self.chance(HALF / 2) {
            let (number, link, at_ms) = (1 + self.up_to(count - 1), self.link(), self.soon());
            self.at(at_ms, Happening::Link(number, LinkSpec { bandwidth_bytes_per_s: Some(20_000), ..link }));
        }
    }

    fn life_cycle(&mut self, count: usize, sources: &[SourceSpec]) {
        if self.chance(HALF) {
            for _ in 0..=self.up_to(2) {
                let (number, at_ms) = (1 + self.up_to(count - 1), self.soon());
                let what = if self.chance(HALF) { Happening::Crash(number) } else { Happening::Stop(number) };
                self.at(at_ms, what);
            }
        }
        if self.chance(HALF / 2) {
            let (number, at_ms) = (1 + self.up_to(count - 1), self.soon());
            self.at(at_ms, Happening::NewSnapshot(number));
        }
        // Rot and deletion only where more than the honest two have it: those must be able to give everything.
        let more: Vec<usize> = (1..=count)
            .filter(|number| {
                let source = &sources[number - 1];
                source.lies.is_none() && sources.iter().filter(|other| other.lies.is_none()).count() > 2
            })
            .collect();
        let deletes = self.chance(HALF / 2);
        if let Some(number) = more.last().copied().filter(|_| deletes) {
            let (at_ms, how) = (self.soon(), self.up_to(2));
            let what = [Happening::AskDeletion, Happening::ForceDeletion, Happening::Delete][how](number);
            self.at(at_ms, what);
        }
        let rots = self.chance(HALF / 2);
        if let Some(number) = more.first().copied().filter(|_| rots) {
            let at_ms = self.soon();
            self.at(at_ms, Happening::Rot(number));
        }
    }

    fn joiner_faults(&mut self) {
        if self.chance(HALF) {
            for _ in 0..=self.up_to(2) {
                let at_ms = self.soon();
                let what = if self.chance(HALF) { Happening::PowerCut } else { Happening::KillJoiner };
                self.at(at_ms, what);
            }
        }
        if self.chance(HALF / 2) {
            let (at_ms, holds) = (self.soon(), (64 << 20) + self.rng.below(4 << 20));
            self.at(at_ms, Happening::DiskHolds(holds));
        }
    }

    /// All peers finish a newer snapshot, and delete the first one in the midst of things.
    /// Of a large one the rest would have to come from whoever was down meanwhile, over any link.
    fn other_target(&mut self, count: usize, snapshot_bytes: u64) {
        if !self.chance(HALF / 4) || snapshot_bytes > 8 << 20 {
            return;
        }
        let (newer_ms, later_ms) = (self.soon(), self.rng.below(4_000));
        for number in 1..=count {
            self.at(newer_ms, Happening::NewSnapshot(number));
            let at_ms = newer_ms + later_ms + self.rng.below(1_000);
            self.at(at_ms.min(FAULTS_MS), Happening::Delete(number));
        }
    }

    /// Everything works again.
    fn heal(&mut self, count: usize, links: LinkSpec) {
        let good = LinkSpec { loss_ppm: links.loss_ppm.min(10_000), corrupt_ppm: 0, ..links };
        for number in 1..=count {
            self.at(FAULTS_MS, Happening::Link(number, good));
            self.at(FAULTS_MS, Happening::Restart(number));
        }
        self.at(FAULTS_MS, Happening::DiskFreed);
    }
}
