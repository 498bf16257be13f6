//! JoinGrants as files and as Hello carries them: whatever is read is what is written.

use snapferry::msp::{GRANT_BYTES_MAX, GrantBody, JoinGrant};

/// Decodes `data` as a body, which has no signature to stand in the way, and as a whole.
pub(crate) fn body(data: &[u8]) {
    if let Ok(body) = GrantBody::decode(data) {
        assert!(data.len() <= GRANT_BYTES_MAX);
        assert_eq!(body.encode(), data);
    }
    if let Ok(grant) = JoinGrant::decode(data) {
        assert_eq!(grant.encode(), data);
    }
}
