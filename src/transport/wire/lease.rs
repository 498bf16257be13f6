//! Leases: what an asker says to keep a snapshot while it downloads it.

use std::time::Duration;

use bytes::Bytes;

use super::{Broken, hash, snapshot_id, snapshot_id_pb};
use crate::{
    snapshot::{ManifestHash, SnapshotId},
    transport::{limits::LEASE_TIME_MAX, pb},
};

/// Asks that a snapshot stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseOpen {
    /// Which snapshot.
    pub id: SnapshotId,
    /// The manifest that its chunks prove against.
    pub manifest_hash: ManifestHash,
}

/// The answer to whatever is asked about a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Not 0; good for the client that opened it.
    pub lease_id: u64,
    /// From now, at most an hour; zero: it is closed.
    pub expires: Duration,
    /// Leases that the client's organisation may still open there.
    pub quota: u32,
}

impl TryFrom<pb::LeaseOpen> for LeaseOpen {
    type Error = Broken;
    fn try_from(open: pb::LeaseOpen) -> Result<Self, Broken> {
        Ok(Self { id: snapshot_id(open.snapshot)?, manifest_hash: hash(&open.manifest_hash, "manifest_hash")? })
    }
}

impl From<LeaseOpen> for pb::LeaseOpen {
    fn from(open: LeaseOpen) -> Self {
        Self {
            snapshot: Some(snapshot_id_pb(&open.id)),
            manifest_hash: Bytes::copy_from_slice(open.manifest_hash.as_bytes()),
        }
    }
}

impl TryFrom<pb::Lease> for Lease {
    type Error = Broken;
    fn try_from(lease: pb::Lease) -> Result<Self, Broken> {
        let expires = Duration::from_millis(lease.expires_ms).min(LEASE_TIME_MAX);
        Ok(Self { lease_id: lease_id(lease.lease_id)?, expires, quota: lease.quota })
    }
}

impl From<Lease> for pb::Lease {
    fn from(lease: Lease) -> Self {
        let expires_ms = u64::try_from(lease.expires.min(LEASE_TIME_MAX).as_millis()).unwrap_or(u64::MAX);
        Self { lease_id: lease.lease_id, expires_ms, quota: lease.quota }
    }
}

/// 0 stands for "none" in a request for chunks: no lease is called so.
pub(super) const fn lease_id(id: u64) -> Result<u64, Broken> {
    if id == 0 { Err(Broken::Field("lease_id")) } else { Ok(id) }
}
