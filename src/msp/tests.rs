//! The layer against a real network's configuration and against recorded verdicts of Fabric's own code.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};

use super::{pb::common, *};
use crate::snapshot::BlockNumber;

mod forge;
mod loading;
mod members;
mod pinned;
mod principals;
mod revocation;
mod vectors;

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}

fn bytes(path: &str) -> Vec<u8> {
    fs::read(fixture(path)).unwrap()
}

fn msp_id(name: &str) -> MspId {
    MspId::new(name).unwrap()
}

fn msp_dir(org: u8, who: &str) -> PathBuf {
    fixture(&format!("network/crypto/peerOrganizations/org{org}.example.com/{who}.org{org}.example.com/msp"))
}

fn peer(org: u8) -> LocalIdentity {
    LocalIdentity::load(&msp_id(&format!("Org{org}MSP")), &msp_dir(org, "peers/peer0")).unwrap()
}

fn network() -> ChannelConfig {
    ChannelConfig::from_block(&bytes("network/config_block.pb")).unwrap()
}

/// An instant at which the certificate is valid.
fn valid_at(identity: &Identity) -> SystemTime {
    identity.not_before() + Duration::from_secs(3600)
}

#[test]
fn the_recorded_channel_has_its_organisations() {
    let block = bytes("network/config_block.pb");
    let config = ChannelConfig::from_block(&block).unwrap();
    assert_eq!(config.channel().as_str(), "mychannel");
    let ids: Vec<_> = config.orgs().keys().map(MspId::as_str).collect();
    assert_eq!(ids, ["Org1MSP", "Org2MSP", "Org3MSP"]);
    assert_eq!(config.block_sha256(), Some(Sha256::digest(&block).into()));
    for (id, org) in config.orgs() {
        let name = id.as_str().trim_end_matches("MSP").to_lowercase();
        let root = bytes(&format!(
            "network/crypto/peerOrganizations/{name}.example.com/tlsca/tlsca.{name}.example.com-cert.pem"
        ));
        assert_eq!(org.tls_roots(), [certificate::Certificate::from_first_pem(&root).unwrap().der]);
    }
    // The same configuration, read from a peer, and from the envelope that a peer's state keeps.
    let from_peer = ChannelConfig::from_block(&bytes("network/config_block_from_peer.pb")).unwrap();
    assert_eq!(from_peer.config_envelope_bytes(), config.config_envelope_bytes());
    assert_ne!(from_peer.block_sha256(), config.block_sha256());
    let again =
        ChannelConfig::from_config_envelope(config.channel().clone(), BlockNumber(82), config.config_envelope_bytes());
    let again = again.unwrap();
    assert_eq!((again.sequence(), again.orgs().len()), (config.sequence(), 3));
    assert_eq!(again.block_sha256(), None);
}

#[test]
fn a_damaged_block_is_refused_wherever_the_damage_is() {
    let block = bytes("network/config_block.pb");
    let good = ChannelConfig::from_block(&block).unwrap();
    for at in (0..block.len()).step_by(97) {
        let mut damaged = block.clone();
        damaged[at] ^= 0x10;
        // Metadata behind the data is not read; whatever else was flipped must not change what is believed.
        if let Ok(config) = ChannelConfig::from_block(&damaged) {
            assert_eq!(config.config_envelope_bytes(), good.config_envelope_bytes(), "byte {at}");
        }
    }
    for end in (0..block.len()).step_by(1009) {
        let _ = ChannelConfig::from_block(&block[..end]);
    }
}

/// The recorded block with its configuration changed, and the data hash made right again.
fn altered(change: impl FnOnce(&mut common::ConfigGroup)) -> Result<ChannelConfig, ConfigError> {
    let mut envelope = common::ConfigEnvelope::decode(network().config_envelope_bytes().clone()).unwrap();
    change(envelope.config.as_mut().unwrap().channel_group.as_mut().unwrap());
    ChannelConfig::from_config_envelope("mychannel".parse().unwrap(), BlockNumber(1), &envelope.encode_to_vec())
}

