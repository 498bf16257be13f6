//! The network: makes hosts, sets links and partitions, and keeps the trace. All handles to one net are clones.
//!
//! Time is tokio's: under a paused clock it is virtual, and a run takes as long as its arithmetic. What a link does to a datagram is
//! decided by [`Link`]; this only keeps the datagrams until they are due.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::{
    Event, Faults, Host, Link, Packet, Recording,
    wires::directions,
    world::{Outgoing, World},
};

/// A simulated network; see the crate's head for what can happen on it.
#[derive(Debug, Clone)]
pub struct Net(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    world: Mutex<World>,
    /// Rung when the pump's next datagram is another one, and at the end.
    bell: Arc<Notify>,
    start: Instant,
}

impl Net {
    /// An empty network on which everything arrives at once and whole. The seed decides all chances.
    ///
    /// # Panics
    /// Outside a tokio runtime, in which the net's pump is spawned.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let bell = Arc::new(Notify::new());
        let world = Mutex::new(World::new(seed));
        let shared = Arc::new(Shared { world, bell: Arc::clone(&bell), start: Instant::now() });
        let weak = Arc::downgrade(&shared);
        tokio::spawn(async move {
            loop {
                let Some(shared) = weak.upgrade() else { return };
                let next = shared.arrive().map(|next| shared.start + next);
                drop(shared);
                tokio::select! {
                    biased;
                    () = bell.notified() => {}
                    () = async { sleep_until(next.unwrap_or_else(Instant::now)).await }, if next.is_some() => {}
                }
            }
        });
        Self(shared)
    }

    /// A new host with these addresses.
    ///
    /// # Errors
    /// `AddrInUse` if one is another's, `InvalidInput` if it is unspecified, loopback or multicast.
    pub fn host(&self, ips: impl IntoIterator<Item = IpAddr>) -> io::Result<Host> {
        let machine = self.world().machines.add(ips.into_iter().collect())?;
        Ok(Host::new(self.clone(), machine))
    }

    /// Time since the net was made.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0.start.elapsed()
    }

    /// The link of every direction that has none of its own.
    pub fn set_default_link(&self, link: Link) {
        self.world().wires.set_default(link);
    }

    /// The link from one address to another. What is under way already arrives as it was to.
    pub fn set_link(&self, from: IpAddr, to: IpAddr, link: Link) {
        self.world().wires.set((from, to), link);
    }

    /// The link from one address to another; a partition between them doesn't show here.
    #[must_use]
    pub fn link(&self, from: IpAddr, to: IpAddr) -> Link {
        self.world().wires.get((from, to))
    }

    /// Changes the links of all directions between addresses of one family that hosts have now.
    pub fn change_links(&self, mut change: impl FnMut(IpAddr, IpAddr, &mut Link)) {
        let mut world = self.world();
        let ips = world.machines.ips();
        for (from, to) in directions(&ips, &ips) {
            if from != to && from.is_ipv4() == to.is_ipv4() {
                let before = world.wires.get((from, to));
                let mut link = before.clone();
                change(from, to, &mut link);
                if link != before {
                    world.wires.set((from, to), link);
                }
            }
        }
    }

    /// Cuts what `from` sends to `to`; the other direction stays. What is under way still arrives.
    pub fn cut(&self, from: &[IpAddr], to: &[IpAddr]) {
        let mut world = self.world();
        directions(from, to).into_iter().for_each(|direction| world.wires.cut(direction));
        drop(world);
        self.mark(format!("cut {from:?} -> {to:?}"));
    }

    /// Cuts two groups of addresses off from each other.
    pub fn partition(&self, one: &[IpAddr], other: &[IpAddr]) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// Ends what [`Self::partition`] and [`Self::cut`] did between two groups, in both directions.
    pub fn mend(&self, one: &[IpAddr], other: &[IpAddr]) {
        let mut world = self.world();
        for (from, to) in directions(one, other) {
            world.wires.mend((from, to));
            world.wires.mend((to, from));
        }
        drop(world);
        self.mark(format!("mended {one:?} <-> {other:?}"));
    }

    /// Ends all partitions. Links stay as they are set.
    pub fn heal(&self) {
        self.world().wires.mend_all();
        self.mark("healed");
    }

    /// Puts `host` behind a NAT with this outside address, or another one than before: others see each of its sockets there, under a
    /// port that the NAT chooses at the first datagram it sends, and can answer to that (any other may, too: a "full cone"). Hosts can
    /// share an outside address. Links stay those between the machines' own addresses.
    ///
    /// # Errors
    /// `AddrInUse` if a host itself has that address.
    pub fn nat(&self, host: &Host, outside: IpAddr) -> io::Result<()> {
        self.world().machines.nat(host.machine, outside)?;
        self.mark(format!("{host} behind {outside}"));
        Ok(())
    }

    /// The NAT before `host` forgets its ports: the old ones are nobody's, the next datagram of each socket gets a new one.
    pub fn rebind(&self, host: &Host) {
        self.world().machines.rebind(host.machine);
        self.mark(format!("NAT of {host} rebound"));
    }

    /// Sends a datagram that no socket sent, over the link from `from` to `to`: a replay, a forgery, a flood.
    pub fn inject(&self, from: SocketAddr, to: SocketAddr, bytes: impl Into<Bytes>) {
        let (now, bytes) = (self.now(), bytes.into());
        let out = Outgoing { now, machine: None, from, to, ecn: None, bytes: &bytes };
        let earlier = self.world().send(&out);
        self.ring_if(earlier);
    }

    /// Records every datagram from now on that `filter` chooses, as it was sent. The filter mustn't call the net.
    pub fn record(&self, filter: impl FnMut(&Packet) -> bool + Send + 'static) -> Recording {
        let recording = Recording::default();
        self.world().observers.push(recording.observer(filter));
        recording
    }

    /// Hash over (virtual nanoseconds, source, destination, length, fate) of every datagram so far, in the order they were sent, and of
    /// those that nobody took.
    #[must_use]
    pub fn shape_hash(&self) -> u64 {
        self.world().trace.shape.value()
    }

    /// Hash over the bytes of every datagram since [`Self::hash_content`]; differs between runs unless all keys are seeded.
    #[must_use]
    pub fn content_hash(&self) -> u64 {
        self.world().trace.content.value()
    }

    /// Begins to hash contents.
    pub fn hash_content(&self) {
        self.world().trace.hashes_content = true;
    }

    /// Datagrams that met a fault so far.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.world().trace.faults
    }

    /// Datagrams sent so far.
    #[must_use]
    pub fn datagrams(&self) -> u64 {
        self.world().trace.datagrams
    }

    /// Datagrams under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.world().under_way()
    }

    /// Keeps the last `events_max` events from now on, for a timeline; until then none are kept.
    pub fn keep_log(&self, events_max: usize) {
        self.world().trace.keep(events_max);
    }

    /// The kept events, oldest first.
    #[must_use]
    pub fn log(&self) -> Vec<Event> {
        self.world().trace.events()
    }

    /// Puts a line into the log.
    pub fn mark(&self, text: impl Into<String>) {
        let now = self.now();
        self.world().trace.mark(now, text.into());
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.world()
    }

    pub(crate) fn instant(&self, since_start: Duration) -> Instant {
        self.0.start + since_start
    }

    pub(crate) fn ring_if(&self, earlier: bool) {
        if earlier {
            self.0.bell.notify_one();
        }
    }
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        // A test that panicked elsewhere has failed already; its endpoints still have to be dropped.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets arrive what is due, and says when the next datagram is.
    fn arrive(&self) -> Option<Duration> {
        let (readers, next) = {
            let mut world = self.world();
            (world.arrive(self.start.elapsed()), world.next_at())
        };
        readers.into_iter().for_each(std::task::Waker::wake);
        next
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.bell.notify_one();
    }
}
