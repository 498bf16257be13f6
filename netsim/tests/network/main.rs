//! The simulated network: endpoints of quinn over it, and its sockets alone.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, unreachable_pub, reason = "test code")]

mod endpoints;
mod pair;
mod sockets;
