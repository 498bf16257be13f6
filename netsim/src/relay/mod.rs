//! A UDP relay in real time between real processes: the same [`Link`] as on a simulated net, no root needed. Every client has a port of its
//! own on the far side, as behind a NAT.
//!
//! Chances come from a seed, but when datagrams arrive is the kernel's business, so a run isn't repeatable as on a simulated net.
//! What the kernel itself drops isn't counted.

mod clients;
mod line;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    runtime::Builder,
    sync::oneshot,
    time::{Instant, sleep_until},
};

use self::{
    clients::{Clients, socket},
    line::Line,
};
use crate::{Faults, Link};

/// The largest UDP payload of IPv4 and IPv6 without jumbograms.
const PAYLOAD_BYTES_MAX: usize = 65_535;

/// How a relay does.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    /// Where clients send to; port 0: one that is free.
    pub listen: SocketAddr,
    /// Where it relays to.
    pub to: SocketAddr,
    /// From clients to [`Self::to`]. All clients share it.
    pub up: Link,
    /// From [`Self::to`] to clients.
    pub down: Link,
    /// Decides all chances.
    pub seed: u64,
}

/// What one direction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Passed {
    /// Datagrams that came.
    pub datagrams: u64,
    /// What happened to them.
    pub faults: Faults,
}

/// A relay on a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    lines: Arc<Lines>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Lines {
    start: Instant,
    up: Mutex<Line>,
    down: Mutex<Line>,
}

impl Relay {
    /// Starts relaying.
    ///
    /// # Errors
    /// If the address can't be bound, or the system has no thread or socket left.
    pub fn start(settings: RelaySettings) -> io::Result<Self> {
        let RelaySettings { listen, to, up, down, seed } = settings;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let inside = runtime.enter();
        let front = socket(listen)?;
        let address = front.local_addr()?;
        let lines = Arc::new(Lines {
            start: Instant::now(),
            up: Mutex::new(Line::new(up, seed)),
            down: Mutex::new(Line::new(down, !seed)),
        });
        let (stop, stopped) = oneshot::channel();
        drop(inside);
        let relayed = Arc::clone(&lines);
        let thread = std::thread::Builder::new()
            .name("relay".to_owned())
            .spawn(move || runtime.block_on(run(&relayed, &front, to, stopped)))?;
        Ok(Self { address, lines, stop: Some(stop), thread: Some(thread) })
    }

    /// Where clients send to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Other links from now on. What is under way arrives as it was to.
    pub fn set_links(&self, up: Link, down: Link) {
        lock(&self.lines.up).link = up;
        lock(&self.lines.down).link = down;
    }

    /// What both directions did so far: up, down.
    #[must_use]
    pub fn passed(&self) -> (Passed, Passed) {
        (lock(&self.lines.up).passed, lock(&self.lines.down).passed)
    }
}

async fn run(lines: &Lines, front: &UdpSocket, to: SocketAddr, mut stopped: oneshot::Receiver<()>) {
    let mut clients = Clients::new(to);
    let mut buffer = vec![0; PAYLOAD_BYTES_MAX];
    loop {
        let next = lines.next_at();
        tokio::select! {
            biased;
            _ = &mut stopped => return,
            () = sleep_until(next.unwrap_or(lines.start)), if next.is_some() => {}
            received = front.recv_from(&mut buffer) => {
                // Errors are of earlier sends, to a client that is gone.
                let Ok((len, client)) = received else { continue };
                // Without a socket for it the client isn't served: the system has none left.
                if clients.admit(client).is_ok() {
                    lock(&lines.up).send(lines.start.elapsed(), client, buffer.get(..len).unwrap_or_default());
                }
            }
            (client, bytes) = clients.answer() => lock(&lines.down).send(lines.start.elapsed(), client, &bytes),
        }
        let now = lines.start.elapsed();
        while let Some((client, bytes)) = lines.up_due(now) {
            clients.forward(client, &bytes).await;
        }
        while let Some((client, bytes)) = lines.down_due(now) {
            // Nobody is told that a client is gone: it is UDP.
            let _ = front.send_to(&bytes, client).await;
        }
    }
}

impl Lines {
    fn next_at(&self) -> Option<Instant> {
        let next = [lock(&self.up).next_at(), lock(&self.down).next_at()].into_iter().flatten().min();
        next.map(|next| self.start + next)
    }

    // The lock is let go before the datagram is sent.
    fn up_due(&self, now: Duration) -> Option<(SocketAddr, bytes::Bytes)> {
        lock(&self.up).due(now)
    }

    fn down_due(&self, now: Duration) -> Option<(SocketAddr, bytes::Bytes)> {
        lock(&self.down).due(now)
    }
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it panicked only if it was to be dropped anyway
        }
    }
}
