//! Revocation lists, as Fabric reads them (fabric: msp/mspimplvalidate.go): a listed serial counts whatever the dates say, if the
//! list verifies with the issuer of the certificate.
//!
//! Read by hand and strictly, since a reader that leaves out what it doesn't understand would leave out revocations.

use std::collections::BTreeSet;

use rustls::pki_types::{CertificateRevocationListDer, pem::PemObject};

use super::{
    InvalidReason, RevocationListError,
    certificate::{Certificate, is_ecdsa},
    chain::{is_known_algorithm, is_signed},
    der, low_s,
};

/// How a PEM list begins. Whatever doesn't begin so is read as DER.
const PEM_BEGIN: &[u8] = b"-----BEGIN X509 CRL";
/// Content of the OID of the authority key identifier (2.5.29.35).
const AUTHORITY_KEY_ID: [u8; 3] = [0x55, 0x1d, 0x23];
/// Tag of the list's extensions, and of the key identifier in the authority key identifier.
const EXTENSIONS: u8 = 0xa0;
const KEY_ID: u8 = 0x80;

/// A revocation list. Whose it is isn't known before it is asked.
#[derive(Clone)]
pub(super) struct Crl {
    tbs: Vec<u8>,
    algorithm: Vec<u8>,
    signature: Vec<u8>,
    /// Key identifier of its issuer, empty if it names the issuer otherwise. `None`: no authority key identifier at all.
    authority: Option<Vec<u8>>,
    /// Without leading zeros.
    serials: BTreeSet<Vec<u8>>,
}

impl Crl {
    /// From PEM or DER.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, RevocationListError> {
        let der = if bytes.starts_with(PEM_BEGIN) {
            CertificateRevocationListDer::from_pem_slice(bytes).map_err(|_| RevocationListError::Pem)?
        } else {
            CertificateRevocationListDer::from(bytes)
        };
        let crl = parse(&der).ok_or(RevocationListError::Der)?;
        // One that can't be checked would be skipped like a forged one, and what it revokes would pass.
        if is_known_algorithm(&crl.algorithm) { Ok(crl) } else { Err(RevocationListError::Algorithm) }
    }

    fn revokes(&self, certificate: &Certificate, issuer: &Certificate, issuer_key_id: &[u8]) -> bool {
        self.authority.as_deref() == Some(issuer_key_id)
            && self.serials.contains(&certificate.serial)
            && is_signed(&self.tbs, &self.algorithm, &self.signature, issuer)
    }
}

/// Whether those bytes are a revocation list that can be used, by their form alone: for the fuzz target, which has no MSP.
#[doc(hidden)]
#[must_use]
pub fn is_revocation_list(bytes: &[u8]) -> bool {
    Crl::parse(bytes).is_ok()
}

/// Refuses a certificate that its issuer revoked; also whatever is asked while the answer can't be known.
pub(super) fn check(crls: &[Crl], certificate: &Certificate, issuer: &Certificate) -> Result<(), InvalidReason> {
    let key_id = issuer.subject_key_id.as_deref().ok_or(InvalidReason::IssuerWithoutKeyId)?;
    if crls.iter().any(|crl| crl.authority.is_none()) {
        return Err(InvalidReason::RevocationListWithoutKeyId);
    }
    let revoked = crls.iter().any(|crl| crl.revokes(certificate, issuer, key_id));
    if revoked { Err(InvalidReason::Revoked) } else { Ok(()) }
}

/// RFC 5280, 5.1. Dates are skipped: they don't count.
fn parse(der: &[u8]) -> Option<Crl> {
    let (tbs, rest) = der::expect(der::only(der, der::SEQUENCE)?.content, der::SEQUENCE)?;
    let (algorithm, rest) = der::expect(rest, der::SEQUENCE)?;
    let signature = der::only(rest, der::BIT_STRING)?.bits()?;
    if is_ecdsa(algorithm.content) {
        low_s::lowered_by_width(signature)?;
    }
    let (_version, rest) = der::optional(tbs.content, der::INTEGER);
    let (_algorithm, rest) = der::expect(rest, der::SEQUENCE)?;
    let (_issuer, rest) = der::expect(rest, der::SEQUENCE)?;
    let (this_update, rest) = time(rest);
    this_update?;
    let (_next_update, rest) = time(rest);
    let (revoked, rest) = der::optional(rest, der::SEQUENCE);
    let (extensions, rest) = der::optional(rest, EXTENSIONS);
    if !rest.is_empty() {
        return None;
    }
    Some(Crl {
        tbs: tbs.raw.to_vec(),
        algorithm: algorithm.content.to_vec(),
        signature: signature.to_vec(),
        authority: extensions.map_or(Some(None), |extensions| authority(extensions.content))?,
        serials: revoked.map_or(Some(BTreeSet::new()), |revoked| serials(revoked.content))?,
    })
}

/// A time at the start, if there is one, and what is behind it.
fn time(input: &[u8]) -> (Option<der::Element<'_>>, &[u8]) {
    match der::optional(input, der::UTC_TIME) {
        (None, rest) => der::optional(rest, der::GENERALIZED_TIME),
        found => found,
    }
}

fn serials(mut entries: &[u8]) -> Option<BTreeSet<Vec<u8>>> {
    let mut serials = BTreeSet::new();
    while !entries.is_empty() {
        let (entry, rest) = der::expect(entries, der::SEQUENCE)?;
        let (serial, _date_and_reason) = der::expect(entry.content, der::INTEGER)?;
        serials.insert(der::without_leading_zeros(serial.content).to_vec());
        entries = rest;
    }
    Some(serials)
}

/// The first authority key identifier among the extensions, as Fabric takes it. The outer `None`: malformed.
fn authority(extensions: &[u8]) -> Option<Option<Vec<u8>>> {
    let mut extensions = der::only(extensions, der::SEQUENCE)?.content;
    let mut found = None;
    while !extensions.is_empty() {
        let (extension, rest) = der::expect(extensions, der::SEQUENCE)?;
        let (id, value) = der::expect(extension.content, der::OID)?;
        let (_critical, value) = der::optional(value, der::BOOLEAN);
        let value = der::only(value, der::OCTET_STRING)?;
        if id.content == AUTHORITY_KEY_ID && found.is_none() {
            let identifier = der::only(value.content, der::SEQUENCE)?;
            let (key_id, _issuer_and_serial) = der::optional(identifier.content, KEY_ID);
            found = Some(key_id.map(|key_id| key_id.content.to_vec()).unwrap_or_default());
        }
        extensions = rest;
    }
    Some(found)
}
