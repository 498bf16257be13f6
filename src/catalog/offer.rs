//! What one source offers: who has data and manifests. Unsigned, so it vouches for nothing.

use super::CatalogEntry;
use crate::{
    msp::{IdentityId, MspId},
    snapshot::{BlockHash, Manifest, VerifiedFolder},
};

/// What one source offers for one snapshot.
#[derive(Debug, Clone)]
pub struct Offer {
    /// The source's address, as dialled.
    pub source: String,
    /// Its organisation, proved by session auth.
    pub msp_id: MspId,
    /// Its identity, proved by session auth.
    pub identity_id: IdentityId,
    /// The line of its catalog.
    pub entry: CatalogEntry,
    /// The manifest, if it was fetched; from any source, as its hash is in the entry.
    pub manifest: Option<Manifest>,
    /// The commit hash that it claims; `None` is a claim, too: the ledger has none.
    pub commit_hash: Option<BlockHash>,
}

impl Offer {
    /// A folder that is here, as somebody who has its data and vouches for nothing.
    #[must_use]
    pub fn of_folder(source: String, msp_id: MspId, verified: &VerifiedFolder) -> Self {
        let manifest = &verified.manifest;
        Self {
            source,
            msp_id,
            identity_id: IdentityId([0; 32]),
            // As one that only has data: nobody is said to offer it.
            entry: CatalogEntry { partial: true, ..CatalogEntry::of(manifest) },
            manifest: Some(manifest.clone()),
            commit_hash: verified.metadata.commit_hash,
        }
    }
}
