//! What an MSP must be to be loaded.

use rcgen::{
    CustomExtension, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P384_SHA384,
    date_time_ymd,
};

use super::{forge::*, *};

/// A root that is a CA by a hand-made extension, so that rcgen adds no subject key identifier.
fn root_without_key_id() -> Ca {
    Ca::root_with("root", |params| {
        params.is_ca = IsCa::NoCa;
        let mut constraints = CustomExtension::from_oid_content(&[2, 5, 29, 19], vec![0x30, 3, 1, 1, 0xff]);
        constraints.set_criticality(true);
        params.custom_extensions.push(constraints);
    })
}

#[test]
fn cas_have_a_key_identifier_and_no_name_constraints() {
    let root = root_without_key_id();
    assert!(root.certificate().is_ca);
    assert_eq!(refusal(&msp(&[&root], &[])), OrganisationError::CaWithoutKeyId { kind: "root CA", index: 0 });

    let constraints = NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("example.com".to_owned())],
        excluded_subtrees: Vec::new(),
    };
    let root = Ca::root("root");
    let below = root.below_with("below", |params| params.name_constraints = Some(constraints.clone()));
    let refused = refusal(&msp(&[&root], &[&below]));
    assert_eq!(refused, OrganisationError::NameConstraints { kind: "intermediate CA", index: 0 });
    let root = Ca::root_with("root", |params| params.name_constraints = Some(constraints));
    assert_eq!(refusal(&msp(&[&root], &[])), OrganisationError::NameConstraints { kind: "root CA", index: 0 });
}

#[test]
fn a_ca_that_may_not_sign_certificates_is_no_root_and_issues_nothing() {
    let may_not = |params: &mut rcgen::CertificateParams| params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let root = Ca::root_with("root", may_not);
    assert_eq!(refusal(&msp(&[&root], &[])), OrganisationError::NotSelfSigned { index: 0 });

    let root = Ca::root("root");
    let below = root.below_with("below", may_not);
    let config = channel(&msp(&[&root], &[&below]));
    assert_eq!(reason(&config, &below.member(&["peer"], 1)), InvalidReason::Chains(0));
}

#[test]
fn a_root_is_its_own_issuer() {
    let root = Ca::root("root");
    let below = root.below("below");
    assert_eq!(refusal(&msp(&[&root, &below], &[])), OrganisationError::NotSelfSigned { index: 1 });
    assert_eq!(refusal(&msp(&[], &[&below])), OrganisationError::NoRoot);
}

#[test]
fn intermediates_have_exactly_one_chain() {
    let root = Ca::root("root");
    let invalid = |index, reason| OrganisationError::InvalidCa { kind: "intermediate CA", index, reason };
    let foreign = Ca::root("other").below("foreign");
    let refused = refusal(&msp(&[&root], &[&root.below("below"), &foreign]));
    assert_eq!(refused, invalid(1, InvalidReason::Chains(0)));
    // Its issuer wasn't valid yet when it began.
    let late = Ca::root_with("late", |params| params.not_before = date_time_ymd(2030, 1, 1));
    let refused = refusal(&msp(&[&late], &[&late.below("below")]));
    assert_eq!(refused, invalid(0, InvalidReason::Chains(0)));
    // It ends before it begins.
    let dates = root.below_with("below", |params| {
        params.not_before = date_time_ymd(2030, 1, 1);
        params.not_after = date_time_ymd(2030, 1, 1);
    });
    assert_eq!(refusal(&msp(&[&root], &[&dates])), invalid(0, InvalidReason::Dates));
    // By a renewed root: two chains.
    let key = KeyPair::from_pem(&root.key.serialize_pem()).unwrap();
    let renewed = Ca::root_of_key("root", key, |params| params.serial_number = Some(99.into()));
    let refused = refusal(&msp(&[&root, &renewed], &[&root.below("below")]));
    assert_eq!(refused, invalid(0, InvalidReason::Chains(2)));
    // The renewed root among the intermediates: a chain goes through one key of one name once, so it has none.
    assert_eq!(refusal(&msp(&[&root], &[&renewed])), invalid(0, InvalidReason::Chains(0)));
    // A root among the intermediates is the root, and the same CA twice is once.
    let below = root.below("below");
    let config = channel(&msp(&[&root], &[&root, &below, &below]));
    config.validate_stored(&below.member(&["peer"], 1).identity).unwrap();
}

