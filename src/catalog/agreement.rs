//! Which snapshot enough organisations vouch for: a pure function of what they signed, and of who has its data.
//!
//! ```text
//! Attestation, DetachedSignature --judged, counted--> Tally of a block --policies--> AgreedSnapshot (streaming or staged)
//! ```
//!
//! Only statements about the same block, snapshot hash and manifest hash count together, and among those only the ones that name one
//! commit hash. Offers are unsigned and vouch for nothing.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use super::{
    AgreementError, Camp, Judging, Offer, Statements, Tally, TrustPolicy, Voucher,
    judging::How,
    said::{Count, Doubt, Said},
};
use crate::{
    msp::{ChannelConfig, Identity, MspId},
    snapshot::{
        AdditionalMetadata, BlockHash, BlockNumber, ChannelId, Manifest, ManifestHash, MetadataError, SnapshotHash,
        SnapshotId, SnapshotMetadata,
    },
};

/// How far the agreed manifest may be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Enough organisations vouch for the manifest: a proved chunk may be used at once.
    Streaming,
    /// They vouch for the files' SHA-256 alone: chunks are checked against one source's manifest for attribution, and only a whole
    /// file with the right SHA-256 may be used.
    Staged,
}

/// A snapshot that enough organisations vouch for. Only [`agree`] makes one.
#[derive(Debug, Clone)]
pub struct AgreedSnapshot {
    manifest: Manifest,
    manifest_hash: ManifestHash,
    commit_hash: Option<BlockHash>,
    mode: Mode,
    vouching_orgs: BTreeSet<MspId>,
    vouchers: Vec<Voucher>,
    sources: BTreeSet<String>,
    tally: Tally,
    basis: Basis,
}

/// What an agreement was reached by: kept for the receipt.
#[derive(Debug, Clone)]
pub(super) struct Basis {
    pub(super) policy: TrustPolicy,
    pub(super) own_msp: MspId,
    pub(super) agreed_at: SystemTime,
    pub(super) nonce: Option<Vec<u8>>,
    pub(super) floor: BlockNumber,
    pub(super) allow_older: bool,
    pub(super) config_sequence: u64,
}

impl AgreedSnapshot {
    /// Channel and last block.
    #[must_use]
    pub fn id(&self) -> &SnapshotId {
        self.manifest.id()
    }

