//! Rate and time left, from what was proved over the last seconds.

use std::{collections::VecDeque, time::Duration};

use super::event::{Share, TransferProgress};
use crate::chunking::plan::WaitsFor;

/// The rate is taken over so much of the past.
const WINDOW: Duration = Duration::from_secs(4);

#[derive(Debug)]
pub(super) struct Meter {
    total_bytes: u64,
    verified_bytes: u64,
    received_bytes: u64,
    /// Proved bytes by time, oldest first.
    recent: VecDeque<(Duration, u64)>,
}

impl Meter {
    pub(super) const fn new(total_bytes: u64) -> Self {
        Self { total_bytes, verified_bytes: 0, received_bytes: 0, recent: VecDeque::new() }
    }

    pub(super) const fn start_at(&mut self, bytes: u64) {
        self.verified_bytes = bytes;
    }

    pub(super) fn add(&mut self, now: Duration, bytes: u64) {
        self.verified_bytes = self.verified_bytes.saturating_add(bytes);
        self.recent.push_back((now, bytes));
    }

    pub(super) const fn remove(&mut self, bytes: u64) {
        self.verified_bytes = self.verified_bytes.saturating_sub(bytes);
    }

    /// A chunk came, whether it is right or not.
    pub(super) const fn received(&mut self, bytes: u64) {
        self.received_bytes = self.received_bytes.saturating_add(bytes);
    }

    pub(super) fn progress(&mut self, now: Duration, shares: Vec<Share>, waits_for: WaitsFor) -> TransferProgress {
        while self.recent.front().is_some_and(|(at, _)| now.saturating_sub(*at) > WINDOW) {
            self.recent.pop_front();
        }
        let bytes: u64 = self.recent.iter().map(|(_, bytes)| bytes).sum();
        let span_ms = WINDOW.min(now).as_millis().max(1);
        let bytes_per_second = u64::try_from(u128::from(bytes) * 1000 / span_ms).unwrap_or(u64::MAX);
        let verified_bytes = self.verified_bytes.min(self.total_bytes);
        let left = self.total_bytes - verified_bytes;
        TransferProgress {
            verified_bytes,
            total_bytes: self.total_bytes,
            bytes_per_second,
            eta: left.checked_div(bytes_per_second).map(Duration::from_secs),
            received_bytes: self.received_bytes,
            memory_peak_bytes: 0,
            shares,
            waiting_for: words(waits_for, now),
        }
    }
}

/// What an operator wants to know when nothing moves.
fn words(waits_for: WaitsFor, now: Duration) -> Option<String> {
    Some(match waits_for {
        WaitsFor::Local => "this machine's disk and hashing".to_owned(),
        WaitsFor::RetryAfter { until } => {
            format!("busy sources, asked again in {} s", until.saturating_sub(now).as_secs().max(1))
        }
        WaitsFor::Chunks => "chunks that no connected source has".to_owned(),
        WaitsFor::Sources => "sources: none is connected".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_forgets_what_is_long_ago() {
        let mut meter = Meter::new(1000);
        meter.add(Duration::from_secs(1), 400);
        meter.add(Duration::from_secs(7), 200);
        let progress = meter.progress(Duration::from_secs(8), Vec::new(), WaitsFor::Network);
        assert_eq!((progress.verified_bytes, progress.bytes_per_second), (600, 50));
        assert_eq!(progress.eta, Some(Duration::from_secs(8)));
    }
}
