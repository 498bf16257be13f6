//! Metadata of any bytes: refused, or encoded to the same bytes again.

use snapferry::snapshot::{AdditionalMetadata, SignableMetadata};

/// Runs both parsers.
pub(crate) fn body(data: &[u8]) {
    if let Ok(metadata) = SignableMetadata::parse(data) {
        assert_eq!(metadata.bytes(), data);
        assert!((4..=8).contains(&metadata.files().len()));
    }
    if let Ok(metadata) = AdditionalMetadata::parse(data) {
        assert_eq!(metadata.encode(), data);
    }
}
