//! For tests: channels whose organisations have as many identities as a test likes, and blocks that they sign.

use std::collections::HashMap;

use aws_lc_rs::rand::SystemRandom;
use bytes::Bytes;
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd};
use sha2::{Digest, Sha256};

use super::{
    ChannelConfig, ConfigError, Identity, MspId, PrincipalRole, SerializedIdentity, Signer, der,
    low_s::{self, Curve},
    pb::{common, msp, policies as pb},
};
use crate::snapshot::BlockNumber;

pub(super) const CHANNEL: &str = "testchannel";

/// An organisation with a CA.
pub(super) struct TestOrg {
    pub(super) msp_id: MspId,
    ca_pem: String,
    issuer: Issuer<'static, KeyPair>,
    pub(super) node_ous: bool,
}

/// Somebody of an organisation, who can sign.
pub(super) struct Somebody {
    pub(super) identity: Identity,
    key: Signer,
}

impl TestOrg {
    pub(super) fn new(msp_id: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("ca.{msp_id}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2090, 1, 1));
        let ca_pem = params.self_signed(&key).unwrap().pem();
        Self { msp_id: MspId::new(msp_id).unwrap(), ca_pem, issuer: Issuer::new(params, key), node_ous: true }
    }

    /// A new member with that OU.
    pub(super) fn issue(&self, unit: &str) -> Somebody {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("{unit}.{}", self.msp_id));
        params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
        (params.not_before, params.not_after) = (date_time_ymd(2021, 1, 1), date_time_ymd(2089, 1, 1));
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        let serialized = SerializedIdentity { msp_id: self.msp_id.clone(), id_bytes: pem.into_bytes().into() };
        let identity = Identity::parse(serialized).unwrap();
        Somebody { identity, key: Signer::from_pem(key.serialize_pem().as_bytes()).unwrap() }
    }

    /// Its group: Readers and Writers any member, Admins an admin, Endorsement a peer.
    pub(super) fn group(&self) -> common::ConfigGroup {
        let unit = |name: &str| {
            Some(msp::FabricOuIdentifier { organizational_unit_identifier: name.to_owned(), certificate: Bytes::new() })
        };
        let node_ous = msp::FabricNodeOUs {
            enable: true,
            client_ou_identifier: unit("client"),
            peer_ou_identifier: unit("peer"),
            admin_ou_identifier: unit("admin"),
            orderer_ou_identifier: unit("orderer"),
        };
        let config = msp::FabricMspConfig {
            name: self.msp_id.as_str().to_owned(),
            root_certs: vec![self.ca_pem.clone().into()],
            admins: if self.node_ous {
                Vec::new()
            } else {
                vec![self.issue("admin").identity.serialized().id_bytes.clone()]
            },
            fabric_node_ous: self.node_ous.then_some(node_ous),
            ..Default::default()
        };
        let config = msp::MspConfig { config: config.encode_to_vec().into(), ..Default::default() };
        let org = self.msp_id.as_str();
        common::ConfigGroup {
            values: HashMap::from([("MSP".to_owned(), value(&config))]),
            policies: HashMap::from([
                ("Readers".to_owned(), any_of(&[(org, PrincipalRole::Member)])),
                ("Writers".to_owned(), any_of(&[(org, PrincipalRole::Member)])),
                ("Admins".to_owned(), any_of(&[(org, PrincipalRole::Admin)])),
                ("Endorsement".to_owned(), any_of(&[(org, PrincipalRole::Peer)])),
            ]),
            ..Default::default()
        }
    }
}

