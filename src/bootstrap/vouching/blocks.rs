//! Which block is asked about next: those that enough organisations offer first, then those for which words that came another way may make up.

use std::collections::{BTreeMap, BTreeSet};

use super::{Offering, Vouching};
use crate::{
    catalog::{Offer, candidates},
    msp::{ChannelConfig, MspId},
    snapshot::{BlockNumber, SnapshotId},
};

/// Blocks that are asked about though too few organisations offer them: so that the report can say who vouches for what.
pub(super) const HOPELESS_BLOCKS_ASKED: usize = 3;
/// Blocks of each organisation that are asked about on the chance that words which came another way make up for who doesn't offer
/// them: each has its own share, so that blocks which one invents hide nobody else's.
pub(super) const LESSER_BLOCKS_PER_ORG: usize = 4;
/// Most blocks that are asked about: each takes up to half a minute, if sources want it so.
pub(super) const BLOCKS_ASKED_MAX: usize = 64;
impl Vouching<'_> {
    /// Whether enough organisations offer the same snapshot for the rule to be satisfied.
    pub(super) fn may_agree(
        &self,
        config: &ChannelConfig,
        offers: &[Offer],
        block_number: Option<BlockNumber>,
    ) -> bool {
        let (offering, needed) = (self.offering(offers), self.trust.orgs_needed(config));
        let blocks = candidates(&self.judging(config), config.channel(), offers, block_number);
        blocks.into_iter().any(|block| enough_offer(&offering, block, needed))
    }

    /// The offers about blocks that were asked about, and about the newest ones: a source may list tens of thousands.
    pub(super) fn in_play(
        &self,
        config: &ChannelConfig,
        all: &[Offer],
        block_number: Option<BlockNumber>,
    ) -> Vec<Offer> {
        let candidates = candidates(&self.judging(config), config.channel(), all, block_number);
        if candidates.is_empty() {
            return all.to_vec();
        }
        let newest: BTreeSet<BlockNumber> = candidates.into_iter().take(BLOCKS_ASKED_MAX).collect();
        let counts = |offer: &&Offer| {
            let block = offer.entry.id.block_number;
            newest.contains(&block) || self.asked.contains(&block)
        };
        all.iter().filter(counts).cloned().collect()
    }

    /// The newest block that wasn't asked about: first those that enough organisations offer, then those for which words that came
    /// another way may make up, then a few for the report.
    pub(super) fn next_block(
        &self,
        config: &ChannelConfig,
        offers: &[Offer],
        block_number: Option<BlockNumber>,
    ) -> Option<BlockNumber> {
        let unasked = self.unasked(config, offers, block_number);
        let offering = self.offering(offers);
        let needed = self.trust.orgs_needed(config);
        let few = |block: &BlockNumber| !enough_offer(&offering, *block, needed);
        let full = unasked.iter().find(|block| !few(block));
        let lesser = || unasked.iter().find(|block| self.is_a_chance(&offering, **block));
        let told = || self.asked.iter().filter(|block| few(block)).count() < HOPELESS_BLOCKS_ASKED;
        full.or_else(lesser).or_else(|| unasked.first().filter(|_| told())).copied()
    }

    /// A block above the one that was agreed on, or that one, which may be agreed on as well and nobody was asked about.
    pub(super) fn newer_block(
        &self,
        config: &ChannelConfig,
        offers: &[Offer],
        block_number: Option<BlockNumber>,
        agreed: &SnapshotId,
    ) -> Option<BlockNumber> {
        let offering = self.offering(offers);
        let unasked = self.unasked(config, offers, block_number);
        let newer = unasked.into_iter().filter(|block| *block >= agreed.block_number);
        let needed = self.trust.orgs_needed(config);
        newer.into_iter().find(|block| enough_offer(&offering, *block, needed) || self.is_a_chance(&offering, *block))
    }

    pub(super) fn unasked(
        &self,
        config: &ChannelConfig,
        offers: &[Offer],
        block_number: Option<BlockNumber>,
    ) -> Vec<BlockNumber> {
        if self.asked.len() >= BLOCKS_ASKED_MAX {
            return Vec::new();
        }
        let all = candidates(&self.judging(config), config.channel(), offers, block_number);
        all.into_iter().filter(|block| !self.asked.contains(block)).collect()
    }

    /// Who offers each block, and could vouch for it: the organisations that say the same, most first.
    pub(super) fn offering<'b>(&self, offers: &'b [Offer]) -> Offering<'b> {
        let mut offering: BTreeMap<_, BTreeMap<_, BTreeSet<_>>> = BTreeMap::new();
        let counts = |msp_id: &MspId| self.trust.policy.count_self || msp_id != self.own_msp;
        for offer in offers.iter().filter(|offer| !offer.entry.partial && counts(&offer.msp_id)) {
            let of_block = offering.entry(offer.entry.id.block_number).or_default();
            of_block.entry(offer.entry.snapshot_hash).or_default().insert(&offer.msp_id);
        }
        offering
    }

    /// Whether others' words, which nobody has to be asked for, may do for the block.
    pub(super) fn is_a_chance(&self, offering: &Offering<'_>, block: BlockNumber) -> bool {
        let others_count = !self.trust.policy.require_live || !self.statements.detached.is_empty();
        let mut orgs = offering.get(&block).into_iter().flat_map(BTreeMap::values).flatten();
        let has_share = |org: &&&MspId| self.lesser.get(**org).is_none_or(|asked| *asked < LESSER_BLOCKS_PER_ORG);
        others_count && orgs.any(|org| has_share(&org))
    }
}

/// Whether so many organisations offer the same snapshot of that block.
pub(super) fn enough_offer(offering: &Offering<'_>, block: BlockNumber, needed: usize) -> bool {
    let alike = offering.get(&block).into_iter().flat_map(BTreeMap::values);
    alike.map(BTreeSet::len).max().unwrap_or(0) >= needed
}
