//! A running service follows the configuration blocks that its operator puts in place: newer ones that the orderers signed, and
//! nothing else.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/config_blocks.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod config_blocks;

#[path = "common/loopback.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod loopback;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use config_blocks::{Change, newer, signed_by_a_peer, unsigned};
use snapferry::{
    disk::OsDir,
    msp::{ChannelConfig, MspId},
    service::{Bundles, CONFIG_POLL, ConfigWatch, ConfigWatchSettings},
    snapshot::ChannelId,
    transport::live::LiveChannels,
};
use tempfile::TempDir;

fn channel() -> ChannelId {
    "mychannel".parse().unwrap()
}

/// A watch over a file or folder, with the recorded configuration in force.
struct Watched {
    state: TempDir,
    place: TempDir,
    path: PathBuf,
    channels: LiveChannels,
    watch: ConfigWatch,
}

impl Watched {
    /// `name` empty: the folder itself is watched.
    fn new(name: &str) -> Self {
        let (state, place) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let path = place.path().join(name);
        let channels = loopback::live();
        let bundles = Bundles::open(&*OsDir::open(state.path()).unwrap()).unwrap();
        bundles.admit(&(*loopback::config()).clone().into()).unwrap();
        let watch = ConfigWatch::new(ConfigWatchSettings {
            paths: [(channel(), path.clone())].into(),
            channels: channels.clone(),
            bundles,
            identity: loopback::identity(1),
            clock: Arc::new(loopback::now),
            interval: CONFIG_POLL,
            age_max: None,
        });
        Self { state, place, path, channels, watch }
    }

    /// Puts a block in place, as an operator does who takes care: whole or not at all.
    fn put(&self, name: &str, block: &[u8]) {
        let new = self.state.path().join("new");
        std::fs::write(&new, block).unwrap();
        std::fs::rename(new, self.place.path().join(name)).unwrap();
    }

    /// Steps by which the configuration in force is ahead of the recorded one.
    fn ahead(&mut self) -> u64 {
        self.watch.look();
        self.channels.current(&channel()).unwrap().sequence() - loopback::config().sequence()
    }

    fn record(&self) -> String {
        let bundles = Bundles::open(&*OsDir::open(self.state.path()).unwrap()).unwrap();
        bundles.recorded(&channel()).unwrap().unwrap().to_string()
    }
}

#[test]
fn a_newer_block_is_in_force_and_on_record_and_an_older_one_no_more() {
    let mut watched = Watched::new("block.pb");
    assert_eq!(watched.ahead(), 0, "nothing is there yet");
    watched.put("block.pb", &newer(1, &Change::Nothing));
    assert_eq!(watched.ahead(), 1);
    let (record, sequence) = (watched.record(), loopback::config().sequence());
    assert!(record.contains(&format!("sequence {} of", sequence + 1)), "{record}");
    watched.put("block.pb", &newer(3, &Change::Without(3)));
    assert_eq!(watched.ahead(), 3, "a gap is fine: the same orderers sign");
    let config = watched.channels.current(&channel()).unwrap();
    assert!(!config.orgs().contains_key(&MspId::new("Org3MSP").unwrap()));

    let record = watched.record();
    watched.put("block.pb", &newer(2, &Change::Nothing));
    assert_eq!(watched.ahead(), 3);
    assert_eq!(watched.record(), record);
    // After a restart, too.
    let bundles = Bundles::open(&*OsDir::open(watched.state.path()).unwrap()).unwrap();
    let older = ChannelConfig::from_block(&newer(2, &Change::Nothing)).unwrap();
    let error = bundles.admit(&older.into()).unwrap_err().to_string();
    for named in [sequence + 2, sequence + 3] {
        assert!(error.contains(&format!("sequence {named} of block")), "{error}");
    }
}

#[test]
fn what_the_orderers_did_not_sign_changes_nothing() {
    let mut watched = Watched::new("block.pb");
    let change = Change::Without(2);
    let good = newer(1, &change);
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let record = watched.record();
    let bad: [(&str, Vec<u8>); 6] = [
        ("unsigned", unsigned(1, &change)),
        ("signed by a peer", signed_by_a_peer(unsigned(1, &change))),
        ("torn", good[..good.len() / 2].to_vec()),
        ("no block", b"no block".to_vec()),
        ("empty", Vec::new()),
        ("another signature", [&unsigned(1, &change)[..], &metadata(&newer(2, &change))].concat()),
    ];
    for (what, block) in bad {
        watched.put("block.pb", &block);
        assert_eq!(watched.ahead(), 0, "{what}");
        assert_eq!(watched.record(), record, "{what}");
    }
    std::fs::remove_file(&watched.path).unwrap();
    assert_eq!(watched.ahead(), 0, "gone");
    watched.put("block.pb", &good);
    assert_eq!(watched.ahead(), 1, "the good one still counts");
}

/// The metadata field of a block, which comes last.
fn metadata(block: &[u8]) -> Vec<u8> {
    let plain = unsigned(2, &Change::Without(2));
    block[plain.len()..].to_vec()
}

#[test]
fn of_a_folder_every_block_counts_in_turn() {
    let mut watched = Watched::new("");
    let old = std::fs::read(loopback::fixture("network/genesis.block")).unwrap();
    watched.put("0.block", &old);
    watched.put("notes.txt", b"no block");
    watched.put("3.block", &newer(3, &Change::Nothing));
    watched.put("2.block", &newer(2, &Change::Nothing));
    watched.put("4.block", &unsigned(4, &Change::Nothing));
    assert_eq!(watched.ahead(), 3);
    watched.put("5.block", &newer(5, &Change::Nothing));
    assert_eq!(watched.ahead(), 5);
}

#[test]
fn what_cannot_be_put_on_record_is_not_put_in_force() {
    let mut watched = Watched::new("block.pb");
    watched.put("block.pb", &newer(1, &Change::Nothing));
    let record = watched.state.path().join("bundles/mychannel");
    let kept = std::fs::read(&record).unwrap();
    std::fs::write(&record, "damaged").unwrap();
    assert_eq!(watched.ahead(), 0);
    // Tried again, though the file is the same.
    std::fs::write(&record, kept).unwrap();
    assert_eq!(watched.ahead(), 1);
}

#[test]
fn a_look_takes_what_changed_in_place_too() {
    let mut watched = Watched::new("block.pb");
    let path: &Path = &watched.path.clone();
    let good = newer(1, &Change::Nothing);
    std::fs::write(path, &good[..100]).unwrap();
    assert_eq!(watched.ahead(), 0);
    std::fs::write(path, &good).unwrap();
    assert_eq!(watched.ahead(), 1);
}

/// Defence: nothing but a regular file is opened. Removed, a pipe in the file's place blocks the watch for ever, and no
/// newer configuration counts any more.
#[test]
fn a_pipe_in_the_place_of_the_block_blocks_nothing() {
    let mut watched = Watched::new("block.pb");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &watched.path,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let (looked, looks) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let ahead = watched.ahead();
        looked.send((watched, ahead)).unwrap();
    });
    let (mut watched, ahead) = looks.recv_timeout(std::time::Duration::from_secs(10)).expect("blocked");
    assert_eq!(ahead, 0);
    let loaded = snapferry::service::load_channel_config(&watched.path, Some(&channel()));
    assert!(loaded.unwrap_err().to_string().contains("regular file"));
    watched.put("block.pb", &newer(1, &Change::Nothing));
    assert_eq!(watched.ahead(), 1, "the good one still counts");
}
