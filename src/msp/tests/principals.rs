//! Whom a policy asks for.

use super::{forge::*, *};

fn of_unit(unit: &str, certifiers: &[u8]) -> Principal {
    Principal::OrganizationUnit {
        msp_id: msp_id(MSP),
        unit: unit.to_owned(),
        certifiers_identifier: Bytes::copy_from_slice(certifiers),
    }
}

fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    Sha256::digest(parts.concat()).to_vec()
}

fn is(config: &ChannelConfig, member: &Member, principal: &Principal) -> bool {
    match config.satisfies(&member.identity, principal) {
        Ok(()) => true,
        Err(MspError::NotPrincipal { .. }) => false,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_unit_is_certified_by_a_chain() {
    let root = Ca::root("root");
    let (below, beside) = (root.below("below"), root.below("beside"));
    let config = channel(&msp(&[&root], &[&below, &beside]));
    let member = below.member(&["peer", "dev"], 1);
    let chain = sha256(&[&below.der(), &root.der()]);
    assert!(is(&config, &member, &of_unit("dev", &chain)));
    assert!(is(&config, &member, &of_unit("peer", &chain)));
    for (unit, certifiers) in [
        ("ops", &chain),
        ("Dev", &chain),
        ("dev", &Vec::new()),
        ("dev", &sha256(&[&root.der()])),
        ("dev", &sha256(&[&root.der(), &below.der()])),
        ("dev", &sha256(&[&beside.der(), &root.der()])),
    ] {
        assert!(!is(&config, &member, &of_unit(unit, certifiers)), "{unit} {certifiers:?}");
    }
    let elsewhere = Principal::OrganizationUnit {
        msp_id: msp_id("OtherMSP"),
        unit: "dev".to_owned(),
        certifiers_identifier: chain.clone().into(),
    };
    assert!(!is(&config, &member, &elsewhere));
    // With another identifier hash, another identifier.
    let crypto =
        pb::msp::FabricCryptoConfig { identity_identifier_hash_function: "SHA3_256".to_owned(), ..Default::default() };
    let config = channel(&pb::msp::FabricMspConfig { crypto_config: Some(crypto), ..msp(&[&root], &[&below]) });
    assert!(!is(&config, &member, &of_unit("dev", &chain)));
    let sha3 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA3_256, &[below.der(), root.der()].concat());
    assert!(is(&config, &member, &of_unit("dev", sha3.as_ref())));
}

#[test]
fn one_identity_is_asked_for_however_it_is_spelled() {
    let root = Ca::root("root");
    let config = channel(&msp(&[&root], &[]));
    let (member, other) = (root.member(&["peer"], 1), root.member(&["peer"], 2));
    let asked = |msp: &str, id_bytes: &[u8]| {
        let id_bytes = Bytes::copy_from_slice(id_bytes);
        Principal::Identity(SerializedIdentity { msp_id: msp_id(msp), id_bytes }.encode().into())
    };
    assert!(is(&config, &member, &asked(MSP, &member.pem)));
    assert!(!is(&config, &other, &asked(MSP, &member.pem)));
    assert!(!is(&config, &member, &asked("OtherMSP", &member.pem)));
    // Other line breaks, and the issuer's signature with the other S.
    let certificate = member.identity.certificate();
    let spelled = [b"\n", &member.pem[..], b"\n"].concat();
    assert!(is(&config, &member, &asked(MSP, &spelled)));
    let algorithm = der::write(der::SEQUENCE, &certificate.signature_algorithm);
    let bits = der::write(der::BIT_STRING, &[vec![0], negated(&certificate.signature)].concat());
    let twin = der::write(der::SEQUENCE, &[certificate.tbs.clone(), algorithm, bits].concat());
    assert!(is(&config, &member, &asked(MSP, &pem_of("CERTIFICATE", &twin))));
    for garbage in [&b""[..], b"x", b"\xff\xff"] {
        assert!(!is(&config, &member, &asked(MSP, garbage)));
        assert!(!is(&config, &member, &Principal::Identity(Bytes::copy_from_slice(garbage))));
    }
    // Who is asked for by name must be valid all the same.
    let revoking =
        pb::msp::FabricMspConfig { revocation_list: vec![crl_pem(&root.crl_der(&[1]))], ..msp(&[&root], &[]) };
    let refused = channel(&revoking).satisfies(&member.identity, &asked(MSP, &member.pem));
    assert!(matches!(refused, Err(MspError::Invalid { reason: InvalidReason::Revoked, .. })));
}

#[test]
fn all_parts_of_a_combined_one_are_asked_for() {
    let root = Ca::root("root");
    let config = channel(&msp(&[&root], &[]));
    let member = root.member(&["peer", "dev"], 1);
    let (peer, admin) = (role(PrincipalRole::Peer), role(PrincipalRole::Admin));
    let dev = of_unit("dev", &sha256(&[&root.der()]));
    let nominal = Principal::Anonymity { nominal: true };
    let combined = |parts: &[&Principal]| Principal::Combined(parts.iter().map(|part| (*part).clone()).collect());
    assert!(is(&config, &member, &nominal));
    assert!(!is(&config, &member, &Principal::Anonymity { nominal: false }));
    assert!(is(&config, &member, &combined(&[&peer, &dev, &nominal])));
    assert!(is(&config, &member, &combined(&[&combined(&[&peer]), &combined(&[&dev, &peer])])));
    assert!(!is(&config, &member, &combined(&[&peer, &admin])));
    assert!(!is(&config, &member, &combined(&[&combined(&[&admin]), &peer])));
    assert!(!is(&config, &member, &combined(&[])));
    assert!(!is(&config, &member, &combined(&[&peer, &combined(&[])])));
    // Nobody is anybody before being valid.
    let stranger = Ca::root("root").member(&["peer"], 1);
    assert!(matches!(config.satisfies(&stranger.identity, &nominal), Err(MspError::Invalid { .. })));
}

#[test]
fn roles_need_node_ous() {
    let root = Ca::root("root");
    let (admin, member) = (root.member(&[], 1), root.member(&["peer", "admin"], 2));
    let off = pb::msp::FabricMspConfig { fabric_node_ous: None, admins: vec![admin.pem.clone()], ..msp(&[&root], &[]) };
    let config = channel(&off);
    for somebody in [&admin, &member] {
        assert!(is(&config, somebody, &role(PrincipalRole::Member)));
        for (asked, wanted) in [
            (PrincipalRole::Peer, Role::Peer),
            (PrincipalRole::Client, Role::Client),
            (PrincipalRole::Orderer, Role::Orderer),
        ] {
            let refused = config.satisfies(&somebody.identity, &role(asked));
            assert!(matches!(refused, Err(MspError::NoNodeOu { role, .. }) if role == wanted), "{refused:?}");
        }
    }
    assert!(is(&config, &admin, &role(PrincipalRole::Admin)));
    assert!(config.satisfies(&member.identity, &role(PrincipalRole::Admin)).is_err());

    // On, but without a unit for one role.
    let without = pb::msp::FabricNodeOUs { orderer_ou_identifier: None, ..node_ous() };
    let config = channel(&pb::msp::FabricMspConfig { fabric_node_ous: Some(without), ..msp(&[&root], &[]) });
    let peer = root.member(&["peer"], 3);
    assert!(is(&config, &peer, &role(PrincipalRole::Peer)));
    let refused = config.satisfies(&peer.identity, &role(PrincipalRole::Orderer));
    assert!(matches!(refused, Err(MspError::NoNodeOu { role: Role::Orderer, .. })));
    assert_eq!(reason(&config, &root.member(&["orderer"], 4)), InvalidReason::Role);
}

/// Defence: validated first, whatever the role; removed, as in Fabric, a revoked admin that is listed stays admin.
#[test]
fn listed_admins_are_admins_until_they_are_revoked() {
    let root = Ca::root("root");
    let (listed, by_unit, client) =
        (root.member(&["client"], 1), root.member(&["admin"], 2), root.member(&["client"], 3));
    let listing = pb::msp::FabricMspConfig { admins: vec![listed.pem.clone()], ..msp(&[&root], &[]) };
    let config = channel(&listing);
    let admin = role(PrincipalRole::Admin);
    assert!(is(&config, &listed, &admin) && is(&config, &listed, &role(PrincipalRole::Client)));
    assert!(is(&config, &by_unit, &admin) && !is(&config, &client, &admin));

    // Fabric's ADMIN is still satisfied here; ours is not.
    let crl = crl_pem(&root.crl_der(&[1]));
    let revoking = pb::msp::FabricMspConfig { revocation_list: vec![crl], ..listing };
    let config = channel(&revoking);
    let refused = config.satisfies(&listed.identity, &admin);
    assert!(matches!(refused, Err(MspError::Invalid { reason: InvalidReason::Revoked, .. })), "{refused:?}");
    // Without NodeOUs neither loads such an MSP.
    let off = pb::msp::FabricMspConfig { fabric_node_ous: None, ..revoking };
    assert_eq!(refusal(&off), OrganisationError::Admin { index: 0, reason: InvalidReason::Revoked });
}

#[test]
fn a_role_can_be_bound_to_a_ca() {
    let root = Ca::root("root");
    let (clients, peers) = (root.below("clients"), root.below("peers"));
    let bound = |client: &Ca, peer: &Ca| pb::msp::FabricMspConfig {
        fabric_node_ous: Some(pb::msp::FabricNodeOUs {
            client_ou_identifier: Some(unit("client", &client.pem)),
            peer_ou_identifier: Some(unit("peer", &peer.pem)),
            ..node_ous()
        }),
        ..msp(&[&root], &[&clients, &peers])
    };
    let config = channel(&bound(&clients, &peers));
    assert!(is(&config, &peers.member(&["peer"], 1), &role(PrincipalRole::Peer)));
    assert!(is(&config, &clients.member(&["client"], 1), &role(PrincipalRole::Client)));
    assert!(is(&config, &clients.member(&["admin"], 1), &role(PrincipalRole::Admin)));
    assert_eq!(reason(&config, &clients.member(&["peer"], 2)), InvalidReason::UnitCertifiers);
    assert_eq!(reason(&config, &peers.member(&["client"], 2)), InvalidReason::UnitCertifiers);
    // A CA with CAs below it certifies nobody, nor does one that isn't of the MSP; but a root is taken, as Fabric takes it.
    let refused = |peer: &Ca| refusal(&bound(&clients, peer));
    let unusable = OrganisationError::UnitCertifier { unit: "peer".to_owned() };
    assert_eq!(refused(&Ca::root("root")), unusable);
    let lower = peers.below("lower");
    let mut inner = bound(&clients, &peers);
    inner.intermediate_certs.push(lower.pem.clone());
    assert_eq!(refusal(&inner), unusable);
    let config = channel(&bound(&clients, &root));
    assert_eq!(reason(&config, &peers.member(&["peer"], 1)), InvalidReason::UnitCertifiers);
}

#[test]
fn two_roles_of_one_unit_are_both() {
    let root = Ca::root("root");
    let shared = pb::msp::FabricNodeOUs { client_ou_identifier: Some(unit("peer", b"")), ..node_ous() };
    let config = channel(&pb::msp::FabricMspConfig { fabric_node_ous: Some(shared), ..msp(&[&root], &[]) });
    let member = root.member(&["peer"], 1);
    assert!(is(&config, &member, &role(PrincipalRole::Peer)) && is(&config, &member, &role(PrincipalRole::Client)));
    assert_eq!(config.role(&member.identity), None, "neither is the one");
    // Bound to different CAs, the later one counts (client, peer, admin, orderer).
    let (one, other) = (root.below("one"), root.below("other"));
    let bound = pb::msp::FabricNodeOUs {
        client_ou_identifier: Some(unit("peer", &one.pem)),
        peer_ou_identifier: Some(unit("peer", &other.pem)),
        ..node_ous()
    };
    let bound = channel(&pb::msp::FabricMspConfig { fabric_node_ous: Some(bound), ..msp(&[&root], &[&one, &other]) });
    bound.validate_stored(&other.member(&["peer"], 1).identity).unwrap();
    assert_eq!(reason(&bound, &one.member(&["peer"], 1)), InvalidReason::UnitCertifiers);
    assert_eq!(reason(&config, &root.member(&["peer", "peer"], 2)), InvalidReason::Role);
}

#[test]
fn an_msp_can_ask_for_a_unit() {
    let root = Ca::root("root");
    let (one, other) = (root.below("one"), root.below("other"));
    let asking = |units: Vec<pb::msp::FabricOuIdentifier>| pb::msp::FabricMspConfig {
        organizational_unit_identifiers: units,
        ..msp(&[&root], &[&one, &other])
    };
    let config = channel(&asking(vec![unit("dev", &one.pem), unit("ops", &other.pem)]));
    config.validate_stored(&one.member(&["peer", "dev"], 1).identity).unwrap();
    config.validate_stored(&other.member(&["ops", "x", "peer"], 1).identity).unwrap();
    for member in [one.member(&["peer"], 2), one.member(&["peer", "ops"], 3), other.member(&["peer", "dev"], 4)] {
        assert_eq!(reason(&config, &member), InvalidReason::Unit);
    }
    // A unit and no role.
    assert_eq!(reason(&config, &one.member(&["dev"], 5)), InvalidReason::Role);
    // Here a CA must be named.
    assert_eq!(refusal(&asking(vec![unit("dev", b"")])), OrganisationError::UnitCertifier { unit: "dev".to_owned() });
}
