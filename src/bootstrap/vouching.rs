//! Who vouches: every source is asked to attest, for this join alone, what it offers; with what came another way it is judged by the
//! policy, block by block, newest first.

mod blocks;
mod hearing;
#[cfg(test)]
mod tests;
mod trust;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use hearing::{HEARD_BYTES_MAX, heard_bytes};
pub use trust::JoinTrust;

use super::{Records, RuledOut, error::JoinError, keeper::Peer, sources::Sources};
use crate::{
    catalog::{AgreedSnapshot, AgreementError, Equivocation, Heard, Judging, Offer, Statements, agree, equivocations},
    chunking::Workers,
    msp::{ChannelConfig, MspId},
    snapshot::{BlockNumber, Manifest, ManifestHash, SnapshotHash, SnapshotId},
    transport::WallClock,
};

/// Bytes of the nonce that makes an attestation one for this join: nobody can have signed it before.
pub(super) const NONCE_BYTES: usize = 32;
/// How long all who name a manifest may take to give it, before what else is offered is looked at.
const MANIFEST_WAIT: Duration = Duration::from_secs(20);

/// What one join hears, and its verdict.
pub(super) struct Vouching<'a> {
    trust: &'a JoinTrust,
    /// What was heard and proved in earlier joins, and where it is read; `None`: nothing.
    records: Option<(&'a Records, &'a Workers)>,
    own_msp: &'a MspId,
    clock: &'a WallClock,
    nonce: [u8; NONCE_BYTES],
    statements: Statements,
    asked: BTreeSet<BlockNumber>,
    manifests: BTreeMap<(SnapshotId, ManifestHash), Manifest>,
    /// Manifests that are named, but that nobody gives, or that lead nowhere; and what was said to the last one.
    withheld: BTreeSet<ManifestHash>,
    ruled_out: &'a RuledOut,
    undelivered: Option<JoinError>,
    /// Of `withheld`, those that somebody may still give.
    awaited: BTreeSet<ManifestHash>,
    /// Whether somebody wasn't waited for as the others were enough; and whether all are waited for from now on.
    somebody_was_late: bool,
    hears_all: bool,
    /// How many blocks of each organisation were asked about on a chance.
    lesser: BTreeMap<MspId, usize>,
    /// Of which blocks the proofs of earlier joins are there.
    remembered: BTreeSet<BlockNumber>,
    /// Most bytes of statements that are kept: what was given isn't counted.
    heard_bytes_max: usize,
}

/// Which organisations offer which snapshot of each block.
type Offering<'a> = BTreeMap<BlockNumber, BTreeMap<SnapshotHash, BTreeSet<&'a MspId>>>;

/// What was agreed on, and by whose words.
#[derive(Debug)]
pub(super) struct Vouched {
    pub(super) agreed: AgreedSnapshot,
    /// The configuration that it was judged by.
    pub(super) config: Arc<ChannelConfig>,
    /// Of this join; `None`: nobody was asked.
    pub(super) nonce: Option<[u8; NONCE_BYTES]>,
    /// All that was heard, whether it counted or not.
    pub(super) statements: Statements,
    /// Proofs that organisations contradict themselves.
    pub(super) evidence: Vec<Equivocation>,
    /// Who offered the manifest that was agreed on.
    pub(super) offered_by: Vec<Peer>,
}

