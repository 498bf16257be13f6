//! Chunks from a lying source: any bytes are refused or fill the buffer exactly; what we compress comes back.

use snapferry::chunking::{Codec, CodecContext, ZSTD_LEVEL};

/// `data`: raw length (3 bytes, up to 1 MiB), then the wire bytes.
pub fn body(data: &[u8]) {
    let Some((&[a, b, c], wire)) = data.split_first_chunk::<3>() else { return };
    let raw_len = (u32::from_be_bytes([0, a, b, c]) as usize).min(1 << 20);
    let mut context = CodecContext::new();
    let mut raw = vec![0; raw_len];
    let decoded = context.decompress(Codec::Zstd, wire, &mut raw);
    assert!(decoded.is_err() || wire.len() < raw_len, "a frame is smaller than its chunk");
    assert_eq!(context.decompress(Codec::None, wire, &mut raw).is_ok(), wire.len() == raw_len);

    let mut sent = Vec::new();
    let codec = context.compress(wire, ZSTD_LEVEL, &mut sent);
    let mut back = vec![0; wire.len()];
    context
        .decompress(codec, if codec == Codec::None { wire } else { &sent }, &mut back)
        .expect("our own chunk decodes");
    assert_eq!(back, wire);
}
