//! Organisations with Ed25519 keys from fixed seeds and fixed serial numbers: signatures have one length, so that a seed is one trace
//! (ECDSA's vary in length, and with them the datagrams).

use std::{path::Path, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ED25519, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use snapferry::msp::{LocalIdentity, MspId, TlsPair};
use x509_parser::pem::parse_x509_pem;

use super::proto::Proto;

/// What comes before the 32 bytes of an Ed25519 key in PKCS#8 (RFC 8410).
const PKCS8_ED25519: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// An organisation: its CA, and one for TLS.
pub struct SimOrg {
    pub msp_id: MspId,
    ca: Ca,
    tls_ca: Ca,
}

struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// The key that a name stands for.
fn key(name: &str) -> KeyPair {
    let pkcs8 = [PKCS8_ED25519.as_slice(), blake3::hash(name.as_bytes()).as_bytes()].concat();
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(pkcs8), &PKCS_ED25519).unwrap()
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    // Never shorter than it looks: the first byte of a serial number may not be 0 or have its highest bit set.
    let mut serial = blake3::hash(format!("serial of {name}").as_bytes()).as_bytes()[..16].to_vec();
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2036, 1, 1));
    params
}

impl Ca {
    fn new(name: &str) -> Self {
        let (key, mut params) = (key(name), params(name));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate by it, and its key, in PEM.
    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let (key, mut params) = (key(name), params(name));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        change(&mut params);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

impl SimOrg {
    /// `generation` 0 is the first; later ones have other CAs under the same MSP ID.
    pub fn new(msp_id: &str, generation: u32) -> Self {
        let name = |kind: &str| format!("{kind}{generation}.{msp_id}");
        Self { msp_id: MspId::new(msp_id).unwrap(), ca: Ca::new(&name("ca")), tls_ca: Ca::new(&name("tlsca")) }
    }

    /// Somebody with that OU, whose MSP folder lies below `folder`.
    pub fn identity(&self, name: &str, unit: &str, folder: &Path) -> Arc<LocalIdentity> {
        let (certificate, key) = self.ca.issue(&format!("{name}.{}", self.msp_id), |params| {
            params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
        });
        let folder = folder.join(format!("{name}.{}", self.msp_id));
        for (place, file, text) in [("signcerts", "cert.pem", &certificate), ("keystore", "priv_sk", &key)] {
            std::fs::create_dir_all(folder.join(place)).unwrap();
            std::fs::write(folder.join(place).join(file), text).unwrap();
        }
        Arc::new(LocalIdentity::load(&self.msp_id, &folder).unwrap())
    }

    /// A TLS pair that may dial and serve.
    pub fn tls(&self, name: &str) -> Arc<TlsPair> {
        let (certificate, key) = self.tls_ca.issue(&format!("tls.{name}.{}", self.msp_id), |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        });
        Arc::new(TlsPair::from_pem(certificate.as_bytes(), key.as_bytes(), name).unwrap())
    }

    /// FabricMSPConfig with NodeOUs; `others` are further generations of the organisation, `revoked` certificates (PEM) of its own CA.
    pub fn msp(&self, others: &[&Self], revoked: &[Vec<u8>]) -> Vec<u8> {
        let unit = |name: &str| Proto::new().bytes(2, name);
        let units = Proto::new().number(1, 1);
        let units =
            units.bytes(2, unit("client")).bytes(3, unit("peer")).bytes(4, unit("admin")).bytes(5, unit("orderer"));
        let mut config = Proto::new().bytes(1, self.msp_id.as_str()).bytes(2, &self.ca.pem);
        config = others.iter().fold(config, |config, other| config.bytes(2, &other.ca.pem));
        if !revoked.is_empty() {
            config = config.bytes(5, self.revocation_list(revoked));
        }
        config = config.bytes(9, &self.tls_ca.pem);
        config = others.iter().fold(config, |config, other| config.bytes(9, &other.tls_ca.pem));
        Proto::new().bytes(2, config.bytes(11, units)).end()
    }

    fn revocation_list(&self, certificates: &[Vec<u8>]) -> String {
        let revoked = |pem: &Vec<u8>| {
            let pem = parse_x509_pem(pem).unwrap().1;
            RevokedCertParams {
                serial_number: SerialNumber::from_slice(pem.parse_x509().unwrap().raw_serial()),
                revocation_time: date_time_ymd(2026, 5, 1),
                reason_code: None,
                invalidity_date: None,
            }
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 5, 1),
            next_update: date_time_ymd(2030, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: certificates.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.ca.issuer).unwrap().pem().unwrap()
    }
}

/// What `name` of that organisation signs: exactly those bytes, as orderers sign blocks.
pub fn sign(name: &str, org: &SimOrg, message: &[u8]) -> Vec<u8> {
    let seed = blake3::hash(format!("{name}.{}", org.msp_id).as_bytes());
    let pkcs8 = [PKCS8_ED25519.as_slice(), seed.as_bytes()].concat();
    let key = aws_lc_rs::signature::Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).unwrap();
    key.sign(message).as_ref().to_vec()
}
