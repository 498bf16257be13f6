//! Runs a scenario: the join, what happens meanwhile, and the join again after a crash, as an operator would.

use std::{collections::BTreeMap, fmt, time::Duration};

use netsim::Faults;
use snapferry::{
    bootstrap::{JoinError, JoinEvent, Joined, TransferProgress},
    snapshot::CHUNK_BYTES,
};
use tokio::time::{Instant, sleep_until};

use super::{
    channel::Change,
    joiner::Attempt,
    scenario::{Happening, Scenario, Timed},
    world::{JOINER, World, source_ip},
};

/// How long an operator waits before a join that failed is run again.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// How a run ended, with all that the oracles look at.
#[derive(Debug)]
pub struct Report {
    pub scenario: Scenario,
    pub seed: u64,
    /// How the last join ended; `None`: it hadn't at its deadline.
    pub ended: Option<Result<Joined, JoinError>>,
    pub attempts: Vec<AttemptReport>,
    /// Numbers of the sources that later joins won't ask, and why.
    pub banned: BTreeMap<usize, String>,
    /// Folders that lie published beside it, and didn't when it began.
    pub others: Vec<String>,
    /// What lies published, byte for byte.
    pub landed: Option<BTreeMap<String, Vec<u8>>>,
    /// What should: of the block that was joined, else of the first one.
    pub golden: BTreeMap<String, Vec<u8>>,
    /// What happened when, in words: for people.
    pub log: Vec<Line>,
    /// How far the transfer was, over time.
    pub samples: Vec<Sample>,
    /// Virtual time.
    pub took: Duration,
    /// Hash over every datagram's time, ends, length and fate.
    pub shape: u64,
    pub faults: Faults,
}

/// One run of the join.
#[derive(Debug, Default)]
pub struct AttemptReport {
    /// Bytes that it had when it began, and that stood their proof.
    pub resumed_bytes: u64,
    /// Of all its targets.
    pub received_bytes: u64,
    pub verified_bytes: u64,
    pub memory_peak_bytes: u64,
    pub chunks_rejected: u64,
    /// Numbers of the sources that were dropped for what they did, and why.
    pub dropped: BTreeMap<usize, String>,
    /// The blocks that it agreed on, one after the other.
    pub targets: Vec<u64>,
    /// It was killed, or lost power.
    pub crashed: Option<Crash>,
    /// How it failed, where an operator ran it again: as a kind, and in words.
    pub failed: Option<(FailedFor, String)>,
    /// Bytes and bad chunks of the targets before the last one.
    before: (u64, u64),
}

/// How a run was cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The process died: what it had written is there.
    Killed,
    /// The machine lost power, and part of what wasn't synced.
    PowerLost,
}

/// What a join that is run again failed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailedFor {
    /// Nobody who could be asked was there, or too few of those who must agree.
    WantOfSources,
    /// There is too little room to begin: said at once, before anything is fetched.
    WantOfRoom,
    /// Anything else.
    Another,
}

/// How far a transfer was at a time.
#[derive(Debug, Clone)]
pub struct Sample {
    pub at: Duration,
    pub verified_bytes: u64,
    pub total_bytes: u64,
    /// Proved bytes of each source in this run of the join, by its number.
    pub by_source: BTreeMap<usize, u64>,
    pub waiting_for: Option<String>,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Line {
    pub at: Duration,
    pub who: Who,
    pub text: String,
}

/// Whom a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The joiner.
    Joiner,
    /// A source, by its number.
    Source(usize),
    /// What the scenario did.
    Scenario,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joiner => f.write_str("joiner"),
            Self::Source(number) => write!(f, "source {number}"),
            Self::Scenario => f.write_str("scenario"),
        }
    }
}

/// Runs the scenario in virtual time.
pub fn run(scenario: &Scenario, seed: u64) -> Report {
    run_with(scenario, seed, |_| ())
}

/// As [`run`], in a world that `prepare` has changed.
pub fn run_with(scenario: &Scenario, seed: u64, prepare: impl FnOnce(&mut World)) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(scenario, seed);
        prepare(&mut world);
        let mut happenings = scenario.happenings.clone();
        happenings.sort_by_key(|timed| timed.at_ms);
        let run = Run {
            there: world.joiner.published(),
            began: Instant::now(),
            world,
            happenings,
            log: Vec::new(),
            samples: Vec::new(),
            attempts: Vec::new(),
        };
        run.ends(scenario, seed).await
    })
}

