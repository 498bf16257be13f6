//! A real Fabric peer joins from what `join` delivers, recorded snapshots and samples alike, opens the ledger again after a restart,
//! and its own snapshot of that block is the same again byte for byte.
//!
//! Takes the peer's binary from `FABRIC_BIN`, a folder with Fabric's `peer`; says so and passes without it. The peer is Org3's of the
//! recorded network; neither orderer nor other peers run.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;
#[path = "common/real_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod real_peer;

use processes::{CHANNEL, Credentials, Join, Root, Service, assert_identical, binary, fixture, recorded};
use real_peer::{RealPeer, binaries};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
};
use tempfile::TempDir;

/// Block numbers of the recorded snapshots, with the chaincode and its sequence that a peer must find in each.
const RECORDED: [(u64, &str, u64); 2] = [(83, "labcc", 2), (132, "labcc", 3)];

#[test]
fn a_real_peer_joins_from_the_recorded_snapshots_of_two_organisations() {
    let Some(binaries) = binaries() else { return };
    let root = Root::with_recorded();
    let sources = [1, 2].map(|org| Service::start(org, &root, &RECORDED.map(|(block, ..)| block)));
    for (block, chaincode, sequence) in RECORDED {
        let delivery = Delivery::fetch(&sources, block);
        assert_identical(&delivery.folder, &fixture(&format!("snapshots/org1/{block}")));
        let definition = delivery.is_taken_by_a_real_peer(&binaries, chaincode);
        assert_eq!(definition["sequence"], sequence, "{definition}");
        assert!(!definition["collections"]["config"].as_array().unwrap().is_empty(), "{definition}");
    }
}

#[test]
fn a_real_peer_joins_from_samples_with_and_without_private_data() {
    let Some(binaries) = binaries() else { return };
    let root = Root::new();
    let samples = [
        (true, sample(&root, &["--keys", "2000", "--private-hashes", "300", "--txids", "8000", "--seed", "5"])),
        (true, sample(&root, &["--size", "3MiB", "--incompressible", "--txids", "6000", "--seed", "8"])),
        (false, sample(&root, &["--keys", "500", "--private-hashes", "0", "--txids", "5000", "--seed", "6"])),
        // As small as they get.
        (false, sample(&root, &["--keys", "0", "--private-hashes", "0", "--txids", "1", "--seed", "7"])),
    ];
    let sources = [1, 2].map(|org| Service::start(org, &root, &samples.map(|(_, block)| block)));
    for (private, block) in samples {
        let delivery = Delivery::fetch(&sources, block);
        assert_identical(&delivery.folder, &root.snapshot(block));
        let definition = delivery.is_taken_by_a_real_peer(&binaries, "asset");
        assert_eq!(definition["sequence"], 1, "{definition}");
        let name = &definition["collections"]["config"][0]["Payload"]["StaticCollectionConfig"]["name"];
        assert_eq!(name.as_str(), private.then_some("collection-1"), "{definition}");
    }
}

/// The whole way into a stopped peer: fetched, proved, loaded into its databases; they may be new, or ones that the peer has made before.
#[test]
fn a_real_peer_starts_on_databases_that_were_loaded_while_it_was_stopped() {
    let Some(binaries) = binaries() else { return };
    let root = Root::with_recorded();
    let blocks = RECORDED.map(|(block, ..)| block);
    let sources = [1, 2].map(|org| Service::start(org, &root, &blocks));
    let addresses: Vec<_> = sources.iter().map(|source| source.address).collect();
    for (has_run, (block, chaincode, sequence)) in [(false, RECORDED[0]), (true, RECORDED[1])] {
        let mut peer = RealPeer::new(&binaries, false);
        let land = TempDir::new().unwrap();
        let ledgers = peer.ledgers();
        let join = || {
            let join = Join::new(&addresses, land.path()).block(block);
            join.args(["--loader", "ledger", "--ledger", ledgers.to_str().unwrap()])
        };
        if has_run {
            peer.restart_after(|_| ());
            join().run().assert_failed(1, &["a peer runs on"]);
        }
        let mut folder = PathBuf::new();
        peer.restart_after(|_| folder = PathBuf::from(join().run().result()["path"].as_str().unwrap()));
        let delivery = Delivery { block, folder, _land: land };
        let definition = delivery.is_whole_in(peer, chaincode);
        assert_eq!(definition["sequence"], sequence, "{definition}");
    }
}

