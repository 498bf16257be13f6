//! What the next process may find after a power cut: a choice among what wasn't durable.
//!
//! - **Bytes**: any subset of the writes and changes of length that weren't synced is kept, of any files, in order; of the last
//!   kept write perhaps only the first half.
//! - **Names**: the changes of one folder reach the disk in order, so that a first part of them is kept; those of different
//!   folders independently, so that both orders of two folders occur. A rename is one step, also from one folder to another:
//!   file systems keep a journal, and never lose both names. A file's name can be lost although its bytes were synced, and
//!   kept although they weren't.

use std::collections::BTreeSet;

use super::{
    SimDisk,
    files::{Files, Pending},
};
use crate::Rng;

/// So many pending changes of bytes are tried in every combination: 2^10 subsets, each torn and whole.
pub const BYTES_EXHAUSTIVE_MAX: usize = 10;
/// So many pending changes of names likewise.
pub const NAMES_EXHAUSTIVE_MAX: usize = 6;
/// With more of either kind, so many combinations are drawn, beside the corners: all, none, each one alone, all but each one.
pub const SAMPLE: usize = 512;

/// A disk at the moment of a power cut.
#[derive(Debug, Clone)]
pub struct Image {
    files: Files,
    operation: u64,
}

impl Image {
    pub(super) const fn new(files: Files, operation: u64) -> Self {
        Self { files, operation }
    }

    /// The operation that didn't happen any more: so many did before it.
    #[must_use]
    pub const fn operation(&self) -> u64 {
        self.operation
    }

    /// A disk that the same processes left without a power cut: nothing is lost.
    #[must_use]
    pub fn killed(&self) -> SimDisk {
        SimDisk::of(self.files.clone())
    }

    /// Every disk that a power cut may leave, each once; the sample among more than can be tried is drawn from `rng`.
    #[must_use]
    pub fn outcomes(&self, rng: &mut Rng) -> Vec<SimDisk> {
        let (bytes, names) = (self.bytes(rng), self.names(rng));
        let mut seen = BTreeSet::new();
        let mut disks = Vec::new();
        for by_bytes in &bytes {
            for by_names in &names {
                let kept: Vec<bool> = by_bytes.iter().zip(by_names).map(|(byte, name)| *byte || *name).collect();
                for torn in [false, true] {
                    let files = self.files.after_crash(&kept, torn);
                    if seen.insert(files.hash()) {
                        disks.push(SimDisk::of(files));
                    }
                }
            }
        }
        disks
    }

    /// One of them.
    pub fn drawn(&self, rng: &mut Rng) -> SimDisk {
        let (kept, torn) = self.draw(rng);
        SimDisk::of(self.files.after_crash(&kept, torn))
    }

    pub(super) fn draw(&self, rng: &mut Rng) -> (Vec<bool>, bool) {
        let bytes = self.drawn_bytes(rng);
        let names = self.in_order(&mut |_| rng.hits(500_000));
        let kept = bytes.iter().zip(&names).map(|(byte, name)| *byte || *name).collect();
        (kept, rng.hits(500_000))
    }

    fn is_bytes(&self) -> Vec<bool> {
        self.files.pending().iter().map(|pending| matches!(pending, Pending::Data { .. })).collect()
    }

    fn drawn_bytes(&self, rng: &mut Rng) -> Vec<bool> {
        self.is_bytes().into_iter().map(|is_bytes| rng.hits(500_000) && is_bytes).collect()
    }

    /// Which changes of bytes are kept, per combination.
    fn bytes(&self, rng: &mut Rng) -> Vec<Vec<bool>> {
        let places: Vec<usize> = places(&self.is_bytes());
        let subset = |keeps: &dyn Fn(usize) -> bool| {
            let mut kept = vec![false; self.files.pending().len()];
            for (nth, place) in places.iter().enumerate() {
                kept.get_mut(*place).into_iter().for_each(|kept| *kept = keeps(nth));
            }
            kept
        };
        if places.len() <= BYTES_EXHAUSTIVE_MAX {
            return (0..1_usize << places.len()).map(|bits| subset(&|nth| bits >> nth & 1 == 1)).collect();
        }
        let mut subsets = vec![subset(&|_| false), subset(&|_| true)];
        for alone in 0..places.len() {
            subsets.extend([subset(&|nth| nth == alone), subset(&|nth| nth != alone)]);
        }
        subsets.extend((0..SAMPLE).map(|_| self.drawn_bytes(rng)));
        subsets
    }

    /// Which changes of names are kept, per combination.
    fn names(&self, rng: &mut Rng) -> Vec<Vec<bool>> {
        let is_names: Vec<bool> = self.is_bytes().into_iter().map(|is_bytes| !is_bytes).collect();
        let count = places(&is_names).len();
        let mut combinations = BTreeSet::new();
        if count <= NAMES_EXHAUSTIVE_MAX {
            for bits in 0..1_usize << count {
                combinations.insert(self.in_order(&mut |nth| bits >> nth & 1 == 1));
            }
            return combinations.into_iter().collect();
        }
        for at in 0..=count {
            combinations.insert(self.in_order(&mut |nth| nth < at));
            combinations.insert(self.in_order(&mut |nth| nth != at));
        }
        combinations.extend((0..SAMPLE).map(|_| self.in_order(&mut |_| rng.hits(500_000))));
        combinations.into_iter().collect()
    }

    /// Keeps those changes of names that `wanted` names by their number, but none behind a lost one of the same folder.
    fn in_order(&self, wanted: &mut dyn FnMut(usize) -> bool) -> Vec<bool> {
        let (mut blocked, mut nth) = (BTreeSet::new(), 0);
        let keeps = |pending: &Pending| match pending {
            Pending::Data { .. } => false,
            Pending::Names(change) => {
                let free = !change.folders().any(|folder| blocked.contains(&folder));
                let kept = wanted(nth) && free;
                nth += 1;
                if !kept {
                    blocked.extend(change.folders());
                }
                kept
            }
        };
        self.files.pending().iter().map(keeps).collect()
    }
}

fn places(which: &[bool]) -> Vec<usize> {
    which.iter().enumerate().filter_map(|(place, is)| is.then_some(place)).collect()
}
