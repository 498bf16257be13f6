//! What a joining peer keeps in its state folder: what it landed, what others attested, receipts and evidence.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use sha2::{Digest, Sha256};

use crate::{
    catalog::{Equivocation, LANDED_DIR, Landed, LandedError, STATEMENTS_DIR, StatementStore, Statements},
    disk::{Dir, DiskError, write_durably},
    snapshot::{BlockNumber, ChannelId, ManifestHash, SnapshotHash, SnapshotId},
};

/// Folder of join receipts, in the state folder.
const RECEIPTS_DIR: &str = "receipts";
/// Folder of evidence against organisations that contradict themselves.
const EVIDENCE_DIR: &str = "evidence";

/// The state folder as joins use it. Clones share it.
#[derive(Debug, Clone)]
pub struct Records {
    landed: Arc<Landed>,
    statements: Arc<StatementStore>,
    receipts: Arc<dyn Dir>,
    evidence: Arc<dyn Dir>,
}

fn receipt_prefix(id: &SnapshotId, hash: SnapshotHash) -> String {
    let hash: String = hash.to_string().chars().take(16).collect();
    format!("{}-{}-{hash}-", id.channel, id.block_number)
}

impl Records {
    /// Opens the folders below the state folder; makes what is missing.
    ///
    /// # Errors
    /// The disk.
    pub fn open(state: &dyn Dir) -> Result<Self, DiskError> {
        let folder = |name| {
            state.create_dir(name)?;
            state.sync_dir()?;
            state.open_dir(name)
        };
        Ok(Self {
            landed: Arc::new(Landed::open(folder(LANDED_DIR)?)),
            statements: Arc::new(StatementStore::open(folder(STATEMENTS_DIR)?)),
            receipts: folder(RECEIPTS_DIR)?,
            evidence: folder(EVIDENCE_DIR)?,
        })
    }

    /// The highest block that this peer ever had of the channel: the floor of what it takes.
    ///
    /// # Errors
    /// The disk: not knowing isn't the same as none.
    pub fn highest_had(&self, channel: &ChannelId) -> Result<Option<BlockNumber>, LandedError> {
        self.landed.highest(channel)
    }

    /// Notes, durably, that the snapshot came from others: a service with this state folder never attests it.
    pub(super) fn landed(&self, id: &SnapshotId, manifest_hash: ManifestHash) -> Result<(), LandedError> {
        self.landed.record(id, manifest_hash)
    }

    /// Keeps what other organisations attested, to relay it and to notice who says something else later. What can't be kept is only
    /// missing then.
    pub(super) fn keep(&self, statements: &Statements, now: SystemTime) {
        for heard in &statements.heard {
            if let Err(error) = self.statements.keep(&heard.attestation, now) {
                tracing::warn!(%error, source = %heard.source, "an attestation isn't kept");
            }
        }
    }

    /// Writes a receipt, under a name that tells snapshot and time; its path.
    pub(super) fn receipt(
        &self,
        id: &SnapshotId,
        hash: SnapshotHash,
        at: SystemTime,
        file: &[u8],
    ) -> Result<PathBuf, DiskError> {
        let seconds = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let name = format!("{}{seconds}.json", receipt_prefix(id, hash));
        write_durably(&*self.receipts, &name, file)?;
        Ok(self.receipts.path().join(name))
    }

    /// The newest receipt of a snapshot, if there is one.
    pub(super) fn newest_receipt(&self, id: &SnapshotId, hash: SnapshotHash) -> Result<Option<PathBuf>, DiskError> {
        let prefix = receipt_prefix(id, hash);
        // The rest is the time alone: a channel's name may look like the beginning of another's.
        let is_time = |name: &String| {
            let rest = name.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(".json"));
            rest.is_some_and(|rest| rest.bytes().all(|digit| digit.is_ascii_digit()))
        };
        let newest = self.receipts.list()?.into_iter().map(|entry| entry.name).filter(is_time).max();
        Ok(newest.map(|name| self.receipts.path().join(name)))
    }

    /// Writes a proof that an organisation contradicts itself; its path. The same proof has the same name.
    pub(super) fn evidence(&self, proof: &Equivocation) -> Result<PathBuf, DiskError> {
        let [first, second] = proof.statements();
        let digest = Sha256::new().chain_update(first.body_bytes()).chain_update(second.body_bytes()).finalize();
        let short: String = hex::encode(digest).chars().take(16).collect();
        let name = format!("{}-{}-{short}.json", proof.id().channel, proof.id().block_number);
        write_durably(&*self.evidence, &name, &proof.encode())?;
        Ok(self.evidence.path().join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::OsDir;

    #[test]
    fn the_newest_receipt_is_of_just_that_snapshot() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(&*OsDir::open(dir.path()).unwrap()).unwrap();
        let id =
            |channel: &str, block| SnapshotId { channel: channel.parse().unwrap(), block_number: BlockNumber(block) };
        let (hash, other) = (SnapshotHash([1; 32]), SnapshotHash([2; 32]));
        let at = |seconds| UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        records.receipt(&id("ch-83", 5), hash, at(10), b"{}").unwrap();
        records.receipt(&id("ch", 83), other, at(11), b"{}").unwrap();
        assert_eq!(records.newest_receipt(&id("ch", 83), hash).unwrap(), None);
        records.receipt(&id("ch", 83), hash, at(12), b"{}").unwrap();
        let newest = records.receipt(&id("ch", 83), hash, at(13), b"{}").unwrap();
        assert_eq!(records.newest_receipt(&id("ch", 83), hash).unwrap(), Some(newest));
    }
}