#[test]
fn ordinary_blocks_and_wrong_hashes_are_refused() {
    let mut block = common::Block::decode(&*bytes("network/config_block.pb")).unwrap();
    block.header.as_mut().unwrap().data_hash = Bytes::from_static(&[0; 32]);
    assert!(matches!(ChannelConfig::from_block(&block.encode_to_vec()), Err(ConfigError::DataHash)));

    let mut block = common::Block::decode(&*bytes("network/config_block.pb")).unwrap();
    let data = &mut block.data.as_mut().unwrap().data;
    let mut envelope = common::Envelope::decode(data[0].clone()).unwrap();
    let mut payload = common::Payload::decode(envelope.payload.clone()).unwrap();
    let header = payload.header.as_mut().unwrap();
    let mut channel_header = common::ChannelHeader::decode(header.channel_header.clone()).unwrap();
    channel_header.r#type = 3;
    header.channel_header = channel_header.encode_to_vec().into();
    envelope.payload = payload.encode_to_vec().into();
    data[0] = envelope.encode_to_vec().into();
    block.header.as_mut().unwrap().data_hash = Bytes::copy_from_slice(&Sha256::digest(&data[0]));
    assert!(matches!(ChannelConfig::from_block(&block.encode_to_vec()), Err(ConfigError::NotConfig(3))));

    let huge = vec![0; CONFIG_BYTES_MAX + 1];
    assert!(matches!(ChannelConfig::from_block(&huge), Err(ConfigError::TooLarge { .. })));
}

#[test]
fn one_msp_id_twice_must_be_the_same_msp() {
    let orgs =
        |group: &mut common::ConfigGroup| std::mem::take(&mut group.groups.get_mut("Application").unwrap().groups);
    let put = |group: &mut common::ConfigGroup, orgs| group.groups.get_mut("Application").unwrap().groups = orgs;
    let same = altered(|group| {
        let mut groups = orgs(group);
        let first = groups["Org1MSP"].clone();
        groups.insert("Twin".to_owned(), first);
        put(group, groups);
    });
    assert_eq!(same.unwrap().orgs().len(), 3);
    let other = altered(|group| {
        let mut groups = orgs(group);
        let mut twin = groups["Org1MSP"].clone();
        let value = twin.values.get_mut("MSP").unwrap();
        let mut config = pb::msp::MspConfig::decode(value.value.clone()).unwrap();
        let mut msp = pb::msp::FabricMspConfig::decode(config.config.clone()).unwrap();
        msp.root_certs.push(msp.root_certs[0].clone());
        config.config = msp.encode_to_vec().into();
        value.value = config.encode_to_vec().into();
        groups.insert("Twin".to_owned(), twin);
        put(group, groups);
    });
    let reason = other.unwrap_err();
    assert!(
        matches!(&reason, ConfigError::Organisation { reason: OrganisationError::Twice(id), .. } if id.as_str() == "Org1MSP"),
        "{reason}"
    );
}

