//! `join --loader folder` with the real binary: the running peer takes what has landed by its own join, and what it has then is held to what
//! was agreed on. The peer is a fake that takes joins well, badly, or into something else; `real_peer_join.rs` asks a real one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/fake_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod fake_peer;
#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;

use fake_peer::{Conduct, FakePeer, Joins, Ledger};
use processes::{CHANNEL, Credentials, Ended, Join, Root, Service, binary, copy_folder, fixture};
use std::{fs, path::Path};
use tempfile::TempDir;

const BLOCK: u64 = 132;

/// Sources of two organisations, and a landing folder.
struct Place {
    sources: Vec<Service>,
    land: TempDir,
    _root: Root,
}

impl Place {
    fn new() -> Self {
        let root = Root::with_recorded();
        let sources = [1, 2].map(|org| Service::start(org, &root, &[BLOCK])).into();
        Self { sources, land: TempDir::new().unwrap(), _root: root }
    }

    /// The join, as Org3's admin, into that peer.
    fn join(&self, peer: &FakePeer) -> Join {
        let addresses: Vec<_> = self.sources.iter().map(|source| source.address).collect();
        into(Join::new(&addresses, self.land.path()).block(BLOCK), peer)
    }

    fn folder(&self) -> std::path::PathBuf {
        self.land.path().join(CHANNEL).join(BLOCK.to_string())
    }
}

fn into(join: Join, peer: &FakePeer) -> Join {
    let (address, ca) = (peer.address.to_string(), peer.file("ca.crt"));
    join.args(["--loader", "folder", "--peer-address", &address, "--tls-root-cert-file", ca.to_str().unwrap()])
}

fn joins_asked(peer: &FakePeer) -> usize {
    peer.calls().iter().filter(|call| *call == "JoinChainBySnapshot").count()
}

#[test]
fn a_peer_that_joins_well_is_proved_to_have_done_so() {
    let place = Place::new();
    for joins in [Joins::Well, Joins::Ahead] {
        let peer = FakePeer::start_of("Org3MSP", joins);
        let ended = place.join(&peer).run();
        assert!(ended.result()["load_seconds"].as_f64().unwrap() > 0.0);
        assert_eq!(peer.ledger(CHANNEL).joined_by, Some(BLOCK));
        let calls = peer.calls();
        // First whether it lacks the channel; after the join first whether it has it, then what.
        assert_eq!(calls[..2], ["GetChannels", "JoinBySnapshotStatus"], "{calls:?}");
        let joined = calls.iter().position(|call| call == "JoinChainBySnapshot").unwrap();
        assert_eq!(calls[joined - 2..joined], ["JoinBySnapshotStatus", "GetChannels"], "{calls:?}");
        let proof = &calls[calls.len() - 2 - usize::from(joins == Joins::Ahead)..];
        let block = (joins == Joins::Ahead).then_some("GetBlockByNumber");
        assert_eq!(proof, ["GetChannels", "GetChainInfo"].into_iter().chain(block).collect::<Vec<_>>(), "{calls:?}");
    }
    let peer = FakePeer::start_of("Org3MSP", Joins::Well);
    let said = place.join(&peer).run_text();
    assert!(said.stdout.contains("the peer joined mychannel in") && said.stdout.contains("the agreed one"), "{said:?}");
    assert!(!said.stdout.contains("joinbysnapshot"), "there is nothing left to do: {}", said.stdout);
}

/// B1: the peer takes the join, and it fails: told with what to look for, the folder kept; the same command tries again.
#[test]
fn a_join_that_failed_behind_its_success_is_told() {
    let place = Place::new();
    let peer = FakePeer::start_of("Org3MSP", Joins::Badly);
    let words =
        ["doesn't have channel mychannel", "`Error creating ledger from snapshot`", "the same command tries again"];
    place.join(&peer).run().assert_failed(1, &words);
    assert!(place.folder().is_dir());
    let better = FakePeer::start_of("Org3MSP", Joins::Well);
    let again = place.join(&better).run();
    assert_eq!(again.result()["outcome"], "already_there");
    assert_eq!(better.ledger(CHANNEL).joined_by, Some(BLOCK));
}

