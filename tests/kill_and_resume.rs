//! A join that is ended in the middle goes on where it was: after SIGKILL at any moment only what was in flight is fetched again, and
//! that is measured from outside: which chunks are whole the test reads from the partial files, what was asked for the services log.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;
#[path = "common/relay.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod relay;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use processes::{Ended, Join, Joining, Root, Service, assert_identical, field, names, whole_chunks};
use relay::Relay;
use rustix::process::Signal;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
/// Chunks that a joiner has in flight at most: its budget of 32 MiB (limits.memory).
const IN_FLIGHT_MAX: usize = 32;

/// A chunk: file name and index.
type Chunk = (String, u32);

/// Two services over one sample, and where a join of it works and lands.
struct Network {
    root: Root,
    block: u64,
    services: [Service; 2],
    land: TempDir,
}

impl Network {
    fn with_sample(bytes: u64) -> Self {
        let root = Root::new();
        let block = root.add_sample(bytes, 3);
        let services = [1, 2].map(|org| Service::start(org, &root, &[block]));
        Self { root, block, services, land: TempDir::new().unwrap() }
    }

    fn source(&self) -> PathBuf {
        self.root.snapshot(self.block)
    }

    /// The partial files.
    fn partial(&self) -> PathBuf {
        self.land.path().join(format!(".snapferry/mychannel-{}/files", self.block))
    }

    /// Links to both services that are held after so many bytes each.
    fn links(&self, limit: u64) -> [Relay; 2] {
        self.services.each_ref().map(|service| Relay::to(service.address, limit))
    }

    fn join(&self) -> Join {
        Join::new(&self.services.each_ref().map(|service| service.address), self.land.path())
    }

    fn join_over(&self, links: &[Relay; 2]) -> Join {
        Join::new(&links.each_ref().map(|link| link.address), self.land.path())
    }

    /// A join that is held in the middle, with some chunks proved.
    fn held(&self) -> ([Relay; 2], Joining) {
        let links = self.links(6 * MIB);
        let join = self.join_over(&links).start();
        links.iter().for_each(|link| link.wait_passed(6 * MIB));
        join.wait_verified(2 * MIB);
        (links, join)
    }

    /// The chunks of the source that lie in `folder`.
    fn whole(&self, folder: &Path) -> BTreeSet<Chunk> {
        let data = names(&self.source()).into_iter().filter(|name| !name.ends_with(".json"));
        let of_file = |name: String| {
            let chunks = whole_chunks(folder, &self.source(), &name);
            chunks.into_iter().map(move |chunk| (name.clone(), chunk))
        };
        data.flat_map(of_file).collect()
    }

    /// Every request that came, by the joiner's address.
    fn asked(&self) -> BTreeMap<String, BTreeSet<Chunk>> {
        let mut asked = BTreeMap::<String, BTreeSet<Chunk>>::new();
        for line in self.services.iter().flat_map(Service::log).filter(|line| line.contains("-> chunks asked ")) {
            let number = |name| field(&line, name).unwrap().parse::<u32>().unwrap();
            let (first, count, file) = (number("first"), number("count"), field(&line, "file").unwrap());
            let chunks = (first..first + count).map(|chunk| (file.clone(), chunk));
            asked.entry(field(&line, "address").unwrap()).or_default().extend(chunks);
        }
        asked
    }

    /// Everybody who had a session.
    fn joiners(&self) -> BTreeSet<String> {
        let log = self.services.iter().flat_map(Service::log);
        log.filter(|line| line.contains("-> session opened ")).map(|line| field(&line, "address").unwrap()).collect()
    }

    fn assert_landed(&self) {
        assert_identical(&self.land.path().join(format!("mychannel/{}", self.block)), &self.source());
        assert_eq!(names(&self.land.path().join(".snapferry")), [""; 0], "no work is left over");
    }
}

/// What one run of the joiner left behind when it was killed.
struct Killed {
    addresses: BTreeSet<String>,
    whole: BTreeSet<Chunk>,
}

/// SIGKILL leaves no exit code.
const KILLED: Option<i32> = None;