#[test]
fn too_many_cas_no_root_and_idemix() {
    fn with_msp(
        change: impl Fn(&mut pb::msp::MspConfig, &mut pb::msp::FabricMspConfig),
    ) -> Result<ChannelConfig, ConfigError> {
        altered(|group| {
            let groups = &mut group.groups.get_mut("Application").unwrap().groups;
            let value = groups.get_mut("Org1MSP").unwrap().values.get_mut("MSP").unwrap();
            let mut config = pb::msp::MspConfig::decode(value.value.clone()).unwrap();
            let mut msp = pb::msp::FabricMspConfig::decode(config.config.clone()).unwrap();
            change(&mut config, &mut msp);
            config.config = msp.encode_to_vec().into();
            value.value = config.encode_to_vec().into();
        })
    }
    let many = with_msp(|_, msp| msp.tls_root_certs = vec![msp.tls_root_certs[0].clone(); 17]);
    assert!(matches!(many, Err(ConfigError::Organisation { reason: OrganisationError::TooManyCas(16), .. })));
    assert!(with_msp(|_, msp| msp.tls_root_certs = vec![msp.tls_root_certs[0].clone(); 16]).is_ok());
    let none = with_msp(|_, msp| msp.root_certs.clear());
    assert!(matches!(none, Err(ConfigError::Organisation { reason: OrganisationError::NoRoot, .. })));
    let idemix = with_msp(|config, _| config.r#type = 1).unwrap();
    assert!(!idemix.orgs().contains_key(&msp_id("Org1MSP")));
    let leaf = peer(1).identity.serialized().id_bytes.clone();
    let no_ca = with_msp(move |_, msp| msp.tls_root_certs.push(leaf.clone()));
    assert!(matches!(no_ca, Err(ConfigError::Organisation { reason: OrganisationError::NotACa { index: 1, .. }, .. })));
    let old = altered(|group| drop(group.values.remove("Capabilities")));
    assert!(matches!(old, Err(ConfigError::Capabilities)));
}

#[test]
fn a_thousand_organisations_are_read_and_sixty_four_anchor_peers_of_each() {
    let with_groups = |count: usize| {
        altered(|group| {
            let groups = &mut group.groups.get_mut("Application").unwrap().groups;
            let first = groups["Org1MSP"].clone();
            // The same organisation under other names is one.
            (groups.len()..count).for_each(|number| drop(groups.insert(format!("Twin{number}"), first.clone())));
        })
    };
    assert_eq!(with_groups(1000).unwrap().orgs().len(), 3);
    assert!(matches!(with_groups(1001), Err(ConfigError::TooManyOrganisations(1000))));

    let kept = |count: i32| {
        let config = altered(|group| {
            let org = group.groups.get_mut("Application").unwrap().groups.get_mut("Org1MSP").unwrap();
            let peer = |port| common::AnchorPeer { host: "peer".to_owned(), port };
            let peers = common::AnchorPeers { anchor_peers: (1..=count).map(peer).collect() };
            let value = common::ConfigValue { value: peers.encode_to_vec().into(), ..Default::default() };
            org.values.insert("AnchorPeers".to_owned(), value);
        });
        config.unwrap().orgs()[&msp_id("Org1MSP")].anchor_peers().len()
    };
    assert_eq!([63, 64, 65, 1000].map(kept), [63, 64, 64, 64]);
}

#[test]
fn local_identities_are_members_with_their_role() {
    let config = network();
    for org in 1..=3 {
        for (who, role) in [("peers/peer0", Role::Peer), ("users/Admin@", Role::Admin)] {
            let who = who.trim_end_matches('@');
            let dir = if role == Role::Peer {
                msp_dir(org, who)
            } else {
                fixture(&format!(
                    "network/crypto/peerOrganizations/org{org}.example.com/users/Admin@org{org}.example.com/msp"
                ))
            };
            let local = LocalIdentity::load(&msp_id(&format!("Org{org}MSP")), &dir).unwrap();
            config.validate(&local.identity, valid_at(&local.identity)).unwrap();
            assert_eq!(config.role(&local.identity), Some(role));
            assert_eq!(local.identity.role(), Some(role));
        }
    }
}

#[test]
fn only_the_organisations_own_roots_count_and_only_while_valid() {
    let config = network();
    let local = peer(1);
    let now = valid_at(&local.identity);
    let claim = |name| {
        let id_bytes = local.identity.serialized().id_bytes.clone();
        Identity::parse(SerializedIdentity { msp_id: msp_id(name), id_bytes }).unwrap()
    };
    let reason = |identity: &Identity, now| match config.validate(identity, now) {
        Err(MspError::Invalid { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(&claim("Org2MSP"), now), InvalidReason::Chains(0));
    assert!(matches!(config.validate(&claim("OrdererMSP"), now), Err(MspError::NotInChannel { .. })));
    let identity = &local.identity;
    let skew = Duration::from_secs(300);
    let second = Duration::from_secs(1);
    config.validate(identity, identity.not_before() - skew).unwrap();
    assert_eq!(reason(identity, identity.not_before() - skew - second), InvalidReason::NotYetValid);
    config.validate(identity, identity.not_after()).unwrap();
    assert_eq!(reason(identity, identity.not_after() + second), InvalidReason::Expired);
}

/// C8: the tag of what it is for.
#[test]
fn a_signature_is_for_one_purpose_one_message_and_one_signer() {
    let (ours, other) = (peer(1), peer(2));
    for round in 0..16u8 {
        // ECDSA is random: half of these had a high S before it was lowered.
        let parts: [&[u8]; 2] = [&[round], b"message"];
        let mut signature = ours.sign(Purpose::SessionAuth, &parts).unwrap();
        ours.identity.verify(Purpose::SessionAuth, &parts, &signature).unwrap();
        ours.identity.verify(Purpose::Attest, &parts, &signature).unwrap_err();
        ours.identity.verify(Purpose::SessionAuth, &[b"message"], &signature).unwrap_err();
        other.identity.verify(Purpose::SessionAuth, &parts, &signature).unwrap_err();
        *signature.last_mut().unwrap() ^= 1;
        ours.identity.verify(Purpose::SessionAuth, &parts, &signature).unwrap_err();
    }
}

#[test]
fn p384_signs_over_sha256_and_ed25519_over_the_message() {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).unwrap();
    let signer = Signer::P384(Box::new(key));
    for round in 0..16u8 {
        let signature = signer.sign(Purpose::Attest, &[&[round]]).unwrap();
        let message = Purpose::Attest.message(&[&[round]]);
        assert!(signature::KeyKind::P384.verify(signer.public_key(), &message, &signature));
    }
    let document = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let signer = Signer::Ed25519(Box::new(Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap()));
    let signature = signer.sign(Purpose::Attest, &[b"x"]).unwrap();
    let message = Purpose::Attest.message(&[b"x"]);
    assert!(signature::KeyKind::Ed25519.verify(signer.public_key(), &message, &signature));
    assert_eq!(format!("{signer:?}"), "Signer(Ed25519, secret)");
}

#[test]
fn a_certificates_twin_is_the_same_identity() {
    let identity = peer(1).identity;
    let certificate = identity.certificate();
    let der = certificate.der.to_vec();
    let (low, id) = (certificate.sanitized().unwrap(), identity.id());
    // The other spelling of the issuer's signature: s becomes n - s. Lowering either gives the low one.
    let twin_signature = negated(&certificate.signature);
    let algorithm = der::write(der::SEQUENCE, &certificate.signature_algorithm);
    let bits = der::write(der::BIT_STRING, &[vec![0], twin_signature].concat());
    let twin = der::write(der::SEQUENCE, &[certificate.tbs.clone(), algorithm, bits].concat());
    assert_ne!(twin, der);
    let twin = certificate::Certificate::from_der(twin.into()).unwrap();
    assert_eq!(twin.sanitized().unwrap(), low);
    assert_eq!(id.0, <[u8; 32]>::from(Sha256::digest(&low)));
}

/// (r, n - s) over P-256, by arithmetic of its own.
fn negated(signature: &[u8]) -> Vec<u8> {
    let order = hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").unwrap();
    let pair = der::only(signature, der::SEQUENCE).unwrap();
    let (r, rest) = der::expect(pair.content, der::INTEGER).unwrap();
    let s = der::only(rest, der::INTEGER).unwrap().positive().unwrap();
    let s = [vec![0; 32 - s.len()], s.to_vec()].concat();
    let mut difference = vec![0u8; 32];
    let mut borrow = 0i32;
    for at in (0..32).rev() {
        let digit = i32::from(order[at]) - i32::from(s[at]) - borrow;
        borrow = i32::from(digit < 0);
        difference[at] = (digit + 256 * borrow) as u8;
    }
    der::write(der::SEQUENCE, &[r.raw.to_vec(), der::write_positive(&difference)].concat())
}

#[test]
fn certificates_are_spelled_one_way() {
    let identity = peer(1).identity;
    let pem = identity.serialized().id_bytes.clone();
    let parse = |id_bytes: Vec<u8>| {
        Identity::parse(SerializedIdentity { msp_id: msp_id("Org1MSP"), id_bytes: id_bytes.into() })
    };
    assert!(parse(pem.to_vec()).is_ok());
    assert!(parse([&pem[..], &pem[..]].concat()).is_err());
    assert!(parse([&pem[..], b"x"].concat()).is_err());
    assert!(parse(vec![b'\n'; SerializedIdentity::BYTES_MAX + 1]).is_err());
    let der = identity.certificate().der.to_vec();
    for bad in [[&der[..], &[0]].concat(), der[..der.len() - 1].to_vec(), Vec::new()] {
        assert!(certificate::Certificate::from_der(bad.into()).is_err());
    }
    // Whatever is flipped: no panic.
    for at in 0..der.len() {
        let mut flipped = der.clone();
        flipped[at] ^= 1 << (at % 8);
        if let Ok(certificate) = certificate::Certificate::from_der(flipped.into()) {
            let _ = certificate.sanitized();
        }
    }
}

#[test]
fn a_serialized_identity_survives_its_encoding() {
    let serialized = peer(1).identity.serialized().clone();
    assert_eq!(SerializedIdentity::decode(&serialized.encode()).unwrap(), serialized);
    assert!(MspId::new(&"m".repeat(256)).is_some() && MspId::new(&"m".repeat(257)).is_none());
    for bad in [&b""[..], b"\x0a\x01\n", b"\xff", &[0; SerializedIdentity::BYTES_MAX + 1]] {
        assert!(SerializedIdentity::decode(bad).is_err());
    }
}

#[test]
fn a_key_of_somebody_else_is_noticed_at_load() {
    let folder = tempfile::tempdir().unwrap();
    for (name, from) in [("signcerts", 1), ("keystore", 2)] {
        let source = msp_dir(from, "peers/peer0").join(name);
        #[allow(clippy::disallowed_methods, reason = "test code")]
        fs::create_dir(folder.path().join(name)).unwrap();
        for entry in fs::read_dir(source).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.path().join(name).join(entry.file_name())).unwrap();
        }
    }
    let refused = LocalIdentity::load(&msp_id("Org1MSP"), folder.path());
    assert!(matches!(refused, Err(MspError::KeyMismatch { .. })), "{refused:?}");
    let tls = |org| msp_dir(org, "peers/peer0").parent().unwrap().join("tls");
    TlsPair::load(&tls(1).join("server.crt"), &tls(1).join("server.key")).unwrap();
    let refused = TlsPair::load(&tls(1).join("server.crt"), &tls(2).join("server.key"));
    assert!(matches!(refused, Err(MspError::KeyMismatch { .. })), "{refused:?}");
    let missing = LocalIdentity::load(&msp_id("Org1MSP"), &tls(1));
    assert!(matches!(missing, Err(MspError::Read { .. })), "{missing:?}");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "test code")]
