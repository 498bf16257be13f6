//! Which snapshot enough organisations agree on: a pure function of what they offer.
//!
//! Only offers that name the same block, snapshot hash, manifest hash and commit hash count together, and each
//! organisation counts once, however many peers it has. The order in which offers come in, and how often, changes
//! nothing. Who contradicts itself about a block counts for nothing there.

use super::CatalogEntry;
use crate::{
    msp::{IdentityId, MspId},
    snapshot::{BlockHash, BlockNumber, ChannelId, Manifest, ManifestHash, SnapshotHash, SnapshotId, StateDbType},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Blocks that an error lists, newest first: enough to see why, short enough to read.
const TALLIES_SHOWN: usize = 5;

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

/// How many organisations it takes. (Policies over attestations come on top.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustPolicy {
    /// Distinct MSP IDs that must offer the very same snapshot; 0 counts as 1.
    pub min_orgs: u32,
}

/// A snapshot that enough organisations offer. Only [`agree`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgreedSnapshot {
    manifest: Manifest,
    manifest_hash: ManifestHash,
    commit_hash: Option<BlockHash>,
    vouching_orgs: BTreeSet<MspId>,
    sources: BTreeSet<String>,
}

impl AgreedSnapshot {
    /// Channel and last block.
    #[must_use]
    pub fn id(&self) -> &SnapshotId {
        self.manifest.id()
    }

    /// Metadata, sizes and chunk roots that were agreed on.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its hash.
    #[must_use]
    pub const fn manifest_hash(&self) -> ManifestHash {
        self.manifest_hash
    }

    /// Commit hash of the last block, as agreed; the additional metadata are written from it.
    #[must_use]
    pub const fn commit_hash(&self) -> Option<BlockHash> {
        self.commit_hash
    }

    /// The organisations that offer exactly this.
    #[must_use]
    pub const fn vouching_orgs(&self) -> &BTreeSet<MspId> {
        &self.vouching_orgs
    }

    /// Addresses that have its data: those who vouch, and partial sources of the same manifest.
    #[must_use]
    pub const fn sources(&self) -> &BTreeSet<String> {
        &self.sources
    }
}

/// Everybody who says the same about one block.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Camp {
    /// SHA-256 of the signable metadata.
    pub snapshot_hash: SnapshotHash,
    /// Hash of the manifest.
    pub manifest_hash: ManifestHash,
    /// Commit hash.
    pub commit_hash: Option<BlockHash>,
    /// State database, where the manifest is known.
    pub state_db_type: Option<StateDbType>,
    /// Who says so.
    pub orgs: BTreeSet<MspId>,
    /// Where.
    pub sources: BTreeSet<String>,
    /// Who has the data of just this: those of `sources` that didn't delete them, and partial sources.
    pub data_sources: BTreeSet<String>,
}

/// What is said about one block.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// The last block of the offered snapshots.
    pub block_number: BlockNumber,
    /// Who agrees with whom; the camp with most organisations first.
    pub camps: Vec<Camp>,
    /// Organisations and sources that contradict themselves about this block, and so don't count.
    pub contradicting: BTreeSet<String>,
}

/// No snapshot can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgreementError {
    /// Nobody offers anything.
    #[error("no source offers a snapshot of channel {channel}{}", at_block(.block_number))]
    NothingOffered {
        /// The channel.
        channel: ChannelId,
        /// The block asked for.
        block_number: Option<BlockNumber>,
    },
    /// Too few organisations offer the same, or enough, but nobody has the data any more.
    #[error("no snapshot of channel {channel}{} is offered alike by {min_orgs} organisations, with its data: {}", at_block(.block_number), listed(.tallies))]
    NotReached {
        /// The channel.
        channel: ChannelId,
        /// The block asked for.
        block_number: Option<BlockNumber>,
        /// How many it takes.
        min_orgs: u32,
        /// Who offers what, newest block first.
        tallies: Vec<Tally>,
    },
    /// Two different snapshots of one block are each offered by enough: which one is true can't be told.
    #[error("channel {channel} is split, ask its organisations: {}", .tally)]
    Split {
        /// The channel.
        channel: ChannelId,
        /// Who offers what.
        tally: Box<Tally>,
    },
    /// Enough offer it, but nobody gave a manifest with the hash that they name.
    #[error("{id} is offered by enough organisations, but none gave its manifest {manifest_hash}")]
    ManifestMissing {
        /// The snapshot.
        id: SnapshotId,
        /// The manifest to fetch.
        manifest_hash: ManifestHash,
    },
}

