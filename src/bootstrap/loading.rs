//! A snapshot that has landed becomes a channel of a stopped peer: its folder is read once more, held to what was agreed on, and loaded
//! into the peer's own databases.
//!
//! Leaves how to [`crate::ledger::load`].

use std::{
    io::{self, Read},
    sync::Arc,
};

use super::{
    joined::Joined,
    landing::{WORK_DIR, job_name},
};
use crate::{
    disk::{Access, Dir, DiskError, FileReader},
    ledger::{
        load::{Load, LoadError, load, may_load},
        stores::JoiningPeer,
    },
    msp::{ChannelConfig, Identity},
    snapshot::{ChannelId, ContentSummary, FolderError, StateDbType, check_exact_set, read_metadata},
};

/// Memory for sorting what lies in another order than the peer keeps it: some minutes' worth of private data; more goes to the disk.
const SORT_BYTES: usize = 64 << 20;

/// Into which databases, and whose peer's they are.
#[derive(Debug)]
pub struct LedgerTarget {
    /// The peer's `ledgersData`.
    pub ledgers: Arc<dyn Dir>,
    /// The peer's own identity: it decides which private data it may have.
    pub peer: Identity,
}

/// Why a landed snapshot isn't loaded. The folder stays as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadingError {
    /// The folder isn't what landed.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Somebody changed it since.
    #[error("{path} isn't what was agreed on any more")]
    Changed {
        /// The folder.
        path: String,
    },
    /// A peer with another state database keeps its state elsewhere.
    #[error(
        "the snapshot is of a peer with CouchDB, whose state isn't in files: it can't be loaded, only joined (--loader folder)"
    )]
    CouchDb,
    /// Loading.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl LedgerTarget {
    /// Whether the channel can be loaded there, before anything is fetched for it.
    ///
    /// # Errors
    /// [`LoadError`]: a peer runs, or has the channel.
    pub fn check(&self, channel: &ChannelId) -> Result<(), LoadError> {
        may_load(&self.ledgers, channel)
    }

    /// Loads the folder at which that join has landed. `land` is its landing folder, `config` the channel's configuration, `progress` is
    /// told each number of bytes that was read.
    ///
    /// Blocking. The peer finds the channel when it is started.
    ///
    /// # Errors
    /// [`LoadingError`]; the peer doesn't have the channel then.
    pub fn load(
        &self,
        joined: &Joined,
        land: &Arc<dyn Dir>,
        config: &ChannelConfig,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<ContentSummary, LoadingError> {
        let id = &joined.id;
        let folder = land.open_dir(id.channel.as_str())?.open_dir(&id.block_number.to_string())?;
        let metadata = read_metadata(&*folder)?;
        let agreed = metadata.signable.hash() == joined.snapshot_hash && metadata.commit_hash == joined.commit_hash;
        if !agreed {
            return Err(LoadingError::Changed { path: folder.path().display().to_string() });
        }
        if metadata.signable.state_db_type() != StateDbType::SimpleKeyValueDb {
            return Err(LoadingError::CouchDb);
        }
        check_exact_set(&*folder, &metadata.signable)?;
        let scratch = Scratch::new(land, &format!("{}.load", job_name(id)))?;
        let open = |file: crate::snapshot::SnapshotFile| {
            let reader = FileReader::new(folder.open_file(file.name(), Access::Read)?);
            Ok(Box::new(Counted { reader, progress }) as Box<dyn Read + Send>)
        };
        let is_member = |policy: &[u8]| config.satisfies_signature_policy(policy, &self.peer);
        Ok(load(&Load {
            ledgers: Arc::clone(&self.ledgers),
            metadata: &metadata,
            open: &open,
            peer: JoiningPeer { msp_id: self.peer.msp_id().as_str(), is_member: &is_member },
            scratch: Arc::clone(&scratch.dir),
            sort_bytes: SORT_BYTES,
        })?)
    }
}

/// A folder for sorting, beside the work under way; removed when dropped, and emptied when an earlier one was left by a crash.
struct Scratch {
    work: Arc<dyn Dir>,
    name: String,
    dir: Arc<dyn Dir>,
}

impl Scratch {
    fn new(land: &Arc<dyn Dir>, name: &str) -> Result<Self, DiskError> {
        land.create_dir(WORK_DIR)?;
        let work = land.open_dir(WORK_DIR)?;
        match work.remove_dir_all(name) {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
        work.create_dir(name)?;
        let dir = work.open_dir(name)?;
        Ok(Self { work, name: name.to_owned(), dir })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.work.remove_dir_all(&self.name); // it only takes room, and the next load removes it
    }
}

/// Tells what was read.
struct Counted<'a> {
    reader: FileReader,
    progress: &'a (dyn Fn(u64) + Sync),
}

impl Read for Counted<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buf)?;
        (self.progress)(count as u64);
        Ok(count)
    }
}
