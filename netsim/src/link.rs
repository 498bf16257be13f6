//! One direction of a network path: decides the fate of each datagram; moves none itself.

use std::time::Duration;

use crate::Rng;

/// Settings of one direction. `Default` is a perfect wire. Chances are parts per million of datagrams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Nothing passes while it is down.
    pub up: bool,
    /// Largest UDP payload in bytes that fits; a larger one vanishes without a word (MTU black hole). `None`: all fit.
    pub mtu: Option<usize>,
    /// Time on the way.
    pub latency: Duration,
    /// Up to this much more, uniform; datagrams can overtake each other by it.
    pub jitter: Duration,
    /// Bytes per second; `None`: no limit, no queue.
    pub bandwidth_bytes_per_s: Option<u64>,
    /// Bytes that wait for the bandwidth at most; what comes on top is dropped (tail drop).
    pub queue_bytes: u64,
    /// Lost.
    pub loss_ppm: u32,
    /// Delivered twice.
    pub duplicate_ppm: u32,
    /// Held back by [`Self::reorder_delay`], so that later ones overtake it.
    pub reorder_ppm: u32,
    /// How long a reordered datagram is held back.
    pub reorder_delay: Duration,
    /// One bit flipped.
    pub corrupt_ppm: u32,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            up: true,
            mtu: None,
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            bandwidth_bytes_per_s: None,
            queue_bytes: u64::MAX,
            loss_ppm: 0,
            duplicate_ppm: 0,
            reorder_ppm: 0,
            reorder_delay: Duration::ZERO,
            corrupt_ppm: 0,
        }
    }
}

/// What the link remembers between datagrams.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkState {
    /// When the last datagram that was let in will have left the queue.
    free_at: Duration,
}

/// What happens to one copy of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It arrives.
    Arrives {
        /// When.
        at: Duration,
        /// The bit to flip, counted from the first byte's lowest; `None`: undamaged.
        flip_bit: Option<u64>,
    },
    /// The link is down.
    Cut,
    /// Larger than the link's MTU.
    TooBig,
    /// Chance.
    Lost,
    /// The queue is full.
    TailDropped,
}

/// The fates of the copies of one datagram: the second one is there only if it was doubled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fates {
    /// The datagram.
    pub first: Fate,
    /// Its double.
    pub double: Option<Fate>,
}

impl Link {
    /// Decides what happens to a datagram of `len` bytes sent at `now`. Same settings, state and generator: same fates.
    pub fn deliver(&self, state: &mut LinkState, now: Duration, len: usize, rng: &mut Rng) -> Fates {
        // All chances are drawn for every datagram: a changed setting changes its own fault only.
        let (lost, doubled) = (rng.hits(self.loss_ppm), rng.hits(self.duplicate_ppm));
        let copies = [self.chances(len, rng), self.chances(len, rng)];
        let gone = |fate| Fates { first: fate, double: None };
        if !self.up {
            return gone(Fate::Cut);
        }
        if self.mtu.is_some_and(|mtu| len > mtu) {
            return gone(Fate::TooBig);
        }
        let Some(leaves) = self.queue(state, now, len) else { return gone(Fate::TailDropped) };
        if lost {
            return gone(Fate::Lost); // behind the bottleneck: it has used its bandwidth
        }
        let [first, double] =
            copies.map(|(delay, flip_bit)| Fate::Arrives { at: leaves.saturating_add(self.latency + delay), flip_bit });
        Fates { first, double: doubled.then_some(double) }
    }

    fn chances(&self, len: usize, rng: &mut Rng) -> (Duration, Option<u64>) {
        let jitter_ns = u64::try_from(self.jitter.as_nanos()).unwrap_or(u64::MAX - 1);
        let jitter = Duration::from_nanos(rng.below(jitter_ns.saturating_add(1)));
        let held = if rng.hits(self.reorder_ppm) { self.reorder_delay } else { Duration::ZERO };
        let (hit, bit) = (rng.hits(self.corrupt_ppm), rng.below(len as u64 * 8));
        (jitter + held, (hit && len > 0).then_some(bit))
    }

