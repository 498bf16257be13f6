//! Bytes of a stream in order, as quinn hands them out, copied once to where they belong.

use std::{
    array,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::{Buf, Bytes};
use quinn::{ReadError, RecvStream};

use crate::chunking::{BufferPool, PooledBuf};

/// Segments taken from quinn in one call: a datagram's worth each, so about a fifth of a chunk at MTU 6400.
const SEGMENTS: usize = 32;

/// Reads a stream; every method can be cancelled and called again without losing a byte.
#[derive(Debug)]
pub(super) struct Pieces {
    recv: RecvStream,
    segments: [Bytes; SEGMENTS],
    /// The first segment that isn't used up, and one behind the last.
    next: usize,
    end: usize,
    received: Arc<AtomicU64>,
    buffers: BufferPool,
}

impl Pieces {
    pub(super) fn new(recv: RecvStream, received: Arc<AtomicU64>, buffers: BufferPool) -> Self {
        Self { recv, segments: array::from_fn(|_| Bytes::new()), next: 0, end: 0, received, buffers }
    }

    /// A buffer of `len` bytes for what comes next.
    pub(super) fn buffer(&self, len: usize) -> PooledBuf {
        self.buffers.take(len)
    }

    /// Fills `to` from `*filled` on; false if the stream ended before.
    pub(super) async fn fill(&mut self, to: &mut [u8], filled: &mut usize) -> Result<bool, ReadError> {
        while *filled < to.len() {
            if !self.refill().await? {
                return Ok(false);
            }
            let (Some(segment), Some(rest)) = (self.segments.get_mut(self.next), to.get_mut(*filled..)) else {
                return Ok(false);
            };
            let count = segment.len().min(rest.len());
            if let Some(part) = rest.get_mut(..count) {
                segment.copy_to_slice(part);
            }
            *filled += count;
        }
        Ok(true)
    }

    /// Whether the stream has ended and nothing is left.
    pub(super) async fn ended(&mut self) -> Result<bool, ReadError> {
        Ok(!self.refill().await?)
    }

    /// Makes sure that the next segment has a byte; false at the end of the stream.
    async fn refill(&mut self) -> Result<bool, ReadError> {
        loop {
            while self.next < self.end {
                match self.segments.get_mut(self.next) {
                    Some(segment) if !segment.is_empty() => return Ok(true),
                    Some(segment) => {
                        // The datagram behind it is freed.
                        *segment = Bytes::new();
                        self.next += 1;
                    }
                    None => break,
                }
            }
            let Some(count) = self.recv.read_chunks(&mut self.segments).await? else { return Ok(false) };
            (self.next, self.end) = (0, count);
            let bytes: usize = self.segments.iter().take(count).map(Bytes::len).sum();
            self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    pub(super) fn stop(&mut self, code: quinn::VarInt) {
        // Already ended: nothing to stop.
        let _ = self.recv.stop(code);
    }
}
