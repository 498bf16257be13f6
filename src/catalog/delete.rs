//! The RFC's DeleteSnapshot: the data go, what can be signed stays.
//!
//! ```text
//! 1 remains durable (Deleting)   2 CH/N -> .snapferry-deleted-CH-N, durable; withdrawn   3 remains durable (Deleted)   4 removed
//! ```
//! After a crash the next scan goes on: with 2 while the folder of the same inode stands there, with 3 when it doesn't. Nobody ever
//! sees half a snapshot, and one that the peer makes later of the same block is another folder.

use std::sync::PoisonError;

use super::{
    Catalog, ScanReport,
    remains::{Remains, Stage},
    scan::{Candidate, Found},
};
use crate::{
    disk::{Dir, DirEntry, DiskError, EntryKind},
    snapshot::SnapshotId,
};

/// Names of folders that are being removed, in `completed`; no channel is called so.
const TRASH_PREFIX: &str = ".snapferry-deleted-";

/// What a deletion found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleted {
    /// The data were there and are gone.
    Now,
    /// Only the metadata were left already.
    Already,
    /// Promised: it waits for those who download.
    Pending,
}

/// Why a snapshot isn't deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteError {
    /// The configuration doesn't allow it.
    #[error(
        "snapshots aren't deleted here: `snapshots.allowDelete: true` in the service's configuration allows it, after a restart"
    )]
    NotAllowed,
    /// The catalog has no such snapshot.
    #[error("no snapshot {0} is known here: the peer hasn't finished it, or it isn't verified yet")]
    Unknown(SnapshotId),
    /// The folder is another one than that which was verified.
    #[error("the folder of snapshot {0} has changed since it was verified: look at it again after the next scan")]
    Changed(SnapshotId),
    /// Nothing was deleted.
    #[error(
        "snapshot {id} wasn't deleted, it is still there: {source}; the service needs write access to the peer's snapshots folder"
    )]
    Kept {
        /// The snapshot.
        id: SnapshotId,
        /// What failed.
        source: DiskError,
    },
    /// It is withdrawn, but its files may still take space; the service goes on with it at its next scans.
    #[error(
        "snapshot {id} is withdrawn, but its files couldn't be removed yet: {source}; the service tries again by itself"
    )]
    Unfinished {
        /// The snapshot.
        id: SnapshotId,
        /// What failed.
        source: DiskError,
    },
}

impl Catalog {
    /// Allows (or forbids) to write in the peer's snapshots folder: only then [`Self::delete`] works.
    #[must_use]
    pub const fn with_deletion(mut self, allowed: bool) -> Self {
        self.deletion_allowed = allowed;
        self
    }

    /// Deletes a snapshot's data and keeps its metadata, durably: it stays listed with `only_metadata_available`, and can be
    /// attested. Blocking; never waits for a scan. At once, whoever downloads: [`Self::request_deletion`] waits for them.
    ///
    /// # Errors
    /// [`DeleteError`].
    pub fn delete(&self, id: &SnapshotId) -> Result<Deleted, DeleteError> {
        if !self.deletion_allowed {
            return Err(DeleteError::NotAllowed);
        }
        let _folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(snapshot) = self.snapshot(id) else {
            let left = self.known(id).is_some();
            return if left { Ok(Deleted::Already) } else { Err(DeleteError::Unknown(id.clone())) };
        };
        let kept = |source| DeleteError::Kept { id: id.clone(), source };
        // What is deleted is what was verified, and so can be signed; never what somebody put there since.
        let inode = self.folder_inode(id).map_err(kept)?;
        let inode = inode.filter(|_| self.is_as_served(id)).ok_or_else(|| DeleteError::Changed(id.clone()))?;
        let mut remains = Remains { known: snapshot.known().without_data(), stage: Stage::Deleting, inode };
        if let Err(source) = remains.store(self.state.as_ref()).and_then(|()| self.rename_away(id)) {
            // It may be that this fails, too: then the next start finishes what was asked for.
            if let Err(error) = self.take_back(id) {
                tracing::warn!(snapshot = %id, %error, "its deletion failed and couldn't be taken back: the next start finishes it");
            }
            return Err(kept(source));
        }
        self.withdraw_to(remains.clone());
        tracing::info!(snapshot = %id, "deleted: only its metadata are left");
        self.finish(&mut remains).map_err(|source| DeleteError::Unfinished { id: id.clone(), source })?;
        Ok(Deleted::Now)
    }

