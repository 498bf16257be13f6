//! All that is said about a channel, by block; and the count of one block: who vouches for what, and who doesn't count.
//!
//! The order in which statements and offers come, and how often, changes nothing: everything is sorted and counted once.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Camp, DetachedSignature, Divergence, Equivocation, Heard, Judging, Offer, Statement, Statements, Tally, Uncounted,
    conflicts::Conflicts,
    votes::{Claim, DETACHED_SOURCE, Votes},
};
use crate::{
    msp::{Identity, MspId},
    snapshot::{BlockHash, BlockNumber, ChannelId, Manifest, ManifestHash, SnapshotHash},
};

/// Offers and statements about one channel.
pub(super) struct Said<'a> {
    pub(super) offers: BTreeMap<BlockNumber, Vec<&'a Offer>>,
    heard: BTreeMap<BlockNumber, Vec<&'a Heard>>,
    detached: &'a [DetachedSignature],
    proofs: Vec<&'a Equivocation>,
    pub(super) manifests: BTreeMap<ManifestHash, &'a Manifest>,
}

/// What to do with an organisation whose peers differ while nobody knows whether they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It doesn't count.
    Against,
    /// It counts: to find out whether the missing manifest matters.
    For,
}

/// The count of one block.
pub(super) struct Count {
    pub(super) tally: Tally,
    /// Manifests that would settle a doubt.
    pub(super) unsettled: BTreeSet<ManifestHash>,
}

/// Every manifest at hand by the hash that it really has; who gave it doesn't matter then.
pub(super) fn manifests_of(offers: &[Offer]) -> BTreeMap<ManifestHash, &Manifest> {
    offers.iter().filter_map(|offer| offer.manifest.as_ref()).map(|manifest| (manifest.hash(), manifest)).collect()
}

impl<'a> Said<'a> {
    pub(super) fn about(channel: &ChannelId, offers: &'a [Offer], statements: &'a Statements) -> Self {
        let mut said = Self {
            offers: BTreeMap::new(),
            heard: BTreeMap::new(),
            detached: &statements.detached,
            proofs: statements.proofs.iter().filter(|proof| proof.id().channel == *channel).collect(),
            manifests: manifests_of(offers),
        };
        for offer in offers.iter().filter(|offer| offer.entry.id.channel == *channel) {
            said.offers.entry(offer.entry.id.block_number).or_default().push(offer);
        }
        for heard in statements.heard.iter().filter(|heard| heard.attestation.body().id.channel == *channel) {
            said.heard.entry(heard.attestation.body().id.block_number).or_default().push(heard);
        }
        said
    }

