//! `join` from the services of two organisations, all of them real processes: what lands is byte-identical, the work is shared, and
//! a service that goes away in the middle, by a crash or in order, costs nothing but time; one that comes back works again.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;
#[path = "common/relay.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod relay;

use processes::{Join, Root, Service, assert_identical, is, names, share};
use relay::Relay;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
/// Large enough to be shared, and small enough for a debug build.
const SAMPLE: u64 = 64 * MIB;
/// Where links are held: each source has delivered something, both together are far from done.
const HELD: u64 = 8 * MIB;

#[test]
fn the_newest_recorded_snapshot_and_an_older_one_land_byte_identical() {
    let root = Root::with_recorded();
    let services = [1, 2].map(|org| Service::start(org, &root, &[83, 132]));
    let from = services.each_ref().map(|service| service.address);
    let land = TempDir::new().unwrap();

    let dry = Join::new(&from, land.path()).args(["--dry-run"]).run();
    assert_eq!((&dry.result()["outcome"], &dry.result()["block_number"]), (&"dry_run".into(), &132.into()));
    assert_eq!(names(land.path()), [""; 0], "a dry run writes nothing");
    let asked = |service: &Service| service.log().iter().filter(|line| line.contains("chunks asked")).count();
    assert_eq!(services.each_ref().map(asked), [0, 0], "and fetches nothing");

    let newest = Join::new(&from, land.path()).run();
    assert_eq!((&newest.result()["outcome"], &newest.result()["block_number"]), (&"landed".into(), &132.into()));
    assert_eq!(newest.result()["organisations"], serde_json::json!(["Org1MSP", "Org2MSP"]));
    let path = land.path().join("mychannel/132");
    assert_eq!(newest.result()["path"], path.to_str().unwrap());
    assert_identical(&path, &root.snapshot(132));

    let older = Join::new(&from, land.path()).block(83).run_text();
    assert_eq!(older.code, Some(0), "{}", older.stderr);
    let path = land.path().join("mychannel/83");
    assert_identical(&path, &root.snapshot(83));
    let next = format!("next: peer channel joinbysnapshot --snapshotpath {}\n", path.display());
    assert!(older.stdout.ends_with(&next), "{}", older.stdout);
    assert_eq!(names(&land.path().join(".snapferry")), [""; 0], "no work is left over");

    // The same again finds it in place.
    let before = services.each_ref().map(asked);
    let again = Join::new(&from, land.path()).run();
    assert_eq!((&again.result()["outcome"], &again.result()["block_number"]), (&"already_there".into(), &132.into()));
    assert_eq!(services.each_ref().map(asked), before, "nothing is fetched");
    assert!(before.iter().sum::<usize>() >= 2, "what was fetched shows in the log");
}

#[test]
fn two_sources_share_the_work() {
    let root = Root::new();
    let block = root.add_sample(SAMPLE, 1);
    let services = [1, 2].map(|org| Service::start(org, &root, &[block]));
    let from = services.each_ref().map(|service| service.address);
    let land = TempDir::new().unwrap();
    let joined = Join::new(&from, land.path()).run();
    assert_identical(&land.path().join(format!("mychannel/{block}")), &root.snapshot(block));
    let total = joined.result()["total_bytes"].as_u64().unwrap();
    let shares = from.map(|source| joined.share(source));
    assert_eq!(shares.iter().sum::<u64>(), total, "every byte came from one of them");
    for share in shares {
        assert!(share * 100 > total * 20, "{shares:?} of {total}");
    }
}

/// Two services on links that are held in mid-transfer, and the join from both.
struct Held {
    root: Root,
    block: u64,
    services: [Option<Service>; 2],
    links: [Relay; 2],
    land: TempDir,
    join: processes::Joining,
}

impl Held {
    /// Returns when both have delivered and neither can go on.
    fn new() -> Self {
        let root = Root::new();
        let block = root.add_sample(SAMPLE, 2);
        let services = [1, 2].map(|org| Service::start(org, &root, &[block]));
        let links = services.each_ref().map(|service| Relay::to(service.address, HELD));
        let land = TempDir::new().unwrap();
        let join = Join::new(&links.each_ref().map(|link| link.address), land.path()).start();
        links.iter().for_each(|link| link.wait_passed(HELD));
        join.wait_for(|told| links.iter().all(|link| share(told, link.address) > 0).then_some(()));
        Self { root, block, services: services.map(Some), links, land, join }
    }

