//! libFuzzer's entry; the body also runs under plain `cargo test`.
#![no_main]

#[path = "../bodies/leveldb.rs"]
mod leveldb;

libfuzzer_sys::fuzz_target!(|data: &[u8]| leveldb::body(data));
