//! The in-order pass: every file's chunks, first to last, into SHA-256 and the content check, on a thread of its own.
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

use super::{error::JoinError, fetch::Message};
use crate::{
    catalog::AgreedSnapshot,
    chunking::{BufferPool, FileProof, FileTree, Store, StoreError, VerifiedChunk, VerifiedFile, plan::Layout},
    snapshot::{ChunkIndex, ContentSummary, cross_check},
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

/// What the pass needs; all of it is shared with the driver.
pub(super) struct Pass {
    pub(super) agreed: Arc<AgreedSnapshot>,
    pub(super) layout: Layout,
    pub(super) trees: Arc<[FileTree]>,
    pub(super) store: Arc<Store>,
    pub(super) buffers: BufferPool,
    pub(super) started: tokio::time::Instant,
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

    /// Waits for the turn of `linear`: its bytes if they wait in memory, `None` if the store has them; `Err` when stopped.
    fn wait(&self, linear: u64) -> Result<Option<VerifiedChunk>, Stopped> {
        let mut turn = self.lock();
        turn.next = linear;
        turn.early = turn.early.split_off(&linear); // a second copy of what was hashed has no turn any more
        loop {
            if turn.stopped {
                return Err(Stopped);
            }
            if let Some(chunk) = turn.early.remove(&linear) {
                return Ok(Some(chunk));
            }
            if turn.stored.contains(linear) {
                return Ok(None);
            }
            turn = self.0.changed.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct Stopped;

enum Ended {
    Stopped,
    Failed(JoinError),
}

impl Pass {
    /// Starts the thread. It reports to the driver through `report` and ends with `Message::Proved` or `Message::Failed`.
    pub(super) fn start(
        self,
        inbox: Inbox,
        report: impl Fn(Message) + Send + 'static,
    ) -> std::io::Result<thread::JoinHandle<()>> {
        thread::Builder::new().name("in-order".to_owned()).spawn(move || {
            // A driver that waits for a thread that died would wait for ever.
            let ended = catch_unwind(AssertUnwindSafe(|| self.run(&inbox, &report)));
            match ended.unwrap_or(Err(Ended::Failed(JoinError::Bug { part: "the in-order pass" }))) {
                Ok(proved) => report(Message::Proved(Box::new(proved))),
                Err(Ended::Failed(error)) => report(Message::Failed(Box::new(error))),
                Err(Ended::Stopped) => {}
            }
        })
    }

    fn run(&self, inbox: &Inbox, report: &dyn Fn(Message)) -> Result<Proved, Ended> {
        let manifest = self.agreed.manifest();
        let mut files = Vec::new();
        let mut summaries = BTreeMap::new();
        let mut linear = 0;
        for tree in self.trees.iter() {
            let failed = |error| Ended::Failed(JoinError::Proof(error));
            let file = tree.file().file;
            let mut proof = FileProof::new(manifest, tree.file_index()).map_err(failed)?;
            while let Some(index) = proof.next() {
                let chunk = match inbox.wait(linear).map_err(|Stopped| Ended::Stopped)? {
                    Some(chunk) => chunk,
                    None => self.read_back(inbox, report, tree, linear, index)?,
                };
                proof.update(&chunk).map_err(failed)?;
                drop(chunk);
                linear += 1;
                report(Message::Hashed { linear });
            }
            let verified = proof.finish().map_err(failed)?;
            summaries.insert(file, verified.summary().clone());
            files.push(verified);
            report(Message::FileVerified { file, size: tree.file().size });
        }
        let content = cross_check(manifest.signable(), &summaries)
            .map_err(|source| Ended::Failed(JoinError::CrossCheck(Box::new(source))))?;
        Ok(Proved { files, content })
    }

    /// Reads a chunk that didn't wait in memory and proves it again; what rotted or never became durable is fetched anew.
    fn read_back(
        &self,
        inbox: &Inbox,
        report: &dyn Fn(Message),
        tree: &FileTree,
        linear: u64,
        index: ChunkIndex,
    ) -> Result<VerifiedChunk, Ended> {
        loop {
            if let Some(chunk) = self.read(tree, index) {
                return Ok(chunk);
            }
            inbox.lost(linear, linear + 1);
            report(Message::Lost { chunks: BTreeSet::from([linear]) });
            let behind = self.lost_behind(inbox, linear);
            if !behind.is_empty() {
                behind.iter().for_each(|&linear| inbox.lost(linear, linear + 1));
                report(Message::Lost { chunks: behind });
            }
            if let Some(chunk) = inbox.wait(linear).map_err(|Stopped| Ended::Stopped)? {
                return Ok(chunk);
            }
        }
    }

    /// The chunk, if the store gives it and it proves. What can't be read is as good as lost: it's fetched and written anew.
    fn read(&self, tree: &FileTree, index: ChunkIndex) -> Option<VerifiedChunk> {
        match self.store.rehash(tree, index, &self.buffers, self.started.elapsed()) {
            Ok(found) => found,
            Err(StoreError::StartsOver { .. }) => None,
            Err(error) => {
                tracing::warn!(file = %tree.file().file, chunk = index.0, %error, "a stored chunk is fetched again");
                None
            }
        }
    }

    /// Chunks close behind `first` that the store claims but doesn't hold.
    fn lost_behind(&self, inbox: &Inbox, first: u64) -> BTreeSet<u64> {
        let claimed = inbox.lock().stored.after(first);
        let near = claimed.into_iter().flat_map(|(from, end)| from..end.min(first.saturating_add(LOOK_BEHIND_CHUNKS)));
        near.take_while(|_| !inbox.lock().stopped)
            .filter(|&linear| {
                let Some((file_index, index)) = self.layout.chunk(linear) else { return false };
                let tree = usize::try_from(file_index).ok().and_then(|file| self.trees.get(file));
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
