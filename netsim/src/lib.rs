//! A simulated machine for quinn: real endpoints, unmodified, over a simulated network and disk in virtual time.
//!
//! It knows nothing of the program that it tests. No fork, no `cfg`: tokio's paused clock, quinn's abstract socket.
//!
//! # Fault model
//! - **Network**: a datagram is late, lost, tail-dropped by a full queue, doubled, overtaken, damaged, too big, or cut off with the link. It
//!   never grows, and damage never makes it another sender's. Each direction is a [`Link`] of its own.
//! - **Host**: a crash cuts the socket by incarnation. Datagrams of an earlier bind vanish both ways, otherwise the endpoint's
//!   drivers would still say goodbye and the crash would be a soft one. Unsynced bytes go with it.
//! - **Disk** ([`disk`]): any operation can fail (EIO, ENOSPC, short write) or be the last one before a crash; what wasn't synced is
//!   then kept, lost or torn.
//!
//! The same seed gives the same trace of (time, source, destination, length, fate).

pub mod disk;
mod host;
pub mod link;
mod machines;
mod net;
mod record;
mod rng;
mod socket;
mod trace;
mod wires;
mod world;

pub use host::Host;
pub use link::{Fate, Fates, Link, LinkState};
pub use net::Net;
pub use record::{Packet, Recording};
pub use rng::Rng;
pub use socket::{SendQueue, SimSocket};
pub use trace::{Event, Faults, Unheard, What};
