//! Which snapshots this peer was given by others: they are never attested, and none older is taken.
//!
//! `STATE/landed/CHANNEL/BLOCK`: the manifest hashes that landed for that block, sealed. Written by whoever lands, **before** the
//! folder is published, so that no crash leaves a landed folder that could pass for a generated one. Read anew each time: `join`
//! runs beside `serve`.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    disk::{Dir, DiskError, EntryKind, Magic, read_small, seal, unseal, write_durably},
    snapshot::{BlockNumber, ChannelId, ManifestHash, SnapshotId},
};

const MAGIC: &Magic = b"snapferry landed";

/// Its folder, in the state folder.
pub const LANDED_DIR: &str = "landed";

/// Different snapshots of one block that can land on one peer: one is usual, more means that organisations disagree.
pub const LANDED_PER_BLOCK_MAX: usize = 64;

/// Magic, hashes, checksum.
const FILE_BYTES_MAX: u64 = 16 + 32 * LANDED_PER_BLOCK_MAX as u64 + 32;

/// The record of landed snapshots, over `STATE/landed`.
#[derive(Debug)]
pub struct Landed {
    dir: Arc<dyn Dir>,
}

/// The record can't be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LandedError {
    /// The disk.
    #[error("can't use the record of landed snapshots: {0}")]
    Disk(#[from] DiskError),
    /// The file was damaged: what landed is unknown.
    #[error(
        "{file} in the state folder is damaged, so whether snapshot {id} was landed here is unknown: restore it from a backup, or \
         remove it if the peer made that snapshot itself"
    )]
    Damaged {
        /// The snapshot.
        id: SnapshotId,
        /// The file, below the state folder.
        file: String,
    },
    /// More than [`LANDED_PER_BLOCK_MAX`].
    #[error(
        "{LANDED_PER_BLOCK_MAX} different snapshots {id} were landed here already: the channel's organisations don't agree on it"
    )]
    TooMany {
        /// The snapshot.
        id: SnapshotId,
    },
}

impl Landed {
    /// Over `STATE/landed`.
    #[must_use]
    pub const fn open(dir: Arc<dyn Dir>) -> Self {
        Self { dir }
    }

    /// Remembers durably that this snapshot came from others. Call it before the folder gets its final name. Doing it twice is
    /// fine.
    ///
    /// # Errors
    /// [`LandedError`]: then don't publish.
    pub fn record(&self, id: &SnapshotId, manifest_hash: ManifestHash) -> Result<(), LandedError> {
        self.dir.create_dir(id.channel.as_str())?;
        self.dir.sync_dir()?;
        let channel = self.dir.open_dir(id.channel.as_str())?;
        // Two that land the same block at a time: the second one would write over the first one's hash.
        let _lock = channel.lock(&format!(".{}.lock", id.block_number))?;
        let mut hashes = self.hashes(id)?;
        if hashes.insert(manifest_hash) {
            if hashes.len() > LANDED_PER_BLOCK_MAX {
                return Err(LandedError::TooMany { id: id.clone() });
            }
            let content: Vec<u8> = hashes.iter().flat_map(|hash| hash.0).collect();
            write_durably(channel.as_ref(), &id.block_number.to_string(), &seal(MAGIC, &content))?;
        } else {
            // An earlier call may have failed at just this.
            channel.sync_dir()?;
        }
        Ok(())
    }

    /// Whether just this snapshot came from others.
    ///
    /// # Errors
    /// It can't be told: don't attest then.
    pub fn contains(&self, id: &SnapshotId, manifest_hash: ManifestHash) -> Result<bool, LandedError> {
        Ok(self.hashes(id)?.contains(&manifest_hash))
    }

    /// The highest block that ever landed for the channel: nothing below it is taken unasked. A damaged record counts: its name is
    /// enough.
    ///
    /// # Errors
    /// The folder can't be listed.
    pub fn highest(&self, channel: &ChannelId) -> Result<Option<BlockNumber>, LandedError> {
        let listed = self.dir.open_dir(channel.as_str()).and_then(|dir| dir.list());
        let entries = match listed {
            Err(error) if error.is_not_found() => return Ok(None),
            listed => listed?,
        };
        let files = entries.into_iter().filter(|entry| entry.kind == EntryKind::File);
        Ok(files.filter_map(|entry| entry.name.parse().ok()).max())
    }

