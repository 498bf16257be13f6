//! Sorts records by key in bounded memory: what doesn't fit goes to run files in a scratch folder, which are merged.
//!
//! Records with the same key come out in the order in which they went in. Run files are removed as soon as they are read; what a crash
//! leaves is for the owner of the folder, as nothing in it is worth keeping. Of what is read back each byte is proved to be what was
//! written, at the end of its run at the latest: who uses the records must not call them good before the last one came.

mod memory;
mod run;

use std::{
    collections::{BinaryHeap, binary_heap::PeekMut},
    path::PathBuf,
    sync::Arc,
};

use self::{
    memory::Records,
    run::{Run, RunReader, RunWriter},
};
use crate::disk::{Dir, DiskError};

/// How many runs are merged at once: each takes a file descriptor and a part of the memory.
const FAN_IN: usize = 64;

/// Least bytes of a run that are read at once.
const READ_BYTES_MIN: usize = 4 << 10;

/// Key and value.
pub type Record<'a> = (&'a [u8], &'a [u8]);

/// Why sorting failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SortError {
    /// The scratch folder.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A record that was sorted isn't the one that was written.
    #[error("a record isn't what was written into the scratch folder: the disk is bad, or somebody else works there")]
    Record,
    /// A scratch file doesn't hold what was written into it.
    #[error("{} isn't what was written: the disk is bad, or somebody else works in that folder", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

/// Takes records in any order.
#[derive(Debug)]
pub struct Sorter {
    scratch: Arc<dyn Dir>,
    name: &'static str,
    budget_bytes: usize,
    records: Records,
    /// A run of level n+1 is [`FAN_IN`] runs of level n: the higher, the older.
    levels: Vec<Vec<Run>>,
    runs_made: u64,
}

impl Sorter {
    /// Sorts with run files `<name>.<number>` in the folder, which may be shared by sorters of other names. `budget_bytes` are held before
    /// a run is written, twice as many are used at the most (and what the longest record takes).
    #[must_use]
    pub fn new(scratch: Arc<dyn Dir>, name: &'static str, budget_bytes: usize) -> Self {
        Self { scratch, name, budget_bytes, records: Records::default(), levels: Vec::new(), runs_made: 0 }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// [`SortError`], if a run had to be written.
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), SortError> {
        self.records.push(key, value);
        if self.records.bytes() < self.budget_bytes { Ok(()) } else { self.spill() }
    }

    /// All records, ascending.
    ///
    /// # Errors
    /// [`SortError`].
    pub fn finish(mut self) -> Result<Sorted, SortError> {
        if self.levels.is_empty() {
            self.records.sort();
            return Ok(Sorted(Source::Memory(self.records)));
        }
        if self.records.bytes() > 0 {
            self.spill()?;
        }
        self.records = Records::default();
        let mut runs: Vec<Run> = std::mem::take(&mut self.levels).into_iter().rev().flatten().collect();
        while runs.len() > FAN_IN {
            // The youngest are the shortest.
            let excess = (runs.len() - FAN_IN + 1).min(FAN_IN);
            let youngest = runs.split_off(runs.len() - excess);
            runs.push(self.merge(youngest)?);
        }
        self.merged(runs)
    }

    /// Writes what is in memory as a run.
    fn spill(&mut self) -> Result<(), SortError> {
        self.records.sort();
        let mut writer = self.next_run()?;
        while let Some((key, value)) = self.records.next_record() {
            writer.push(key, value)?;
        }
        let mut run = writer.finish()?;
        self.records.clear(self.budget_bytes);
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(Vec::new());
            }
            let Some(runs) = self.levels.get_mut(level) else { break };
            runs.push(run);
            if runs.len() < FAN_IN {
                break;
            }
            let full = std::mem::take(runs);
            // Its memory goes to the merge.
            self.records = Records::default();
            run = self.merge(full)?;
        }
        Ok(())
    }

    fn merge(&mut self, runs: Vec<Run>) -> Result<Run, SortError> {
        let mut merged = self.merged(runs)?;
        let mut writer = self.next_run()?;
        while let Some((key, value)) = merged.next_record()? {
            writer.push(key, value)?;
        }
        writer.finish()
    }

    fn next_run(&mut self) -> Result<RunWriter, SortError> {
        self.runs_made += 1;
        RunWriter::create(Arc::clone(&self.scratch), format!("{}.{}", self.name, self.runs_made))
    }

    /// All records of these runs, the oldest first.
    fn merged(&self, runs: Vec<Run>) -> Result<Sorted, SortError> {
        let read_bytes = (self.budget_bytes / FAN_IN).max(READ_BYTES_MIN);
        let mut readers = BinaryHeap::with_capacity(runs.len());
        for (age, run) in runs.into_iter().enumerate() {
            readers.push(Box::new(RunReader::open(run, age, read_bytes)?));
        }
        Ok(Sorted(Source::Runs { readers, started: false }))
    }
}

/// A key's first eight bytes, as a number that orders as they do: keys with different ones are ordered as these are.
fn prefix(key: &[u8]) -> u64 {
    let mut first = [0; size_of::<u64>()];
    let count = key.len().min(first.len());
    if let (Some(to), Some(from)) = (first.get_mut(..count), key.get(..count)) {
        to.copy_from_slice(from);
    }
    u64::from_be_bytes(first)
}

/// Sorted records, handed out one by one.
#[derive(Debug)]
pub struct Sorted(Source);

#[derive(Debug)]
enum Source {
    Memory(Records),
    /// The one with the smallest key is on top; of those with the same key the oldest.
    Runs {
        /// Boxed: a heap moves what is in it, and a reader's hasher takes 2 KB.
        readers: BinaryHeap<Box<RunReader>>,
        started: bool,
    },
}

impl Sorted {
    /// The next record, key and value; `None` behind the last.
    ///
    /// # Errors
    /// [`SortError`].
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, SortError> {
        match &mut self.0 {
            Source::Memory(records) => Ok(records.next_record()),
            Source::Runs { readers, started } => {
                if *started
                    && let Some(mut top) = readers.peek_mut()
                    && !top.advance()?
                {
                    PeekMut::pop(top);
                }
                *started = true;
                Ok(readers.peek().map(|first| first.record()))
            }
        }
    }
}

#[cfg(test)]
mod tests;
