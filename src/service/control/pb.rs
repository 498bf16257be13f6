//! Generated from proto/snapferry/v1/control.proto: never leaves this module's folder.
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

include!(concat!(env!("OUT_DIR"), "/snapferry.control.v1.rs"));
