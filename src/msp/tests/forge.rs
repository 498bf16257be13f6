//! Organisations made to order: CAs, members, revocation lists, and the channel that has them.

use std::collections::HashMap;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    RevokedCertParams, SerialNumber, SigningKey, date_time_ymd,
};

use super::*;

pub(super) const MSP: &str = "ForgedMSP";

/// A CA and its key.
pub(super) struct Ca {
    pub(super) params: CertificateParams,
    pub(super) key: KeyPair,
    pub(super) pem: Bytes,
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

impl Ca {
    pub(super) fn root(name: &str) -> Self {
        Self::root_with(name, |_| ())
    }

    pub(super) fn root_with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        Self::root_of_key(name, KeyPair::generate().unwrap(), change)
    }

    pub(super) fn root_of_key(name: &str, key: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = ca_params(name);
        change(&mut params);
        let pem = params.self_signed(&key).unwrap().pem().into();
        Self { params, key, pem }
    }

    /// A CA that this one signs.
    pub(super) fn below(&self, name: &str) -> Self {
        self.below_with(name, |_| ())
    }

    pub(super) fn below_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = ca_params(name);
        change(&mut params);
        let pem = params.signed_by(&key, &self.issuer()).unwrap().pem().into();
        Self { params, key, pem }
    }

    pub(super) fn certificate(&self) -> certificate::Certificate {
        certificate::Certificate::from_first_pem(&self.pem).unwrap()
    }

    pub(super) fn der(&self) -> Vec<u8> {
        self.certificate().canonical().unwrap().der.to_vec()
    }

    /// A member with those units and that serial number.
    pub(super) fn member(&self, units: &[&str], serial: u64) -> Member {
        self.member_with(units, |params| params.serial_number = Some(serial.into()))
    }

    pub(super) fn member_with(&self, units: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Member {
        self.member_of_key(units, KeyPair::generate().unwrap(), change)
    }

    pub(super) fn member_of_key(
        &self,
        units: &[&str],
        key: KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Member {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "somebody");
        // One relative name per unit: rcgen's own names keep one value of a kind.
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer()).unwrap();
        let certificate =
            if units.is_empty() { certificate.der().to_vec() } else { self.with_units(certificate.der(), units) };
        Member::new(&certificate, key)
    }

    /// The same certificate with those units in its subject, signed again.
    fn with_units(&self, der: &[u8], units: &[&str]) -> Vec<u8> {
        let subject = certificate::Certificate::from_der(der.to_vec().into()).unwrap().subject_raw;
        let names = der::only(&subject, der::SEQUENCE).unwrap().content;
        let unit = |unit: &&str| {
            let value = [&[0x06, 3, 0x55, 4, 0x0b, 0x0c, unit.len() as u8][..], unit.as_bytes()].concat();
            der::write(0x31, &der::write(der::SEQUENCE, &value))
        };
        let units: Vec<u8> = units.iter().flat_map(unit).collect();
        let renamed = der::write(der::SEQUENCE, &[units, names.to_vec()].concat());
        self.resigned(der, |tbs| {
            let at = tbs.windows(subject.len()).position(|window| window == subject).unwrap();
            [&tbs[..at], &renamed, &tbs[at + subject.len()..]].concat()
        })
    }

    /// A certificate or revocation list with what is signed changed (the content of the inner SEQUENCE), and signed by this CA again.
    pub(super) fn resigned(&self, der: &[u8], change: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let whole = der::only(der, der::SEQUENCE).unwrap();
        let (tbs, rest) = der::expect(whole.content, der::SEQUENCE).unwrap();
        let (algorithm, _) = der::expect(rest, der::SEQUENCE).unwrap();
        let tbs = der::write(der::SEQUENCE, &change(tbs.content));
        let signature = [vec![0], self.key.sign(&tbs).unwrap()].concat();
        let parts = [tbs, algorithm.raw.to_vec(), der::write(der::BIT_STRING, &signature)].concat();
        der::write(der::SEQUENCE, &parts)
    }

    /// A revocation list of those serial numbers, in DER.
    pub(super) fn crl_der(&self, serials: &[u64]) -> Vec<u8> {
        self.crl_of(serials, &self.key, self.params.key_identifier_method.clone())
    }

    /// A list in this CA's name by any key, with any key identifier.
    pub(super) fn crl_of(&self, serials: &[u64], key: &KeyPair, key_identifier_method: KeyIdMethod) -> Vec<u8> {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2020, 1, 2),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: key_identifier_method.clone(),
        };
        let mut issuer = self.params.clone();
        issuer.key_identifier_method = key_identifier_method;
        params.signed_by(&Issuer::from_params(&issuer, key)).unwrap().der().to_vec()
    }

    pub(super) fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }
}

/// PEM of a revocation list.
pub(super) fn crl_pem(der: &[u8]) -> Bytes {
    pem_of("X509 CRL", der)
}

pub(super) fn pem_of(kind: &str, der: &[u8]) -> Bytes {
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", base64_of(der)).into()
}

