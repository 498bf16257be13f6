//! One X.509 certificate, taken apart once: the parts that identities, chains and signatures need, owned.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    oid_registry::{OID_X509_EXT_NAME_CONSTRAINTS, OID_X509_EXT_SUBJECT_ALT_NAME, OID_X509_EXT_SUBJECT_KEY_IDENTIFIER},
    prelude::FromDer,
};

use super::{CertificateError, der, low_s};

/// A parsed certificate.
#[derive(Clone)]
pub(super) struct Certificate {
    /// The whole DER.
    pub(super) der: CertificateDer<'static>,
    /// What the issuer signed.
    pub(super) tbs: Vec<u8>,
    /// Content of the AlgorithmIdentifier of the issuer's signature.
    pub(super) signature_algorithm: Vec<u8>,
    /// The issuer's signature.
    pub(super) signature: Vec<u8>,
    /// The issuer's number for it, without leading zeros.
    pub(super) serial: Vec<u8>,
    /// Content of the AlgorithmIdentifier of the key.
    pub(super) key_algorithm: Vec<u8>,
    /// The key's bits.
    pub(super) key: Vec<u8>,
    /// DER of the subject's name.
    pub(super) subject_raw: Vec<u8>,
    /// DER of the issuer's name.
    pub(super) issuer_raw: Vec<u8>,
    /// The subject in text, at most [`SUBJECT_CHARS_MAX`] characters, none of control.
    pub(super) subject: String,
    /// The subject's organizational units, in order.
    pub(super) organizational_units: Vec<String>,
    /// DER of the subject's alternative names, where present.
    pub(super) alternative_names: Option<Vec<u8>>,
    /// Subject key identifier, where present.
    pub(super) subject_key_id: Option<Vec<u8>>,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    /// Basic constraints say CA.
    pub(super) is_ca: bool,
    /// How many intermediates may follow.
    pub(super) path_len: Option<u32>,
    /// Key usage, where present, lets it sign certificates.
    pub(super) may_sign_certificates: bool,
    /// Extended key usage, where present, holds serverAuth or any: what Go's verifier asks of every link by default.
    pub(super) extended_usage_ok: bool,
    /// It constrains the names of what it issues.
    pub(super) name_constraints: bool,
    /// A critical extension that nobody here understands, or one that mustn't be critical (Go refuses both).
    pub(super) unknown_critical: bool,
}

/// Longest subject that is kept for messages.
const SUBJECT_CHARS_MAX: usize = 256;

/// Content of the OID ecdsa-with-SHA2 (1.2.840.10045.4.3) with tag and length, before its last digit.
const ECDSA_WITH_SHA2: [u8; 9] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];

impl Certificate {
    /// From exactly one PEM block and nothing around it but white space.
    pub(super) fn from_only_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        let text = std::str::from_utf8(pem).map_err(|_| CertificateError::Pem)?.trim();
        let inner = text.strip_prefix(PEM_BEGIN).and_then(|text| text.strip_suffix(PEM_END));
        if inner.is_none_or(|inner| inner.contains("-----")) {
            return Err(CertificateError::Pem);
        }
        Self::from_first_pem(pem)
    }

    /// From the first PEM block, as Fabric reads CA certificates (fabric: msp/mspimpl.go, getCertFromPem).
    pub(super) fn from_first_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        Self::from_der(CertificateDer::from_pem_slice(pem).map_err(|_| CertificateError::Pem)?)
    }

    /// From DER, canonical outside of what the issuer signed (inside, the signature sees to it).
    pub(super) fn from_der(der: CertificateDer<'static>) -> Result<Self, CertificateError> {
        parse(&der).ok_or(CertificateError::Der)
    }

    /// The DER with the issuer's ECDSA signature rewritten to low S, so that both twins are one identity
    /// (fabric: msp/cert.go, sanitizeECDSASignedCert). `None` if an ECDSA signature isn't canonical.
    pub(super) fn sanitized(&self) -> Option<Vec<u8>> {
        if !self.has_ecdsa_signature() {
            return Some(self.der.to_vec());
        }
        let signature = low_s::lowered_by_width(&self.signature)?;
        let algorithm = der::write(der::SEQUENCE, &self.signature_algorithm);
        let bits = der::write(der::BIT_STRING, &[vec![0], signature].concat());
        Some(der::write(der::SEQUENCE, &[self.tbs.clone(), algorithm, bits].concat()))
    }

    /// The certificate with its issuer's ECDSA signature in low S: what Fabric keeps of a configured certificate, hashes and compares.
    pub(super) fn canonical(self) -> Result<Self, CertificateError> {
        let sanitized = self.sanitized().ok_or(CertificateError::Der)?;
        if sanitized == *self.der { Ok(self) } else { Self::from_der(sanitized.into()) }
    }

    /// Whether its issuer signed with ECDSA over a hash of the SHA-2 family.
    pub(super) fn has_ecdsa_signature(&self) -> bool {
        is_ecdsa(&self.signature_algorithm)
    }

    /// Whether it is valid at that instant, both ends included.
    pub(super) fn is_valid_at(&self, time: SystemTime) -> bool {
        self.not_before <= time && time <= self.not_after
    }
}

