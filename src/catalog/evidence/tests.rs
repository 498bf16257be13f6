use super::*;
use crate::{
    catalog::{
        Heard, Offer, Statements, equivocations,
        fixture::{
            COMMIT, config_block, manifest, manifest_of, member, network, offer, org, peer, says, says_so, stranger,
        },
    },
    msp::LocalIdentity,
    snapshot::{Manifest, StateDbType},
};

fn signed(by: &LocalIdentity, of: &Manifest) -> Attestation {
    says(by, of).attestation
}

fn both(one: &Manifest, other: &Manifest) -> Option<(SignableMetadata, SignableMetadata)> {
    Some((one.signable().clone(), other.signable().clone()))
}

#[test]
fn one_identitys_two_versions_prove_themselves_to_anybody() {
    let (right, lie) = (manifest(83, 0), manifest(83, 9));
    let (one, other) = (signed(&peer(2), &right), signed(&peer(2), &lie));
    let proof = Equivocation::new(one.clone(), other.clone(), None).unwrap();
    let file = proof.encode();
    // Whichever was heard first.
    assert_eq!(Equivocation::new(other, one, None).unwrap().encode(), file);
    let read = Equivocation::decode(&file).unwrap();
    assert_eq!(read.encode(), file);
    assert_eq!((read.msp_id(), read.id()), (&org(2), right.id()));
    assert_eq!(read.verify(None).unwrap(), Membership::NotChecked);
    assert_eq!(read.verify(Some(&network())).unwrap(), Membership::Given);
    let told = read.to_string();
    assert!(told.contains(&right.hash().to_string()) && told.contains(&lie.hash().to_string()), "{told}");
    // With the configuration block it needs nothing else.
    let whole = Equivocation::decode(&read.with_config_block(config_block().into()).encode()).unwrap();
    assert_eq!(whole.verify(None).unwrap(), Membership::Embedded);
    let removed = whole.verify(Some(&network().without(&org(2))));
    assert!(matches!(removed, Err(EvidenceError::Stranger(_))), "{removed:?}");
    let other_block = proof.with_config_block(b"no block".to_vec().into());
    assert!(matches!(other_block.verify(None), Err(EvidenceError::Config(_))));
}

/// Defence: evidence needs two statements that contradict each other; removed, an honest organisation can be accused.
#[test]
fn what_anybody_can_make_up_is_no_proof() {
    let (right, lie) = (manifest(83, 0), manifest(83, 9));
    let made_up = Equivocation::new(signed(&stranger(2), &right), signed(&peer(2), &lie), both(&right, &lie)).unwrap();
    assert!(matches!(made_up.verify(Some(&network())), Err(EvidenceError::Stranger(_))));
    let ch2 = says_so(&peer(2), &right, |body| body.id.channel = "ch2".parse().unwrap()).attestation;
    let also = says_so(&peer(2), &lie, |body| body.id.channel = "ch2".parse().unwrap()).attestation;
    let elsewhere = Equivocation::new(ch2.clone(), also, None).unwrap();
    assert!(matches!(elsewhere.verify(Some(&network())), Err(EvidenceError::OtherChannel { .. })));

    let why = |one: Attestation, other: Attestation, metadata| match Equivocation::new(one, other, metadata) {
        Err(EvidenceError::NoContradiction(why)) => why,
        other => panic!("{other:?}"),
    };
    let (one, second) = (signed(&peer(2), &right), member(2, "peer", 2030));
    assert!(why(one.clone(), signed(&peer(2), &manifest(132, 9)), None).contains("different channels or blocks"));
    assert!(why(one.clone(), ch2, None).contains("different channels or blocks"));
    assert!(why(one.clone(), signed(&peer(1), &lie), None).contains("different organisations"));
    assert!(why(one.clone(), signed(&peer(2), &right), None).contains("say the same"));
    assert!(why(one.clone(), signed(&second, &right), both(&right, &right)).contains("say the same"));
    assert!(why(one.clone(), signed(&second, &lie), None).contains("missing"));
    let couch = manifest_of(83, 9, StateDbType::CouchDb);
    assert!(why(one.clone(), signed(&second, &couch), both(&right, &couch)).contains("different state databases"));
    // Metadata that are not those of the statements could hide that.
    assert!(why(one.clone(), signed(&second, &couch), both(&right, &lie)).contains("not those of the statements"));
    assert!(Equivocation::new(one, signed(&second, &lie), both(&right, &lie)).is_ok());
    // Another commit hash by the same identity is another version, too.
    let none = says_so(&peer(2), &right, |body| body.commit_hash = None).attestation;
    assert!(Equivocation::new(signed(&peer(2), &right), none, None).is_ok());
}

