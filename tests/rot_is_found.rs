//! A service finds rot in its peer's files by itself, withholds that chunk and nothing else, and says so, also after a restart.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/beside_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod beside_peer;

use std::fs;

use beside_peer::Machine;

/// Flips a bit in place; sizes and times stay as they were.
fn rot(machine: &Machine, file: &str) {
    let path = machine.folder(132).join(file);
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[5] ^= 1;
    fs::write(&path, bytes).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
}

#[test]
fn a_flipped_bit_is_found_named_and_known_after_a_restart() {
    let machine = Machine::new(1, false);
    let yaml = machine.path("snapferry.yaml");
    let text = fs::read_to_string(&yaml).unwrap().replace("allowDelete: false", "allowDelete: false, scrubPeriod: 1s");
    fs::write(&yaml, text).unwrap();
    let show = ["snapshot", "show", "-c", "mychannel", "-b", "132"];

    let mut service = machine.serve(&[83, 132]);
    assert_eq!(machine.json(&show)["rotten"].as_array().unwrap().len(), 0);
    rot(&machine, "public_state.data");
    let line = service.wait_log(|line| line.contains("has rotted"));
    assert!(line.contains("file=public_state.data") && line.contains("snapshot=mychannel/132"), "{line}");
    let rotten = machine.json(&show)["rotten"].clone();
    assert_eq!(rotten[0]["file"], "public_state.data");
    assert_eq!((rotten.as_array().unwrap().len(), &rotten[0]["chunk"]), (1, &0.into()));
    let listed = machine.run(&["snapshot", "list"]).expect(0).stdout;
    assert!(listed.contains("rotten chunks: 1,"), "{listed}");

    // Also without a service, and it is offered again: the other chunks are good.
    service.stop();
    assert_eq!(machine.json(&show)["rotten"], rotten);
    let _service = machine.serve(&[83, 132]);
    assert_eq!(machine.json(&show)["rotten"], rotten);
}