    fn landed(self) -> processes::Ended {
        let ended = self.join.wait();
        ended.result();
        assert_identical(&self.land.path().join(format!("mychannel/{}", self.block)), &self.root.snapshot(self.block));
        ended
    }
}

/// C2: killed, with the real binary.
#[test]
fn a_source_that_is_killed_in_the_middle_does_not_stop_the_join() {
    let mut held = Held::new();
    held.services[0].take().unwrap().kill();
    held.links[1].release();
    let addresses = held.links.each_ref().map(|link| link.address);
    let ended = held.landed();
    assert!(ended.share(addresses[0]) <= HELD + MIB, "the dead one delivered no more");
    assert!(ended.share(addresses[1]) > SAMPLE / 2);
    assert!(ended.of("source_dropped").is_empty(), "going away is no lie");
}

/// C2: stopped and started again, with the real binary.
#[test]
fn a_source_that_is_stopped_in_the_middle_and_comes_back_is_used_again() {
    let mut held = Held::new();
    let stopped = held.services[0].take().unwrap();
    stopped.terminate();
    held.links[0].release();
    let addresses = held.links.each_ref().map(|link| link.address);
    held.join.wait_source("source_lost", addresses[0]);
    assert!(stopped.wait().success(), "SIGTERM is an orderly end of a service");

    // The other link is still held, so the rest can only come from the one that comes back.
    let back = Service::start(1, &held.root, &[held.block]);
    held.links[0].redirect(back.address);
    let (mut lost, mut ready, mut delivered) = (false, false, 0);
    held.join.wait_for(|told| {
        let now = processes::verified(told).map_or(delivered, |_| share(told, addresses[0]));
        if ready && now > delivered {
            return Some(());
        }
        lost |= is(told, "source_lost");
        ready |= lost && is(told, "source_ready");
        delivered = now;
        None
    });
    held.links[1].release();
    held.landed();
    drop(back);
}

#[test]
fn a_source_that_is_away_is_a_reason_to_try_later() {
    let root = Root::with_recorded();
    let (here, gone) = (Service::start(1, &root, &[132]), Service::start(2, &root, &[132]));
    let away = gone.address;
    gone.kill();
    let land = TempDir::new().unwrap();
    let ended = Join::new(&[here.address, away], land.path()).run();
    ended.assert_failed(4, &["Org1MSP (live) attests", &away.to_string(), "UDP"]);
}

/// R8: descriptors of both services are used up: whoever joins is told to wait and waits, and what is new isn't seen. Both go on once there
/// are descriptors again.
#[test]
fn services_without_descriptors_have_joiners_wait_and_recover() {
    const EXHAUSTED: &str = "Too many open files";
    let root = Root::new();
    root.put(132, &processes::fixture("snapshots/org1/132"));
    let services = [1, 2].map(|org| Service::start(org, &root, &[132]));
    let from = services.each_ref().map(|service| service.address);
    let said = |service: &Service, what: &str| {
        service.wait_log(|line| (line.contains(what) && line.contains(EXHAUSTED)).then_some(()));
    };
    services.iter().for_each(|service| service.descriptors(true));
    let block = root.add_sample(MIB, 3);
    services.iter().for_each(|service| said(service, "nothing new is advertised"));

    let land = TempDir::new().unwrap();
    let join = Join::new(&from, land.path()).block(132).start();
    services.iter().for_each(|service| said(service, "asked for an attestation, and refused"));
    services.iter().for_each(|service| service.descriptors(false));
    let ended = join.wait();
    assert_eq!(ended.result()["outcome"], "landed");
    assert_eq!((ended.of("source_failed").len(), ended.of("source_dropped").len()), (0, 0), "{}", ended.stdout);
    assert_identical(&land.path().join("mychannel/132"), &root.snapshot(132));

    let advertised = format!("mychannel/{block}");
    for service in &services {
        service.wait_log(|line| {
            (line.contains("-> advertised ") && processes::field(line, "snapshot")? == advertised).then_some(())
        });
    }
    Join::new(&from, land.path()).block(block).run().result();
    assert_identical(&land.path().join(format!("mychannel/{block}")), &root.snapshot(block));
}