    fn hashes(&self, id: &SnapshotId) -> Result<BTreeSet<ManifestHash>, LandedError> {
        let name = id.block_number.to_string();
        let read = self.dir.open_dir(id.channel.as_str()).and_then(|dir| read_small(&*dir, &name, FILE_BYTES_MAX));
        let damaged = || LandedError::Damaged { id: id.clone(), file: format!("landed/{}/{name}", id.channel) };
        let bytes = match read {
            Err(error) if error.is_not_found() => return Ok(BTreeSet::new()),
            Err(DiskError::TooLarge { .. }) => return Err(damaged()),
            read => read?,
        };
        let hashes = unseal(MAGIC, &bytes).ok_or_else(damaged)?.chunks(32).map(ManifestHash::try_from);
        hashes.collect::<Result<_, _>>().map_err(|_| damaged())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{
        OsDir,
        faulty::{Faults, FaultyDir},
    };
    use tempfile::TempDir;

    fn id(block: u64) -> SnapshotId {
        SnapshotId { channel: "ch1".parse().unwrap(), block_number: BlockNumber(block) }
    }

    fn landed(dir: &TempDir) -> Landed {
        Landed::open(OsDir::open(dir.path()).unwrap())
    }

    #[test]
    fn what_landed_is_known_after_a_restart_and_the_highest_block_too() {
        let dir = TempDir::new().unwrap();
        let (one, other) = (ManifestHash([1; 32]), ManifestHash([2; 32]));
        let record = landed(&dir);
        assert_eq!(record.highest(&id(0).channel).unwrap(), None);
        assert!(!record.contains(&id(9), one).unwrap());
        record.record(&id(9), one).unwrap();
        record.record(&id(9), one).unwrap();
        record.record(&id(9), other).unwrap();
        record.record(&id(100), one).unwrap();
        let record = landed(&dir);
        assert!(record.contains(&id(9), one).unwrap() && record.contains(&id(9), other).unwrap());
        assert!(!record.contains(&id(100), other).unwrap());
        assert_eq!(record.highest(&id(0).channel).unwrap(), Some(BlockNumber(100)));
        assert_eq!(record.highest(&"ch2".parse().unwrap()).unwrap(), None);
    }

    #[test]
    fn a_record_that_is_there_already_is_made_durable_all_the_same() {
        let (dir, faults) = (TempDir::new().unwrap(), Arc::new(Faults::default()));
        let record = Landed::open(FaultyDir::wrap(OsDir::open(dir.path()).unwrap(), &faults));
        faults.break_only(&["sync ch1"]);
        record.record(&id(9), ManifestHash([1; 32])).unwrap_err();
        assert!(landed(&dir).contains(&id(9), ManifestHash([1; 32])).unwrap(), "only its name isn't durable");
        record.record(&id(9), ManifestHash([1; 32])).unwrap_err();
        faults.break_only(&[]);
        record.record(&id(9), ManifestHash([1; 32])).unwrap();
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test damages a file")]
    fn a_damaged_record_is_not_a_missing_one() {
        let dir = TempDir::new().unwrap();
        landed(&dir).record(&id(9), ManifestHash([1; 32])).unwrap();
        for damage in [&[][..], b"torn", &[7; 5_000]] {
            std::fs::write(dir.path().join("ch1/9"), damage).unwrap();
            let refused = landed(&dir).contains(&id(9), ManifestHash([1; 32])).unwrap_err();
            assert!(refused.to_string().contains("landed/ch1/9 in the state folder is damaged"), "{refused}");
            landed(&dir).record(&id(9), ManifestHash([2; 32])).unwrap_err();
            assert_eq!(landed(&dir).highest(&id(0).channel).unwrap(), Some(BlockNumber(9)));
        }
    }

    #[test]
    fn the_number_per_block_is_bounded() {
        let dir = TempDir::new().unwrap();
        let record = landed(&dir);
        let hash = |index: usize| ManifestHash([u8::try_from(index).unwrap(); 32]);
        for index in 0..LANDED_PER_BLOCK_MAX {
            record.record(&id(9), hash(index)).unwrap();
        }
        let refused = record.record(&id(9), hash(LANDED_PER_BLOCK_MAX));
        assert!(matches!(refused, Err(LandedError::TooMany { .. })), "{refused:?}");
        assert!(record.contains(&id(9), hash(LANDED_PER_BLOCK_MAX - 1)).unwrap());
    }
}
