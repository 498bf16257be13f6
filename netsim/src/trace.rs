//! What happened to every datagram: two hashes to tell runs apart, counters of faults, and a bounded log to draw a timeline from.
//!
//! It records only; what happens is decided by [`crate::link`] and [`crate::net`].

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    ops::Add,
    time::Duration,
};

use crate::{Fate, Fates};

/// Datagrams that met a fault, by kind. One datagram can meet several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Lost by chance.
    pub lost: u64,
    /// Dropped by a full queue.
    pub tail_dropped: u64,
    /// Delivered twice.
    pub doubled: u64,
    /// Arrived after one that was sent later in the same direction (the sense of RFC 4737); doubles aside.
    pub reordered: u64,
    /// Arrived with a bit flipped.
    pub corrupted: u64,
    /// Sent into a link that is down, or a partition.
    pub cut: u64,
    /// Larger than the link's MTU. Path MTU discovery runs into these by design.
    pub too_big: u64,
}

impl Faults {
    /// All but [`Self::too_big`].
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.lost + self.tail_dropped + self.doubled + self.reordered + self.corrupted + self.cut
    }

    /// Counts what a link did to one datagram. What was overtaken shows only on arrival, so it isn't counted here.
    pub fn count(&mut self, fates: &Fates) {
        match fates.first {
            Fate::Lost => self.lost += 1,
            Fate::TailDropped => self.tail_dropped += 1,
            Fate::Cut => self.cut += 1,
            Fate::TooBig => self.too_big += 1,
            Fate::Arrives { .. } => {}
        }
        let flipped = |fate| matches!(fate, Fate::Arrives { flip_bit: Some(_), .. });
        self.doubled += u64::from(fates.double.is_some());
        self.corrupted += u64::from(flipped(fates.first) || fates.double.is_some_and(flipped));
    }
}

impl Add for Faults {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            lost: self.lost + other.lost,
            tail_dropped: self.tail_dropped + other.tail_dropped,
            doubled: self.doubled + other.doubled,
            reordered: self.reordered + other.reordered,
            corrupted: self.corrupted + other.corrupted,
            cut: self.cut + other.cut,
            too_big: self.too_big + other.too_big,
        }
    }
}

/// Something that happened, at a time since the net was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// See [`Event`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A datagram was sent, and the link has decided.
    Sent {
        /// Its source as the receiver sees it.
        from: SocketAddr,
        /// Where it was sent to.
        to: SocketAddr,
        /// Its length in bytes.
        len: usize,
        /// What happens to it.
        fates: Fates,
    },
    /// A copy came to its end of the link and nobody took it.
    Unheard {
        /// Its source as the receiver would have seen it.
        from: SocketAddr,
        /// Where it was sent to.
        to: SocketAddr,
        /// Its length in bytes.
        len: usize,
        /// Why.
        why: Unheard,
    },
    /// Somebody did something to the world: a crash, a partition, whatever the test marks. Not part of the hashes.
    Mark(String),
}

/// Why a datagram that arrived wasn't taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unheard {
    /// No such address, no such port, or one that was bound after the datagram was sent.
    Nobody,
    /// Its sender crashed after it was sent.
    SenderCrashed,
    /// The receiver's socket buffer is full.
    BufferFull,
}

/// The trace of one net.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) shape: Hash,
    pub(crate) content: Hash,
    pub(crate) hashes_content: bool,
    pub(crate) faults: Faults,
    pub(crate) datagrams: u64,
    log: VecDeque<Event>,
    /// None are kept unless asked for: a campaign of many seeds needs only hashes and counters.
    log_events_max: usize,
}

impl Trace {
    pub(crate) fn sent(&mut self, at: Duration, (from, to): (SocketAddr, SocketAddr), bytes: &[u8], fates: Fates) {
        self.datagrams += 1;
        self.faults.count(&fates);
        self.shape.datagram(1, at, from, to, bytes.len());
        self.shape.fate(Some(fates.first));
        self.shape.fate(fates.double);
        if self.hashes_content {
            self.content.bytes(bytes);
        }
        self.log(at, || What::Sent { from, to, len: bytes.len(), fates });
    }

    pub(crate) fn unheard(&mut self, at: Duration, (from, to): (SocketAddr, SocketAddr), len: usize, why: Unheard) {
        self.shape.datagram(2, at, from, to, len);
        self.shape.word(why as u64);
        self.log(at, || What::Unheard { from, to, len, why });
    }

    pub(crate) fn mark(&mut self, at: Duration, text: String) {
        self.log(at, || What::Mark(text));
    }

    /// Keeps the last `events_max` events from now on.
    pub(crate) fn keep(&mut self, events_max: usize) {
        self.log_events_max = events_max;
        self.log.drain(..self.log.len().saturating_sub(events_max));
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.log.iter().cloned().collect()
    }

    fn log(&mut self, at: Duration, what: impl FnOnce() -> What) {
        if self.log_events_max == 0 {
            return;
        }
        if self.log.len() >= self.log_events_max {
            self.log.pop_front();
        }
        self.log.push_back(Event { at, what: what() });
    }
}

/// A running hash of 64 bits, each word mixed in by splitmix64's finaliser: it tells runs apart, it keeps nobody out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Hash(u64);

impl Hash {
    pub(crate) const fn value(self) -> u64 {
        self.0
    }

    pub(crate) fn word(&mut self, word: u64) {
        self.0 = crate::Rng::new(self.0 ^ word).bits();
    }

    pub(crate) fn ip(&mut self, ip: IpAddr) {
        let bits = match ip {
            IpAddr::V4(ip) => u128::from(ip.to_bits()),
            IpAddr::V6(ip) => ip.to_bits(),
        };
        self.word((bits >> 64) as u64);
        self.word(bits as u64);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        for piece in bytes.chunks(8) {
            self.word(piece.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        }
    }

    fn datagram(&mut self, tag: u64, at: Duration, from: SocketAddr, to: SocketAddr, len: usize) {
        self.word(tag);
        self.time(at);
        for address in [from, to] {
            self.ip(address.ip());
            self.word(u64::from(address.port()));
        }
        self.word(len as u64);
    }

    fn fate(&mut self, fate: Option<Fate>) {
        match fate {
            None => self.word(0),
            Some(Fate::Arrives { at, flip_bit }) => {
                self.word(1);
                self.time(at);
                self.word(flip_bit.map_or(0, |bit| bit + 1));
            }
            Some(Fate::Cut) => self.word(2),
            Some(Fate::TooBig) => self.word(3),
            Some(Fate::Lost) => self.word(4),
            Some(Fate::TailDropped) => self.word(5),
        }
    }

    fn time(&mut self, time: Duration) {
        self.word(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }
}
