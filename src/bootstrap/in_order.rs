//! The in-order pass: every file's chunks, first to last, into SHA-256 and the content check, on a thread of its own (or, where
//! there is only one thread, by steps whenever chunks have come).
//!
//! Chunks come roughly in order. The few that come early wait in memory (at most [`EARLY_CHUNKS_MAX`], they keep their permit
//! of the budget); any other is only remembered as present and read back from the store, proved again, when its turn comes.
//! What the store held before this run goes the same way, so nothing from a disk is believed unproved.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use super::{error::JoinError, feed::Feeder, fetch::Message};
use crate::{
    catalog::AgreedSnapshot,
    chunking::{BufferPool, FileProof, FileTree, Store, StoreError, VerifiedChunk, VerifiedFile, plan::Layout},
    snapshot::{ChunkIndex, ContentSummary, FileSummary, SnapshotFile, cross_check},
};

/// Chunks that may wait in memory for their turn, and never more than half of the budget, so that the other half always moves.
const EARLY_CHUNKS_MAX: usize = 12;
/// How far behind a chunk that is lost its neighbours are looked at, so that they are asked for together: a torn run, or a
/// file system that doesn't tell holes from data.
const LOOK_BEHIND_CHUNKS: u64 = 256;

/// What the pass gives when every file is proved.
#[derive(Debug)]
pub(super) struct Proved {
    pub(super) files: Vec<VerifiedFile>,
    pub(super) content: ContentSummary,
}