/// The newest snapshot of `channel` (or the one at `block_number`) that at least `policy.min_orgs` organisations offer
/// alike, and whose data some source still has.
///
/// # Errors
/// Nothing is offered; too few agree, or on nothing that can be fetched; two different answers both have enough; the manifest is missing.
pub fn agree(
    channel: &ChannelId,
    offers: &[Offer],
    policy: &TrustPolicy,
    block_number: Option<BlockNumber>,
) -> Result<AgreedSnapshot, AgreementError> {
    let mut blocks: BTreeMap<BlockNumber, Vec<&Offer>> = BTreeMap::new();
    for offer in offers.iter().filter(|offer| offer.entry.id.channel == *channel) {
        if block_number.is_none_or(|wanted| wanted == offer.entry.id.block_number) {
            blocks.entry(offer.entry.id.block_number).or_default().push(offer);
        }
    }
    if blocks.is_empty() {
        return Err(AgreementError::NothingOffered { channel: channel.clone(), block_number });
    }
    let needed = usize::try_from(policy.min_orgs.max(1)).unwrap_or(usize::MAX);
    let mut tallies = Vec::new();
    for (block_number, offers) in blocks.iter().rev() {
        let tally = tally(*block_number, offers);
        let mut enough = tally.camps.iter().filter(|camp| camp.orgs.len() >= needed);
        match (enough.next(), enough.next()) {
            (Some(camp), None) if !camp.data_sources.is_empty() => return agreed(camp, offers),
            (Some(_), Some(_)) => {
                return Err(AgreementError::Split { channel: channel.clone(), tally: Box::new(tally) });
            }
            _ => tallies.push(tally),
        }
    }
    let min_orgs = policy.min_orgs.max(1);
    Err(AgreementError::NotReached { channel: channel.clone(), block_number, min_orgs, tallies })
}

/// What an offer says, apart from who says it.
type Claim = (SnapshotHash, ManifestHash, Option<BlockHash>);

fn claim(offer: &Offer) -> Claim {
    (offer.entry.snapshot_hash, offer.entry.manifest_hash, offer.commit_hash)
}

fn tally(block_number: BlockNumber, offers: &[&Offer]) -> Tally {
    let mut by_identity: BTreeMap<(&MspId, IdentityId), BTreeSet<Claim>> = BTreeMap::new();
    let mut by_source: BTreeMap<&str, BTreeSet<Claim>> = BTreeMap::new();
    for offer in offers {
        by_identity.entry((&offer.msp_id, offer.identity_id)).or_default().insert(claim(offer));
        by_source.entry(&offer.source).or_default().insert(claim(offer));
    }
    let mut camps: BTreeMap<Claim, Camp> = BTreeMap::new();
    let mut contradicting = BTreeSet::new();
    for offer in offers {
        let several = |claims: Option<&BTreeSet<Claim>>| claims.is_some_and(|claims| claims.len() > 1);
        let identity = (&offer.msp_id, offer.identity_id);
        if several(by_identity.get(&identity)) || several(by_source.get(offer.source.as_str())) {
            contradicting.insert(format!("{} at {}", offer.msp_id, offer.source));
            continue;
        }
        if offer.entry.partial {
            continue;
        }
        let camp = camps.entry(claim(offer)).or_insert_with(|| Camp {
            snapshot_hash: offer.entry.snapshot_hash,
            manifest_hash: offer.entry.manifest_hash,
            commit_hash: offer.commit_hash,
            state_db_type: None,
            orgs: BTreeSet::new(),
            sources: BTreeSet::new(),
            data_sources: BTreeSet::new(),
        });
        camp.orgs.insert(offer.msp_id.clone());
        camp.sources.insert(offer.source.clone());
    }
    let mut camps: Vec<Camp> = camps.into_values().collect();
    for camp in &mut camps {
        camp.data_sources = data_sources(camp, offers);
        camp.state_db_type = manifest_of(camp, offers).map(|manifest| manifest.signable().state_db_type());
    }
    // Stable: camps of one size stay in the order of their hashes, whoever came first.
    camps.sort_by_key(|camp| std::cmp::Reverse(camp.orgs.len()));
    Tally { block_number, camps, contradicting }
}

