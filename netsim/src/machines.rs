//! Who has which address and who listens where: hosts, their sockets, and the NATs before them.
//!
//! Decides which socket a datagram reaches and as whose it is seen; when it travels is decided by `world`.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    task::Waker,
    time::Duration,
};

use bytes::Bytes;
use quinn::udp::EcnCodepoint;
use tokio::task::AbortHandle;

use crate::SendQueue;

/// First port that is given out where port 0 is asked for (RFC 6335).
const PORT_EPHEMERAL_MIN: u16 = 49_152;
/// First port that a NAT gives out.
const PORT_OUTSIDE_MIN: u16 = 20_000;
/// What a socket holds for a program that doesn't read, in bytes: as much as the service asks of a real kernel. More is dropped.
pub(crate) const BUFFER_BYTES_MAX: usize = 4 << 20;

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) ips: Vec<IpAddr>,
    /// Whatever has a smaller number belongs to a program that has crashed.
    pub(crate) crashed_before: u64,
    pub(crate) tasks: Vec<AbortHandle>,
    pub(crate) tasks_pruned_at: usize,
    pub(crate) send_queue: Option<SendQueue>,
    next_port: u16,
    nat: Option<IpAddr>,
    outside: BTreeMap<SocketAddr, SocketAddr>,
    sockets: Vec<u64>,
}

/// A datagram in a socket's buffer.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) from: SocketAddr,
    pub(crate) to: IpAddr,
    pub(crate) ecn: Option<EcnCodepoint>,
    pub(crate) bytes: Bytes,
}

#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) machine: usize,
    pub(crate) address: SocketAddr,
    pub(crate) inbox: VecDeque<Received>,
    pub(crate) inbox_bytes: usize,
    pub(crate) reader: Option<Waker>,
    /// When the send queue will be empty.
    pub(crate) sent_at: Duration,
}

#[derive(Debug, Default)]
struct Nat {
    inside: BTreeMap<u16, (usize, SocketAddr)>,
    ports_used: u16,
}

#[derive(Debug, Default)]
pub(crate) struct Machines {
    pub(crate) machines: Vec<Machine>,
    pub(crate) sockets: BTreeMap<u64, Bound>,
    owners: BTreeMap<IpAddr, usize>,
    nats: BTreeMap<IpAddr, Nat>,
}

impl Machines {
    pub(crate) fn add(&mut self, ips: Vec<IpAddr>) -> io::Result<usize> {
        let machine = self.machines.len();
        if let Some(ip) = ips.iter().find(|ip| ip.is_unspecified() || ip.is_loopback() || ip.is_multicast()) {
            return Err(failed(io::ErrorKind::InvalidInput, format!("{ip} is no address of a host")));
        }
        for ip in &ips {
            self.claim(*ip, machine)?;
        }
        self.machines.push(Machine {
            ips,
            crashed_before: 0,
            tasks: Vec::new(),
            tasks_pruned_at: 0,
            send_queue: None,
            next_port: PORT_EPHEMERAL_MIN,
            nat: None,
            outside: BTreeMap::new(),
            sockets: Vec::new(),
        });
        Ok(machine)
    }

    fn claim(&mut self, ip: IpAddr, machine: usize) -> io::Result<()> {
        if self.owners.contains_key(&ip) || self.nats.contains_key(&ip) {
            return Err(failed(io::ErrorKind::AddrInUse, format!("{ip} is another's")));
        }
        self.owners.insert(ip, machine);
        Ok(())
    }

    pub(crate) fn machine(&mut self, machine: usize) -> &mut Machine {
        self.machines.get_mut(machine).expect("machines are never removed, and only `add` gives numbers out")
    }

    pub(crate) fn ips(&self) -> Vec<IpAddr> {
        self.owners.keys().copied().collect()
    }

    pub(crate) fn bind(&mut self, machine: usize, mut address: SocketAddr, number: u64) -> io::Result<SocketAddr> {
        let ip = address.ip();
        if !ip.is_unspecified() && self.owners.get(&ip) != Some(&machine) {
            return Err(failed(io::ErrorKind::AddrNotAvailable, format!("{ip} is not this host's")));
        }
        if address.port() == 0 {
            let mut ports = 0..=(u16::MAX - PORT_EPHEMERAL_MIN);
            let free = ports.find_map(|_| {
                let port = self.machine(machine).next_port();
                (!self.taken(machine, ip, port)).then_some(port)
            });
            address.set_port(free.ok_or_else(|| failed(io::ErrorKind::AddrInUse, "no port is free".to_owned()))?);
        } else if self.taken(machine, ip, address.port()) {
            return Err(failed(io::ErrorKind::AddrInUse, format!("{address} is bound already")));
        }
        let bound =
            Bound { machine, address, inbox: VecDeque::new(), inbox_bytes: 0, reader: None, sent_at: Duration::ZERO };
        self.sockets.insert(number, bound);
        self.machine(machine).sockets.push(number);
        Ok(address)
    }

    fn taken(&self, machine: usize, ip: IpAddr, port: u16) -> bool {
        let overlaps = |other: IpAddr| hears(other, ip) || hears(ip, other);
        self.bound(machine).any(|(_, bound)| bound.address.port() == port && overlaps(bound.address.ip()))
    }

