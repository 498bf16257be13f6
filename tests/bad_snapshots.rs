//! Every bad snapshot that a real peer was given (the recorded network's `cli/join/bad_*`), by the same names: a stock peer answers success to
//! most, and tells its log afterwards. Here each is refused before the peer is told of it, and before anything lies in its databases.
//!
//! Where a damage can be hidden behind hashes that fit, it is: then only those who vouch, and the content, tell.
//!
//! The peer is a fake, or with `FABRIC_BIN` a real one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/fake_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod fake_peer;
#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;
#[path = "common/real_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod real_peer;

use fake_peer::{FakePeer, Joins};
use processes::{CHANNEL, Ended, Join, Root, Service, binary, copy_folder, fixture};
use real_peer::{RealPeer, binaries};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

const BLOCK: u64 = 132;
const SIGNABLE: &str = "_snapshot_signable_metadata.json";
const ADDITIONAL: &str = "_snapshot_additional_metadata.json";

/// What is done to the folder, and the exit code.
type Damage = Box<dyn Fn(&Path)>;

/// Another content, whatever the file's mode.
fn write_over(folder: &Path, name: &str, bytes: &[u8]) {
    fs::remove_file(folder.join(name)).unwrap();
    fs::write(folder.join(name), bytes).unwrap();
}

fn sha256(folder: &Path, name: &str) -> String {
    hex::encode(Sha256::digest(fs::read(folder.join(name)).unwrap()))
}

/// Changes a file, and the hashes that speak of it.
fn hidden(name: &'static str, change: impl Fn(&mut Vec<u8>) + 'static) -> Damage {
    Box::new(move |folder| {
        let (before, mut bytes) = (sha256(folder, name), fs::read(folder.join(name)).unwrap());
        change(&mut bytes);
        write_over(folder, name, &bytes);
        let after = sha256(folder, name);
        edit(folder, SIGNABLE, &|text| text.replace(&before, &after));
    })
}

/// Changes the text of a metadata file, and the hash of the first in the second.
fn edit(folder: &Path, name: &str, change: &dyn Fn(&str) -> String) {
    let (before, text) = (sha256(folder, name), fs::read_to_string(folder.join(name)).unwrap());
    let changed = change(&text);
    assert_ne!(changed, text, "{name}");
    write_over(folder, name, changed.as_bytes());
    if name == SIGNABLE {
        let after = sha256(folder, name);
        edit(folder, ADDITIONAL, &|text| text.replace(&before, &after));
    }
}

fn of_signable(change: impl Fn(&str) -> String + 'static) -> Damage {
    Box::new(move |folder| edit(folder, SIGNABLE, &change))
}

fn version(name: &'static str) -> Damage {
    hidden(name, |bytes| bytes[0] = 2)
}

fn cases() -> Vec<(&'static str, i32, Damage)> {
    let line_of = |text: &str, file: &str| text.lines().find(|line| line.contains(file)).unwrap().to_owned();
    vec![
        ("additionaledited", 3, Box::new(|folder| edit(folder, ADDITIONAL, &|text| text.replacen('1', "2", 1)))),
        ("badjson", 3, Box::new(|folder| write_over(folder, SIGNABLE, b"{ not JSON"))),
        ("counttoobig", 3, hidden("txids.metadata", |bytes| bytes[1] += 1)),
        (
            "emptyfolder",
            3,
            Box::new(|folder| {
                fs::remove_dir_all(folder).unwrap();
                fs::create_dir(folder).unwrap();
            }),
        ),
        ("emptyfile", 3, Box::new(|folder| write_over(folder, "txids.metadata", b""))),
        ("extrafile", 3, Box::new(|folder| fs::write(folder.join("extra"), "").unwrap())),
        (
            "filenotlisted",
            3,
            of_signable(move |text| {
                let line = line_of(text, "\"txids.data\"");
                text.replace(&line, &format!("{}\n{line}", line.replace("txids.data", "nosuchfile.data")))
            }),
        ),
        (
            "listmissing",
            3,
            of_signable(move |text| text.replace(&format!("{}\n", line_of(text, "\"confighistory.data\"")), "")),
        ),
        ("missingfile", 3, Box::new(|folder| fs::remove_file(folder.join("txids.data")).unwrap())),
        ("noadditional", 3, Box::new(|folder| fs::remove_file(folder.join(ADDITIONAL)).unwrap())),
        ("nosuchfolder", 2, Box::new(|folder| fs::remove_dir_all(folder).unwrap())),
        (
            "onebit",
            3,
            Box::new(|folder| {
                let mut bytes = fs::read(folder.join("public_state.data")).unwrap();
                *bytes.last_mut().unwrap() ^= 1;
                write_over(folder, "public_state.data", &bytes);
            }),
        ),
        (
            "signableedited",
            3,
            Box::new(|folder| {
                let text = fs::read_to_string(folder.join(SIGNABLE)).unwrap();
                write_over(folder, SIGNABLE, text.replacen("132", "133", 1).as_bytes());
            }),
        ),
        ("trailing", 3, hidden("txids.data", |bytes| bytes.push(0))),
        ("truncated", 3, hidden("txids.data", |bytes| bytes.truncate(bytes.len() - 1))),
        ("version_confighistory.data", 3, version("confighistory.data")),
        ("version_confighistory.metadata", 3, version("confighistory.metadata")),
        ("version_private_state_hashes.data", 3, version("private_state_hashes.data")),
        ("version_public_state.data", 3, version("public_state.data")),
        ("version_public_state.metadata", 3, version("public_state.metadata")),
        ("version_txids.data", 3, version("txids.data")),
        ("version_txids.metadata", 3, version("txids.metadata")),
        // A real peer takes this one.
        ("wrongdbtype", 3, of_signable(|text| text.replace("SimpleKeyValueDB", "CouchDB"))),
        (
            "wronghash",
            3,
            of_signable(|text| {
                let line = text.lines().find(|line| line.contains("\"txids.data\"")).unwrap();
                let (head, hash) = line.split_once(": \"").unwrap();
                text.replace(
                    line,
                    &format!(
                        "{head}: \"{}",
                        hash.replacen(&hash[..2], if hash.starts_with("00") { "01" } else { "00" }, 1)
                    ),
                )
            }),
        ),
    ]
}

