//! MSP signatures: what they are over, and how they are checked.
//!
//! ECDSA: over SHA-256 whatever the curve, ASN.1 DER, s at most n/2. Ed25519: over the message.

use aws_lc_rs::{
    digest::{self, Digest},
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ED25519, EcdsaVerificationAlgorithm, UnparsedPublicKey,
    },
};

use super::{
    CertificateError,
    certificate::Certificate,
    low_s::{self, Curve},
};

/// What a signature of ours is for: it can't be passed off as one for something else, nor as one of Fabric's, since no
/// protocol buffer begins with the bytes of `sn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// Session authentication.
    SessionAuth,
    /// Attestation of a snapshot.
    Attest,
    /// An admin's grant to a peer.
    JoinGrant,
    /// An admin's command to a service.
    Control,
    /// The manifest of a backup.
    BackupManifest,
    /// The receipt of a join.
    Receipt,
}

impl Purpose {
    /// What stands before the signed parts.
    #[must_use]
    pub const fn prefix(self) -> &'static [u8] {
        match self {
            Self::SessionAuth => b"snapferry/1 session-auth\0",
            Self::Attest => b"snapferry/1 attest\0",
            Self::JoinGrant => b"snapferry/1 join-grant\0",
            Self::Control => b"snapferry/1 control\0",
            Self::BackupManifest => b"snapferry/1 backup-manifest\0",
            Self::Receipt => b"snapferry/1 receipt\0",
        }
    }

    /// The message that is signed: prefix and parts.
    pub(super) fn message(self, parts: &[&[u8]]) -> Vec<u8> {
        [&[self.prefix()], parts].concat().concat()
    }
}

/// What an MSP's members hash with before they sign with ECDSA, always to 32 bytes (fabric: msp/identities.go, getHashOpt).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HashFamily {
    /// SHA-256.
    Sha2,
    /// SHA3-256.
    Sha3,
}

impl HashFamily {
    /// Fabric's name of it; none means SHA-2.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "" | "SHA2" => Some(Self::Sha2),
            "SHA3" => Some(Self::Sha3),
            _ => None,
        }
    }
}

/// The hash that an MSP identifies certificates by, by Fabric's name of it; none means SHA-256.
pub(super) fn identifier_hash(name: &str) -> Option<&'static digest::Algorithm> {
    match name {
        "" | "SHA256" => Some(&digest::SHA256),
        "SHA384" => Some(&digest::SHA384),
        "SHA3_256" => Some(&digest::SHA3_256),
        "SHA3_384" => Some(&digest::SHA3_384),
        _ => None,
    }
}

/// The kind of an identity's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    P256,
    P384,
    Ed25519,
}

/// AlgorithmIdentifier contents: id-ecPublicKey with prime256v1.
const EC_P256: &[u8] =
    &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// id-ecPublicKey with secp384r1.
const EC_P384: &[u8] =
    &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
/// id-Ed25519.
const ED_25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];

impl KeyKind {
    /// The kind of the certificate's key, if it is one that identities may have.
    pub(super) fn of(certificate: &Certificate) -> Result<Self, CertificateError> {
        match certificate.key_algorithm.as_slice() {
            EC_P256 => Ok(Self::P256),
            EC_P384 => Ok(Self::P384),
            ED_25519 => Ok(Self::Ed25519),
            _ => Err(CertificateError::KeyType),
        }
    }

    /// The curve of its ECDSA signatures.
    pub(super) const fn curve(self) -> Option<Curve> {
        match self {
            Self::P256 => Some(Curve::P256),
            Self::P384 => Some(Curve::P384),
            Self::Ed25519 => None,
        }
    }

    /// Whether the signature over the message is right, and low, in an MSP of that hash family.
    pub(super) fn verify_with(self, family: HashFamily, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        match (family, self) {
            (HashFamily::Sha2, _) | (_, Self::Ed25519) => self.verify(key, message, signature),
            (HashFamily::Sha3, Self::P256) => {
                verify_sha3(&ECDSA_P256_SHA256_ASN1, Curve::P256, key, message, signature)
            }
            (HashFamily::Sha3, Self::P384) => {
                verify_sha3(&ECDSA_P384_SHA256_ASN1, Curve::P384, key, message, signature)
            }
        }
    }

    /// Whether the signature over the message is right, and low; ECDSA over SHA-256.
    pub(super) fn verify(self, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let low = self.curve().is_none_or(|curve| low_s::is_low(signature, curve));
        low && match self {
            Self::P256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).verify(message, signature),
            Self::P384 => UnparsedPublicKey::new(&ECDSA_P384_SHA256_ASN1, key).verify(message, signature),
            Self::Ed25519 => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
        }
        .is_ok()
    }
}

/// ECDSA takes the digest as a number, so one algorithm does for every hash of 32 bytes: the crypto library has none with SHA3-256.
fn verify_sha3(
    algorithm: &'static EcdsaVerificationAlgorithm,
    curve: Curve,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    let digest = digest::digest(&digest::SHA3_256, message);
    low_s::is_low(signature, curve)
        && Digest::import_less_safe(digest.as_ref(), &digest::SHA256)
            .and_then(|digest| UnparsedPublicKey::new(algorithm, key).verify_digest(&digest, signature))
            .is_ok()
}
