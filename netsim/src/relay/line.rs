//! One direction of a relay as a value: takes a datagram and the time, gives those that are due. Moves none itself.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use bytes::Bytes;

use super::Passed;
use crate::{Fate, Link, LinkState, Rng};

/// What waits here at most, in bytes: more than 1 Gbit/s with a latency of 400 ms. What comes on top is dropped as by a full queue.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// A datagram that waits: its client (source or destination), and whether it can count as overtaken.
#[derive(Debug)]
struct Waiting {
    client: SocketAddr,
    number: u64,
    double: bool,
    bytes: Bytes,
}

#[derive(Debug)]
pub(super) struct Line {
    pub(super) link: Link,
    pub(super) passed: Passed,
    state: LinkState,
    rng: Rng,
    waiting: BTreeMap<(Duration, u64), Waiting>,
    waiting_bytes: usize,
    last_number: u64,
    newest: u64,
}

impl Line {
    pub(super) fn new(link: Link, seed: u64) -> Self {
        Self {
            link,
            passed: Passed::default(),
            state: LinkState::default(),
            rng: Rng::new(seed),
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            last_number: 0,
            newest: 0,
        }
    }

    pub(super) fn send(&mut self, now: Duration, client: SocketAddr, bytes: &[u8]) {
        let mut fates = self.link.deliver(&mut self.state, now, bytes.len(), &mut self.rng);
        if self.waiting_bytes + 2 * bytes.len() > WAITING_BYTES_MAX {
            fates = crate::Fates { first: Fate::TailDropped, double: None };
        }
        self.passed.datagrams += 1;
        self.passed.faults.count(&fates);
        let bytes = Bytes::copy_from_slice(bytes);
        for (fate, double) in [(Some(fates.first), false), (fates.double, true)] {
            let Some(Fate::Arrives { at, flip_bit }) = fate else { continue };
            let bytes = flip_bit.map_or_else(|| bytes.clone(), |bit| crate::world::flipped(&bytes, bit));
            self.last_number += 1;
            self.waiting_bytes += bytes.len();
            let number = self.last_number;
            self.waiting.insert((at, number), Waiting { client, number, double, bytes });
        }
    }

    pub(super) fn next_at(&self) -> Option<Duration> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next datagram that is due, and its client.
    pub(super) fn due(&mut self, now: Duration) -> Option<(SocketAddr, Bytes)> {
        let next = self.waiting.first_entry().filter(|next| next.key().0 <= now)?;
        let Waiting { client, number, double, bytes } = next.remove();
        self.waiting_bytes -= bytes.len();
        if !double {
            self.passed.faults.reordered += u64::from(number < self.newest);
            self.newest = self.newest.max(number);
        }
        Some((client, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn client() -> SocketAddr {
        "127.0.0.1:9".parse().unwrap()
    }

    fn all(line: &mut Line, now: Duration) -> Vec<usize> {
        std::iter::from_fn(|| line.due(now)).map(|(_, bytes)| bytes.len()).collect()
    }

    #[test]
    fn what_is_held_back_comes_later_and_counts_as_overtaken_once() {
        let held = Link { latency: MS, reorder_ppm: 1_000_000, reorder_delay: MS * 5, ..Link::default() };
        let mut line = Line::new(held, 1);
        line.send(Duration::ZERO, client(), &[0; 1]);
        line.link.reorder_ppm = 0;
        line.link.duplicate_ppm = 1_000_000;
        line.send(Duration::ZERO, client(), &[0; 2]);
        line.send(MS, client(), &[0; 3]);
        assert_eq!(line.next_at(), Some(MS));
        assert_eq!(all(&mut line, MS), [2, 2]);
        assert_eq!(all(&mut line, MS * 6), [3, 3, 1]);
        let passed = &line.passed;
        assert_eq!((passed.datagrams, passed.faults.reordered, passed.faults.doubled), (3, 1, 2));
    }

    #[test]
    fn no_more_waits_than_fits() {
        let mut line = Line::new(Link { latency: MS, ..Link::default() }, 1);
        let datagram = vec![0; 1 << 16];
        (0..2000).for_each(|_| line.send(Duration::ZERO, client(), &datagram));
        let fits = (WAITING_BYTES_MAX >> 16) as u64 - 1; // room is kept for a double
        assert_eq!(line.passed.faults.tail_dropped, 2000 - fits);
        assert_eq!(all(&mut line, MS).len() as u64, fits);
        line.send(MS, client(), &datagram);
        assert_eq!(all(&mut line, MS * 2).len(), 1, "there is room again");
    }
}
