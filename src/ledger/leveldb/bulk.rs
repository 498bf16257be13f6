//! Puts sorted records into a new database, or into one that holds other keys, too: tables first, then one MANIFEST that counts on them.
//!
//! ```text
//! begin(ranges)  lock, empty database if there is none, leftovers of an earlier attempt removed
//! run, run, ...  ascending records within the ranges -> tables; runs may be written at once, by several threads
//! commit         what was in the ranges left out of the old tables and logs (both written anew as far as they overlap),
//!                a level for each run, then MANIFEST and CURRENT
//! ```
//!
//! A crash before CURRENT has its new content leaves the database as it was. Decides where tables go; which keys are loaded, and that
//! nobody reads meanwhile, is left to the caller.

mod create;
mod folder;
mod levels;
mod ranges;
mod rewrite;
mod run;
mod syncing;

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

pub use self::{
    create::make_database,
    run::{LoadedRun, Run},
};
use self::{levels::place, ranges::Ranges, rewrite::without};
use super::{
    InternalKey, LevelDbError, ManifestFault, SEQUENCE_MAX, TableWriter, Version,
    reader::{RECENT_BYTES_MAX, replay},
};
use crate::disk::{Dir, Lock};

/// The lock that a peer holds on an open database (goleveldb: `leveldb/storage/file_storage.go`).
const LOCK: &str = "LOCK";

/// The tables of each level.
type Levels = BTreeMap<u32, Vec<super::TableMeta>>;

/// A load that is under way. Dropped before [`Bulk::commit`], it leaves tables behind that no MANIFEST names: the next [`Bulk::begin`]
/// removes them, and so does a peer that opens the database.
#[derive(Debug)]
pub struct Bulk {
    version: Version,
    recent: BTreeMap<InternalKey, Vec<u8>>,
    target: Arc<Target>,
    runs: Vec<LoadedRun>,
    _lock: Lock,
}

/// What all runs of a load have in common.
#[derive(Debug)]
struct Target {
    dir: Arc<dyn Dir>,
    /// All that is loaded has this number: it is above any other, and no key comes twice.
    sequence: u64,
    next_file: AtomicU64,
    replaced: Ranges,
}

impl Target {
    fn next_number(&self) -> u64 {
        self.next_file.fetch_add(1, Ordering::Relaxed)
    }

    fn new_table(&self) -> Result<TableWriter, LevelDbError> {
        TableWriter::create(&*self.dir, self.next_number())
    }
}

impl Bulk {
    /// Begins a load into the database in `dir`, which will replace all records in `replaced` and leave all others as they are. If the folder
    /// holds none, it is a new one; where a peer looks, [`make_database`] makes it.
    ///
    /// # Errors
    /// [`crate::disk::DiskError::Locked`] if somebody has the database open; [`LevelDbError`] if it is damaged, or whatever the disk says.
    pub fn begin(dir: Arc<dyn Dir>, replaced: Vec<Range<Vec<u8>>>) -> Result<Self, LevelDbError> {
        let lock = dir.lock(LOCK)?;
        let (_, version) = match Version::read(&*dir)? {
            Some(found) => found,
            None => folder::create(&*dir)?,
        };
        let recent = replay(&*dir, &version, RECENT_BYTES_MAX)?;
        folder::remove_strange_tables(&*dir, &version)?;
        let last = recent.keys().map(InternalKey::sequence).fold(version.last_sequence, u64::max);
        if last >= SEQUENCE_MAX {
            let (path, fault) = (dir.path().to_owned(), ManifestFault::Sequence);
            return Err(LevelDbError::Manifest { path, fault });
        }
        let next_file = version.next_file.max(folder::highest_number(&*dir)?.saturating_add(1));
        let replaced = Ranges::new(replaced);
        let target = Target { dir, sequence: last + 1, next_file: AtomicU64::new(next_file), replaced };
        Ok(Self { version, recent, target: Arc::new(target), runs: Vec::new(), _lock: lock })
    }

    /// Begins a run of records. Runs may interleave, but no key may come twice.
    #[must_use]
    pub fn run(&self) -> Run {
        Run::new(Arc::clone(&self.target))
    }

    /// Adds what a run has written.
    pub fn take(&mut self, run: LoadedRun) {
        self.runs.push(run);
    }

    /// Makes the database hold the runs, and in the replaced ranges nothing else, at once and durably.
    ///
    /// # Errors
    /// [`LevelDbError`] if an old table that must be written anew is damaged, [`LevelDbError::TooManyRuns`], or whatever the disk says;
    /// the database is as it was, unless only the last step failed.
    pub fn commit(self) -> Result<(), LevelDbError> {
        let Self { version, recent, target, runs, _lock } = self;
        let mut levels = without(&target, version.levels)?;
        let mut recent = recent.into_iter().filter(|(key, _)| !target.replaced.holds(key.user_key())).peekable();
        if recent.peek().is_some() {
            // The highest number of level 0, where the newest records have it.
            let mut table = target.new_table()?;
            for (key, value) in recent {
                table.add_of(key.user_key(), key.sequence(), key.kind(), &value)?;
            }
            levels.entry(0).or_default().push(table.finish()?);
        }
        place(&target, &mut levels, runs)?;
        let manifest = target.next_number();
        // A log that isn't there: those that are have lower numbers, and their records are in a table now.
        let log_number = target.next_number();
        let of_level = |(level, tables): (u32, Vec<super::TableMeta>)| {
            (level, tables.into_iter().map(|table| (table.number, table)).collect())
        };
        let version = Version {
            log_number,
            previous_log_number: 0,
            next_file: target.next_file.load(Ordering::Relaxed),
            last_sequence: target.sequence,
            levels: levels.into_iter().map(of_level).collect(),
        };
        version.write(&*target.dir, manifest)?;
        // It is done; what stays behind is removed by whoever opens the database next.
        let _ = folder::remove_obsolete(&*target.dir, &version, manifest);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
