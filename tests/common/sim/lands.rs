//! A join that runs beside others, outside [`super::run`], is held to the same oracles.

use std::time::Duration;

use snapferry::{
    bootstrap::{JoinEvent, Joined, Outcome},
    snapshot::CHUNK_BYTES,
};

use super::{
    channel::Golden,
    joiner::{Attempt, Joiner},
};

/// Longer than any join in the tests.
const LIMIT: Duration = Duration::from_secs(3_600);
/// The last chunks that may be asked twice (`protocol.md` 7).
const END_GAME_CHUNKS: u64 = 16;

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
        let (mut peak, mut received, mut targets, mut of_targets) = (0, 0, 0_u64, 0);
        for (_, event) in &*self.told.lock().unwrap() {
            match event {
                JoinEvent::Progress(progress) => {
                    peak = peak.max(progress.memory_peak_bytes);
                    received = progress.received_bytes;
                }
                // Each has a count of its own.
                JoinEvent::Agreed { .. } => {
                    targets += 1;
                    of_targets += received;
                    received = 0;
                }
                JoinEvent::SourceDropped { .. } => of_targets = of_targets.saturating_sub(budget),
                _ => {}
            }
        }
        assert!(peak <= budget + CHUNK_BYTES, "chunks took {peak} bytes of memory, {budget} are the budget");
        // What was in flight may be lost wherever a source turns slow and is given up.
        let end_game = (END_GAME_CHUNKS * CHUNK_BYTES).min(total);
        let allowed = targets * (total + total / 20) + end_game + budget.min(total) * sources;
        let received = received + of_targets;
        assert!(received <= allowed, "{received} bytes came for {targets} snapshots of {total}; {allowed} are allowed");
    }
}
