//! A join that runs beside others, outside [`super::run`], is held to the same oracles.

use std::{collections::BTreeSet, time::Duration};

use snapferry::{
    bootstrap::{JoinEvent, Joined, Outcome},
    snapshot::CHUNK_BYTES,
};

use super::{
    channel::Golden,
    joiner::{Attempt, Joiner},
    oracles::END_GAME_CHUNKS,
    run::AttemptReport,
};

/// Longer than any join in the tests.
const LIMIT: Duration = Duration::from_secs(3_600);

impl Attempt {
    /// Waits until it has landed `golden`, byte for byte, within its memory, without much in vain, and blames nobody but those addresses.
    ///
    /// # Panics
    /// If it doesn't.
    pub async fn lands(&mut self, joiner: &Joiner, golden: &Golden, blames: &[String]) -> Joined {
        let ended = tokio::time::timeout(LIMIT, &mut self.task).await.expect("it isn't through at its deadline");
        let joined = ended.expect("the join panicked").unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((joined.outcome, &joined.id), (Outcome::Landed, &golden.id));
        let landed = joiner.landed(golden.id.channel.as_str(), golden.id.block_number.0);
        assert!(landed.as_ref() == Some(&golden.files), "the folder isn't what the quorum has");
        let blamed = |share: &&snapferry::bootstrap::Share| share.dropped || share.chunks_rejected > 0;
        for share in joined.shares.iter().filter(blamed) {
            assert!(blames.contains(&share.source), "an honest source is blamed: {share:?}");
        }
        assert!(!blames.is_empty() || joiner.bans().is_empty(), "an honest source is banned: {:?}", joiner.bans());
        self.is_frugal(joiner, joined.total_bytes, joined.shares.len() as u64);
        joined
    }

    fn is_frugal(&self, joiner: &Joiner, total: u64, sources: u64) {
        let budget = u64::from(joiner.spec.budget_mib) * CHUNK_BYTES;
        let (mut report, mut targets) = (AttemptReport::default(), BTreeSet::new());
        for (_, event) in &*self.told.lock().unwrap() {
            match event {
                JoinEvent::Progress(progress) => report.progress(progress),
                JoinEvent::Agreed { block_number, .. } => drop(targets.insert(*block_number)),
                _ => {}
            }
        }
        let (peak, received, targets) = (report.memory_peak_bytes, report.received_bytes, targets.len() as u64);
        assert!(peak <= budget + CHUNK_BYTES, "chunks took {peak} bytes of memory, {budget} are the budget");
        // What was in flight may be lost wherever a source turns slow and is given up.
        let end_game = (END_GAME_CHUNKS * CHUNK_BYTES).min(total);
        let rejected = report.chunks_rejected * CHUNK_BYTES;
        let allowed = targets * (total + total / 20) + end_game + budget.min(total) * sources + rejected;
        assert!(received <= allowed, "{received} bytes came for {targets} snapshots of {total}; {allowed} are allowed");
    }
}
