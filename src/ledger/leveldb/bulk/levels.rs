//! Which level a run goes to: one where its tables overlap none, and that doesn't become so full that a peer would begin to rewrite it.

use super::{Levels, LoadedRun, Target};
use crate::ledger::leveldb::{LEVELS_MAX, LevelDbError, TableMeta};

/// Bytes of level `n` from which on goleveldb compacts it, as a multiple of 10 to the power of `n` (`opt.DefaultCompactionTotalSize`,
/// `DefaultCompactionTotalSizeMultiplier`).
const LEVEL_BYTES: u64 = 10 << 20;

/// Adds the runs' tables to the levels. A run may go to any level from 1 on: what is left of the old tables holds none of its keys.
pub(super) fn place(target: &Target, levels: &mut Levels, mut runs: Vec<LoadedRun>) -> Result<(), LevelDbError> {
    // Small levels should be left to small runs.
    runs.sort_by_key(|run| std::cmp::Reverse(run.bytes()));
    for run in runs {
        let free = (1..LEVELS_MAX).find(|level| {
            let tables = levels.get(level).map(Vec::as_slice).unwrap_or_default();
            let bytes: u64 = tables.iter().map(|table| table.bytes).sum();
            bytes.saturating_add(run.bytes()) < LEVEL_BYTES.saturating_mul(10_u64.saturating_pow(*level))
                && overlaps_none(tables, &run.tables)
        });
        let level = free.ok_or_else(|| LevelDbError::TooManyRuns { path: target.dir.path().to_owned() })?;
        levels.entry(level).or_default().extend(run.tables);
    }
    Ok(())
}

fn overlaps_none(there: &[TableMeta], new: &[TableMeta]) -> bool {
    let mut there: Vec<&TableMeta> = there.iter().collect();
    there.sort_by(|one, other| one.smallest.cmp(&other.smallest));
    new.iter().all(|table| {
        let next = there.partition_point(|other| other.largest.user_key() < table.smallest.user_key());
        there.get(next).is_none_or(|other| other.smallest.user_key() > table.largest.user_key())
    })
}