/// Lets `start_and_kill` end the join as often as there are exit codes, then lets it end by itself, and holds what was asked against what was there.
fn kill_and_resume(network: &Network, codes: &[Option<i32>], mut start_and_kill: impl FnMut(usize) -> Ended) {
    let mut known = BTreeSet::new();
    let mut runs = Vec::new();
    for (kill, code) in codes.iter().enumerate() {
        assert_eq!(start_and_kill(kill).code, *code, "nothing else ended it");
        let joiners = network.joiners();
        let addresses: BTreeSet<_> = joiners.difference(&known).cloned().collect();
        assert!(!addresses.is_empty());
        known = joiners;
        runs.push(Killed { addresses, whole: network.whole(&network.partial()) });
    }
    let ended = network.join().run();
    assert_eq!(ended.result()["outcome"], "landed");
    network.assert_landed();

    let asked = network.asked();
    let of = |addresses: &BTreeSet<String>| -> BTreeSet<Chunk> {
        addresses.iter().filter_map(|address| asked.get(address)).flatten().cloned().collect()
    };
    let last = network.joiners().difference(&known).cloned().collect();
    let mut following: Vec<BTreeSet<Chunk>> = runs.iter().map(|run| of(&run.addresses)).collect();
    following.push(of(&last));
    let total = network.whole(&network.source()).len();
    let mut wasted = 0;
    for (kill, run) in runs.iter().enumerate() {
        let in_flight = following[kill].difference(&run.whole).count();
        let again = following[kill + 1].intersection(&following[kill]).count();
        wasted += again;
        println!(
            "kill {:>2}: {:>4} of {total} chunks whole; {:>4} asked in this run, {in_flight:>2} of them in flight; {again:>2} asked \
             again by the next run",
            kill + 1,
            run.whole.len(),
            following[kill].len()
        );
        for later in &following[kill + 1..] {
            let twice: Vec<_> = later.intersection(&run.whole).collect();
            assert!(twice.is_empty(), "whole at kill {}, and asked for again: {twice:?}", kill + 1);
        }
        assert!(in_flight <= IN_FLIGHT_MAX, "{in_flight} chunks in flight");
    }
    let missing = total - runs.last().unwrap().whole.len();
    assert_eq!(following[runs.len()].len(), missing, "the last run asks for exactly what is missing");
    println!("{wasted} of {total} chunks were asked for more than once");
}

/// Numbers that a seed determines (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

/// D1: kill -9, with the real binary.
#[test]
fn three_kills_in_mid_transfer_cost_only_what_was_in_flight() {
    let network = Network::with_sample(96 * MIB);
    let mut numbers = Numbers(2026);
    kill_and_resume(&network, &[KILLED; 3], |kill| {
        // Never more than 72 of the 96 MiB, however late the kill comes.
        let links = network.links(12 * MIB);
        let join = network.join_over(&links).start();
        links[kill % 2].wait_passed(3 * MIB + numbers.below(8 * MIB));
        join.kill()
    });
}

#[test]
#[ignore = "long: 4 GiB, ten kills; cargo test --release --test kill_and_resume -- --ignored --nocapture"]
fn ten_kills_of_a_4_gib_join_cost_only_what_was_in_flight() {
    const KILLS: usize = 10;
    let seed = std::env::var("KILL_SEED").map_or(1, |seed| seed.parse().unwrap());
    println!("KILL_SEED={seed}");
    let network = Network::with_sample(4096 * MIB);
    let mut numbers = Numbers(seed);
    let mut moments: Vec<_> = (0..KILLS).map(|_| numbers.below(3600 * MIB)).collect();
    moments.sort_unstable();
    kill_and_resume(&network, &[KILLED; KILLS], |kill| {
        let join = network.join().start();
        join.wait_verified(moments[kill]);
        // Events come five times a second: any moment between two of them.
        std::thread::sleep(Duration::from_millis(numbers.below(200)));
        join.kill()
    });
}

#[test]
fn ctrl_c_and_sigterm_save_what_was_fetched() {
    let network = Network::with_sample(64 * MIB);
    kill_and_resume(&network, &[Some(130), Some(143)], |run| {
        let links = network.links(12 * MIB);
        let join = network.join_over(&links).start();
        links[run].wait_passed(8 * MIB);
        join.signal([Signal::INT, Signal::TERM][run]);
        let ended = join.wait();
        ended.assert_failed([130, 143][run], &["what was fetched is kept", "run the same command again"]);
        ended
    });
}

#[test]
fn a_deadline_ends_with_6_and_the_next_run_goes_on() {
    let network = Network::with_sample(24 * MIB);
    kill_and_resume(&network, &[Some(6)], |_| {
        let links = network.links(4 * MIB); // held: it can't be done in any time
        let ended = network.join_over(&links).args(["--deadline", "3s"]).run();
        ended.assert_failed(6, &["what was fetched is kept", "run the same command again"]);
        ended
    });
}

/// D6: with the real binary.
#[test]
fn a_second_joiner_on_the_same_landing_folder_is_refused() {
    let network = Network::with_sample(24 * MIB);
    let (links, join) = network.held();
    network.join().run().assert_failed(1, &["lock"]);
    links.iter().for_each(Relay::release);
    join.wait().result();
    network.assert_landed();
}
