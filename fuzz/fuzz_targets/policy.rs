//! Fuzz target: the body is shared with `tests/fuzz_bodies_msp.rs`.
#![no_main]

#[path = "../bodies/policy.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::body(data));
