//! Revocation lists.

use rcgen::KeyIdMethod;

use super::{forge::*, *};

fn with_crls(base: &pb::msp::FabricMspConfig, crls: &[Bytes]) -> pb::msp::FabricMspConfig {
    pb::msp::FabricMspConfig { revocation_list: crls.to_vec(), ..base.clone() }
}

#[test]
fn a_listed_serial_number_is_revoked_whatever_the_dates_say() {
    let root = Ca::root("root");
    let base = msp(&[&root], &[]);
    // 128 and 0x80 .. need a sign byte in DER; 2^63 is the longest that these are.
    for serial in [1, 127, 128, 255, 256, 1 << 63] {
        let (member, other) = (root.member(&["peer"], serial), root.member(&["peer"], 77));
        let der = root.crl_der(&[5, serial, 6]);
        // The dates of the list are over, and PEM and DER count alike.
        for crl in [crl_pem(&der), Bytes::from(der.clone())] {
            let config = channel(&with_crls(&base, &[crl]));
            assert_eq!(reason(&config, &member), InvalidReason::Revoked, "{serial}");
            config.validate_stored(&other.identity).unwrap();
        }
    }
    let config = channel(&with_crls(&base, &[crl_pem(&root.crl_der(&[]))]));
    config.validate_stored(&root.member(&["peer"], 1).identity).unwrap();
}

#[test]
fn only_the_issuers_own_list_counts() {
    let (old, new) = (Ca::root("root"), Ca::root("root"));
    let base = msp(&[&old, &new], &[]);
    let (of_old, of_new) = (old.member(&["peer"], 7), new.member(&["peer"], 7));
    let config = channel(&with_crls(&base, &[crl_pem(&old.crl_der(&[7]))]));
    assert_eq!(reason(&config, &of_old), InvalidReason::Revoked);
    config.validate_stored(&of_new.identity).unwrap();

    // In the old CA's name and with its key identifier, but by the new one's key: skipped, and a right one behind it counts.
    let key_id = old.params.key_identifier_method.clone();
    let forged = old.crl_of(&[7], &new.key, KeyIdMethod::PreSpecified(old.certificate().subject_key_id.unwrap()));
    assert_ne!(forged, old.crl_of(&[7], &old.key, key_id));
    let forged = crl_pem(&forged);
    let config = channel(&with_crls(&base, std::slice::from_ref(&forged)));
    config.validate_stored(&of_old.identity).unwrap();
    let config = channel(&with_crls(&base, &[forged, crl_pem(&old.crl_der(&[7]))]));
    assert_eq!(reason(&config, &of_old), InvalidReason::Revoked);
}

#[test]
fn a_revoked_ca_refuses_the_msp() {
    let root = Ca::root("root");
    let below = root.below_with("below", |params| params.serial_number = Some(9.into()));
    let base = msp(&[&root], &[&below]);
    let refused = refusal(&with_crls(&base, &[crl_pem(&root.crl_der(&[9]))]));
    let (kind, reason) = ("intermediate CA", InvalidReason::Revoked);
    assert_eq!(refused, OrganisationError::InvalidCa { kind, index: 0, reason });
    // The CA's own list says nothing of itself; it says what it says of its members.
    let config = channel(&with_crls(&base, &[crl_pem(&below.crl_der(&[9]))]));
    assert_eq!(forge::reason(&config, &below.member(&["peer"], 9)), InvalidReason::Revoked);
    config.validate_stored(&below.member(&["peer"], 10).identity).unwrap();
    // The root's list doesn't reach past the CA below it.
    let config = channel(&with_crls(&base, &[crl_pem(&root.crl_der(&[10]))]));
    config.validate_stored(&below.member(&["peer"], 10).identity).unwrap();
}

/// The list without its last element, the extensions.
fn without_extensions(ca: &Ca, crl: &[u8]) -> Vec<u8> {
    ca.resigned(crl, |tbs| {
        let at = extensions_at(tbs);
        tbs[..at].to_vec()
    })
}

fn extensions_at(tbs: &[u8]) -> usize {
    let mut rest = tbs;
    while let Some((element, behind)) = der::read(rest) {
        if element.tag == 0xa0 {
            break;
        }
        rest = behind;
    }
    tbs.len() - rest.len()
}