/// The whole way into a running peer: fetched, proved, joined by the peer itself, and what it has then proved.
#[test]
fn a_running_peer_takes_what_has_landed_and_a_join_that_fails_is_told() {
    let Some(binaries) = binaries() else { return };
    let root = Root::with_recorded();
    let sources = [1, 2].map(|org| Service::start(org, &root, &RECORDED.map(|(block, ..)| block)));
    let addresses: Vec<_> = sources.iter().map(|source| source.address).collect();
    for (mutual_tls, (block, chaincode, sequence)) in [(false, RECORDED[0]), (true, RECORDED[1])] {
        let land = TempDir::new().unwrap();
        let join = |peer: &RealPeer| {
            let (address, ca) = (peer.address(), RealPeer::tls_root());
            let join = Join::new(&addresses, land.path()).block(block).args(["--loader", "folder"]);
            let join = join.args(["--peer-address", &address, "--tls-root-cert-file", ca.to_str().unwrap()]);
            let pair = ["CERT", "KEY"].into_iter().zip(RealPeer::client_pair());
            let pair = pair
                .map(|(what, path)| (format!("SNAPFERRY_PEER_TLS_CLIENT{what}"), path.to_str().unwrap().to_owned()));
            if mutual_tls { join.variables(pair) } else { join }
        };
        // The peer itself is a member of its organisation, and no admin: found out before anything is fetched.
        let own = real_peer::crypto("peers/peer0.org3.example.com/msp").to_str().unwrap().to_owned();
        let variables = [("CORE_PEER_MSPCONFIGPATH", own), ("CORE_PEER_LOCALMSPID", "Org3MSP".to_owned())];
        let peer = RealPeer::start(&binaries, false);
        let denied = Join::new_as(&Credentials::org(3), &addresses, land.path()).block(block);
        let denied = denied.args(["--loader", "folder", "--peer-address", &peer.address(), "--tls-root-cert-file"]);
        let denied = denied.args([RealPeer::tls_root().to_str().unwrap()]);
        let denied = denied.variables(variables.map(|(name, value)| (name.to_owned(), value))).run();
        denied.assert_failed(5, &["is not an admin under this MSP"]);
        assert!(denied.of("source_ready").is_empty(), "{}", denied.stdout);
        drop(peer);
        // Leftovers of a channel that the peer doesn't know: it takes the join, and fails it behind its success.
        let fails = RealPeer::start(&binaries, mutual_tls);
        let left = fails.ledgers().join("chains/chains").join(CHANNEL);
        std::fs::create_dir_all(&left).unwrap();
        std::fs::write(left.join("blockfile_000000"), "x").unwrap();
        join(&fails).run().assert_failed(1, &["doesn't have channel mychannel", "Error creating ledger from snapshot"]);
        assert!(fails.log().contains("Error creating ledger from snapshot"), "{}", fails.log());
        drop(fails);
        // What it took lies there still, for a better one.
        let peer = RealPeer::start(&binaries, mutual_tls);
        let ended = join(&peer).run();
        assert_eq!(ended.result()["outcome"], "already_there");
        let folder = PathBuf::from(ended.result()["path"].as_str().unwrap());
        join(&peer).run().assert_failed(1, &["already has channel mychannel"]);
        let delivery = Delivery { block, folder, _land: land };
        let definition = delivery.is_whole_in(peer, chaincode);
        assert_eq!(definition["sequence"], sequence, "{definition}");
    }
}