/// B1: the peer goes away before it is told to join: a peer that can't be reached, and what has landed is kept.
#[test]
fn a_peer_that_is_gone_when_all_has_landed_is_no_loss() {
    let place = Place::new();
    let peer = FakePeer::start_of("Org3MSP", Joins::Well);
    let joining = place.join(&peer).start();
    joining.wait_for(|told| (told["event"] == "agreed").then_some(()));
    peer.behave(Conduct::HangsUp);
    joining.wait().assert_failed(4, &["the connection to the peer"]);
    assert!(place.folder().is_dir());
    peer.behave(Conduct::Fabric);
    assert_eq!(place.join(&peer).run().result()["outcome"], "already_there");
}

/// B1: the peer falls silent in the middle of its join: said while it is waited for, what has landed is kept, and the next run proves what
/// became of it.
#[test]
fn a_peer_that_falls_silent_while_it_joins_is_told_of() {
    let place = Place::new();
    let peer = FakePeer::start_of("Org3MSP", Joins::Stays);
    let joining = place.join(&peer).args(["--timeout", "1s", "--deadline", "8s"]).start();
    joining.wait_for(|told| (told["event"] == "peer_joins").then_some(()));
    peer.behave(Conduct::Silent);
    let ended = joining.wait();
    ended.assert_failed(6, &["run the same command again"]);
    let gone = ended.of("peer_gone");
    assert!(!gone.is_empty() && gone[0]["reason"].as_str().unwrap().contains("1s"), "{gone:?}");
    assert!(place.folder().is_dir());
    peer.behave(Conduct::Fabric);
    peer.set_joins(Joins::Well);
    peer.finish_joining();
    assert_eq!(place.join(&peer).run().result()["outcome"], "already_in_the_peer");
    assert_eq!(joins_asked(&peer), 1);
}

/// B2: the peer is restarted in the middle of the join and drops what it had: it is told to join again, from what has landed.
#[test]
fn a_peer_that_is_restarted_joins_again_without_a_download() {
    let place = Place::new();
    let peer = FakePeer::start_of("Org3MSP", Joins::Restarts);
    let ended = place.join(&peer).run();
    assert_eq!(ended.result()["outcome"], "landed");
    assert_eq!((joins_asked(&peer), ended.of("peer_gone").len()), (2, 2), "{:?}", peer.calls());
    assert_eq!(peer.ledger(CHANNEL).joined_by, Some(BLOCK));
}

/// B3: another join runs: it is waited for, and a deadline ends the wait with what has landed kept.
#[test]
fn another_join_is_waited_for() {
    let place = Place::new();
    let peer = FakePeer::start_of("Org3MSP", Joins::Stays);
    peer.set_joining(Some("/other"));
    place.join(&peer).args(["--deadline", "4s"]).run().assert_failed(6, &["run the same command again"]);
    assert_eq!(joins_asked(&peer), 0);
    let peer = FakePeer::start_of("Org3MSP", Joins::Stays);
    peer.set_joining(Some(place.folder().to_str().unwrap()));
    let joining = place.join(&peer).start();
    let busy = joining.wait_for(|told| (told["event"] == "peer_busy").then(|| told["folder"].clone()));
    assert_eq!(busy, place.folder().to_str().unwrap());
    peer.set_joins(Joins::Well);
    peer.finish_joining();
    // It was ours, by another command: nothing is joined twice.
    joining.wait().assert_failed(1, &["already has channel mychannel"]);
}

