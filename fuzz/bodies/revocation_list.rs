//! A revocation list of any bytes: refused, or read whole; never with anything behind it or with its end missing.

use snapferry::msp::is_revocation_list;

/// Reads `data` as PEM or DER.
pub(crate) fn body(data: &[u8]) {
    if is_revocation_list(data) && !data.starts_with(b"-----") {
        assert!(!is_revocation_list(&[data, &[0]].concat()));
        assert!(!is_revocation_list(data.split_last().expect("a list isn't empty").1));
    }
}