fn sixty_four_keys_are_tried_and_files_of_64_kib_are_read() {
    let only = |kind: &str| {
        let folder = msp_dir(1, "peers/peer0").join(kind);
        fs::read(fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()).unwrap()
    };
    let (certificate, key) = (only("signcerts"), only("keystore"));
    let load = |certificate: &[u8], keys_before: usize| {
        let folder = tempfile::tempdir().unwrap();
        for name in ["signcerts", "keystore"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("signcerts/cert.pem"), certificate).unwrap();
        for number in 0..keys_before {
            fs::write(folder.path().join(format!("keystore/{number:03}")), "no key").unwrap();
        }
        fs::write(folder.path().join("keystore/999"), &key).unwrap();
        LocalIdentity::load(&msp_id("Org1MSP"), folder.path())
    };
    assert!(load(&certificate, 63).is_ok());
    assert!(matches!(load(&certificate, 64), Err(MspError::KeyMismatch { .. })));

    let padded = |len: usize| [&certificate[..], &vec![b'\n'; len - certificate.len()]].concat();
    assert!(load(&padded(64 << 10), 0).is_ok());
    let refused = load(&padded((64 << 10) + 1), 0);
    assert!(matches!(&refused, Err(MspError::FileTooLarge { limit: 65_536, .. })), "{refused:?}");
}

#[test]
fn secrets_are_never_printed() {
    let key =
        bytes("network/crypto/peerOrganizations/org1.example.com/peers/peer0.org1.example.com/msp/keystore/priv_sk");
    let inner: String = String::from_utf8(key).unwrap().lines().filter(|line| !line.starts_with('-')).collect();
    let printed = format!("{:?}", peer(1));
    assert!(printed.contains("secret"), "{printed}");
    assert!(!printed.contains(&inner[..16]) && !printed.contains("priv"), "{printed}");
}