    /// Goes on with deletions that a crash or a failing disk interrupted; afterwards none of their folders is a candidate.
    pub(super) fn finish_deletions(&self, found: &mut Found, report: &mut ScanReport) {
        let _folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        for mut remains in self.unfinished() {
            let id = remains.known.entry.id.clone();
            if found.is_unreadable(&id) {
                continue; // whether the folder is gone can't be told
            }
            let is_it = |candidate: &Candidate| candidate.id == id && candidate.inode == remains.inode;
            // Looked up under the lock: `found` may be older than a deletion that just ran.
            let there = self.folder_inode(&id).is_ok_and(|inode| inode == Some(remains.inode));
            found.candidates.retain(|candidate| !is_it(candidate));
            if !self.deletion_allowed {
                if there {
                    let reason =
                        "its deletion was interrupted; `snapshots.allowDelete: true` lets the service finish it";
                    report.refused.push((id, reason.to_owned()));
                }
                continue;
            }
            let renamed = if there { self.rename_away(&id) } else { Ok(()) };
            match renamed.and_then(|()| self.finish(&mut remains)) {
                Ok(()) => tracing::info!(snapshot = %id, "its interrupted deletion is finished"),
                Err(error) => {
                    tracing::warn!(snapshot = %id, %error, "its interrupted deletion still can't be finished");
                    report.refused.push((id, format!("its deletion can't be finished: {error}")));
                }
            }
        }
        if self.deletion_allowed
            && let Err(error) = self.remove_trash()
        {
            tracing::warn!(%error, "files of deleted snapshots still take space");
        }
    }

    /// The state as it was before a deletion that failed.
    fn take_back(&self, id: &SnapshotId) -> Result<(), DiskError> {
        let remains = self.remains.read().unwrap_or_else(PoisonError::into_inner);
        match remains.get(id) {
            Some(earlier) => earlier.store(self.state.as_ref()),
            None => Remains::remove(self.state.as_ref(), id),
        }
    }

    fn unfinished(&self) -> Vec<Remains> {
        let remains = self.remains.read().unwrap_or_else(PoisonError::into_inner);
        remains.values().filter(|remains| remains.stage == Stage::Deleting).cloned().collect()
    }

    /// The folder leaves its place in one step, and the name is free; nothing else happened if this fails.
    fn rename_away(&self, id: &SnapshotId) -> Result<(), DiskError> {
        let trash = trash_name(id);
        // Left by an earlier deletion of the same block.
        remove_if_there(self.completed.as_ref(), &trash)?;
        let channel = self.completed.open_dir(id.channel.as_str())?;
        channel.rename(&id.block_number.to_string(), self.completed.as_ref(), &trash)
    }

    /// The steps after the rename; each may be done again.
    fn finish(&self, remains: &mut Remains) -> Result<(), DiskError> {
        let id = remains.known.entry.id.clone();
        self.completed.sync_dir()?;
        match self.completed.open_dir(id.channel.as_str()) {
            Err(error) if error.is_not_found() => {}
            channel => channel?.sync_dir()?,
        }
        // Before the files go: their folder's inode may then be given to another one.
        remains.stage = Stage::Deleted;
        remains.store(self.state.as_ref())?;
        self.remains.write().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), remains.clone());
        remove_if_there(self.completed.as_ref(), &trash_name(&id))
    }

    /// What a crash left after the last step but one.
    fn remove_trash(&self) -> Result<(), DiskError> {
        let unfinished: Vec<String> =
            self.unfinished().iter().map(|remains| trash_name(&remains.known.entry.id)).collect();
        let entries = self.completed.list()?.into_iter();
        for trash in entries.filter(|entry| entry.name.starts_with(TRASH_PREFIX)) {
            if !unfinished.contains(&trash.name) {
                remove_if_there(self.completed.as_ref(), &trash.name)?;
            }
        }
        Ok(())
    }

    /// Of the folder in the snapshot's place; a link there is none, wherever it leads to.
    pub(super) fn folder_inode(&self, id: &SnapshotId) -> Result<Option<u64>, DiskError> {
        let name = id.block_number.to_string();
        let listed = self.completed.open_dir(id.channel.as_str()).and_then(|channel| channel.list());
        match listed {
            Err(error) if error.is_not_found() => Ok(None),
            listed => {
                let is_it = |entry: &DirEntry| entry.name == name && entry.kind == EntryKind::Dir;
                Ok(listed?.into_iter().find(is_it).map(|entry| entry.inode))
            }
        }
    }
}

fn trash_name(id: &SnapshotId) -> String {
    format!("{TRASH_PREFIX}{}-{}", id.channel.stem(), id.block_number)
}

/// Whatever has the name; a link itself, not what it leads to.
fn remove_if_there(dir: &dyn Dir, name: &str) -> Result<(), DiskError> {
    let removed = match dir.remove_dir_all(name) {
        Err(DiskError::NotADir { .. }) => dir.remove_file(name),
        removed => removed,
    };
    match removed {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
