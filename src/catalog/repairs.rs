//! Chunks that rotted in the peer's folder and were fetched again from others: they lie in our own state, and are served from there.
//!
//! `STATE/repairs/CHANNEL/BLOCK/FILE.CHUNK`: the chunk's raw bytes. Nothing here is believed: whoever reads one proves it against the
//! snapshot's own chunk tree, as every read. The peer's folder is never written.

use std::sync::Arc;

use crate::{
    disk::{Access, Dir, DiskError, EntryKind, write_durably},
    snapshot::{BlockNumber, ChannelId, ChunkIndex, SnapshotFile, SnapshotId},
};

/// Folder of the repaired chunks, in the state folder.
pub const REPAIRS_DIR: &str = "repairs";

/// The repaired chunks of all snapshots.
#[derive(Debug, Clone)]
pub struct Repairs(Arc<dyn Dir>);

impl Repairs {
    /// Over `STATE/repairs`.
    #[must_use]
    pub fn open(dir: Arc<dyn Dir>) -> Self {
        Self(dir)
    }

    /// Over `STATE/repairs`, which is made if it is missing.
    ///
    /// # Errors
    /// The disk's.
    pub fn in_state(state: &dyn Dir) -> Result<Self, DiskError> {
        state.create_dir(REPAIRS_DIR)?;
        // Else a power cut may take what is kept with its folder.
        state.sync_dir()?;
        Ok(Self(state.open_dir(REPAIRS_DIR)?))
    }

    /// Whether there is one for that chunk; nothing is read.
    #[must_use]
    pub fn has(&self, id: &SnapshotId, file: SnapshotFile, chunk: ChunkIndex) -> bool {
        let opened = self.folder(id).and_then(|dir| dir.open_file(&name(file, chunk), Access::Read));
        opened.is_ok()
    }

    /// Fills `buf` with what lies there for a chunk of that length; to be proved by the caller.
    pub(super) fn read(
        &self,
        id: &SnapshotId,
        file: SnapshotFile,
        chunk: ChunkIndex,
        buf: &mut [u8],
    ) -> Result<(), DiskError> {
        self.folder(id)?.open_file(&name(file, chunk), Access::Read)?.read_exact_at(buf, 0)
    }

    /// Keeps a chunk durably. The caller has proved it.
    ///
    /// # Errors
    /// The disk's; nothing is changed then.
    pub fn keep(&self, id: &SnapshotId, file: SnapshotFile, chunk: ChunkIndex, bytes: &[u8]) -> Result<(), DiskError> {
        self.0.create_dir(id.channel.as_str())?;
        self.0.sync_dir()?;
        let channel = self.0.open_dir(id.channel.as_str())?;
        channel.create_dir(&id.block_number.to_string())?;
        channel.sync_dir()?;
        write_durably(channel.open_dir(&id.block_number.to_string())?.as_ref(), &name(file, chunk), bytes)
    }

    /// Forgets the repairs of every snapshot but those to `keep`.
    pub(super) fn retain(&self, keep: impl Fn(&SnapshotId) -> bool) -> Result<(), DiskError> {
        for (channel, dir) in folders::<ChannelId>(self.0.as_ref())? {
            for (block_number, _) in folders::<BlockNumber>(dir.as_ref())? {
                if !keep(&SnapshotId { channel: channel.clone(), block_number }) {
                    dir.remove_dir_all(&block_number.to_string())?;
                }
            }
        }
        Ok(())
    }

    /// Forgets the repairs of a snapshot: its folder was read again and is right, or is another.
    pub(super) fn forget(&self, id: &SnapshotId) -> Result<(), DiskError> {
        let removed =
            self.0.open_dir(id.channel.as_str()).and_then(|dir| dir.remove_dir_all(&id.block_number.to_string()));
        match removed {
            Err(error) if error.is_not_found() => Ok(()),
            removed => removed,
        }
    }

    fn folder(&self, id: &SnapshotId) -> Result<Arc<dyn Dir>, DiskError> {
        self.0.open_dir(id.channel.as_str())?.open_dir(&id.block_number.to_string())
    }
}

fn name(file: SnapshotFile, chunk: ChunkIndex) -> String {
    format!("{}.{}", file.name(), chunk.0)
}

/// A folder and what its name says.
type Named<T> = (T, Arc<dyn Dir>);

fn folders<T: std::str::FromStr + ToString>(dir: &dyn Dir) -> Result<Vec<Named<T>>, DiskError> {
    let named = dir.list()?.into_iter().filter(|entry| entry.kind == EntryKind::Dir).filter_map(|entry| {
        let parsed = entry.name.parse::<T>().ok()?;
        (parsed.to_string() == entry.name).then_some((parsed, entry.name))
    });
    named.map(|(parsed, name)| Ok((parsed, dir.open_dir(&name)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{catalog::test_site::id, disk::OsDir};

    #[test]
    fn a_kept_chunk_comes_back_until_its_snapshot_goes() {
        let keep = tempfile::TempDir::new().unwrap();
        let repairs = Repairs::open(OsDir::open(keep.path()).unwrap());
        let file = SnapshotFile::PublicStateData;
        assert!(!repairs.has(&id(83), file, ChunkIndex(2)));
        repairs.keep(&id(83), file, ChunkIndex(2), b"chunk").unwrap();
        repairs.keep(&id(132), file, ChunkIndex(0), b"other").unwrap();
        let mut buf = [0; 5];
        repairs.read(&id(83), file, ChunkIndex(2), &mut buf).unwrap();
        assert_eq!(&buf, b"chunk");
        repairs.retain(|kept| *kept == id(132)).unwrap();
        assert!(!repairs.has(&id(83), file, ChunkIndex(2)));
        assert!(repairs.has(&id(132), file, ChunkIndex(0)));
    }
}