impl Somebody {
    /// Over exactly those bytes.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let Signer::P256(key) = &self.key else { panic!("P-256 keys are issued") };
        let signature = key.sign(&SystemRandom::new(), message).unwrap();
        low_s::lowered(signature.as_ref(), Curve::P256).unwrap()
    }

    /// The same certificate with its issuer's signature spelled the other way: s becomes n - s.
    pub(super) fn twin(&self) -> Identity {
        let certificate = self.identity.certificate();
        let twin = low_s::twin(&certificate.signature, Curve::P256).unwrap();
        let algorithm = der::write(der::SEQUENCE, &certificate.signature_algorithm);
        let bits = der::write(der::BIT_STRING, &[vec![0], twin].concat());
        let der = der::write(der::SEQUENCE, &[certificate.tbs.clone(), algorithm, bits].concat());
        let text = base64(&der);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        let msp_id = self.identity.msp_id().clone();
        Identity::parse(SerializedIdentity { msp_id, id_bytes: pem.into_bytes().into() }).unwrap()
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let number = part.iter().fold(0u32, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - part.len()));
        for at in 0..4 {
            let digit = DIGITS[(number >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= part.len() { char::from(digit) } else { '=' });
        }
    }
    text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect::<Vec<_>>().join("\n")
}

pub(super) fn value(message: &impl Message) -> common::ConfigValue {
    common::ConfigValue { value: message.encode_to_vec().into(), ..Default::default() }
}

