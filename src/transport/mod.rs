//! HOW bytes move: QUIC endpoint, TLS, session auth, wire frames, the serving and the asking side, and the limits on all of it.
//!
//! The wire itself is specified in `proto/snapferry/v1/wire.proto`. Decides nothing about which bytes are wanted
//! ([`crate::chunking`]) or true: what arrives here is a claim until it is proved there.

pub mod fault;
pub mod limits;
mod pb;
pub mod wire;
