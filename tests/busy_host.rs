//! A service notices that other programs need its host, and says so.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/beside_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod beside_peer;

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use beside_peer::Machine;

/// What a service gives then, `tests/faults/fair.rs` shows.
#[test]
fn a_service_steps_back_while_others_use_the_host() {
    if !cfg!(target_os = "linux") {
        println!("skipped: only Linux tells how busy a host is");
        return;
    }
    let machine = Machine::new(1, false);
    let yaml = machine.path("snapferry.yaml");
    let text = fs::read_to_string(&yaml).unwrap() + "\nlimits: {yieldAbove: 1}\n";
    fs::write(&yaml, text).unwrap();
    let mut service = machine.serve(&[]);
    let enough = Arc::new(AtomicBool::new(false));
    for _ in 0..thread::available_parallelism().unwrap().get() {
        let enough = Arc::clone(&enough);
        thread::spawn(move || {
            while !enough.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
    }
    let line = service.wait_log(|line| line.contains("this host is busy: serving steps back"));
    enough.store(true, Ordering::Relaxed);
    assert!(line.contains("above=1") && line.contains("others_percent="), "{line}");
    service.stop();
}
