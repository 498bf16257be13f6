use super::*;
use crate::{
    catalog::{
        AttestBody, Attestation, AttestationError, DetachedSignature, Heard, LIVE_WITHIN, STORED_LIFE_MAX,
        TrustSettings, equivocations,
        fixture::{
            COMMIT, Case, body, high_twin, manifest, manifest_of, member, network, now, offer, org, other_roots, peer,
            says, says_so, stranger, twin,
        },
    },
    msp::{LocalIdentity, Purpose},
    snapshot::{ChunkRoot, SnapshotMetadata, StateDbType},
};
use proptest::prelude::*;
use std::{sync::OnceLock, time::Duration};

/// All three offer the snapshot of that block.
fn offers(block: u64, variant: u8) -> Vec<Offer> {
    [1, 2, 3].map(|number| offer(number, &manifest(block, variant), COMMIT)).to_vec()
}

fn names(agreed: &AgreedSnapshot) -> Vec<&str> {
    agreed.vouching_orgs().iter().map(MspId::as_str).collect()
}

/// A plain-Fabric organisation's signatures of both files.
fn detached(by: &LocalIdentity, manifest: &Manifest, commit_hash: Option<BlockHash>) -> DetachedSignature {
    DetachedSignature::sign(&SnapshotMetadata { signable: manifest.signable().clone(), commit_hash }, by).unwrap()
}

/// Defence: all that is offered is looked at, newest first; removed, who offers an older snapshot first decides.
#[test]
fn the_newest_block_that_two_organisations_attest_alike_wins() {
    let (old, middle, new) = (manifest(83, 0), manifest(132, 0), manifest(200, 0));
    let said = [(1, &old), (2, &old), (1, &middle), (3, &middle), (2, &new)].map(|(by, of)| says(&peer(by), of));
    let mut case = Case::new([offers(83, 0), offers(132, 0), offers(200, 0)].concat(), said.to_vec());
    let agreed = case.decide().unwrap();
    assert_eq!(agreed.id().block_number, BlockNumber(132));
    assert_eq!((names(&agreed), agreed.mode()), (vec!["Org1MSP", "Org3MSP"], Mode::Streaming));
    assert_eq!((agreed.sources().len(), agreed.commit_hash()), (3, COMMIT));
    assert!(agreed.vouchers().iter().all(|by| by.how == How::Live && by.attestation().is_some()));
    case.block_number = Some(BlockNumber(83));
    assert_eq!(case.decide().unwrap().id().block_number, BlockNumber(83));
    case.block_number = None;
    let all = case.judged(|judging| candidates(judging, case.config.channel(), &case.offers, None));
    assert_eq!(all, [200, 132, 83].map(BlockNumber));
}

#[test]
fn two_of_three_pass_with_one_liar_and_whoever_only_offers_vouches_for_nothing() {
    let (right, lie) = (manifest(83, 0), manifest(83, 9));
    let all = [offer(1, &right, COMMIT), offer(2, &lie, COMMIT), offer(3, &right, COMMIT)];
    let mut case = Case::new(all.to_vec(), vec![says(&peer(1), &right), says(&peer(2), &lie)]);
    let text = case.refusal();
    for part in [
        "Org1MSP (live) attests snapshot",
        "Org3MSP offers it without attesting",
        "Org2MSP (live) attests snapshot",
        "OutOf(2,",
        "lacking: one more organisation",
        "they differ in public_state.data, public_state.metadata, txids.data, txids.metadata",
    ] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
    case.statements.heard.push(says(&peer(3), &right));
    let agreed = case.decide().unwrap();
    assert_eq!(agreed.manifest().files()[0].root, ChunkRoot([0; 32]));
    assert_eq!(names(&agreed), ["Org1MSP", "Org3MSP"]);
    assert!(!agreed.sources().contains("peer0.org2:7061"));
}

/// Defence: distinct organisations are counted again at run time; removed, two certificates of one are two.
#[test]
fn one_organisation_too_few_cannot_agree_with_itself() {
    // Two certificates of one organisation, and the twins of one certificate, are one organisation.
    let right = manifest(83, 0);
    let said = [peer(1), member(1, "peer", 2030), twin(1)].map(|by| says(&by, &right));
    let mut case = Case::new(offers(83, 0), said.to_vec());
    // Even if the rule would let it pass: the count of organisations is asked at run time.
    let text = case.refusal();
    assert!(text.contains("block 83: Org1MSP (live) attests"), "{text}");
    case.judged(|judging| {
        let rule = crate::msp::TrustRule::parse("OutOf(1, 'Org1MSP.peer', 'Org2MSP.peer')").unwrap();
        let policy = TrustPolicy { metadata: rule.clone(), manifest: rule, ..judging.policy.clone() };
        let judging = Judging { policy: &policy, ..*judging };
        let result = agree(&judging, case.config.channel(), &case.offers, &case.statements, None);
        assert!(matches!(result, Err(AgreementError::NotReached { .. })), "{result:?}");
    });
    case.statements.heard.push(says(&peer(2), &right));
    let agreed = case.decide().unwrap();
    // The twins count once.
    assert_eq!((agreed.vouchers().len(), agreed.vouching_orgs().len()), (3, 2));
}

