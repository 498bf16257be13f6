//! Who vouches: every source is asked to attest, for this join alone, what it offers; with what came another way it is judged by the
//! policy, block by block, newest first.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{error::JoinError, sources::Sources};
use crate::{
    catalog::{
        AgreedSnapshot, AgreementError, Equivocation, Judging, Offer, Statements, TrustPolicy, agree, candidates,
        equivocations,
    },
    msp::{ChannelConfig, MspId},
    snapshot::{BlockNumber, ChannelId, Manifest, ManifestHash, SnapshotId},
    transport::WallClock,
};

/// Bytes of the nonce that makes an attestation one for this join: nobody can have signed it before.
const NONCE_BYTES: usize = 32;
/// Blocks that are asked about though too few organisations offer them: so that the report can say who vouches for what.
const HOPELESS_BLOCKS_ASKED: usize = 3;

/// The rule, and what counts beside the sources' own words.
#[derive(Debug, Clone)]
pub struct JoinTrust {
    /// Who must vouch.
    pub policy: TrustPolicy,
    /// The highest block that this peer ever had of the channel; with the configuration block and `policy.min_block` it makes the floor.
    pub highest_had: Option<BlockNumber>,
    /// Whether a snapshot below the floor may be taken.
    pub allow_older: bool,
    /// What came another way than from a source of this join: files of the operator, and what earlier joins heard.
    pub given: Statements,
}

impl JoinTrust {
    /// Below this no snapshot is taken (trust.md 6.5).
    #[must_use]
    pub fn floor(&self, config: &ChannelConfig) -> BlockNumber {
        [self.highest_had, self.policy.min_block].into_iter().flatten().fold(config.block_number(), BlockNumber::max)
    }
}

/// What one join hears, and its verdict.
pub(super) struct Vouching<'a> {
    trust: &'a JoinTrust,
    own_msp: &'a MspId,
    clock: &'a WallClock,
    nonce: [u8; NONCE_BYTES],
    statements: Statements,
    asked: BTreeSet<BlockNumber>,
    manifests: BTreeMap<(SnapshotId, ManifestHash), Manifest>,
    /// Manifests that are named, but that nobody gives; and what was said to the last one.
    withheld: BTreeSet<ManifestHash>,
    undelivered: Option<JoinError>,
}

/// What was agreed on, and by whose words.
#[derive(Debug)]
pub(super) struct Vouched {
    pub(super) agreed: AgreedSnapshot,
    /// The configuration that it was judged by.
    pub(super) config: Arc<ChannelConfig>,
    pub(super) nonce: [u8; NONCE_BYTES],
    /// All that was heard, whether it counted or not.
    pub(super) statements: Statements,
    /// Proofs that organisations contradict themselves.
    pub(super) evidence: Vec<Equivocation>,
}

