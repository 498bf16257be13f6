//! A join that ended well, and what is told of it.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{JoinRequest, Landed, event::Share, landing::Landing};
use crate::{
    catalog::{AgreedSnapshot, Mode},
    snapshot::{BlockHash, ContentSummary, ManifestHash, SnapshotHash, SnapshotId},
};

/// How a join ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The folder is published.
    Landed,
    /// It was there before, and is whole.
    AlreadyThere,
    /// Nothing was fetched: only asked.
    DryRun,
}

/// A join that ended well.
#[derive(Debug)]
pub struct Joined {
    /// How.
    pub outcome: Outcome,
    /// The snapshot.
    pub id: SnapshotId,
    /// SHA-256 of its signable metadata.
    pub snapshot_hash: SnapshotHash,
    /// Commit hash of its last block, as agreed on: no hash covers it.
    pub commit_hash: Option<BlockHash>,
    /// Hash of its manifest.
    pub manifest_hash: ManifestHash,
    /// The organisations that vouch for exactly this.
    pub organisations: BTreeSet<String>,
    /// The rule that they satisfy.
    pub policy: String,
    /// Whether chunks counted at once, or only whole files did.
    pub mode: Mode,
    /// The receipt; written when something landed.
    pub receipt: Option<PathBuf>,
    /// Bytes in its data files.
    pub total_bytes: u64,
    /// Bytes of an earlier run that were not fetched again.
    pub reused_bytes: u64,
    /// What came from whom.
    pub shares: Vec<Share>,
    /// The published folder.
    pub path: PathBuf,
    /// How long it took to load it into the peer, once it had landed; `None`: nothing was to be loaded.
    pub loaded: Option<Duration>,
    /// What the files hold; known only after a transfer.
    pub content: Option<ContentSummary>,
    /// The whole command's time.
    pub elapsed: Duration,
}

/// When a join began.
pub(super) struct Times {
    pub(super) begun: Instant,
    pub(super) begun_at: SystemTime,
}

/// All but the receipt and the content.
pub(super) fn summary(
    agreed: &AgreedSnapshot,
    request: &JoinRequest,
    landing: &Landing,
    landed: &Landed,
    times: &Times,
) -> Joined {
    Joined {
        outcome: landed.outcome,
        id: agreed.id().clone(),
        snapshot_hash: agreed.manifest().signable().hash(),
        commit_hash: agreed.commit_hash(),
        manifest_hash: agreed.manifest_hash(),
        organisations: agreed.vouching_orgs().iter().map(ToString::to_string).collect(),
        policy: request.trust.policy.metadata.as_str().to_owned(),
        mode: agreed.mode(),
        receipt: None,
        total_bytes: agreed.manifest().files().iter().map(|file| file.size).sum(),
        reused_bytes: landed.fetched.as_ref().map_or(0, |fetched| fetched.reused_bytes),
        shares: landed.fetched.as_ref().map(|fetched| fetched.shares.clone()).unwrap_or_default(),
        path: request.folder.as_ref().map_or_else(|| landing.path(), |folder| folder.path().to_owned()),
        loaded: None,
        content: None,
        elapsed: times.begun.elapsed(),
    }
}
