//! Which folders under `ROOT/completed` are snapshots, and how to tell that one has changed.
//!
//! The peer makes a snapshot under `ROOT/temp` and renames it into place when it is complete (fabric:
//! core/ledger/kvledger/snapshot.go), so whatever has a legal place is meant to be finished.

use crate::{
    disk::{Dir, DirEntry, DiskError, EntryKind},
    snapshot::{BlockNumber, ChannelId, SnapshotId},
};
use std::{collections::BTreeMap, sync::Arc};

/// A folder that has the place of a finished snapshot.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) id: SnapshotId,
    pub(super) dir: Arc<dyn Dir>,
    pub(super) stamp: Stamp,
    /// Of the folder itself.
    pub(super) inode: u64,
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

/// What lies under `completed`.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Ascending.
    pub(super) candidates: Vec<Candidate>,
    /// Folders that can't be looked at now. That says nothing about what is in them.
    pub(super) unreadable: BTreeMap<Place, DiskError>,
}

/// A channel's folder, or that of the snapshot at a block.
pub(super) type Place = (ChannelId, Option<BlockNumber>);

impl Found {
    /// Whether the snapshot may still be there: it is, or its folder or that of its channel can't be looked at.
    pub(super) fn may_hold(&self, id: &SnapshotId) -> bool {
        self.candidates.binary_search_by(|candidate| candidate.id.cmp(id)).is_ok() || self.is_unreadable(id)
    }

    /// Whether its folder or that of its channel can't be looked at.
    pub(super) fn is_unreadable(&self, id: &SnapshotId) -> bool {
        [None, Some(id.block_number)].iter().any(|block| self.unreadable.contains_key(&(id.channel.clone(), *block)))
    }

    /// What was opened; a failure is noted, unless the folder is simply gone.
    fn readable<T>(&mut self, place: &Place, opened: Result<T, DiskError>) -> Option<T> {
        match opened {
            Ok(opened) => return Some(opened),
            Err(error) if error.is_not_found() => {}
            Err(error) => drop(self.unreadable.insert(place.clone(), error)),
        }
        None
    }
}

/// Everything with the place of a snapshot. Whatever has another name than `CHANNEL/BLOCK`, and every symbolic link, is
/// skipped; so is what vanishes while we look.
///
/// Only `completed` itself must be readable: one bad folder hides no other.
pub(super) fn look(completed: &dyn Dir) -> Result<Found, DiskError> {
    let mut found = Found::default();
    for entry in completed.list()? {
        let Some(channel) = folder_name::<ChannelId>(&entry) else { continue };
        let opened = completed.open_dir(&entry.name).and_then(|dir| Ok((dir.list()?, dir)));
        let place = (channel, None);
        let Some((entries, channel_dir)) = found.readable(&place, opened) else { continue };
        let (channel, _) = place;
        for entry in entries {
            let Some(block_number) = folder_name::<BlockNumber>(&entry) else { continue };
            // "007" and "+7" parse, too, but the peer never writes them: one snapshot, one name.
            if block_number.to_string() != entry.name {
                continue;
            }
            let opened = channel_dir.open_dir(&entry.name).and_then(|dir| Ok((Stamp::of(dir.as_ref())?, dir)));
            let Some((stamp, dir)) = found.readable(&(channel.clone(), Some(block_number)), opened) else { continue };
            let id = SnapshotId { channel: channel.clone(), block_number };
            found.candidates.push(Candidate { id, dir, stamp, inode: entry.inode });
        }
    }
    found.candidates.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

fn folder_name<T: std::str::FromStr>(entry: &DirEntry) -> Option<T> {
    if entry.kind == EntryKind::Dir { entry.name.parse().ok() } else { None }
}
