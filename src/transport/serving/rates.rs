//! How fast chunks go out: one token bucket per organisation, shared by all its sessions, and one for everybody while the host is busy.
//!
//! Where there is a rate, its bytes are taken in turn ([`super::turns`]): by the members of an organisation, and on a busy host by the
//! organisations. So whoever asks on all its streams waits with one chunk at a time, and nobody else waits for its others.
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

use super::{bucket::Bucket, turns::Turns};
use crate::{
    catalog::Holder,
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
    /// Of all, while the host is busy.
    turns: Turns,
    begun: Instant,
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    of_org: BTreeMap<MspId, OfOrg>,
    /// Of all together, while the host is busy.
    yielding: Bucket,
}

/// What the sessions of one organisation share.
#[derive(Debug)]
struct OfOrg {
    turns: Turns,
    bucket: Bucket,
}

impl Buckets {
    fn of_org(&mut self, rate: u64, org: &MspId) -> &mut OfOrg {
        let full = || OfOrg { turns: Turns::default(), bucket: Bucket::new(rate, burst_bytes(rate)) };
        self.of_org.entry(org.clone()).or_insert_with(full)
    }
}

impl Rates {
    pub(super) fn new(per_org: Option<u64>, busy: watch::Receiver<bool>) -> Self {
        let yielding = Bucket::new(YIELDING_RATE, CHUNK_BYTES);
        let buckets = Mutex::new(Buckets { of_org: BTreeMap::new(), yielding });
        Self { per_org, busy, turns: Turns::default(), begun: Instant::now(), buckets }
    }

    /// Waits until that member may be sent so many bytes. Dropped while it waits, nothing is taken.
    pub(super) async fn take<'a>(&'a self, member: &'a Holder, bytes: u64) -> Taken<'a> {
        let of_org = match self.per_org {
            Some(rate) => Some(self.take_of_org(rate, member, bytes).await),
            None => None,
        };
        let mut busy = self.busy.clone();
        let yielding = if *busy.borrow_and_update() {
            tokio::select! {
                biased;
                // Over as soon as the host is free again, or nobody says any more whether it is. What was booked is given back: else
                // the next busy moment would begin with a debt.
                _ = busy.wait_for(|busy| !busy) => None,
                booked = self.take_yielding(member, bytes) => Some(booked),
            }
        } else {
            None
        };
        Taken { of_org, yielding }
    }

    async fn take_of_org<'a>(&'a self, rate: u64, member: &'a Holder, bytes: u64) -> Booked<'a> {
        let org = &member.msp_id;
        let turns = self.buckets().of_org(rate, org).turns.clone();
        let _turn = turns.next(member).await;
        let wait = self.buckets().of_org(rate, org).bucket.take(self.begun.elapsed(), bytes);
        let booked = Booked { rates: self, org: Some(org), bytes };
        sleep_for(wait).await;
        booked
    }

    async fn take_yielding(&self, member: &Holder, bytes: u64) -> Booked<'_> {
        let _turn = self.turns.next(member).await;
        let wait = self.buckets().yielding.take(self.begun.elapsed(), bytes);
        let booked = Booked { rates: self, org: None, bytes };
        sleep_for(wait).await;
        booked
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
    of_org: Option<Booked<'a>>,
    yielding: Option<Booked<'a>>,
}

impl Taken<'_> {
    /// So many go out.
    pub(super) fn spend(mut self, bytes: u64) {
        for booked in [&mut self.of_org, &mut self.yielding].into_iter().flatten() {
            booked.bytes = booked.bytes.saturating_sub(bytes);
        }
    }
}

/// Bytes taken from a bucket and not sent: dropped, it has them again.
struct Booked<'a> {
    rates: &'a Rates,
    /// Whose bucket; `None`: everybody's.
    org: Option<&'a MspId>,
    bytes: u64,
}

impl Drop for Booked<'_> {
    fn drop(&mut self) {
        let mut buckets = self.rates.buckets();
        match self.org {
            None => buckets.yielding.give_back(self.bytes),
            Some(org) => {
                if let Some(of_org) = buckets.of_org.get_mut(org) {
                    of_org.bucket.give_back(self.bytes);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
