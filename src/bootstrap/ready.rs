//! A source that accepted us: what it claims to have, and how its chunk trees come.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time;

use super::{
    dialer::again_after,
    keeper::{Peer, peer_of},
};
use crate::{
    catalog::{AgreedSnapshot, Attestation, CatalogEntry, Offer},
    chunking::{FileTree, ProofError, SpanTree},
    snapshot::{ManifestHash, SnapshotId},
    transport::{
        asking::{AskError, Listing, Session},
        wire::{AttestationGet, CatalogClaim, ChunkTreeRequest},
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

    /// Whether it offers a snapshot of that block, if only its metadata, and could vouch for it.
    pub(super) fn offers_block(&self, id: &SnapshotId) -> bool {
        self.listing.claims.iter().any(|claim| claim.id == *id && !claim.partial)
    }

    /// What it attests, and relays: each signed as it should be, about that snapshot; its own, if there is one, for this nonce.
    pub(super) async fn attestations(&self, id: &SnapshotId, nonce: &[u8]) -> Result<Vec<Attestation>, AttestError> {
        let get = || AttestationGet { id: id.clone(), nonce: Bytes::copy_from_slice(nonce) };
        let mut tries = 1..ATTEST_TRIES;
        let received = loop {
            match self.session.attestations(get()).await {
                Err(error) if tries.next().is_some() => match again_after(&error) {
                    Some(pause) => time::sleep(pause.min(ATTEST_PAUSE_MAX)).await,
                    None => return Err(error.into()),
                },
                received => break received?,
            }
        };
        let (msp_id, identity_id) = self.peer();
        let mut attestations = Vec::new();
        for attestation in received {
            let attestation = Attestation::from_wire(attestation.body, attestation.signature)
                .map_err(|error| AttestError::Lie(format!("it sent an unsound attestation: {error}")))?;
            let (body, signer) = (attestation.body(), attestation.identity());
            if body.id != *id {
                return Err(AttestError::Lie(format!("asked about {id}, it sent an attestation of {}", body.id)));
            }
            let own = *signer.msp_id() == msp_id && signer.id() == identity_id;
            // No manifest can be of two snapshots, whatever changed between catalog and attestation.
            let of_manifest = |claim: &&CatalogClaim| claim.id == *id && claim.manifest_hash == body.manifest_hash;
            if own
                && self
                    .listing
                    .claims
                    .iter()
                    .find(of_manifest)
                    .is_some_and(|claim| claim.snapshot_hash != body.snapshot_hash)
            {
                let words = "it attests another snapshot hash than its catalog names with the same manifest";
                return Err(AttestError::Lie(words.to_owned()));
            }
            if own && body.request_nonce != nonce {
                return Err(AttestError::Lie("it answered with an attestation made for somebody else".to_owned()));
            }
            attestations.push(attestation);
        }
        Ok(attestations)
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

/// How often a source is asked to attest: it may be busy, or want us to wait for a second between two questions.
const ATTEST_TRIES: u32 = 5;
/// Longest wait between two of them: one source must not hold up all others for minutes.
const ATTEST_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Why a source's attestations aren't used.
#[derive(Debug)]
pub(super) enum AttestError {
    Ask(AskError),
    /// What it did.
    Lie(String),
}

impl From<AskError> for AttestError {
    fn from(error: AskError) -> Self {
        Self::Ask(error)
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