/// Whether that signature algorithm (content of its AlgorithmIdentifier) is ECDSA over a hash of the SHA-2 family.
pub(super) fn is_ecdsa(algorithm: &[u8]) -> bool {
    algorithm.starts_with(&ECDSA_WITH_SHA2)
}

/// The text of the first PEM certificate in a file, alone.
pub(super) fn first_pem_block(file: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(file).ok()?;
    let (_, behind) = text.split_once(PEM_BEGIN)?;
    let (inner, _) = behind.split_once(PEM_END)?;
    Some(format!("{PEM_BEGIN}{inner}{PEM_END}\n"))
}

const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const PEM_END: &str = "-----END CERTIFICATE-----";

fn parse(der: &CertificateDer<'static>) -> Option<Certificate> {
    let whole = der::only(der, der::SEQUENCE)?;
    let (tbs, rest) = der::expect(whole.content, der::SEQUENCE)?;
    let (algorithm, rest) = der::expect(rest, der::SEQUENCE)?;
    let signature = der::only(rest, der::BIT_STRING)?.bits()?;
    // The outer algorithm isn't signed: it must be the inner one.
    let (first, rest) = der::read(tbs.content)?;
    let serial_and_on = if first.tag == 0xa0 { rest } else { tbs.content };
    let (serial, rest) = der::expect(serial_and_on, der::INTEGER)?;
    if der::expect(rest, der::SEQUENCE)?.0.raw != algorithm.raw {
        return None;
    }
    let (behind, x509) = X509Certificate::from_der(der).ok()?;
    if !behind.is_empty() {
        return None;
    }
    let spki = der::only(x509.public_key().raw, der::SEQUENCE)?;
    let (key_algorithm, rest) = der::expect(spki.content, der::SEQUENCE)?;
    let key = der::only(rest, der::BIT_STRING)?.bits()?;
    let subject: String = x509.subject().to_string().chars().take(SUBJECT_CHARS_MAX).collect();
    // Two extensions of one kind: nobody can say which counts.
    let extensions = x509.extensions_map().ok()?;
    let alternative_names = extensions.get(&OID_X509_EXT_SUBJECT_ALT_NAME).map(|extension| extension.value.to_vec());
    let subject_key_id = match extensions.get(&OID_X509_EXT_SUBJECT_KEY_IDENTIFIER).map(|it| it.parsed_extension()) {
        Some(ParsedExtension::SubjectKeyIdentifier(id)) => Some(id.0.to_vec()),
        Some(_) => return None,
        None => None,
    };
    let constraints = x509.basic_constraints().ok()?.map(|extension| extension.value);
    Some(Certificate {
        der: der.clone(),
        tbs: tbs.raw.to_vec(),
        signature_algorithm: algorithm.content.to_vec(),
        signature: signature.to_vec(),
        serial: der::without_leading_zeros(serial.content).to_vec(),
        key_algorithm: key_algorithm.content.to_vec(),
        key: key.to_vec(),
        subject_raw: x509.subject().as_raw().to_vec(),
        issuer_raw: x509.issuer().as_raw().to_vec(),
        subject: subject.replace(char::is_control, "?"),
        organizational_units: x509
            .subject()
            .iter_organizational_unit()
            .map(|unit| unit.as_str().map(str::to_owned))
            .collect::<Result<_, _>>()
            .ok()?,
        alternative_names,
        subject_key_id,
        not_before: instant(x509.validity().not_before.timestamp())?,
        not_after: instant(x509.validity().not_after.timestamp())?,
        is_ca: constraints.is_some_and(|constraints| constraints.ca),
        path_len: constraints.and_then(|constraints| constraints.path_len_constraint),
        may_sign_certificates: x509
            .key_usage()
            .ok()?
            .is_none_or(|usage| usage.value.flags == 0 || usage.value.key_cert_sign()),
        extended_usage_ok: x509
            .extended_key_usage()
            .ok()?
            .is_none_or(|usage| usage.value.server_auth || usage.value.any),
        name_constraints: extensions.contains_key(&OID_X509_EXT_NAME_CONSTRAINTS),
        unknown_critical: x509
            .extensions()
            .iter()
            .any(|extension| extension.critical && !is_understood(extension.parsed_extension())),
    })
}

/// Whether Go's verifier has a rule for what the extension says, so that it may be critical.
fn is_understood(extension: &ParsedExtension<'_>) -> bool {
    match extension {
        ParsedExtension::KeyUsage(_)
        | ParsedExtension::BasicConstraints(_)
        | ParsedExtension::ExtendedKeyUsage(_)
        | ParsedExtension::CRLDistributionPoints(_)
        | ParsedExtension::CertificatePolicies(_) => true,
        ParsedExtension::SubjectAlternativeName(names) => names.general_names.iter().any(|name| {
            matches!(
                name,
                GeneralName::DNSName(_) | GeneralName::RFC822Name(_) | GeneralName::IPAddress(_) | GeneralName::URI(_)
            )
        }),
        _ => false,
    }
}

/// Seconds since 1970, negative before.
fn instant(timestamp: i64) -> Option<SystemTime> {
    let distance = Duration::from_secs(timestamp.unsigned_abs());
    if timestamp < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) }
}
