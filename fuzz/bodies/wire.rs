//! What every frame from the wire must survive: no panic, and what decodes encodes to something that decodes to the same.

use snapferry::transport::wire::{ChunkHeader, Frame};

/// Decodes `data` as a frame and as a chunk header.
pub fn body(data: &[u8]) {
    if let Ok(frame) = Frame::decode(data.to_vec().into()) {
        let again = Frame::decode(frame.clone().encode());
        assert_eq!(again.as_ref(), Ok(&frame), "a frame that we encoded");
    }
    if let Ok(header) = ChunkHeader::decode(data) {
        let bytes = header.encode();
        assert_eq!(ChunkHeader::decode(&bytes[4..]), Ok(header), "a header that we encoded");
    }
}
