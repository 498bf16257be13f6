//! The files of a database's folder by their numbers, and which of them nobody needs.

use std::collections::BTreeSet;

use super::LOCK;
use crate::{
    disk::{Dir, DirEntry, DiskError, EntryKind},
    ledger::leveldb::{LevelDbError, Version},
};

/// What a numbered file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbered {
    Table,
    Log,
    Manifest,
    /// What goleveldb leaves after a crash: `CURRENT.n`, `n.tmp`.
    Pending,
}

/// What making a database leaves beside numbered files: the lock, goleveldb's own log, and CURRENT before it has its name.
const LEFT_UNNUMBERED: [&str; 4] = [LOCK, "LOG", "LOG.old", ".CURRENT.new"];

/// Fails with [`LevelDbError::Current`] if there are tables or logs, which nothing of ours leaves behind without a database.
pub(super) fn refuse_tables(dir: &dyn Dir) -> Result<(), LevelDbError> {
    if numbered(dir)?.iter().any(|(kind, ..)| matches!(kind, Numbered::Table | Numbered::Log)) {
        return Err(LevelDbError::Current { path: dir.path().join("CURRENT") });
    }
    Ok(())
}

/// What is left of a database that was being made, in a folder without one.
pub(super) struct Rest {
    /// Nothing at all, not even a lock: a peer makes a database of it.
    pub(super) is_empty: bool,
}

/// Looks at a folder without a database.
///
/// # Errors
/// [`LevelDbError::Current`] if there are tables or logs, [`LevelDbError::Foreign`] if there is anything else that making one doesn't leave.
pub(super) fn rest(dir: &dyn Dir) -> Result<Rest, LevelDbError> {
    refuse_tables(dir)?;
    let entries = dir.list()?;
    let is_ours = |entry: &DirEntry| {
        let name = entry.name.as_str();
        entry.kind == EntryKind::File && (LEFT_UNNUMBERED.contains(&name) || parse(name).is_some())
    };
    match entries.iter().find(|entry| !is_ours(entry)) {
        Some(foreign) => Err(LevelDbError::Foreign { path: dir.path().join(&foreign.name) }),
        None => Ok(Rest { is_empty: entries.is_empty() }),
    }
}

/// Makes an empty database, before any table: goleveldb refuses a folder with tables and without CURRENT.
///
/// # Errors
/// [`LevelDbError::Current`] if there are tables or logs.
pub(super) fn create(dir: &dyn Dir) -> Result<(u64, Version), LevelDbError> {
    const MANIFEST: u64 = 1;
    refuse_tables(dir)?;
    let version = Version { next_file: MANIFEST + 1, ..Version::default() };
    version.write(dir, MANIFEST)?;
    Ok((MANIFEST, version))
}

/// The highest number of any file, 0 if there is none: goleveldb numbers a new log before a MANIFEST says so.
pub(super) fn highest_number(dir: &dyn Dir) -> Result<u64, DiskError> {
    Ok(numbered(dir)?.into_iter().map(|(_, number, _)| number).max().unwrap_or(0))
}

/// Removes tables that are in no level: a load that ended early left them. A peer would remove them, too.
pub(super) fn remove_strange_tables(dir: &dyn Dir, version: &Version) -> Result<(), DiskError> {
    let live: BTreeSet<u64> = version.levels.values().flat_map(|tables| tables.keys().copied()).collect();
    remove(dir, |kind, number| kind == Numbered::Table && !live.contains(&number))
}

/// Removes whatever the version, in this MANIFEST, has no use for.
pub(super) fn remove_obsolete(dir: &dyn Dir, version: &Version, manifest: u64) -> Result<(), DiskError> {
    remove_strange_tables(dir, version)?;
    remove(dir, |kind, number| match kind {
        Numbered::Manifest => number != manifest,
        Numbered::Log => number < version.log_number,
        Numbered::Table | Numbered::Pending => false,
    })
}

fn remove(dir: &dyn Dir, mut which: impl FnMut(Numbered, u64) -> bool) -> Result<(), DiskError> {
    for (_, _, name) in numbered(dir)?.into_iter().filter(|&(kind, number, _)| which(kind, number)) {
        dir.remove_file(&name)?;
    }
    Ok(())
}

/// The numbered files, sorted by name.
fn numbered(dir: &dyn Dir) -> Result<Vec<(Numbered, u64, String)>, DiskError> {
    let files = dir.list()?.into_iter().filter(|entry| entry.kind == EntryKind::File);
    Ok(files.filter_map(|entry| parse(&entry.name).map(|(kind, number)| (kind, number, entry.name))).collect())
}

fn parse(name: &str) -> Option<(Numbered, u64)> {
    let (kind, digits) = if let Some(digits) = name.strip_prefix("MANIFEST-") {
        (Numbered::Manifest, digits)
    } else if let Some(digits) = name.strip_prefix("CURRENT.").or_else(|| name.strip_suffix(".tmp")) {
        (Numbered::Pending, digits)
    } else if let Some(digits) = name.strip_suffix(".log") {
        (Numbered::Log, digits)
    } else {
        (Numbered::Table, name.strip_suffix(".ldb").or_else(|| name.strip_suffix(".sst"))?)
    };
    Some((kind, digits.parse().ok()?))
}
