//! Who vouches: every source is asked to attest, for this join alone, what it offers; with what came another way it is judged by the
//! policy, block by block, newest first.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{Records, RuledOut, error::JoinError, keeper::Peer, on_disk, sources::Sources};
use crate::{
    catalog::{
        AgreedSnapshot, AgreementError, AttestBody, Attestation, Equivocation, Heard, Judging, Offer, Statements,
        TrustPolicy, agree, candidates, equivocations,
    },
    chunking::Workers,
    msp::{ChannelConfig, MspId},
    snapshot::{BlockNumber, Manifest, ManifestHash, SnapshotHash, SnapshotId},
    transport::WallClock,
};

/// Bytes of the nonce that makes an attestation one for this join: nobody can have signed it before.
const NONCE_BYTES: usize = 32;
/// Blocks that are asked about though too few organisations offer them: so that the report can say who vouches for what.
const HOPELESS_BLOCKS_ASKED: usize = 3;
/// Blocks of each organisation that are asked about on the chance that words which came another way make up for who doesn't offer
/// them: each has its own share, so that blocks which one invents hide nobody else's.
const LESSER_BLOCKS_PER_ORG: usize = 4;
/// Most blocks that are asked about: each takes up to half a minute, if sources want it so.
const BLOCKS_ASKED_MAX: usize = 64;
/// Most bytes of statements that are kept in a join; beyond, only what each source signs itself.
const HEARD_BYTES_MAX: usize = 16 << 20;
/// How what an earlier join kept is named in reports.
const KEPT_SOURCE: &str = "an earlier join";
/// How long all who name a manifest may take to give it, before what else is offered is looked at.
const MANIFEST_WAIT: Duration = Duration::from_secs(20);

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

    /// Fewest organisations that the rule can be satisfied by.
    pub(super) fn orgs_needed(&self, config: &ChannelConfig) -> usize {
        let policy = &self.policy;
        let orgs = policy.metadata.minimum_orgs(config).unwrap_or(policy.min_orgs).max(policy.min_orgs);
        usize::try_from(orgs).unwrap_or(usize::MAX)
    }
}

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
    pub(super) nonce: [u8; NONCE_BYTES],
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
                    let (config, nonce, statements) = (Arc::clone(config), self.nonce, self.statements);
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

    /// Whether enough organisations offer the same snapshot for the rule to be satisfied.
    fn may_agree(&self, config: &ChannelConfig, offers: &[Offer], block_number: Option<BlockNumber>) -> bool {
        let (offering, needed) = (self.offering(offers), self.trust.orgs_needed(config));
        let blocks = candidates(&self.judging(config), config.channel(), offers, block_number);
        blocks.into_iter().any(|block| enough_offer(&offering, block, needed))
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

    /// The offers about blocks that were asked about, and about the newest ones: a source may list tens of thousands.
    fn in_play(&self, config: &ChannelConfig, all: &[Offer], block_number: Option<BlockNumber>) -> Vec<Offer> {
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
    fn next_block(
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
    fn newer_block(
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

    fn unasked(&self, config: &ChannelConfig, offers: &[Offer], block_number: Option<BlockNumber>) -> Vec<BlockNumber> {
        if self.asked.len() >= BLOCKS_ASKED_MAX {
            return Vec::new();
        }
        let all = candidates(&self.judging(config), config.channel(), offers, block_number);
        all.into_iter().filter(|block| !self.asked.contains(block)).collect()
    }

    /// Who offers each block, and could vouch for it: the organisations that say the same, most first.
    fn offering<'b>(&self, offers: &'b [Offer]) -> Offering<'b> {
        let mut offering: BTreeMap<_, BTreeMap<_, BTreeSet<_>>> = BTreeMap::new();
        let counts = |msp_id: &MspId| self.trust.policy.count_self || msp_id != self.own_msp;
        for offer in offers.iter().filter(|offer| !offer.entry.partial && counts(&offer.msp_id)) {
            let of_block = offering.entry(offer.entry.id.block_number).or_default();
            of_block.entry(offer.entry.snapshot_hash).or_default().insert(&offer.msp_id);
        }
        offering
    }

    /// Whether others' words, which nobody has to be asked for, may do for the block.
    fn is_a_chance(&self, offering: &Offering<'_>, block: BlockNumber) -> bool {
        let others_count = !self.trust.policy.require_live || !self.statements.detached.is_empty();
        let mut orgs = offering.get(&block).into_iter().flat_map(BTreeMap::values).flatten();
        let has_share = |org: &&&MspId| self.lesser.get(**org).is_none_or(|asked| *asked < LESSER_BLOCKS_PER_ORG);
        others_count && orgs.any(|org| has_share(&org))
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

    /// Keeps what was said of that block, in place of the same that was said before; of what is relayed no more than there is room for.
    fn hear(&mut self, id: &SnapshotId, all_heard: Vec<Heard>) {
        // Asked again, a source that says the same has said it once.
        let said = |heard: &Heard| {
            let body = heard.attestation.body();
            (
                heard.source.clone(),
                heard.attestation.identity().id(),
                body.snapshot_hash,
                body.manifest_hash,
                body.commit_hash,
            )
        };
        let again: Vec<_> = all_heard.iter().map(said).collect();
        self.statements.heard.retain(|heard| heard.attestation.body().id != *id || !again.contains(&said(heard)));
        let mut held_bytes = heard_bytes(&self.statements.heard);
        for heard in all_heard {
            // Made for us: by the source itself, one each.
            let own = heard.attestation.body().request_nonce == self.nonce;
            let bytes = held_bytes.saturating_add(heard.attestation.body_bytes().len());
            if own || bytes <= self.heard_bytes_max {
                held_bytes = bytes;
                self.statements.heard.push(heard);
            }
        }
    }

    /// What was said and proved of that block in earlier joins: who says something else now is found out again.
    async fn remember(&mut self, id: &SnapshotId) {
        let Some((records, workers)) = self.records else { return };
        let records = records.clone();
        let (wanted, now) = (id.clone(), (self.clock)());
        let read = on_disk(workers, move || Ok((records.said_before(&wanted, now), records.proofs(&wanted))));
        let Ok((said_before, proofs)) = read.await else { return };
        // Asked again, an earlier join has said it once.
        self.statements.heard.retain(|heard| heard.source != KEPT_SOURCE || heard.attestation.body().id != *id);
        if self.remembered.insert(id.block_number) {
            self.statements.proofs.extend(proofs);
        }
        for attestation in said_before.into_iter().filter(|said| self.matters(said)).collect::<Vec<_>>() {
            self.statements.heard.push(Heard { attestation, source: KEPT_SOURCE.to_owned() });
        }
    }

    /// Whether what was said before can change anything: it contradicts its signer or, by a manifest that is at hand, another peer; or
    /// nobody of its organisation speaks now. Another peer's word whose manifest is gone would only raise a doubt.
    fn matters(&self, said: &Attestation) -> bool {
        let (org, body) = (said.identity().msp_id(), said.body());
        let of_org =
            |heard: &&Heard| heard.attestation.body().id == body.id && heard.attestation.identity().msp_id() == org;
        let mut others = self.statements.heard.iter().filter(of_org).peekable();
        if others.peek().is_none() {
            return !self.trust.policy.require_live;
        }
        let at_hand = self.manifests.contains_key(&(body.id.clone(), body.manifest_hash));
        let claim = |body: &AttestBody| (body.snapshot_hash, body.manifest_hash, body.commit_hash);
        others.any(|heard| {
            let same_signer = heard.attestation.identity().id() == said.identity().id();
            claim(heard.attestation.body()) != claim(body) && (same_signer || at_hand)
        })
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

/// Bytes of all these statements.
fn heard_bytes(heard: &[Heard]) -> usize {
    heard.iter().map(|heard| heard.attestation.body_bytes().len()).sum()
}

/// Whether so many organisations offer the same snapshot of that block.
fn enough_offer(offering: &Offering<'_>, block: BlockNumber, needed: usize) -> bool {
    let alike = offering.get(&block).into_iter().flat_map(BTreeMap::values);
    alike.map(BTreeSet::len).max().unwrap_or(0) >= needed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::{
            Screening, TrustSettings,
            fixture::{COMMIT, manifest, manifest_of, member, network, now, offer, org, peer, says, says_so},
        },
        disk::OsDir,
        snapshot::{BlockHash, StateDbType},
    };

    /// What a join goes by.
    struct Setting {
        config: ChannelConfig,
        trust: JoinTrust,
        own: MspId,
        clock: WallClock,
        ruled_out: RuledOut,
    }

    impl Setting {
        fn new(settings: &TrustSettings) -> Self {
            let config = network();
            let policy = TrustPolicy::new(settings, &config).unwrap();
            let trust = JoinTrust { policy, highest_had: None, allow_older: false, given: Statements::default() };
            Self { config, trust, own: org(9), clock: Arc::new(now), ruled_out: RuledOut::default() }
        }

        fn vouching<'a>(&'a self, records: Option<(&'a Records, &'a Workers)>) -> Vouching<'a> {
            Vouching::new(&self.trust, records, &self.own, &self.clock, &self.ruled_out).unwrap()
        }
    }

    /// The blocks that are asked about, in order, where `liars` invent 2000 newer ones and Org1 and Org2 have block 83.
    fn asked(settings: &TrustSettings, liars: &[u8]) -> Vec<u64> {
        let setting = Setting::new(settings);
        let mut vouching = setting.vouching(None);
        let mut offers: Vec<Offer> = [1, 2].map(|org| offer(org, &manifest(83, 0), COMMIT)).into();
        for block in 1_000..3_000 {
            for liar in liars {
                offers.push(Offer { manifest: None, ..offer(*liar, &manifest(block, 9), COMMIT) });
            }
        }
        let mut asked = Vec::new();
        while let Some(block) = vouching.next_block(&setting.config, &offers, None) {
            vouching.asked.insert(block);
            for org in vouching.offering(&offers).get(&block).unwrap().values().flatten() {
                *vouching.lesser.entry((*org).clone()).or_default() += 1;
            }
            asked.push(block.0);
        }
        asked
    }

    /// Defence: only blocks that the rule could be satisfied for are asked about first, and few others. Removed, one organisation that
    /// invents newer blocks holds every join up for days.
    #[test]
    fn invented_blocks_hide_no_block_that_enough_offer() {
        let all = "OutOf(3, 'Org1MSP.peer', 'Org2MSP.peer', 'Org3MSP.peer')".to_owned();
        let two = TrustSettings { min_orgs: 2, require_live: true, ..TrustSettings::default() };
        let asked_first = asked(&two, &[3]);
        assert_eq!(asked_first[0], 83);
        assert_eq!(asked_first.len(), 1 + HOPELESS_BLOCKS_ASKED);
        // Two who collude where it takes three.
        let three = TrustSettings { policy: Some(all), ..two.clone() };
        assert_eq!(asked(&three, &[2, 3]).len(), HOPELESS_BLOCKS_ASKED);
        // Where others' stored words count, each organisation has its share.
        let stored = TrustSettings { require_live: false, ..two };
        let asked_on_a_chance = asked(&stored, &[3]);
        assert_eq!(asked_on_a_chance[0], 83);
        assert_eq!(asked_on_a_chance.len(), 1 + LESSER_BLOCKS_PER_ORG);
    }

    /// Defence: what an earlier join heard proves, but raises no doubt. Removed, an organisation whose peers have different state databases
    /// counts for nobody who once heard one of them and now hears the other.
    #[test]
    fn an_earlier_word_matters_only_where_it_proves_something() {
        let (truth, lie, couch) = (manifest(83, 0), manifest(83, 9), manifest_of(83, 0, StateDbType::CouchDb));
        let matters = |require_live: bool, now_said: Option<Heard>, before: Heard| {
            let settings = TrustSettings { min_orgs: 2, require_live, ..TrustSettings::default() };
            let setting = Setting::new(&settings);
            let mut vouching = setting.vouching(None);
            vouching.statements.heard.extend(now_said);
            vouching.matters(&before.attestation)
        };
        let another_peer = member(1, "peer", 2030);
        for live in [true, false] {
            let heard = |manifest| Some(says(&peer(1), manifest));
            assert!(matters(live, heard(&truth), says(&peer(1), &lie)), "its own contradiction");
            assert!(!matters(live, heard(&truth), says(&peer(1), &truth)), "nothing new");
            assert!(!matters(live, heard(&truth), says(&another_peer, &couch)), "a doubt");
            assert_eq!(matters(live, None, says(&peer(1), &truth)), !live, "an organisation that is silent now");
        }
    }

    /// What a source relays, of so many different signers' words, each for another join.
    fn relayed(words: u8) -> Vec<Heard> {
        let manifest = manifest(83, 0);
        let heard = |word| says_so(&peer(1), &manifest, |body| body.commit_hash = Some(BlockHash([word; 32])));
        (0..words).map(heard).collect()
    }

    /// Defence: what a source says again counts once. Removed, a join that waits for long, and asks again each time somebody comes, keeps
    /// nothing of what is relayed from some time on.
    #[test]
    fn however_often_a_source_is_asked_what_it_relays_is_kept_once() {
        let (setting, relayed) = (Setting::new(&TrustSettings::default()), relayed(64));
        let all_bytes = heard_bytes(&relayed);
        assert!(all_bytes * 1_000 > HEARD_BYTES_MAX && all_bytes < HEARD_BYTES_MAX, "{all_bytes}");
        let mut vouching = setting.vouching(None);
        for _ in 0..1_000 {
            vouching.hear(manifest(83, 0).id(), relayed.clone());
            assert_eq!(vouching.statements.heard.len(), relayed.len());
        }
        assert_eq!(heard_bytes(&vouching.statements.heard), all_bytes);
    }

    /// R4: beyond the bound nothing that is relayed is kept, but what a source signs itself is.
    #[test]
    fn what_is_relayed_beyond_the_bound_is_passed_over() {
        let (mut setting, mut said) = (Setting::new(&TrustSettings::default()), relayed(4));
        setting.trust.given.heard = vec![says(&peer(2), &manifest(83, 0))];
        let given = &setting.trust.given.heard;
        let mut vouching = setting.vouching(None);
        assert_eq!(vouching.heard_bytes_max, heard_bytes(given) + HEARD_BYTES_MAX);
        let nonce = vouching.nonce.to_vec();
        said.push(says_so(&peer(1), &manifest(83, 0), |body| body.request_nonce = nonce));
        vouching.heard_bytes_max = heard_bytes(given) + heard_bytes(&said[..2]);
        vouching.hear(manifest(83, 0).id(), said.clone());
        let kept: Vec<_> = vouching.statements.heard.iter().map(|heard| heard.attestation.body_bytes()).collect();
        let right = [&given[0], &said[0], &said[1], &said[4]].map(|heard| heard.attestation.body_bytes());
        assert!(kept == right, "{} are kept", kept.len());
    }

    /// Defence: what earlier joins heard and proved counts once, too. Removed, it is there once more each time somebody comes.
    #[tokio::test]
    async fn however_often_a_block_is_asked_about_an_earlier_join_has_said_it_once() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(&*OsDir::open(dir.path()).unwrap()).unwrap();
        let setting = Setting::new(&TrustSettings::default());
        let [truth, lie, other] = [0, 1, 2].map(|variant| says(&peer(2), &manifest(83, variant)));
        let screening = Screening { config: &setting.config, own_msp: &setting.own, now: now() };
        records.keep(&screening, &Statements { heard: vec![lie.clone()], ..Statements::default() });
        records.evidence(&Equivocation::new(lie.attestation, other.attestation, None).unwrap()).unwrap();
        let mut vouching = setting.vouching(Some((&records, &Workers::Inline)));
        for _ in 0..3 {
            vouching.hear(manifest(83, 0).id(), vec![truth.clone()]);
            vouching.remember(manifest(83, 0).id()).await;
            let Statements { heard, proofs, .. } = &vouching.statements;
            assert_eq!((heard.len(), proofs.len()), (2, 1));
        }
    }
}