    fn bound(&self, machine: usize) -> impl Iterator<Item = (u64, &Bound)> {
        let numbers = self.machines.get(machine).map_or(&[][..], |machine| &machine.sockets);
        numbers.iter().filter_map(|number| Some((*number, self.sockets.get(number)?)))
    }

    pub(crate) fn close(&mut self, number: u64) -> Option<Bound> {
        let bound = self.sockets.remove(&number)?;
        self.machine(bound.machine).sockets.retain(|other| *other != number);
        Some(bound)
    }

    /// Cuts all sockets; gives them, to be dropped without the lock, and the tasks to abort.
    pub(crate) fn crash(&mut self, machine: usize, number: u64) -> (Vec<Bound>, Vec<AbortHandle>) {
        let crashed = self.machine(machine);
        crashed.crashed_before = number;
        let (tasks, sockets) = (std::mem::take(&mut crashed.tasks), std::mem::take(&mut crashed.sockets));
        (sockets.iter().filter_map(|socket| self.sockets.remove(socket)).collect(), tasks)
    }

    /// The address that `machine` sends from with a socket bound to `bound`, to `to`; `None` if it has none.
    pub(crate) fn source(&self, machine: usize, bound: IpAddr, wish: Option<IpAddr>, to: IpAddr) -> Option<IpAddr> {
        let ips = &self.machines.get(machine)?.ips;
        let fixed = wish.or_else(|| (!bound.is_unspecified()).then_some(bound));
        let may = |ip: &&IpAddr| ip.is_ipv4() == to.is_ipv4() && hears(bound, **ip);
        ips.iter().filter(may).find(|ip| fixed.is_none_or(|fixed| fixed == **ip)).copied()
    }

    /// As whom others see `inside` of `machine`; a NAT remembers the mapping from now on.
    pub(crate) fn seen_as(&mut self, machine: usize, inside: SocketAddr) -> SocketAddr {
        let Some(sender) = self.machines.get_mut(machine) else { return inside };
        let Some(outside) = sender.nat.filter(|outside| outside.is_ipv4() == inside.is_ipv4()) else { return inside };
        *sender.outside.entry(inside).or_insert_with(|| {
            let nat = self.nats.entry(outside).or_default();
            let port = PORT_OUTSIDE_MIN.saturating_add(nat.ports_used);
            nat.ports_used = nat.ports_used.saturating_add(1);
            nat.inside.insert(port, (machine, inside));
            SocketAddr::new(outside, port)
        })
    }

    /// Whose address that is, and which one on the machine itself.
    pub(crate) fn owner(&self, to: SocketAddr) -> Option<(usize, SocketAddr)> {
        match self.nats.get(&to.ip()) {
            Some(nat) => nat.inside.get(&to.port()).copied(),
            None => Some((*self.owners.get(&to.ip())?, to)),
        }
    }

    /// The socket that hears `inside` of `machine`.
    pub(crate) fn listener(&mut self, machine: usize, inside: SocketAddr) -> Option<(u64, &mut Bound)> {
        let hears = |bound: &Bound| bound.address.port() == inside.port() && hears(bound.address.ip(), inside.ip());
        let number = self.bound(machine).find(|(_, bound)| hears(bound))?.0;
        Some((number, self.sockets.get_mut(&number)?))
    }

    pub(crate) fn nat(&mut self, machine: usize, outside: IpAddr) -> io::Result<()> {
        if self.owners.contains_key(&outside) {
            return Err(failed(io::ErrorKind::AddrInUse, format!("{outside} is a host's own")));
        }
        self.nats.entry(outside).or_default();
        self.machine(machine).nat = Some(outside);
        self.rebind(machine);
        Ok(())
    }

    /// The NAT forgets all mappings of `machine`; the next datagram of each socket gets a new port.
    pub(crate) fn rebind(&mut self, machine: usize) {
        self.machine(machine).outside.clear();
        for nat in self.nats.values_mut() {
            nat.inside.retain(|_, (owner, _)| *owner != machine);
        }
    }

    pub(crate) fn move_to(&mut self, machine: usize, ip: IpAddr) -> io::Result<()> {
        self.claim(ip, machine)?;
        let ips = &mut self.machine(machine).ips;
        let old: Vec<_> = ips.extract_if(.., |old| old.is_ipv4() == ip.is_ipv4()).collect();
        ips.push(ip);
        for old in old {
            self.owners.remove(&old);
        }
        Ok(())
    }
}

impl Machine {
    fn next_port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = if port == u16::MAX { PORT_EPHEMERAL_MIN } else { port + 1 };
        port
    }
}

/// Whether a socket bound to `bound` hears what is sent to `ip`: `0.0.0.0` all IPv4, `[::]` everything.
fn hears(bound: IpAddr, ip: IpAddr) -> bool {
    bound == ip || bound.is_unspecified() && (bound.is_ipv6() || ip.is_ipv4())
}

pub(crate) fn failed(kind: io::ErrorKind, why: String) -> io::Error {
    io::Error::new(kind, why)
}