#[test]
fn a_list_that_does_not_say_whose_it_is_refuses_everybody() {
    let root = Ca::root("root");
    let nameless = without_extensions(&root, &root.crl_der(&[7]));
    let base = msp(&[&root], &[]);
    let config = channel(&with_crls(&base, &[crl_pem(&root.crl_der(&[])), crl_pem(&nameless)]));
    assert_eq!(reason(&config, &root.member(&["peer"], 1)), InvalidReason::RevocationListWithoutKeyId);
    // Where a CA below needs the answer, there is no MSP.
    let refused = refusal(&with_crls(&msp(&[&root], &[&root.below("below")]), &[crl_pem(&nameless)]));
    assert!(matches!(refused, OrganisationError::InvalidCa { reason: InvalidReason::RevocationListWithoutKeyId, .. }));

    // One that names its issuer by name and number only says whose it is; it is just nobody's here.
    let by_number = root.resigned(&root.crl_der(&[1]), |tbs| {
        let at = extensions_at(tbs);
        let identifier = der::write(der::SEQUENCE, &der::write(0x82, &[1]));
        let extension = [vec![0x06, 3, 0x55, 0x1d, 0x23], der::write(der::OCTET_STRING, &identifier)].concat();
        let extensions = der::write(der::SEQUENCE, &der::write(der::SEQUENCE, &extension));
        [&tbs[..at], &der::write(0xa0, &extensions)].concat()
    });
    let config = channel(&with_crls(&base, &[crl_pem(&by_number)]));
    config.validate_stored(&root.member(&["peer"], 1).identity).unwrap();
}

#[test]
fn a_list_that_cannot_be_read_or_checked_refuses_the_msp() {
    let root = Ca::root("root");
    let base = msp(&[&root], &[]);
    let refused = |crl: &[u8]| match refusal(&with_crls(&base, &[Bytes::copy_from_slice(crl)])) {
        OrganisationError::RevocationList { index: 0, source } => source,
        other => panic!("{other:?}"),
    };
    let der = root.crl_der(&[1, 2, 3]);
    for (end, _) in der.iter().enumerate() {
        assert_eq!(refused(&der[..end]), RevocationListError::Der);
    }
    assert_eq!(refused(&[&der[..], &[0]].concat()), RevocationListError::Der);
    assert_eq!(refused(b"-----BEGIN X509 CRL-----\nMAA"), RevocationListError::Pem);
    // An entry that isn't one: a reader that is content with what it understands would drop the whole list.
    let serial = [2, 1, 2];
    let odd = root.resigned(&der, |tbs| {
        let at =
            tbs.windows(4).position(|window| window[..3] == serial && window[3] == 0x18 || window == [2, 1, 2, 0x17]);
        let mut tbs = tbs.to_vec();
        tbs[at.unwrap()] = 4;
        tbs
    });
    assert_eq!(refused(&odd), RevocationListError::Der);
    // Something behind the extensions, so that nobody can say what was understood.
    let longer = root.resigned(&der, |tbs| [tbs, &[5, 0]].concat());
    assert_eq!(refused(&longer), RevocationListError::Der);
    // ecdsa-with-SHA1 (1.2.840.10045.4.1), which Fabric still takes here.
    let sha1 = der::write(der::SEQUENCE, &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1]);
    let (tbs, rest) = der::read(der::only(&der, der::SEQUENCE).unwrap().content).unwrap();
    let (_, signature) = der::read(rest).unwrap();
    let whole = der::write(der::SEQUENCE, &[tbs.raw, &sha1, signature].concat());
    assert_eq!(refused(&whole), RevocationListError::Algorithm);
    // No ASN.1 pair of numbers.
    let (_, rest) = der::read(der::only(&der, der::SEQUENCE).unwrap().content).unwrap();
    let (algorithm, _) = der::read(rest).unwrap();
    let broken = [tbs.raw, algorithm.raw, &der::write(der::BIT_STRING, &[0, 1, 2, 3])].concat();
    assert_eq!(refused(&der::write(der::SEQUENCE, &broken)), RevocationListError::Der);
}

#[test]
fn a_damaged_list_revokes_nobody() {
    let root = Ca::root("root");
    let base = msp(&[&root], &[]);
    let der = root.crl_der(&[1]);
    let (listed, other) = (root.member(&["peer"], 1), root.member(&["peer"], 2));
    let config = |crl: Vec<u8>| channel_of("V3_0", &[&with_crls(&base, &[crl.into()])], &[]);
    let whole = der::only(&der, der::SEQUENCE).unwrap();
    let (tbs, _) = der::expect(whole.content, der::SEQUENCE).unwrap();
    let start = der.len() - whole.content.len() + (tbs.raw.len() - tbs.content.len());
    let mut read = 0;
    for at in 0..tbs.content.len() {
        for bit in 0..8 {
            let mut damaged = der.clone();
            damaged[start + at] ^= 1 << bit;
            let Ok(config) = config(damaged) else { continue };
            read += 1;
            for member in [&listed, &other] {
                match config.validate_stored(&member.identity) {
                    Ok(()) | Err(MspError::Invalid { reason: InvalidReason::RevocationListWithoutKeyId, .. }) => {}
                    other => panic!("byte {at}, bit {bit}: {other:?}"),
                }
            }
        }
    }
    assert!(read > 100, "{read}");
    assert_eq!(reason(&config(der).unwrap(), &listed), InvalidReason::Revoked);
}
