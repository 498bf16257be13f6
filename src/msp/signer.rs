//! Our own private key: what signs as us. Never printed.

use std::fmt;

use aws_lc_rs::{
    digest,
    error::Unspecified,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
        Ed25519KeyPair, KeyPair,
    },
};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};

use super::{
    low_s::{self, Curve},
    signature::Purpose,
};

/// A private key from a PEM file (PKCS#8, or SEC1 for EC). Keys in hardware would be one more variant.
pub enum Signer {
    /// ECDSA over P-256.
    P256(Box<EcdsaKeyPair>),
    /// ECDSA over P-384.
    P384(Box<EcdsaKeyPair>),
    /// Ed25519.
    Ed25519(Box<Ed25519KeyPair>),
}

impl Signer {
    /// The key of a PEM text; `None` if there is none of a kind that MSP identities may have.
    #[must_use]
    pub fn from_pem(pem: &[u8]) -> Option<Self> {
        let key = PrivateKeyDer::from_pem_slice(pem).ok()?;
        let ecdsa = |algorithm: &'static EcdsaSigningAlgorithm| {
            match &key {
                PrivateKeyDer::Pkcs8(key) => EcdsaKeyPair::from_pkcs8(algorithm, key.secret_pkcs8_der()),
                key => EcdsaKeyPair::from_private_key_der(algorithm, key.secret_der()),
            }
            .ok()
            .map(Box::new)
        };
        ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .map(Self::P256)
            .or_else(|| ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING).map(Self::P384))
            .or_else(|| {
                Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_der()).ok().map(Box::new).map(Self::Ed25519)
            })
    }

    /// The signature over the purpose's prefix and the parts; ECDSA with low S.
    ///
    /// # Errors
    /// If the crypto library fails.
    pub fn sign(&self, purpose: Purpose, parts: &[&[u8]]) -> Result<Vec<u8>, Unspecified> {
        self.sign_message(&purpose.message(parts))
    }

    /// The signature over exactly those bytes; ECDSA with low S.
    pub(super) fn sign_message(&self, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        match self {
            Self::P256(key) => {
                let signature = key.sign(&SystemRandom::new(), message)?;
                low_s::lowered(signature.as_ref(), Curve::P256).ok_or(Unspecified)
            }
            Self::P384(key) => {
                let signature = key.sign_digest(&sha256_as_384(message)?)?;
                low_s::lowered(signature.as_ref(), Curve::P384).ok_or(Unspecified)
            }
            Self::Ed25519(key) => Ok(key.try_sign(message)?.as_ref().to_vec()),
        }
    }

    /// The public key's bits, as in a certificate.
    pub(super) fn public_key(&self) -> &[u8] {
        match self {
            Self::P256(key) | Self::P384(key) => key.public_key().as_ref(),
            Self::Ed25519(key) => key.public_key().as_ref(),
        }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P256(_) => "Signer(P-256, secret)",
            Self::P384(_) => "Signer(P-384, secret)",
            Self::Ed25519(_) => "Signer(Ed25519, secret)",
        })
    }
}

/// SHA-256 of the message in 48 bytes: ECDSA over P-384 takes the digest as a number, so zeros in front change nothing. The
/// crypto library has no P-384 signing with SHA-256, which is Fabric's rule.
fn sha256_as_384(message: &[u8]) -> Result<digest::Digest, Unspecified> {
    let short = digest::digest(&digest::SHA256, message);
    let padded = [&[0; 16], short.as_ref()].concat();
    digest::Digest::import_less_safe(&padded, &digest::SHA384)
}
