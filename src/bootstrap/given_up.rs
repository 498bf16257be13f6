//! Work folders of targets that were given up for another block. Each is marked, so that a later run knows it, too: what is the same in
//! the next target is copied from there, their room counts as free, and they go once that is needed, or something has landed.

use std::sync::{Arc, atomic::AtomicBool};

use super::{
    landing::{Landing, WORK_DIR, job_name},
    reuse::reuse,
};
use crate::{
    chunking::{BufferPool, Candidates, FILES_DIR, FileTree, LOCK_FILE, Store},
    disk::{Access, Dir, DiskError, EntryKind},
    snapshot::{BlockNumber, ChannelId, SnapshotId},
};

/// The file that marks a work folder.
const MARK: &str = "given-up";
/// More folders than that are left for a later run.
const FOLDERS_MAX: usize = 64;

/// Those that there are.
#[derive(Debug, Clone)]
pub(super) struct GivenUp {
    land: Arc<dyn Dir>,
    ids: Vec<SnapshotId>,
}

impl GivenUp {
    /// Those that are marked, but for `target`.
    pub(super) fn find(land: &Arc<dyn Dir>, target: &SnapshotId) -> Self {
        // Without the list only room is lost.
        let mut ids = marked(&**land, &target.channel).unwrap_or_default();
        ids.retain(|id| id != target);
        Self { land: Arc::clone(land), ids }
    }

    /// Bytes of the disk that they take and nobody works with.
    pub(super) fn room(&self) -> u64 {
        let allocated = |id: &SnapshotId| {
            let job = job(&*self.land, id)?;
            let _nobody_works_there = job.lock(LOCK_FILE)?;
            let files = job.open_dir(FILES_DIR)?;
            let mut sum: u64 = 0;
            for entry in files.list()?.into_iter().filter(|entry| entry.kind == EntryKind::File) {
                sum = sum.saturating_add(files.open_file(&entry.name, Access::Read)?.allocated()?);
            }
            Ok::<_, DiskError>(sum)
        };
        self.ids.iter().filter_map(|id| allocated(id).ok()).fold(0, u64::saturating_add)
    }

    /// What they have that `store` needs: see [`reuse`]. Blocking; ends soon after `stop` is set.
    pub(super) fn reuse(
        &self,
        trees: &[FileTree],
        store: &Store,
        buffers: &BufferPool,
        stop: &AtomicBool,
    ) -> Vec<Candidates> {
        let reused = self.ids.iter().map(|id| reuse(&*self.land, id, trees, store, buffers, stop));
        reused.flatten().collect()
    }

    /// Removes those that are still marked and in which nobody works.
    pub(super) fn clean_up(&self) {
        for id in &self.ids {
            // Looked at under the lock: somebody may have gone on there, and stopped.
            let is_given_up = |job: &dyn Dir| job.list().is_ok_and(|list| list.iter().any(|entry| entry.name == MARK));
            Landing::new(Arc::clone(&self.land), id.clone()).clean_up_if(is_given_up);
        }
    }
}

/// Marks the work folder of a target that is given up. The caller holds its lock.
pub(super) fn mark(land: &dyn Dir, id: &SnapshotId) {
    let marked = job(land, id).and_then(|job| {
        job.open_file(MARK, Access::ReadWrite)?;
        job.sync_dir()
    });
    if let Err(error) = marked {
        tracing::warn!(%id, "nobody will know that its work folder was given up, remove it by hand: {error}");
    }
}

/// It is a target again. The caller holds the lock.
pub(super) fn unmark(job: &dyn Dir) -> Result<(), DiskError> {
    match job.remove_file(MARK) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

fn job(land: &dyn Dir, id: &SnapshotId) -> Result<Arc<dyn Dir>, DiskError> {
    land.open_dir(WORK_DIR)?.open_dir(&job_name(id))
}

fn marked(land: &dyn Dir, channel: &ChannelId) -> Result<Vec<SnapshotId>, DiskError> {
    let work = land.open_dir(WORK_DIR)?;
    let mut found = Vec::new();
    for entry in work.list()?.into_iter().filter(|entry| entry.kind == EntryKind::Dir) {
        let block = entry.name.strip_prefix(&*channel.stem()).and_then(|rest| rest.strip_prefix('-'));
        let Some(block) = block.and_then(|block| block.parse().ok()) else { continue };
        let id = SnapshotId { channel: channel.clone(), block_number: BlockNumber(block) };
        let is_marked = |job: Arc<dyn Dir>| Ok(job.list()?.iter().any(|entry| entry.name == MARK));
        // One that can't be read, or is just removed, says nothing of the others.
        if job_name(&id) == entry.name && work.open_dir(&entry.name).and_then(is_marked).unwrap_or(false) {
            found.push(id);
        }
    }
    found.truncate(FOLDERS_MAX);
    Ok(found)
}
