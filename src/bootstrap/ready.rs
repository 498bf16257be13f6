//! A source that accepted us: what it claims to have, and how its chunk trees come.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time;

use super::{
    dialer::again_after,
    keeper::{Peer, peer_of},
};
use crate::{
    catalog::{AgreedSnapshot, AttestBody, Attestation, CatalogEntry, Offer},
    chunking::{FileTree, ProofError, SpanTree},
    snapshot::{BlockNumber, ManifestHash, SnapshotHash, SnapshotId},
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

    /// Whether it has only some of that snapshot's chunks.
    pub(super) fn is_partial(&self, id: &SnapshotId, manifest_hash: ManifestHash) -> bool {
        let mut claims = self.listing.claims.iter();
        claims.any(|claim| claim.id == *id && claim.manifest_hash == manifest_hash && claim.partial)
    }

    /// Whether it claims all of that snapshot.
    pub(super) fn has_all(&self, id: &SnapshotId, manifest_hash: ManifestHash) -> bool {
        self.has(id, manifest_hash) && !self.is_partial(id, manifest_hash)
    }

    /// Whether it claims all of a snapshot of that block, whichever it is.
    pub(super) fn has_all_of_block(&self, id: &SnapshotId) -> bool {
        let mut claims = self.listing.claims.iter();
        claims.any(|claim| claim.id == *id && !claim.only_metadata_available && !claim.partial)
    }

    /// The other snapshots of which it claims all the data, and that may be taken.
    pub(super) fn others_in_whole(
        &self,
        id: &SnapshotId,
        floor: BlockNumber,
    ) -> impl Iterator<Item = (BlockNumber, SnapshotHash)> {
        let whole = self.listing.claims.iter().filter(|claim| !claim.only_metadata_available && !claim.partial);
        let others = whole.filter(move |claim| claim.id != *id && claim.id.block_number >= floor);
        others.map(|claim| (claim.id.block_number, claim.snapshot_hash))
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
        let mut attestations = Vec::new();
        // The source's own comes first; what it relays of others is for the record.
        for attestation in received.into_iter().take(ATTESTATIONS_HEARD_MAX) {
            match Attestation::from_wire(attestation.body.clone(), attestation.signature) {
                Ok(attestation) => {
                    self.own_word_is_honest(&attestation, id, nonce).map_err(AttestError::Lie)?;
                    if attestation.body().id == *id {
                        attestations.push(attestation);
                    }
                }
                // Its own identity, and not signed by it: nobody but the source can have sent that. What else can't be read is somebody
                // else's, or of a later version.
                Err(error) if self.claims_to_be_its_own(&attestation.body) => {
                    return Err(AttestError::Lie(format!("it sent an unsound attestation: {error}")));
                }
                Err(error) => {
                    tracing::debug!(source = ?self.session, %error, "an attestation that can't be read is left out");
                }
            }
        }
        Ok(attestations)
    }

    /// Whether what it signs for us is what its catalog says. What it signed for others, or is relayed of it, is no answer to us, but
    /// no lie either: it is judged by its nonce and dates.
    fn own_word_is_honest(&self, attestation: &Attestation, id: &SnapshotId, nonce: &[u8]) -> Result<(), String> {
        let (body, signer) = (attestation.body(), attestation.identity());
        let own = (signer.msp_id().clone(), signer.id()) == self.peer();
        if !own || body.request_nonce != nonce {
            return Ok(());
        }
        if body.id != *id {
            return Err(format!("asked about {id}, it signed for us an attestation of {}", body.id));
        }
        // No manifest can be of two snapshots, whatever changed between catalog and attestation.
        let of_manifest = |claim: &&CatalogClaim| claim.id == *id && claim.manifest_hash == body.manifest_hash;
        let claimed = self.listing.claims.iter().find(of_manifest).map(|claim| claim.snapshot_hash);
        if claimed.is_some_and(|hash| hash != body.snapshot_hash) {
            return Err("it attests another snapshot hash than its catalog names with the same manifest".to_owned());
        }
        Ok(())
    }

    fn claims_to_be_its_own(&self, body: &[u8]) -> bool {
        let own = self.session.peer().identity.serialized();
        AttestBody::decode(body).is_ok_and(|body| body.identity == *own)
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

/// Attestations of one answer that are read: its own, and what it relays, four organisations' worth beside each other.
const ATTESTATIONS_HEARD_MAX: usize = 64;
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
