//! What observers see of a net: datagrams as they are sent, before any link has touched them.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use quinn::udp::EcnCodepoint;

/// Told of each datagram that is sent.
pub(crate) type Observer = Box<dyn FnMut(&Packet) + Send>;

/// A datagram as it was sent, before the link did anything to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// When, since the net was made.
    pub at: Duration,
    /// Its source as the receiver sees it.
    pub from: SocketAddr,
    /// Where it was sent to.
    pub to: SocketAddr,
    /// Its ECN mark.
    pub ecn: Option<EcnCodepoint>,
    /// Its UDP payload.
    pub bytes: Bytes,
}

/// What [`crate::Net::record`] has recorded. It grows for as long as the net lives.
#[derive(Debug, Clone, Default)]
pub struct Recording(Arc<Mutex<Vec<Packet>>>);

impl Recording {
    /// Takes out what was recorded since the last time.
    #[must_use]
    pub fn take(&self) -> Vec<Packet> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn observer(&self, mut filter: impl FnMut(&Packet) -> bool + Send + 'static) -> Observer {
        let packets = Arc::clone(&self.0);
        Box::new(move |packet| {
            if filter(packet) {
                packets.lock().unwrap_or_else(PoisonError::into_inner).push(packet.clone());
            }
        })
    }
}
