//! One chunk as it travels: plain, or as one independent zstd frame. Hashes are always over the raw bytes, so a codec
//! can't change what is true.
//!
//! What a lying source can make of a frame is bounded before it is decoded: exactly one frame, no dictionary, a window
//! of at most 1 MiB, and never more bytes than the caller's buffer holds (a bomb of 32 KiB for 1 GiB ends there).

use std::fmt;

use zstd::zstd_safe::{CCtx, DCtx, find_frame_compressed_size};

use crate::snapshot::CHUNK_BYTES;

/// zstd level for chunks that are compressed while they are sent: 447 MB/s in at a ratio of 3.9 on state data; level 3
/// takes twice the time for nothing.
pub const ZSTD_LEVEL: i32 = 1;
/// Largest window that a frame may ask for: that of one chunk, so decoding takes no memory beside the caller's buffer.
pub const WINDOW_LOG_MAX: u32 = 20;
/// A compressed chunk must be smaller than this share of the raw one: below a gain of 5 % the receiver's work isn't
/// worth it.
const GAIN: (usize, usize) = (95, 100);

/// How the bytes of a chunk travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// As they are.
    None,
    /// As one zstd frame, smaller than the raw bytes.
    Zstd,
}

/// Wire bytes that aren't the chunk they claim to be: always the source's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// Plain bytes of another length, or a frame that is no smaller than the raw bytes.
    #[error("{wire_len} bytes of codec {codec:?} can't be a chunk of {raw_len} bytes")]
    WireLength {
        /// The codec.
        codec: Codec,
        /// Bytes on the wire.
        wire_len: usize,
        /// Bytes of the chunk.
        raw_len: usize,
    },
    /// No zstd frame, one with a dictionary, or more or less than one.
    #[error("the chunk is not exactly one zstd frame without a dictionary")]
    NotOneFrame,
    /// A frame that asks for more memory than a chunk has bytes.
    #[error("the zstd frame asks for a window over 2^{WINDOW_LOG_MAX} bytes")]
    Window,
    /// A damaged frame, or one that holds more bytes than the chunk.
    #[error("the zstd frame is damaged or holds more than the chunk's {raw_len} bytes")]
    Frame {
        /// Bytes of the chunk.
        raw_len: usize,
    },
    /// A frame that holds fewer bytes.
    #[error("the zstd frame holds {found} bytes, the chunk has {raw_len}")]
    RawLength {
        /// Bytes of the chunk.
        raw_len: usize,
        /// Bytes in the frame.
        found: usize,
    },
}

/// Reusable zstd state of one worker: no allocation per chunk.
#[derive(Default)]
pub struct CodecContext {
    compressor: CCtx<'static>,
    decompressor: DCtx<'static>,
}

impl CodecContext {
    /// Fresh contexts (some hundred KiB, taken at first use).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Compresses a chunk at `level` ([`ZSTD_LEVEL`]) into `out`, whose content is replaced. [`Codec::None`] if the
    /// gain is under 5 %: `out` is then empty, send `raw` as it is.
    #[must_use]
    pub fn compress(&mut self, raw: &[u8], level: i32, out: &mut Vec<u8>) -> Codec {
        let limit = raw.len() / GAIN.1 * GAIN.0 + raw.len() % GAIN.1 * GAIN.0 / GAIN.1;
        out.clear();
        // No more room than is useful: zstd gives up when it is used up. (The vector may have more from before.)
        out.reserve(limit);
        // The only failure is "does not fit".
        match self.compressor.compress(out, raw, level) {
            Ok(len) if len <= limit && len < raw.len() => Codec::Zstd,
            _ => {
                out.clear();
                Codec::None
            }
        }
    }

    /// Fills `raw` (at most 1 MiB: the length that size and index of the chunk give) from `wire`, using up all of it.
    ///
    /// # Errors
    /// Any [`CodecError`]; the content of `raw` is then undefined.
    pub fn decompress(&mut self, codec: Codec, wire: &[u8], raw: &mut [u8]) -> Result<(), CodecError> {
        let raw_len = raw.len();
        let fits = match codec {
            Codec::None => wire.len() == raw_len,
            Codec::Zstd => wire.len() < raw_len && raw_len as u64 <= CHUNK_BYTES,
        };
        if !fits {
            return Err(CodecError::WireLength { codec, wire_len: wire.len(), raw_len });
        }
        if codec == Codec::None {
            raw.copy_from_slice(wire);
            return Ok(());
        }
        check_frame(wire)?;
        match self.decompressor.decompress(raw, wire) {
            Ok(found) if found == raw_len => Ok(()),
            Ok(found) => Err(CodecError::RawLength { raw_len, found }),
            Err(_) => Err(CodecError::Frame { raw_len }),
        }
    }
}