/// Defence: the identity id is of the sanitized certificate; removed, one certificate vouches twice.
#[test]
fn the_twin_of_a_certificate_is_the_same_voucher() {
    let (one, other) = (peer(1), twin(1));
    assert_ne!(one.identity.serialized(), other.identity.serialized());
    assert_eq!(one.identity.id(), other.identity.id());
    let rule = TrustSettings { policy: Some("OutOf(1, 'Org1MSP.peer')".to_owned()), min_orgs: 1, ..Default::default() };
    let mut case = Case::new(offers(83, 0), [one, other].map(|by| says(&by, &manifest(83, 0))).to_vec());
    case.settings = rule;
    assert_eq!(case.decide().unwrap().vouchers().len(), 1);
}

/// Defence: the rule; removed, fewer than k are believed, or strangers and clients count.
/// L10: the rule itself.
#[test]
fn k_minus_one_colluding_organisations_do_not_pass() {
    let lie = manifest(83, 9);
    let mut case = Case::new(offers(83, 9), vec![says(&peer(2), &lie), says(&member(2, "peer", 2030), &lie)]);
    assert!(matches!(case.decide(), Err(AgreementError::NotReached { .. })));
    case.statements.heard.extend([says(&stranger(1), &lie), says(&member(3, "client", 2030), &lie)]);
    let text = case.refusal();
    assert!(text.contains("from a source of Org1MSP") && text.contains("doesn't count"), "{text}");
    // k equal lies are accepted, and all who told them are named.
    case.statements.heard.push(says(&peer(3), &lie));
    let agreed = case.decide().unwrap();
    let signers: BTreeSet<&MspId> = agreed.vouchers().iter().map(|by| &by.msp_id).collect();
    assert_eq!(signers, [&org(2), &org(3)].into());
}

/// Defence: statements are counted per commit hash; removed, one organisation stops every join, or is believed.
#[test]
fn a_minority_with_another_commit_hash_cannot_stop_a_join() {
    let right = manifest(83, 0);
    let none = says_so(&peer(1), &right, |body| body.commit_hash = None);
    let mut case = Case::new(offers(83, 0), vec![none, says(&peer(2), &right), says(&peer(3), &right)]);
    let agreed = case.decide().unwrap();
    assert_eq!((agreed.commit_hash(), names(&agreed)), (COMMIT, vec!["Org2MSP", "Org3MSP"]));
    assert!(agreed.tally().to_string().contains("no commit hash"), "{}", agreed.tally());
    case.statements.heard.pop();
    assert!(matches!(case.decide(), Err(AgreementError::NotReached { .. })));
    // What unsigned catalogs say of it is nobody's vote.
    case.offers.iter_mut().for_each(|offer| offer.commit_hash = None);
    case.statements.heard.push(says(&peer(3), &right));
    let agreed = case.decide().unwrap();
    assert_eq!((agreed.commit_hash(), agreed.sources().len()), (COMMIT, 3));
}

#[test]
fn two_answers_that_both_meet_the_policy_stop_the_join() {
    let (one, other) = (manifest(83, 0), manifest(83, 9));
    let all = [offer(1, &one, COMMIT), offer(2, &other, COMMIT)];
    let mut case = Case::new(all.to_vec(), vec![says(&peer(1), &one), says(&peer(2), &other)]);
    let policy = Some("OutOf(1, 'Org1MSP.peer', 'Org2MSP.peer', 'Org3MSP.peer')".to_owned());
    case.settings = TrustSettings { policy, min_orgs: 1, ..case.settings };
    let error = case.decide().unwrap_err();
    assert!(matches!(error, AgreementError::Split { .. }) && error.to_string().contains("differ in"), "{error}");
    case.statements.heard = vec![says(&peer(1), &one), says_so(&peer(2), &one, |body| body.commit_hash = None)];
    assert!(matches!(case.decide(), Err(AgreementError::Split { .. })));
    // Two manifests of one snapshot, each vouched for: one of them is a lie, and which one can't be told.
    case.statements.heard = vec![says(&peer(1), &one), says(&peer(2), &other_roots(83, 0))];
    assert!(matches!(case.decide(), Err(AgreementError::Split { .. })));
}

#[test]
fn a_wrong_manifest_does_not_count_with_the_right_one() {
    let (right, wrong) = (manifest(83, 0), other_roots(83, 0));
    let all = [offer(1, &right, COMMIT), offer(2, &wrong, COMMIT), offer(3, &right, COMMIT)];
    let mut case = Case::new(all.to_vec(), vec![says(&peer(1), &right), says(&peer(2), &wrong)]);
    let text = case.refusal();
    assert!(text.contains("whose SHA-256 is the same: one is wrong"), "{text}");
    case.statements.heard.push(says(&peer(3), &right));
    assert_eq!(case.decide().unwrap().manifest_hash(), right.hash());
}

