//! What lies where a snapshot is to land is believed only after it was checked: a folder that differs is never touched nor taken for
//! the snapshot, and what doesn't belong into the work folder is never published.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;
#[path = "common/relay.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod relay;

use std::{fs, os::unix::fs::FileExt as _, path::Path};

use processes::{CHUNK, Join, Root, Service, assert_identical, copy_folder, field, fixture, names, whole_chunks};
use relay::Relay;
use rustix::process::Signal;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

fn flip(path: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

/// B4: another folder in the place of the snapshot.
#[test]
fn an_existing_folder_that_differs_is_neither_taken_nor_touched() {
    let root = Root::with_recorded();
    let services = [1, 2].map(|org| Service::start(org, &root, &[83, 132]));
    let from = services.each_ref().map(|service| service.address);
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("public_state.data", |folder| flip(&folder.join("public_state.data"), 1000)),
        ("extra", |folder| fs::write(folder.join("extra"), "").unwrap()),
        ("txids.data", |folder| fs::remove_file(folder.join("txids.data")).unwrap()),
        ("_snapshot_signable_metadata.json", |folder| {
            fs::write(folder.join("_snapshot_signable_metadata.json"), "{}").unwrap();
        }),
        ("another snapshot", |folder| {
            let additional = folder.join("_snapshot_additional_metadata.json");
            let text = fs::read_to_string(&additional).unwrap();
            let told: serde_json::Value = serde_json::from_str(&text).unwrap();
            let hash = told["last_block_commit_hash"].as_str().unwrap();
            fs::write(additional, text.replace(hash, &hash.chars().rev().collect::<String>())).unwrap();
        }),
        ("public_state.data", |folder| {
            // The right bytes, but a peer may see others there tomorrow.
            let file = folder.join("public_state.data");
            fs::rename(&file, folder.with_file_name("aside")).unwrap();
            std::os::unix::fs::symlink("../aside", file).unwrap();
        }),
    ];
    for (what, damage) in damages {
        let land = TempDir::new().unwrap();
        let folder = land.path().join("mychannel/83");
        copy_folder(&root.snapshot(83), &folder);
        damage(&folder);
        let before = (names(&folder), fs::read(folder.join("public_state.data")).unwrap());
        let ended = Join::new(&from, land.path()).block(83).run();
        ended.assert_failed(3, &[folder.to_str().unwrap(), what, "out of the way"]);
        assert!(before == (names(&folder), fs::read(folder.join("public_state.data")).unwrap()), "{what}: touched");
        assert!(!services.iter().flat_map(Service::log).any(|line| line.contains("chunks asked")), "{what}: fetched");
    }
    // A sound snapshot of another block beside it is nobody's business.
    let land = TempDir::new().unwrap();
    copy_folder(&fixture("snapshots/org1/132"), &land.path().join("mychannel/132"));
    Join::new(&from, land.path()).block(83).run().result();
    assert_identical(&land.path().join("mychannel/83"), &root.snapshot(83));
}

/// L8, D8: before the transfer.
#[test]
fn what_lies_in_the_work_folder_before_is_not_published() {
    let root = Root::with_recorded();
    let services = [1, 2].map(|org| Service::start(org, &root, &[132]));
    let from = services.each_ref().map(|service| service.address);
    let land = TempDir::new().unwrap();
    let files = land.path().join(".snapferry/mychannel-132/files");
    fs::create_dir_all(files.join("folder")).unwrap();
    fs::write(files.join("unknown"), "x").unwrap();
    let elsewhere = land.path().join("elsewhere");
    fs::write(&elsewhere, "not ours").unwrap();
    // Written through, these would change what lies elsewhere.
    std::os::unix::fs::symlink(&elsewhere, files.join("public_state.data")).unwrap();
    fs::hard_link(&elsewhere, files.join("txids.data")).unwrap();
    Join::new(&from, land.path()).run().result();
    assert_identical(&land.path().join("mychannel/132"), &root.snapshot(132));
    assert_eq!(fs::read_to_string(elsewhere).unwrap(), "not ours");
}

/// A join of a sample of some chunks that is held in the middle.
struct Held {
    root: Root,
    block: u64,
    services: [Service; 2],
    links: [Relay; 2],
    land: TempDir,
    join: processes::Joining,
}

impl Held {
    fn new() -> Self {
        let root = Root::new();
        let block = root.add_sample(24 * MIB, 6);
        let services = [1, 2].map(|org| Service::start(org, &root, &[block]));
        let links = services.each_ref().map(|service| Relay::to(service.address, 6 * MIB));
        let land = TempDir::new().unwrap();
        let join = Join::new(&links.each_ref().map(|link| link.address), land.path()).start();
        join.wait_verified(4 * MIB);
        Self { root, block, services, links, land, join }
    }

    fn files(&self) -> std::path::PathBuf {
        self.land.path().join(format!(".snapferry/mychannel-{}/files", self.block))
    }
}

/// Defence: the exact set, looked at right before publishing; removed, what lies there goes along.
/// L8, D8: during the transfer.
#[test]
fn a_file_that_appears_during_the_transfer_is_not_published() {
    let held = Held::new();
    fs::write(held.files().join("unknown"), "x").unwrap();
    held.links.iter().for_each(Relay::release);
    let Held { root, block, services, land, join, .. } = held;
    join.wait().assert_failed(3, &["nothing was published", "unknown"]);
    assert_eq!(names(&land.path().join("mychannel")), [""; 0]);
    // The next run finds every chunk in place, and the stranger gone.
    let before = services.iter().flat_map(Service::log).filter(|line| line.contains("chunks asked")).count();
    Join::new(&services.each_ref().map(|service| service.address), land.path()).run().result();
    assert_identical(&land.path().join(format!("mychannel/{block}")), &root.snapshot(block));
    let after = services.iter().flat_map(Service::log).filter(|line| line.contains("chunks asked")).count();
    assert_eq!(after, before, "nothing is fetched again");
}

/// D4: between two runs, with the real binary.
#[test]
fn rot_in_a_partial_file_between_two_runs_is_fetched_again() {
    const FILE: &str = "public_state.data";
    let held = Held::new();
    held.join.signal(Signal::INT);
    let files = held.files();
    let Held { root, block, services, land, join, .. } = held;
    join.wait().assert_failed(130, &[]);
    let whole = whole_chunks(&files, &root.snapshot(block), FILE);
    let rotten = *whole.iter().nth(whole.len() / 2).unwrap();
    flip(&files.join(FILE), u64::from(rotten) * CHUNK + 77);

    let before = services.each_ref().map(|service| service.log().len());
    Join::new(&services.each_ref().map(|service| service.address), land.path()).run().result();
    assert_identical(&land.path().join(format!("mychannel/{block}")), &root.snapshot(block));
    let again = services.iter().zip(before).flat_map(|(service, before)| service.log().split_off(before));
    let number = |line: &str, name| field(line, name).unwrap().parse::<u32>().unwrap();
    let asked = again.filter(|line| line.contains("chunks asked") && field(line, "file").unwrap() == FILE);
    let asked: Vec<u32> =
        asked.flat_map(|line| (0..number(&line, "count")).map(move |at| number(&line, "first") + at)).collect();
    let asked_of_whole: Vec<_> = whole.iter().filter(|chunk| asked.contains(chunk)).collect();
    assert_eq!(asked_of_whole, [&rotten], "the rotten one, and no other that was whole");
}
