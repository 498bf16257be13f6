//! What sources offer, without fetching any of it: what `catalog list` and `catalog show` print.
//!
//! Asks as a join does, so that who can't be asked here couldn't be joined from either.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    sync::Arc,
};

use super::{
    GOODBYE_TIMEOUT, RuledOut,
    dialer::{Dialer, Dialling, SourceAddress},
    error::{JoinError, SourceTrouble},
    event::Observer,
    sources::{Patience, Sources},
    vouching::{JoinTrust, Vouching},
};
use crate::{
    catalog::AgreedSnapshot,
    chunking::BufferPool,
    msp::{IdentityId, MspId},
    snapshot::{BlockNumber, Manifest, ManifestHash},
    transport::asking::Listing,
};

/// Whom to ask, about which snapshots, and the rule that chooses one.
#[derive(Clone)]
pub struct CatalogRequest {
    /// Our credentials and the channel's configuration.
    pub dialling: Dialling,
    /// Whom to ask.
    pub sources: Vec<SourceAddress>,
    /// This block; else all, of which the newest that meets the policy is chosen.
    pub block_number: Option<BlockNumber>,
    /// Who must vouch.
    pub trust: JoinTrust,
}

impl CatalogRequest {
    /// The channel's application organisations, by its configuration of the moment.
    #[must_use]
    pub fn orgs(&self) -> Vec<MspId> {
        self.dialling.config().map(|config| config.orgs().keys().cloned().collect()).unwrap_or_default()
    }
}

/// What a source offers.
#[derive(Debug)]
pub struct SourceCatalog {
    /// Its address as the operator wrote it.
    pub source: String,
    /// Who it is and what it claims to have, or why it can't be asked.
    pub answer: Result<SourceListing, SourceTrouble>,
}

/// A source that answered.
#[derive(Debug, Clone)]
pub struct SourceListing {
    /// The organisation that it proved to belong to.
    pub msp_id: MspId,
    /// Its identity.
    pub identity_id: IdentityId,
    /// What it claims to have, ascending by block.
    pub listing: Listing,
}

/// Manifests by hash; or why nobody who names one gave it.
pub type Manifests = BTreeMap<ManifestHash, Result<Manifest, JoinError>>;

/// Asks every source for its catalog, and which snapshot the policy would choose.
///
/// # Errors
/// Only if no connection can even be tried; a source that fails is one of the answers.
pub async fn catalogs(
    request: &CatalogRequest,
) -> Result<(Vec<SourceCatalog>, Result<AgreedSnapshot, JoinError>), JoinError> {
    let (dialer, mut sources) = dial(request)?;
    let dialling = &request.dialling;
    let config = dialling.config()?;
    let own_msp = dialling.identity.identity.msp_id();
    let ruled_out = RuledOut::default();
    let vouching = Vouching::new(&request.trust, None, own_msp, &dialling.clock, &ruled_out)?;
    let agreed = vouching.agree(&config, request.block_number, &mut sources).await.map(|vouched| vouched.agreed);
    let answers = answers(request, &sources);
    goodbye(dialer, sources).await;
    Ok((answers, agreed))
}

/// Asks every source for its catalog, and for nothing else.
///
/// # Errors
/// [`JoinError::NoSource`], or no connection can even be tried.
pub async fn listings(request: &CatalogRequest) -> Result<Vec<SourceCatalog>, JoinError> {
    let (dialer, mut sources) = dial(request)?;
    sources.settle(|_| false).await?;
    let answers = answers(request, &sources);
    goodbye(dialer, sources).await;
    Ok(answers)
}

/// Asks every source for its catalog, and for each manifest that any of them names for one block: the request's, else the
/// newest that is offered. `None` for the block: nothing is offered at all.
///
/// # Errors
/// [`JoinError::NoSource`], or no connection can even be tried.
pub async fn manifests(
    request: &CatalogRequest,
) -> Result<(Vec<SourceCatalog>, Option<BlockNumber>, Manifests), JoinError> {
    let (dialer, mut sources) = dial(request)?;
    sources.settle(|_| false).await?;
    let answers = answers(request, &sources);
    let claims = || {
        let listings = answers.iter().filter_map(|source| source.answer.as_ref().ok());
        listings.flat_map(|answer| &answer.listing.claims)
    };
    let block_number = request.block_number.or_else(|| claims().map(|claim| claim.id.block_number).max());
    let mut manifests = Manifests::new();
    for claim in claims().filter(|claim| Some(claim.id.block_number) == block_number) {
        if let Entry::Vacant(place) = manifests.entry(claim.manifest_hash) {
            place.insert(sources.manifest(&claim.id, claim.manifest_hash).await);
        }
    }
    goodbye(dialer, sources).await;
    Ok((answers, block_number, manifests))
}

fn dial(request: &CatalogRequest) -> Result<(Dialer, Sources), JoinError> {
    let silent: Observer = Arc::new(|_| ());
    let dialer = Dialer::new(&request.dialling, BufferPool::new(1), request.sources.len(), 0)?;
    let sources = Sources::dial(&dialer, &request.sources, Patience::Once, Vec::new(), None, &silent);
    Ok((dialer, sources))
}

fn answers(request: &CatalogRequest, sources: &Sources) -> Vec<SourceCatalog> {
    let answer = |(index, source): (u32, &SourceAddress)| SourceCatalog {
        source: source.address.clone(),
        answer: match sources.ready().get(&index) {
            Some(ready) => Ok(SourceListing {
                msp_id: ready.session.peer().msp_id.clone(),
                identity_id: ready.session.peer().identity_id,
                listing: (*ready.listing).clone(),
            }),
            None => Err(sources.trouble(index)),
        },
    };
    (0..).zip(&request.sources).map(answer).collect()
}

async fn goodbye(dialer: Dialer, sources: Sources) {
    drop(sources);
    // A lost one doesn't hold us up.
    let _ = tokio::time::timeout(GOODBYE_TIMEOUT, dialer.wait_idle()).await;
}

impl fmt::Debug for CatalogRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatalogRequest").field("sources", &self.sources).finish_non_exhaustive()
    }
}