struct Run {
    world: World,
    began: Instant,
    /// Still to come, soonest first.
    happenings: Vec<Timed>,
    log: Vec<Line>,
    samples: Vec<Sample>,
    attempts: Vec<AttemptReport>,
    /// Folders that were published before.
    there: Vec<String>,
}

impl Run {
    async fn ends(mut self, scenario: &Scenario, seed: u64) -> Report {
        let last = scenario.happenings.iter().map(|timed| timed.at_ms).max().unwrap_or(0);
        let deadline = self.began + Duration::from_millis(last) + Duration::from_secs(scenario.deadline_s);
        let addresses = self.world.addresses();
        let mut ended = None;
        'attempts: loop {
            let begun = self.began.elapsed();
            let mut attempt = self.world.joiner.start(&addresses);
            let mut crashed = None;
            loop {
                let next = self.happenings.first().map(|timed| self.began + Duration::from_millis(timed.at_ms));
                tokio::select! {
                    biased;
                    joined = &mut attempt.task => {
                        ended = Some(joined.expect("the join panicked"));
                        break;
                    }
                    () = sleep_until(next.unwrap_or(deadline)) => {
                        if next.is_none() {
                            let of_attempt = self.told(&attempt);
                            self.attempts.push(of_attempt);
                            attempt.task.abort();
                            ended = None;
                            break 'attempts;
                        }
                        let timed = self.happenings.remove(0);
                        self.say(Who::Scenario, format!("{:?}", timed.what));
                        crashed = self.happens(&timed.what, &attempt);
                        if crashed.is_some() {
                            break;
                        }
                    }
                }
            }
            let mut of_attempt = self.told(&attempt);
            of_attempt.crashed = crashed;
            self.attempts.push(of_attempt);
            if crashed.is_some() {
                tokio::time::sleep(Duration::from_millis(scenario.joiner.back_after_ms)).await;
                continue;
            }
            // A join that things went wrong in may fail; the operator tries again.
            let again = matches!(ended, Some(Err(_))) && begun < Duration::from_millis(last);
            if !again {
                break;
            }
            if let (Some(Err(error)), Some(attempt)) = (&ended, self.attempts.last_mut()) {
                attempt.failed = Some((failed_for(error), error.to_string()));
            }
            self.say(Who::Joiner, "fails, and is run again".to_owned());
            self.happens_until(Instant::now() + AGAIN_AFTER).await;
        }
        self.world.hear().await;
        self.report(scenario, seed, ended)
    }

    /// Lets time pass while no join runs.
    async fn happens_until(&mut self, until: Instant) {
        while let Some(next) = self.happenings.first().map(|timed| self.began + Duration::from_millis(timed.at_ms)) {
            if next > until {
                break;
            }
            sleep_until(next).await;
            let timed = self.happenings.remove(0);
            self.say(Who::Scenario, format!("{:?}", timed.what));
            if !matches!(timed.what, Happening::KillJoiner | Happening::PowerCut) {
                self.happens_to_others(&timed.what);
            }
        }
        sleep_until(until).await;
    }

    /// How the joiner went, if it is gone.
    fn happens(&mut self, what: &Happening, attempt: &Attempt) -> Option<Crash> {
        match what {
            Happening::KillJoiner => {
                self.world.joiner.kill(attempt);
                Some(Crash::Killed)
            }
            Happening::PowerCut => {
                self.world.joiner.power_cut(attempt, &mut self.world.rng);
                Some(Crash::PowerLost)
            }
            other => {
                self.happens_to_others(other);
                None
            }
        }
    }

    fn happens_to_others(&mut self, what: &Happening) {
        let world = &mut self.world;
        match what {
            Happening::Cut(who) => world.net.partition(&ips(who), &[JOINER]),
            Happening::Mute(who) => world.net.cut(&ips(who), &[JOINER]),
            Happening::Deafen(who) => world.net.cut(&[JOINER], &ips(who)),
            Happening::Heal(who) => world.net.mend(&ips(who), &[JOINER]),
            Happening::Link(number, link) => world.relink(*number, Some(*link)),
            Happening::Crash(number) => world.source(*number).crash(),
            Happening::Stop(number) => world.source(*number).stop(),
            Happening::Restart(number) => world.source(*number).start(),
            Happening::RebindJoiner => world.net.rebind(&world.joiner.host),
            Happening::Delete(number) => {
                let id = world.golden.id.clone();
                if let Some(catalog) = world.source(*number).catalog() {
                    let _ = catalog.delete(&id);
                }
            }
            Happening::AskDeletion(number) | Happening::ForceDeletion(number) => {
                let (id, force) = (world.golden.id.clone(), matches!(what, Happening::ForceDeletion(_)));
                if let Some(catalog) = world.source(*number).catalog() {
                    catalog.request_deletion(&id, force, Instant::now().into_std()).unwrap();
                }
            }
            Happening::NewSnapshot(number) => {
                let newer = world.channel.golden(world.golden.bytes, 3);
                newer.put(&world.source(*number).disk, "snapshots/completed");
                if let Some(catalog) = world.source(*number).catalog() {
                    let _ = catalog.scan();
                }
            }
            Happening::Rot(number) => {
                let bit = world.rng.bits();
                let path = world.golden.largest_file("snapshots/completed");
                world.source(*number).disk.rot(&path, bit);
            }
            Happening::RemoveOrg(org) => {
                let config = world.channel.without_org(*org);
                world.reconfigure(&config);
            }
            Happening::Revoke(number) => {
                let peer = std::sync::Arc::clone(&world.source(*number).peer);
                let config = world.channel.revoking(&peer);
                world.reconfigure(&config);
            }
            Happening::RotateCa(number) => {
                let (org, channel) = (world.source(*number).peer.org(), std::sync::Arc::clone(&world.channel));
                let rotating = Change { rotating: vec![org], ..Change::default() };
                world.reconfigure(&channel.newer(1, &rotating));
                world.source(*number).peer = std::sync::Arc::new(channel.rotated_peer(org));
            }
            Happening::DiskHolds(bytes) => world.joiner.disk.set_capacity(Some(*bytes)),
            Happening::DiskFreed => world.joiner.disk.set_capacity(None),
            Happening::KillJoiner | Happening::PowerCut => {}
        }
    }

    fn say(&mut self, who: Who, text: String) {
        self.log.push(Line { at: self.began.elapsed(), who, text });
    }

    /// Puts what the join told into the log.
    fn told(&mut self, attempt: &Attempt) -> AttemptReport {
        let mut report = AttemptReport::default();
        for (at, event) in std::mem::take(&mut *attempt.told.lock().unwrap()) {
            let at = at.duration_since(self.began);
            let (who, text) = match event {
                JoinEvent::Progress(progress) => {
                    report.progress(&progress);
                    self.samples.push(sample(at, progress));
                    continue;
                }
                JoinEvent::SourceReady { source, snapshots, .. } => {
                    (number(&source), format!("ready, {snapshots} snapshots"))
                }
                JoinEvent::SourceFailed { source, reason } => (number(&source), format!("can't be used: {reason}")),
                JoinEvent::SourceLost { source, reason } => (number(&source), format!("lost: {reason}")),
                JoinEvent::SourceDropped { source, reason, .. } => {
                    if let Who::Source(number) = number(&source) {
                        report.dropped.insert(number, reason.clone());
                    }
                    (number(&source), format!("dropped: {reason}"))
                }
                JoinEvent::Agreed { block_number, organisations, .. } => {
                    report.targets.push(block_number);
                    (Who::Joiner, format!("agreed on block {block_number}: {}", organisations.join(", ")))
                }
                JoinEvent::Resuming { bytes } => {
                    report.resumed_bytes = bytes;
                    (Who::Joiner, format!("goes on with {} chunks", bytes.div_ceil(CHUNK_BYTES)))
                }
                JoinEvent::FileVerified { file, .. } => (Who::Joiner, format!("{file} is whole")),
                JoinEvent::DiskFull { reason } => (Who::Joiner, format!("disk full: {reason}")),
                JoinEvent::NoDescriptors { reason } => (Who::Joiner, format!("no descriptors: {reason}")),
                JoinEvent::Equivocation { msp_id, what, .. } => {
                    (Who::Joiner, format!("{msp_id} contradicts itself: {what}"))
                }
                other => (Who::Joiner, format!("{other:?}")),
            };
            self.log.push(Line { at, who, text });
        }
        report
    }

    fn report(mut self, scenario: &Scenario, seed: u64, ended: Option<Result<Joined, JoinError>>) -> Report {
        let text = match &ended {
            None => "isn't through at its deadline".to_owned(),
            Some(Ok(joined)) => format!("{:?}", joined.outcome),
            Some(Err(error)) => format!("ends: {error}"),
        };
        self.say(Who::Joiner, text);
        self.log.sort_by_key(|line| line.at);
        let golden =
            self.world.golden_of(ended.as_ref().and_then(|ended| ended.as_ref().ok()).map(|joined| &joined.id));
        let (channel, block) = (golden.id.channel.as_str(), golden.id.block_number.0);
        let landed = self.world.joiner.landed(channel, block);
        let mut others = self.world.joiner.published();
        // A run that was cut off right after it had landed the first block says nothing of it; the next one may join a newer block.
        let first = &self.world.golden;
        let landed_first = self.world.joiner.landed(channel, first.id.block_number.0).as_ref() == Some(&first.files);
        let first = format!("{channel}/{}", first.id.block_number);
        let is_known = |name: &String| self.there.contains(name) || (landed_first && *name == first);
        others.retain(|name| *name != format!("{channel}/{block}") && !is_known(name));
        Report {
            scenario: scenario.clone(),
            seed,
            ended,
            attempts: self.attempts,
            banned: self.world.banned(),
            others,
            landed,
            golden: golden.files.clone(),
            log: self.log,
            samples: self.samples,
            took: self.began.elapsed(),
            shape: self.world.net.shape_hash(),
            faults: self.world.net.faults(),
        }
    }
}

