//! libFuzzer's entry; the body also runs under plain `cargo test`.
#![no_main]

#[path = "../bodies/journal.rs"]
mod journal;

libfuzzer_sys::fuzz_target!(|data: &[u8]| journal::body(data));