/// C8: of another block.
#[test]
fn a_statement_whose_manifest_is_of_another_snapshot_counts_for_nothing() {
    let right = manifest(83, 0);
    let torn = says_so(&peer(2), &right, |body| body.snapshot_hash = manifest(83, 5).signable().hash());
    let text = Case::new(offers(83, 0), vec![says(&peer(1), &right), torn]).refusal();
    assert!(text.contains("it names a manifest of another snapshot"), "{text}");
}

/// Defence: the floor; removed, an older snapshot, valid as it is, is taken.
#[test]
fn below_the_floor_nothing_is_taken_unless_allowed() {
    let said = |block| [1, 2].map(|by| says(&peer(by), &manifest(block, 0))).to_vec();
    let mut case = Case::new(offers(83, 0), said(83));
    case.floor = BlockNumber(83);
    assert!(case.decide().is_ok());
    case.floor = BlockNumber(84);
    let error = case.decide().unwrap_err();
    assert!(matches!(error, AgreementError::BelowFloor { floor: BlockNumber(84), .. }), "{error}");
    assert!(error.to_string().contains("floor 84") && error.to_string().contains("--allow-older"), "{error}");
    case.allow_older = true;
    assert!(case.decide().is_ok());
    // The configured floor counts as well, and a newer block that isn't vouched for doesn't open the way to an older one.
    (case.allow_older, case.floor, case.settings.min_block) = (false, BlockNumber(0), Some(BlockNumber(84)));
    assert!(matches!(case.decide(), Err(AgreementError::BelowFloor { .. })));
    case.offers.extend(offers(132, 0));
    let error = case.decide().unwrap_err();
    let AgreementError::NotReached { tallies, .. } = &error else { panic!("{error}") };
    assert_eq!(tallies.iter().map(|tally| tally.block_number).collect::<Vec<_>>(), [BlockNumber(132)]);
    case.block_number = Some(BlockNumber(83));
    assert!(matches!(case.decide(), Err(AgreementError::BelowFloor { .. })));
    let worth = case.judged(|judging| candidates(judging, case.config.channel(), &case.offers, None));
    assert_eq!(worth, [BlockNumber(132)]);
}

/// One live statement and one as given, with and without `require_live`, and offline; as what it counts, or why not.
fn other_statement(change: impl Fn(&mut AttestBody), require_live: bool, offline: bool) -> String {
    let right = manifest(83, 0);
    let mut case = Case::new(offers(83, 0), vec![says(&peer(1), &right), says_so(&peer(2), &right, change)]);
    case.settings.require_live = require_live;
    if offline {
        case.nonce = None;
    }
    match case.decide() {
        Ok(agreed) => agreed.vouchers()[1].how.to_string(),
        Err(error) => error.to_string(),
    }
}

/// Defence: the nonce; removed, statements made for others, or long ago, count as live.
#[test]
fn stored_statements_count_only_where_live_ones_are_not_required() {
    let stored = |body: &mut AttestBody| {
        body.request_nonce.clear();
        body.issued_at -= 3 * 24 * 3600;
        body.expires_at = body.issued_at + STORED_LIFE_MAX.as_secs();
    };
    assert!(other_statement(stored, true, false).contains("trust.requireLive is on"));
    assert_eq!(other_statement(stored, false, false), "stored");
    // Nobody can be asked: then stored ones are all there is.
    assert_eq!(other_statement(stored, true, true), "stored");
    // Somebody else's nonce is a relayed one.
    let relayed = |body: &mut AttestBody| body.request_nonce = b"asked by another".to_vec();
    assert!(other_statement(relayed, true, false).contains("wasn't made for this join"));
    assert_eq!(other_statement(relayed, false, false), "stored");
    assert_eq!(other_statement(|_| (), true, false), "live");
}

#[test]
fn an_empty_nonce_makes_nothing_live() {
    let right = manifest(83, 0);
    let said = [1, 2].map(|by| says_so(&peer(by), &right, |body| body.request_nonce.clear()));
    let mut case = Case::new(offers(83, 0), said.to_vec());
    case.nonce = Some(b"");
    assert!(matches!(case.decide(), Err(AgreementError::NotReached { .. })));
}

