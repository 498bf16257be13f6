//! An audit log of any bytes: a fault at a line, or a chain that ends where it says.

use snapferry::catalog::{AuditError, check_audit};

/// Runs the check, over all of it and over what it says is whole.
pub(crate) fn body(data: &[u8]) {
    match check_audit(data, None) {
        Ok(summary) => {
            assert_eq!(summary.whole_bytes + summary.torn_bytes, data.len() as u64);
            let whole = data.get(..summary.whole_bytes as usize).expect("it is a part of the data");
            let again = check_audit(whole, Some(summary.head).filter(|_| summary.records > 0)).expect("it holds");
            assert_eq!((again.records, again.head, again.torn_bytes), (summary.records, summary.head, 0));
        }
        Err(AuditError::Line { line, .. }) => assert!(line > 0),
        Err(error) => panic!("{error}"),
    }
}
