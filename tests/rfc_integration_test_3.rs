//! Integration test 3 of Fabric's ledger checkpointing RFC, "Join an existing peer to the channel": a peer that has channels already gets another
//! one by a snapshot, straight into the databases that all of them share.
//!
//! Its channels' names sort before and after the new one's. Their records stay what they were, byte for byte; the peer starts, lists all, and goes
//! on in all of them. So it does where the peer was killed in an earlier join of the same channel. With a real network (`FABRIC_BIN`), and as far as
//! the records go on recorded data without a peer, where the other channels are samples.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/network_config.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod network_config;
#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;
#[path = "common/real_network.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod real_network;
#[path = "common/real_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod real_peer;

use processes::{CHANNEL, Join, Root, Service, assert_identical};
use real_network::{Network, load, network_binaries, wait};
use snapferry::{
    disk::OsDir,
    ledger::{
        leveldb::Database,
        load::{FileStream, Load},
        stores::Store,
    },
    msp::ChannelConfig,
    snapshot::{BlockNumber, SampleNumbers, SampleSpec, read_metadata, write_sample},
};
use std::{collections::BTreeMap, fs, path::Path};
use tempfile::TempDir;

/// Of a snapshot that takes a while to load.
const BYTES: u64 = 128 << 20;

type Records = BTreeMap<(String, Vec<u8>), Vec<u8>>;

/// Channels around ours in the order of keys; one of them differs from it in its end only.
const OTHERS: [&str; 3] = ["aaa", "mychannel.", "zzz"];

/// All records of all databases but those of our channel, and the number of those.
fn of_others(ledgers: &Path) -> (Records, usize) {
    let ours = [format!("{CHANNEL}\0"), format!("{CHANNEL}/"), format!("s{CHANNEL}")].map(String::into_bytes);
    let (mut records, mut left_out) = (BTreeMap::new(), 0);
    for store in Store::ALL {
        let folder = store.folder().iter().fold(ledgers.to_owned(), |path, name| path.join(name));
        let database = Database::open(OsDir::open(&folder).unwrap()).unwrap();
        for record in database.scan(..) {
            let (key, value) = record.unwrap();
            let is_ours = ours[..2].iter().any(|prefix| key.starts_with(prefix)) || key == ours[2];
            if is_ours {
                left_out += 1;
            } else {
                records.insert((store.folder().join("/"), key), value);
            }
        }
    }
    (records, left_out)
}

/// Loads ours into the stopped peer's databases, and looks at the rest.
fn load_beside(network: &mut Network, sources: &real_network::Sources) {
    network.peer_mut(3).restart_after(|peer| {
        let (before, of_ours) = of_others(&peer.ledgers());
        assert!(of_ours > 200, "the killed join has left {of_ours} records");
        for channel in OTHERS {
            let count = before.keys().filter(|(_, key)| key.starts_with(format!("{channel}\0").as_bytes())).count();
            assert!(count >= 10, "{channel}: {count} records");
        }
        sources.load(&peer.ledgers());
        let (after, of_ours_now) = of_others(&peer.ledgers());
        assert!((50..of_ours).contains(&of_ours_now), "{of_ours_now} of {of_ours}");
        let changed: Vec<_> = before.iter().filter(|(key, value)| after.get(*key) != Some(value)).collect();
        assert!(changed.is_empty(), "{changed:?}");
        let new: Vec<_> = after.keys().filter(|key| !before.contains_key(*key)).collect();
        assert!(new.is_empty(), "{new:?}");
    });
}

