//! What our portable JSON files have in common: strict keys, bounded sizes, base64 that is spelled one way only.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::{Attestation, AttestationError};

/// A portable file that isn't one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortableError {
    /// Longer than any.
    #[error("it has {len} bytes, at most {limit} are allowed")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not JSON of the right shape: an unknown, repeated, missing or ill-typed key, or no base64.
    #[error("it is not of the right form: {0}")]
    Json(#[from] serde_json::Error),
    /// Made by a version that isn't known here.
    #[error("its version is {0}, only 1 is known")]
    Version(u64),
}

/// Reads a file's text.
pub(super) fn from_json<'a, T: Deserialize<'a>>(bytes: &'a [u8], limit: usize) -> Result<T, PortableError> {
    if bytes.len() > limit {
        return Err(PortableError::TooLong { len: bytes.len(), limit });
    }
    Ok(serde_json::from_slice(bytes)?)
}

/// Writes a file's text, with a line's end.
pub(super) fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("texts and numbers always serialize into memory");
    bytes.push(b'\n');
    bytes
}

/// Bytes as base64 text. The engine refuses missing padding and stray bits, so each value has one spelling.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Base64(pub(super) Bytes);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(|bytes| Self(bytes.into())).map_err(D::Error::custom)
    }
}

/// An attestation as it stands in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AttestationText {
    body: Base64,
    signature: Base64,
}

impl From<&Attestation> for AttestationText {
    fn from(attestation: &Attestation) -> Self {
        Self { body: Base64(attestation.body_bytes().clone()), signature: Base64(attestation.signature().clone()) }
    }
}

impl TryFrom<AttestationText> for Attestation {
    type Error = AttestationError;
    fn try_from(text: AttestationText) -> Result<Self, AttestationError> {
        Self::from_wire(text.body.0, text.signature.0)
    }
}
