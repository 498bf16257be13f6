//! A UDP link between a joiner and a service that the test holds and lets go: so that something happens in the middle of a transfer
//! for certain, and not only if the machine is slow enough. Every client has a port of its own on the far side, as behind a NAT, so
//! that the service tells runs of a joiner apart.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use socket2::{Domain, Socket, Type};

/// As long as for anything else that a process says.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often threads look whether the test is over.
const LOOK: Duration = Duration::from_millis(100);
/// So that a burst isn't lost here.
const BUFFER: usize = 4 << 20;

struct State {
    target: SocketAddr,
    /// Bytes from the service that went through.
    passed: u64,
    /// Held from here on.
    limit: u64,
    over: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// One link. Dropped, it is cut.
pub struct Relay {
    /// What the joiner dials.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Relay {
    /// To the service at `target`; held as soon as about `limit` bytes came from there.
    pub fn to(target: SocketAddr, limit: u64) -> Self {
        let front = socket();
        let address = front.local_addr().unwrap();
        let state = Mutex::new(State { target, passed: 0, limit, over: false });
        let shared = Arc::new(Shared { state, changed: Condvar::new() });
        let forward = Arc::clone(&shared);
        thread::spawn(move || forward.run(&front));
        Self { address, shared }
    }

    /// Lets everything through from now on.
    pub fn release(&self) {
        self.change(|state| state.limit = u64::MAX);
    }

    /// Lets `bytes` more through than came until now, then holds.
    pub fn let_through(&self, bytes: u64) {
        self.change(|state| state.limit = state.passed + bytes);
    }

    /// The service is elsewhere from now on.
    pub fn redirect(&self, target: SocketAddr) {
        self.change(|state| state.target = target);
    }

    /// Waits until `bytes` came from the service.
    pub fn wait_passed(&self, bytes: u64) {
        let state = self.shared.state.lock().unwrap();
        let wait = self.shared.changed.wait_timeout_while(state, PATIENCE, |state| state.passed < bytes);
        assert!(!wait.unwrap().1.timed_out(), "no {bytes} bytes came from the service");
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state.lock().unwrap());
        self.shared.changed.notify_all();
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).over = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    /// From clients to the service.
    fn run(self: &Arc<Self>, front: &UdpSocket) {
        let mut far: BTreeMap<SocketAddr, UdpSocket> = BTreeMap::new();
        let mut datagram = [0; 1 << 16];
        while let Some((len, client)) = self.receive(front, &mut datagram) {
            let far = far.entry(client).or_insert_with(|| {
                let far = socket();
                let (shared, from, to) = (Arc::clone(self), far.try_clone().unwrap(), front.try_clone().unwrap());
                thread::spawn(move || shared.back(&from, &to, client));
                far
            });
            let target = self.state.lock().unwrap().target;
            // Nobody there: lost, as on any link.
            let _ = far.send_to(&datagram[..len], target);
        }
    }

    /// From the service to one client.
    fn back(&self, from: &UdpSocket, to: &UdpSocket, client: SocketAddr) {
        let mut datagram = [0; 1 << 16];
        while let Some((len, _)) = self.receive(from, &mut datagram) {
            let state = self.state.lock().unwrap();
            let mut state = self.changed.wait_while(state, |state| state.passed >= state.limit && !state.over).unwrap();
            state.passed += len as u64;
            drop(state);
            self.changed.notify_all();
            let _ = to.send_to(&datagram[..len], client);
        }
    }

    /// `None`: the test is over.
    fn receive(&self, socket: &UdpSocket, datagram: &mut [u8]) -> Option<(usize, SocketAddr)> {
        loop {
            if self.state.lock().unwrap().over {
                return None;
            }
            match socket.recv_from(datagram) {
                Ok(received) => return Some(received),
                // Nothing came, or what was sent before found nobody.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => panic!("relay: {error}"),
            }
        }
    }
}

fn socket() -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.set_recv_buffer_size(BUFFER).unwrap();
    socket.set_read_timeout(Some(LOOK)).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    socket.into()
}