#[test]
fn a_peer_with_channels_around_ours_joins_it_by_a_snapshot() {
    let Some(binaries) = network_binaries() else { return };
    let mut network = Network::start(&binaries, &[1, 2, 3]);
    network.define(2, &[1, 2, 3], &[1, 2]);
    network.invoke(1, &[1, 2], &["putpvt", "collection-1", "p1-", "0", "8", "60", "seed"]);
    network.invoke(1, &[1, 2], &["putpvt", "collection-2", "p2-", "0", "8", "60", "seed"]);
    network.invoke(1, &[1, 2], &["put", "k", "0", "40", "90", "seed"]);
    network.peer_mut(3).restart();
    for channel in OTHERS {
        let genesis = network.genesis_of(channel);
        network.osn_join(channel, &genesis);
        network.peer(3).cli(&["channel", "join", "-b", genesis.to_str().unwrap()]);
    }
    let sources = network.snapshot([1, 2]);
    network.invoke(1, &[1, 2], &["put", "k", "20", "40", "90", "later"]);

    kill_a_join(&mut network);
    load_beside(&mut network, &sources);
    network.joined.push(3);
    let mut channels = network.peer(3).channels();
    channels.sort();
    assert_eq!(channels, ["aaa", CHANNEL, "mychannel.", "zzz"]);
    let last = network.settle();
    assert!(last > sources.block);
    network.install(3);
    network.approve(3, 2);
    network.wait_same(3, 1, &["range", "", ""]);
    network.wait_same(3, 1, &["getpvt", "collection-1", "p1-000003"]);
    network.query(3, &["getpvt", "collection-2", "p2-000003"]).unwrap_err();
    network.invoke(3, &[1, 3], &["incr", "counter"]);
    let later = network.settle();
    assert_identical(&network.peer(3).snapshot(later), &network.peer(2).snapshot(later));

    // The others go on, too: with a block of their own, a change of their configuration.
    for channel in OTHERS {
        let height = network.height(3, channel);
        network.add_block(channel);
        wait(&format!("a block of {channel}"), || {
            let now = network.height(3, channel);
            if now > height { Ok(()) } else { Err(format!("height {now}: {}", network.peer(3).log())) }
        });
    }
}

/// The peer joins by a snapshot of its own accord, and is killed while its state fills: what is there then is what ours finds.
fn kill_a_join(network: &mut Network) {
    let root = Root::new();
    let folder = root.snapshot(root.add_sample(BYTES, 3));
    let peer = network.peer_mut(3);
    let state = peer.ledgers().join("stateLeveldb");
    let size = || -> u64 {
        // A file may go in between.
        let sizes = fs::read_dir(&state).unwrap().filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()));
        sizes.sum()
    };
    let before = size();
    peer.cli(&["channel", "joinbysnapshot", "--snapshotpath", folder.to_str().unwrap()]);
    peer.wait_for("some of the state", |_| size() > before + BYTES / 8);
    peer.kill();
}

/// Loads a sample of another channel into those databases.
fn load_other(ledgers: &Path, channel: &str, seed: u64) {
    let config = ChannelConfig::from_block(&fs::read(processes::recorded("config_block.pb")).unwrap()).unwrap();
    let (folder, scratch) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let spec = SampleSpec {
        config_block: BlockNumber(config.block_number().0),
        channel: channel.parse().unwrap(),
        channel_config: config.config_envelope_bytes().to_vec(),
        collection_members: vec!["Org1MSP".to_owned(), "Org3MSP".to_owned()],
        numbers: SampleNumbers { keys: 400, value_bytes: 100, private_hashes: 90, tx_ids: 5_000 + seed },
        seed,
        expiring: seed.is_multiple_of(2),
        compressible: true,
    };
    let dir = OsDir::open(folder.path()).unwrap();
    write_sample(&*dir, &spec).unwrap();
    snapferry::ledger::load::load(&Load {
        ledgers: OsDir::open(ledgers).unwrap(),
        metadata: &read_metadata(&*dir).unwrap(),
        open: &|file| Ok(FileStream::Unproved(Box::new(fs::File::open(folder.path().join(file.name())).unwrap()))),
        msp_id: "Org3MSP",
        scratch: OsDir::open(scratch.path()).unwrap(),
        sort_bytes: 1 << 20,
        may_activate: &|| true,
    })
    .unwrap();
}

#[test]
fn other_channels_records_are_what_they_were() {
    let (root, land, peer) = (Root::with_recorded(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let ledgers = peer.path().join("ledgersData");
    fs::create_dir(&ledgers).unwrap();
    for (seed, channel) in (1..).zip(OTHERS) {
        load_other(&ledgers, channel, seed);
    }
    let (before, none) = of_others(&ledgers);
    assert_eq!(none, 0);
    for channel in OTHERS {
        let count = before.keys().filter(|(_, key)| key.starts_with(format!("{channel}\0").as_bytes())).count();
        assert!(count > 1_000, "{channel}: {count} records");
    }
    let services = [1, 2].map(|org| Service::start(org, &root, &[132]));
    let addresses = services.each_ref().map(|service| service.address);
    load(Join::new(&addresses, land.path()).block(132), &ledgers).result();
    let (after, of_ours) = of_others(&ledgers);
    assert!(of_ours > 200, "{of_ours}");
    assert!(after == before, "another channel's records have changed");
}
