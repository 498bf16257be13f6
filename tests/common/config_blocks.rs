//! Newer configuration blocks of the recorded channel, signed by its orderer. Protocol buffers are taken apart by hand, so that
//! what isn't changed stays byte for byte.

use std::path::PathBuf;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};
use rcgen::{
    CertificateParams, CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use sha2::{Digest, Sha256};
use x509_parser::{extensions::ParsedExtension, pem::parse_x509_pem};

fn network(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/network").join(path)
}

fn file(path: &str) -> Vec<u8> {
    std::fs::read(network(path)).unwrap()
}

/// What a newer configuration changes.
#[derive(Debug, Clone)]
pub enum Change {
    /// Nothing but its number.
    Nothing,
    /// That organisation is no longer in it.
    Without(u8),
    /// The CA of that organisation has revoked the certificate (PEM).
    Revoke(u8, Vec<u8>),
    /// That organisation has one more TLS root (PEM).
    TlsRoot(u8, Vec<u8>),
    /// The channel's admins have said which policy governs an operation.
    Acl(&'static str, &'static str),
    /// It takes all organisations together to be a reader: nobody is one alone.
    NoReaders,
}

/// The recorded channel's configuration, changed, `ahead` sequences later and as many blocks; signed by the orderer.
pub fn newer(ahead: u64, change: &Change) -> Vec<u8> {
    signed(unsigned(ahead, change))
}

/// As [`newer`], without any signature.
pub fn unsigned(ahead: u64, change: &Change) -> Vec<u8> {
    let mut block = Message::parse(&file("config_block.pb"));
    block.parts.retain(|(field, _)| *field != 3);
    block.edit(2, |data| {
        data.edit(1, |envelope| {
            envelope.edit(1, |payload| {
                payload.edit(2, |envelope| {
                    envelope.edit(1, |config| {
                        config.add(1, ahead);
                        config.edit(2, |channel| {
                            channel.entry(2, "Application", |application| edit(application, change))
                        });
                    });
                });
            });
        });
    });
    let data_hash = Sha256::digest(block.message(2).bytes(1)).to_vec();
    block.edit(1, |header| {
        header.add(1, ahead);
        header.set(3, data_hash);
    });
    block.encode()
}

/// The recorded configuration as that of another channel, without any signature.
pub fn of_channel(name: &str) -> Vec<u8> {
    let mut block = Message::parse(&file("config_block.pb"));
    block.parts.retain(|(field, _)| *field != 3);
    block.edit(2, |data| {
        data.edit(1, |envelope| {
            envelope.edit(1, |payload| {
                payload.edit(1, |header| header.edit(1, |header| header.set(4, name.as_bytes().to_vec())));
            });
        });
    });
    let data_hash = Sha256::digest(block.message(2).bytes(1)).to_vec();
    block.edit(1, |header| header.set(3, data_hash));
    block.encode()
}

fn edit(application: &mut Message, change: &Change) {
    match change {
        Change::Nothing => {}
        Change::Without(org) => {
            let name = msp_id(*org).into_bytes();
            application.parts.retain(|(field, part)| {
                *field != 2 || !matches!(part, Part::Bytes(entry) if Message::parse(entry).bytes(1) == name)
            });
        }
        Change::Acl(operation, policy) => {
            let policy = Message { parts: vec![(1, Part::from(policy))] };
            let acl = Message { parts: vec![(1, Part::from(operation)), (2, Part::Bytes(policy.encode()))] };
            // The recorded configuration has none.
            let acls = Message { parts: vec![(1, Part::Bytes(acl.encode()))] };
            let value = Message { parts: vec![(2, Part::Bytes(acls.encode()))] };
            let entry = Message { parts: vec![(1, Part::from("ACLs")), (2, Part::Bytes(value.encode()))] };
            application.parts.push((3, Part::Bytes(entry.encode())));
        }
        Change::NoReaders => {
            let all = Message { parts: vec![(1, Part::from("Readers")), (2, Part::Number(1))] };
            application.entry(4, "Readers", |policy| policy.edit(2, |policy| policy.set(2, all.encode())));
        }
        Change::Revoke(org, certificate) => {
            add_to_msp(application, *org, 5, revocation_list(*org, certificate).into_bytes());
        }
        Change::TlsRoot(org, certificate) => add_to_msp(application, *org, 9, certificate.clone()),
    }
}

/// One more value in that field of the organisation's FabricMSPConfig.
fn add_to_msp(application: &mut Message, org: u8, field: u32, bytes: Vec<u8>) {
    application.entry(2, &msp_id(org), |group| {
        group.entry(3, "MSP", |value| {
            value.edit(2, |msp| msp.edit(2, |fabric| fabric.parts.push((field, Part::Bytes(bytes)))));
        });
    });
}

/// The group's name in the recorded configuration is the MSP ID.
fn msp_id(org: u8) -> String {
    format!("Org{org}MSP")
}

/// The certificate of the peer of `org`.
pub fn peer_certificate(org: u8) -> Vec<u8> {
    let name = format!("org{org}.example.com");
    file(&format!("crypto/peerOrganizations/{name}/peers/peer0.{name}/msp/signcerts/peer0.{name}-cert.pem"))
}

/// The certificate of the TLS CA of `org`.
pub fn tls_ca(org: u8) -> Vec<u8> {
    let name = format!("org{org}.example.com");
    file(&format!("crypto/peerOrganizations/{name}/tlsca/tlsca.{name}-cert.pem"))
}

/// A CRL by the recorded CA of `org` that lists that certificate.
fn revocation_list(org: u8, certificate: &[u8]) -> String {
    let folder = format!("crypto/peerOrganizations/org{org}.example.com/ca");
    let ca = parse_x509_pem(&file(&format!("{folder}/ca.org{org}.example.com-cert.pem"))).unwrap().1;
    let ca = ca.parse_x509().unwrap();
    let subject_key = ca.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(key) => Some(key.0.to_vec()),
        _ => None,
    });
    let key = KeyPair::from_pem(&String::from_utf8(file(&format!("{folder}/priv_sk"))).unwrap()).unwrap();
    // A CRL is matched by the key that signed it, not by the issuer's name.
    let issuer = Issuer::new(CertificateParams::default(), key);
    let revoked = parse_x509_pem(certificate).unwrap().1;
    let revoked = RevokedCertParams {
        serial_number: SerialNumber::from_slice(revoked.parse_x509().unwrap().raw_serial()),
        revocation_time: date_time_ymd(2026, 11, 24),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2026, 11, 24),
        next_update: date_time_ymd(2030, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![revoked],
        key_identifier_method: KeyIdMethod::PreSpecified(subject_key.unwrap()),
    };
    list.signed_by(&issuer).unwrap().pem().unwrap()
}

