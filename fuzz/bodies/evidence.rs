//! Evidence of any bytes: refused, or two signed statements of one organisation that differ, the same again from what was read.

use snapferry::catalog::Equivocation;

/// Runs the reader and the verifier.
pub(crate) fn body(data: &[u8]) {
    if let Ok(evidence) = Equivocation::decode(data) {
        let again = Equivocation::decode(&evidence.encode()).expect("it was written by us");
        assert_eq!(again.encode(), evidence.encode());
        let [one, other] = evidence.statements();
        assert_eq!((&one.body().id, one.identity().msp_id()), (&other.body().id, other.identity().msp_id()));
        assert_ne!(one.body(), other.body());
        let _ = evidence.verify(None);
    }
}