#[test]
fn hashes_are_those_that_fabric_has() {
    let root = Ca::root("root");
    let with = |family: &str, identifier: &str| {
        let crypto = pb::msp::FabricCryptoConfig {
            signature_hash_family: family.to_owned(),
            identity_identifier_hash_function: identifier.to_owned(),
        };
        pb::msp::FabricMspConfig { crypto_config: Some(crypto), ..msp(&[&root], &[]) }
    };
    for bad in ["SHA256", "sha3", "MD5"] {
        assert_eq!(refusal(&with(bad, "")), OrganisationError::Hash(bad.to_owned()));
    }
    for bad in ["SHA2", "SHA512", "sha256"] {
        assert_eq!(refusal(&with("", bad)), OrganisationError::Hash(bad.to_owned()));
    }
    for good in ["", "SHA256", "SHA384", "SHA3_256", "SHA3_384"] {
        channel(&with("SHA2", good)).validate_stored(&root.member(&["peer"], 1).identity).unwrap();
    }
}

#[test]
fn somebody_is_admin() {
    let root = Ca::root("root");
    let client = root.member(&["client"], 1);
    let off = pb::msp::FabricMspConfig { fabric_node_ous: None, ..msp(&[&root], &[]) };
    assert_eq!(refusal(&off), OrganisationError::NoAdmin);
    let listed = pb::msp::FabricMspConfig { admins: vec![client.pem.clone()], ..off };
    channel(&listed);
    // NodeOUs without an admin's, and NodeOUs that name nobody, which are off.
    let without = pb::msp::FabricNodeOUs { admin_ou_identifier: None, ..node_ous() };
    let without = pb::msp::FabricMspConfig { fabric_node_ous: Some(without), ..msp(&[&root], &[]) };
    assert_eq!(refusal(&without), OrganisationError::NoAdmin);
    let empty = pb::msp::FabricNodeOUs { enable: true, ..Default::default() };
    let empty = pb::msp::FabricMspConfig { fabric_node_ous: Some(empty), ..listed.clone() };
    channel(&empty).validate_stored(&root.member(&[], 2).identity).unwrap();
    let disabled = pb::msp::FabricNodeOUs { enable: false, ..node_ous() };
    let disabled = pb::msp::FabricMspConfig { fabric_node_ous: Some(disabled), ..msp(&[&root], &[]) };
    assert_eq!(refusal(&disabled), OrganisationError::NoAdmin);
}

#[test]
fn listed_admins_are_members_and_clients_or_admins() {
    let root = Ca::root("root");
    let listing = |admin: &Member| pb::msp::FabricMspConfig { admins: vec![admin.pem.clone()], ..msp(&[&root], &[]) };
    channel(&listing(&root.member(&["client"], 1)));
    channel(&listing(&root.member(&["admin"], 1)));
    let invalid = |reason| OrganisationError::Admin { index: 0, reason };
    assert_eq!(refusal(&listing(&root.member(&["peer"], 1))), invalid(InvalidReason::Role));
    assert_eq!(refusal(&listing(&root.member(&[], 1))), invalid(InvalidReason::Role));
    assert_eq!(refusal(&listing(&Ca::root("root").member(&["client"], 1))), invalid(InvalidReason::Chains(0)));
    let off = |admin: &Member| pb::msp::FabricMspConfig { fabric_node_ous: None, ..listing(admin) };
    channel(&off(&root.member(&["peer"], 1)));
    assert_eq!(refusal(&off(&Ca::root("root").member(&[], 1))), invalid(InvalidReason::Chains(0)));
    // An admin whose key we don't take is one whom we'll never meet: no reason to refuse the channel.
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::OrganizationalUnitName, "client");
    let pem = params.signed_by(&key, &root.issuer()).unwrap().pem();
    channel(&pb::msp::FabricMspConfig { admins: vec![pem.into()], ..msp(&[&root], &[]) });
    let garbage = pb::msp::FabricMspConfig { admins: vec![Bytes::from_static(b"x")], ..msp(&[&root], &[]) };
    let source = CertificateError::Pem;
    assert_eq!(refusal(&garbage), OrganisationError::AdminCertificate { index: 0, source });
}

