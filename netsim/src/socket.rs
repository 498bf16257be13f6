//! A UDP socket of a simulated host, as quinn wants one.
//!
//! It offers what Linux does: sends and receives of many datagrams at once (GSO, GRO), ECN, no fragmentation, a send queue that can be
//! full, IPv4 through an IPv6 socket. Where a datagram goes is decided by `world`.

use std::{
    fmt,
    future::Future,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use tokio::time::{Sleep, sleep_until};

use crate::{
    Net,
    machines::{Bound, Received},
    world::Outgoing,
};

/// Datagrams in one send: what quinn sends at once.
const GSO_SEGMENTS: usize = 10;
/// Datagrams in one receive: what Linux joins.
const GRO_SEGMENTS: usize = 64;

/// What a host can have under way to its own network card before sending would block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendQueue {
    /// Bytes that wait before a socket isn't writable any more; one send more may lie on top.
    pub bytes: u64,
    /// Bytes per second that leave.
    pub bandwidth_bytes_per_s: u64,
}

/// A socket, until it is dropped or its host crashes. After a crash it is dead and says nothing: sends succeed and vanish, nothing
/// is received, as for a program that isn't there any more.
pub struct SimSocket {
    net: Net,
    number: u64,
    address: SocketAddr,
}

#[derive(Debug)]
struct Poller {
    socket: Arc<SimSocket>,
    room: Option<Pin<Box<Sleep>>>,
}

impl SimSocket {
    pub(crate) fn bind(net: &Net, machine: usize, address: SocketAddr) -> io::Result<Arc<Self>> {
        let mut world = net.world();
        let number = world.number();
        let address = world.machines.bind(machine, address, number)?;
        drop(world);
        Ok(Arc::new(Self { net: net.clone(), number, address }))
    }

    /// When the send queue has room; `None`: now.
    fn full_until(&self, now: Duration) -> Option<Duration> {
        let world = self.net.world();
        let bound = world.machines.sockets.get(&self.number)?;
        let queue = world.machines.machines.get(bound.machine)?.send_queue?;
        let room_at = bound.sent_at.saturating_sub(queue.takes(queue.bytes));
        (room_at > now).then_some(room_at)
    }

    /// As others on the same socket see an address: IPv4 mapped into IPv6 where the socket is of IPv6.
    fn shown(&self, address: SocketAddr) -> SocketAddr {
        match (self.address, address.ip()) {
            (SocketAddr::V6(_), IpAddr::V4(ip)) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
            _ => address,
        }
    }
}

impl AsyncUdpSocket for SimSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller { socket: self, room: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut now = self.net.now();
        if self.full_until(now).is_some() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let to = SocketAddr::new(transmit.destination.ip().to_canonical(), transmit.destination.port());
        let wish = transmit.src_ip.map(|ip| ip.to_canonical());
        let mut world = self.net.world();
        let machines = &mut world.machines;
        let Some(bound) = machines.sockets.get_mut(&self.number) else { return Ok(()) };
        let machine = bound.machine;
        if let Some(queue) = machines.machines.get(machine).and_then(|machine| machine.send_queue) {
            now = queue.leave(bound, now, transmit.contents.len());
        }
        // As on a host without a route: quinn's own sockets log that and go on.
        let Some(ip) = machines.source(machine, self.address.ip(), wish, to.ip()) else { return Ok(()) };
        let from = SocketAddr::new(ip, self.address.port());
        let contents = Bytes::copy_from_slice(transmit.contents);
        let segment = transmit.segment_size.unwrap_or(contents.len()).max(1);
        let mut earlier = false;
        for begins in (0..contents.len()).step_by(segment) {
            let bytes = contents.slice(begins..contents.len().min(begins + segment));
            let out = Outgoing { now, machine: Some(machine), from, to, ecn: transmit.ecn, bytes: &bytes };
            earlier |= world.send(&out);
        }
        drop(world);
        self.net.ring_if(earlier);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut world = self.net.world();
        let Some(bound) = world.machines.sockets.get_mut(&self.number) else { return Poll::Pending };
        let mut received = 0;
        for (buf, meta) in bufs.iter_mut().zip(meta) {
            let Some(first) = take(bound, buf) else { break };
            *meta = RecvMeta { addr: self.shown(first.addr), ..first };
            received += 1;
        }
        if received == 0 {
            bound.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(received))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn max_transmit_segments(&self) -> usize {
        GSO_SEGMENTS
    }

    fn max_receive_segments(&self) -> usize {
        GRO_SEGMENTS
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// Fills a buffer with the next datagram and those behind it that are of the same sender, mark and length; a shorter one ends it.
fn take(bound: &mut Bound, buf: &mut [u8]) -> Option<RecvMeta> {
    let first = bound.inbox.front()?;
    let (addr, to, ecn, stride) = (first.from, first.to, first.ecn, first.bytes.len());
    let mut meta = RecvMeta { addr, len: 0, stride, ecn, dst_ip: Some(to) };
    for _ in 0..GRO_SEGMENTS {
        let joins = |next: &&Received| {
            let fits = meta.len == 0 || next.bytes.len() <= stride.min(buf.len() - meta.len);
            fits && (next.from, next.to, next.ecn) == (addr, to, ecn)
        };
        let Some(next) = bound.inbox.front().filter(joins) else { break };
        // A datagram that is longer than the whole buffer is cut short, as by a kernel.
        let len = next.bytes.len().min(buf.len() - meta.len);
        if let (Some(room), Some(bytes)) = (buf.get_mut(meta.len..meta.len + len), next.bytes.get(..len)) {
            room.copy_from_slice(bytes);
        }
        meta.len += len;
        let last = next.bytes.len() != stride || stride == 0;
        bound.inbox_bytes -= bound.inbox.pop_front().map_or(0, |taken| taken.bytes.len());
        if last {
            break;
        }
    }
    meta.stride = stride.min(meta.len);
    Some(meta)
}

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(room_at) = self.socket.full_until(self.socket.net.now()) else { return Poll::Ready(Ok(())) };
        let room_at = self.socket.net.instant(room_at);
        let room = self.room.get_or_insert_with(|| Box::pin(sleep_until(room_at)));
        if room.deadline() != room_at {
            room.as_mut().reset(room_at);
        }
        room.as_mut().poll(cx).map(Ok)
    }
}

impl SendQueue {
    fn takes(&self, bytes: u64) -> Duration {
        let ns = u128::from(bytes) * 1_000_000_000 / u128::from(self.bandwidth_bytes_per_s.max(1));
        Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    /// When what is sent now will have left.
    fn leave(&self, bound: &mut Bound, now: Duration, bytes: usize) -> Duration {
        bound.sent_at = bound.sent_at.max(now).saturating_add(self.takes(bytes as u64));
        bound.sent_at
    }
}

impl fmt::Debug for SimSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimSocket")
            .field("address", &self.address)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        let closed = self.net.world().machines.close(self.number);
        drop(closed); // its waker not under the lock
    }
}
