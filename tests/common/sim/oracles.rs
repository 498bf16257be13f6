//! What every simulated run is held to, whatever went wrong in it.
//!
//! 1. Nothing unverified reaches the loader: the compiler's (`VerifiedChunk`), and seen in 2.
//! 2. The published bytes are the quorum's, or nothing is published and the refusal says why.
//! 3. No honest source is dropped for what it did, or banned beyond the join.
//! 4. The chunks' memory stays in its budget, plus one chunk per worker (here: one).
//! 5. Bytes that were fetched for nothing: hedges (5 %), the end-game, what was in flight at each crash and cut, what liars sent; and each
//!    run has what the one before had proved, unless that lost power.
//! 6. Once faults stop, the run ends within its deadline; before, a join ends only for want of sources or of room.
//! 7. The same seed gives the same trace: the meta test's.

use std::{collections::BTreeSet, process::Command};

use snapferry::snapshot::CHUNK_BYTES;

use super::{
    run::{Crash, FailedFor, Report},
    scenario::{Expect, Happening},
};

/// The last chunks that may be asked twice, at least (`protocol.md` 7).
pub const END_GAME_CHUNKS: u64 = 16;

impl Report {
    /// Holds the run to all of them.
    ///
    /// # Panics
    /// If one is broken: with the seed, the scenario and what happened.
    pub fn check(&self) {
        if let Err(broken) = self.broken() {
            panic!("{}", self.account(&broken));
        }
    }

    /// As [`Self::check`], but for what was fetched in vain: where the disk fails files have to begin anew, and the test itself says how
    /// much that may cost.
    pub fn check_but_for_waste(&self) {
        if let Err(broken) = self.broken_but_for_waste() {
            panic!("{}", self.account(&broken));
        }
    }

    /// What is broken, if something is.
    pub fn broken(&self) -> Result<(), String> {
        self.broken_but_for_waste()?;
        self.waste_is_bounded()?;
        self.nothing_proved_is_lost()
    }

    fn broken_but_for_waste(&self) -> Result<(), String> {
        self.bytes_are_right()?;
        self.no_honest_source_is_dropped()?;
        self.memory_is_bounded()?;
        self.failures_have_a_reason()
    }

    fn bytes_are_right(&self) -> Result<(), String> {
        let landed = self.landed.as_ref();
        if let Some(landed) = landed
            && *landed != self.golden
        {
            return Err("what is published isn't what the quorum has".to_owned());
        }
        if let Some(other) = self.others.first() {
            return Err(format!("{other} is published, and isn't what was joined"));
        }
        match (&self.ended, self.scenario.expect) {
            (None, _) => Err("it isn't through at its deadline".to_owned()),
            (Some(Ok(_)), Expect::Refused) => Err("it should have been refused".to_owned()),
            (Some(Ok(_)), _) if landed.is_none() => {
                Err("it says that it's through, and nothing is published".to_owned())
            }
            (Some(Err(error)), Expect::Lands) => Err(format!("it should have landed: {error}")),
            (Some(Err(_)), Expect::Refused) if landed.is_some() => Err("refused, and published".to_owned()),
            (Some(Err(error)), _) if error.to_string().is_empty() => Err("a refusal without a reason".to_owned()),
            _ => Ok(()),
        }
    }

    fn no_honest_source_is_dropped(&self) -> Result<(), String> {
        let dropped = self.attempts.iter().flat_map(|attempt| &attempt.dropped);
        for (number, reason) in dropped.chain(&self.banned) {
            if self
                .scenario
                .sources
                .get(number - 1)
                .is_some_and(|source| source.lies.is_none_or(|lie| !lie.0.is_malice()))
            {
                return Err(format!("source {number} is honest, and was dropped or banned: {reason}"));
            }
        }
        Ok(())
    }

    fn memory_is_bounded(&self) -> Result<(), String> {
        let bound = (u64::from(self.scenario.joiner.budget_mib) + 1) * CHUNK_BYTES;
        let peak = self.attempts.iter().map(|attempt| attempt.memory_peak_bytes).max().unwrap_or(0);
        if peak > bound { Err(format!("chunks took {peak} bytes of memory, {bound} are the budget")) } else { Ok(()) }
    }

    /// An operator who runs a join again must not hide that it needn't have failed.
    fn failures_have_a_reason(&self) -> Result<(), String> {
        let failed = self.attempts.iter().filter_map(|attempt| attempt.failed.as_ref());
        for (kind, reason) in failed {
            if *kind == FailedFor::Another {
                return Err(format!("it failed, and had to be run again: {reason}"));
            }
        }
        Ok(())
    }