#[test]
fn any_edited_byte_of_a_file_is_noticed_or_changes_nothing() {
    let (right, lie) = (manifest(83, 0), manifest(83, 9));
    let second = member(2, "peer", 2030);
    let proof = Equivocation::new(signed(&peer(2), &right), signed(&second, &lie), both(&right, &lie)).unwrap();
    let file = proof.encode();
    for at in 0..file.len() {
        let mut edited = file.clone();
        edited[at] ^= 1 << (at % 7);
        if let Ok(read) = Equivocation::decode(&edited) {
            assert_eq!(read.encode(), file, "byte {at}");
        }
    }
    let text = String::from_utf8(file.clone()).unwrap();
    let edited = |from: &str, to: &str| {
        let edited = text.replacen(from, to, 1);
        assert_ne!(edited, text);
        Equivocation::decode(edited.as_bytes()).unwrap_err().to_string()
    };
    assert!(edited("\"first\"", "\"more\": 1,\n  \"first\"").contains("unknown field"));
    assert!(edited("\"second\"", "\"first\"").contains("duplicate field"));
    assert!(edited("\"snapferry_evidence\": 1", "\"snapferry_evidence\": 2").contains("version is 2"));
    assert!(edited("\"second_metadata\"", "\"config_block\"").contains("one statement only"));
    let padded = [&file[..], &vec![b' '; EVIDENCE_BYTES_MAX + 1 - file.len()]].concat();
    assert!(matches!(Equivocation::decode(&padded), Err(EvidenceError::File(PortableError::TooLong { .. }))));
    assert!(Equivocation::decode(&padded[..EVIDENCE_BYTES_MAX]).is_ok());
}

#[test]
fn all_contradictions_are_found_whatever_the_order() {
    let (right, lie, third) = (manifest(83, 0), manifest(83, 9), manifest(83, 5));
    let second = member(3, "peer", 2030);
    let heard: Vec<Heard> = vec![
        says(&peer(1), &right),
        says(&peer(1), &manifest(132, 9)),
        says(&peer(2), &right),
        says(&peer(2), &lie),
        says(&peer(2), &third),
        says(&peer(3), &right),
        says(&second, &lie),
        says(&stranger(1), &lie),
    ];
    let offers = [offer(1, &right, COMMIT), offer(2, &lie, COMMIT)];
    let found = |heard: Vec<Heard>, offers: &[Offer]| {
        let proofs = equivocations(&network(), offers, &Statements { heard, ..Statements::default() });
        proofs.iter().map(Equivocation::encode).collect::<Vec<_>>()
    };
    let proofs = found(heard.clone(), &offers);
    let orgs: Vec<MspId> = proofs.iter().map(|file| Equivocation::decode(file).unwrap().msp_id().clone()).collect();
    assert_eq!(orgs, [org(2), org(3)]);
    let turned: Vec<Heard> = heard.iter().rev().chain(&heard).cloned().collect();
    assert_eq!(found(turned, &offers), proofs);
    // Without the metadata, two identities of one organisation can't be told from two kinds of peers.
    assert_eq!(found(heard, &[]).len(), 1);
}

/// Defence: where two identities are involved, both must speak for the organisation; removed, any client of it plus a true statement
/// of its peer "proves" that it contradicts itself.
#[test]
fn a_clients_word_proves_nothing_against_its_organisation() {
    let (truth, lie) = (manifest(83, 0), manifest(83, 9));
    let client = member(1, "client", 2030);
    let forged = Equivocation::new(signed(&peer(1), &truth), signed(&client, &lie), both(&truth, &lie)).unwrap();
    let forged = forged.with_config_block(config_block().into());
    for config in [Some(network()), None] {
        let refused = forged.verify(config.as_ref());
        assert!(matches!(refused, Err(EvidenceError::NotItsVoice { .. })), "{refused:?}");
    }
    assert!(!forged.is_of_organisation(&network()));
    // What it says twice is its own fault, and told so.
    let alone = Equivocation::new(signed(&client, &truth), signed(&client, &lie), None).unwrap();
    alone.verify(Some(&network())).unwrap();
    assert!(!alone.is_of_organisation(&network()));
    let by_peer = Equivocation::new(signed(&peer(1), &truth), signed(&peer(1), &lie), None).unwrap();
    assert!(by_peer.is_of_organisation(&network()));
    assert!(!by_peer.is_of_organisation(&network().without(&org(1))));
    let told = alone.to_string();
    assert!(told.starts_with(&format!("{:?} of Org1MSP said two things", client.identity.subject())), "{told}");
}