/// The block with the recorded orderer's signature over it (trust.md 1.1).
pub fn signed(block: Vec<u8>) -> Vec<u8> {
    signed_by(block, "crypto/ordererOrganizations/example.com/orderers/orderer.example.com", "OrdererMSP", "orderer")
}

/// The block with a peer's signature over it: right, but not an orderer's.
pub fn signed_by_a_peer(block: Vec<u8>) -> Vec<u8> {
    let peer = "crypto/peerOrganizations/org1.example.com/peers/peer0.org1.example.com";
    signed_by(block, peer, "Org1MSP", "peer0.org1")
}

fn signed_by(block: Vec<u8>, folder: &str, msp_id: &str, name: &str) -> Vec<u8> {
    let mut block = Message::parse(&block);
    let certificate = file(&format!("{folder}/msp/signcerts/{name}.example.com-cert.pem"));
    let creator = Message { parts: vec![(1, Part::from(msp_id.as_bytes())), (2, Part::Bytes(certificate))] };
    let signature_header =
        Message { parts: vec![(1, Part::Bytes(creator.encode())), (2, Part::from(&[7; 24]))] }.encode();
    let value = b"metadata value".to_vec();
    let message = [&value[..], &signature_header, &header_der(&block.message(1))].concat();
    let signature = sign(&file(&format!("{folder}/msp/keystore/priv_sk")), &message);
    let signature = Message { parts: vec![(1, Part::Bytes(signature_header)), (2, Part::Bytes(signature))] }.encode();
    let signatures = Message { parts: vec![(1, Part::Bytes(value)), (2, Part::Bytes(signature))] }.encode();
    // The kinds of metadata behind the signatures are there and empty, as an orderer writes them.
    let parts = [signatures, Vec::new(), Vec::new()].map(|metadata| (1, Part::Bytes(metadata)));
    block.parts.push((3, Part::Bytes(Message { parts: parts.into() }.encode())));
    block.encode()
}