/// A second peer of Org3 is cloned from a running one, which makes the snapshot for it when the command asks; then it runs, and its files are
/// read while it does.
#[test]
fn a_real_peer_is_cloned_from_another_one_of_its_organisation() {
    let Some(binaries) = binaries() else { return };
    let root = Root::with_recorded();
    let (block, chaincode, _) = RECORDED[1];
    let mut first = RealPeer::new(&binaries, false);
    let land = TempDir::new().unwrap();
    let ledgers = first.ledgers();
    first.restart_after(|_| {
        let sources = [1, 2].map(|org| Service::start(org, &root, &[block]));
        let join = Join::new(&sources.each_ref().map(|source| source.address), land.path()).block(block);
        join.args(["--loader", "ledger", "--ledger", ledgers.to_str().unwrap()]).run().result();
    });
    let service = Service::start_at(&Credentials::org(3), &first.root(), &[]);

    let mut second = RealPeer::new(&binaries, false);
    let (land, state, ledgers) = (TempDir::new().unwrap(), TempDir::new().unwrap(), second.ledgers());
    let clone_as = |org: u8, more: &[&str]| {
        let mut command = binary();
        command.args(["clone", "--from", &service.address.to_string(), "--source-peer-address", &first.address()]);
        command.arg("--source-peer-tls-root-cert-file").arg(RealPeer::tls_root());
        command.arg("--land").arg(land.path()).arg("--state-dir").arg(state.path());
        command.args(["--loader", "ledger", "--ledger"]).arg(&ledgers);
        Credentials::admin(org).flags(&mut command);
        command.args(more);
        command
    };
    let output = clone_as(1, &[]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(5) && said.contains("creator org unknown, creator is malformed"), "{said}");
    let clone = |more: &[&str]| clone_as(3, more);
    // It came from a snapshot itself: it has no configuration block to give.
    let output = clone(&[]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("give it with --config-block"), "{said}");

    let config_block = recorded("config_block.pb").display().to_string();
    let with_block = ["--config-block", &config_block];
    let output = clone(&with_block).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && said.contains("was requested of the source's peer"), "{said}");
    let folder = land.path().join(CHANNEL).join(block.to_string());
    assert_identical(&folder, &first.root().join("completed").join(CHANNEL).join(block.to_string()));
    assert_identical(&folder, &root.snapshot(block));

    second.restart();
    let mut waiting = clone(&[&with_block[..], &["--wait-private-data", "-O", "json"]].concat());
    let mut waiting = waiting.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(waiting.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.contains(r#""event":"private_data""#)).expect("nobody gives them here");
    kill_process(Pid::from_child(&waiting), Signal::TERM).unwrap();
    assert_eq!(waiting.wait().unwrap().code(), Some(143));
    Delivery { block, folder, _land: land }.is_whole_in(second, chaincode);
}

/// Writes a sample where the services look; tells its block.
fn sample(root: &Root, args: &[&str]) -> u64 {
    let making = root.path().join("making");
    let output = binary().arg("sample").arg(&making).args(args).args(["-O", "json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let block = serde_json::from_slice::<Value>(&output.stdout).unwrap()["block_number"].as_u64().unwrap();
    assert!(
        !root.snapshot(block).exists(),
        "two samples for block {block}: other numbers of transaction ids make other blocks"
    );
    std::fs::rename(making, root.snapshot(block)).unwrap();
    block
}

/// A snapshot that `join` has put into place.
struct Delivery {
    block: u64,
    folder: PathBuf,
    _land: TempDir,
}

impl Delivery {
    fn fetch(sources: &[Service], block: u64) -> Self {
        let land = TempDir::new().unwrap();
        let addresses: Vec<_> = sources.iter().map(|source| source.address).collect();
        let ended = Join::new(&addresses, land.path()).block(block).run();
        let folder = PathBuf::from(ended.result()["path"].as_str().unwrap());
        Self { block, folder, _land: land }
    }

    /// Everything that a peer's operator would look at. Returns the chaincode's definition, as the peer reads it in the state.
    fn is_taken_by_a_real_peer(&self, binaries: &Path, chaincode: &str) -> Value {
        let peer = RealPeer::start(binaries, false);
        assert_eq!(peer.channels(), [""; 0]);

        peer.cli(&["channel", "joinbysnapshot", "--snapshotpath", self.folder.to_str().unwrap()]);
        // It runs in the background; its failure would be in the log only.
        peer.wait_for("the end of the join", |peer| {
            peer.cli(&["channel", "joinbysnapshotstatus"]).contains("No joinbysnapshot operation is in progress")
        });
        self.is_whole_in(peer, chaincode)
    }

    /// Looks at a peer that has the channel, before and after a restart; its own snapshot must be the same again.
    fn is_whole_in(&self, mut peer: RealPeer, chaincode: &str) -> Value {
        self.check_ledger(&peer);

        peer.restart();
        self.check_ledger(&peer);
        let definition =
            peer.cli(&["lifecycle", "chaincode", "querycommitted", "-C", CHANNEL, "-n", chaincode, "-O", "json"]);

        let own = peer.snapshot(self.block);
        assert_identical(&own, &self.folder);
        let verified = binary().arg("verify").arg(&own).output().unwrap();
        assert!(verified.status.success(), "{verified:?}");
        peer.assert_calm();
        serde_json::from_str(&definition).unwrap()
    }

    fn check_ledger(&self, peer: &RealPeer) {
        assert_eq!(peer.channels(), [CHANNEL], "{}", peer.log());
        let signable = std::fs::read(self.folder.join("_snapshot_signable_metadata.json")).unwrap();
        let signable: Value = serde_json::from_slice(&signable).unwrap();
        let answer = peer.cli(&["channel", "getinfo", "-c", CHANNEL]);
        let info: Value = serde_json::from_str(answer.trim().strip_prefix("Blockchain info: ").unwrap()).unwrap();
        assert_eq!(info["height"], self.block + 1, "{info}");
        assert_eq!(info["bootstrappingSnapshotInfo"]["lastBlockInSnapshot"], self.block, "{info}");
        assert_eq!(info["currentBlockHash"], base64_of_hex(&signable["last_block_hash"]), "{info}");
        assert_eq!(info["previousBlockHash"], base64_of_hex(&signable["previous_block_hash"]), "{info}");
    }
}

/// The hash of a metadata file as `peer channel getinfo` prints it.
fn base64_of_hex(hex: &Value) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes = hex::decode(hex.as_str().unwrap()).unwrap();
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, index| bits << 8 | usize::from(*group.get(index).unwrap_or(&0)));
        for index in 0..4 {
            let digit = char::from(DIGITS[bits >> (18 - 6 * index) & 63]);
            text.push(if index <= group.len() { digit } else { '=' });
        }
    }
    text
}
