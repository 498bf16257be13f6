//! What a service or a join takes for the channel's configuration at its start: the first time what the operator gives, later what comes
//! from what was in force.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/config_blocks.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod config_blocks;

use std::{
    net::UdpSocket,
    path::{Path, PathBuf},
    process::Command,
};

use config_blocks::{Change, newer, signed, signed_by_a_peer, unsigned};
use sha2::{Digest, Sha256};
use snapferry::{
    catalog::RootOfTrust,
    disk::OsDir,
    msp::{ChannelConfig, MspId},
    service::{BundleError, Bundles, RootError, config::ChannelSettings, load_given},
    snapshot::ChannelId,
};
use tempfile::TempDir;

const NETWORK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/network");

fn recorded(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(NETWORK).join(name)).unwrap()
}

fn channel() -> ChannelId {
    "mychannel".parse().unwrap()
}

/// A place for blocks, and a state folder that outlives starts.
struct Starts {
    state: TempDir,
    place: TempDir,
    settings: ChannelSettings,
}

impl Starts {
    /// One file.
    fn new() -> Self {
        let place = TempDir::new().unwrap();
        let mut settings = ChannelSettings::default();
        settings.config_block = Some(place.path().join("channel.block"));
        Self { state: TempDir::new().unwrap(), place, settings }
    }

    /// A folder.
    fn of_a_folder() -> Self {
        let mut starts = Self::new();
        starts.settings.config_block = Some(starts.place.path().to_owned());
        starts
    }

    fn put(&self, name: &str, block: &[u8]) -> PathBuf {
        let path = self.place.path().join(name);
        std::fs::write(&path, block).unwrap();
        path
    }

    /// Steps by which what is in force is ahead of the recorded configuration, and how many organisations are in it.
    fn start(&self) -> Result<(u64, usize), BundleError> {
        let before = std::fs::read(self.record()).ok();
        let bundles = Bundles::open(&*OsDir::open(self.state.path()).unwrap()).unwrap();
        let given = load_given(&channel(), &self.settings).unwrap();
        let rooted = bundles.admit(&given).inspect_err(|_| {
            assert_eq!(std::fs::read(self.record()).ok(), before, "what is refused leaves no trace");
        })?;
        let first = ChannelConfig::from_block(&recorded("config_block.pb")).unwrap();
        Ok((rooted.config.sequence() - first.sequence(), rooted.config.orgs().len()))
    }

    fn start_with(&self, block: &[u8]) -> Result<(u64, usize), BundleError> {
        self.put("channel.block", block);
        self.start()
    }

    fn record(&self) -> PathBuf {
        self.state.path().join("bundles/mychannel")
    }
}

/// What is in force, or the name of the refusal.
fn verdict(started: Result<(u64, usize), BundleError>) -> Result<(u64, usize), &'static str> {
    started.map_err(|error| match error {
        BundleError::Rollback { .. } => "rollback",
        BundleError::Differs { .. } => "differs",
        BundleError::NoSuccessor { .. } => "no successor",
        BundleError::Root(RootError::Pin { .. }) => "pin",
        BundleError::Root(RootError::Walk { .. }) => "walk",
        _ => "other",
    })
}

/// Defence: the configuration in force is kept, and a block that is given at a later start must come from it. Removed, whoever can
/// write the file decides who is in the channel, from the next start on.
#[test]
fn a_block_that_nobody_signed_changes_nothing_at_the_next_start_either() {
    let starts = Starts::new();
    assert_eq!(verdict(starts.start_with(&newer(1, &Change::Nothing))), Ok((1, 3)));
    let forged = unsigned(2, &Change::Without(3));
    assert_eq!(verdict(starts.start_with(&forged)), Err("no successor"));
    assert_eq!(verdict(starts.start_with(&signed_by_a_peer(forged))), Err("no successor"));
    assert_eq!(verdict(starts.start_with(&newer(2, &Change::Without(3)))), Ok((2, 2)), "the orderers' own counts");
}

/// Defence: of one age there is one configuration. Removed, a block with the sequence of the one in force needs no signature.
#[test]
fn another_configuration_of_the_same_age_is_refused_and_the_same_one_is_not() {
    let starts = Starts::new();
    starts.start_with(&newer(1, &Change::Nothing)).unwrap();
    assert_eq!(verdict(starts.start_with(&unsigned(1, &Change::Without(3)))), Err("differs"));
    assert_eq!(verdict(starts.start_with(&newer(1, &Change::Without(3)))), Err("differs"), "not even the orderers'");
    // A peer has the block with other signatures around it.
    assert_eq!(verdict(starts.start_with(&signed(unsigned(1, &Change::Nothing)))), Ok((1, 3)));
}

