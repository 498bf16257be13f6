//! What a Fabric peer answers, of any bytes: refused, or within its bounds.

use snapferry::peer::{
    CHANNELS_MAX, ChainInfo, JoinStatus, PENDINGS_MAX, Refused, decode_channels, decode_pendings, decode_response,
};

/// Runs the decoders.
pub(crate) fn body(data: &[u8]) {
    if let Ok(channels) = decode_channels(data) {
        assert!(channels.len() <= CHANNELS_MAX && channels.is_sorted());
    }
    if let Ok(pendings) = decode_pendings(data) {
        assert!(pendings.len() <= PENDINGS_MAX && pendings.is_sorted());
    }
    let _ = ChainInfo::decode(data);
    if let Ok(JoinStatus::InProgress { folder }) = JoinStatus::decode(data) {
        assert!(folder.len() <= 4096 && !folder.chars().any(char::is_control));
    }
    if let Ok(Err(refused)) = decode_response(data.to_vec().into()) {
        assert!(!refused.text().chars().any(char::is_control));
    }
    let refused = Refused::new(&String::from_utf8_lossy(data));
    assert!(!refused.text().chars().any(char::is_control));
}
