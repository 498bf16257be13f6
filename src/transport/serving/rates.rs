//! How fast chunks go out: one token bucket per organisation, shared by all its sessions, and one for everybody while the host is busy.
//!
//! Whoever is over a rate waits, before a chunk buffer is taken for it: so it holds nothing that others need. Nothing is refused: a
//! source that gives less is asked for less.
//! Chunks count, by the bytes that go out; lists of values and control frames are small and don't.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::bucket::Bucket;
use crate::{
    msp::MspId,
    snapshot::CHUNK_BYTES,
    transport::limits::{RATE_BURST, RUN_CHUNKS_MAX, YIELDING_RATE},
};

/// The buckets of all organisations that ask. Only members of the channels get here, so there are few.
#[derive(Debug)]
pub(super) struct Rates {
    /// Bytes a second; `None`: as fast as it goes.
    per_org: Option<u64>,
    /// Whether others on this host need it more.
    busy: watch::Receiver<bool>,
    begun: Instant,
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    of_org: BTreeMap<MspId, Bucket>,
    /// Of all together, while the host is busy.
    yielding: Bucket,
}

impl Rates {
    pub(super) fn new(per_org: Option<u64>, busy: watch::Receiver<bool>) -> Self {
        let yielding = Bucket::new(YIELDING_RATE, CHUNK_BYTES);
        let buckets = Mutex::new(Buckets { of_org: BTreeMap::new(), yielding });
        Self { per_org, busy, begun: Instant::now(), buckets }
    }

    /// Waits until that organisation may be sent so many bytes. Dropped while it waits, nothing is taken.
    pub(super) async fn take<'a>(&'a self, org: &'a MspId, bytes: u64) -> Taken<'a> {
        let mut taken = Taken { rates: self, org, of_org: 0, yielding: 0 };
        if let Some(rate) = self.per_org {
            taken.of_org = bytes;
            let now = self.begun.elapsed();
            let wait = {
                let mut buckets = self.buckets();
                let bucket = match buckets.of_org.get_mut(org) {
                    Some(bucket) => bucket,
                    None => buckets.of_org.entry(org.clone()).or_insert_with(|| Bucket::new(rate, burst_bytes(rate))),
                };
                bucket.take(now, bytes)
            };
            sleep_for(wait).await;
        }
        let mut busy = self.busy.clone();
        if *busy.borrow_and_update() {
            taken.yielding = bytes;
            let wait = self.buckets().yielding.take(self.begun.elapsed(), bytes);
            tokio::select! {
                biased;
                // Over as soon as the host is free again, or nobody says any more whether it is.
                _ = busy.wait_for(|busy| !busy) => {}
                () = sleep_for(wait) => {}
            }
        }
        taken
    }

    fn buckets(&self) -> MutexGuard<'_, Buckets> {
        // A bucket is one point in time: it can't be left half changed.
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an organisation's bucket holds: a second's worth, but a whole run at least.
fn burst_bytes(rate: u64) -> u64 {
    rate.saturating_mul(RATE_BURST.as_secs()).max(u64::from(RUN_CHUNKS_MAX) * CHUNK_BYTES)
}

async fn sleep_for(wait: Duration) {
    if !wait.is_zero() {
        sleep(wait).await;
    }
}

/// Leave to send bytes; what isn't sent is given back.
#[must_use]
pub(super) struct Taken<'a> {
    rates: &'a Rates,
    org: &'a MspId,
    /// Taken from either bucket, and not sent.
    of_org: u64,
    yielding: u64,
}

impl Taken<'_> {
    /// So many go out.
    pub(super) fn spend(mut self, bytes: u64) {
        self.of_org = self.of_org.saturating_sub(bytes);
        self.yielding = self.yielding.saturating_sub(bytes);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.of_org == 0 && self.yielding == 0 {
            return;
        }
        let mut buckets = self.rates.buckets();
        buckets.yielding.give_back(self.yielding);
        if let Some(bucket) = buckets.of_org.get_mut(self.org) {
            bucket.give_back(self.of_org);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_waiting_takes_nothing_and_other_organisations_do_not_wait() {
        let (one, other) = (MspId::new("Org1MSP").unwrap(), MspId::new("Org2MSP").unwrap());
        let rates = Rates::new(Some(1 << 20), watch::channel(false).1);
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

    /// Defence: one bucket for everybody while the host is busy. Removed, serving takes what the peer beside us needs.
    #[tokio::test(start_paused = true)]
    async fn while_the_host_is_busy_all_share_a_small_rate_and_nobody_waits_longer_than_that() {
        let (one, other) = (MspId::new("Org1MSP").unwrap(), MspId::new("Org2MSP").unwrap());
        let (told, busy) = watch::channel(false);
        let rates = Rates::new(None, busy);
        let chunk = Duration::from_nanos(CHUNK_BYTES * 1_000_000_000 / YIELDING_RATE);
        let begun = Instant::now();
        for _ in 0..100 {
            rates.take(&one, CHUNK_BYTES).await.spend(CHUNK_BYTES);
        }
        assert_eq!(begun.elapsed(), Duration::ZERO, "the host is free");
        told.send_replace(true);
        for _ in 0..8 {
            rates.take(&one, CHUNK_BYTES).await.spend(CHUNK_BYTES);
            rates.take(&other, CHUNK_BYTES).await.spend(CHUNK_BYTES);
            drop(rates.take(&other, CHUNK_BYTES).await);
        }
        let waited = begun.elapsed();
        // One was in the bucket, and what wasn't sent is waited for once, by whoever comes next.
        assert!(waited >= chunk * 15 && waited <= chunk * 16 + Duration::from_millis(50), "{waited:?}");
        let begun = Instant::now();
        tokio::join!(async { rates.take(&one, 64 * CHUNK_BYTES).await.spend(64 * CHUNK_BYTES) }, async {
            told.send_replace(false)
        },);
        assert_eq!(begun.elapsed(), Duration::ZERO, "free again: what waits goes at once");
    }
}