    /// When the datagram leaves the bottleneck; `None` if the queue has no room for it.
    fn queue(&self, state: &mut LinkState, now: Duration, len: usize) -> Option<Duration> {
        let Some(rate) = self.bandwidth_bytes_per_s.map(|rate| rate.max(1)) else { return Some(now) };
        let begins = state.free_at.max(now);
        let waiting_bytes = (begins - now).as_nanos() * u128::from(rate) / 1_000_000_000;
        if waiting_bytes + len as u128 > u128::from(self.queue_bytes) {
            return None;
        }
        let takes_ns = len as u128 * 1_000_000_000 / u128::from(rate);
        state.free_at = begins.saturating_add(Duration::from_nanos(u64::try_from(takes_ns).unwrap_or(u64::MAX)));
        Some(state.free_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn many(link: &Link, seed: u64, count: u32) -> Vec<Fates> {
        let (mut state, mut rng) = (LinkState::default(), Rng::new(seed));
        (0..count).map(|n| link.deliver(&mut state, MS * n, 1200, &mut rng)).collect()
    }

    fn at(fates: &Fates) -> Option<Duration> {
        if let Fate::Arrives { at, .. } = fates.first { Some(at) } else { None }
    }

    #[test]
    fn a_perfect_wire_delivers_everything_at_once_and_whole() {
        for (n, fates) in (0..).zip(many(&Link::default(), 1, 100)) {
            assert_eq!(fates, Fates { first: Fate::Arrives { at: MS * n, flip_bit: None }, double: None });
        }
    }

    #[test]
    fn chances_are_met_and_a_seed_repeats_them() {
        let link = Link {
            loss_ppm: 100_000,
            duplicate_ppm: 50_000,
            corrupt_ppm: 20_000,
            jitter: MS * 3,
            latency: MS * 10,
            ..Link::default()
        };
        let fates = many(&link, 7, 20_000);
        assert_eq!(fates, many(&link, 7, 20_000));
        assert_ne!(fates, many(&link, 8, 20_000));
        let lost = fates.iter().filter(|f| f.first == Fate::Lost).count();
        let doubled = fates.iter().filter(|f| f.double.is_some()).count();
        let flips: Vec<u64> = fates
            .iter()
            .filter_map(|f| if let Fate::Arrives { flip_bit, .. } = f.first { flip_bit } else { None })
            .collect();
        assert!((1800..2200).contains(&lost) && (800..1000).contains(&doubled), "{lost} {doubled}");
        assert!((300..420).contains(&flips.len()) && flips.iter().all(|bit| *bit < 9600));
        for (n, delivered) in (0..).zip(&fates).filter_map(|(n, fates)| Some((n, at(fates)?))) {
            assert!((MS * 10..=MS * 13).contains(&(delivered - MS * n)));
        }
    }

    #[test]
    fn bandwidth_spaces_datagrams_and_a_full_queue_drops_the_tail() {
        let link = Link { bandwidth_bytes_per_s: Some(1_000_000), queue_bytes: 3000, latency: MS, ..Link::default() };
        let (mut state, mut rng) = (LinkState::default(), Rng::new(1));
        let mut send = |now| link.deliver(&mut state, now, 1000, &mut rng);
        let burst: Vec<_> = (0..5).map(|_| send(Duration::ZERO)).collect();
        assert_eq!(burst.iter().filter_map(at).collect::<Vec<_>>(), [MS * 2, MS * 3, MS * 4]);
        assert_eq!([burst[3].first, burst[4].first], [Fate::TailDropped; 2]);
        assert_eq!(at(&send(MS)), Some(MS * 5), "room for one again");
        assert_eq!(at(&send(MS * 100)), Some(MS * 102), "an idle link saves nothing up");
    }

    #[test]
    fn a_held_back_datagram_is_overtaken() {
        let link = Link { reorder_ppm: 100_000, reorder_delay: MS * 5, ..Link::default() };
        let arrivals: Vec<_> = many(&link, 3, 100).iter().filter_map(at).collect();
        assert!(!arrivals.is_sorted());
    }

    #[test]
    fn nothing_passes_a_link_that_is_down() {
        let link = Link { up: false, duplicate_ppm: 1_000_000, ..Link::default() };
        assert!(many(&link, 1, 50).iter().all(|fates| *fates == Fates { first: Fate::Cut, double: None }));
    }

    #[test]
    fn what_is_larger_than_the_mtu_vanishes() {
        let link = Link { mtu: Some(1200), ..Link::default() };
        let (mut state, mut rng) = (LinkState::default(), Rng::new(1));
        assert_eq!(link.deliver(&mut state, MS, 1201, &mut rng).first, Fate::TooBig);
        assert_eq!(link.deliver(&mut state, MS, 1200, &mut rng).first, Fate::Arrives { at: MS, flip_bit: None });
    }

    #[test]
    fn switching_one_fault_off_leaves_the_others_where_they_were() {
        let both = Link { loss_ppm: 100_000, duplicate_ppm: 100_000, ..Link::default() };
        let one = Link { duplicate_ppm: 0, ..both.clone() };
        let lost = |link: &Link| many(link, 5, 500).iter().map(|f| f.first == Fate::Lost).collect::<Vec<_>>();
        assert_eq!(lost(&both), lost(&one));
    }
}
