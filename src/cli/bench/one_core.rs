//! What one core does with the very bytes that are transferred: the ceilings beside which a transfer is judged.

use crate::cli::exit::Failure;
use sha2::{Digest as _, Sha256};
use snapferry::{
    chunking::{Codec, CodecContext, ZSTD_LEVEL},
    snapshot::{CHUNK_BYTES, SnapshotFile},
};
use std::{fs::File, io::Read as _, path::Path, time::Duration};
use tokio::time::Instant;

/// Bytes that are looked at: enough for a steady figure.
const BYTES_MAX: u64 = 256 << 20;

/// Time per step for `bytes` of the state.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OneCore {
    pub(super) bytes: u64,
    pub(super) sha256: Duration,
    pub(super) blake3: Duration,
    /// zstd at the level of transfers, in chunks.
    pub(super) compress: Duration,
    pub(super) compressed_bytes: u64,
    /// Of those chunks that became smaller.
    pub(super) decompress: Duration,
    pub(super) decompressed_bytes: u64,
}

/// Measures with the state's file of the snapshot in `folder`.
pub(super) fn measure(folder: &Path) -> Result<OneCore, Failure> {
    let mut file = File::open(folder.join(SnapshotFile::PublicStateData.name()))?.take(BYTES_MAX);
    let mut chunk = Vec::with_capacity(CHUNK_BYTES as usize);
    let (mut wire, mut raw) = (Vec::with_capacity(CHUNK_BYTES as usize), vec![0; CHUNK_BYTES as usize]);
    let (mut sha256, mut blake3) = (Sha256::new(), blake3::Hasher::new());
    let mut codec = CodecContext::new();
    let mut sums = OneCore::default();
    loop {
        chunk.clear();
        file.by_ref().take(CHUNK_BYTES).read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            break;
        }
        sums.bytes += chunk.len() as u64;
        timed(&mut sums.sha256, || sha256.update(&chunk));
        timed(&mut sums.blake3, || blake3.update(&chunk));
        let how = timed(&mut sums.compress, || codec.compress(&chunk, ZSTD_LEVEL, &mut wire));
        if how == Codec::None {
            sums.compressed_bytes += chunk.len() as u64;
            continue;
        }
        sums.compressed_bytes += wire.len() as u64;
        let raw = raw.get_mut(..chunk.len()).unwrap_or_default();
        if timed(&mut sums.decompress, || codec.decompress(how, &wire, raw)).is_ok() {
            sums.decompressed_bytes += chunk.len() as u64;
        }
    }
    std::hint::black_box((sha256.finalize(), blake3.finalize()));
    Ok(sums)
}

fn timed<T>(sum: &mut Duration, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let done = std::hint::black_box(work());
    *sum += started.elapsed();
    done
}
