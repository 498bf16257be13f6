//! What is left of a snapshot that an admin deleted: manifest and commit hash, so that it can still be signed (the RFC's
//! `OnlyMetadataAvailable`), and how far its deletion got.
//!
//! `STATE/manifests/CHANNEL/BLOCK.deleted`, sealed: stage (1 byte), inode of the folder (8 bytes, little endian), commit hash (flag,
//! 32 bytes), manifest. Written before the folder is touched; the inode tells the folder that is to go from one that the peer makes
//! later.

use super::KnownSnapshot;
use crate::{
    disk::{Dir, DiskError, EntryKind, Magic, read_small, seal, unseal, write_durably},
    snapshot::{BlockHash, MANIFEST_BYTES_MAX, Manifest, SnapshotId},
};

const MAGIC: &Magic = b"snapferry gone 1";
const SUFFIX: &str = ".deleted";
const FILE_BYTES_MAX: u64 = (MANIFEST_BYTES_MAX + 128) as u64;

/// How far a deletion got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The folder is still there, or just gone: to be finished.
    Deleting,
    /// The folder is gone for good; one of that name is another.
    Deleted,
}

/// One deleted snapshot.
#[derive(Debug, Clone)]
pub(super) struct Remains {
    pub(super) known: KnownSnapshot,
    pub(super) stage: Stage,
    /// Of the folder that was deleted.
    pub(super) inode: u64,
}

impl Remains {
    /// Makes it durable.
    pub(super) fn store(&self, state: &dyn Dir) -> Result<(), DiskError> {
        let id = &self.known.entry.id;
        state.create_dir(id.channel.as_str())?;
        state.sync_dir()?;
        let channel = state.open_dir(id.channel.as_str())?;
        write_durably(channel.as_ref(), &file_name(id), &self.encode())
    }

    /// Forgets it: the deletion didn't begin.
    pub(super) fn remove(state: &dyn Dir, id: &SnapshotId) -> Result<(), DiskError> {
        let channel = match state.open_dir(id.channel.as_str()) {
            Err(error) if error.is_not_found() => return Ok(()),
            channel => channel?,
        };
        match channel.remove_file(&file_name(id)) {
            Err(error) if error.is_not_found() => Ok(()),
            removed => removed.and_then(|()| channel.sync_dir()),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut content = vec![u8::from(self.stage == Stage::Deleted)];
        content.extend_from_slice(&self.inode.to_le_bytes());
        content.push(u8::from(self.known.commit_hash.is_some()));
        content.extend_from_slice(&self.known.commit_hash.map_or([0; 32], |hash| hash.0));
        content.extend_from_slice(&self.known.manifest_bytes);
        seal(MAGIC, &content)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let content = unseal(MAGIC, bytes)?;
        let (&stage, rest) = content.split_first()?;
        let (inode, rest) = rest.split_first_chunk()?;
        let (&has_commit_hash, rest) = rest.split_first()?;
        let (commit_hash, manifest) = rest.split_first_chunk()?;
        let commit_hash = (has_commit_hash == 1).then_some(BlockHash(*commit_hash));
        let known = KnownSnapshot::new(Manifest::decode(manifest).ok()?, commit_hash);
        let stage = if stage == 1 { Stage::Deleted } else { Stage::Deleting };
        Some(Self { known: known.without_data(), stage, inode: u64::from_le_bytes(*inode) })
    }
}

/// Everything that is kept; what can't be read is named in the log, and stays where it is.
pub(super) fn load_all(state: &dyn Dir) -> Result<Vec<Remains>, DiskError> {
    let mut all = Vec::new();
    for channel in state.list()?.into_iter().filter(|entry| entry.kind == EntryKind::Dir) {
        let dir = state.open_dir(&channel.name)?;
        for entry in dir.list()?.into_iter().filter(|entry| is_remains(&entry.name)) {
            let read = read_small(dir.as_ref(), &entry.name, FILE_BYTES_MAX);
            let remains = read.ok().and_then(|bytes| Remains::decode(&bytes));
            let named = |remains: &Remains| {
                let id = &remains.known.entry.id;
                id.channel.as_str() == channel.name && file_name(id) == entry.name
            };
            match remains.filter(named) {
                Some(remains) => all.push(remains),
                None => tracing::error!(
                    channel = %channel.name, file = %entry.name,
                    "the metadata of a deleted snapshot can't be read: it can't be signed any more; restore the file in manifests/ of the \
                     state folder from a backup"
                ),
            }
        }
    }
    Ok(all)
}

/// Whether a file in a channel's folder is one of these.
pub(super) fn is_remains(name: &str) -> bool {
    name.ends_with(SUFFIX)
}

fn file_name(id: &SnapshotId) -> String {
    format!("{}{SUFFIX}", id.block_number)
}
