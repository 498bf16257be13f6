//! An attestation as a file, and as it is kept: the wire's `Attestation {1 body, 2 signature}`, in canonical bytes.

use bytes::Bytes;

use super::{ATTESTATION_BODY_BYTES_MAX, Attestation, AttestationError, attestation::SIGNATURE_BYTES_MAX};
use crate::snapshot::{
    WireError,
    protobuf::{Fields, Value, put_bytes},
};

/// Longest file that is read as one attestation, in bytes.
pub const ATTESTATION_FILE_BYTES_MAX: usize = ATTESTATION_BODY_BYTES_MAX + SIGNATURE_BYTES_MAX + 16;

/// A file that holds no attestation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttestationFileError {
    /// Too long.
    #[error("{0} bytes are more than an attestation has")]
    TooLong(usize),
    /// Not the wire form.
    #[error("no attestation: it {0}")]
    Wire(#[from] WireError),
    /// The attestation in it.
    #[error(transparent)]
    Attestation(#[from] AttestationError),
}

/// The bytes of a file that holds this attestation.
#[must_use]
pub fn encode_attestation_file(attestation: &Attestation) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 << 10);
    put_bytes(&mut out, 1, attestation.body_bytes());
    put_bytes(&mut out, 2, attestation.signature());
    out
}

/// The attestation in a file; its signature is checked.
///
/// # Errors
/// [`AttestationFileError`].
pub fn decode_attestation_file(bytes: &[u8]) -> Result<Attestation, AttestationFileError> {
    if bytes.len() > ATTESTATION_FILE_BYTES_MAX {
        return Err(AttestationFileError::TooLong(bytes.len()));
    }
    let (mut body, mut signature) = (&[][..], &[][..]);
    for field in Fields::of(bytes) {
        match field? {
            (1, Value::Bytes(value)) => body = value,
            (2, Value::Bytes(value)) => signature = value,
            (field, _) => return Err(WireError::Field(field).into()),
        }
    }
    Ok(Attestation::from_wire(Bytes::copy_from_slice(body), Bytes::copy_from_slice(signature))?)
}
