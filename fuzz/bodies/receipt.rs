//! A receipt of any bytes: refused, or one whose statements really meet a policy.

use snapferry::catalog::JoinReceipt;

/// Runs the verifier.
pub(crate) fn body(data: &[u8]) {
    if let Ok(receipt) = JoinReceipt::verify(data, None) {
        assert!(!receipt.agreed().vouchers().is_empty());
    }
}