    fn waste_is_bounded(&self) -> Result<(), String> {
        let total: u64 = self.data_bytes();
        let budget = u64::from(self.scenario.joiner.budget_mib) * CHUNK_BYTES;
        // What was in flight may be lost each time that somebody goes, or turns slow and is given up.
        let interruptions = self.scenario.happenings.iter().filter(|timed| interrupts(&timed.what)).count() as u64;
        let slow = self.scenario.sources.iter().filter(|source| source.lies.is_some() || source.link.is_some()).count();
        let rejected: u64 = self.attempts.iter().map(|attempt| attempt.chunks_rejected * CHUNK_BYTES).sum();
        let runs_again = self.attempts.len().saturating_sub(1) as u64;
        let in_flight = budget.min(total) * (interruptions + slow as u64 + runs_again);
        // A second copy takes a place in memory, too, beside the first.
        let end_game = END_GAME_CHUNKS.min(u64::from(self.scenario.joiner.budget_mib) - 1) * CHUNK_BYTES;
        // What came of a target that was given up is of use only where the next one has it, too.
        let targets = self.attempts.iter().flat_map(|attempt| &attempt.targets).collect::<BTreeSet<_>>().len();
        let all = total * targets.max(1) as u64;
        let allowed = all + all / 20 + end_game.min(total) + in_flight + rejected;
        let received: u64 = self.attempts.iter().map(|attempt| attempt.received_bytes).sum();
        if received > allowed {
            return Err(format!("{received} bytes came for {targets} snapshots of {total}; {allowed} are allowed"));
        }
        Ok(())
    }

    /// What is whole isn't fetched again: each run starts with what those before it had, but for what wasn't durable.
    fn nothing_proved_is_lost(&self) -> Result<(), String> {
        let mut had: Option<(u64, u64)> = None;
        for attempt in &self.attempts {
            let target = attempt.targets.last();
            if let Some((of, bytes)) = had
                && target == Some(&of)
                && attempt.received_bytes > 0
                && attempt.resumed_bytes < bytes
                && !self.disk_misbehaves()
            {
                return Err(format!("a run left {bytes} proved bytes, a later one found {}", attempt.resumed_bytes));
            }
            if attempt.crashed == Some(Crash::PowerLost) {
                had = None;
            } else if let Some(target) = target
                && attempt.verified_bytes > 0
            {
                had = Some((*target, attempt.verified_bytes));
            }
        }
        Ok(())
    }

    fn disk_misbehaves(&self) -> bool {
        self.scenario.happenings.iter().any(|timed| matches!(timed.what, Happening::DiskHolds(_)))
    }

    fn data_bytes(&self) -> u64 {
        let data = self.golden.iter().filter(|(name, _)| !name.ends_with(".json"));
        data.map(|(_, bytes)| bytes.len() as u64).sum()
    }

    /// What happened, for whoever has to find out why.
    pub fn account(&self, broken: &str) -> String {
        let (seed, scenario, attempts) = (self.seed, &self.scenario, &self.attempts);
        let mut text = format!("{broken}\n\nseed {seed}, {}: {scenario:#?}\n\nattempts: {attempts:#?}\n", code());
        for line in &self.log {
            text += &format!("{:>10.3} s  {:<10} {}\n", line.at.as_secs_f64(), line.who.to_string(), line.text);
        }
        text
    }
}

/// What ran: the version, and the commit where this is a checkout and git is there.
pub fn code() -> String {
    let describe = ["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty", "--exclude=*"];
    let told = Command::new("git").args(describe).output().ok().filter(|told| told.status.success());
    let commit = told.map(|told| String::from_utf8_lossy(&told.stdout).trim().to_owned());
    let version = concat!("snapferry ", env!("CARGO_PKG_VERSION"));
    commit.map_or_else(|| version.to_owned(), |commit| format!("{version} at {commit}"))
}

fn interrupts(what: &Happening) -> bool {
    /// A source that becomes slower than that is given up, and what it owes is asked elsewhere.
    const SLOW_BYTES_PER_S: u64 = 100_000;
    match what {
        Happening::Heal(_) | Happening::Restart(_) | Happening::DiskFreed | Happening::NewSnapshot(_) => false,
        // Counted as runs of the join.
        Happening::KillJoiner | Happening::PowerCut => false,
        Happening::Link(_, link) => link.bandwidth_bytes_per_s.is_some_and(|rate| rate < SLOW_BYTES_PER_S),
        _ => true,
    }
}
