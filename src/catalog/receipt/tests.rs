use std::time::Duration;

use super::{text::ModeText, *};
use crate::{
    catalog::{
        DetachedSignature, Mode,
        fixture::{COMMIT, Case, config_block, manifest, member, network, now, offer, org, peer, says, says_so},
    },
    snapshot::SnapshotMetadata,
};

fn facts() -> ReceiptFacts {
    ReceiptFacts {
        root: RootOfTrust::ConfigBlock,
        config_block: Some(config_block().into()),
        shares: vec![ReceiptShare {
            source: "peer0.org1:7061".to_owned(),
            msp_id: "Org1MSP".to_owned(),
            verified_bytes: 36,
            chunks_rejected: 0,
        }],
        started_at: now() - Duration::from_secs(5),
        finished_at: now() + Duration::from_secs(600),
    }
}

/// Org3 joins what Org1 and Org2 vouch for.
fn case() -> Case {
    let right = manifest(132, 0);
    let offers = [1, 2].map(|number| offer(number, &right, COMMIT)).to_vec();
    Case { own_msp: org(3), ..Case::new(offers, vec![says(&peer(1), &right), says(&peer(2), &right)]) }
}

fn receipt_of(case: &Case, facts: ReceiptFacts) -> Vec<u8> {
    JoinReceipt::sign(&case.decide().unwrap(), &case.config, facts, &peer(3)).unwrap()
}

#[test]
fn a_receipt_is_checked_without_a_network() {
    let file = receipt_of(&case(), facts());
    for config in [None, Some(network())] {
        let receipt = JoinReceipt::verify(&file, config.as_ref()).unwrap();
        assert_eq!(receipt.agreed().id(), manifest(132, 0).id());
        assert_eq!(receipt.agreed().vouching_orgs().iter().collect::<Vec<_>>(), [&org(1), &org(2)]);
        assert_eq!((receipt.joiner().msp_id(), receipt.root_of_trust()), (&org(3), RootOfTrust::ConfigBlock));
        assert_eq!((receipt.shares(), receipt.config().0), (&facts().shares[..], network().sequence()));
        assert!(receipt.policies().0.contains("OutOf(2,"));
        assert_eq!(receipt.times()[2].duration_since(receipt.times()[0]).unwrap(), Duration::from_secs(605));
    }
    // The same configuration in a block that came from elsewhere is the same.
    let elsewhere = std::fs::read(crate::catalog::fixture::fixture("config_block_from_peer.pb")).unwrap();
    JoinReceipt::verify(&file, Some(&ChannelConfig::from_block(&elsewhere).unwrap())).unwrap();
}

#[test]
fn detached_signatures_and_stored_statements_have_receipts_too() {
    let mut case = case();
    let right = manifest(132, 0);
    case.statements.heard.pop();
    let metadata = SnapshotMetadata { signable: right.signable().clone(), commit_hash: COMMIT };
    case.statements.detached.push(DetachedSignature::sign(&metadata, &peer(2)).unwrap());
    let receipt = JoinReceipt::verify(&receipt_of(&case, facts()), None).unwrap();
    assert_eq!((receipt.agreed().mode(), receipt.agreed().vouchers().len()), (Mode::Staged, 2));

    case.settings.require_live = false;
    case.statements.heard.push(says_so(&peer(2), &right, |body| body.request_nonce.clear()));
    assert!(JoinReceipt::verify(&receipt_of(&case, facts()), None).is_ok());
}

#[test]
fn any_edited_byte_is_found() {
    // Without the block, so that the bytes are few.
    let file = receipt_of(&case(), ReceiptFacts { config_block: None, ..facts() });
    let config = network();
    assert!(JoinReceipt::verify(&file, Some(&config)).is_ok());
    for at in 0..file.len() {
        let mut edited = file.clone();
        edited[at] ^= 1 << (at % 7);
        assert!(JoinReceipt::verify(&edited, Some(&config)).is_err(), "byte {at}");
    }
    assert!(JoinReceipt::verify(&[&file[..], b"\n"].concat(), Some(&config)).is_err());
    assert!(JoinReceipt::verify(&file[..file.len() - 1], Some(&config)).is_err());
    let refused = JoinReceipt::verify(&file, None);
    assert!(matches!(refused, Err(ReceiptError::ConfigMissing { .. })), "{refused:?}");
    let other = network().without(&org(3));
    assert!(matches!(JoinReceipt::verify(&file, Some(&other)), Err(ReceiptError::Inconsistent(_))));
}

/// A receipt with something changed by the joiner itself, who signs it again: its word must not be enough.
fn forged(by: &LocalIdentity, change: impl FnOnce(&mut ReceiptBody)) -> String {
    let file = receipt_of(&case(), facts());
    let mut text: ReceiptText = serde_json::from_slice(&file).unwrap();
    change(&mut text.receipt);
    text.signature = Base64(by.sign(Purpose::Receipt, &[&text.receipt.signed_bytes()]).unwrap().into());
    JoinReceipt::verify(&portable::to_json(&text), None).unwrap_err().to_string()
}