fn base64_of(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let encode = |chunk: &[u8]| {
        let bits = chunk.iter().fold(0u32, |bits, byte| (bits << 8) | u32::from(*byte)) << (8 * (3 - chunk.len()));
        let digit =
            |at: usize| if at > chunk.len() { '=' } else { DIGITS[(bits >> (18 - 6 * at)) as usize & 63].into() };
        (0..4).map(digit).collect::<String>()
    };
    bytes
        .chunks(48)
        .map(|line| line.chunks(3).map(encode).collect::<String>() + "\n")
        .collect::<String>()
        .trim_end()
        .into()
}

/// Somebody with a key.
pub(super) struct Member {
    pub(super) identity: Identity,
    pub(super) key: KeyPair,
    pub(super) pem: Bytes,
}

impl Member {
    pub(super) fn new(der: &[u8], key: KeyPair) -> Self {
        let pem = pem_of("CERTIFICATE", der);
        let serialized = SerializedIdentity { msp_id: msp_id(MSP), id_bytes: pem.clone() };
        Self { identity: Identity::parse(serialized).unwrap(), key, pem }
    }
}

pub(super) fn unit(name: &str, certificate: &[u8]) -> pb::msp::FabricOuIdentifier {
    pb::msp::FabricOuIdentifier {
        certificate: Bytes::copy_from_slice(certificate),
        organizational_unit_identifier: name.to_owned(),
    }
}

/// Fabric's usual NodeOUs, certified by anybody.
pub(super) fn node_ous() -> pb::msp::FabricNodeOUs {
    pb::msp::FabricNodeOUs {
        enable: true,
        client_ou_identifier: Some(unit("client", b"")),
        peer_ou_identifier: Some(unit("peer", b"")),
        admin_ou_identifier: Some(unit("admin", b"")),
        orderer_ou_identifier: Some(unit("orderer", b"")),
    }
}

/// An MSP with those roots and intermediates, NodeOUs on.
pub(super) fn msp(roots: &[&Ca], intermediates: &[&Ca]) -> pb::msp::FabricMspConfig {
    pb::msp::FabricMspConfig {
        name: MSP.to_owned(),
        root_certs: roots.iter().map(|ca| ca.pem.clone()).collect(),
        intermediate_certs: intermediates.iter().map(|ca| ca.pem.clone()).collect(),
        fabric_node_ous: Some(node_ous()),
        ..Default::default()
    }
}

pub(super) fn org_group(msp: &pb::msp::FabricMspConfig) -> common::ConfigGroup {
    let config = pb::msp::MspConfig { r#type: 0, config: msp.encode_to_vec().into() };
    let value = common::ConfigValue { value: config.encode_to_vec().into(), ..Default::default() };
    common::ConfigGroup { values: HashMap::from([("MSP".to_owned(), value)]), ..Default::default() }
}

/// A channel of that capability with those organisations in the application and among the orderers.
pub(super) fn channel_of(
    capability: &str,
    application: &[&pb::msp::FabricMspConfig],
    orderers: &[&pb::msp::FabricMspConfig],
) -> Result<ChannelConfig, ConfigError> {
    let group = |msps: &[&pb::msp::FabricMspConfig]| common::ConfigGroup {
        groups: msps.iter().enumerate().map(|(number, msp)| (format!("org{number}"), org_group(msp))).collect(),
        ..Default::default()
    };
    let capabilities =
        common::Capabilities { capabilities: HashMap::from([(capability.to_owned(), common::Capability {})]) };
    let value = common::ConfigValue { value: capabilities.encode_to_vec().into(), ..Default::default() };
    let channel_group = common::ConfigGroup {
        groups: HashMap::from([
            ("Application".to_owned(), group(application)),
            ("Orderer".to_owned(), group(orderers)),
        ]),
        values: HashMap::from([("Capabilities".to_owned(), value)]),
        ..Default::default()
    };
    let config = common::Config { sequence: 1, channel_group: Some(channel_group) };
    let envelope = common::ConfigEnvelope { config: Some(config) }.encode_to_vec();
    ChannelConfig::from_config_envelope("mychannel".parse().unwrap(), BlockNumber(1), &envelope)
}

pub(super) fn channel(msp: &pb::msp::FabricMspConfig) -> ChannelConfig {
    channel_of("V3_0", &[msp], &[]).unwrap()
}

/// Why an MSP isn't loaded.
pub(super) fn refusal(msp: &pb::msp::FabricMspConfig) -> OrganisationError {
    match channel_of("V3_0", &[msp], &[]) {
        Err(ConfigError::Organisation { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

/// Why an identity isn't valid.
pub(super) fn reason(config: &ChannelConfig, member: &Member) -> InvalidReason {
    match config.validate_stored(&member.identity) {
        Err(MspError::Invalid { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

pub(super) fn role(role: PrincipalRole) -> Principal {
    Principal::Role { msp_id: msp_id(MSP), role }
}
