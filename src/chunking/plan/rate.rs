//! How fast a source is: wire bytes per second while it owes something, and chunks per second from that.

use std::time::Duration;

use crate::snapshot::CHUNK_BYTES;

/// Bytes are gathered this long before they count as a sample: chunks arrive in bursts.
const SAMPLE_MIN: Duration = Duration::from_millis(50);
/// Time constant of the moving average: a 100-fold drop shows within a second or two, one late packet doesn't.
const MEMORY: Duration = Duration::from_millis(500);
/// Fewer bytes found no rate: how long they take is the round trip, and a source with small files only would count as slow.
pub(super) const FOUNDED_BY_BYTES: u64 = 64 << 10;
/// Lower bound of a rate in bytes/s, so that no division runs away.
const RATE_MIN: f64 = 1.0;

/// Moving average of a source's rate.
#[derive(Debug, Clone)]
pub(super) struct Rate {
    wire_bytes_per_s: Option<f64>,
    /// Wire bytes per chunk: compression makes it less than 1 MiB.
    wire_bytes_per_chunk: f64,
    since: Duration,
    gathered: u64,
}

impl Rate {
    pub(super) fn new() -> Self {
        Self { wire_bytes_per_s: None, wire_bytes_per_chunk: CHUNK_BYTES as f64, since: Duration::ZERO, gathered: 0 }
    }

    /// Wire bytes per second; `None` before the first whole chunk of some size.
    pub(super) fn wire_bytes_per_s(&self) -> Option<f64> {
        self.wire_bytes_per_s
    }

    /// Chunks per second; `None` before the first whole chunk of some size.
    pub(super) fn chunks_per_s(&self) -> Option<f64> {
        self.wire_bytes_per_s.map(|rate| rate / self.wire_bytes_per_chunk)
    }

    /// The source owes something again: what went before was idle time.
    pub(super) fn start(&mut self, now: Duration) {
        (self.since, self.gathered) = (now, 0);
    }

    /// Bytes of an unfinished chunk. They can correct a rate, not found one.
    pub(super) fn bytes(&mut self, now: Duration, bytes: u64) {
        self.gathered = self.gathered.saturating_add(bytes);
        if self.wire_bytes_per_s.is_some() && now.saturating_sub(self.since) >= SAMPLE_MIN {
            self.fold(now);
        }
    }

    /// The rest of a chunk of `wire_bytes`, `raw_bytes` long when decoded.
    pub(super) fn chunk(&mut self, now: Duration, rest: u64, wire_bytes: u64, raw_bytes: u64) {
        if raw_bytes == CHUNK_BYTES {
            self.wire_bytes_per_chunk += (wire_bytes.max(1) as f64 - self.wire_bytes_per_chunk) / 8.0;
        }
        self.bytes(now, rest);
        if self.wire_bytes_per_s.is_none() && self.gathered >= FOUNDED_BY_BYTES {
            self.fold(now);
        }
    }

    /// A deadline passed: what came until now is what it can do, and at most half of what was believed.
    pub(super) fn late(&mut self, now: Duration) {
        self.fold(now);
        self.wire_bytes_per_s = self.wire_bytes_per_s.map(|rate| (rate / 2.0).max(RATE_MIN));
    }

    fn fold(&mut self, now: Duration) {
        let seconds = now.saturating_sub(self.since).as_secs_f64().max(0.001);
        let sample = (self.gathered as f64 / seconds).max(RATE_MIN);
        let weight = seconds / (seconds + MEMORY.as_secs_f64());
        self.wire_bytes_per_s = Some(self.wire_bytes_per_s.map_or(sample, |rate| rate + (sample - rate) * weight));
        self.start(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_follows_what_arrives_and_ignores_idle_time() {
        let mut rate = Rate::new();
        let mut now = Duration::ZERO;
        rate.start(now);
        rate.bytes(now, 100);
        assert_eq!(rate.chunks_per_s(), None, "no rate before a whole chunk");
        rate.chunk(now + Duration::from_millis(50), 100, 100, 100);
        assert_eq!(rate.chunks_per_s(), None, "a small file says nothing");
        rate.start(now);
        for _ in 0..50 {
            now += Duration::from_millis(100);
            rate.chunk(now, CHUNK_BYTES, CHUNK_BYTES, CHUNK_BYTES);
        }
        let chunks = rate.chunks_per_s().unwrap();
        assert!((9.9..10.2).contains(&chunks), "{chunks}");
        now += Duration::from_secs(3600);
        rate.start(now);
        assert_eq!(rate.chunks_per_s(), Some(chunks));
        rate.late(now + Duration::from_secs(2));
        assert!(rate.chunks_per_s().unwrap() < 1.5, "two silent seconds and a missed deadline count");
    }
}