/// C7: what is signed a day ahead or behind counts for nothing.
#[test]
fn times_are_held_to_the_second() {
    let near = LIVE_WITHIN.as_secs();
    let at = |issued: i64, life: i64| {
        move |body: &mut AttestBody| {
            body.issued_at = body.issued_at.checked_add_signed(issued).unwrap();
            body.expires_at = body.issued_at.saturating_add_signed(life);
        }
    };
    let near = i64::try_from(near).unwrap();
    for good in [at(0, 0), at(-near, near), at(near, 1)] {
        assert_eq!(other_statement(good, true, false), "live");
    }
    assert!(other_statement(at(-near, near - 1), true, false).contains("expired"));
    for bad in [at(-near - 1, 3600), at(near + 1, 3600)] {
        assert!(other_statement(bad, true, false).contains("compare the clocks"));
    }
    // Stored: not past the end, not from the future, not good for longer than a week.
    assert_eq!(other_statement(at(-near - 1, 3600), false, false), "stored");
    assert!(other_statement(at(near + 1, 3600), false, false).contains("in the future"));
    let week = 7 * 24 * 3600;
    assert_eq!(other_statement(at(-week, week), false, true), "stored");
    assert!(other_statement(at(-week - 1, week), false, true).contains("expired"));
    assert!(other_statement(at(-week, week + 1), false, true).contains("more than 7 days"));
}

/// Defence: a live statement needs a certificate of today; removed, an expired signer vouches.
#[test]
fn an_expired_certificate_counts_for_stored_statements_alone() {
    let right = manifest(83, 0);
    let old = member(2, "peer", 2026);
    let mut case = Case::new(offers(83, 0), vec![says(&peer(1), &right), says(&old, &right)]);
    assert!(case.decide().is_ok());
    let later = old.identity.not_after() + Duration::from_secs(60);
    let fresh = |by: &LocalIdentity| {
        says_so(by, &right, |body| {
            body.issued_at = super::super::judging::seconds(later);
            body.expires_at = body.issued_at + 60;
        })
    };
    (case.now, case.statements.heard) = (later, vec![fresh(&peer(1)), fresh(&old)]);
    assert!(case.refusal().contains("it has expired"), "{}", case.refusal());
    case.nonce = None;
    assert!(case.decide().is_ok());
}

#[test]
fn detached_signatures_alone_lead_to_staged_mode() {
    let right = manifest(83, 0);
    let mut case = Case::new(offers(83, 0), Vec::new());
    case.statements.detached = vec![detached(&peer(1), &right, COMMIT), detached(&peer(2), &right, COMMIT)];
    let agreed = case.decide().unwrap();
    assert_eq!((agreed.mode(), agreed.commit_hash(), agreed.sources().len()), (Mode::Staged, COMMIT, 3));
    assert!(agreed.vouchers().iter().all(|by| by.how == How::Detached && by.detached().is_some()));
    // They vote for a commit hash as well.
    case.statements.detached[1] = detached(&peer(2), &right, None);
    assert!(matches!(case.decide(), Err(AgreementError::NotReached { .. })));
    case.statements.detached[1] = detached(&peer(2), &right, Some(BlockHash([77; 32])));
    assert!(case.refusal().contains("fits no commit hash"), "{}", case.refusal());
    case.statements.detached[1] = detached(&peer(2), &manifest(83, 5), COMMIT);
    assert!(matches!(case.decide(), Err(AgreementError::NotReached { .. })));
    // Below the floor they count for nothing, even where an older snapshot may be taken.
    case.statements.detached[1] = detached(&peer(2), &right, COMMIT);
    (case.floor, case.allow_older) = (BlockNumber(84), true);
    assert!(case.refusal().contains("below the floor"), "{}", case.refusal());
}

#[test]
fn a_detached_signature_helps_an_attestation_to_staged_mode_and_two_attestations_stream() {
    let right = manifest(83, 0);
    let mut case = Case::new(offers(83, 0), vec![says(&peer(1), &right)]);
    case.statements.detached = vec![detached(&peer(2), &right, COMMIT)];
    let agreed = case.decide().unwrap();
    assert_eq!((agreed.mode(), names(&agreed)), (Mode::Staged, vec!["Org1MSP", "Org2MSP"]));
    case.statements.heard.push(says(&peer(2), &right));
    let agreed = case.decide().unwrap();
    assert_eq!((agreed.mode(), agreed.vouchers().len()), (Mode::Streaming, 2));
    assert!(agreed.vouchers()[1].attestation().is_some());
    // Who says one thing in one way and another in the other says nothing.
    case.statements.heard[1] = says_so(&peer(2), &right, |body| body.commit_hash = None);
    assert!(case.refusal().contains("its signer contradicts itself"), "{}", case.refusal());
}

