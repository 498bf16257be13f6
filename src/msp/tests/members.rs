//! Who is a member: what Fabric's own verdicts were not recorded for.

use aws_lc_rs::{digest, signature::ECDSA_P256_SHA256_ASN1_SIGNING};
use rcgen::{BasicConstraints, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use super::{forge::*, *};

#[test]
fn a_ca_with_a_ca_below_it_issues_no_identities() {
    let root = Ca::root("root");
    let upper = root.below("upper");
    let lower = upper.below("lower");
    let config = channel(&msp(&[&root], &[&upper, &lower]));
    config.validate_stored(&lower.member(&["peer"], 1).identity).unwrap();
    for inner in [&root, &upper] {
        assert_eq!(reason(&config, &inner.member(&["peer"], 1)), InvalidReason::IssuerIsInner);
    }
    // Without the CAs below, they do.
    let config = channel(&msp(&[&root], &[&upper]));
    config.validate_stored(&upper.member(&["peer"], 1).identity).unwrap();
    let config = channel(&msp(&[&root], &[]));
    config.validate_stored(&root.member(&["peer"], 1).identity).unwrap();
    assert_eq!(reason(&config, &upper.member(&["peer"], 1)), InvalidReason::Chains(0));
}

/// Defence: exactly one chain, as in Fabric; removed, an identity of two issuers passes by the one that suits it.
/// C6: a renewed root.
#[test]
fn a_root_twice_is_one_chain_and_a_renewed_one_is_two() {
    let root = Ca::root("root");
    let member = root.member(&["peer"], 1);
    channel(&msp(&[&root, &root], &[])).validate_stored(&member.identity).unwrap();

    // The same CA with its signature's other spelling is the same CA.
    let certificate = root.certificate();
    let algorithm = der::write(der::SEQUENCE, &certificate.signature_algorithm);
    let bits = der::write(der::BIT_STRING, &[vec![0], negated(&certificate.signature)].concat());
    let twin = der::write(der::SEQUENCE, &[certificate.tbs.clone(), algorithm, bits].concat());
    let mut twins = msp(&[&root], &[]);
    twins.root_certs.push(pem_of("CERTIFICATE", &twin));
    channel(&twins).validate_stored(&member.identity).unwrap();

    // Renewed: one name, one key, two certificates. Nobody can say by which.
    let key = KeyPair::from_pem(&root.key.serialize_pem()).unwrap();
    let renewed = Ca::root_of_key("root", key, |params| params.serial_number = Some(99.into()));
    assert_eq!(reason(&channel(&msp(&[&root, &renewed], &[])), &member), InvalidReason::Chains(2));

    // Rotated: the key is new, both count.
    let rotated = Ca::root("root");
    let config = channel(&msp(&[&root, &rotated], &[]));
    config.validate_stored(&member.identity).unwrap();
    config.validate_stored(&rotated.member(&["peer"], 1).identity).unwrap();
}

#[test]
fn a_path_length_is_kept() {
    let length = |length| IsCa::Ca(BasicConstraints::Constrained(length));
    let root = Ca::root_with("root", |params| params.is_ca = length(0));
    channel(&msp(&[&root], &[])).validate_stored(&root.member(&["peer"], 1).identity).unwrap();
    // The root may have no CA below it; Fabric loads such an MSP (the CA itself has nothing between), but no chain comes of it.
    let below = root.below("below");
    let config = channel(&msp(&[&root], &[&below]));
    assert_eq!(reason(&config, &below.member(&["peer"], 1)), InvalidReason::Chains(0));

    let root = Ca::root_with("root", |params| params.is_ca = length(1));
    let below = root.below("below");
    let third = below.below("third");
    let config = channel(&msp(&[&root], &[&below]));
    config.validate_stored(&below.member(&["peer"], 1).identity).unwrap();
    let config = channel(&msp(&[&root], &[&below, &third]));
    assert_eq!(reason(&config, &third.member(&["peer"], 1)), InvalidReason::Chains(0));
}

#[test]
fn extensions_that_nobody_understands_are_refused() {
    let root = Ca::root("root");
    let config = channel(&msp(&[&root], &[]));
    let member = |oid: &[u64], content: Vec<u8>, critical| {
        root.member_with(&["peer"], |params| {
            let mut extension = CustomExtension::from_oid_content(oid, content);
            extension.set_criticality(critical);
            params.custom_extensions.push(extension);
        })
    };
    let key_id = vec![4, 1, 7];
    config.validate_stored(&member(&[2, 5, 29, 14], key_id.clone(), false).identity).unwrap();
    // Go doesn't even parse a certificate whose key identifier is critical.
    assert_eq!(reason(&config, &member(&[2, 5, 29, 14], key_id, true)), InvalidReason::CriticalExtension);
    config.validate_stored(&member(&[1, 2, 3], vec![5, 0], false).identity).unwrap();
    assert_eq!(reason(&config, &member(&[1, 2, 3], vec![5, 0], true)), InvalidReason::CriticalExtension);
    // Fabric CA writes this one, with the enrolment's attributes.
    config.validate_stored(&member(&[1, 2, 3, 4, 5, 6, 7, 8, 1], b"{}".to_vec(), false).identity).unwrap();
    // A critical alternative name counts if it holds a name of a kind that is understood: here a directory name.
    let directory = vec![0x30, 4, 0xa4, 2, 0x30, 0];
    assert_eq!(reason(&config, &member(&[2, 5, 29, 17], directory.clone(), true)), InvalidReason::CriticalExtension);
    config.validate_stored(&member(&[2, 5, 29, 17], directory, false).identity).unwrap();
    // Two extensions of a kind: no certificate.
    let doubled = {
        let mut params = rcgen::CertificateParams::default();
        let extension = CustomExtension::from_oid_content(&[2, 5, 29, 14], vec![4, 1, 7]);
        params.custom_extensions = vec![extension.clone(), extension];
        params.signed_by(&KeyPair::generate().unwrap(), &root.issuer()).unwrap()
    };
    assert!(certificate::Certificate::from_der(doubled.der().clone()).is_err());
}

#[test]
fn a_ca_for_other_ends_issues_nothing() {
    let root = Ca::root("root");
    let below = |usage| root.below_with("below", |params| params.extended_key_usages = vec![usage]);
    for usage in [ExtendedKeyUsagePurpose::Any, ExtendedKeyUsagePurpose::ServerAuth] {
        let below = below(usage);
        channel(&msp(&[&root], &[&below])).validate_stored(&below.member(&["peer"], 1).identity).unwrap();
    }
    let refused = refusal(&msp(&[&root], &[&below(ExtendedKeyUsagePurpose::ClientAuth)]));
    let reason = InvalidReason::ExtendedKeyUsage;
    assert_eq!(refused, OrganisationError::InvalidCa { kind: "intermediate CA", index: 0, reason });
}

#[test]
fn ed25519_needs_capability_v3() {
    let root = Ca::root("root");
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let member = root.member_of_key(&["peer"], key, |_| ());
    channel(&msp(&[&root], &[])).validate_stored(&member.identity).unwrap();
    for capability in ["V2_0", "V1_4_3"] {
        let config = channel_of(capability, &[&msp(&[&root], &[])], &[]).unwrap();
        assert_eq!(reason(&config, &member), InvalidReason::KeyNeedsV3);
        config.validate_stored(&root.member(&["peer"], 1).identity).unwrap();
    }
}

#[test]
fn ed25519_and_p384_cas_work() {
    for algorithm in [&rcgen::PKCS_ED25519, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ECDSA_P521_SHA512] {
        let root = Ca::root_of_key("root", KeyPair::generate_for(algorithm).unwrap(), |_| ());
        let below = root.below("below");
        let config = channel(&msp(&[&root], &[&below]));
        config.validate_stored(&below.member(&["peer"], 1).identity).unwrap();
    }
}

#[test]
fn signatures_over_sha512_work() {
    let root = Ca::root("root");
    let member = root.member(&["peer"], 1);
    // ecdsa-with-SHA256 is 1.2.840.10045.4.3.2, with SHA-512 the last digit is 4; P-256 takes the hash's first 32 bytes.
    let certificate = member.identity.certificate();
    let sha256 = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    let at = certificate.tbs.windows(sha256.len()).position(|window| window == sha256).unwrap();
    let mut tbs = certificate.tbs.clone();
    tbs[at + 9] = 4;
    let hash = digest::digest(&digest::SHA512, &tbs);
    let hash = digest::Digest::import_less_safe(&hash.as_ref()[..32], &digest::SHA256).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &root.key.serialize_der()).unwrap();
    let signature = [&[0], key.sign_digest(&hash).unwrap().as_ref()].concat();
    let algorithm = der::write(der::SEQUENCE, &[&sha256[..9], &[4]].concat());
    let der = der::write(der::SEQUENCE, &[tbs, algorithm, der::write(der::BIT_STRING, &signature)].concat());
    let config = channel(&msp(&[&root], &[]));
    config.validate_stored(&Member::new(&der, KeyPair::generate().unwrap()).identity).unwrap();
}