    /// Metadata, sizes and chunk roots; in staged mode sizes and roots are one manifest's claim.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Fabric's two metadata files, as agreed.
    ///
    /// # Errors
    /// [`MetadataError`] if they aren't sound.
    pub fn metadata(&self) -> Result<SnapshotMetadata, MetadataError> {
        let signable = self.manifest().signable().clone();
        let additional =
            AdditionalMetadata { snapshot_hash: signable.hash(), last_block_commit_hash: self.commit_hash() };
        SnapshotMetadata::new(signable, additional)
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

    /// Whether a proved chunk may be used at once.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The organisations that vouch for exactly this.
    #[must_use]
    pub const fn vouching_orgs(&self) -> &BTreeSet<MspId> {
        &self.vouching_orgs
    }

    /// By which identities and statements they do, by organisation.
    #[must_use]
    pub fn vouchers(&self) -> &[Voucher] {
        &self.vouchers
    }

    /// Addresses that offer this manifest with its data. In staged mode it is theirs: if a file that was right by its chunks has the
    /// wrong SHA-256, they gave a wrong manifest.
    #[must_use]
    pub const fn sources(&self) -> &BTreeSet<String> {
        &self.sources
    }

    /// All that was said about the block, dissent included.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Judges the same statements again, with the configuration, policy and clock of now: whose organisation was removed or whose
    /// certificate was revoked or (for live statements) ended meanwhile no longer counts. That time has passed since they were made is
    /// no fault, nor that the channel went on: floor and freshness were looked at when it was agreed on. `state`: the configuration that
    /// the snapshot itself holds; only who is a member by it, too, counts.
    ///
    /// # Errors
    /// [`AgreementError::NoLongerMet`].
    pub fn confirm(&self, judging: &Judging<'_>, state: Option<&ChannelConfig>) -> Result<(), AgreementError> {
        let mut fallen = Vec::new();
        let (mut signers, mut attesting): (Vec<&Identity>, Vec<&Identity>) = (Vec::new(), Vec::new());
        for voucher in &self.vouchers {
            let identity = voucher.statement.identity();
            let is_own = &voucher.msp_id == judging.own_msp && !judging.policy.count_self;
            let in_state = || state.map_or(Ok(()), |state| state.validate_stored(identity));
            match judging.still_valid(identity, voucher.how).and_then(|()| in_state()) {
                Err(error) => fallen.push(error.to_string()),
                Ok(()) if is_own => fallen.push(format!("{} is our own organisation", voucher.msp_id)),
                Ok(()) => {
                    signers.push(identity);
                    if voucher.how != How::Detached {
                        attesting.push(identity);
                    }
                }
            }
        }
        let (policy, config) = (judging.policy, judging.config);
        let unmet = if !policy.is_met(&policy.metadata, config, &signers) {
            &policy.metadata
        } else if self.mode == Mode::Streaming && !policy.is_met(&policy.manifest, config, &attesting) {
            &policy.manifest
        } else {
            return Ok(());
        };
        let (id, rule, min_orgs) = (self.id().clone(), unmet.as_str().to_owned(), policy.min_orgs.max(1));
        Err(AgreementError::NoLongerMet { id, rule, min_orgs, fallen })
    }

    pub(super) const fn basis(&self) -> &Basis {
        &self.basis
    }
}

/// Blocks worth asking for attestations: at or above the floor (unless older ones are allowed), or just `block_number`, with data
/// somewhere; newest first.
#[must_use]
pub fn candidates(
    judging: &Judging<'_>,
    channel: &ChannelId,
    offers: &[Offer],
    block_number: Option<BlockNumber>,
) -> Vec<BlockNumber> {
    let worth = |offer: &&Offer| {
        let id = &offer.entry.id;
        let wanted = block_number.is_none_or(|wanted| wanted == id.block_number);
        id.channel == *channel
            && wanted
            && !offer.entry.only_metadata_available
            && judging.is_new_enough(id.block_number)
    };
    let blocks: BTreeSet<BlockNumber> = offers.iter().filter(worth).map(|offer| offer.entry.id.block_number).collect();
    blocks.into_iter().rev().collect()
}

/// The newest snapshot of `channel` (or the one at `block_number`) that meets the policy and whose data some source still has.
///
/// # Errors
/// [`AgreementError`]. On [`AgreementError::ManifestMissing`], fetch that manifest, put it into an offer and ask again; if nobody gives
/// it, ask again without the offers that name it.
pub fn agree(
    judging: &Judging<'_>,
    channel: &ChannelId,
    offers: &[Offer],
    statements: &Statements,
    block_number: Option<BlockNumber>,
) -> Result<AgreedSnapshot, AgreementError> {
    let said = Said::about(channel, offers, statements);
    let wanted = |block: &BlockNumber| block_number.is_none_or(|wanted| wanted == *block);
    let blocks: Vec<BlockNumber> = said.offers.keys().rev().copied().filter(wanted).collect();
    let Some(newest) = blocks.first().copied() else {
        return Err(AgreementError::NothingOffered { channel: channel.clone(), block_number });
    };
    if !judging.is_new_enough(newest) {
        let floor = judging.floor();
        let (channel, asked) = (channel.clone(), block_number.is_some());
        return Err(AgreementError::BelowFloor { channel, block_number: newest, asked, floor });
    }
    let mut tallies = Vec::new();
    for block in blocks.into_iter().filter(|block| judging.is_new_enough(*block)) {
        let count = said.count(judging, block, Doubt::Against);
        match verdict(&count.tally) {
            Verdict::Split => return Err(split(channel, count.tally)),
            Verdict::Reached { camp, mode } => {
                if let Some(chosen) = manifest_with_data(&said, &count.tally, camp, mode) {
                    return agreed(judging, &said, &count.tally, camp, mode, &chosen);
                }
            }
            Verdict::Open => {
                if let Some(manifest_hash) = missing(judging, &said, block, &count) {
                    let id = SnapshotId { channel: channel.clone(), block_number: block };
                    return Err(AgreementError::ManifestMissing { id, manifest_hash });
                }
            }
        }
        tallies.push(count.tally);
    }
    Err(AgreementError::NotReached {
        channel: channel.clone(),
        block_number,
        min_orgs: judging.policy.min_orgs.max(1),
        rule: judging.policy.metadata.as_str().to_owned(),
        tallies,
    })
}

enum Verdict<'a> {
    Open,
    Reached { camp: &'a Camp, mode: Mode },
    Split,
}

fn verdict(tally: &Tally) -> Verdict<'_> {
    let met: Vec<&Camp> = tally.camps.iter().filter(|camp| camp.meets_metadata).collect();
    let versions: BTreeSet<_> = met.iter().map(|camp| (camp.snapshot_hash, camp.commit_hash)).collect();
    let mut streaming = met.iter().filter(|camp| camp.meets_manifest);
    match (versions.len(), streaming.next(), streaming.next(), met.first()) {
        (1, Some(camp), None, _) => Verdict::Reached { camp, mode: Mode::Streaming },
        // Detached signatures stand with every manifest: several may do, and none of them is vouched for.
        (1, None, _, Some(camp)) => Verdict::Reached { camp, mode: Mode::Staged },
        (0, ..) => Verdict::Open,
        _ => Verdict::Split,
    }
}