#[test]
fn staged_mode_takes_the_manifest_that_most_offer_and_names_whose_it_is() {
    let (right, wrong) = (manifest(83, 0), other_roots(83, 0));
    let mut case = Case::new(Vec::new(), Vec::new());
    case.statements.detached = vec![detached(&peer(1), &right, COMMIT), detached(&peer(2), &right, COMMIT)];
    case.offers = vec![offer(1, &wrong, COMMIT), offer(2, &right, COMMIT), offer(3, &right, COMMIT)];
    let agreed = case.decide().unwrap();
    assert_eq!((agreed.manifest_hash(), agreed.mode()), (right.hash(), Mode::Staged));
    let mut another = offer(1, &wrong, COMMIT);
    another.source = "peer1.org1:7061".to_owned();
    case.offers.push(another);
    assert_eq!(case.decide().unwrap().manifest_hash(), right.hash(), "organisations count, not peers");
    // Without those whose manifest turned out wrong, the others' is taken.
    case.offers.retain(|offer| offer.msp_id == org(1));
    let agreed = case.decide().unwrap();
    assert_eq!(agreed.manifest_hash(), wrong.hash());
    assert!(agreed.sources().iter().all(|source| source.contains("org1")), "{:?}", agreed.sources());
    // A manifest whose metadata nobody has at hand is asked for first.
    case.offers.iter_mut().for_each(|offer| offer.manifest = None);
    assert!(matches!(case.decide(), Err(AgreementError::ManifestMissing { .. })));
}

#[test]
fn a_liars_manifest_beside_detached_signatures_is_no_split() {
    // Org1 signed out of band; of the others, one attests a wrong manifest. The snapshot itself isn't in doubt.
    let (right, wrong) = (manifest(83, 0), other_roots(83, 0));
    let all = [offer(2, &right, COMMIT), offer(3, &wrong, COMMIT)];
    let mut case = Case::new(all.to_vec(), vec![says(&peer(2), &right), says(&peer(3), &wrong)]);
    case.statements.detached = vec![detached(&peer(1), &right, COMMIT)];
    let agreed = case.decide().unwrap();
    assert_eq!((agreed.mode(), agreed.manifest().signable().hash()), (Mode::Staged, right.signable().hash()));
}

#[test]
fn the_own_organisation_counts_only_if_told_to() {
    let right = manifest(83, 0);
    let mut case = Case::new(offers(83, 0), vec![says(&peer(1), &right), says(&peer(2), &right)]);
    case.own_msp = org(2);
    assert!(case.refusal().contains("trust.countSelf"), "{}", case.refusal());
    case.settings.count_self = Some(true);
    let agreed = case.decide().unwrap();
    // In a channel of two, half of it is ourselves: there it counts unless told not to.
    case.settings.count_self = None;
    case.config = network().without(&org(3));
    assert!(case.decide().is_ok());
    case.settings.count_self = Some(false);
    assert!(case.decide().is_err());
    assert!(case.judged(|judging| agreed.confirm(judging, None)).is_err());
    (case.settings.count_self, case.settings.policy) =
        (None, Some("OutOf(2, 'Org1MSP.peer', 'Org2MSP.peer')".to_owned()));
    assert!(case.decide().is_err(), "an explicit rule doesn't count ourselves by itself");
}

/// L11: the agreement.
#[test]
fn who_contradicts_itself_is_excluded_for_that_block_with_proof() {
    let (right, lie, older) = (manifest(132, 0), manifest(132, 9), manifest(83, 0));
    let mut said = vec![says(&peer(1), &right), says(&peer(2), &right), says(&peer(2), &lie)];
    let all = [offers(132, 0), offers(83, 0)].concat();
    let case = |said: &[Heard]| Case::new(all.clone(), said.to_vec());
    let text = case(&said).refusal();
    assert!(text.contains("Org2MSP said two things about mychannel/132"), "{text}");
    assert!(text.contains("Org2MSP contradicts itself about this block"), "{text}");
    // At another block it counts.
    said.extend([says(&peer(1), &older), says(&peer(2), &older)]);
    assert_eq!(case(&said).decide().unwrap().id().block_number, BlockNumber(83));
    // It can't stop the others.
    said.push(says(&peer(3), &right));
    let agreed = case(&said).decide().unwrap();
    assert_eq!((agreed.id().block_number, names(&agreed)), (BlockNumber(132), vec!["Org1MSP", "Org3MSP"]));
    assert_eq!(agreed.tally().equivocations.len(), 1);
    // An old statement is as good a proof as a live one; made-up ones in somebody's name are none.
    said[2] = says_so(&peer(2), &lie, |body| (body.issued_at, body.expires_at) = (1, 2));
    assert_eq!(case(&said).decide().unwrap().tally().equivocations.len(), 1);
    said[2] = says(&stranger(2), &lie);
    assert_eq!(names(&case(&said).decide().unwrap()).len(), 3);
    said[2] = says(&member(2, "client", 2030), &lie);
    assert_eq!(names(&case(&said).decide().unwrap()).len(), 3);
}

