//! Makes one chunk ready to send: read, checked against our own tree, perhaps compressed; on a worker.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use super::buffers::ServeBuffer;
use crate::{
    catalog::{ReadError, ServedSnapshot},
    chunking::{Codec, Workers, ZSTD_LEVEL},
    snapshot::{ChunkIndex, ManifestHash},
    transport::wire::{ChunkHeader, WireCodec},
};

/// Chunks of a file that in a row gained nothing, after which compressing it is given up.
const MISSES_BEFORE_SKIPPING: u32 = 4;
/// While it is given up, one chunk in so many is tried again: the file's nature may change.
const RETRY_EVERY: u32 = 64;
/// Files whose compressibility is remembered; beyond, all is forgotten and learnt anew.
const FILES_REMEMBERED: usize = 256;

/// One chunk ready to send.
#[derive(Debug)]
pub(super) struct Produced {
    pub(super) header: ChunkHeader,
    /// `header.wire_len` bytes; the buffer returns when quinn has let go of them.
    pub(super) wire: Bytes,
}

/// The way from files to wire bytes, shared by all sessions.
pub(super) struct Producer {
    workers: Workers,
    compressions_max: usize,
    compressing: Arc<AtomicUsize>,
    /// Nothing is compressed while others on this host need its CPUs.
    busy: watch::Receiver<bool>,
    /// Chunks in a row without gain, by manifest and file.
    misses: Arc<Mutex<BTreeMap<(ManifestHash, u32), u32>>>,
}

/// A chunk to make.
pub(super) struct Wanted {
    pub(super) snapshot: Arc<ServedSnapshot>,
    pub(super) file_index: u32,
    pub(super) chunk: ChunkIndex,
    pub(super) accept_zstd: bool,
}

/// One of the compressions that may run at a time.
struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Producer {
    pub(super) fn new(workers: Workers, compressions_max: usize, busy: watch::Receiver<bool>) -> Self {
        Self { workers, compressions_max, compressing: Arc::default(), busy, misses: Arc::default() }
    }

    /// Makes a chunk in that buffer. `None` if the worker died of it.
    pub(super) async fn produce(&self, wanted: Wanted, mut buffer: ServeBuffer) -> Option<Result<Produced, ReadError>> {
        let (done, result) = oneshot::channel();
        let slot = if wanted.accept_zstd { self.slot(&wanted) } else { None };
        let misses = Arc::clone(&self.misses);
        self.workers.run(move |state| {
            let Wanted { snapshot, file_index, chunk, .. } = wanted;
            let made = snapshot.read_chunk(file_index, chunk, &mut buffer.bytes).map(|()| {
                let raw_len = buffer.bytes.len();
                let mut codec = Codec::None;
                if let Some(_slot) = slot {
                    codec = SCRATCH.with_borrow_mut(|scratch| {
                        let codec = state.codec.compress(&buffer.bytes, ZSTD_LEVEL, scratch);
                        if codec == Codec::Zstd {
                            // The compressed bytes go; the raw ones' memory is the next scratch.
                            std::mem::swap(&mut buffer.bytes, scratch);
                        }
                        codec
                    });
                    learn(&misses, (snapshot.entry().manifest_hash, file_index), codec);
                }
                packed(chunk, codec, raw_len, buffer)
            });
            // The stream may have been given up meanwhile: then the buffer returns here.
            let _ = done.send(made);
        });
        result.await.ok()
    }

    /// Leave to compress, unless the file has shown that it is no use, or enough compressions are running.
    fn slot(&self, wanted: &Wanted) -> Option<Slot> {
        if *self.busy.borrow() {
            return None;
        }
        let key = (wanted.snapshot.entry().manifest_hash, wanted.file_index);
        if let Some(misses) = lock(&self.misses).get_mut(&key).filter(|misses| **misses >= MISSES_BEFORE_SKIPPING) {
            *misses = misses.wrapping_add(1).max(MISSES_BEFORE_SKIPPING);
            if *misses % RETRY_EVERY != 0 {
                return None;
            }
        }
        let running = self.compressing.fetch_add(1, Ordering::Relaxed);
        let slot = Slot(Arc::clone(&self.compressing));
        (running < self.compressions_max).then_some(slot)
    }
}

thread_local! {
    /// Where a worker compresses to: fresh pages would cost more than the hash.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counters can't be left half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn learn(misses: &Mutex<BTreeMap<(ManifestHash, u32), u32>>, key: (ManifestHash, u32), codec: Codec) {
    let mut misses = lock(misses);
    match codec {
        Codec::Zstd => {
            misses.remove(&key);
        }
        Codec::None => {
            if misses.len() >= FILES_REMEMBERED && !misses.contains_key(&key) {
                misses.clear();
            }
            let count = misses.entry(key).or_insert(0);
            *count = count.saturating_add(1);
        }
    }
}

fn packed(chunk: ChunkIndex, codec: Codec, raw_len: usize, buffer: ServeBuffer) -> Produced {
    // Chunks are at most 1 MiB: lengths fit.
    let length = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    let codec = match codec {
        Codec::None => WireCodec::None,
        Codec::Zstd => WireCodec::Zstd,
    };
    let header = ChunkHeader { index: chunk, codec, raw_len: length(raw_len), wire_len: length(buffer.bytes.len()) };
    Produced { header, wire: Bytes::from_owner(buffer) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_gain_is_remembered_until_one_chunk_gains() {
        let misses = Mutex::default();
        let key = (ManifestHash([1; 32]), 4);
        for _ in 0..MISSES_BEFORE_SKIPPING {
            learn(&misses, key, Codec::None);
        }
        assert_eq!(lock(&misses).get(&key), Some(&MISSES_BEFORE_SKIPPING));
        learn(&misses, key, Codec::Zstd);
        assert_eq!(lock(&misses).get(&key), None);
        for file in 0..1_000 {
            learn(&misses, (ManifestHash([2; 32]), file), Codec::None);
            assert!(lock(&misses).len() <= FILES_REMEMBERED);
        }
    }
}
