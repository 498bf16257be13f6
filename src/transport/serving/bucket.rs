//! A token bucket: how long something has to wait so that a rate holds.
//!
//! A value without a clock: times are handed in, and count from any fixed moment.

use std::time::Duration;

/// A token bucket as one point in time: when it would be full again. Times count from any fixed moment.
#[derive(Debug)]
pub(super) struct Bucket {
    bytes_per_s: u64,
    burst_bytes: u64,
    full_at: Duration,
}

impl Bucket {
    /// Full: it lets `burst_bytes` through at once, and then its rate.
    pub(super) const fn new(bytes_per_s: u64, burst_bytes: u64) -> Self {
        Self { bytes_per_s, burst_bytes, full_at: Duration::ZERO }
    }

    /// Takes bytes out, now or in advance; how long to wait until they may go.
    pub(super) fn take(&mut self, now: Duration, bytes: u64) -> Duration {
        self.full_at = self.full_at.max(now).saturating_add(self.time(bytes));
        self.full_at.saturating_sub(now).saturating_sub(self.time(self.burst_bytes))
    }

    /// They don't go after all.
    pub(super) fn give_back(&mut self, bytes: u64) {
        self.full_at = self.full_at.saturating_sub(self.time(bytes));
    }

    fn time(&self, bytes: u64) -> Duration {
        let nanos = (u128::from(bytes) * NANOS).div_ceil(u128::from(self.bytes_per_s.max(1)));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

const NANOS: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{snapshot::CHUNK_BYTES, transport::limits::RUN_CHUNKS_MAX};

    const BURST: u64 = RUN_CHUNKS_MAX as u64 * CHUNK_BYTES;

    proptest! {
        /// Defence: an organisation's bytes are counted together. Removed, it takes its share once per session.
        #[test]
        fn no_stretch_of_time_sees_more_than_the_rate_and_one_burst(
            rate in 1_u64 << 20..1 << 32,
            asked in prop::collection::vec((0_u64..5_000, 0_u64..=CHUNK_BYTES, any::<bool>()), 1..200),
        ) {
            let mut bucket = Bucket::new(rate, BURST);
            let mut now = Duration::ZERO;
            let mut sent: Vec<(Duration, u64)> = Vec::new();
            for (pause_ms, bytes, given_up) in asked {
                now += Duration::from_millis(pause_ms);
                let wait = bucket.take(now, bytes);
                // First come, first served.
                prop_assert!(sent.last().is_none_or(|(last, _)| given_up || now + wait >= *last));
                if given_up {
                    bucket.give_back(bytes);
                } else {
                    sent.push((now + wait, bytes));
                }
            }
            let burst = u128::from(BURST);
            for (first, (begin, _)) in sent.iter().enumerate() {
                let mut bytes = 0;
                for (end, more) in &sent[first..] {
                    bytes += u128::from(*more);
                    let allowed = burst + u128::from(rate) * (*end - *begin).as_nanos() / NANOS;
                    // Each wait is rounded to a nanosecond.
                    prop_assert!(bytes <= allowed + u128::from(rate) / NANOS * 200 + 200, "{bytes} of {allowed}");
                }
            }
        }
    }

    #[test]
    fn a_full_bucket_lets_a_run_through_and_then_its_rate() {
        let mut bucket = Bucket::new(1 << 20, BURST);
        let now = Duration::from_secs(1_000);
        for _ in 0..RUN_CHUNKS_MAX {
            assert_eq!(bucket.take(now, CHUNK_BYTES), Duration::ZERO);
        }
        assert_eq!(bucket.take(now, CHUNK_BYTES), Duration::from_secs(1));
        bucket.give_back(CHUNK_BYTES);
        assert_eq!(bucket.take(now + Duration::from_secs(1), CHUNK_BYTES), Duration::ZERO);
    }
}