#[test]
fn lists_have_limits() {
    let root = Ca::root("root");
    let (crl, admin) = (crl_pem(&root.crl_der(&[])), root.member(&["admin"], 1).pem);
    let base = msp(&[&root], &[]);
    let crls = |count| pb::msp::FabricMspConfig { revocation_list: vec![crl.clone(); count], ..base.clone() };
    let admins = |count| pb::msp::FabricMspConfig { admins: vec![admin.clone(); count], ..base.clone() };
    let units = |count| pb::msp::FabricMspConfig {
        organizational_unit_identifiers: vec![unit("u", &root.pem); count],
        ..base.clone()
    };
    let roots = |count| pb::msp::FabricMspConfig { root_certs: vec![root.pem.clone(); count], ..base.clone() };
    for allowed in [crls(64), admins(256), units(256), roots(16)] {
        channel(&allowed);
    }
    let too_many = |what, limit| OrganisationError::TooMany { what, limit };
    assert_eq!(refusal(&crls(65)), too_many("revocation lists", 64));
    assert_eq!(refusal(&admins(257)), too_many("admins", 256));
    assert_eq!(refusal(&units(257)), too_many("organizational unit identifiers", 256));
    assert_eq!(refusal(&roots(17)), OrganisationError::TooManyCas(16));
}

#[test]
fn orderer_organisations_are_judged_but_are_no_members_of_the_application() {
    let (peers, orderers) = (Ca::root("peers"), Ca::root("orderers"));
    let of_orderers = pb::msp::FabricMspConfig { name: "OrdererMSP".to_owned(), ..msp(&[&orderers], &[]) };
    let config = channel_of("V3_0", &[&msp(&[&peers], &[])], &[&of_orderers]).unwrap();
    assert!(config.orderer_orgs().keys().eq([&msp_id("OrdererMSP")]) && config.orgs().keys().eq([&msp_id(MSP)]));
    let identity = |member: Member| {
        let SerializedIdentity { id_bytes, .. } = member.identity.serialized().clone();
        Identity::parse(SerializedIdentity { msp_id: msp_id("OrdererMSP"), id_bytes }).unwrap()
    };
    let orderer = identity(orderers.member(&["orderer"], 1));
    let principal = |role| Principal::Role { msp_id: msp_id("OrdererMSP"), role };
    config.satisfies(&orderer, &principal(PrincipalRole::Orderer)).unwrap();
    config.satisfies(&orderer, &principal(PrincipalRole::Member)).unwrap();
    assert!(config.satisfies(&orderer, &principal(PrincipalRole::Peer)).is_err());
    assert!(config.satisfies(&orderer, &role(PrincipalRole::Member)).is_err());
    assert!(matches!(config.validate_stored(&orderer), Err(MspError::NotInChannel { .. })));
    assert!(matches!(config.validate(&orderer, orderer.not_before()), Err(MspError::NotInChannel { .. })));
    assert_eq!(config.role(&orderer), None);
    let stranger = identity(peers.member(&["orderer"], 1));
    assert!(matches!(config.satisfies(&stranger, &principal(PrincipalRole::Member)), Err(MspError::Invalid { .. })));

    // One MSP ID in both: one MSP.
    let both = channel_of("V3_0", &[&msp(&[&peers], &[])], &[&msp(&[&peers], &[])]).unwrap();
    assert_eq!((both.orgs().len(), both.orderer_orgs().len()), (1, 1));
    let differ = channel_of("V3_0", &[&msp(&[&peers], &[])], &[&msp(&[&orderers], &[])]);
    let reason = OrganisationError::Twice(msp_id(MSP));
    assert!(
        matches!(differ, Err(ConfigError::Organisation { group, reason: found }) if group == "Orderer" && found == reason)
    );
    // Without an application nobody is known, whatever the orderers are.
    assert!(matches!(channel_of("V3_0", &[], &[&of_orderers]), Err(ConfigError::NoOrganisation)));
}

#[test]
fn p384_roots_are_their_own_issuers_too() {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let root = Ca::root_of_key("root", key, |_| ());
    channel(&msp(&[&root], &[]));
}
