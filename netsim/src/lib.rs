//! A simulated machine for quinn: real endpoints, unmodified, over a simulated network and disk in virtual time.
//!
//! It knows nothing of the program that it tests. No fork, no `cfg`: tokio's paused clock, quinn's abstract socket. Minutes of packet loss take
//! milliseconds, and one seed always tells the same story.
//!
//! ```
//! # async fn run(server: quinn::ServerConfig) -> Result<(), Box<dyn std::error::Error>> {
//! use netsim::{Link, Net};
//!
//! let net = Net::new(7);
//! net.set_default_link(Link { loss_ppm: 20_000, ..Link::default() }); // 2 %
//! let host = net.host(["10.0.0.1".parse()?, "fd00::1".parse()?])?;
//!
//! let mut config = quinn::EndpointConfig::default();
//! config.rng_seed(Some([7; 32]));
//! let endpoint = host.endpoint(4433, config, Some(server))?; // a quinn::Endpoint like any other
//! host.spawn(async move { while endpoint.accept().await.is_some() { /* the program under test */ } });
//!
//! host.crash(); // without a word; it may start again on the same port
//! println!("{:?}, trace {:016x}", net.faults(), net.shape_hash());
//! # Ok(())
//! # }
//! ```
//! That runs on one thread under a paused clock (`#[tokio::test(start_paused = true)]`); `examples/two_hosts.rs` is a whole one.
//!
//! # Fault model
//! - **Network**: a datagram is late, lost, tail-dropped by a full queue, doubled, overtaken, damaged, too big, or cut off with the link. It
//!   never grows, and damage never makes it another sender's. Each direction is a [`Link`] of its own and draws from a generator of its own.
//!   A partition lies over the links and leaves them as they are. A NAT can forget its ports, a host can change its address. There is no
//!   ICMP: nobody is told that nobody listens.
//! - **Host**: a crash cuts the socket by incarnation. Datagrams of an earlier bind vanish both ways, otherwise the endpoint's
//!   drivers would still say goodbye and the crash would be a soft one. Unsynced bytes go with it.
//! - **Disk** ([`disk`]): any operation can fail (EIO, ENOSPC, EMFILE, short write) or be the last one before a crash; what wasn't synced is
//!   then kept, lost or torn.
//!
//! # What makes a trace repeatable
//! The trace is (time, source, destination, length, fate) of every datagram, as [`Net::shape_hash`]. It is the same for the same seed if
//! - the runtime has one thread and its clock is paused;
//! - every endpoint has a seed (`EndpointConfig::rng_seed`): quinn draws packet numbers to skip and sizes of padding from it;
//! - certificates are Ed25519, with a fixed serial number: ECDSA's signatures vary in length by a byte or two;
//! - every `select!` of the program is `biased`;
//! - no two blocking jobs (`spawn_blocking`) race, and their results don't depend on how long they took;
//! - order never comes from a `HashMap`;
//! - all chance of the program, and its wall clock, are handed in.
//!
//! Keys, connection ids and TLS's own chance may stay random: they change bytes, not lengths. [`Net::hash_content`] shows whether bytes
//! are equal too. `tests/network/` holds the claim for quinn itself; a program holds it for itself by running one seed twice.
//!
//! # Limits
//! - tokio's timers have a grain of 1 ms, and so has every arrival: good for faults, not for research on congestion.
//! - A crash aborts what was spawned through [`Host::spawn`] and [`Host::runtime`]; tasks that the program spawns on tokio itself run on, with
//!   dead sockets.
//! - Sending costs no CPU time: a program is infinitely fast, unless [`Host::set_send_queue`] slows it down.
//! - NATs are full cones. Routers don't mark congestion: ECN marks arrive as they were sent.
//!
//! # Measured
//! Debug build, one thread of a shared machine: 300 transfers of 256 KiB over a link with 3 % loss, doubles, reordering and damage: 353 virtual
//! seconds in 3.4 s, 530 000 faults per minute. 64 MiB over a clean 1 Gbit/s: 0.8 virtual seconds in 1.2 s.

pub mod disk;
mod host;
pub mod link;
mod machines;
mod net;
mod record;
mod relay;
mod rng;
mod socket;
mod trace;
mod wires;
mod world;

pub use host::Host;
pub use link::{Fate, Fates, Link, LinkState};
pub use net::Net;
pub use record::{Packet, Recording};
pub use relay::{Passed, Relay, RelaySettings};
pub use rng::Rng;
pub use socket::{SendQueue, SimSocket};
pub use trace::{Event, Faults, Unheard, What};
