//! Old tables without the records that are replaced.

use std::collections::BTreeMap;

use super::{Levels, Target};
use crate::ledger::leveldb::{LevelDbError, TableMeta, TableReader, TableWriter};

/// The tables of all levels without the records in the replaced ranges. From level 1 on, none spans such a range, so that there is room for
/// new tables in every level.
pub(super) fn without(target: &Target, old: BTreeMap<u32, BTreeMap<u64, TableMeta>>) -> Result<Levels, LevelDbError> {
    let mut levels = Levels::new();
    for (level, tables) in old {
        let kept = levels.entry(level).or_default();
        let mut renumber = false;
        for table in tables.into_values() {
            let (first, last) = (table.smallest.user_key(), table.largest.user_key());
            let touched = target.replaced.touch(first, last);
            // In level 0 the higher number is the newer table: those behind a rewritten one need new numbers, too.
            renumber |= level == 0 && touched;
            if target.replaced.cover(first, last) {
                continue;
            }
            if touched || renumber {
                rewrite(target, level, &table, kept)?;
            } else {
                kept.push(table);
            }
        }
    }
    Ok(levels)
}

fn rewrite(target: &Target, level: u32, old: &TableMeta, kept: &mut Vec<TableMeta>) -> Result<(), LevelDbError> {
    let mut open: Option<(usize, TableWriter)> = None;
    for record in &TableReader::open(&*target.dir, old.number, old.bytes)? {
        let (key, value) = record?;
        let user_key = key.user_key();
        if target.replaced.holds(user_key) {
            continue;
        }
        // Tables of level 0 may span anything.
        let rank = if level == 0 { 0 } else { target.replaced.rank(user_key) };
        if let Some((_, full)) = open.take_if(|(before, _)| *before != rank) {
            kept.push(full.finish()?);
        }
        let (_, table) = match &mut open {
            Some(open) => open,
            None => open.insert((rank, target.new_table()?)),
        };
        table.add_of(user_key, key.sequence(), key.kind(), &value)?;
    }
    kept.extend(open.map(|(_, table)| table.finish()).transpose()?);
    Ok(())
}
