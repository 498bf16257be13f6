//! What was fetched of a snapshot that is gone, for the one that is fetched instead: chunks that are the same bytes at the same place
//! (ids of transactions and the history of collections grow at their end, and state that no block has touched stays where it is).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::landing::{WORK_DIR, job_name};
use crate::{
    chunking::{BufferPool, Candidates, FILES_DIR, FileTree, LOCK_FILE, Store},
    disk::{Access, Dir, DiskError, File},
    snapshot::{ChunkIndex, SnapshotId},
};

/// Copies into `store` every chunk that it lacks and the work folder of `gone` proves to hold; they are then claimed like those of an
/// earlier run. What can't be read is fetched instead. Blocking; ends soon after `stop` is set.
pub(super) fn reuse(
    land: &dyn Dir,
    gone: &SnapshotId,
    trees: &[FileTree],
    store: &Store,
    buffers: &BufferPool,
    stop: &AtomicBool,
) -> Vec<Candidates> {
    let open = || {
        let job = land.open_dir(WORK_DIR)?.open_dir(&job_name(gone))?;
        Ok::<_, DiskError>((job.lock(LOCK_FILE)?, job.open_dir(FILES_DIR)?))
    };
    let (_lock, files) = match open() {
        Ok(opened) => opened,
        Err(error) => {
            tracing::debug!(snapshot = %gone, %error, "nothing of it is used again");
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for tree in trees {
        let Ok(file) = files.open_file(tree.file().file.name(), Access::Read) else { continue };
        let lacking = store.missing().into_iter().filter(|(file_index, _)| *file_index == tree.file_index());
        let going_on = lacking.take_while(|_| !stop.load(Ordering::Relaxed));
        let copied = going_on.filter(|(_, chunk)| copy(&file, tree, *chunk, store, buffers, Duration::ZERO));
        let claimed: Vec<ChunkIndex> = copied.map(|(_, chunk)| chunk).collect();
        if !claimed.is_empty() {
            found.push(Candidates { file_index: tree.file_index(), claimed, unclaimed: Vec::new() });
        }
    }
    found
}

/// Whether the chunk was there, and lies in the store now.
fn copy(
    file: &Arc<dyn File>,
    tree: &FileTree,
    chunk: ChunkIndex,
    store: &Store,
    buffers: &BufferPool,
    now: Duration,
) -> bool {
    let range = chunk.range(tree.file().size);
    let mut bytes = buffers.take(usize::try_from(range.len()).unwrap_or(0));
    let read = file.read_exact_at(&mut bytes, range.start).is_ok();
    read && tree.prove_chunk(chunk, bytes).is_ok_and(|proved| store.write(&proved, now).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{chunking::fixture::Sample, disk::OsDir};

    /// C1: what is used again for another block.
    #[test]
    fn what_is_the_same_at_the_same_place_is_copied_and_what_rotted_is_not() {
        let sample = Sample::recorded();
        let folder = tempfile::tempdir().unwrap();
        let land = OsDir::open(folder.path()).unwrap();
        let gone = sample.manifest.id().clone();
        let other = SnapshotId { block_number: crate::snapshot::BlockNumber(gone.block_number.0 + 1), ..gone.clone() };
        let open = |id: &SnapshotId| {
            land.create_dir(WORK_DIR).unwrap();
            let work = land.open_dir(WORK_DIR).unwrap();
            work.create_dir(&job_name(id)).unwrap();
            Store::open(work.open_dir(&job_name(id)).unwrap(), &sample.manifest).unwrap().0
        };
        let (old, now) = (open(&gone), Duration::ZERO);
        for (file, chunk) in sample.all() {
            old.write(&sample.chunk(file, chunk), now).unwrap();
        }
        let new = open(&other);
        let buffers = BufferPool::new(2);
        let again = || reuse(&*land, &gone, &sample.trees, &new, &buffers, &AtomicBool::new(false));
        assert_eq!(again(), [], "somebody works there");
        drop(old);
        // A rotten byte in the second file.
        let files = land.open_dir(WORK_DIR).unwrap().open_dir(&job_name(&gone)).unwrap().open_dir(FILES_DIR).unwrap();
        let name = sample.manifest.files()[1].file.name();
        files.open_file(name, Access::ReadWrite).unwrap().write_all_at(&[0xff, 0x00], 0).unwrap();
        let found = again();
        assert_eq!(found.len(), sample.manifest.files().len() - 1);
        assert!(found.iter().all(|candidates| candidates.file_index != 1 && !candidates.claimed.is_empty()));
        assert_eq!(new.missing().iter().map(|(file, _)| *file).collect::<Vec<_>>(), [1]);
    }
}
