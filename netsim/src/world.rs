//! The state of a net behind its one lock: datagrams under way, ordered by (time, sequence), and how one is sent and arrives.
//!
//! One sequence numbers datagrams, sockets and crashes alike, so that a smaller number was there first: a datagram with a smaller
//! number than its sender's last crash, or than the socket that it would reach, vanishes.

use std::{cmp::Ordering, collections::BinaryHeap, fmt, net::SocketAddr, task::Waker, time::Duration};

use bytes::Bytes;
use quinn::udp::EcnCodepoint;

use crate::{
    Fate, Link, LinkState, Rng,
    machines::{BUFFER_BYTES_MAX, Machines, Received},
    record::{Observer, Packet},
    trace::{Trace, Unheard},
    wires::{Direction, Wires},
};

pub(crate) struct World {
    pub(crate) machines: Machines,
    pub(crate) wires: Wires,
    pub(crate) trace: Trace,
    pub(crate) observers: Vec<Observer>,
    under_way: BinaryHeap<UnderWay>,
    last_number: u64,
}

/// Of a datagram that is sent: what the socket knows.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) now: Duration,
    /// The sending machine; `None` for injected datagrams.
    pub(crate) machine: Option<usize>,
    /// Its own address.
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) ecn: Option<EcnCodepoint>,
    pub(crate) bytes: &'a Bytes,
}

#[derive(Debug)]
struct UnderWay {
    at: Duration,
    number: u64,
    double: bool,
    machine: Option<usize>,
    direction: Direction,
    from: SocketAddr,
    to: SocketAddr,
    ecn: Option<EcnCodepoint>,
    bytes: Bytes,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            machines: Machines::default(),
            wires: Wires::new(seed),
            trace: Trace::default(),
            observers: Vec::new(),
            under_way: BinaryHeap::new(),
            last_number: 0,
        }
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Sends a datagram; true if the pump has to look at its clock anew.
    pub(crate) fn send(&mut self, out: &Outgoing<'_>) -> bool {
        let Outgoing { now, machine, from: inside, to, ecn, bytes } = *out;
        let from = machine.map_or(inside, |machine| self.machines.seen_as(machine, inside));
        for observer in &mut self.observers {
            observer(&Packet { at: now, from, to, ecn, bytes: bytes.clone() });
        }
        let receiver = self.machines.owner(to);
        let direction = (inside.ip(), receiver.map_or(to, |(_, inside)| inside).ip());
        let fates = if machine.is_some() && machine == receiver.map(|(machine, _)| machine) {
            // A host talks to itself over no link.
            Link::default().deliver(&mut LinkState::default(), now, bytes.len(), &mut Rng::new(0))
        } else {
            self.wires.deliver(direction, now, bytes.len())
        };
        self.trace.sent(now, (from, to), bytes, fates);
        let before = self.next_at();
        for (fate, double) in [(Some(fates.first), false), (fates.double, true)] {
            let Some(Fate::Arrives { at, flip_bit }) = fate else { continue };
            let bytes = flip_bit.map_or_else(|| bytes.clone(), |bit| flipped(bytes, bit));
            let number = self.number();
            self.under_way.push(UnderWay { at, number, double, machine, direction, from, to, ecn, bytes });
        }
        self.next_at() != before
    }

    /// When the next datagram arrives.
    pub(crate) fn next_at(&self) -> Option<Duration> {
        self.under_way.peek().map(|next| next.at)
    }

    /// Lets everything arrive that is due; gives the readers to wake.
    pub(crate) fn arrive(&mut self, now: Duration) -> Vec<Waker> {
        let mut readers = Vec::new();
        while self.next_at().is_some_and(|at| at <= now) {
            let Some(datagram) = self.under_way.pop() else { break };
            let (ends, len) = ((datagram.from, datagram.to), datagram.bytes.len());
            match self.take_in(datagram) {
                Ok(reader) => readers.extend(reader),
                Err(why) => self.trace.unheard(now, ends, len, why),
            }
        }
        readers
    }

    fn take_in(&mut self, datagram: UnderWay) -> Result<Option<Waker>, Unheard> {
        if datagram.machine.is_some_and(|machine| datagram.number < self.machines.machine(machine).crashed_before) {
            return Err(Unheard::SenderCrashed);
        }
        if !datagram.double && self.wires.overtaken(datagram.direction, datagram.number) {
            self.trace.faults.reordered += 1;
        }
        let (machine, inside) = self.machines.owner(datagram.to).ok_or(Unheard::Nobody)?;
        let (number, bound) = self.machines.listener(machine, inside).ok_or(Unheard::Nobody)?;
        if datagram.number < number {
            return Err(Unheard::Nobody);
        }
        if bound.inbox_bytes + datagram.bytes.len() > BUFFER_BYTES_MAX {
            return Err(Unheard::BufferFull);
        }
        bound.inbox_bytes += datagram.bytes.len();
        let UnderWay { from, ecn, bytes, .. } = datagram;
        bound.inbox.push_back(Received { from, to: inside.ip(), ecn, bytes });
        Ok(bound.reader.take())
    }

    /// How many datagrams are under way.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.len()
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("under_way", &self.under_way.len()).finish_non_exhaustive()
    }
}

/// The same bytes but for one bit.
pub(crate) fn flipped(bytes: &Bytes, bit: u64) -> Bytes {
    let mut bytes = bytes.to_vec();
    if let Some(byte) = usize::try_from(bit / 8).ok().and_then(|at| bytes.get_mut(at)) {
        *byte ^= 1 << (bit % 8);
    }
    bytes.into()
}

/// The earliest is the greatest, for [`BinaryHeap`] gives the greatest first.
impl Ord for UnderWay {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for UnderWay {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for UnderWay {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for UnderWay {}
