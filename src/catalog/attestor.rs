//! Signs what the service itself read: the RFC's SignSnapshotMetadata.
//!
//! An attestation is made only of a snapshot that the catalog found as a folder under the peer's own `ROOT/completed` and hashed
//! completely, or of the metadata that remain of one (what has rotted since is no reason to be silent: the statement is about what the peer
//! made and was hashed then, as with deleted data; rotten bytes never become a new one, since a folder that changed is read anew); never of one that landed here from others, and never of a second version of
//! a block. Who may ask is decided elsewhere.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    AttestBody, Attestation, AttestationError, Catalog, Landed, LandedError, NONCE_BYTES_MAX, OwnStatement, Screening,
    StatementError, StatementStore,
};
use crate::{
    msp::{ChannelConfig, LocalIdentity},
    snapshot::SnapshotId,
};

/// How long an attestation with a nonce holds: it convinces only who sent the nonce, within minutes; an hour forgives slow joins.
pub const LIVE_VALIDITY: Duration = Duration::from_secs(3_600);
/// How long one without a nonce holds: the longest that counts (trust.md 6.5).
pub const STORED_VALIDITY: Duration = Duration::from_secs(7 * 86_400);

/// Makes attestations with the service's identity.
#[derive(Debug)]
pub struct Attestor {
    identity: Arc<LocalIdentity>,
    statements: Arc<StatementStore>,
    landed: Arc<Landed>,
}

/// Why a snapshot isn't attested.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttestRefusal {
    /// The catalog has no such snapshot, nor metadata of it.
    #[error("no snapshot {0} is known here: the peer hasn't finished it, or it isn't verified yet")]
    Unknown(SnapshotId),
    /// It came from others: that they say so is nothing that we can vouch for.
    #[error("snapshot {0} was landed here from other organisations, not made by our own peer: it isn't attested")]
    Landed(SnapshotId),
    /// Too long a nonce.
    #[error("a nonce of {0} bytes, more than {NONCE_BYTES_MAX}")]
    Nonce(usize),
    /// We signed something else, or don't know what.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// Whether it landed here can't be told.
    #[error(transparent)]
    Record(#[from] LandedError),
    /// The crypto library.
    #[error("can't sign: {0}")]
    Signing(#[from] AttestationError),
}

impl AttestRefusal {
    /// Whether the same may be signed later, with nothing changed but our machine: its disk or its descriptors are in the way.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Statement(StatementError::Disk(_)) | Self::Record(LandedError::Disk(_)))
    }
}

impl Attestor {
    /// Signs as `identity`.
    #[must_use]
    pub const fn new(identity: Arc<LocalIdentity>, statements: Arc<StatementStore>, landed: Arc<Landed>) -> Self {
        Self { identity, statements, landed }
    }

    /// Our attestation of a snapshot, then those of other organisations that are kept and count by `config`, that channel's of now. With a nonce ours is live and holds for
    /// [`LIVE_VALIDITY`]; without one it holds for [`STORED_VALIDITY`] and is kept, too. Blocking: the guard is made durable first.
    ///
    /// # Errors
    /// [`AttestRefusal`]; nothing is signed then.
    pub fn attest(
        &self,
        catalog: &Catalog,
        id: &SnapshotId,
        nonce: &[u8],
        config: &ChannelConfig,
        now: SystemTime,
    ) -> Result<Vec<Attestation>, AttestRefusal> {
        if nonce.len() > NONCE_BYTES_MAX {
            return Err(AttestRefusal::Nonce(nonce.len()));
        }
        let known = catalog.known(id).ok_or_else(|| AttestRefusal::Unknown(id.clone()))?;
        let statement = OwnStatement {
            snapshot_hash: known.entry.snapshot_hash,
            manifest_hash: known.entry.manifest_hash,
            commit_hash: known.commit_hash,
        };
        if self.landed.contains(id, statement.manifest_hash)? {
            return Err(AttestRefusal::Landed(id.clone()));
        }
        self.statements.allow(id, statement)?;
        let issued_at = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let validity = if nonce.is_empty() { STORED_VALIDITY } else { LIVE_VALIDITY };
        let body = AttestBody {
            id: id.clone(),
            snapshot_hash: statement.snapshot_hash,
            manifest_hash: statement.manifest_hash,
            commit_hash: statement.commit_hash,
            config_sequence: config.sequence(),
            issued_at,
            expires_at: issued_at.saturating_add(validity.as_secs()),
            request_nonce: nonce.to_vec(),
            identity: self.identity.identity.serialized().clone(),
        };
        let own = Attestation::sign(&body, &self.identity)?;
        if nonce.is_empty()
            && let Err(error) = self.statements.keep_own(&own)
        {
            tracing::warn!(snapshot = %id, %error, "our own attestation isn't kept for the record");
        }
        let mut attestations = vec![own];
        // Never our own once more: what we said to somebody else would look like a lie to who asks now.
        let screening = Screening { config, own_msp: self.identity.identity.msp_id(), now };
        attestations.extend(self.statements.relayed(&screening, id));
        Ok(attestations)
    }
}

#[cfg(test)]
mod tests;
