//! Certificates of the recorded network's org3 that the recording doesn't have: with other dates, or for one side of a connection.

use std::path::PathBuf;

pub use rcgen::ExtendedKeyUsagePurpose as Usage;
use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, Issuer, KeyPair, date_time_ymd};
use snapferry::msp::TlsPair;

const NETWORK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/network");

/// A certificate of org3 by its recorded CA (`ca` or `tlsca`) that ends with that year, and its key, in PEM.
pub fn issued(ca: &str, until_year: i32, unit: Option<&str>) -> (String, String) {
    let usages = if unit.is_some() { vec![] } else { vec![Usage::ServerAuth, Usage::ClientAuth] };
    issued_for(ca, until_year, unit, usages)
}

fn issued_for(ca: &str, until_year: i32, unit: Option<&str>, usages: Vec<Usage>) -> (String, String) {
    let printable = |text: &str| DnValue::PrintableString(text.try_into().unwrap());
    let mut name = DistinguishedName::new();
    for (kind, text) in [
        (DnType::CountryName, "US"),
        (DnType::StateOrProvinceName, "California"),
        (DnType::LocalityName, "San Francisco"),
        (DnType::OrganizationName, "org3.example.com"),
        (DnType::CommonName, &format!("{ca}.org3.example.com")),
    ] {
        name.push(kind, printable(text));
    }
    let key = PathBuf::from(format!("{NETWORK}/crypto/peerOrganizations/org3.example.com/{ca}/priv_sk"));
    let key = KeyPair::from_pem(&std::fs::read_to_string(key).unwrap()).unwrap();
    let mut issuer = CertificateParams::default();
    issuer.distinguished_name = name;
    let issuer = Issuer::new(issuer, key);

    let mut leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    // Not before the CA itself, unless it has to be over by then.
    leaf.not_before = if until_year < 2026 { date_time_ymd(2025, 1, 1) } else { date_time_ymd(2026, 11, 23) };
    leaf.not_after = date_time_ymd(until_year, 12, 31);
    leaf.extended_key_usages = usages;
    if let Some(unit) = unit {
        leaf.distinguished_name.push(DnType::OrganizationalUnitName, unit);
        leaf.subject_alt_names.clear();
    }
    let key = KeyPair::generate().unwrap();
    (leaf.signed_by(&key, &issuer).unwrap().pem(), key.serialize_pem())
}

/// A TLS pair of org3 for localhost that ends with that year.
pub fn tls_until(year: i32) -> TlsPair {
    let (certificate, key) = issued("tlsca", year, None);
    TlsPair::from_pem(certificate.as_bytes(), key.as_bytes(), "org3").unwrap()
}

/// A TLS pair of org3 for localhost that is good for one side of a connection only.
pub fn tls_for(usage: Usage) -> TlsPair {
    let (certificate, key) = issued_for("tlsca", 2090, None, vec![usage]);
    TlsPair::from_pem(certificate.as_bytes(), key.as_bytes(), "org3").unwrap()
}

/// A TLS pair for localhost that nobody in the channel issued.
pub fn tls_of_a_stranger() -> TlsPair {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    TlsPair::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes(), "stranger").unwrap()
}