/// Defence: each block is judged by the one before. Removed, the first start would be the last one that asks for signatures.
#[test]
fn what_followed_is_what_the_next_one_must_follow_from() {
    let starts = Starts::new();
    starts.start_with(&recorded("config_block.pb")).unwrap();
    starts.start_with(&newer(2, &Change::Without(3))).unwrap();
    assert_eq!(verdict(starts.start_with(&newer(1, &Change::Nothing))), Err("rollback"));
    assert_eq!(verdict(starts.start_with(&unsigned(3, &Change::Nothing))), Err("no successor"));
    let error = starts.start().unwrap_err().to_string();
    for part in ["in between, all in one folder", "as a new root, remove", "bundles/mychannel"] {
        assert!(error.contains(part), "{error}");
    }
    // The operator's own hand.
    std::fs::remove_file(starts.record()).unwrap();
    assert_eq!(verdict(starts.start()), Ok((3, 3)));
}

/// Defence: of a folder every newer block must come from the one before. Removed, one forged block in it counts as the newest.
#[test]
fn of_a_folder_the_blocks_are_followed_from_the_one_in_force() {
    let starts = Starts::of_a_folder();
    starts.put("0", &recorded("genesis.block"));
    starts.put("1", &newer(1, &Change::Nothing));
    assert_eq!(verdict(starts.start()), Ok((1, 3)));
    starts.put("2", &newer(2, &Change::Nothing));
    starts.put("3", &newer(3, &Change::Without(3)));
    assert_eq!(verdict(starts.start()), Ok((3, 2)));
    let forged = starts.put("4", &unsigned(4, &Change::Nothing));
    assert_eq!(verdict(starts.start()), Err("no successor"));
    std::fs::write(&forged, unsigned(3, &Change::Nothing)).unwrap();
    assert_eq!(verdict(starts.start()), Err("differs"));
    std::fs::remove_file(forged).unwrap();
    assert_eq!(verdict(starts.start()), Ok((3, 2)));
}

/// Defence: a pin says which block is the root, and what its orderers signed since comes from it. Removed, a service that followed its
/// channel doesn't start again, and its operator learns to do without pins.
#[test]
fn what_follows_from_the_pinned_block_needs_no_new_pin() {
    let mut starts = Starts::new();
    let pinned = newer(1, &Change::Nothing);
    starts.settings.config_block_sha256 = Some(Sha256::digest(&pinned).into());
    assert_eq!(
        verdict(starts.start_with(&newer(2, &Change::Nothing))),
        Err("pin"),
        "the first time it is that very block"
    );
    assert_eq!(verdict(starts.start_with(&pinned)), Ok((1, 3)));
    assert_eq!(verdict(starts.start_with(&newer(2, &Change::Without(3)))), Ok((2, 2)));
    assert_eq!(verdict(starts.start()), Ok((2, 2)));
    assert_eq!(verdict(starts.start_with(&unsigned(3, &Change::Nothing))), Err("no successor"));
    assert_eq!(verdict(starts.start_with(&pinned)), Err("rollback"));
}

/// Defence: an operator who pins a block anew is believed, but nothing brings an older one back. Removed, either a channel whose orderers
/// all changed can't be served any more, or an old pin brings back whoever was removed.
#[test]
fn a_new_pin_is_a_new_root_but_never_an_older_one() {
    let mut starts = Starts::new();
    starts.start_with(&newer(2, &Change::Nothing)).unwrap();
    let other = unsigned(3, &Change::Without(3));
    starts.settings.config_block_sha256 = Some(Sha256::digest(&other).into());
    assert_eq!(verdict(starts.start_with(&newer(3, &Change::Nothing))), Err("pin"));
    assert_eq!(verdict(starts.start_with(&other)), Ok((3, 2)));
    assert_eq!(verdict(starts.start_with(&newer(4, &Change::Nothing))), Ok((4, 3)), "the chain goes on from there");
    let old = newer(1, &Change::Nothing);
    starts.settings.config_block_sha256 = Some(Sha256::digest(&old).into());
    assert_eq!(verdict(starts.start_with(&old)), Err("rollback"));
}

/// Defence: the genesis block is a root like another: only what comes from what was in force counts later. Removed, whoever can write its
/// file makes a channel of their own.
#[test]
fn from_a_genesis_block_too_the_chain_goes_on() {
    let mut starts = Starts::of_a_folder();
    let genesis = starts.put("genesis", &recorded("genesis.block"));
    starts.settings.genesis_block = Some(genesis.clone());
    let root = load_given(&channel(), &starts.settings).unwrap();
    let open = || Bundles::open(&*OsDir::open(starts.state.path()).unwrap()).unwrap();
    assert_eq!(open().admit(&root).unwrap().root, RootOfTrust::GenesisWalk);
    // Its orderers signed it, but from this genesis block it couldn't be walked to.
    let gap = newer(2, &Change::Nothing);
    starts.put("2", &gap);
    assert_eq!(verdict(starts.start()), Ok((2, 3)));
    // Another root: the whole walk is asked for.
    std::fs::write(&genesis, newer(1, &Change::Nothing)).unwrap();
    assert_eq!(verdict(starts.start()), Err("walk"));
    std::fs::remove_file(starts.record()).unwrap();
    std::fs::write(&genesis, recorded("genesis.block")).unwrap();
    assert_eq!(verdict(starts.start()), Err("walk"), "the first time, too");
}