#[test]
fn the_joiners_word_is_not_enough() {
    let joiner = peer(3);
    let forged_by_joiner = |change: fn(&mut ReceiptBody)| forged(&joiner, change);
    type Forgery = (fn(&mut ReceiptBody), &'static str);
    let cases: [Forgery; 15] = [
        (|receipt| drop(receipt.vouchers.pop()), "don't meet its policy"),
        (|receipt| receipt.vouchers.swap(0, 1), "another result"),
        (|receipt| receipt.vouchers[0].how = "stored".to_owned(), "another result"),
        (|receipt| receipt.vouchers[0].attestation = None, "a voucher's statement"),
        (|receipt| receipt.mode = ModeText::Staged, "another result"),
        (|receipt| receipt.last_block_commit_hash.clear(), "another result"),
        (|receipt| receipt.snapshot_hash = "00".repeat(32), "another snapshot"),
        (|receipt| receipt.manifest = Base64(manifest(132, 9).encode().into()), "another snapshot"),
        (|receipt| receipt.nonce = Base64(Bytes::from_static(b"another")), "don't meet its policy"),
        (|receipt| receipt.nonce = Base64(Bytes::new()), "nobody was asked"),
        (|receipt| receipt.agreed_at += 301, "don't meet its policy"),
        (|receipt| receipt.started_at = receipt.finished_at, "before it began"),
        (|receipt| receipt.floor = 133, "don't meet its policy"),
        (|receipt| receipt.config.block_sha256 = None, "SHA-256"),
        (
            |receipt| receipt.policy.metadata = "OutOf(3, 'Org1MSP.peer', 'Org2MSP.peer', 'Org3MSP.peer')".to_owned(),
            "don't meet",
        ),
    ];
    for (change, expected) in cases {
        let text = forged_by_joiner(change);
        assert!(text.contains(expected), "expected {expected:?} in {text:?}");
    }
    // Somebody else's signature, or a joiner who is no member.
    assert!(forged(&peer(1), |_| ()).contains("signature"));
    let stranger = crate::catalog::fixture::stranger(3);
    let as_stranger = forged(&stranger, |receipt| {
        receipt.joiner = Base64(stranger.identity.serialized().encode().into());
    });
    assert!(as_stranger.contains("signer"), "{as_stranger}");
    let as_other = forged(&peer(1), |receipt| receipt.joiner = Base64(peer(1).identity.serialized().encode().into()));
    assert!(as_other.contains("another organisation"), "{as_other}");
}

#[test]
fn only_the_joiner_signs_with_the_configuration_that_it_judged_by() {
    let agreed = case().decide().unwrap();
    let config = network();
    let by_other = JoinReceipt::sign(&agreed, &config, facts(), &peer(2));
    assert!(matches!(by_other, Err(ReceiptError::Inconsistent(_))), "{by_other:?}");
    let no_block = ReceiptFacts { config_block: Some(b"no block".to_vec().into()), ..facts() };
    assert!(matches!(JoinReceipt::sign(&agreed, &config, no_block, &peer(3)), Err(ReceiptError::Config(_))));
    // Another peer of the organisation may write it.
    assert!(JoinReceipt::sign(&agreed, &config, facts(), &member(3, "peer", 2030)).is_ok());
    // A clock that was set back makes no receipt that contradicts itself.
    let back = ReceiptFacts { finished_at: now() - Duration::from_secs(3600), ..facts() };
    let file = JoinReceipt::sign(&agreed, &config, back, &peer(3)).unwrap();
    assert!(JoinReceipt::verify(&file, None).is_ok());
}

/// C10: a receipt of an unknown version.
#[test]
fn size_and_version_are_held() {
    let long = vec![b' '; RECEIPT_BYTES_MAX + 1];
    let refused = JoinReceipt::verify(&long, None);
    assert!(matches!(refused, Err(ReceiptError::File(PortableError::TooLong { .. }))), "{refused:?}");
    let shorter = JoinReceipt::verify(&long[..RECEIPT_BYTES_MAX], None);
    assert!(matches!(shorter, Err(ReceiptError::File(PortableError::Json(_)))));
    let file = String::from_utf8(receipt_of(&case(), facts())).unwrap();
    let newer = file.replacen("\"snapferry_receipt\": 1", "\"snapferry_receipt\": 2", 1);
    let refused = JoinReceipt::verify(newer.as_bytes(), None);
    assert!(matches!(refused, Err(ReceiptError::File(PortableError::Version(2)))), "{refused:?}");
}