pub(super) fn policy(r#type: i32, value: &impl Message) -> common::ConfigPolicy {
    let policy = common::Policy { r#type, value: value.encode_to_vec().into() };
    common::ConfigPolicy { policy: Some(policy), ..Default::default() }
}

/// `rule`: 0 ANY, 1 ALL, 2 MAJORITY.
pub(super) fn implicit(rule: i32, sub_policy: &str) -> common::ConfigPolicy {
    policy(3, &pb::ImplicitMetaPolicy { rule, sub_policy: sub_policy.to_owned() })
}

pub(super) fn role(org: &str, role: PrincipalRole) -> pb::MspPrincipal {
    let role = pb::MspRole { msp_identifier: org.to_owned(), role: role as i32 };
    pb::MspPrincipal { principal_classification: 0, principal: role.encode_to_vec().into() }
}

pub(super) fn signed_by(index: i32) -> pb::SignaturePolicy {
    pb::SignaturePolicy { r#type: Some(pb::signature_policy::Type::SignedBy(index)) }
}

pub(super) fn out_of(n: i32, rules: Vec<pb::SignaturePolicy>) -> pb::SignaturePolicy {
    let gate = pb::signature_policy::NOutOf { n, rules };
    pb::SignaturePolicy { r#type: Some(pb::signature_policy::Type::NOutOf(gate)) }
}

pub(super) fn signature_policy(rule: pb::SignaturePolicy, identities: Vec<pb::MspPrincipal>) -> common::ConfigPolicy {
    policy(1, &pb::SignaturePolicyEnvelope { version: 0, rule: Some(rule), identities })
}

fn any_of(principals: &[(&str, PrincipalRole)]) -> common::ConfigPolicy {
    let rules = (0..principals.len()).map(|index| signed_by(index as i32)).collect();
    signature_policy(out_of(1, rules), principals.iter().map(|(org, principal)| role(org, *principal)).collect())
}

/// A channel of those organisations, with the policies that configtxgen's sample gives it.
pub(super) fn channel(application: &[TestOrg], orderers: &[TestOrg]) -> common::ConfigGroup {
    let usual = || {
        HashMap::from([
            ("Readers".to_owned(), implicit(0, "Readers")),
            ("Writers".to_owned(), implicit(0, "Writers")),
            ("Admins".to_owned(), implicit(2, "Admins")),
        ])
    };
    let orgs = |orgs: &[TestOrg]| orgs.iter().map(|org| (org.msp_id.as_str().to_owned(), org.group())).collect();
    let mut application = common::ConfigGroup { groups: orgs(application), policies: usual(), ..Default::default() };
    application.policies.insert("Endorsement".to_owned(), implicit(2, "Endorsement"));
    let mut orderers = common::ConfigGroup { groups: orgs(orderers), policies: usual(), ..Default::default() };
    orderers.policies.insert("BlockValidation".to_owned(), implicit(0, "Writers"));
    let capabilities =
        common::Capabilities { capabilities: HashMap::from([("V3_0".to_owned(), common::Capability {})]) };
    common::ConfigGroup {
        groups: HashMap::from([("Application".to_owned(), application), ("Orderer".to_owned(), orderers)]),
        values: HashMap::from([("Capabilities".to_owned(), value(&capabilities))]),
        policies: usual(),
        ..Default::default()
    }
}

fn envelope(sequence: u64, group: common::ConfigGroup) -> Vec<u8> {
    let config = common::Config { sequence, channel_group: Some(group) };
    common::ConfigEnvelope { config: Some(config) }.encode_to_vec()
}

/// The configuration of such a channel.
pub(super) fn config(group: common::ConfigGroup) -> Result<ChannelConfig, ConfigError> {
    ChannelConfig::from_config_envelope(CHANNEL.parse().unwrap(), BlockNumber(0), &envelope(0, group))
}

/// A configuration block that nobody signed yet.
pub(super) fn block(number: u64, sequence: u64, group: common::ConfigGroup) -> common::Block {
    let header = common::ChannelHeader { r#type: 1, channel_id: CHANNEL.to_owned() };
    let header = common::Header { channel_header: header.encode_to_vec().into(), ..Default::default() };
    let payload = common::Payload { header: Some(header), data: envelope(sequence, group).into() };
    let envelope = common::Envelope { payload: payload.encode_to_vec().into(), ..Default::default() };
    let data: Bytes = envelope.encode_to_vec().into();
    let data_hash = Sha256::digest(&data).to_vec().into();
    common::Block {
        header: Some(common::BlockHeader { number, previous_hash: vec![number as u8; 32].into(), data_hash }),
        data: Some(common::BlockData { data: vec![data] }),
        metadata: None,
    }
}

/// The bytes that come before the block's header in what is signed.
pub(super) const METADATA_VALUE: &[u8] = b"last config and consenter metadata";

/// As an orderer signs: over the metadata, who it is, and the block's header.
pub(super) fn signature(block: &common::Block, signer: &Somebody) -> common::MetadataSignature {
    let header = common::SignatureHeader {
        creator: signer.identity.serialized().encode().into(),
        nonce: Bytes::from_static(b"nonce"),
    };
    let header = header.encode_to_vec();
    let signature = signer.sign(&[METADATA_VALUE, &header, &header_der(block)].concat());
    common::MetadataSignature {
        signature_header: header.into(),
        signature: signature.into(),
        identifier_header: Bytes::new(),
    }
}

/// As a BFT orderer signs: by its number.
pub(super) fn numbered_signature(block: &common::Block, id: u32, signer: &Somebody) -> common::MetadataSignature {
    let header = common::IdentifierHeader { identifier: id, nonce: Bytes::from_static(b"nonce") }.encode_to_vec();
    let signature = signer.sign(&[METADATA_VALUE, &header, &header_der(block)].concat());
    common::MetadataSignature {
        signature_header: Bytes::new(),
        signature: signature.into(),
        identifier_header: header.into(),
    }
}

/// The block's bytes with those signatures.
pub(super) fn signed(mut block: common::Block, signatures: Vec<common::MetadataSignature>) -> Vec<u8> {
    let metadata = common::Metadata { value: Bytes::from_static(METADATA_VALUE), signatures };
    let metadata = vec![metadata.encode_to_vec().into(), Bytes::new(), Bytes::from_static(&[0])];
    block.metadata = Some(common::BlockMetadata { metadata });
    block.encode_to_vec()
}

/// By hand: 32-byte hashes only.
fn header_der(block: &common::Block) -> Vec<u8> {
    let header = block.header.as_ref().unwrap();
    assert!(header.number < 128);
    let mut der = vec![0x30, 3 + 34 + 34, 2, 1, header.number as u8, 4, 32];
    der.extend_from_slice(&header.previous_hash);
    der.extend_from_slice(&[4, 32]);
    der.extend_from_slice(&header.data_hash);
    der
}
