//! A source that accepted us: what it claims to have, and how its chunk trees come.

use std::sync::Arc;

use super::keeper::{Peer, peer_of};
use crate::{
    catalog::{AgreedSnapshot, CatalogEntry, Offer},
    chunking::{FileTree, ProofError, SpanTree},
    snapshot::{ManifestHash, SnapshotId},
    transport::{
        asking::{AskError, Listing, Session},
        wire::{CatalogClaim, ChunkTreeRequest},
    },
};

/// A source that accepted us.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    pub(super) session: Arc<Session>,
    pub(super) listing: Arc<Listing>,
}

impl Ready {
    /// Who it is.
    pub(super) fn peer(&self) -> Peer {
        peer_of(&self.session)
    }

    /// Whether the source claims that snapshot with its data.
    pub(super) fn has(&self, id: &SnapshotId, manifest_hash: ManifestHash) -> bool {
        let mut claims = self.listing.claims.iter();
        claims.any(|claim| claim.id == *id && claim.manifest_hash == manifest_hash && !claim.only_metadata_available)
    }

    pub(super) fn offers(&self, address: &str) -> Vec<Offer> {
        let peer = self.session.peer();
        let offer = |claim: &CatalogClaim| Offer {
            source: address.to_owned(),
            msp_id: peer.msp_id.clone(),
            identity_id: peer.identity_id,
            entry: CatalogEntry {
                id: claim.id.clone(),
                manifest_hash: claim.manifest_hash,
                snapshot_hash: claim.snapshot_hash,
                total_bytes: claim.total_bytes,
                files: claim.files,
                only_metadata_available: claim.only_metadata_available,
                partial: claim.partial,
            },
            manifest: None,
            commit_hash: claim.last_block_commit_hash,
        };
        self.listing.claims.iter().map(offer).collect()
    }

    /// The list of a file, believed once it merges to the agreed root; above 64 GiB span by span, each believed on its own.
    pub(super) async fn chunk_tree(
        &self,
        agreed: &AgreedSnapshot,
        file_index: u32,
        size: u64,
    ) -> Result<FileTree, GiveError> {
        let manifest = agreed.manifest();
        let list = |span| {
            let (id, manifest_hash) = (agreed.id().clone(), agreed.manifest_hash());
            self.session.tree(ChunkTreeRequest { id, manifest_hash, file_index, span }, size)
        };
        if !SpanTree::applies_to(size) {
            return Ok(FileTree::prove(manifest, file_index, list(None).await?)?);
        }
        let mut tree = SpanTree::prove(manifest, file_index, list(None).await?)?;
        while let Some(span) = tree.next_span() {
            tree.add(manifest, &list(Some(span)).await?)?;
        }
        Ok(tree.finish(manifest)?)
    }
}

/// Why what a source gave isn't used.
#[derive(Debug)]
pub(super) enum GiveError {
    Ask(AskError),
    Proof(ProofError),
}

impl From<AskError> for GiveError {
    fn from(error: AskError) -> Self {
        Self::Ask(error)
    }
}

impl From<ProofError> for GiveError {
    fn from(error: ProofError) -> Self {
        Self::Proof(error)
    }
}
