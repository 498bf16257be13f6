//! SignedAuth of any bytes: refused, or of one role and no other.

use snapferry::transport::session::is_signed_auth;

/// Decodes `data` as what a client and as what a server sends.
pub(crate) fn body(data: &[u8]) {
    assert!(!(is_signed_auth(data, false) && is_signed_auth(data, true)), "reflected");
}
