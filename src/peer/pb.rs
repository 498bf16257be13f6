//! Generated from proto/fabric/peer.proto: never leaves this layer.
#![allow(
    missing_docs,
    unreachable_pub,
    unnameable_types,
    clippy::all,
    clippy::use_self,
    clippy::or_fun_call,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "generated code"
)]

include!(concat!(env!("OUT_DIR"), "/fabric.peer.rs"));
