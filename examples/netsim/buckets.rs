//! A run cut into equal pieces of time, for both drawings.

use std::{collections::BTreeMap, time::Duration};

use crate::sim::run::{Report, Sample};

/// What happened in each piece of time.
pub(crate) struct Buckets {
    pub(crate) count: usize,
    pub(crate) each: Duration,
    /// Proved bytes by source and piece.
    pub(crate) bytes: BTreeMap<usize, Vec<u64>>,
    /// Proved bytes of the whole snapshot at the end of each piece, in parts of 1.
    pub(crate) done: Vec<f64>,
}

impl Buckets {
    pub(crate) fn new(report: &Report, count: usize) -> Self {
        let each = (report.took / u32::try_from(count).unwrap()).max(Duration::from_millis(1));
        let place = |at: Duration| usize::try_from(at.as_nanos() / each.as_nanos()).unwrap_or(count).min(count - 1);
        let sources = 1..=report.scenario.sources.len();
        let mut bytes: BTreeMap<usize, Vec<u64>> = sources.map(|number| (number, vec![0; count])).collect();
        let mut done = vec![0.0; count];
        let mut before: Option<&Sample> = None;
        for sample in &report.samples {
            for (number, now) in &sample.by_source {
                // A new run of the join counts from nothing.
                let earlier = before.and_then(|before| before.by_source.get(number)).filter(|earlier| *earlier <= now);
                if let Some(bytes) = bytes.get_mut(number) {
                    bytes[place(sample.at)] += now - earlier.unwrap_or(&0);
                }
            }
            let part = sample.verified_bytes as f64 / sample.total_bytes.max(1) as f64;
            done[place(sample.at)..].fill(part);
            before = Some(sample);
        }
        Self { count, each, bytes, done }
    }

    /// The piece in which something happened.
    pub(crate) fn place(&self, at: Duration) -> usize {
        usize::try_from(at.as_nanos() / self.each.as_nanos()).unwrap_or(self.count).min(self.count - 1)
    }

    /// Most bytes that one source gave in one piece.
    pub(crate) fn most(&self) -> u64 {
        self.bytes.values().flatten().copied().max().unwrap_or(0).max(1)
    }
}
