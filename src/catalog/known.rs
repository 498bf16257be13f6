//! What is known of a snapshot, whether its data are there or not: enough to vouch for it.

use std::sync::Arc;

use bytes::Bytes;

use super::CatalogEntry;
use crate::snapshot::{BlockHash, Manifest};

/// Manifest and commit hash of a snapshot that the service verified itself. Its data may have been deleted since.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KnownSnapshot {
    /// Metadata, sizes and chunk roots.
    pub manifest: Arc<Manifest>,
    /// The manifest's canonical bytes.
    pub manifest_bytes: Bytes,
    /// Commit hash of the last block, from the additional metadata; covered by no hash.
    pub commit_hash: Option<BlockHash>,
    /// The line of the catalog.
    pub entry: CatalogEntry,
}

impl KnownSnapshot {
    /// Of a verified manifest, with its data.
    #[must_use]
    pub fn new(manifest: Manifest, commit_hash: Option<BlockHash>) -> Self {
        let manifest_bytes = Bytes::from(manifest.encode());
        let entry = CatalogEntry::of(&manifest);
        Self { manifest: Arc::new(manifest), manifest_bytes, commit_hash, entry }
    }

    /// The same once the data are deleted.
    #[must_use]
    pub fn without_data(&self) -> Self {
        let mut known = self.clone();
        known.entry.only_metadata_available = true;
        known
    }
}
