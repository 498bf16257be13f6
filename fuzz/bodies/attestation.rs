//! What is signed in an attestation, of any bytes: refused, or encoded to the same bytes again.

use snapferry::catalog::AttestBody;

/// Runs the decoder.
pub(crate) fn body(data: &[u8]) {
    if let Ok(attestation) = AttestBody::decode(data) {
        assert_eq!(attestation.encode(), data);
        assert!(attestation.request_nonce.len() <= 64);
    }
}
