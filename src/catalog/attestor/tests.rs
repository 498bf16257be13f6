use super::*;
use crate::{
    catalog::{
        fixture::{network, org},
        test_site::{Site, copy, id, identity, now},
    },
    snapshot::ManifestHash,
};
use std::fs;

const NONCE: &[u8] = b"asked just now";

fn attest(site: &Site, catalog: &Catalog) -> Result<Vec<Attestation>, AttestRefusal> {
    site.attestor().attest(catalog, &id(83), NONCE, &network(), now())
}

#[test]
fn what_was_read_and_hashed_is_signed_live_and_for_the_record() {
    let site = Site::new();
    let catalog = site.catalog();
    let known = catalog.known(&id(83)).unwrap();
    for (nonce, validity) in [(NONCE, LIVE_VALIDITY), (&[][..], STORED_VALIDITY)] {
        let signed = site.attestor().attest(&catalog, &id(83), nonce, &network(), now()).unwrap();
        let body = signed[0].body();
        assert_eq!((signed.len(), &body.id, body.config_sequence), (1, &id(83), network().sequence()));
        assert_eq!((body.manifest_hash, body.snapshot_hash), (known.manifest.hash(), known.manifest.signable().hash()));
        assert_eq!(body.commit_hash, known.commit_hash);
        assert!(body.commit_hash.is_some());
        assert_eq!(body.request_nonce, nonce);
        assert_eq!(body.expires_at - body.issued_at, validity.as_secs());
        assert_eq!(signed[0].identity().id(), identity(1).identity.id());
    }
    assert_eq!(site.statements().own(&id(83)).unwrap().body().request_nonce, [0; 0], "the one without a nonce is kept");
}

#[test]
fn those_of_others_follow_ours() {
    let site = Site::new();
    let catalog = site.catalog();
    let elsewhere = Site::new();
    let org2 = Attestor::new(identity(2), elsewhere.statements(), elsewhere.landed());
    let theirs = org2.attest(&catalog, &id(83), b"", &network(), now()).unwrap();
    let (config, own_msp) = (network(), org(1));
    site.statements().keep_all(&Screening { config: &config, own_msp: &own_msp, now: now() }, &[&theirs[0]]).unwrap();
    let all = attest(&site, &catalog).unwrap();
    let orgs: Vec<&str> = all.iter().map(|one| one.identity().msp_id().as_str()).collect();
    assert_eq!(orgs, ["Org1MSP", "Org2MSP"]);
    // Who was removed since has no word that we give on.
    let later = site.attestor().attest(&catalog, &id(83), NONCE, &config.without(&org(2)), now()).unwrap();
    assert_eq!(later.len(), 1);
}

/// Defence: what is relayed is never our own organisation's; removed, what we said to somebody else comes back by way of a join with
/// this state folder, and who asks next takes it for a lie.
#[test]
fn our_own_statement_is_not_relayed_by_us() {
    let site = Site::new();
    let catalog = site.catalog();
    let earlier = site.attestor().attest(&catalog, &id(83), b"somebody else's nonce", &network(), now()).unwrap();
    let (config, org1, org3) = (network(), org(1), org(3));
    let screening = |own_msp| Screening { config: &config, own_msp, now: now() };
    assert_eq!(site.statements().keep_all(&screening(&org1), &[&earlier[0]]).unwrap(), 0);
    // Nor if it is kept all the same: another organisation's join worked with this folder.
    assert_eq!(site.statements().keep_all(&screening(&org3), &[&earlier[0]]).unwrap(), 1);
    let all = attest(&site, &catalog).unwrap();
    let nonces: Vec<&[u8]> = all.iter().map(|one| one.body().request_nonce.as_slice()).collect();
    assert_eq!(nonces, [NONCE]);
}

/// Fails when `allow` is taken out of `attest`: then both versions would be signed.
/// Defence: the own guard; removed, our key proves us an equivocator once the peer's snapshot changed.
#[test]
fn a_second_version_of_a_block_is_never_signed() {
    let site = Site::new();
    let catalog = site.catalog();
    let first = attest(&site, &catalog).unwrap().remove(0);
    site.change_content(83);
    catalog.scan().unwrap();
    let second = catalog.known(&id(83)).unwrap();
    assert_ne!(second.entry.manifest_hash, first.body().manifest_hash, "the peer shows another, valid one");
    let refused = attest(&site, &catalog).unwrap_err();
    assert!(matches!(refused, AttestRefusal::Statement(StatementError::SignedAnother { .. })), "{refused}");
    // Nor after its data were deleted.
    catalog.delete(&id(83)).unwrap();
    attest(&site, &site.catalog()).unwrap_err();
    // The first one again is what was signed.
    site.add(83, 83);
    assert_eq!(attest(&site, &site.catalog()).unwrap()[0].body().manifest_hash, first.body().manifest_hash);
}