impl<'a> Vouching<'a> {
    pub(super) fn new(trust: &'a JoinTrust, own_msp: &'a MspId, clock: &'a WallClock) -> Result<Self, JoinError> {
        let mut nonce = [0; NONCE_BYTES];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| JoinError::NoRandomness)?;
        Ok(Self {
            trust,
            own_msp,
            clock,
            nonce,
            statements: trust.given.clone(),
            asked: BTreeSet::new(),
            manifests: BTreeMap::new(),
            withheld: BTreeSet::new(),
            undelivered: None,
        })
    }

    /// Waits for all answers, asks who vouches for what they offer, and applies the policy; the manifest that it needs is fetched from
    /// whoever names it.
    pub(super) async fn agree(
        mut self,
        config: &Arc<ChannelConfig>,
        block_number: Option<BlockNumber>,
        sources: &mut Sources,
    ) -> Result<Vouched, JoinError> {
        sources.settle().await?;
        // Ends: each turn asks about a block, brings a manifest that wasn't there, drops a liar, or is the last.
        loop {
            for ((id, manifest_hash), manifest) in &self.manifests {
                sources.hold_to(id, *manifest_hash, manifest.signable().hash());
            }
            if sources.all_dropped() {
                return Err(sources.nobody());
            }
            // Counted anew each time: who lied no longer has a say.
            let offers = self.offers(sources);
            self.forget_liars(sources);
            match agree(&self.judging(config), config.channel(), &offers, &self.statements, block_number) {
                // What was said before may already do for an older one: who offers a newer one is heard first.
                Ok(agreed) if let Some(newer) = self.newer_block(config, &offers, block_number, agreed.id()) => {
                    self.ask(config.channel(), newer, sources).await;
                }
                Ok(agreed) => {
                    let evidence = equivocations(config, &offers, &self.statements);
                    let config = Arc::clone(config);
                    return Ok(Vouched { agreed, config, nonce: self.nonce, statements: self.statements, evidence });
                }
                Err(AgreementError::ManifestMissing { id, manifest_hash })
                    if !self.manifests.contains_key(&(id.clone(), manifest_hash)) =>
                {
                    self.fetch_manifest(sources, id, manifest_hash).await?;
                }
                Err(error) => {
                    let split = matches!(error, AgreementError::Split { .. });
                    match self.next_block(config, &offers, block_number).filter(|_| !split) {
                        Some(block) => self.ask(config.channel(), block, sources).await,
                        None => {
                            if let Some(undelivered) = self.undelivered.take() {
                                return Err(undelivered);
                            }
                            let evidence = equivocations(config, &offers, &self.statements);
                            let (source, troubles) = (Box::new(error), sources.troubles());
                            return Err(JoinError::Agreement { source, troubles, evidence });
                        }
                    }
                }
            }
        }
    }

    fn judging<'b>(&'b self, config: &'b ChannelConfig) -> Judging<'b> {
        Judging {
            config,
            policy: &self.trust.policy,
            own_msp: self.own_msp,
            now: (self.clock)(),
            nonce: Some(&self.nonce),
            floor: self.trust.floor(config),
            allow_older: self.trust.allow_older,
        }
    }

    /// What is offered, but for what names a manifest that nobody gives: one organisation's invention must not end the join.
    fn offers(&self, sources: &Sources) -> Vec<Offer> {
        let mut offers = sources.offers();
        offers.retain(|offer| !self.withheld.contains(&offer.entry.manifest_hash));
        for offer in &mut offers {
            offer.manifest = self.manifests.get(&(offer.entry.id.clone(), offer.entry.manifest_hash)).cloned();
        }
        offers
    }

    fn forget_liars(&mut self, sources: &Sources) {
        self.statements.heard.retain(|heard| !sources.lied_before(&heard.attestation));
    }

    /// The newest block that wasn't asked about: first those that enough organisations offer, then a few for the report.
    fn next_block(
        &self,
        config: &ChannelConfig,
        offers: &[Offer],
        block_number: Option<BlockNumber>,
    ) -> Option<BlockNumber> {
        let judging = self.judging(config);
        let all = candidates(&judging, config.channel(), offers, block_number);
        let unasked: Vec<BlockNumber> = all.into_iter().filter(|block| !self.asked.contains(block)).collect();
        // Others' words count without being asked for: then nobody's offers say what is hopeless.
        let by_offers_alone = self.trust.policy.require_live && self.statements.detached.is_empty();
        let hopeful = |block: &&BlockNumber| !by_offers_alone || self.enough_offer(offers, **block);
        let hopeless_asked = || self.asked.iter().filter(|block| !self.enough_offer(offers, **block)).count();
        unasked
            .iter()
            .find(hopeful)
            .copied()
            .or_else(|| unasked.first().copied().filter(|_| hopeless_asked() < HOPELESS_BLOCKS_ASKED))
    }

    /// A block above the one that was agreed on, or that one, which enough organisations offer and nobody was asked about.
    fn newer_block(
        &self,
        config: &ChannelConfig,
        offers: &[Offer],
        block_number: Option<BlockNumber>,
        agreed: &SnapshotId,
    ) -> Option<BlockNumber> {
        let all = candidates(&self.judging(config), config.channel(), offers, block_number);
        let newer = all.into_iter().filter(|block| *block >= agreed.block_number && !self.asked.contains(block));
        newer.into_iter().find(|block| self.enough_offer(offers, *block))
    }

    fn enough_offer(&self, offers: &[Offer], block: BlockNumber) -> bool {
        let vouchers = offers.iter().filter(|offer| offer.entry.id.block_number == block && !offer.entry.partial);
        let orgs: BTreeSet<&MspId> = vouchers.map(|offer| &offer.msp_id).collect();
        let own = usize::from(!self.trust.policy.count_self && orgs.contains(self.own_msp));
        orgs.len() - own >= self.trust.policy.min_orgs as usize
    }

    /// Asks everybody who offers a snapshot of the block to attest it.
    async fn ask(&mut self, channel: &ChannelId, block: BlockNumber, sources: &mut Sources) {
        self.asked.insert(block);
        let id = SnapshotId { channel: channel.clone(), block_number: block };
        let heard = sources.attestations(&id, &self.nonce).await;
        self.statements.heard.extend(heard);
    }

    async fn fetch_manifest(
        &mut self,
        sources: &mut Sources,
        id: SnapshotId,
        manifest_hash: ManifestHash,
    ) -> Result<(), JoinError> {
        let liars = sources.liars();
        match sources.manifest(&id, manifest_hash).await {
            Ok(manifest) => {
                self.manifests.insert((id, manifest_hash), manifest);
                Ok(())
            }
            // Without who named it, something else may be agreed on.
            Err(_) if sources.liars() > liars => Ok(()),
            Err(error @ JoinError::NotDelivered { .. }) => {
                self.withheld.insert(manifest_hash);
                self.undelivered = Some(error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
