//! Fuzz target: the body is shared with `tests/fuzz_bodies_msp.rs`.
#![no_main]

#[path = "../bodies/block_signatures.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::body(data));