#[test]
fn two_peers_of_one_organisation_may_differ_only_by_their_state_database() {
    let (right, lie, couch) = (manifest(83, 0), manifest(83, 9), manifest_of(83, 0, StateDbType::CouchDb));
    let second = member(2, "peer", 2030);
    let case = |other: &Manifest, offered: bool| {
        let mut all = vec![offer(1, &right, COMMIT), offer(2, &right, COMMIT)];
        if offered {
            all.push(offer(2, other, COMMIT));
        }
        Case::new(all, vec![says(&peer(1), &right), says(&peer(2), &right), says(&second, other)])
    };
    assert_eq!(names(&case(&couch, true).decide().unwrap()), ["Org1MSP", "Org2MSP"]);
    let text = case(&lie, true).refusal();
    assert!(text.contains("Org2MSP said two things"), "{text}");
    // While nobody knows which it is, the organisation doesn't count; the manifest that would tell is asked for if it is to be had.
    let text = case(&couch, false).refusal();
    assert!(text.contains("whose manifest nobody gave"), "{text}");
    let mut unknown = case(&couch, true);
    unknown.offers[2].manifest = None;
    let error = unknown.decide().unwrap_err();
    assert!(matches!(&error, AgreementError::ManifestMissing { manifest_hash, .. } if *manifest_hash == couch.hash()));
    // Not if the others do without it.
    unknown.statements.heard.push(says(&peer(3), &right));
    assert_eq!(names(&unknown.decide().unwrap()), ["Org1MSP", "Org3MSP"]);
}

#[test]
fn a_mere_difference_of_state_database_is_named() {
    let (level, couch) = (manifest(83, 0), manifest_of(83, 0, StateDbType::CouchDb));
    let all = [offer(1, &level, COMMIT), offer(2, &couch, COMMIT)];
    let text = Case::new(all.to_vec(), vec![says(&peer(1), &level), says(&peer(2), &couch)]).refusal();
    assert!(text.contains("different state databases, SimpleKeyValueDB and CouchDB"), "{text}");
}

#[test]
fn a_partial_source_serves_and_a_deleted_snapshot_gives_way_to_an_older_one() {
    let (new, old) = (manifest(132, 0), manifest(83, 0));
    let said = [(1, &new), (2, &new), (1, &old), (2, &old)].map(|(by, of)| says(&peer(by), of));
    let mut case = Case::new([offers(132, 0), offers(83, 0)].concat(), said.to_vec());
    case.offers[..3].iter_mut().for_each(|offer| offer.entry.only_metadata_available = true);
    assert_eq!(case.decide().unwrap().id().block_number, BlockNumber(83));
    case.block_number = Some(BlockNumber(132));
    assert!(case.refusal().contains("lacking: a source with the data"), "{}", case.refusal());
    (case.offers[2].entry.only_metadata_available, case.offers[2].entry.partial) = (false, true);
    assert_eq!(case.decide().unwrap().sources().iter().collect::<Vec<_>>(), ["peer0.org3:7061"]);
}

#[test]
fn a_manifest_that_is_not_the_named_one_is_not_used() {
    let right = manifest(83, 0);
    let mut case = Case::new(offers(83, 0), vec![says(&peer(1), &right), says(&peer(2), &right)]);
    case.offers.iter_mut().for_each(|offer| offer.manifest = Some(manifest(83, 5)));
    let error = case.decide().unwrap_err();
    assert!(matches!(&error, AgreementError::ManifestMissing { manifest_hash, .. } if *manifest_hash == right.hash()));
    case.offers[2].manifest = Some(right.clone());
    assert_eq!(case.decide().unwrap().manifest(), &right);
}

/// C8: of another channel.
#[test]
fn other_channels_do_not_count_and_nothing_offered_is_said_so() {
    let right = manifest(83, 0);
    let mut case = Case::new(offers(83, 0), vec![says(&peer(1), &right), says(&peer(2), &right)]);
    case.block_number = Some(BlockNumber(7));
    assert!(case.refusal().contains("at block 7"));
    let other: ChannelId = "ch2".parse().unwrap();
    let result = case.judged(|judging| agree(judging, &other, &case.offers, &case.statements, None));
    assert!(matches!(result, Err(AgreementError::NothingOffered { .. })));
    case.block_number = None;
    case.statements.heard[1] = says_so(&peer(2), &right, |body| body.id.channel = "ch2".parse().unwrap());
    assert!(matches!(case.decide(), Err(AgreementError::NotReached { .. })));
}