impl fmt::Debug for CodecContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodecContext")
    }
}

/// Whether `wire` is exactly one frame with a window of at most 1 MiB and no dictionary (RFC 8878, 3.1.1.1).
///
/// Decoding in one call would follow a chain of frames, and knows no limit of the window (it needs none: it decodes
/// into the caller's buffer); the protocol allows neither.
fn check_frame(wire: &[u8]) -> Result<(), CodecError> {
    const MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
    const DICTIONARY: u8 = 0b0000_0011;
    const SINGLE_SEGMENT: u8 = 0b0010_0000;
    let [a, b, c, d, descriptor, window, ..] = *wire else { return Err(CodecError::NotOneFrame) };
    if [a, b, c, d] != MAGIC || descriptor & DICTIONARY != 0 || find_frame_compressed_size(wire) != Ok(wire.len()) {
        return Err(CodecError::NotOneFrame);
    }
    // A single segment has no window but its content, which must fit the buffer. Else: exponent in 5 bits, eighths in
    // 3.
    let (exponent, eighths) = (u32::from(window >> 3), window & 7);
    let window_log = 10 + exponent + u32::from(eighths != 0);
    if descriptor & SINGLE_SEGMENT == 0 && window_log > WINDOW_LOG_MAX { Err(CodecError::Window) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zstd::{stream::write::Encoder, zstd_safe::CParameter};

    use super::*;

    fn frame(raw: &[u8], parameters: &[CParameter], pledged: bool) -> Vec<u8> {
        use std::io::Write;
        let mut encoder = Encoder::new(Vec::new(), 3).unwrap();
        parameters.iter().for_each(|parameter| encoder.set_parameter(*parameter).unwrap());
        if pledged {
            encoder.set_pledged_src_size(Some(raw.len() as u64)).unwrap();
        }
        encoder.write_all(raw).unwrap();
        encoder.finish().unwrap()
    }

    fn text(len: usize) -> Vec<u8> {
        (0_u32..).flat_map(|n| format!("key{n:08};value of {}\n", n % 97).into_bytes()).take(len).collect()
    }

    #[test]
    fn a_chunk_comes_back_whatever_its_length() {
        let mut context = CodecContext::new();
        let mut wire = Vec::new();
        for len in [0, 1, 50, 1000, (1 << 20) - 1, 1 << 20] {
            let raw = text(len);
            let codec = context.compress(&raw, ZSTD_LEVEL, &mut wire);
            assert_eq!(codec, if len < 1000 { Codec::None } else { Codec::Zstd }, "{len}");
            let sent = if codec == Codec::None { &raw } else { &wire };
            let mut back = vec![9; len];
            context.decompress(codec, sent, &mut back).unwrap();
            assert_eq!(back, raw);
        }
    }

    #[test]
    fn a_gain_under_5_percent_is_not_taken() {
        let mut noise = vec![0; 1 << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let mut context = CodecContext::new();
        let mut wire = Vec::with_capacity(2 << 20);
        for (zeros, expected) in [(0, Codec::None), (40 << 10, Codec::None), (70 << 10, Codec::Zstd)] {
            noise[..zeros].fill(0);
            assert_eq!(context.compress(&noise, ZSTD_LEVEL, &mut wire), expected, "{zeros} zeros");
            assert_eq!(wire.is_empty(), expected == Codec::None);
        }
    }

    /// Defence: decompression ends at the buffer; removed, a chunk unpacks to a gibibyte.
    /// R2: the codec.
    #[test]
    fn a_bomb_ends_at_the_buffer() {
        // 1 GiB of zeros, with its size in the header and without.
        for pledged in [true, false] {
            use std::io::Write;
            let mut encoder = Encoder::new(Vec::new(), 3).unwrap();
            encoder.set_parameter(CParameter::WindowLog(20)).unwrap();
            if pledged {
                encoder.set_pledged_src_size(Some(1 << 30)).unwrap();
            }
            let zeros = vec![0; 1 << 20];
            (0..1024).for_each(|_| encoder.write_all(&zeros).unwrap());
            let bomb = encoder.finish().unwrap();
            assert!(bomb.len() < 64 << 10);
            let mut raw = vec![0; 1 << 20];
            let refusal = CodecContext::new().decompress(Codec::Zstd, &bomb, &mut raw);
            assert_eq!(refusal, Err(CodecError::Frame { raw_len: 1 << 20 }));
        }
    }

    /// Defence: the window is capped; removed, a header makes us take 128 MiB.
    /// R3: the codec.
    #[test]
    fn a_window_bomb_is_refused_before_it_is_decoded() {
        let raw = text(5000);
        for (log, expected) in [(20, Ok(())), (21, Err(CodecError::Window)), (27, Err(CodecError::Window))] {
            let wire = frame(&raw, &[CParameter::WindowLog(log)], false);
            assert_eq!(CodecContext::new().decompress(Codec::Zstd, &wire, &mut vec![0; 5000]), expected, "{log}");
        }
    }

    #[test]
    fn only_exactly_one_frame_of_exactly_the_length_is_a_chunk() {
        let mut context = CodecContext::new();
        let raw = text(5000);
        let wire = frame(&raw, &[], true);
        let mut buf = vec![0; 5000];
        assert_eq!(context.decompress(Codec::Zstd, &wire, &mut buf), Ok(()));
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7];
        let two = [frame(&raw[..2000], &[], true), frame(&raw[2000..], &[], true)].concat();
        for (bad, what) in [
            ([wire.as_slice(), b"x"].concat(), "trailing byte"),
            ([wire.as_slice(), &skippable].concat(), "trailing skippable frame"),
            ([&skippable, wire.as_slice()].concat(), "leading skippable frame"),
            (two, "two frames that give the right bytes together"),
            (wire[..wire.len() - 1].to_vec(), "cut"),
            (Vec::new(), "nothing"),
            (b"(\xb5/\xfd".to_vec(), "only the magic number"),
        ] {
            assert_eq!(context.decompress(Codec::Zstd, &bad, &mut buf), Err(CodecError::NotOneFrame), "{what}");
        }
        let shorter = context.decompress(Codec::Zstd, &wire, &mut vec![0; 4999]);
        assert_eq!(shorter, Err(CodecError::Frame { raw_len: 4999 }));
        let longer = context.decompress(Codec::Zstd, &wire, &mut vec![0; 5001]);
        assert_eq!(longer, Err(CodecError::RawLength { raw_len: 5001, found: 5000 }));
        for (codec, wire_len) in [(Codec::None, 4999), (Codec::None, 5001), (Codec::Zstd, 5000)] {
            let refusal = context.decompress(codec, &vec![0; wire_len], &mut buf);
            assert_eq!(refusal, Err(CodecError::WireLength { codec, wire_len, raw_len: 5000 }));
        }
        assert_eq!(context.decompress(Codec::Zstd, &wire, &mut buf), Ok(()), "usable after every refusal");
        assert_eq!(buf, raw);
    }

    #[test]
    fn a_dictionary_is_refused() {
        let mut wire = frame(&text(5000), &[], true);
        wire[4] |= 1;
        assert_eq!(
            CodecContext::new().decompress(Codec::Zstd, &wire, &mut vec![0; 5000]),
            Err(CodecError::NotOneFrame)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_fill_the_buffer(at in any::<prop::sample::Index>(), flip in 1_u8.., cut in 0_usize..20) {
            let raw = text(3000);
            let mut wire = frame(&raw, &[CParameter::ChecksumFlag(true)], true);
            let at = at.index(wire.len());
            wire[at] ^= flip;
            wire.truncate(wire.len() - cut.min(wire.len()));
            let mut buf = vec![0; 3000];
            if CodecContext::new().decompress(Codec::Zstd, &wire, &mut buf).is_ok() {
                prop_assert_eq!(buf, raw, "the frame's own checksum held");
            }
        }
    }
}