/// Hands chunks to the pass. Clones share one pass.
#[derive(Debug, Clone)]
pub(super) struct Inbox(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    turn: Mutex<Turn>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Turn {
    early_max: usize,
    next: u64,
    early: BTreeMap<u64, VerifiedChunk>,
    /// Positions that lie proved in the store, or are claimed by it.
    stored: Ranges,
    stopped: bool,
}

/// What the pass works on; all of it is shared with the driver.
pub(super) struct PassOf {
    pub(super) agreed: Arc<AgreedSnapshot>,
    pub(super) layout: Layout,
    pub(super) trees: Arc<[FileTree]>,
    pub(super) store: Arc<Store>,
    pub(super) buffers: BufferPool,
    pub(super) started: tokio::time::Instant,
    /// A load that takes what is proved.
    pub(super) feeder: Option<Feeder>,
}

impl Inbox {
    /// For a transfer with a budget of so many chunks.
    pub(super) fn new(budget_chunks: u32) -> Self {
        let early_max = EARLY_CHUNKS_MAX.min(budget_chunks as usize / 2);
        Self(Arc::new(Shared { turn: Mutex::new(Turn { early_max, ..Turn::default() }), changed: Condvar::new() }))
    }

    /// Takes a chunk that is proved and written. `true`: it's kept in memory, its permit is free once it was hashed.
    pub(super) fn offer(&self, linear: u64, chunk: VerifiedChunk) -> bool {
        let mut turn = self.lock();
        let near = linear >= turn.next && linear - turn.next <= turn.early_max as u64;
        let kept = near && turn.early.len() < turn.early_max;
        if kept {
            turn.early.insert(linear, chunk);
        }
        turn.stored.insert(linear, linear + 1);
        drop(turn);
        self.0.changed.notify_one();
        kept
    }

    /// Takes positions that the store claims to hold; each is proved when it's read.
    pub(super) fn claimed(&self, first: u64, end: u64) {
        self.lock().stored.insert(first, end);
        self.0.changed.notify_one();
    }

    /// Forgets positions whose bytes turned out to be lost.
    pub(super) fn lost(&self, first: u64, end: u64) {
        self.lock().stored.remove(first, end);
    }

    /// Ends the pass early.
    pub(super) fn stop(&self) {
        self.lock().stopped = true;
        self.0.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Turn> {
        self.0.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It's the turn of `linear`: where its bytes are, if they are here.
    fn turn_of(&self, linear: u64) -> Option<Place> {
        let mut turn = self.lock();
        turn.next = linear;
        turn.early = turn.early.split_off(&linear); // a second copy of what was hashed has no turn any more
        let early = turn.early.remove(&linear).map(Place::Memory);
        early.or_else(|| turn.stored.contains(linear).then_some(Place::Store))
    }

    /// Waits until [`Self::turn_of`] gives something; false when stopped.
    fn wait_for(&self, linear: u64) -> bool {
        let absent =
            |turn: &mut Turn| !turn.stopped && !turn.early.contains_key(&linear) && !turn.stored.contains(linear);
        let turn = self.0.changed.wait_while(self.lock(), absent);
        !turn.unwrap_or_else(PoisonError::into_inner).stopped
    }
}

/// Where a chunk is whose turn it is.
enum Place {
    Memory(VerifiedChunk),
    Store,
}

/// What one step of the pass did.
enum Step {
    Went,
    /// The next chunk isn't here.
    Waits,
    Through(Proved),
}

/// The pass under way.
pub(super) struct Pass {
    of: PassOf,
    inbox: Inbox,
    /// The next chunk.
    linear: u64,
    /// The file that it is in, and what was hashed of it.
    proof: Option<FileProof>,
    files: Vec<VerifiedFile>,
    summaries: BTreeMap<SnapshotFile, FileSummary>,
}

impl Pass {
    /// A pass that has hashed nothing yet.
    pub(super) fn new(of: PassOf, inbox: Inbox) -> Self {
        Self { of, inbox, linear: 0, proof: None, files: Vec::new(), summaries: BTreeMap::new() }
    }

    /// Runs on a thread of its own. It reports to the driver through `report` and ends with `Message::Proved` or `Message::Failed`,
    /// or without a word when the inbox is stopped.
    pub(super) fn start(
        mut self,
        report: impl Fn(Message) + Send + 'static,
    ) -> std::io::Result<thread::JoinHandle<()>> {
        thread::Builder::new().name("in-order".to_owned()).spawn(move || {
            // A driver that waits for a thread that died would wait for ever.
            let ran =
                catch_unwind(AssertUnwindSafe(|| while self.advance(&report) && self.inbox.wait_for(self.linear) {}));
            if ran.is_err() {
                report(Message::Failed(Box::new(JoinError::Bug { part: "the in-order pass" })));
            }
        })
    }

    /// Hashes all that is here, without waiting; false when it has reported its end.
    pub(super) fn advance(&mut self, report: &dyn Fn(Message)) -> bool {
        loop {
            match self.step(report) {
                Ok(Step::Went) => {}
                Ok(Step::Waits) => return true,
                Ok(Step::Through(proved)) => {
                    report(Message::Proved(Box::new(proved)));
                    return false;
                }
                Err(error) => {
                    report(Message::Failed(Box::new(error)));
                    return false;
                }
            }
        }
    }

    fn step(&mut self, report: &dyn Fn(Message)) -> Result<Step, JoinError> {
        let trees = Arc::clone(&self.of.trees);
        let manifest = self.of.agreed.manifest();
        let file_index = self.of.layout.order().get(self.files.len()).and_then(|index| usize::try_from(*index).ok());
        let Some(tree) = file_index.and_then(|index| trees.get(index)) else {
            let content = cross_check(manifest.signable(), &self.summaries)
                .map_err(|source| JoinError::CrossCheck(Box::new(source)))?;
            let mut files = std::mem::take(&mut self.files);
            files.sort_by_key(VerifiedFile::file_index);
            return Ok(Step::Through(Proved { files, content }));
        };
        let mut proof = match self.proof.take() {
            Some(proof) => proof,
            None => FileProof::new(manifest, tree.file_index()).map_err(JoinError::Proof)?,
        };
        let Some(index) = proof.next() else {
            let verified = proof.finish().map_err(JoinError::Proof)?;
            if let Some(feeder) = &self.of.feeder {
                feeder.verified(&verified);
            }
            self.summaries.insert(tree.file().file, verified.summary().clone());
            self.files.push(verified);
            report(Message::FileVerified { file: tree.file().file, size: tree.file().size });
            return Ok(Step::Went);
        };
        let chunk = match self.inbox.turn_of(self.linear) {
            Some(Place::Memory(chunk)) => Some(chunk),
            Some(Place::Store) => self.read_back(report, tree, index),
            None => None,
        };
        let step = match &chunk {
            Some(chunk) => {
                proof.update(chunk).map_err(JoinError::Proof)?;
                self.linear += 1;
                Step::Went
            }
            None => Step::Waits,
        };
        self.proof = Some(proof);
        match (chunk, self.feeder_of(tree)) {
            (Some(chunk), Some(feeder)) => feeder.chunk(tree.file().file, chunk),
            (chunk, _) => drop(chunk), // its buffer is free before its permit is
        }
        if matches!(step, Step::Went) {
            report(Message::Hashed { linear: self.linear });
        }
        Ok(step)
    }

    /// The load beside the transfer, if there is one and it reads that file.
    fn feeder_of(&self, tree: &FileTree) -> Option<&Feeder> {
        self.of.feeder.as_ref().filter(|_| Feeder::wants(tree.file().file))
    }

    /// Reads a chunk that didn't wait in memory and proves it again; what rotted or never became durable is fetched anew.
    fn read_back(&self, report: &dyn Fn(Message), tree: &FileTree, index: ChunkIndex) -> Option<VerifiedChunk> {
        if let Some(chunk) = self.read(tree, index) {
            return Some(chunk);
        }
        self.inbox.lost(self.linear, self.linear + 1);
        report(Message::Lost { chunks: BTreeSet::from([self.linear]) });
        let behind = self.lost_behind(self.linear);
        if !behind.is_empty() {
            behind.iter().for_each(|&linear| self.inbox.lost(linear, linear + 1));
            report(Message::Lost { chunks: behind });
        }
        None
    }

    /// The chunk, if the store gives it and it proves. What can't be read is as good as lost: it's fetched and written anew.
    fn read(&self, tree: &FileTree, index: ChunkIndex) -> Option<VerifiedChunk> {
        match self.of.store.rehash(tree, index, &self.of.buffers, self.of.started.elapsed()) {
            Ok(found) => found,
            Err(StoreError::StartsOver { .. }) => None,
            Err(error) => {
                tracing::warn!(file = %tree.file().file, chunk = index.0, %error, "a stored chunk is fetched again");
                None
            }
        }
    }

    /// Chunks close behind `first` that the store claims but doesn't hold.
    fn lost_behind(&self, first: u64) -> BTreeSet<u64> {
        let claimed = self.inbox.lock().stored.after(first);
        let near = claimed.into_iter().flat_map(|(from, end)| from..end.min(first.saturating_add(LOOK_BEHIND_CHUNKS)));
        near.take_while(|_| !self.inbox.lock().stopped)
            .filter(|&linear| {
                let Some((file_index, index)) = self.of.layout.chunk(linear) else { return false };
                let tree = usize::try_from(file_index).ok().and_then(|file| self.of.trees.get(file));
                tree.is_some_and(|tree| self.read(tree, index).is_none())
            })
            .collect()
    }
}

/// Sorted, disjoint, non-adjacent ranges of positions.
#[derive(Debug, Default)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    pub(super) fn contains(&self, at: u64) -> bool {
        self.0.range(..=at).next_back().is_some_and(|(_, &end)| at < end)
    }

    pub(super) fn insert(&mut self, first: u64, end: u64) {
        if first >= end {
            return;
        }
        let (mut first, mut end) = (first, end);
        while let Some((&from, &to)) = self.0.range(..=end).next_back().filter(|&(_, &to)| to >= first) {
            self.0.remove(&from);
            first = first.min(from);
            end = end.max(to);
        }
        self.0.insert(first, end);
    }

    pub(super) fn remove(&mut self, first: u64, end: u64) {
        while let Some((&from, &to)) = self.0.range(..end).next_back().filter(|&(_, &to)| to > first) {
            self.0.remove(&from);
            self.insert(from, first);
            if to > end {
                self.0.insert(end, to);
            }
        }
    }

    /// What lies behind `at`.
    fn after(&self, at: u64) -> Vec<(u64, u64)> {
        let behind = self.0.iter().map(|(&from, &end)| (from.max(at + 1), end));
        behind.filter(|(from, end)| from < end).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S5: what came before its turn.
    #[test]
    fn chunks_in_memory_never_hold_more_than_half_of_the_budget() {
        for budget in [2, 8, 12, 32, 1024] {
            assert!(Inbox::new(budget).lock().early_max <= budget as usize / 2, "{budget}");
        }
    }

    #[test]
    fn ranges_join_and_split() {
        let mut ranges = Ranges::default();
        ranges.insert(0, 4);
        ranges.insert(6, 8);
        ranges.insert(4, 6);
        assert_eq!(ranges.0, BTreeMap::from([(0, 8)]));
        ranges.remove(2, 3);
        assert_eq!(ranges.0, BTreeMap::from([(0, 2), (3, 8)]));
        assert!(ranges.contains(1) && !ranges.contains(2) && ranges.contains(3) && !ranges.contains(8));
        assert_eq!(ranges.after(4), vec![(5, 8)]);
        ranges.insert(1, 5);
        assert_eq!(ranges.0, BTreeMap::from([(0, 8)]));
    }
}
