//! Who gets a seat: caps per address, per organisation and in all.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::ServeLimits;
use crate::msp::MspId;

/// Handshakes under way at a time; with more the service is being flooded, and new ones are refused at once.
const HANDSHAKES_MAX: usize = 64;

/// Who sits where.
#[derive(Debug)]
pub(super) struct Seats {
    limits: ServeLimits,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    handshakes: usize,
    sessions: usize,
    by_address: BTreeMap<IpAddr, usize>,
    by_org: BTreeMap<MspId, usize>,
}

/// A place for one connection, free again when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    address: IpAddr,
    org: Option<MspId>,
}

impl Seats {
    pub(super) fn new(limits: ServeLimits) -> Arc<Self> {
        Arc::new(Self { limits, taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Counters can't be left half changed.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Handshakes under way.
    pub(super) fn handshakes(&self) -> usize {
        self.taken().handshakes
    }

    /// A place for a handshake from that address; `None`: refused.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        // The same host by either family.
        let address = address.to_canonical();
        let mut taken = self.taken();
        let from_there = taken.by_address.get(&address).copied().unwrap_or(0);
        if taken.handshakes >= HANDSHAKES_MAX || from_there >= self.limits.sessions_per_address {
            return None;
        }
        taken.handshakes += 1;
        taken.by_address.insert(address, from_there + 1);
        Some(Seat { seats: Arc::clone(self), address, org: None })
    }
}

impl Seat {
    /// Turns the handshake into a session of that organisation; false: it has its share already, or all seats are taken.
    pub(super) fn accept(&mut self, org: &MspId) -> bool {
        let mut taken = self.seats.taken();
        let of_org = taken.by_org.get(org).copied().unwrap_or(0);
        let limits = &self.seats.limits;
        if self.org.is_some() || taken.sessions >= limits.sessions || of_org >= limits.sessions_per_org {
            return false;
        }
        taken.handshakes -= 1;
        taken.sessions += 1;
        taken.by_org.insert(org.clone(), of_org + 1);
        drop(taken);
        self.org = Some(org.clone());
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        match self.org.take() {
            None => taken.handshakes -= 1,
            Some(org) => {
                taken.sessions -= 1;
                leave(&mut taken.by_org, &org);
            }
        }
        leave(&mut taken.by_address, &self.address);
    }
}

fn leave<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(sessions: usize) -> Arc<Seats> {
        Seats::new(ServeLimits { sessions, sessions_per_org: 2, sessions_per_address: 3, ..ServeLimits::default() })
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn an_address_gets_its_share_by_either_family() {
        let seats = seats(10);
        let held: Vec<Seat> = (0..3).filter_map(|_| seats.enter(ip(1))).collect();
        assert_eq!(held.len(), 3);
        assert!(seats.enter(ip(1)).is_none());
        assert!(seats.enter("::ffff:10.0.0.1".parse().unwrap()).is_none());
        assert!(seats.enter(ip(2)).is_some());
        drop(held);
        assert!(seats.enter(ip(1)).is_some());
        assert!(seats.taken().by_address.is_empty(), "nothing is left behind");
    }

    #[test]
    fn an_organisation_gets_its_share_from_wherever() {
        let (seats, org1, org2) = (seats(3), MspId::new("Org1MSP").unwrap(), MspId::new("Org2MSP").unwrap());
        let mut held: Vec<Seat> = (0..4).filter_map(|last| seats.enter(ip(last))).collect();
        assert!(held[0].accept(&org1) && held[1].accept(&org1));
        assert!(!held[2].accept(&org1), "two are its share");
        assert!(held[2].accept(&org2));
        assert!(!held[3].accept(&org2), "three in all");
        held.remove(0);
        assert!(held[2].accept(&org2));
        drop(held);
        assert_eq!((seats.handshakes(), seats.taken().sessions), (0, 0));
        assert!(seats.taken().by_org.is_empty());
    }

    /// N7: the seats.
    #[test]
    fn a_flood_of_handshakes_is_refused() {
        let seats = seats(10);
        let held: Vec<Seat> = (0..100).filter_map(|last| seats.enter(ip(last))).collect();
        assert_eq!(held.len(), HANDSHAKES_MAX);
    }
}
