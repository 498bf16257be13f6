//! Fuzz target: the body is shared with `tests/fuzz_bodies_control.rs`.
#![no_main]

#[path = "../bodies/peer.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::body(data));