/// Defence: those who vouch are judged again before publishing; removed, who was removed or expired meanwhile counts.
/// C4: the quorum is counted anew.
#[test]
fn what_was_agreed_is_judged_again_before_it_is_used() {
    let right = manifest(83, 0);
    let short_lived = member(2, "peer", 2026);
    let mut case = Case::new(offers(83, 0), vec![says(&peer(1), &right), says(&short_lived, &right)]);
    let agreed = case.decide().unwrap();
    case.judged(|judging| agreed.confirm(judging, None)).unwrap();
    // Hours later, at a later floor, the same statements hold: they were fresh when they were needed.
    (case.now, case.floor) = (now() + Duration::from_secs(6 * 3600), BlockNumber(500));
    case.judged(|judging| agreed.confirm(judging, None)).unwrap();
    // The certificate of a live statement must last.
    case.now = short_lived.identity.not_after() + Duration::from_secs(60);
    let error = case.judged(|judging| agreed.confirm(judging, None)).unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
    // A removed organisation's statement counts no more.
    case.now = now();
    let policy = Some("OutOf(2, 'Org1MSP.peer', 'Org2MSP.peer', 'Org3MSP.peer')".to_owned());
    case.settings.policy = policy;
    case.config = network().without(&org(2));
    let error = case.judged(|judging| agreed.confirm(judging, None)).unwrap_err();
    assert!(matches!(&error, AgreementError::NoLongerMet { fallen, .. } if fallen.len() == 1), "{error}");
    assert!(error.to_string().contains("Org2MSP is no application organisation"), "{error}");
}

#[test]
fn confirming_asks_the_manifest_policy_only_of_what_streamed() {
    let right = manifest(83, 0);
    let mut case = Case::new(offers(83, 0), vec![says(&peer(1), &right)]);
    case.statements.detached = vec![detached(&peer(2), &right, COMMIT)];
    let staged = case.decide().unwrap();
    case.judged(|judging| staged.confirm(judging, None)).unwrap();
    case.statements.heard.push(says(&peer(3), &right));
    let streaming = case.decide().unwrap();
    assert_eq!((streaming.mode(), streaming.vouchers().len()), (Mode::Streaming, 3));
    case.settings.policy = Some("OutOf(2, 'Org1MSP.peer', 'Org2MSP.peer', 'Org3MSP.peer')".to_owned());
    case.config = network().without(&org(3));
    case.judged(|judging| staged.confirm(judging, None)).unwrap();
    assert!(case.judged(|judging| streaming.confirm(judging, None)).is_err());
}

/// Every statement that the properties draw from, made once: organisation, peer, block, variant, commit hash, kind.
fn pool() -> &'static [Heard] {
    static POOL: OnceLock<Vec<Heard>> = OnceLock::new();
    POOL.get_or_init(|| {
        let mut pool = Vec::new();
        for number in 1..=3 {
            for by in [peer(number), member(number, "peer", 2030)] {
                for (block, variant, commit) in [(83, 0, COMMIT), (83, 0, None), (83, 1, COMMIT), (132, 0, COMMIT)] {
                    pool.push(says_so(&by, &manifest(block, variant), |body| body.commit_hash = commit));
                }
            }
        }
        pool
    })
}

/// Statements that must never change anything where live ones are required: each is somebody's own, of another time, for somebody
/// else, or of another channel.
fn replays() -> &'static [Heard] {
    static REPLAYS: OnceLock<Vec<Heard>> = OnceLock::new();
    REPLAYS.get_or_init(|| {
        let mut replays = Vec::new();
        for number in 1..=3 {
            let by = peer(number);
            for (block, variant) in [(83, 0), (132, 0)] {
                let of = manifest(block, variant);
                replays.push(says_so(&by, &of, |body| body.request_nonce = b"for another".to_vec()));
                replays.push(says_so(&by, &of, |body| body.request_nonce.clear()));
                replays.push(says_so(&by, &of, |body| body.issued_at -= 24 * 3600));
                replays.push(says_so(&by, &of, |body| body.id.channel = "other".parse().unwrap()));
            }
        }
        replays
    })
}

