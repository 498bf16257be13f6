//! How long chunks take, from being asked to being here: a sketch of their distribution that forgets.

use std::time::Duration;

/// Buckets per doubling: a quantile is at most a fifth too high.
const PER_DOUBLING: u32 = 4;
/// From 1 ms to some 9 hours; what is outside counts in the first or the last bucket.
const BUCKETS: usize = 25 * PER_DOUBLING as usize;
/// Quantiles of fewer samples say nothing.
const SAMPLES_MIN: u32 = 8;
/// With so many samples all counts are halved: the sketch follows a path that changes within some hundred chunks.
const SAMPLES_MAX: u32 = 512;

/// Counts of chunk times in logarithmic buckets: integers and a fixed size, so the same on every machine.
#[derive(Debug, Clone)]
pub(super) struct ChunkTimes {
    counts: [u32; BUCKETS],
    samples: u32,
}

impl ChunkTimes {
    pub(super) const fn new() -> Self {
        Self { counts: [0; BUCKETS], samples: 0 }
    }

    pub(super) fn add(&mut self, time: Duration) {
        if let Some(count) = self.counts.get_mut(bucket(time)) {
            *count += 1;
            self.samples += 1;
        }
        if self.samples >= SAMPLES_MAX {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.samples = self.counts.iter().sum();
        }
    }

    /// The time within which 95 of 100 chunks came; `None` while too few did.
    pub(super) fn p95(&self) -> Option<Duration> {
        if self.samples < SAMPLES_MIN {
            return None;
        }
        let rank = (self.samples * 95).div_ceil(100);
        let mut seen = 0;
        let reached = |count: &u32| {
            seen += count;
            seen >= rank
        };
        self.counts.iter().position(reached).map(upper_end)
    }
}

/// The bucket of a time: its power of two in milliseconds, and which quarter of the way to the next.
fn bucket(time: Duration) -> usize {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    let doublings = millis.ilog2();
    let quarter = (u128::from(millis - (1 << doublings)) * u128::from(PER_DOUBLING)) >> doublings;
    (doublings as usize * PER_DOUBLING as usize + quarter as usize).min(BUCKETS - 1)
}

/// What no time in the bucket exceeds.
fn upper_end(bucket: usize) -> Duration {
    let (doublings, quarter) = (bucket / PER_DOUBLING as usize, bucket % PER_DOUBLING as usize);
    Duration::from_millis(1 << doublings) * (PER_DOUBLING + 1 + quarter as u32) / PER_DOUBLING
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn every_time_lies_below_the_end_of_its_bucket_and_not_far_below() {
        for millis in (1..2_000).chain([1 << 20, (1 << 24) + 12_345]) {
            let (time, end) = (MS * millis, upper_end(bucket(MS * millis)));
            assert!(time < end && end <= time * 5 / 4 + MS, "{time:?} {end:?}");
        }
        for far in [Duration::ZERO, Duration::MAX] {
            assert!(bucket(far) < BUCKETS);
        }
    }

    #[test]
    fn one_slow_chunk_in_a_hundred_does_not_move_it_and_a_slower_path_does() {
        let mut times = ChunkTimes::new();
        (0..7).for_each(|_| times.add(10 * MS));
        assert_eq!(times.p95(), None);
        for n in 0..1_000 {
            times.add(if n % 100 == 0 { 9_000 * MS } else { 100 * MS });
        }
        assert!((100 * MS..=128 * MS).contains(&times.p95().unwrap()), "{:?}", times.p95());
        (0..SAMPLES_MAX).for_each(|_| times.add(400 * MS));
        assert!(times.p95().unwrap() > 400 * MS);
        assert!(times.samples < SAMPLES_MAX);
    }
}