/// A manifest that is what the camp names; any source may have given it.
fn manifest_of<'a>(camp: &Camp, offers: &[&'a Offer]) -> Option<&'a Manifest> {
    offers.iter().filter_map(|offer| offer.manifest.as_ref().map(|manifest| (offer, manifest))).find_map(
        |(offer, manifest)| {
            let named = manifest.id() == &offer.entry.id
                && manifest.signable().hash() == camp.snapshot_hash
                && manifest.hash() == camp.manifest_hash;
            named.then_some(manifest)
        },
    )
}

fn data_sources(camp: &Camp, offers: &[&Offer]) -> BTreeSet<String> {
    let has_data = |offer: &&&Offer| {
        let same = claim(offer) == (camp.snapshot_hash, camp.manifest_hash, camp.commit_hash);
        same && !offer.entry.only_metadata_available && (offer.entry.partial || camp.sources.contains(&offer.source))
    };
    offers.iter().filter(has_data).map(|offer| offer.source.clone()).collect()
}

fn agreed(camp: &Camp, offers: &[&Offer]) -> Result<AgreedSnapshot, AgreementError> {
    let manifest = manifest_of(camp, offers).ok_or_else(|| AgreementError::ManifestMissing {
        // The camp has at least one offer, so there is a first one, and all are of this block.
        id: offers.first().map(|offer| offer.entry.id.clone()).expect("a camp is made of offers"),
        manifest_hash: camp.manifest_hash,
    })?;
    Ok(AgreedSnapshot {
        manifest: manifest.clone(),
        manifest_hash: camp.manifest_hash,
        commit_hash: camp.commit_hash,
        vouching_orgs: camp.orgs.clone(),
        sources: camp.data_sources.clone(),
    })
}

fn at_block(block_number: &Option<BlockNumber>) -> String {
    block_number.map_or_else(String::new, |block_number| format!(" at block {block_number}"))
}

fn listed(tallies: &[Tally]) -> String {
    let mut text = tallies.iter().take(TALLIES_SHOWN).map(Tally::to_string).collect::<Vec<_>>().join("; ");
    if tallies.len() > TALLIES_SHOWN {
        text.push_str(&format!("; and {} older blocks", tallies.len() - TALLIES_SHOWN));
    }
    text
}

impl fmt::Display for Tally {
    /// `block 83: Org1MSP, Org2MSP say 1f2e.. with commit hash 77aa..; Org3MSP says ..`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {}: ", self.block_number)?;
        let camps: Vec<String> = self.camps.iter().map(Camp::to_string).collect();
        f.write_str(&camps.join(" | "))?;
        let types: BTreeSet<&str> =
            self.camps.iter().filter_map(|camp| camp.state_db_type).map(|kind| kind.as_str()).collect();
        if types.len() > 1 {
            let types: Vec<&str> = types.into_iter().collect();
            write!(
                f,
                " (they use different state databases, {}, so their snapshots never have one hash)",
                types.join(" and ")
            )?;
        }
        if !self.contradicting.is_empty() {
            let names: Vec<&str> = self.contradicting.iter().map(String::as_str).collect();
            write!(f, " (not counted, contradicting themselves: {})", names.join(", "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Camp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |hash: String| hash.chars().take(12).collect::<String>();
        let orgs: Vec<&str> = self.orgs.iter().map(MspId::as_str).collect();
        let says = if orgs.len() == 1 { "offers" } else { "offer" };
        write!(f, "{} {says} snapshot {}", orgs.join(", "), short(self.snapshot_hash.to_string()))?;
        write!(f, " (manifest {}, ", short(self.manifest_hash.to_string()))?;
        match self.commit_hash {
            Some(hash) => write!(f, "commit hash {})", short(hash.to_string()))?,
            None => f.write_str("no commit hash)")?,
        }
        f.write_str(if self.data_sources.is_empty() {
            ", but only its metadata: nobody has the data any more"
        } else {
            ""
        })
    }
}

#[cfg(test)]
mod tests;