/// ASN.1 of a block's header.
fn header_der(header: &Message) -> Vec<u8> {
    let number = header.number(1);
    assert!(number < 128, "one byte of DER");
    let mut der = vec![2, 1, u8::try_from(number).unwrap()];
    for field in [2, 3] {
        let hash = header.bytes(field);
        der.extend([4, u8::try_from(hash.len()).unwrap()]);
        der.extend(hash);
    }
    [vec![0x30, u8::try_from(der.len()).unwrap()], der].concat()
}

/// ECDSA over P-256 with low S, as Fabric asks for it: every second signature has one.
fn sign(key: &[u8], message: &[u8]) -> Vec<u8> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(key).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.secret_pkcs8_der()).unwrap();
    loop {
        let signature = key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec();
        let s = &signature[4 + usize::from(signature[3]) + 2..];
        if s.len() < 32 || s.len() == 32 && s[0] < 0x7f {
            return signature;
        }
    }
}

/// A protocol buffer, one level deep; the order of its fields stays.
#[derive(Debug, Clone)]
struct Message {
    parts: Vec<(u32, Part)>,
}

#[derive(Debug, Clone)]
enum Part {
    Number(u64),
    Bytes(Vec<u8>),
}

impl<T: AsRef<[u8]>> From<T> for Part {
    fn from(bytes: T) -> Self {
        Self::Bytes(bytes.as_ref().to_vec())
    }
}

impl Message {
    fn parse(mut bytes: &[u8]) -> Self {
        let mut parts = Vec::new();
        while !bytes.is_empty() {
            let tag = uvarint(&mut bytes);
            let value = uvarint(&mut bytes);
            let part = match tag & 7 {
                0 => Part::Number(value),
                2 => {
                    let (this, rest) = bytes.split_at(usize::try_from(value).unwrap());
                    bytes = rest;
                    Part::from(this)
                }
                other => panic!("wire type {other}"),
            };
            parts.push((u32::try_from(tag >> 3).unwrap(), part));
        }
        Self { parts }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (field, part) in &self.parts {
            let tag = u64::from(*field) << 3;
            match part {
                Part::Number(number) => {
                    put_uvarint(&mut out, tag);
                    put_uvarint(&mut out, *number);
                }
                Part::Bytes(bytes) => {
                    put_uvarint(&mut out, tag | 2);
                    put_uvarint(&mut out, bytes.len() as u64);
                    out.extend(bytes);
                }
            }
        }
        out
    }

    fn part(&mut self, wanted: u32) -> &mut Part {
        &mut self.parts.iter_mut().find(|(field, _)| *field == wanted).unwrap().1
    }

    fn bytes(&self, wanted: u32) -> Vec<u8> {
        match &self.parts.iter().find(|(field, _)| *field == wanted).unwrap().1 {
            Part::Bytes(bytes) => bytes.clone(),
            Part::Number(number) => panic!("{number} in field {wanted}"),
        }
    }

    fn message(&self, wanted: u32) -> Self {
        Self::parse(&self.bytes(wanted))
    }

    fn number(&self, wanted: u32) -> u64 {
        match &self.parts.iter().find(|(field, _)| *field == wanted).unwrap().1 {
            Part::Number(number) => *number,
            Part::Bytes(_) => panic!("bytes in field {wanted}"),
        }
    }

    fn add(&mut self, wanted: u32, more: u64) {
        let number = self.number(wanted) + more;
        *self.part(wanted) = Part::Number(number);
    }

    fn set(&mut self, wanted: u32, bytes: Vec<u8>) {
        *self.part(wanted) = Part::Bytes(bytes);
    }

    /// Changes the message in the first field of that number.
    fn edit(&mut self, wanted: u32, change: impl FnOnce(&mut Self)) {
        let mut inner = self.message(wanted);
        change(&mut inner);
        self.set(wanted, inner.encode());
    }

    /// Changes the message under that key of the map in that field.
    fn entry(&mut self, map: u32, key: &str, change: impl FnOnce(&mut Self)) {
        for (field, part) in &mut self.parts {
            let Part::Bytes(bytes) = part else { continue };
            if *field == map && Self::parse(bytes).bytes(1) == key.as_bytes() {
                let mut entry = Self::parse(bytes);
                entry.edit(2, change);
                *bytes = entry.encode();
                return;
            }
        }
        panic!("no {key}");
    }
}

fn uvarint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if *first < 0x80 {
            break;
        }
    }
    value
}

fn put_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
