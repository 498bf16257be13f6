//! Catalog, manifests and attestations of a source.

use super::{
    connect::Session,
    error::{AskError, AskProblem, Misbehaviour, clean},
};
use crate::{
    snapshot::{BlockNumber, Manifest, ManifestHash, SnapshotId},
    transport::{
        limits::CATALOG_PAGES_MAX,
        wire::{Attestation, AttestationGet, Body, CatalogClaim, CatalogGet, CatalogPage, ManifestGet, Notice},
    },
};

/// How often a listing is started again because the catalog changed between two of its pages.
const RESTARTS_MAX: usize = 3;

/// All that a source claims to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Version of its catalog, monotone per source.
    pub version: u64,
    /// Claims, ascending by block; all of the session's channel.
    pub claims: Vec<CatalogClaim>,
    /// The first block that its own peer claims to have of the channel, if it says so.
    pub peer_begins_at: Option<BlockNumber>,
}

impl Session {
    /// What the source claims to have (the RFC's ListSnapshots): at most 64 pages of 1 000.
    ///
    /// # Errors
    /// [`AskError`]; entries of another channel, or pages that don't ascend or end, are the source's fault.
    pub async fn catalog(&self) -> Result<Listing, AskError> {
        for _ in 0..RESTARTS_MAX {
            if let Some(listing) = self.list_once().await? {
                return Ok(listing);
            }
        }
        Err(self.control.error(AskProblem::CatalogChanges))
    }

    /// `None` if the catalog changed in between.
    async fn list_once(&self) -> Result<Option<Listing>, AskError> {
        let mut listing: Option<Listing> = None;
        let mut cursor = 0;
        for _ in 0..CATALOG_PAGES_MAX {
            let page = self.page(CatalogGet { after_version: 0, cursor }).await?;
            let listing = listing.get_or_insert_with(|| Listing {
                version: page.version,
                claims: Vec::new(),
                peer_begins_at: page.peer_begins_at,
            });
            if listing.version != page.version {
                return Ok(None);
            }
            for claim in page.entries {
                if claim.id.channel != *self.channel() {
                    return Err(self.control.accuse(Misbehaviour::ForeignEntry(claim.id)));
                }
                if listing.claims.last().is_some_and(|last| last.id >= claim.id) {
                    return Err(self.control.accuse(Misbehaviour::EndlessCatalog));
                }
                listing.claims.push(claim);
            }
            if page.next == 0 {
                return Ok(Some(listing.clone()));
            }
            cursor = page.next;
        }
        Err(self.control.accuse(Misbehaviour::EndlessCatalog))
    }

    async fn page(&self, get: CatalogGet) -> Result<CatalogPage, AskError> {
        match self.control.ask("catalog", Body::CatalogGet(get)).await? {
            Body::CatalogPage(page) => Ok(page),
            _ => Err(self.control.accuse(Misbehaviour::WrongAnswer("catalog"))),
        }
    }

    /// Asks to be told of changes of the catalog, which then show in [`Session::news`]; the current version.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn watch_catalog(&self) -> Result<u64, AskError> {
        match self.control.ask("catalog watch", Body::CatalogWatch).await? {
            Body::Notice(Notice::CatalogChanged { version }) => Ok(version),
            _ => Err(self.control.accuse(Misbehaviour::WrongAnswer("catalog watch"))),
        }
    }

    /// The manifest of that hash; whoever sends it is as good as anybody, since the hash is checked here.
    ///
    /// # Errors
    /// [`AskError`]; another hash, or a manifest that is none, is the source's fault.
    pub async fn manifest(&self, id: &SnapshotId, manifest_hash: ManifestHash) -> Result<Manifest, AskError> {
        let get = ManifestGet { id: id.clone(), manifest_hash };
        let Body::Manifest(bytes) = self.control.ask("manifest", Body::ManifestGet(get)).await? else {
            return Err(self.control.accuse(Misbehaviour::WrongAnswer("manifest")));
        };
        let no_manifest =
            |why: String| self.control.accuse(Misbehaviour::Manifest { id: id.clone(), why: clean(why.as_bytes()) });
        // Canonical: what decodes encodes to the same bytes, so the manifest's hash is that of the bytes.
        let manifest = Manifest::decode(&bytes).map_err(|error| no_manifest(error.to_string()))?;
        if manifest.hash() != manifest_hash {
            return Err(self.control.accuse(Misbehaviour::ManifestHash(manifest_hash)));
        }
        if manifest.id() != id {
            return Err(no_manifest(format!("it is of {}", manifest.id())));
        }
        Ok(manifest)
    }

    /// Attestations of a snapshot (the RFC's SignSnapshotMetadata), not yet verified.
    ///
    /// # Errors
    /// [`AskError`]; RATE_LIMITED if asked more than once a second: waiting that out is the caller's.
    pub async fn attestations(&self, get: AttestationGet) -> Result<Vec<Attestation>, AskError> {
        match self.control.ask("attestations", Body::AttestationGet(get)).await? {
            Body::Attestations(list) => Ok(list),
            _ => Err(self.control.accuse(Misbehaviour::WrongAnswer("attestations"))),
        }
    }
}