/// The verdict without what is only told beside it.
fn verdict_of(case: &Case) -> String {
    match case.decide() {
        Ok(agreed) => {
            let by: Vec<_> = agreed.vouchers().iter().map(|by| (&by.msp_id, by.identity_id, by.how)).collect();
            format!("{} {} {:?} {:?}", agreed.id(), agreed.manifest_hash(), agreed.commit_hash(), by)
        }
        Err(error) => format!("{error:?}").chars().take_while(|c| c.is_alphanumeric()).collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Order and repetition of statements and offers never change the verdict nor the report.
    #[test]
    fn arrival_changes_nothing(
        drawn in prop::collection::vec(any::<prop::sample::Index>(), 1..14),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        require_live in any::<bool>(),
    ) {
        // Live and stored statements of the same, too: which of them is kept mustn't depend on who came first.
        let all = [pool(), replays()].concat();
        let heard: Vec<Heard> = drawn.iter().map(|index| all[index.index(all.len())].clone()).collect();
        let all = [offers(83, 0), offers(83, 1), offers(132, 0)].concat();
        let mut case = Case::new(all.clone(), heard.clone());
        case.settings.require_live = require_live;
        let first = format!("{:?}", case.decide());
        case.statements.heard = order.iter().map(|index| heard[index.index(heard.len())].clone()).collect();
        case.statements.heard.extend(heard.iter().rev().cloned());
        case.offers = [all.iter().rev().cloned().collect(), all].concat();
        prop_assert_eq!(first, format!("{:?}", case.decide()));
    }

    /// What was said to others, at other times, or of other channels changes no verdict, and an agreement really has enough live
    /// statements of distinct organisations.
    #[test]
    fn replays_change_nothing(
        drawn in prop::collection::vec(any::<prop::sample::Index>(), 0..7),
        replayed in prop::collection::vec(any::<prop::sample::Index>(), 1..7),
    ) {
        // Only what an honest organisation says, so that no replay proves a contradiction.
        let honest: Vec<&Heard> = pool().iter().filter(|heard| {
            let body = heard.attestation.body();
            body.commit_hash == COMMIT && body.manifest_hash != manifest(83, 1).hash()
        }).collect();
        let heard: Vec<Heard> = drawn.iter().map(|index| honest[index.index(honest.len())].clone()).collect();
        let mut case = Case::new([offers(83, 0), offers(132, 0)].concat(), heard.clone());
        let before = verdict_of(&case);
        if let Ok(agreed) = case.decide() {
            let live: BTreeSet<&MspId> = heard.iter()
                .filter(|heard| heard.attestation.body().manifest_hash == agreed.manifest_hash())
                .map(|heard| heard.attestation.identity().msp_id()).collect();
            prop_assert!(live.len() >= 2 && agreed.vouching_orgs().iter().eq(live.into_iter()));
        }
        for index in &replayed {
            case.statements.heard.insert(0, replays()[index.index(replays().len())].clone());
        }
        prop_assert_eq!(before, verdict_of(&case));
    }

    /// However a signed statement is spelled otherwise, it isn't read, though its signature would be right.
    #[test]
    fn statements_have_one_spelling(at in any::<prop::sample::Index>(), bit in 0_u8..8, field in 1_u8..12) {
        let by = peer(1);
        let right = body(&by, &manifest(83, 0), COMMIT).encode();
        let read = |bytes: Vec<u8>| {
            let signature = by.sign(Purpose::Attest, &[&bytes]).unwrap();
            Attestation::from_wire(bytes.into(), signature.into())
        };
        prop_assert!(read(right.clone()).is_ok());
        let repeated = [&right[..], &[field << 3, 1]].concat();
        prop_assert!(matches!(read(repeated), Err(AttestationError::Body(_))));
        let mut flipped = right.clone();
        let at = at.index(flipped.len());
        flipped[at] ^= 1 << bit;
        if let Ok(other) = read(flipped) {
            prop_assert!(*other.body() != body(&by, &manifest(83, 0), COMMIT));
        }
    }
}

/// Defence: low S or refused; removed, a statement has two spellings.
#[test]
fn the_high_twin_of_a_signature_is_refused() {
    for _ in 0..8 {
        let right = says(&peer(1), &manifest(83, 0)).attestation;
        let twin = high_twin(right.signature());
        let refused = Attestation::from_wire(right.body_bytes().clone(), twin.into());
        assert!(matches!(refused, Err(AttestationError::Signer(_))), "{refused:?}");
    }
}

/// Defence: only statements that count themselves raise a doubt; removed, whoever relays the old word of an honest organisation's other
/// peer, whose manifest nobody offers any more, silences that organisation.
#[test]
fn an_old_word_of_another_peer_does_not_silence_an_honest_organisation() {
    let (level, couch) = (manifest(83, 0), manifest_of(83, 0, StateDbType::CouchDb));
    let mut case = Case::new(offers(83, 0), vec![says(&peer(1), &level), says(&peer(2), &level)]);
    let old = says_so(&member(1, "peer", 2030), &couch, |body| body.request_nonce = b"of another join".to_vec());
    case.statements.heard.push(old);
    assert_eq!(case.decide().unwrap().vouching_orgs().len(), 2);
    // A live one is its own word of now: then it must be known whether both may be true.
    case.statements.heard.push(says(&member(1, "peer", 2030), &couch));
    assert!(case.refusal().contains("another peer of Org1MSP names another snapshot"), "{}", case.refusal());
}

/// Defence: an identity that doesn't speak for its organisation accuses itself alone; removed, every client of an organisation raises
/// the alarm in its name.
#[test]
fn a_client_that_contradicts_itself_accuses_nobody_else() {
    let (truth, lie) = (manifest(83, 0), manifest(83, 9));
    let client = member(1, "client", 2030);
    let mut case = Case::new(offers(83, 0), vec![says(&peer(1), &truth), says(&peer(2), &truth)]);
    case.statements.heard.extend([says(&client, &truth), says(&client, &lie)]);
    let agreed = case.decide().unwrap();
    assert!(agreed.tally().equivocations.is_empty());
    assert!(equivocations(&case.config, &case.offers, &case.statements).is_empty());
    let why: Vec<String> = agreed.tally().dismissed.iter().map(|dismissed| dismissed.why.to_string()).collect();
    assert_eq!(
        why,
        ["its signer contradicts itself about this block", "its signer contradicts itself about this block"]
    );
}