/// B4: the channel exists: refused before any source is asked.
#[test]
fn a_channel_that_exists_is_refused_before_any_download() {
    let place = Place::new();
    let peer = FakePeer::start_of("Org3MSP", Joins::Well);
    peer.add(CHANNEL, Ledger { last: 83, ..Ledger::default() });
    let ended = place.join(&peer).run();
    ended.assert_failed(1, &["already has channel mychannel"]);
    assert!(ended.of("source_ready").is_empty() && !place.folder().exists());
}

/// B5: the join succeeds, into something else than was agreed on.
#[test]
fn a_channel_that_isnt_what_was_agreed_on_is_an_alarm() {
    let place = Place::new();
    for (joins, words) in [
        (Joins::OtherBlock, "it joined by a snapshot of block 131, not of 132"),
        (Joins::OtherHash, "the hash of its block 132 is 0909"),
        (Joins::AheadOfAnother, "the hash of its block 132 is 0909"),
    ] {
        let peer = FakePeer::start_of("Org3MSP", joins);
        place.join(&peer).run().assert_failed(3, &[words, "it isn't what was agreed on"]);
    }
}

/// B2, B5: whoever told the peer to join went away before the end. The next run proves what became of it, whether the peer is through by
/// then or not, and as often as it is asked.
#[test]
fn a_join_whose_end_nobody_saw_is_proved_by_the_next_run() {
    let place = Place::new();
    let left = || {
        let peer = FakePeer::start_of("Org3MSP", Joins::Stays);
        let joining = place.join(&peer).start();
        joining.wait_for(|told| (told["event"] == "peer_joins").then_some(()));
        joining.kill();
        peer
    };
    // The peer is through.
    let through = |joins| {
        let peer = left();
        peer.set_joins(joins);
        peer.finish_joining();
        peer
    };
    let peer = through(Joins::Well);
    let result = place.join(&peer).run().result().clone();
    assert_eq!((&result["outcome"], &result["block_number"]), (&"already_in_the_peer".into(), &BLOCK.into()));
    let said = place.join(&peer).run_text();
    assert!(said.stdout.contains("its hash is the agreed one"), "{said:?}");
    let peer = through(Joins::OtherHash);
    for _ in 0..2 {
        place.join(&peer).run().assert_failed(3, &["the hash of its block 132 is 0909", "it isn't what was agreed on"]);
    }
    // It still joins.
    for (joins, code) in [(Joins::Well, 0), (Joins::OtherHash, 3)] {
        let peer = left();
        peer.set_joins(joins);
        let ended = place.join(&peer).run();
        assert_eq!(ended.code, Some(code), "{}\n{}", ended.stdout, ended.stderr);
        assert_eq!(joins_asked(&peer), 1, "nothing is joined twice");
    }
    // What is settled isn't looked at again.
    let peer = left();
    peer.set_joins(Joins::Well);
    place.join(&peer).run().result();
    place.join(&peer).run().assert_failed(1, &["already has channel mychannel"]);
}