fn refused(name: &str, code: i32, ended: &Ended) {
    assert_eq!(ended.code, Some(code), "{name}: {}\n{}", ended.stdout, ended.stderr);
    assert_eq!(ended.stderr.trim().lines().count(), 1, "{name}: one line says what is wrong: {}", ended.stderr);
    assert!(ended.of("result").is_empty(), "{name}");
}

/// A recorded folder that is damaged so.
fn damaged(damage: &Damage) -> (TempDir, PathBuf) {
    let place = TempDir::new().unwrap();
    let folder = place.path().join("132");
    copy_folder(&fixture(&format!("snapshots/org1/{BLOCK}")), &folder);
    damage(&folder);
    (place, folder)
}

fn unharmed() -> Damage {
    Box::new(|_: &Path| ())
}

fn sources() -> (Root, [Service; 2]) {
    let root = Root::with_recorded();
    let sources = [1, 2].map(|org| Service::start(org, &root, &[BLOCK]));
    (root, sources)
}

/// The loader for a running peer.
fn stock(join: Join, address: &str, ca: &Path) -> Join {
    join.args(["--loader", "folder", "--peer-address", address, "--tls-root-cert-file", ca.to_str().unwrap()])
}

/// The loader for a stopped peer.
fn direct(join: Join, ledgers: &Path) -> Join {
    join.args(["--loader", "ledger", "--ledger", ledgers.to_str().unwrap()])
}

#[test]
fn each_bad_snapshot_that_a_real_peer_was_given_is_refused_before_the_peer_is_touched() {
    let (_root, sources) = sources();
    let addresses = sources.each_ref().map(|source| source.address);
    let peer = FakePeer::start_of("Org3MSP", Joins::Well);
    let machine = TempDir::new().unwrap();
    let ledgers = machine.path().join("ledgersData");
    for (name, code, damage) in cases() {
        let (_place, folder) = damaged(&damage);
        let join = || Join::from_folder(&addresses, &folder);
        refused(name, code, &stock(join(), &peer.address.to_string(), &peer.file("ca.crt")).run());
        refused(name, code, &direct(join(), &ledgers).run());
        // Whoever looks at it without a join sees it, too; but for what is sound in itself.
        let verified = binary().arg("verify").arg(&folder).output().unwrap();
        assert_eq!(verified.status.success(), name == "wrongdbtype", "{name}: {verified:?}");
    }
    assert!(!peer.calls().iter().any(|call| call == "JoinChainBySnapshot"), "{:?}", peer.calls());
    let left = fs::read_dir(&ledgers).map(|entries| entries.count()).unwrap_or(0);
    assert_eq!(left, 0, "something lies in the peer's databases");
    // The very same folder, unharmed.
    let (_place, folder) = damaged(&unharmed());
    direct(Join::from_folder(&addresses, &folder), &ledgers).run().result();
}

/// The same, of a real peer: while it runs it isn't asked to join, while it is stopped none of its bytes changes; then it joins from the
/// folder unharmed, by either loader.
#[test]
fn no_bad_snapshot_touches_a_real_peer() {
    let Some(binaries) = binaries() else { return };
    let (_root, sources) = sources();
    let addresses = sources.each_ref().map(|source| source.address);
    let (mut running, mut stopped) = (RealPeer::start(&binaries, false), RealPeer::start(&binaries, false));
    stopped.stop();
    let before = all_bytes(&stopped.ledgers());
    for (name, code, damage) in cases() {
        let (_place, folder) = damaged(&damage);
        let join = || Join::from_folder(&addresses, &folder);
        refused(name, code, &stock(join(), &running.address(), &RealPeer::tls_root()).run());
        refused(name, code, &direct(join(), &stopped.ledgers()).run());
        assert!(all_bytes(&stopped.ledgers()) == before, "{name}: the stopped peer's databases have changed");
    }
    const BEGINS: &str = "Creating ledger from snapshot";
    assert!(running.channels().is_empty() && !running.has_logged(BEGINS), "{}", running.log());

    let (_place, folder) = damaged(&unharmed());
    stock(Join::from_folder(&addresses, &folder), &running.address(), &RealPeer::tls_root()).run().result();
    assert!(running.has_logged(BEGINS), "that is how it would have been seen: {}", running.log());
    direct(Join::from_folder(&addresses, &folder), &stopped.ledgers()).run().result();
    for peer in [&mut running, &mut stopped] {
        peer.restart();
        assert_eq!(peer.channels(), [CHANNEL]);
        peer.assert_calm();
    }
}

/// Every file below, by its path.
fn all_bytes(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(all_bytes(&path));
        } else {
            all.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    all
}
