//! What a joining peer keeps in its state folder: what it landed, what others attested, receipts and evidence.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use sha2::{Digest, Sha256};

use crate::{
    catalog::{Equivocation, JoinReceipt, Landed, LandedError, StatementStore, Statements},
    disk::{Dir, DiskError, write_durably},
    snapshot::{BlockNumber, ChannelId, ManifestHash, SnapshotId},
};

/// Folder of what landed, in the state folder.
pub const LANDED_DIR: &str = "landed";
/// Folder of what we signed and what others attested.
pub const STATEMENTS_DIR: &str = "statements";
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

    /// Writes a receipt; its path.
    pub(super) fn receipt(&self, id: &SnapshotId, receipt: &JoinReceipt) -> Result<PathBuf, DiskError> {
        let name = format!("{}-{}-{}.json", id.channel, id.block_number, receipt.finished_at());
        write_durably(&*self.receipts, &name, &receipt.encode())?;
        Ok(self.receipts.path().join(name))
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
