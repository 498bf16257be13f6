//! Fuzz target: the body is shared with `tests/fuzz_bodies_control.rs`.
#![no_main]

#[path = "../bodies/control.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::body(data));