    pub(super) fn offers_at(&self, block: BlockNumber) -> impl Iterator<Item = &'a Offer> {
        self.offers.get(&block).into_iter().flatten().copied()
    }

    /// The manifest of that hash, if it is at hand and of that snapshot.
    pub(super) fn manifest(
        &self,
        block: BlockNumber,
        snapshot_hash: SnapshotHash,
        hash: ManifestHash,
    ) -> Option<&'a Manifest> {
        let is_named =
            |manifest: &&Manifest| manifest.id().block_number == block && manifest.signable().hash() == snapshot_hash;
        self.manifests.get(&hash).copied().filter(is_named)
    }

    /// Manifests that are offered, but not at hand, those of most organisations first: a detached signature may be about any of them.
    pub(super) fn unknown_manifests(&self, block: BlockNumber) -> Vec<ManifestHash> {
        if self.detached.is_empty() {
            return Vec::new();
        }
        let mut offered: BTreeMap<ManifestHash, BTreeSet<&MspId>> = BTreeMap::new();
        for offer in self.offers_at(block) {
            offered.entry(offer.entry.manifest_hash).or_default().insert(&offer.msp_id);
        }
        let mut unknown: Vec<_> = offered.into_iter().filter(|(hash, _)| !self.manifests.contains_key(hash)).collect();
        unknown.sort_by_key(|(_, orgs)| std::cmp::Reverse(orgs.len()));
        unknown.into_iter().map(|(hash, _)| hash).collect()
    }

    pub(super) fn count(&self, judging: &Judging<'_>, block: BlockNumber, doubt: Doubt) -> Count {
        let heard: &[&Heard] = self.heard.get(&block).map_or(&[], Vec::as_slice);
        let said = heard.iter().map(|heard| &heard.attestation).collect();
        let conflicts = Conflicts::among(judging.config, &self.manifests, said, |said| judging.standing(said).is_ok())
            .with_proofs(judging.config, self.proofs.iter().copied().filter(|proof| proof.id().block_number == block));
        let mut votes = Votes::default();
        for heard in heard {
            let body = heard.attestation.body();
            let standing = judging.standing(&heard.attestation).and_then(|how| {
                self.stands_alone(block, heard, &conflicts, doubt)?;
                Ok(how)
            });
            let claim = (body.snapshot_hash, Some(body.manifest_hash), body.commit_hash);
            let rank =
                (body.issued_at, heard.attestation.body_bytes().to_vec(), heard.attestation.signature().to_vec());
            votes.add(Statement::Attestation(heard.attestation.clone()), claim, standing, rank, &heard.source);
        }
        self.add_detached(judging, block, &conflicts, &mut votes);
        votes.drop_torn();
        let camps = self.camps(judging, block, &votes);
        let mut manifests: BTreeMap<ManifestHash, &Manifest> = BTreeMap::new();
        for camp in &camps {
            if let Some(hash) = camp.manifest_hash
                && let Some(manifest) = self.manifest(block, camp.snapshot_hash, hash)
            {
                manifests.insert(hash, manifest);
            }
        }
        let unsettled = conflicts.doubtful.into_values().flatten().collect();
        let tally = Tally {
            block_number: block,
            camps,
            dismissed: votes.dismissed(),
            equivocations: conflicts.proven,
            divergence: Divergence::between(&manifests.into_values().collect::<Vec<_>>()),
        };
        Count { tally, unsettled }
    }

    /// Whether an attestation is fit to count beside what else its organisation said, and what its manifest says.
    fn stands_alone(
        &self,
        block: BlockNumber,
        heard: &Heard,
        conflicts: &Conflicts,
        doubt: Doubt,
    ) -> Result<(), Uncounted> {
        let (body, identity) = (heard.attestation.body(), heard.attestation.identity());
        let org = identity.msp_id();
        if conflicts.orgs.contains(org) {
            return Err(Uncounted::Contradicts(org.clone()));
        }
        if conflicts.identities.contains(&identity.id()) {
            return Err(Uncounted::SignerContradicts);
        }
        if doubt == Doubt::Against && conflicts.doubtful.contains_key(org) {
            return Err(Uncounted::Doubtful(org.clone()));
        }
        let is_known = self.manifests.contains_key(&body.manifest_hash);
        if is_known && self.manifest(block, body.snapshot_hash, body.manifest_hash).is_none() {
            return Err(Uncounted::OtherManifest);
        }
        Ok(())
    }

    /// What a detached signature is about is found by trying the metadata at hand; one about another block says nothing here.
    fn add_detached(&self, judging: &Judging<'_>, block: BlockNumber, conflicts: &Conflicts, votes: &mut Votes) {
        let heard = self.heard.get(&block).into_iter().flatten();
        let mut commit_hashes: BTreeSet<Option<BlockHash>> =
            self.offers_at(block).map(|offer| offer.commit_hash).collect();
        commit_hashes.extend(heard.map(|heard| heard.attestation.body().commit_hash));
        commit_hashes.insert(None);
        let signables: BTreeMap<SnapshotHash, _> = self
            .manifests
            .values()
            .filter(|manifest| manifest.id().block_number == block)
            .map(|manifest| (manifest.signable().hash(), manifest.signable()))
            .collect();
        for detached in self.detached {
            let fits = |(_, signable): &(_, &_)| detached.verify(signable).is_ok();
            let fitting: Vec<_> = signables.iter().map(|(hash, signable)| (*hash, *signable)).filter(fits).collect();
            if let (true, Some(some)) = (fitting.is_empty(), signables.keys().next()) {
                let statement = Statement::Detached(detached.clone());
                let rank = (0, Vec::new(), Vec::new());
                votes.add(statement, (*some, None, None), Err(Uncounted::FitsNothing), rank, DETACHED_SOURCE);
            }
            for (snapshot_hash, signable) in fitting {
                let vote = detached.commit_hash(signable, commit_hashes.iter().copied());
                let (org, id) = (detached.identity().msp_id(), detached.identity().id());
                let standing = match vote {
                    _ if conflicts.orgs.contains(org) => Err(Uncounted::Contradicts(org.clone())),
                    _ if conflicts.identities.contains(&id) => Err(Uncounted::SignerContradicts),
                    None => Err(Uncounted::CommitHashUnknown),
                    Some(_) => judging.standing_detached(detached.identity(), block),
                };
                let claim = (snapshot_hash, None, vote.flatten());
                let rank = (0, detached.encode(), Vec::new());
                votes.add(Statement::Detached(detached.clone()), claim, standing, rank, DETACHED_SOURCE);
            }
        }
    }

    fn camps(&self, judging: &Judging<'_>, block: BlockNumber, votes: &Votes) -> Vec<Camp> {
        let mut claims: BTreeSet<Claim> = votes.counted.keys().map(|(_, _, claim)| *claim).collect();
        let of_offer = |offer: &Offer| (offer.entry.snapshot_hash, Some(offer.entry.manifest_hash), offer.commit_hash);
        claims.extend(self.offers_at(block).map(of_offer));
        // Detached signatures stand with every manifest of what they are about; alone only where there is none.
        let with_manifest: BTreeSet<_> =
            claims.iter().filter(|claim| claim.1.is_some()).map(|claim| (claim.0, claim.2)).collect();
        claims.retain(|claim| claim.1.is_some() || !with_manifest.contains(&(claim.0, claim.2)));
        let camp = |claim: Claim| {
            let (snapshot_hash, manifest_hash, commit_hash) = claim;
            let vouchers = votes.of(claim);
            let orgs: BTreeSet<MspId> = vouchers.iter().map(|voucher| voucher.msp_id.clone()).collect();
            let offers = || self.offers_at(block).filter(|offer| of_offer(offer) == claim);
            let offering = offers().filter(|offer| !offer.entry.partial).map(|offer| offer.msp_id.clone());
            let signers: Vec<&Identity> = vouchers.iter().map(|voucher| voucher.statement.identity()).collect();
            let attesting = || vouchers.iter().filter(|voucher| voucher.attestation().is_some());
            let attesting: Vec<&Identity> = attesting().map(|voucher| voucher.statement.identity()).collect();
            let policy = judging.policy;
            let (lacking_orgs, own_could_help) = lacking(judging, &signers);
            Camp {
                snapshot_hash,
                manifest_hash,
                commit_hash,
                state_db_type: manifest_hash
                    .and_then(|hash| self.manifest(block, snapshot_hash, hash))
                    .map(|manifest| manifest.signable().state_db_type()),
                offering_orgs: offering.filter(|org| !orgs.contains(org)).collect(),
                sources: offers().map(|offer| offer.source.clone()).collect(),
                data_sources: self.data_sources(block, snapshot_hash, manifest_hash),
                lacking_orgs,
                own_could_help,
                meets_metadata: policy.is_met(&policy.metadata, judging.config, &signers),
                meets_manifest: policy.is_met(&policy.manifest, judging.config, &attesting),
                orgs,
                vouchers,
            }
        };
        let mut camps: Vec<Camp> = claims.into_iter().map(camp).collect();
        // Stable: camps of one size stay in the order of their hashes, whoever came first.
        camps.sort_by_key(|camp| std::cmp::Reverse((camp.orgs.len(), camp.offering_orgs.len())));
        camps
    }

    /// Addresses with data that chunk proofs of that manifest are for; what they say of the commit hash doesn't matter to that.
    fn data_sources(
        &self,
        block: BlockNumber,
        snapshot_hash: SnapshotHash,
        manifest_hash: Option<ManifestHash>,
    ) -> BTreeSet<String> {
        let has_data = |offer: &&Offer| {
            let entry = &offer.entry;
            let same = entry.snapshot_hash == snapshot_hash && Some(entry.manifest_hash) == manifest_hash;
            same && !entry.only_metadata_available
        };
        self.offers_at(block).filter(has_data).map(|offer| offer.source.clone()).collect()
    }
}

/// Whose statement could help: by the rule, and where that is met by too few organisations, any other's; and whether our own's could, if it
/// counted.
fn lacking(judging: &Judging<'_>, signers: &[&Identity]) -> (Vec<MspId>, bool) {
    let policy = judging.policy;
    if policy.is_met(&policy.metadata, judging.config, signers) {
        return (Vec::new(), false);
    }
    let mut orgs = policy.metadata.lacking(judging.config, signers);
    let all = orgs.len();
    orgs.retain(|org| policy.count_self || org != judging.own_msp);
    let own_could_help = orgs.len() < all;
    (orgs, own_could_help)
}