#[test]
fn pinned_msp_folders_leave_no_record() {
    let mut starts = Starts::new();
    starts.settings.config_block = None;
    let org = Path::new(NETWORK).join("crypto/peerOrganizations/org1.example.com/msp");
    starts.settings.pinned_msps = vec![(MspId::new("Org1MSP").unwrap(), org)];
    let bundles = Bundles::open(&*OsDir::open(starts.state.path()).unwrap()).unwrap();
    let given = load_given(&channel(), &starts.settings).unwrap();
    assert_eq!(bundles.admit(&given).unwrap().root, RootOfTrust::PinnedMsps);
    assert!(!starts.record().exists());
}

/// The real binary, as org1's peer would run it, in the state folder of these starts.
fn snapferry(starts: &Starts, yaml: &str, args: &[&str]) -> (Option<i32>, String) {
    std::fs::create_dir_all(starts.place.path().join("snapshots/completed")).unwrap();
    let peer = format!("{NETWORK}/crypto/peerOrganizations/org1.example.com/peers/peer0.org1.example.com");
    let identity = format!(
        "identity: {{mspId: Org1MSP, mspConfigPath: {peer}/msp, tls: {{cert: {peer}/tls/server.crt, key: {peer}/tls/server.key}}}}\n\
         stateDir: {}\nsnapshots: {{rootDir: snapshots}}\n",
        starts.state.path().display()
    );
    starts.put("snapferry.yaml", format!("{identity}{yaml}").as_bytes());
    let mut command = Command::new(env!("CARGO_BIN_EXE_snapferry"));
    let output = command.env_clear().current_dir(starts.place.path()).args(args).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// Defence: `serve` and `join` judge what they are given by the record, and `config check` tells before. Removed, the record is kept
/// for nobody.
#[test]
fn no_command_starts_with_what_the_record_refuses() {
    let starts = Starts::new();
    starts.start_with(&newer(4, &Change::Nothing)).unwrap();
    // Were it to start, it would end here, with another word.
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let yaml = "channels: {mychannel: {configBlock: channel.block}}\n";
    let land = ["join", "-c", "mychannel", "--land", "land", "--from", &taken];
    for (block, says) in [
        (recorded("config_block.pb"), "is older than the one that was in force here"),
        (unsigned(4, &Change::Without(3)), "claims its place"),
        (unsigned(5, &Change::Without(3)), "doesn't follow from the one that was in force here"),
    ] {
        starts.put("channel.block", &block);
        for (args, exit) in [(&["serve", "--listen-address", &taken][..], 3), (&land[..], 3), (&["config", "check"], 2)]
        {
            let (code, said) = snapferry(&starts, yaml, args);
            assert_eq!(code, Some(exit), "{args:?}: {said}");
            assert!(said.contains(says) && said.contains("bundles/mychannel"), "{args:?}: {said}");
        }
    }
}

/// Defence: a flag says where the block is, not that any will do. Removed, `serve --config-block` goes round the configured pin.
#[test]
fn a_block_that_is_given_by_flag_must_have_the_configured_pin() {
    let starts = Starts::new();
    let pinned = newer(1, &Change::Nothing);
    let pin = hex::encode(Sha256::digest(&pinned));
    let yaml = format!("channels: {{mychannel: {{configBlock: nowhere, configBlockSha256: {pin}}}}}\n");
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let serve = ["serve", "--listen-address", &taken, "--config-block", "channel.block"];
    starts.put("channel.block", &newer(2, &Change::Nothing));
    let (code, said) = snapferry(&starts, &yaml, &serve);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("is pinned: it is another block"), "{said}");
    starts.put("channel.block", &pinned);
    let (code, said) = snapferry(&starts, &yaml, &serve);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("can't be bound"), "{said}");
}

/// Defence: a block is on record only if our own identity is good in it. Removed, the wrong network's block that was once given by
/// mistake stands in the way of the right one.
#[test]
fn a_block_that_a_service_cannot_use_is_not_on_record() {
    let starts = Starts::new();
    starts.put("channel.block", &newer(1, &Change::Without(1)));
    let (code, said) =
        snapferry(&starts, "", &["serve", "--listen-address", "127.0.0.1:0", "--config-block", "channel.block"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("isn't accepted in channel mychannel"), "{said}");
    assert!(!starts.record().exists());
}
