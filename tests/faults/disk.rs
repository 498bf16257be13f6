//! The joiner's disk, in whole joins: what a power cut leaves and what fails (`enumeration`), rot, damage, refusals and other people
//! (`by_name`), a machine without file descriptors (`descriptors`), a disk that is full at any step (`full`), syncs that fail (`syncs`).
//! Here: the join that all of them run, and what it leaves on the way.

mod by_name;
mod descriptors;
mod enumeration;
mod full;
mod syncs;

use std::{
    future::Future,
    sync::{Arc, OnceLock},
};

use netsim::disk::{Image, Kind, Operation, SimDisk, SyncLie};
use snapferry::{
    chunking::{Candidates, Store},
    snapshot::CHUNK_BYTES,
};

use crate::sim::{
    channel::{Golden, SimChannel},
    disk::sim_dir,
    run::{Report, run_with},
    scenario::{Expect, JoinerSpec, LinkSpec, Scenario, SourceSpec},
};

const SEED: u64 = 1;
/// Where the snapshot is published, and where the work on it is done.
const LAND: &str = "land/simchannel/21";
const WORK: [&str; 3] = ["land", ".snapferry", "simchannel-21"];
/// A pause for space, and the rest of a join.
const BACK_IN_S: u64 = 120;

/// So slow that what came first is synced and noted before all is there.
fn scenario(expect: Expect) -> Scenario {
    let links = LinkSpec { latency_ms: 5, bandwidth_bytes_per_s: Some(1_000_000), ..LinkSpec::default() };
    Scenario {
        snapshot_bytes: 3 << 20,
        min_orgs: 1,
        sources: vec![SourceSpec::of(1)],
        joiner: JoinerSpec::default(),
        links,
        deadline_s: BACK_IN_S,
        expect,
        ..Scenario::default()
    }
}

fn join_on(disk: &SimDisk, expect: Expect) -> Report {
    run_with(&scenario(expect), SEED, |world| world.joiner.disk = disk.clone())
}

/// A join on a machine with which that happens, from right before its first step.
fn join_while<F: Future<Output = ()> + Send + 'static>(expect: Expect, happens: impl FnOnce(SimDisk) -> F) -> Report {
    let disk = SimDisk::new();
    run_with(&scenario(expect), SEED, |world| {
        world.joiner.disk = disk.clone();
        world.beside(happens(disk));
    })
}

/// What a join asks of its disk, from its first step on, by its number.
fn operations() -> Vec<(u64, Operation)> {
    let (seen, before) = (Arc::new(OnceLock::new()), Arc::new(OnceLock::new()));
    let report = join_while(Expect::Lands, |disk| {
        seen.set(disk.clone()).unwrap();
        let before = Arc::clone(&before);
        async move { before.set(disk.operations()).unwrap() }
    });
    report.check();
    let (disk, before) = (seen.get().unwrap(), *before.get().unwrap());
    (0..).zip(disk.log()).skip_while(|(at, _)| *at < before).collect()
}

/// The disk that a join begins with, and what it does to it.
struct Watched {
    images: Vec<Image>,
    /// After it has said that it landed.
    end: Image,
    receipt: String,
    operations: Vec<Kind>,
}

fn watch(lie: Option<SyncLie>) -> Watched {
    let disk = SimDisk::new();
    disk.keep_images();
    disk.lie_about_syncs(lie);
    let report = join_on(&disk, Expect::Lands);
    report.check();
    Watched {
        images: disk.taken_images(),
        end: disk.image(),
        receipt: receipt(&report).unwrap(),
        operations: disk.log().iter().map(|operation| operation.kind).collect(),
    }
}

/// Where on the disk the receipt of a join lies that landed.
fn receipt(report: &Report) -> Option<String> {
    let path = report.ended.as_ref()?.as_ref().ok()?.receipt.as_ref()?;
    Some(path.to_str().unwrap().trim_start_matches('/').to_owned())
}

/// What the sources have.
fn golden() -> Arc<Golden> {
    let scenario = scenario(Expect::Lands);
    SimChannel::shared(scenario.organisations).golden(scenario.snapshot_bytes, 1)
}

/// Bytes that the durable journal of the work folder calls durable at that moment, whatever is left of the files themselves.
fn claimed_bytes(image: &Image) -> u64 {
    let (live, bare) = (image.killed(), image.killed());
    bare.lose_unsynced();
    let journal = WORK.join("/") + "/journal";
    let Some(durable) = bare.read(&journal).filter(|_| live.read(&journal).is_some()) else { return 0 };
    live.put(&journal, &durable).unwrap();
    let job = WORK.iter().try_fold(sim_dir(&live), |dir, name| dir.open_dir(name)).unwrap();
    let manifest = &golden().manifest;
    let (_store, candidates) = Store::open(job, manifest).unwrap();
    let of_file = |of: &Candidates| {
        let size = manifest.files()[of.file_index as usize].size;
        of.claimed.iter().map(|chunk| (size - u64::from(chunk.0) * CHUNK_BYTES).min(CHUNK_BYTES)).sum::<u64>()
    };
    candidates.iter().map(of_file).sum()
}

fn total_bytes() -> u64 {
    golden().manifest.files().iter().map(|file| file.size).sum()
}

/// Runs a join until the first sync is noted in its journal, then takes its power.
fn half_done() -> SimDisk {
    let watched = watch(None);
    let image = watched.images.iter().rfind(|image| (1..total_bytes()).contains(&claimed_bytes(image))).unwrap();
    let disk = image.killed();
    disk.lose_unsynced();
    disk
}

fn fetched(report: &Report) -> u64 {
    report.attempts.iter().map(|attempt| attempt.received_bytes).sum()
}
