//! The far side of a relay: one socket for each client, so that the service behind tells them apart.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::UdpSocket, sync::mpsc, task::AbortHandle};

use super::PAYLOAD_BYTES_MAX;

/// Clients at a time; each has a socket. One more takes the place of the one that has been silent for longest, as in a NAT's table.
pub(super) const CLIENTS_MAX: usize = 256;
/// Answers that wait to be taken in; the rest waits in the kernel's buffers.
const ANSWERS_MAX: usize = 256;
/// Kernel's buffers, each way, in bytes: a burst shall be dropped by the link, not here.
const BUFFER_BYTES: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Clients {
    to: SocketAddr,
    clients: BTreeMap<SocketAddr, Client>,
    /// Counts what clients send.
    clock: u64,
    answers: mpsc::Sender<(SocketAddr, Bytes)>,
    heard: mpsc::Receiver<(SocketAddr, Bytes)>,
}

#[derive(Debug)]
struct Client {
    last: u64,
    socket: Arc<UdpSocket>,
    reader: AbortHandle,
}

impl Clients {
    pub(super) fn new(to: SocketAddr) -> Self {
        let (answers, heard) = mpsc::channel(ANSWERS_MAX);
        Self { to, clients: BTreeMap::new(), clock: 0, answers, heard }
    }

    /// Opens a socket for a client that is new.
    pub(super) fn admit(&mut self, address: SocketAddr) -> io::Result<()> {
        self.clock += 1;
        if let Some(client) = self.clients.get_mut(&address) {
            client.last = self.clock;
            return Ok(());
        }
        let silent = self.clients.iter().min_by_key(|(_, client)| client.last).map(|(address, _)| *address);
        if let Some(silent) = silent.filter(|_| self.clients.len() >= CLIENTS_MAX) {
            self.clients.remove(&silent);
        }
        let any = if self.to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = Arc::new(socket(SocketAddr::new(any, 0))?);
        let reader = tokio::spawn(read(Arc::clone(&socket), self.to, address, self.answers.clone())).abort_handle();
        self.clients.insert(address, Client { last: self.clock, socket, reader });
        Ok(())
    }

    pub(super) async fn forward(&self, client: SocketAddr, bytes: &[u8]) {
        if let Some(client) = self.clients.get(&client) {
            // Nobody is told that the service is gone: it is UDP.
            let _ = client.socket.send_to(bytes, self.to).await;
        }
    }

    /// The next answer of the service, and for whom.
    pub(super) async fn answer(&mut self) -> (SocketAddr, Bytes) {
        self.heard.recv().await.expect("a sender is kept here")
    }
}

async fn read(socket: Arc<UdpSocket>, to: SocketAddr, client: SocketAddr, answers: mpsc::Sender<(SocketAddr, Bytes)>) {
    let mut buffer = vec![0; PAYLOAD_BYTES_MAX];
    loop {
        let Ok((len, from)) = socket.recv_from(&mut buffer).await else { continue };
        let bytes = Bytes::copy_from_slice(buffer.get(..len).unwrap_or_default());
        if from == to && answers.send((client, bytes)).await.is_err() {
            return;
        }
    }
}

/// A UDP socket of this runtime with large buffers.
pub(super) fn socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // The kernel may grant less: then it drops sooner, not worse.
    let _ = socket.set_recv_buffer_size(BUFFER_BYTES).and_then(|()| socket.set_send_buffer_size(BUFFER_BYTES));
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
