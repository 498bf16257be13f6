//! Buffers of one chunk that are used again: a copy into fresh pages costs as much as a SHA-256 (0.6 CPU-s/GB,
//! measured).

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::snapshot::CHUNK_BYTES;

/// Hands out buffers and keeps the returned ones. It bounds what is *kept*; how many are out is bounded by the permits
/// of the memory budget.
#[derive(Debug, Clone)]
pub struct BufferPool {
    shelf: Arc<Shelf>,
}

struct Shelf {
    free: Mutex<Vec<Box<[u8]>>>,
    kept_max: usize,
    out: AtomicUsize,
    out_peak: AtomicUsize,
}

impl BufferPool {
    /// A pool that keeps at most `kept_max` returned buffers of 1 MiB.
    #[must_use]
    pub fn new(kept_max: usize) -> Self {
        let (out, out_peak) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self { shelf: Arc::new(Shelf { free: Mutex::new(Vec::new()), kept_max, out, out_peak }) }
    }

    /// A buffer of `len` bytes, at most [`CHUNK_BYTES`] (more is cut to that). Its content is whatever it held before.
    #[must_use]
    pub fn take(&self, len: usize) -> PooledBuf {
        let recycled = self.shelf.free().pop();
        let out = self.shelf.out.fetch_add(1, Ordering::Relaxed) + 1;
        self.shelf.out_peak.fetch_max(out, Ordering::Relaxed);
        let bytes = recycled.unwrap_or_else(|| vec![0; CHUNK_BYTES as usize].into_boxed_slice());
        PooledBuf { len: len.min(bytes.len()), bytes, shelf: Arc::clone(&self.shelf) }
    }

    /// Bytes of the buffers that were out at the same time, at most: what the memory budget bounds.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        self.shelf.out_peak.load(Ordering::Relaxed) as u64 * CHUNK_BYTES
    }

    /// How many buffers wait to be taken.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.shelf.free().len()
    }
}

impl Shelf {
    fn free(&self) -> std::sync::MutexGuard<'_, Vec<Box<[u8]>>> {
        // A list of buffers can't be left half changed by a panic.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} buffers", self.free().len(), self.kept_max)
    }
}

/// A buffer of at most one chunk; it returns to its pool when it is dropped. As an owner of `bytes::Bytes` it can be
/// sent without a copy.
pub struct PooledBuf {
    bytes: Box<[u8]>,
    len: usize,
    shelf: Arc<Shelf>,
}

impl PooledBuf {
    /// Makes it `len` bytes long, at most [`CHUNK_BYTES`]; what is added is whatever it held before.
    pub fn set_len(&mut self, len: usize) {
        self.len = len.min(self.bytes.len());
    }
}

impl Deref for PooledBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl DerefMut for PooledBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }
}

impl AsRef<[u8]> for PooledBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for PooledBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PooledBuf({} bytes)", self.len)
    }
}

impl Drop for PooledBuf {
    fn drop(&mut self) {
        self.shelf.out.fetch_sub(1, Ordering::Relaxed);
        let bytes = std::mem::take(&mut self.bytes);
        let mut free = self.shelf.free();
        if free.len() < self.shelf.kept_max {
            free.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_buffer_is_used_again_and_no_more_than_the_limit_are_kept() {
        let pool = BufferPool::new(2);
        let mut first = pool.take(5);
        first.copy_from_slice(b"hello");
        let address = first.as_ptr();
        drop(first);
        let again = pool.take(3);
        assert_eq!((again.as_ptr(), &*again), (address, b"hel".as_slice()));
        let three = [again, pool.take(1 << 20), pool.take(2 << 20)];
        assert_eq!(three[2].len(), 1 << 20, "never longer than a chunk");
        drop(three);
        assert_eq!((pool.kept(), pool.peak_bytes()), (2, 3 << 20));
    }

    #[test]
    fn it_travels_as_bytes_and_returns() {
        let pool = BufferPool::new(1);
        let mut buf = pool.take(3);
        buf.copy_from_slice(b"abc");
        let bytes = bytes::Bytes::from_owner(buf);
        let part = bytes.slice(1..);
        drop(bytes);
        assert_eq!((&*part, pool.kept()), (b"bc".as_slice(), 0));
        drop(part);
        assert_eq!(pool.kept(), 1);
    }
}
