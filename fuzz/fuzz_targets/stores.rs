//! Fuzz target: the body is shared with `tests/fuzz_bodies.rs`.
#![no_main]

#[path = "../bodies/stores.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::body(data));
