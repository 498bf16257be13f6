//! A host: its sockets, the runtime that its endpoints run on, its crash and its move.

use std::{
    fmt,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Instant,
};

use quinn::{AsyncTimer, AsyncUdpSocket, Endpoint, EndpointConfig, Runtime, ServerConfig, TokioRuntime};
use tokio::task::{AbortHandle, JoinHandle};

use crate::{Net, SendQueue, SimSocket};

/// A machine on the net. Clones are the same machine.
#[derive(Debug, Clone)]
pub struct Host {
    net: Net,
    pub(crate) machine: usize,
}

/// quinn's runtime on a host: tokio's clock and timers; what is spawned dies with the host.
struct HostRuntime {
    host: Host,
    /// When it was made, in the net's sequence: after a crash an old program's runtime spawns nothing more.
    number: u64,
}

impl Host {
    pub(crate) const fn new(net: Net, machine: usize) -> Self {
        Self { net, machine }
    }

    /// The net that it is on.
    #[must_use]
    pub const fn net(&self) -> &Net {
        &self.net
    }

    /// Its addresses.
    #[must_use]
    pub fn ips(&self) -> Vec<IpAddr> {
        self.net.world().machines.machine(self.machine).ips.clone()
    }

    /// A socket on all its addresses; port 0: one that is free, in a fixed order. With an IPv6 address it is an IPv6 socket that
    /// carries IPv4 too.
    ///
    /// # Errors
    /// `AddrInUse` if the port is taken.
    pub fn bind(&self, port: u16) -> io::Result<Arc<SimSocket>> {
        let v6 = self.ips().iter().any(IpAddr::is_ipv6);
        let all = if v6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
        self.bind_addr(SocketAddr::new(all, port))
    }

    /// A socket on one address, or with an unspecified one on all of its family (`[::]`: IPv4 too).
    ///
    /// # Errors
    /// `AddrInUse` if the port is taken, `AddrNotAvailable` if the address isn't this host's.
    pub fn bind_addr(&self, address: SocketAddr) -> io::Result<Arc<SimSocket>> {
        SimSocket::bind(&self.net, self.machine, address)
    }

    /// A quinn endpoint on [`Self::bind`]'s socket and [`Self::runtime`].
    ///
    /// # Errors
    /// Those of [`Self::bind`].
    pub fn endpoint(&self, port: u16, config: EndpointConfig, server: Option<ServerConfig>) -> io::Result<Endpoint> {
        Endpoint::new_with_abstract_socket(config, server, self.bind(port)?, self.runtime())
    }

    /// The runtime for endpoints of the program that runs now; a program that starts after a crash needs a new one.
    #[must_use]
    pub fn runtime(&self) -> Arc<dyn Runtime> {
        let number = self.net.world().number();
        Arc::new(HostRuntime { host: self.clone(), number })
    }

    /// Spawns a task of the program on this host: a crash aborts it. Tasks that this one spawns on tokio itself aren't known here.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let task = tokio::spawn(future);
        self.keep(task.abort_handle());
        task
    }

    /// The machine stops between two instructions: sockets are dead at once and without a word, datagrams under way from it or to
    /// it vanish, tasks are aborted. It can bind again right after, as a new program.
    pub fn crash(&self) {
        self.net.mark(format!("{self} crashed"));
        let mut world = self.net.world();
        let number = world.number();
        let (sockets, tasks) = world.machines.crash(self.machine, number);
        drop(world);
        drop(sockets);
        tasks.iter().for_each(AbortHandle::abort);
    }

    /// Its address of that family becomes another one. Sockets on all addresses go on under the new one, those on the old one go deaf.
    ///
    /// # Errors
    /// `AddrInUse` if the address is another's.
    pub fn move_to(&self, ip: IpAddr) -> io::Result<()> {
        let before = self.to_string();
        self.net.world().machines.move_to(self.machine, ip)?;
        self.net.mark(format!("{before} moved to {ip}"));
        Ok(())
    }

    /// Bounds what each of its sockets can have waiting, so that sends block; `None`: they never do.
    pub fn set_send_queue(&self, queue: Option<SendQueue>) {
        self.net.world().machines.machine(self.machine).send_queue = queue;
    }

    fn keep(&self, task: AbortHandle) {
        let mut world = self.net.world();
        let machine = world.machines.machine(self.machine);
        if machine.tasks.len() >= machine.tasks_pruned_at {
            machine.tasks.retain(|task| !task.is_finished());
            machine.tasks_pruned_at = machine.tasks.len() * 2 + 16;
        }
        machine.tasks.push(task);
    }
}

/// Its first address.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ips().first() {
            Some(ip) => write!(f, "{ip}"),
            None => write!(f, "host {}", self.machine),
        }
    }
}

impl Runtime for HostRuntime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let crashed_before = self.host.net.world().machines.machine(self.host.machine).crashed_before;
        if self.number >= crashed_before {
            drop(self.host.spawn(future));
        }
    }

    fn wrap_udp_socket(&self, _: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a simulated host has no kernel: bind with `Host::bind`"))
    }

    fn now(&self) -> Instant {
        TokioRuntime.now()
    }
}

impl fmt::Debug for HostRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostRuntime").field("machine", &self.host.machine).finish_non_exhaustive()
    }
}
