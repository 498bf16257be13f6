//! The last step of a transfer: a folder that holds exactly what was proved, under its final name.

use std::collections::BTreeMap;

use super::{FILES_DIR, Store, StoreError, chunk_count};
use crate::{
    chunking::proof::VerifiedFile,
    disk::{Dir, publish_dir, write_durably},
    snapshot::{SnapshotFile, SnapshotMetadata, check_exact_set},
};

impl Store {
    /// Gives the finished folder its final name `to` in `to_parent`: writes the two JSON files, syncs what isn't,
    /// checks the exact set, renames, syncs. After `Ok` the folder is durable, and the job's folder holds only journal
    /// and lock. A crash at any point leaves either the work folder as it was or the published folder. Called again
    /// after an error of the disk, it goes on where that was.
    ///
    /// # Errors
    /// [`StoreError::Incomplete`] unless `files` are all the files of the manifest and every chunk lies in the store;
    /// [`StoreError::Foreign`] if `metadata` is that of another snapshot; [`StoreError::NotExactSet`],
    /// [`StoreError::Altered`]; [`StoreError::SyncFailed`], unless [`Self::is_synced`]; [`StoreError::Disk`] (with
    /// `AlreadyExists` if `to` is taken).
    pub fn publish(
        &self,
        files: &[VerifiedFile],
        metadata: &SnapshotMetadata,
        to_parent: &dyn Dir,
        to: &str,
    ) -> Result<(), StoreError> {
        if metadata.signable != *self.manifest.signable() {
            return Err(self.foreign());
        }
        let _journal = self.journal();
        if self.is_renamed()? {
            to_parent.open_dir(to)?;
            to_parent.sync_dir()?;
            return Ok(self.job.sync_dir()?);
        }
        self.check_complete(files)?;
        write_durably(&*self.files_dir, SnapshotFile::SIGNABLE_METADATA, metadata.signable.bytes())?;
        write_durably(&*self.files_dir, SnapshotFile::ADDITIONAL_METADATA, &metadata.additional().encode())?;
        self.sync_taken(|unsynced| self.sync_files(unsynced))?;
        self.check_exact_set()?;
        // From here on a write would change the published files.
        self.state().published = true;
        Ok(publish_dir(&*self.job, FILES_DIR, to_parent, to)?)
    }

    /// Whether an earlier call failed behind the renaming.
    fn is_renamed(&self) -> Result<bool, StoreError> {
        if !self.state().published {
            return Ok(false);
        }
        match self.job.open_dir(FILES_DIR) {
            Ok(_) => {
                self.state().published = false;
                Ok(false)
            }
            Err(error) if error.is_not_found() => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether every chunk of every file is there and proved.
    fn check_complete(&self, files: &[VerifiedFile]) -> Result<(), StoreError> {
        let verified: BTreeMap<u32, &VerifiedFile> = files.iter().map(|file| (file.file_index(), file)).collect();
        let state = self.state();
        for ((file_index, listed), partial) in (0..).zip(self.manifest.files()).zip(&state.files) {
            let proved = verified.get(&file_index).is_some_and(|verified| verified.file() == listed);
            let count = chunk_count(listed).and_then(|count| usize::try_from(count).ok());
            if !proved || partial.poisoned || Some(partial.present.len()) != count {
                return Err(StoreError::Incomplete { file: listed.file });
            }
        }
        Ok(())
    }

    /// Exactly the listed files and the two JSON files, of the right length, not linked from elsewhere.
    fn check_exact_set(&self) -> Result<(), StoreError> {
        check_exact_set(&*self.files_dir, self.manifest.signable())?;
        let lens: BTreeMap<_, _> =
            self.manifest.files().iter().map(|listed| (listed.file.name(), listed.size)).collect();
        for entry in self.files_dir.list()? {
            let len_differs = lens.get(entry.name.as_str()).is_some_and(|len| *len != entry.len);
            if len_differs || entry.links > 1 {
                return Err(StoreError::Altered { name: entry.name });
            }
        }
        Ok(())
    }
}