/// Fails when the record isn't asked: an operator who copies a landed folder to the peer's own would make us vouch for what others said.
#[test]
fn what_landed_from_others_is_never_attested() {
    let site = Site::new();
    let catalog = site.catalog();
    let manifest_hash = catalog.known(&id(83)).unwrap().entry.manifest_hash;
    site.landed().record(&id(83), ManifestHash([9; 32])).unwrap();
    attest(&site, &catalog).unwrap();
    site.landed().record(&id(83), manifest_hash).unwrap();
    assert!(matches!(attest(&site, &catalog), Err(AttestRefusal::Landed(_))));
    catalog.delete(&id(83)).unwrap();
    assert!(matches!(attest(&site, &site.catalog()), Err(AttestRefusal::Landed(_))));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test lays out its files")]
fn a_linked_folder_is_no_snapshot_of_our_peer() {
    let site = Site::new();
    copy(&site.folder(83), &site.path("landing"));
    fs::remove_dir_all(site.folder(83)).unwrap();
    std::os::unix::fs::symlink(site.path("landing"), site.folder(83)).unwrap();
    assert!(matches!(attest(&site, &site.catalog()), Err(AttestRefusal::Unknown(_))));
    // A link to a file within is refused by the scan, too.
    fs::remove_file(site.folder(83)).unwrap();
    copy(&site.path("landing"), &site.folder(83));
    fs::remove_file(site.folder(83).join("txids.data")).unwrap();
    std::os::unix::fs::symlink(site.path("landing/txids.data"), site.folder(83).join("txids.data")).unwrap();
    assert!(matches!(attest(&site, &site.catalog()), Err(AttestRefusal::Unknown(_))));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test damages a file")]
fn a_changed_byte_is_not_vouched_for() {
    let site = Site::new();
    let file = site.folder(83).join("txids.data");
    let mut bytes = fs::read(&file).unwrap();
    bytes[0] ^= 1;
    fs::write(file, bytes).unwrap();
    assert!(matches!(attest(&site, &site.catalog()), Err(AttestRefusal::Unknown(_))));
    assert_eq!(site.statements().signed(&id(83)).unwrap(), None, "nothing was remembered either");
}

#[test]
fn a_nonce_has_its_limit() {
    let site = Site::new();
    let catalog = site.catalog();
    let attest = |bytes: usize| site.attestor().attest(&catalog, &id(83), &vec![1; bytes], &network(), now());
    attest(NONCE_BYTES_MAX).unwrap();
    assert!(matches!(attest(NONCE_BYTES_MAX + 1), Err(AttestRefusal::Nonce(65))));
}

/// Defence: the guard remembers the commit hash, too; removed, one changed hex digit in a file that no hash covers makes an honest
/// service sign a proof against itself.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test edits a file that no hash covers")]
fn another_commit_hash_is_never_signed() {
    let site = Site::new();
    let catalog = site.catalog();
    let first = attest(&site, &catalog).unwrap().remove(0);
    let hash = first.body().commit_hash.unwrap().to_string();
    let file = site.folder(83).join("_snapshot_additional_metadata.json");
    let text = fs::read_to_string(&file).unwrap();
    let other = format!("{}{}", if hash.starts_with('0') { "1" } else { "0" }, &hash[1..]);
    for (written, other) in [(text.replace(&hash, &other), other.as_str()), (text.replace(&hash, ""), "no commit hash")]
    {
        fs::write(&file, written).unwrap();
        catalog.scan().unwrap();
        let refused = attest(&site, &catalog).unwrap_err();
        assert!(matches!(refused, AttestRefusal::Statement(StatementError::SignedAnother { .. })), "{refused}");
        assert!(refused.to_string().contains(&hash) && refused.to_string().contains(other), "{refused}");
    }
    fs::write(&file, text).unwrap();
    catalog.scan().unwrap();
    attest(&site, &catalog).unwrap();
}
