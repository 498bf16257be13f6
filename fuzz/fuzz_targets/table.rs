//! libFuzzer's entry; the body also runs under plain `cargo test`.
#![no_main]

#[path = "../bodies/table.rs"]
mod table;

libfuzzer_sys::fuzz_target!(|data: &[u8]| table::body(data));
