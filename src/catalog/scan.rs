//! Which folders under `ROOT/completed` are snapshots, and how to tell that one has changed.
//!
//! The peer makes a snapshot under `ROOT/temp` and renames it into place when it is complete (fabric:
//! core/ledger/kvledger/snapshot.go), so whatever has a legal place is meant to be finished.

use crate::{
    disk::{Dir, DirEntry, DiskError, EntryKind},
    snapshot::{BlockNumber, ChannelId, SnapshotId},
};
use std::sync::Arc;

/// A folder that has the place of a finished snapshot.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) id: SnapshotId,
    pub(super) dir: Arc<dyn Dir>,
    pub(super) stamp: Stamp,
}

/// Names, sizes, times and inodes of a folder: equal stamps mean that nothing was written in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp(pub(super) Vec<StampedFile>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StampedFile {
    pub(super) name: String,
    pub(super) len: u64,
    pub(super) mtime_ns: i128,
    pub(super) inode: u64,
}

impl Stamp {
    pub(super) fn of(dir: &dyn Dir) -> Result<Self, DiskError> {
        let files = dir.list()?.into_iter();
        Ok(Self(
            files
                .map(|entry| {
                    let DirEntry { name, len, mtime_ns, inode, .. } = entry;
                    StampedFile { name, len, mtime_ns, inode }
                })
                .collect(),
        ))
    }
}

/// All candidates, ascending. Whatever has another name than `CHANNEL/BLOCK`, and every symbolic link, is skipped; so is
/// what vanishes while we look.
pub(super) fn candidates(completed: &dyn Dir) -> Result<Vec<Candidate>, DiskError> {
    let mut found = Vec::new();
    for entry in completed.list()? {
        let Some(channel) = folder_name::<ChannelId>(&entry) else { continue };
        let Some(channel_dir) = unless_gone(completed.open_dir(&entry.name))? else { continue };
        for entry in unless_gone(channel_dir.list())?.unwrap_or_default() {
            let Some(block_number) = folder_name::<BlockNumber>(&entry) else { continue };
            // "007" and "+7" parse, too, but the peer never writes them: one snapshot, one name.
            if block_number.to_string() != entry.name {
                continue;
            }
            let Some(dir) = unless_gone(channel_dir.open_dir(&entry.name))? else { continue };
            let Some(stamp) = unless_gone(Stamp::of(dir.as_ref()))? else { continue };
            found.push(Candidate { id: SnapshotId { channel: channel.clone(), block_number }, dir, stamp });
        }
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

fn folder_name<T: std::str::FromStr>(entry: &DirEntry) -> Option<T> {
    if entry.kind == EntryKind::Dir { entry.name.parse().ok() } else { None }
}

fn unless_gone<T>(result: Result<T, DiskError>) -> Result<Option<T>, DiskError> {
    match result {
        Err(error) if error.is_not_found() => Ok(None),
        result => result.map(Some),
    }
}
