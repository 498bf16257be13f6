//! What one source offers: who has data and manifests. Unsigned, so it vouches for nothing.

use super::CatalogEntry;
use crate::{
    msp::{IdentityId, MspId},
    snapshot::{BlockHash, Manifest},
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