impl<'a> Vouching<'a> {
    /// Without what earlier turns have ruled out.
    pub(super) fn new(
        trust: &'a JoinTrust,
        records: Option<(&'a Records, &'a Workers)>,
        own_msp: &'a MspId,
        clock: &'a WallClock,
        ruled_out: &'a RuledOut,
    ) -> Result<Self, JoinError> {
        let mut nonce = [0; NONCE_BYTES];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| JoinError::NoRandomness)?;
        Ok(Self {
            trust,
            records,
            own_msp,
            clock,
            nonce,
            statements: trust.given.clone(),
            asked: BTreeSet::new(),
            manifests: BTreeMap::new(),
            withheld: ruled_out.manifests().clone(),
            ruled_out,
            undelivered: None,
            somebody_was_late: false,
            hears_all: false,
            awaited: BTreeSet::new(),
            lesser: BTreeMap::new(),
            remembered: BTreeSet::new(),
            heard_bytes_max: heard_bytes(&trust.given.heard).saturating_add(HEARD_BYTES_MAX),
        })
    }

    /// Waits for answers, asks who vouches for what they offer, and applies the policy; the manifest that it needs is fetched from
    /// whoever names it.
    pub(super) async fn agree(
        mut self,
        config: &Arc<ChannelConfig>,
        block_number: Option<BlockNumber>,
        sources: &mut Sources,
    ) -> Result<Vouched, JoinError> {
        let enough = |offers: &[Offer]| self.may_agree(config, offers, block_number);
        let mut all_have_answered = sources.settle(enough).await?;
        // Ends: each turn asks about a block, brings a manifest that wasn't there or does without it, drops a liar, or is the last; but
        // for a manifest or a busy source without which there is nothing to agree on, which is waited for.
        loop {
            for ((id, manifest_hash), manifest) in &self.manifests {
                sources.hold_to(id, *manifest_hash, manifest.signable().hash());
            }
            if sources.all_dropped() {
                return Err(sources.nobody());
            }
            // Counted anew each time: who lied no longer has a say.
            let all = self.offers(sources);
            let offers = self.in_play(config, &all, block_number);
            self.forget_liars(sources);
            match agree(&self.judging(config), config.channel(), &offers, &self.statements, block_number) {
                // What was said before may already do for an older one: who offers a newer one is heard first.
                Ok(agreed) if let Some(newer) = self.newer_block(config, &all, block_number, agreed.id()) => {
                    self.ask(config, newer, &all, sources).await;
                }
                Ok(agreed) => {
                    let evidence = equivocations(config, &offers, &self.statements);
                    let offered_by = sources.who_offers(agreed.id(), agreed.manifest_hash());
                    let (config, nonce, statements) = (Arc::clone(config), Some(self.nonce), self.statements);
                    return Ok(Vouched { agreed, config, nonce, statements, evidence, offered_by });
                }
                Err(AgreementError::ManifestMissing { id, manifest_hash })
                    if !self.manifests.contains_key(&(id.clone(), manifest_hash)) =>
                {
                    self.fetch_manifest(sources, id, manifest_hash).await?;
                }
                Err(error) => {
                    let split = matches!(error, AgreementError::Split { .. });
                    match self.next_block(config, &all, block_number).filter(|_| !split) {
                        Some(block) => self.ask(config, block, &all, sources).await,
                        // Who was late may be the one that is missing: then it is waited for, as long as for anything.
                        // Of those who were enough one has lied since.
                        None if self.somebody_was_late && !self.hears_all => {
                            self.hears_all = true;
                            self.ask_again();
                        }
                        None if !all_have_answered => {
                            all_have_answered = sources.settle(|_| false).await?;
                            self.ask_again();
                        }
                        // Who has it may be busy or restarting: nothing else can be agreed on.
                        None if !self.awaited.is_empty() && sources.is_patient() => {
                            let awaited = std::mem::take(&mut self.awaited);
                            self.withheld.retain(|hash| !awaited.contains(hash));
                        }
                        // One that takes nobody now may be the one that is missing; who is there by then is asked as if for the first time.
                        None if sources.is_patient() && sources.somebody_is_busy() => {
                            sources.fewer_are_busy().await;
                            self.ask_again();
                        }
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

    /// Who is there by now is asked as if for the first time.
    fn ask_again(&mut self) {
        self.asked.clear();
        self.lesser.clear();
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
        offers.retain(|offer| {
            !self.withheld.contains(&offer.entry.manifest_hash) && !self.ruled_out.is_given_up(&offer.entry.id)
        });
        for offer in &mut offers {
            offer.manifest = self.manifests.get(&(offer.entry.id.clone(), offer.entry.manifest_hash)).cloned();
        }
        offers
    }

    fn forget_liars(&mut self, sources: &Sources) {
        self.statements.heard.retain(|heard| !sources.lied_before(&heard.attestation));
    }

    /// Asks everybody who offers a snapshot of the block to attest it.
    async fn ask(&mut self, config: &ChannelConfig, block: BlockNumber, offers: &[Offer], sources: &mut Sources) {
        self.asked.insert(block);
        for org in self.offering(offers).get(&block).into_iter().flat_map(BTreeMap::values).flatten() {
            *self.lesser.entry((*org).clone()).or_default() += 1;
        }
        let id = SnapshotId { channel: config.channel().clone(), block_number: block };
        let in_play: Vec<Offer> = offers.iter().filter(|offer| offer.entry.id == id).cloned().collect();
        // Judged by the rule itself: that some organisations have answered says nothing if the rule asks for another.
        let enough = |heard: Vec<Heard>| {
            let mut statements = self.statements.clone();
            statements.heard.extend(heard);
            let agreed = agree(&self.judging(config), config.channel(), &in_play, &statements, Some(block));
            !self.hears_all && matches!(agreed, Ok(_) | Err(AgreementError::ManifestMissing { .. }))
        };
        let (all_heard, all) = sources.attestations(&id, &self.nonce, enough).await;
        self.somebody_was_late |= !all;
        self.hear(&id, all_heard);
        self.remember(&id).await;
    }

    async fn fetch_manifest(
        &mut self,
        sources: &mut Sources,
        id: SnapshotId,
        manifest_hash: ManifestHash,
    ) -> Result<(), JoinError> {
        let liars = sources.liars();
        let wait = tokio::time::timeout(MANIFEST_WAIT, sources.manifest(&id, manifest_hash)).await;
        let given = wait.unwrap_or_else(|_| {
            self.awaited.insert(manifest_hash);
            let what = format!("the manifest {manifest_hash}");
            Err(JoinError::NotDelivered { what, id: id.clone(), troubles: sources.troubles() })
        });
        match given {
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
