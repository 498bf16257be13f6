//! What happens in one simulated join, as data: read from a file, drawn from a seed, or written down by a test.
//!
//! Times are virtual and count from the start of the join. Sources are named by their place in the list, from 1.

use std::time::Duration;

use netsim::Link;
use serde::{Deserialize, Serialize};

use super::liar::Lie;

/// One join: who is there, over which links, and what goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// A line for people.
    pub name: String,
    /// About the bytes of the snapshot.
    pub snapshot_bytes: u64,
    /// Organisations of the channel; the joiner is of the last one.
    pub organisations: usize,
    /// Fewest organisations that must vouch.
    pub min_orgs: u32,
    /// Whom the joiner asks.
    pub sources: Vec<SourceSpec>,
    /// The joining peer.
    pub joiner: JoinerSpec,
    /// Every machine has an IPv6 address too, and sources are known by names that lead to both.
    pub dual_stack: bool,
    /// Every link that no source has of its own.
    pub links: LinkSpec,
    /// What happens when; after the last one nothing more goes wrong.
    pub happenings: Vec<Timed>,
    /// From the last happening on, the join may take so long.
    pub deadline_s: u64,
    /// How it must end.
    pub expect: Expect,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            name: String::new(),
            snapshot_bytes: 1 << 20,
            organisations: 4,
            min_orgs: 2,
            sources: vec![SourceSpec::of(1), SourceSpec::of(2), SourceSpec::of(3)],
            joiner: JoinerSpec::default(),
            dual_stack: false,
            links: LinkSpec { latency_ms: 10, ..LinkSpec::default() },
            happenings: Vec::new(),
            deadline_s: 600,
            expect: Expect::Lands,
        }
    }
}

/// How a join must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// The snapshot lies there, byte for byte.
    Lands,
    /// It is refused, and nothing lies there.
    Refused,
    /// One of both, cleanly.
    Either,
}

/// A service that the joiner asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceSpec {
    /// Its organisation, from 1.
    pub org: usize,
    /// What it lies about; an honest one otherwise.
    pub lies: Option<Lie>,
    /// Its link, both ways.
    pub link: Option<LinkSpec>,
    /// From it to the joiner, if that differs.
    pub sends: Option<LinkSpec>,
    /// Its clock is so far ahead of the others'.
    pub clock_ahead_s: i64,
    /// It is down when the join begins.
    pub down: bool,
    /// Its own snapshot is another one than the others' (a colluding or forked organisation).
    pub forked: bool,
}

impl Default for SourceSpec {
    fn default() -> Self {
        let (lies, link, sends) = (None, None, None);
        Self { org: 1, lies, link, sends, clock_ahead_s: 0, down: false, forked: false }
    }
}

impl SourceSpec {
    /// An honest service of that organisation.
    pub fn of(org: usize) -> Self {
        Self { org, ..Self::default() }
    }

    /// That lies.
    pub fn lying(self, lie: impl Into<Lie>) -> Self {
        Self { lies: Some(lie.into()), ..self }
    }

    /// With a link of its own.
    pub fn over(self, link: LinkSpec) -> Self {
        Self { link: Some(link), ..self }
    }
}

/// The joining peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JoinerSpec {
    /// Memory budget of chunks.
    pub budget_mib: u32,
    /// Bytes that fit on its disk; none: any.
    pub disk_bytes: Option<u64>,
    /// Each chunk takes its disk so long.
    pub disk_ms_per_chunk: u64,
    /// Its clock is so far ahead of the others'.
    pub clock_ahead_s: i64,
    /// How long after a crash it starts again.
    pub back_after_ms: u64,
    /// Its address is behind a NAT.
    pub nat: bool,
}

impl Default for JoinerSpec {
    fn default() -> Self {
        Self {
            budget_mib: 8,
            disk_bytes: None,
            disk_ms_per_chunk: 0,
            clock_ahead_s: 0,
            back_after_ms: 1_000,
            nat: false,
        }
    }
}

/// One direction of a link, as written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkSpec {
    pub down: bool,
    pub latency_ms: u64,
    pub jitter_ms: u64,
    pub bandwidth_bytes_per_s: Option<u64>,
    /// 0: any.
    pub queue_bytes: u64,
    pub loss_ppm: u32,
    pub duplicate_ppm: u32,
    pub reorder_ppm: u32,
    pub reorder_ms: u64,
    pub corrupt_ppm: u32,
    /// Longer datagrams vanish.
    pub mtu: Option<usize>,
}

impl LinkSpec {
    /// One on which nothing goes wrong: of that latency, rate and room for what waits.
    pub const fn of(latency_ms: u64, bytes_per_s: u64, queue_bytes: u64) -> Self {
        Self {
            down: false,
            latency_ms,
            jitter_ms: 0,
            bandwidth_bytes_per_s: Some(bytes_per_s),
            queue_bytes,
            loss_ppm: 0,
            duplicate_ppm: 0,
            reorder_ppm: 0,
            reorder_ms: 0,
            corrupt_ppm: 0,
            mtu: None,
        }
    }

    /// For the simulator.
    pub fn link(self) -> Link {
        let ms = Duration::from_millis;
        Link {
            up: !self.down,
            latency: ms(self.latency_ms),
            jitter: ms(self.jitter_ms),
            bandwidth_bytes_per_s: self.bandwidth_bytes_per_s,
            queue_bytes: if self.queue_bytes == 0 { u64::MAX } else { self.queue_bytes },
            loss_ppm: self.loss_ppm,
            duplicate_ppm: self.duplicate_ppm,
            reorder_ppm: self.reorder_ppm,
            reorder_delay: ms(self.reorder_ms),
            corrupt_ppm: self.corrupt_ppm,
            mtu: self.mtu,
        }
    }
}

/// Something that happens at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timed {
    /// Since the start of the join.
    pub at_ms: u64,
    /// What.
    #[serde(flatten)]
    pub what: Happening,
}

/// What can happen. Numbers name sources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// Nothing passes between them and anybody else, either way.
    Cut(Vec<usize>),
    /// What they send vanishes.
    Mute(Vec<usize>),
    /// What is sent to them vanishes.
    Deafen(Vec<usize>),
    /// All that was cut passes again.
    Heal(Vec<usize>),
    /// A source gets another link, both ways.
    Link(usize, LinkSpec),
    /// A source's machine stops, without a goodbye.
    Crash(usize),
    /// A source's service is stopped properly.
    Stop(usize),
    /// It runs again.
    Restart(usize),
    /// The NAT in front of the joiner does.
    RebindJoiner,
    /// A source's snapshot is deleted at once, whoever downloads it.
    Delete(usize),
    /// A source's admin has it deleted, once nobody downloads it any more.
    AskDeletion(usize),
    /// The same; who downloads it has ten minutes.
    ForceDeletion(usize),
    /// A source's peer finishes a newer snapshot, one that no other has.
    NewSnapshot(usize),
    /// A bit of a source's files rots.
    Rot(usize),
    /// An organisation is removed from the channel; everybody hears of it.
    RemoveOrg(usize),
    /// A source's peer is revoked; everybody hears of it.
    Revoke(usize),
    /// The organisation of a source gets its next CAs beside the first; it has certificates of those when it starts again.
    RotateCa(usize),
    /// The joiner's process dies; it is started again.
    KillJoiner,
    /// The joiner's machine loses power, and with it part of what wasn't synced; it is started again.
    PowerCut,
    /// So much fits on the joiner's disk from now on.
    DiskHolds(u64),
    /// Any amount does.
    DiskFreed,
}
