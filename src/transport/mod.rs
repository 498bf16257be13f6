//! HOW bytes move: QUIC endpoint, TLS, session auth, wire frames, the serving and the asking side, and the limits on all of it.
//!
//! The wire itself is specified in `proto/snapferry/v1/wire.proto`. Decides nothing about which bytes are wanted
//! ([`crate::chunking`]) or true: what arrives here is a claim until it is proved there.

use std::{sync::Arc, time::SystemTime};

pub mod asking;
mod blocking;
pub mod endpoint;
pub mod fault;
mod frame;
pub mod limits;
pub mod live;
pub mod network;
mod pb;
pub mod serving;
pub mod session;
pub mod tls;
mod until;
pub mod wire;

pub(crate) use blocking::off_the_driver;
pub(crate) use until::sleep_until;

/// Wall time as a value: certificates are judged by it, so tests shift it.
pub type WallClock = Arc<dyn Fn() -> SystemTime + Send + Sync>;
