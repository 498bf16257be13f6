//! Where a snapshot lands: `LAND/CH/N`, after work in `LAND/.snapferry/CH-N/`, so that publishing is one rename.

use std::{path::PathBuf, sync::Arc};

use super::error::JoinError;
use crate::{
    catalog::AgreedSnapshot,
    chunking::{Candidates, Store, VerifiedFile},
    disk::{Dir, DiskError},
    snapshot::{AdditionalMetadata, ChunkIndex, SnapshotId, SnapshotMetadata, verify_folder},
};

/// Folder of work under way, beside the channels' folders; no channel name begins with a dot.
pub const WORK_DIR: &str = ".snapferry";
/// Left free beside the files: metadata, journal, and room for others on the disk.
const MARGIN_BYTES: u64 = 64 << 20;

/// One snapshot's places under the landing folder.
#[derive(Debug)]
pub(super) struct Landing {
    land: Arc<dyn Dir>,
    id: SnapshotId,
}

impl Landing {
    pub(super) fn new(land: Arc<dyn Dir>, id: SnapshotId) -> Self {
        Self { land, id }
    }

    /// `LAND/CH/N`.
    pub(super) fn path(&self) -> PathBuf {
        self.land.path().join(self.id.channel.as_str()).join(self.id.block_number.to_string())
    }

    /// Whether the agreed snapshot already lies there, whole. Reads every byte: a folder is only as good as its last check.
    ///
    /// # Errors
    /// [`JoinError::ExistsDifferently`] if something else does.
    pub(super) fn is_there(&self, agreed: &AgreedSnapshot) -> Result<bool, JoinError> {
        let found = self.channel_dir().and_then(|dir| dir.open_dir(&self.id.block_number.to_string()));
        let dir = match found {
            Ok(dir) => dir,
            Err(error) if error.is_not_found() => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let differs = |source| JoinError::ExistsDifferently { path: self.path(), source: Box::new(source) };
        let verified = verify_folder(&*dir, &mut |_| ()).map_err(differs)?;
        if verified.manifest != *agreed.manifest() || verified.metadata != metadata(agreed)? {
            return Err(JoinError::ExistsOther { path: self.path() });
        }
        Ok(true)
    }

    /// Opens the store of the work folder and checks that the rest will fit.
    ///
    /// # Errors
    /// [`JoinError::NoSpace`]; another process works there; the disk.
    pub(super) fn open_store(&self, agreed: &AgreedSnapshot) -> Result<(Store, Vec<Candidates>), JoinError> {
        self.land.create_dir(WORK_DIR)?;
        let work = self.land.open_dir(WORK_DIR)?;
        work.create_dir(&self.job_name())?;
        let (store, candidates) = Store::open(work.open_dir(&self.job_name())?, agreed.manifest())?;
        let total: u64 = agreed.manifest().files().iter().map(|file| file.size).sum();
        let needed = total.saturating_sub(claimed_bytes(agreed, &candidates)).saturating_add(MARGIN_BYTES);
        let free = self.land.free_space()?;
        if free < needed {
            return Err(JoinError::NoSpace { path: self.land.path().to_owned(), needed, free });
        }
        Ok((store, candidates))
    }

    /// Gives the proved files their final name.
    ///
    /// # Errors
    /// The store's; nothing is published then.
    pub(super) fn publish(
        &self,
        store: Arc<Store>,
        agreed: &AgreedSnapshot,
        files: &[VerifiedFile],
    ) -> Result<PathBuf, JoinError> {
        self.land.create_dir(self.id.channel.as_str())?;
        self.land.sync_dir()?;
        let channel = self.channel_dir()?;
        store.publish(files, &metadata(agreed)?, &*channel, &self.id.block_number.to_string())?;
        drop(store); // its lock lies in the folder that goes now
        self.clean_up()?;
        Ok(self.path())
    }

    /// Removes the work folder of a snapshot that is published.
    pub(super) fn clean_up(&self) -> Result<(), DiskError> {
        let gone = |error: DiskError| if error.is_not_found() { Ok(()) } else { Err(error) };
        match self.land.open_dir(WORK_DIR) {
            Ok(work) => work.remove_dir_all(&self.job_name()).or_else(gone),
            Err(error) => gone(error),
        }
    }

    fn channel_dir(&self) -> Result<Arc<dyn Dir>, DiskError> {
        self.land.open_dir(self.id.channel.as_str())
    }

    fn job_name(&self) -> String {
        format!("{}-{}", self.id.channel, self.id.block_number)
    }
}

/// The two JSON files, as agreed.
fn metadata(agreed: &AgreedSnapshot) -> Result<SnapshotMetadata, JoinError> {
    let signable = agreed.manifest().signable().clone();
    let additional =
        AdditionalMetadata { snapshot_hash: signable.hash(), last_block_commit_hash: agreed.commit_hash() };
    SnapshotMetadata::new(signable, additional).map_err(|error| JoinError::Metadata(Box::new(error)))
}

fn claimed_bytes(agreed: &AgreedSnapshot, candidates: &[Candidates]) -> u64 {
    let of_file = |candidates: &Candidates| {
        let file = usize::try_from(candidates.file_index).ok().and_then(|index| agreed.manifest().files().get(index));
        let size = file.map_or(0, |file| file.size);
        let chunks = candidates.claimed.iter().chain(&candidates.unclaimed);
        chunks.map(|chunk: &ChunkIndex| chunk.range(size).len()).sum::<u64>()
    };
    candidates.iter().map(of_file).sum()
}