#[test]
fn members_of_a_sha3_msp_sign_over_sha3() {
    let root = Ca::root("root");
    let member = root.member(&["peer"], 1);
    let ed25519 = root.member_of_key(&["peer"], KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap(), |_| ());
    let p384 = root.member_of_key(&["peer"], KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(), |_| ());
    let of_family = |family: &str| {
        let crypto = pb::msp::FabricCryptoConfig { signature_hash_family: family.to_owned(), ..Default::default() };
        channel(&pb::msp::FabricMspConfig { crypto_config: Some(crypto), ..msp(&[&root], &[]) })
    };
    let message = b"a message of Fabric's";
    let signed = |member: &Member, hash: &'static digest::Algorithm| {
        let hash = digest::digest(hash, message);
        let (signature, curve) = match Signer::from_pem(member.key.serialize_pem().as_bytes()).unwrap() {
            Signer::P256(key) => {
                let hash = digest::Digest::import_less_safe(hash.as_ref(), &digest::SHA256).unwrap();
                (key.sign_digest(&hash).unwrap(), low_s::Curve::P256)
            }
            Signer::P384(key) => {
                let padded = [&[0; 16], hash.as_ref()].concat();
                let hash = digest::Digest::import_less_safe(&padded, &digest::SHA384).unwrap();
                (key.sign_digest(&hash).unwrap(), low_s::Curve::P384)
            }
            Signer::Ed25519(key) => return key.sign(message).as_ref().to_vec(),
        };
        low_s::lowered(signature.as_ref(), curve).unwrap()
    };
    for member in [&member, &p384] {
        let (sha2, sha3) = (signed(member, &digest::SHA256), signed(member, &digest::SHA3_256));
        for (family, right, wrong) in [("SHA2", &sha2, &sha3), ("", &sha2, &sha3), ("SHA3", &sha3, &sha2)] {
            let config = of_family(family);
            config.validate_stored(&member.identity).unwrap();
            config.verify_signature(&member.identity, message, right).unwrap();
            assert!(config.verify_signature(&member.identity, message, wrong).is_err());
            assert!(config.verify_signature(&member.identity, b"another", right).is_err());
        }
    }
    // High S is refused in either.
    let high = negated(&signed(&member, &digest::SHA3_256));
    assert!(of_family("SHA3").verify_signature(&member.identity, message, &high).is_err());
    // Ed25519 signs the message itself; and our own signatures are SHA-256 everywhere.
    of_family("SHA3").verify_signature(&ed25519.identity, message, &signed(&ed25519, &digest::SHA256)).unwrap();
    let signer = Signer::from_pem(member.key.serialize_pem().as_bytes()).unwrap();
    let ours = signer.sign(Purpose::Attest, &[message]).unwrap();
    member.identity.verify(Purpose::Attest, &[message], &ours).unwrap();
    // Somebody of no organisation of the channel has no family.
    let stranger = network();
    stranger.verify_signature(&member.identity, message, &signed(&member, &digest::SHA256)).unwrap();
}
