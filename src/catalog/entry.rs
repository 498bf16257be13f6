//! One line of a catalog.

use crate::snapshot::{Manifest, ManifestHash, SnapshotHash, SnapshotId};

/// What a source says that it has: a claim until chunks prove it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogEntry {
    /// Channel and last block.
    pub id: SnapshotId,
    /// Which manifest its chunks prove against.
    pub manifest_hash: ManifestHash,
    /// SHA-256 of the signable metadata.
    pub snapshot_hash: SnapshotHash,
    /// Bytes of all data files together.
    pub total_bytes: u64,
    /// Number of data files.
    pub files: u32,
    /// The data were deleted, the metadata are still known (the RFC's field): it vouches, but serves nothing.
    pub only_metadata_available: bool,
    /// The source is joining itself and holds only some chunks: it serves, but doesn't vouch.
    pub partial: bool,
}

impl CatalogEntry {
    /// The line of somebody who has all of a manifest's files.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        Self {
            id: manifest.id().clone(),
            manifest_hash: manifest.hash(),
            snapshot_hash: manifest.signable().hash(),
            total_bytes: manifest.total_bytes(),
            // At most eight.
            files: u32::try_from(manifest.files().len()).unwrap_or(u32::MAX),
            only_metadata_available: false,
            partial: false,
        }
    }
}
