//! A joining peer follows the channel's configuration while it joins: who is removed neither vouches nor sends any more, who is
//! revoked is left, and an older configuration is never taken again (trust.md 2.4). Real processes; blocks signed by the recorded orderer.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/config_blocks.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod config_blocks;
#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;
#[path = "common/relay.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod relay;

use std::path::PathBuf;

use config_blocks::{Change, newer, unsigned};
use processes::{Credentials, Join, Joining, Root, Service, assert_identical, names, recorded, share};
use relay::Relay;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
const SAMPLE: u64 = 64 * MIB;
/// Sequences and blocks by which the newer configuration is ahead: the snapshots end before it.
const AHEAD: u64 = 20;
/// Where links are held: every source has delivered something, together they are far from done.
const HELD: u64 = 6 * MIB;

/// A join in mid-transfer, from links that are held.
struct Held {
    root: Root,
    block: u64,
    _services: Vec<Service>,
    links: Vec<Relay>,
    land: TempDir,
    config: PathBuf,
    _folder: TempDir,
    join: Joining,
}

impl Held {
    fn new(sources: &[Credentials]) -> Self {
        let root = Root::new();
        let block = root.add_sample(SAMPLE, 3);
        let services: Vec<Service> = sources.iter().map(|who| Service::start_as(who, &root, &[block])).collect();
        let links: Vec<Relay> = services.iter().map(|service| Relay::to(service.address, HELD)).collect();
        let folder = TempDir::new().unwrap();
        let config = folder.path().join("mychannel.block");
        std::fs::copy(recorded("config_block.pb"), &config).unwrap();
        let land = TempDir::new().unwrap();
        let from: Vec<_> = links.iter().map(|link| link.address).collect();
        let join = Join::new_with(&config, &from, land.path()).start();
        links.iter().for_each(|link| link.wait_passed(HELD));
        join.wait_for(|told| links.iter().all(|link| share(told, link.address) > 0).then_some(()));
        Self { root, block, _services: services, links, land, config, _folder: folder, join }
    }

    /// As an operator does: written aside, then renamed.
    fn replace(&self, block: &[u8]) {
        let aside = self.config.with_extension("new");
        std::fs::write(&aside, block).unwrap();
        std::fs::rename(aside, &self.config).unwrap();
    }
}

/// Defence: what was agreed on is confirmed whenever the configuration changes. Removed, the snapshot lands on the word of an
/// organisation that isn't in the channel any more.
/// C4: the joining side counts anew.
#[test]
fn a_snapshot_that_a_removed_organisation_vouched_for_is_not_taken() {
    let held = Held::new(&[Credentials::org(1), Credentials::org(2)]);
    held.replace(&newer(AHEAD, &Change::Without(2)));
    // The links are still held: nothing but the configuration ends it.
    let ended = held.join.wait();
    ended.assert_failed(3, &["no longer vouched for", "Org2MSP"]);
    assert!(names(held.land.path()).iter().all(|name| name == ".snapferry"));
}

/// Defence: every source is judged again. Removed, the revoked one keeps sending.
/// C5: a source.
#[test]
fn a_source_whose_certificate_is_revoked_is_left_and_the_others_finish() {
    let peer1 = Credentials::of("org1-peer1", "Org1MSP");
    let certificate = std::fs::read(peer1.msp_dir.join("signcerts/peer1.org1.example.com-cert.pem")).unwrap();
    let held = Held::new(&[Credentials::org(1), Credentials::org(2), peer1]);
    let revoked = held.links[2].address;
    held.replace(&newer(AHEAD, &Change::Revoke(1, certificate)));
    let lost = held.join.wait_source("source_lost", revoked);
    assert!(lost["reason"].as_str().unwrap().contains("no longer accepted"), "{lost}");
    held.links.iter().for_each(Relay::release);
    let ended = held.join.wait();
    assert_eq!(ended.result()["outcome"], "landed");
    assert!(ended.share(revoked) <= HELD + MIB, "it delivered no more");
    assert_identical(&held.land.path().join(format!("mychannel/{}", held.block)), &held.root.snapshot(held.block));
}

/// Defence: a newer block must be signed as the one in force demands. Removed, whoever can write the file decides who is trusted.
#[test]
fn a_newer_block_that_nobody_signed_changes_nothing() {
    let held = Held::new(&[Credentials::org(1), Credentials::org(2)]);
    held.replace(&unsigned(AHEAD, &Change::Without(2)));
    // Refused, not overlooked: the good one that follows is taken.
    held.replace(&newer(2 * AHEAD, &Change::Nothing));
    held.links.iter().for_each(Relay::release);
    assert_eq!(held.join.wait().result()["outcome"], "landed");
}

/// Defence: the record of what was in force. Removed, an old block brings back whoever was removed since.
#[test]
fn an_older_configuration_than_was_in_force_is_refused() {
    let root = Root::new();
    let block = root.add_sample(MIB, 4);
    let services = [1, 2].map(|org| Service::start(org, &root, &[block]));
    let from = services.each_ref().map(|service| service.address);
    let folder = TempDir::new().unwrap();
    let (newest, state) = (folder.path().join("newer.block"), folder.path().join("state"));
    std::fs::write(&newest, newer(AHEAD, &Change::Nothing)).unwrap();
    let land = folder.path().join("land");
    let first = Join::new_with(&newest, &from, &land).state(&state).args(["--allow-older"]).run();
    assert_eq!(first.result()["outcome"], "landed");
    let again = Join::new_with(&recorded("config_block.pb"), &from, &land).state(&state).run();
    again.assert_failed(3, &["older than the one that was in force here", "peer channel fetch config"]);
}