impl AttemptReport {
    /// Takes over what it told.
    pub fn progress(&mut self, progress: &TransferProgress) {
        // Each target is counted from zero.
        if self.before.0 + progress.received_bytes < self.received_bytes {
            self.before = (self.received_bytes, self.chunks_rejected);
        }
        self.received_bytes = self.before.0 + progress.received_bytes;
        self.verified_bytes = progress.verified_bytes;
        self.resumed_bytes = self.resumed_bytes.min(progress.verified_bytes);
        self.memory_peak_bytes = self.memory_peak_bytes.max(progress.memory_peak_bytes);
        self.chunks_rejected = self.before.1 + progress.shares.iter().map(|share| share.chunks_rejected).sum::<u64>();
    }
}

fn sample(at: Duration, progress: TransferProgress) -> Sample {
    let by_source = progress.shares.iter().filter_map(|share| match number(&share.source) {
        Who::Source(number) => Some((number, share.verified_bytes)),
        _ => None,
    });
    Sample {
        at,
        verified_bytes: progress.verified_bytes,
        total_bytes: progress.total_bytes,
        by_source: by_source.collect(),
        waiting_for: progress.waiting_for,
    }
}

/// Only who isn't there may end a join that things go wrong in; who is there and lies, is slow or refuses, may not.
fn failed_for(error: &JoinError) -> FailedFor {
    match error {
        JoinError::NoSource { .. } => FailedFor::WantOfSources,
        JoinError::NoSpace { .. } => FailedFor::WantOfRoom,
        JoinError::Agreement { troubles, .. } if troubles.iter().any(|trouble| !trouble.dropped) => {
            FailedFor::WantOfSources
        }
        _ => FailedFor::Another,
    }
}

/// The source at that address.
fn number(address: &str) -> Who {
    let ip = address.parse::<std::net::SocketAddr>().map(|address| address.ip());
    (1..=16).find(|number| ip.as_ref() == Ok(&source_ip(*number))).map_or(Who::Joiner, Who::Source)
}

fn ips(numbers: &[usize]) -> Vec<std::net::IpAddr> {
    numbers.iter().map(|number| source_ip(*number)).collect()
}
