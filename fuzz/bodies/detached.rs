//! A detached signature's file of any bytes: refused, or the same again from what was read.

use snapferry::catalog::{DETACHED_BYTES_MAX, DetachedSignature};

/// Runs the reader.
pub(crate) fn body(data: &[u8]) {
    if let Ok(signature) = DetachedSignature::decode(data) {
        assert!(data.len() <= DETACHED_BYTES_MAX);
        let again = DetachedSignature::decode(&signature.encode()).expect("it was written by us");
        assert_eq!(again.encode(), signature.encode());
        assert_eq!(again.identity().id(), signature.identity().id());
    }
}
