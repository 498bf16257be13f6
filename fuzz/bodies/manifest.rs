//! A manifest of any bytes: refused, or encoded to the same bytes again.

use snapferry::snapshot::Manifest;

/// Runs the decoder.
pub(crate) fn body(data: &[u8]) {
    if let Ok(manifest) = Manifest::decode(data) {
        assert_eq!(manifest.encode(), data);
        assert_eq!(manifest.files().len(), manifest.signable().files().len());
    }
}
