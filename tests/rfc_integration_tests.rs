//! Integration tests 3, 4 and 6 of Fabric's ledger checkpointing RFC, by their names there: on recorded data without a peer, and with a real
//! one (`FABRIC_BIN`) as far as it goes without an orderer. Test 2 is in `rfc_integration_test_2.rs`, test 5 in `faults/load_crashes.rs`, test
//! 7 in `rfc_integration_test_7.rs`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;
#[path = "common/real_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod real_peer;

use processes::{CHANNEL, Join, Root, Service, assert_identical, binary, copy_folder, fixture};
use real_peer::{RealPeer, binaries};
use serde_json::Value;
use snapferry::{
    disk::OsDir,
    ledger::{leveldb::Database, stores::Store},
    msp::ChannelConfig,
    snapshot::{BlockNumber, SampleNumbers, SampleSpec, write_sample},
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

const BLOCKS: [u64; 2] = [83, 132];

/// Services of Org1 and Org2 over the recorded snapshots, and where Org3 lands.
struct Network {
    services: [Service; 2],
    land: TempDir,
    _root: Root,
}

impl Network {
    fn new() -> Self {
        let root = Root::with_recorded();
        let services = [1, 2].map(|org| Service::start(org, &root, &BLOCKS));
        Self { services, land: TempDir::new().unwrap(), _root: root }
    }

    fn addresses(&self) -> Vec<std::net::SocketAddr> {
        self.services.iter().map(|service| service.address).collect()
    }

    /// Org3's join of that block into that stopped peer.
    fn join(&self, block: u64, ledgers: &Path) -> Join {
        let join = Join::new(&self.addresses(), self.land.path()).block(block);
        join.args(["--loader", "ledger", "--ledger", ledgers.to_str().unwrap()])
    }
}

fn ledgers_in(folder: &TempDir) -> PathBuf {
    folder.path().join("ledgersData")
}

fn inspect(ledgers: &Path) -> Value {
    let output = binary().args(["inspect", "-c", CHANNEL, "-O", "json", "--ledger"]).arg(ledgers).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// All that the databases hold.
fn everything(ledgers: &Path) -> BTreeMap<Store, Records> {
    let of = |store: Store| {
        let folder = store.folder().iter().fold(ledgers.to_owned(), |path, name| path.join(name));
        let database = Database::open(OsDir::open(&folder).unwrap()).unwrap();
        (store, database.scan(..).map(Result::unwrap).collect())
    };
    Store::ALL.into_iter().map(of).collect()
}

/// "Join a new Org using a snapshot": the peer has no block up to the snapshot's last, and says so.
#[test]
fn rfc_integration_test_2_queries_of_old_blocks_are_errors() {
    let Some(binaries) = binaries() else { return };
    let network = Network::new();
    let mut peer = RealPeer::new(&binaries, false);
    let ledgers = peer.ledgers();
    peer.restart_after(|_| {
        network.join(132, &ledgers).run().result();
    });
    assert_eq!(peer.channels(), [CHANNEL]);
    for block in ["0", "80", "132"] {
        let fetched = peer.try_cli(&["channel", "fetch", block, "out.block", "-c", CHANNEL]);
        let errors = String::from_utf8_lossy(&fetched.stderr);
        assert!(!fetched.status.success() && errors.contains("NOT_FOUND"), "{block}: {errors}");
    }
}

/// Writes a snapshot of another channel of the recorded network; its folder.
fn other_channel(root: &Path, name: &str, seed: u64) -> PathBuf {
    let config = ChannelConfig::from_block(&fs::read(processes::recorded("config_block.pb")).unwrap()).unwrap();
    let folder = root.join(name);
    fs::create_dir(&folder).unwrap();
    let spec = SampleSpec {
        config_block: BlockNumber(config.block_number().0),
        channel: name.parse().unwrap(),
        channel_config: config.config_envelope_bytes().to_vec(),
        collection_members: vec!["Org1MSP".to_owned(), "Org3MSP".to_owned()],
        numbers: SampleNumbers { keys: 400, value_bytes: 100, private_hashes: 90, tx_ids: 5_000 + seed },
        seed,
        expiring: false,
        compressible: true,
    };
    write_sample(&*OsDir::open(&folder).unwrap(), &spec).unwrap();
    folder
}

/// "Join an existing peer to the channel": a peer that is in two channels, whose names stand before and behind the new one's, gets it by a
/// direct load. The others' records are the same bytes, and a real peer has all three, with the same snapshots as before.
#[test]
fn rfc_integration_test_3_join_an_existing_peer_to_the_channel() {
    let Some(binaries) = binaries() else { return };
    let (network, folders) = (Network::new(), TempDir::new().unwrap());
    let mut peer = RealPeer::start(&binaries, false);
    let others = ["mychanne", "mychannel-2"];
    for (seed, name) in (1..).zip(others) {
        let folder = other_channel(folders.path(), name, seed);
        peer.cli(&["channel", "joinbysnapshot", "--snapshotpath", folder.to_str().unwrap()]);
        peer.wait_for("the end of the join", |peer| {
            peer.cli(&["channel", "joinbysnapshotstatus"]).contains("No joinbysnapshot operation is in progress")
        });
    }
    assert_eq!(peer.channels(), others, "{}", peer.log());
    let ledgers = peer.ledgers();
    peer.restart_after(|_| {
        let before = everything(&ledgers);
        network.join(132, &ledgers).run().result();
        let channel = CHANNEL.parse().unwrap();
        for (store, mut records) in everything(&ledgers) {
            let ranges = store.key_ranges(&channel);
            let all = records.len();
            records.retain(|key, _| !ranges.iter().any(|range| range.contains(key)));
            assert!(records == before[&store], "{store:?}: another channel's records have changed");
            assert!(all > records.len() || store == Store::Bookkeeper, "{store:?}: nothing was loaded");
        }
    });
    assert_eq!(peer.channels(), ["mychanne", CHANNEL, "mychannel-2"], "{}", peer.log());
    let own = peer.snapshot(132);
    assert_identical(&own, &fixture("snapshots/org1/132"));
    for name in others {
        let info = peer.cli(&["channel", "getinfo", "-c", name]);
        let last = info.split("\"lastBlockInSnapshot\":").nth(1).unwrap().trim_end().trim_end_matches('}').to_owned();
        peer.cli(&[
            "snapshot",
            "submitrequest",
            "-c",
            name,
            "-b",
            "0",
            "--peerAddress",
            &peer.address(),
            "--tlsRootCertFile",
            RealPeer::tls_root().to_str().unwrap(),
        ]);
        let made = peer.root().join("completed").join(name).join(&last);
        peer.wait_for("its snapshot", |_| made.join("_snapshot_additional_metadata.json").exists());
        assert_identical(&made, &folders.path().join(name));
    }
    peer.assert_calm();
}

/// "Failure during bootstrapping the peer, before peer loads the full data": the join is killed half-way; after it the same snapshot, another
/// one, or the genesis block can be used. Also with a real peer that starts in between, if there is one.
#[test]
fn rfc_integration_test_4_failure_during_bootstrapping_before_the_full_data_is_loaded() {
    let binaries = binaries();
    let root = Root::new();
    let large = root.add_sample(64 << 20, 9);
    let services = [1, 2].map(|org| Service::start(org, &root, &[large]));
    let addresses = services.each_ref().map(|service| service.address);
    let network = Network::new();
    for next in ["the same", "another", "genesis"] {
        let (folder, land) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let mut peer = binaries.as_ref().map(|binaries| RealPeer::new(binaries, false));
        let ledgers = peer.as_ref().map_or_else(|| ledgers_in(&folder), RealPeer::ledgers);
        fs::create_dir_all(ledgers.parent().unwrap()).unwrap();
        let join = || {
            let join = Join::new(&addresses, land.path()).block(large);
            join.args(["--loader", "ledger", "--ledger", ledgers.to_str().unwrap()])
        };
        let joining = join().start();
        joining.wait_verified(20 << 20);
        joining.kill();
        assert_eq!(inspect(&ledgers)["status"], "under construction");
        if let Some(peer) = &mut peer {
            peer.restart();
            assert_eq!(peer.channels(), [""; 0], "{}", peer.log());
            peer.stop();
        }
        match (next, &mut peer) {
            ("the same", _) => {
                join().run().result();
            }
            ("another", _) => {
                network.join(83, &ledgers).run().result();
            }
            (_, Some(peer)) => {
                peer.restart();
                peer.cli(&["channel", "join", "-b", fixture("genesis.block").to_str().unwrap()]);
            }
            // Without a peer nothing makes a channel of a block.
            (_, None) => continue,
        }
        if let Some(peer) = &mut peer {
            peer.restart();
            assert_eq!(peer.channels(), [CHANNEL], "{next}: {}", peer.log());
        }
    }
}

/// "A peer bootstrapped via a snapshot can serve the private data when another peer is bootstrapped from the snapshot": what it reconciles it
/// can hold to the hashes of the snapshot, and give on; those are in its own databases for every transaction whose data are missing.
#[test]
fn rfc_integration_test_6_a_bootstrapped_peer_has_the_hashes_by_which_it_serves_private_data() {
    let network = Network::new();
    let peer = TempDir::new().unwrap();
    network.join(132, &ledgers_in(&peer)).run().result();
    let ledger = inspect(&ledgers_in(&peer));
    let all = ledger["missing_private_data"].as_array().unwrap();
    let transactions: u64 = all
        .iter()
        .map(|missing| {
            missing["eligible_transactions"].as_u64().unwrap() + missing["ineligible_transactions"].as_u64().unwrap()
        })
        .sum();
    let records = &everything(&ledgers_in(&peer))[&Store::PrivateData];
    let hashes = records.keys().filter(|key| key.starts_with(b"mychannel\0\x09")).count();
    assert!(hashes > 40 && hashes as u64 == transactions, "{hashes} records of hashes for {transactions} transactions");
}
