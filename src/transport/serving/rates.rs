//! How much each organisation is sent: one token bucket, shared by all its sessions.
//!
//! Whoever is over its rate waits, before a chunk buffer is taken for it: so it holds nothing that others need. Nothing is refused.
//! Chunks count, by the bytes that go out; lists of values and control frames are small and don't.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{
    msp::MspId,
    snapshot::CHUNK_BYTES,
    transport::limits::{RATE_BURST, RUN_CHUNKS_MAX},
};

/// The buckets of all organisations that ask. Only members of the channels get here, so there are few.
#[derive(Debug)]
pub(super) struct Rates {
    /// Bytes a second; `None`: as fast as it goes.
    per_org: Option<u64>,
    begun: Instant,
    buckets: Mutex<BTreeMap<MspId, Bucket>>,
}

impl Rates {
    pub(super) fn new(per_org: Option<u64>) -> Self {
        Self { per_org, begun: Instant::now(), buckets: Mutex::default() }
    }

    /// Waits until that organisation may be sent so many bytes. Dropped while it waits, nothing is taken.
    pub(super) async fn take<'a>(&'a self, org: &'a MspId, bytes: u64) -> Taken<'a> {
        let mut taken = Taken { rates: self, org, unused: bytes };
        if let Some(rate) = self.per_org {
            let now = self.begun.elapsed();
            let wait = {
                let mut buckets = self.buckets();
                let bucket = match buckets.get_mut(org) {
                    Some(bucket) => bucket,
                    None => buckets.entry(org.clone()).or_insert_with(|| Bucket::new(rate)),
                };
                bucket.take(now, bytes)
            };
            if !wait.is_zero() {
                sleep(wait).await;
            }
        } else {
            taken.unused = 0;
        }
        taken
    }

    fn buckets(&self) -> MutexGuard<'_, BTreeMap<MspId, Bucket>> {
        // A bucket is one point in time: it can't be left half changed.
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to send bytes; what isn't sent is given back.
#[must_use]
pub(super) struct Taken<'a> {
    rates: &'a Rates,
    org: &'a MspId,
    unused: u64,
}

impl Taken<'_> {
    /// So many go out.
    pub(super) fn spend(mut self, bytes: u64) {
        self.unused = self.unused.saturating_sub(bytes);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.unused > 0
            && let Some(bucket) = self.rates.buckets().get_mut(self.org)
        {
            bucket.give_back(self.unused);
        }
    }
}

/// A token bucket as one point in time: when it would be full again. Times count from any fixed moment.
#[derive(Debug)]
struct Bucket {
    bytes_per_s: u64,
    full_at: Duration,
}

impl Bucket {
    const fn new(bytes_per_s: u64) -> Self {
        Self { bytes_per_s, full_at: Duration::ZERO }
    }

    /// Takes bytes out, now or in advance; how long to wait until they may go.
    fn take(&mut self, now: Duration, bytes: u64) -> Duration {
        self.full_at = self.full_at.max(now).saturating_add(self.time(bytes));
        self.full_at.saturating_sub(now).saturating_sub(self.time(self.burst_bytes()))
    }

    /// They don't go after all.
    fn give_back(&mut self, bytes: u64) {
        self.full_at = self.full_at.saturating_sub(self.time(bytes));
    }

    /// What it holds: a second's worth, but a whole run at least.
    fn burst_bytes(&self) -> u64 {
        let second = u128::from(self.bytes_per_s) * RATE_BURST.as_nanos() / NANOS;
        u64::try_from(second).unwrap_or(u64::MAX).max(u64::from(RUN_CHUNKS_MAX) * CHUNK_BYTES)
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

    proptest! {
        /// Defence: an organisation's bytes are counted together. Removed, it takes its share once per session.
        #[test]
        fn no_stretch_of_time_sees_more_than_the_rate_and_one_burst(
            rate in 1_u64 << 20..1 << 32,
            asked in prop::collection::vec((0_u64..5_000, 0_u64..=CHUNK_BYTES, any::<bool>()), 1..200),
        ) {
            let mut bucket = Bucket::new(rate);
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
            let burst = u128::from(bucket.burst_bytes());
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
        let mut bucket = Bucket::new(1 << 20);
        let now = Duration::from_secs(1_000);
        for _ in 0..RUN_CHUNKS_MAX {
            assert_eq!(bucket.take(now, CHUNK_BYTES), Duration::ZERO);
        }
        assert_eq!(bucket.take(now, CHUNK_BYTES), Duration::from_secs(1));
        bucket.give_back(CHUNK_BYTES);
        assert_eq!(bucket.take(now + Duration::from_secs(1), CHUNK_BYTES), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_waiting_takes_nothing_and_other_organisations_do_not_wait() {
        let (one, other) = (MspId::new("Org1MSP").unwrap(), MspId::new("Org2MSP").unwrap());
        let rates = Rates::new(Some(1 << 20));
        let begun = Instant::now();
        for _ in 0..RUN_CHUNKS_MAX {
            rates.take(&one, CHUNK_BYTES).await.spend(CHUNK_BYTES);
        }
        assert!(tokio::time::timeout(Duration::from_millis(1), rates.take(&one, CHUNK_BYTES)).await.is_err());
        rates.take(&other, CHUNK_BYTES).await.spend(CHUNK_BYTES);
        assert!(begun.elapsed() < Duration::from_millis(10));
        // Half of it is enough once it is compressed.
        rates.take(&one, CHUNK_BYTES).await.spend(CHUNK_BYTES / 2);
        rates.take(&one, CHUNK_BYTES).await.spend(CHUNK_BYTES);
        let waited = begun.elapsed();
        assert!(waited >= Duration::from_millis(1_499) && waited <= Duration::from_millis(1_510), "{waited:?}");
    }
}