#[test]
fn only_an_admin_of_the_peer_may_have_it_join() {
    let place = Place::new();
    let peer = FakePeer::start_of("Org2MSP", Joins::Well);
    place.join(&peer).run().assert_failed(5, &["creator org unknown, creator is malformed"]);
    assert_eq!(joins_asked(&peer), 0);
    // In the peer's own container the variable names the peer itself, who is a member, and no admin: said before anything is fetched.
    let peer = FakePeer::start_of("Org3MSP", Joins::Well);
    let addresses: Vec<_> = place.sources.iter().map(|source| source.address).collect();
    let own = fixture("crypto/peerOrganizations/org3.example.com/peers/peer0.org3.example.com/msp");
    let variables = [("CORE_PEER_MSPCONFIGPATH", own.to_str().unwrap()), ("CORE_PEER_LOCALMSPID", "Org3MSP")];
    let join = Join::new_as(&Credentials::org(3), &addresses, place.land.path()).block(BLOCK);
    let join = join.variables(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let ended = into(join, &peer).run();
    ended.assert_failed(5, &["The identity is not an admin"]);
    assert!(ended.of("source_ready").is_empty() && !place.folder().exists(), "{}", ended.stdout);
}

/// D8: a folder that was edited between its landing and the join is refused right before the peer is told of it.
#[test]
fn a_folder_that_is_edited_while_the_peer_is_busy_is_refused() {
    let place = Place::new();
    let peer = FakePeer::start_of("Org3MSP", Joins::Stays);
    peer.set_joining(Some("/other"));
    let joining = place.join(&peer).start();
    joining.wait_for(|told| (told["event"] == "peer_busy").then_some(()));
    flip(&place.folder().join("public_state.data"));
    peer.set_joining(None);
    joining.wait().assert_failed(3, &["public_state.data"]);
    assert_eq!(joins_asked(&peer), 0);
}

/// Changes one bit, whatever the file's mode.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A folder that came another way, and how it is joined from.
fn from_folder(place: &Place, folder: &Path, peer: &FakePeer) -> Ended {
    let addresses: Vec<_> = place.sources.iter().map(|source| source.address).collect();
    into(Join::from_folder(&addresses, folder), peer).run()
}

fn copied() -> TempDir {
    let folder = TempDir::new().unwrap();
    copy_folder(&fixture(&format!("snapshots/org1/{BLOCK}")), folder.path());
    folder
}

#[test]
fn a_folder_that_is_there_is_joined_from_where_it_lies() {
    let (place, folder) = (Place::new(), copied());
    let peer = FakePeer::start_of("Org3MSP", Joins::Well);
    let ended = from_folder(&place, folder.path(), &peer);
    let result = ended.result();
    assert_eq!(
        (&result["outcome"], &result["path"]),
        (&"already_there".into(), &folder.path().to_str().unwrap().into())
    );
    assert!(ended.of("progress").is_empty(), "nothing is fetched");
    assert_eq!(peer.ledger(CHANNEL).joined_by, Some(BLOCK));
    assert!(result["receipt"].is_string(), "{result}");
}

/// A folder that came by mail, with what those who vouch have signed: nobody is asked for anything.
#[test]
fn attestations_that_came_as_files_are_enough_for_either_loader() {
    let (place, folder, files) = (Place::new(), copied(), TempDir::new().unwrap());
    let attest = |source: usize| {
        let mut command = binary();
        command.args(["snapshot", "sign", "-c", CHANNEL, "-b", &BLOCK.to_string(), "--out"]);
        command.arg(files.path().join(format!("{source}.attestation")));
        assert!(command.arg("--state-dir").arg(place.sources[source].state()).output().unwrap().status.success());
    };
    let offline = || Join::from_folder(&[], folder.path()).args(["--attestations", files.path().to_str().unwrap()]);
    let peer = FakePeer::start_of("Org3MSP", Joins::Well);
    attest(0);
    into(offline(), &peer).run().assert_failed(3, &["one more organisation"]);
    assert_eq!(joins_asked(&peer), 0);
    attest(1);
    let Place { sources, land: _land, _root } = place;
    drop(sources);
    let ended = into(offline(), &peer).run();
    assert_eq!(ended.result()["organisations"], serde_json::json!(["Org1MSP", "Org2MSP"]));
    assert_eq!(peer.joined_from().as_deref(), folder.path().to_str());
    assert_eq!(peer.ledger(CHANNEL).joined_by, Some(BLOCK));

    let ledgers = TempDir::new().unwrap();
    let ledgers = ledgers.path().join("ledgersData");
    let straight = || offline().args(["--loader", "ledger", "--ledger", ledgers.to_str().unwrap()]);
    assert!(straight().run().result()["load_seconds"].as_f64().unwrap() > 0.0);
    straight().run().assert_failed(1, &["already has channel mychannel"]);
}

/// What the peer is told is where it sees the folder, wherever that lies here.
#[test]
fn the_peer_is_told_its_own_path_of_the_folder() {
    let (place, elsewhere) = (Place::new(), copied());
    // The peer's view of the landing folder.
    let mount = TempDir::new().unwrap();
    let there = mount.path().join("landing");
    std::os::unix::fs::symlink(place.land.path(), &there).unwrap();
    let seen = |join: Join, dir: Option<&Path>| {
        let peer = FakePeer::start_of("Org3MSP", Joins::Well);
        let set = [("ASSEENBYPEER", Some(there.as_path())), ("DIR", dir)];
        let set = set.into_iter().filter_map(|(name, path)| {
            Some((format!("SNAPFERRY_PEER_LANDING_{name}"), path?.to_str().unwrap().to_owned()))
        });
        into(join, &peer).variables(set).run().result();
        std::path::PathBuf::from(peer.joined_from().unwrap())
    };
    let addresses: Vec<_> = place.sources.iter().map(|source| source.address).collect();
    let inside = there.join(CHANNEL).join(BLOCK.to_string());
    let landing = Some(place.land.path());
    assert_eq!(seen(Join::new(&addresses, place.land.path()).block(BLOCK), None), inside);
    assert_eq!(seen(Join::new(&addresses, place.land.path()).block(BLOCK), landing), inside);
    assert_eq!(seen(Join::from_folder(&addresses, &place.folder()), landing), inside);
    assert_eq!(seen(Join::from_folder(&addresses, elsewhere.path()), landing), elsewhere.path());
}

/// The service of an organisation whose own peer joined by the snapshot of that block, or has all blocks; once it knows.
fn beside_a_peer(org: u8, msp_id: &'static str, root: &Root, joined_by: Option<u64>) -> (Service, FakePeer) {
    let peer = FakePeer::start_of(msp_id, Joins::Well);
    peer.add(CHANNEL, Ledger { last: 200, joined_by, joined_hash: vec![9; 32], ..Ledger::default() });
    let (address, ca) = (peer.address.to_string(), peer.file("ca.crt").display().to_string());
    let variables = [("SNAPFERRY_PEER_ADDRESS", address), ("SNAPFERRY_PEER_TLS_ROOTCERT", ca)];
    let service = Service::start_with(&Credentials::org(org), root.path(), &[BLOCK], &variables);
    service.wait_log(|line| line.contains("our peer's first block").then_some(()));
    (service, peer)
}

#[test]
fn private_data_that_no_sources_peer_may_have_are_warned_of() {
    let (root, land) = (Root::with_recorded(), TempDir::new().unwrap());
    let dry = |sources: &[&Service]| {
        let addresses: Vec<_> = sources.iter().map(|source| source.address).collect();
        Join::new(&addresses, land.path()).block(BLOCK).args(["--dry-run"])
    };
    let (late, _late_peer) = beside_a_peer(1, "Org1MSP", &root, Some(200));
    let silent = Service::start(2, &root, &[BLOCK]);
    let ended = dry(&[&late, &silent]).run();
    let warned = ended.of("peers_began_later");
    let named = serde_json::json!([{"source": late.address.to_string(), "msp_id": "Org1MSP", "peer_begins_at": 201}]);
    assert_eq!((warned.len(), &warned[0]["sources"], &warned[0]["block_number"]), (1, &named, &BLOCK.into()));
    let said = dry(&[&late, &silent]).run_text();
    assert!(said.stderr.contains("WARNING: private data up to block 132 may never come"), "{}", said.stderr);
    // One that joined by this very snapshot, or has all blocks, could give them.
    for joined_by in [Some(BLOCK), None] {
        let (other, _peer) = beside_a_peer(2, "Org2MSP", &root, joined_by);
        let ended = dry(&[&late, &other]).run();
        assert!(ended.of("agreed").len() == 1 && ended.of("peers_began_later").is_empty(), "{joined_by:?}");
    }
}