fn split(channel: &ChannelId, tally: Tally) -> AgreementError {
    AgreementError::Split { channel: channel.clone(), tally: Box::new(tally) }
}

/// A manifest and who has its data.
struct Chosen {
    hash: ManifestHash,
    sources: BTreeSet<String>,
}

/// The agreed manifest if somebody has its data; in staged mode the one that most organisations offer, of those that may be right.
fn manifest_with_data(said: &Said<'_>, tally: &Tally, agreed: &Camp, mode: Mode) -> Option<Chosen> {
    let of_camp = |camp: &Camp| {
        let chosen = camp.manifest_hash.map(|hash| Chosen { hash, sources: camp.data_sources.clone() });
        chosen.filter(|chosen| !chosen.sources.is_empty())
    };
    if mode == Mode::Streaming {
        return of_camp(agreed);
    }
    let mut support: BTreeMap<ManifestHash, (BTreeSet<&MspId>, BTreeSet<&MspId>)> = BTreeMap::new();
    let same = || tally.camps.iter().filter(|camp| camp.snapshot_hash == agreed.snapshot_hash);
    for camp in same() {
        let Some(hash) = camp.manifest_hash else { continue };
        let (offering, attesting) = support.entry(hash).or_default();
        let offers = said.offers_at(tally.block_number).filter(|offer| offer.entry.manifest_hash == hash);
        offering.extend(offers.filter(|offer| !offer.entry.partial).map(|offer| &offer.msp_id));
        attesting.extend(camp.vouchers.iter().filter(|by| by.attestation().is_some()).map(|by| &by.msp_id));
    }
    let fits = |hash: &ManifestHash| {
        let is_known = said.manifests.contains_key(hash);
        !is_known || said.manifest(tally.block_number, agreed.snapshot_hash, *hash).is_some()
    };
    let usable = same().filter_map(of_camp).filter(|chosen| fits(&chosen.hash));
    usable.max_by_key(|chosen| {
        let (offering, attesting) = support.get(&chosen.hash).map_or((0, 0), |by| (by.0.len(), by.1.len()));
        (offering, attesting, Reverse(chosen.hash))
    })
}

/// The manifest without which it can't be said that nothing is agreed on at this block.
fn missing(judging: &Judging<'_>, said: &Said<'_>, block: BlockNumber, count: &Count) -> Option<ManifestHash> {
    let is_offered = |hash: &ManifestHash| said.offers_at(block).any(|offer| offer.entry.manifest_hash == *hash);
    let mut unsettled = count.unsettled.iter().filter(|hash| !said.manifests.contains_key(hash) && is_offered(hash));
    if let Some(hash) = unsettled.next() {
        let lenient = said.count(judging, block, Doubt::For);
        if !matches!(verdict(&lenient.tally), Verdict::Open) {
            return Some(*hash);
        }
    }
    said.unknown_manifests(block).into_iter().next()
}

fn agreed(
    judging: &Judging<'_>,
    said: &Said<'_>,
    tally: &Tally,
    camp: &Camp,
    mode: Mode,
    chosen: &Chosen,
) -> Result<AgreedSnapshot, AgreementError> {
    let snapshot_hash: SnapshotHash = camp.snapshot_hash;
    let Some(manifest) = said.manifest(tally.block_number, snapshot_hash, chosen.hash) else {
        let offer = said.offers_at(tally.block_number).next().expect("the block was found in an offer");
        return Err(AgreementError::ManifestMissing { id: offer.entry.id.clone(), manifest_hash: chosen.hash });
    };
    // In staged mode several camps may do; the one of the chosen manifest speaks, if it does.
    let of_chosen =
        |other: &&Camp| other.meets_metadata && other.manifest_hash == Some(chosen.hash) && mode == Mode::Staged;
    let camp = tally.camps.iter().find(of_chosen).unwrap_or(camp);
    Ok(AgreedSnapshot {
        manifest: manifest.clone(),
        manifest_hash: chosen.hash,
        commit_hash: camp.commit_hash,
        mode,
        vouching_orgs: camp.orgs.clone(),
        vouchers: camp.vouchers.clone(),
        sources: chosen.sources.clone(),
        tally: tally.clone(),
        basis: Basis {
            policy: judging.policy.clone(),
            own_msp: judging.own_msp.clone(),
            agreed_at: judging.now,
            nonce: judging.nonce.map(<[u8]>::to_vec),
            floor: judging.floor(),
            allow_older: judging.allow_older,
            config_sequence: judging.config.sequence(),
        },
    })
}

#[cfg(test)]
mod tests;
