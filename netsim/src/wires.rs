//! All directions of a net: which [`Link`] is between two addresses, what is cut, and each direction's own chance.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use crate::{Fates, Link, LinkState, Rng, trace::Hash};

/// From one machine's own address to another's (a NAT between them changes nothing here).
pub(crate) type Direction = (IpAddr, IpAddr);

/// All directions from one group of addresses to another.
pub(crate) fn directions(from: &[IpAddr], to: &[IpAddr]) -> Vec<Direction> {
    from.iter().flat_map(|from| to.iter().map(|to| (*from, *to))).collect()
}

#[derive(Debug)]
pub(crate) struct Wires {
    seed: u64,
    default: Link,
    wires: BTreeMap<Direction, Wire>,
    cuts: BTreeSet<Direction>,
}

#[derive(Debug)]
struct Wire {
    /// `None`: the default, whatever it is at the moment.
    link: Option<Link>,
    state: LinkState,
    rng: Rng,
    /// Sequence number of the latest sent datagram that has arrived.
    newest: u64,
}

impl Wires {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, default: Link::default(), wires: BTreeMap::new(), cuts: BTreeSet::new() }
    }

    pub(crate) fn set_default(&mut self, link: Link) {
        self.default = link;
    }

    pub(crate) fn set(&mut self, direction: Direction, link: Link) {
        self.wire(direction).link = Some(link);
    }

    pub(crate) fn get(&self, direction: Direction) -> Link {
        self.wires.get(&direction).and_then(|wire| wire.link.clone()).unwrap_or_else(|| self.default.clone())
    }

    pub(crate) fn cut(&mut self, direction: Direction) {
        self.cuts.insert(direction);
    }

    pub(crate) fn mend(&mut self, direction: Direction) {
        self.cuts.remove(&direction);
    }

    pub(crate) fn mend_all(&mut self) {
        self.cuts.clear();
    }

    pub(crate) fn deliver(&mut self, direction: Direction, now: Duration, len: usize) -> Fates {
        let cut = self.cuts.contains(&direction);
        let default = self.default.clone();
        let wire = self.wire(direction);
        let mut link = wire.link.clone().unwrap_or(default);
        link.up &= !cut;
        link.deliver(&mut wire.state, now, len, &mut wire.rng)
    }

    /// Notes that the datagram with this number has arrived; true if one that was sent later is already there.
    pub(crate) fn overtaken(&mut self, direction: Direction, number: u64) -> bool {
        let wire = self.wire(direction);
        let late = number < wire.newest;
        wire.newest = wire.newest.max(number);
        late
    }

    fn wire(&mut self, direction: Direction) -> &mut Wire {
        let seed = self.seed;
        self.wires.entry(direction).or_insert_with(|| {
            // Each direction draws from a generator of its own: traffic elsewhere doesn't move its faults.
            let mut hash = Hash::default();
            hash.word(seed);
            hash.ip(direction.0);
            hash.ip(direction.1);
            Wire { link: None, state: LinkState::default(), rng: Rng::new(hash.value()), newest: 0 }
        })
    }
}
