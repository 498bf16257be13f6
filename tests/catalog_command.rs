//! `catalog list` and `catalog show` as the real binary, against real services on loopback: what is offered, who agrees, what is missing,
//! and what a source that can't be asked does to the exit code. Also a service that is reached over IPv6.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

use serde_json::Value;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::UdpSocket,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const NETWORK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/network");

struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Run {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {} {}", self.stdout, self.stderr))
    }
}

fn binary(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snapferry"));
    command.env_clear().current_dir(dir).stdin(Stdio::null());
    command
}

fn run(dir: &Path, args: &[&str]) -> Run {
    let output = binary(dir).args(args).output().unwrap();
    Run {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Who `org`'s peer is, claiming to be of `claimed`, and the channel's configuration block.
fn credentials(org: u8, claimed: u8) -> Vec<String> {
    let peer = format!("{NETWORK}/crypto/peerOrganizations/org{org}.example.com/peers/peer0.org{org}.example.com");
    let flags = [
        ("--msp-id", format!("Org{claimed}MSP")),
        ("--msp-config-path", format!("{peer}/msp")),
        ("--tls-cert", format!("{peer}/tls/server.crt")),
        ("--tls-key", format!("{peer}/tls/server.key")),
        ("--config-block", format!("{NETWORK}/config_block.pb")),
    ];
    flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
}

/// `ROOT` with these folders as finished snapshots of mychannel.
fn root(snapshots: &[(&str, PathBuf)]) -> TempDir {
    let root = TempDir::new().unwrap();
    for (block, from) in snapshots {
        let to = root.path().join("completed/mychannel").join(block);
        fs::create_dir_all(&to).unwrap();
        for file in fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    root
}

fn recorded(block: &str) -> PathBuf {
    Path::new(NETWORK).join("snapshots/org1").join(block)
}

/// A running `serve`; killed when dropped.
struct Service {
    child: Child,
    address: String,
    root: TempDir,
}

impl Service {
    /// Of `org`, once everything in `root` is advertised.
    fn start(org: u8, root: TempDir, listen: &str) -> Self {
        let snapshots = fs::read_dir(root.path().join("completed/mychannel")).unwrap().count();
        let mut command = binary(root.path());
        command.args(["serve", "--listen-address", listen, "--snapshots-root-dir", ".", "--state-dir", "state"]);
        let mut child = command.args(credentials(org, org)).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let address = loop {
            let Some(Ok(line)) = lines.next() else { panic!("serve ended: {said}") };
            said.push_str(&line);
            if let Some((_, rest)) = line.split_once(" address=") {
                break rest.split_whitespace().next().unwrap().to_owned();
            }
        };
        // Drained, so that a full pipe never stops it.
        std::thread::spawn(move || lines.for_each(drop));
        let service = Self { child, address, root };
        // Hashed in the background: asked until all is there.
        let started = Instant::now();
        let from = if listen.starts_with('[') { return service } else { service.address.clone() };
        loop {
            let listed = list(service.root.path(), &[&from], &["-O", "json"]).json();
            if listed["sources"][0]["snapshots"].as_array().is_some_and(|offered| offered.len() == snapshots) {
                return service;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "{listed}");
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(dir: &Path, command: &str, who: Vec<String>, from: &[&str], more: &[&str]) -> Run {
    let from = from.join(",");
    let mut args = vec!["catalog", command, "-c", "mychannel", "--from", &from];
    args.extend(who.iter().map(String::as_str));
    args.extend(more);
    run(dir, &args)
}

/// Org3's admin on the machine of its peer.
fn admin() -> Vec<String> {
    let users = format!("{NETWORK}/crypto/peerOrganizations/org3.example.com/users");
    let mut flags = credentials(3, 3);
    let folder = flags.iter().position(|flag| flag == "--msp-config-path").unwrap() + 1;
    flags[folder] = format!("{users}/Admin@org3.example.com/msp");
    flags
}

/// As org3's admin.
fn list(dir: &Path, from: &[&str], more: &[&str]) -> Run {
    ask(dir, "list", admin(), from, more)
}

/// As org3's admin.
fn show(dir: &Path, from: &[&str], more: &[&str]) -> Run {
    ask(dir, "show", admin(), from, more)
}

/// A port where nobody answers, as long as the socket lives.
fn nobody() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}

#[test]
fn list_says_who_offers_what_which_one_join_would_take_and_who_is_missing() {
    let dir = TempDir::new().unwrap();
    let one = Service::start(1, root(&[("83", recorded("83")), ("132", recorded("132"))]), "127.0.0.1:0");
    let two = Service::start(2, root(&[("83", recorded("83"))]), "127.0.0.1:0");
    let (_socket, silent) = nobody();
    let both = [one.address.as_str(), two.address.as_str()];

    let text = list(dir.path(), &[both[0], both[1], &silent], &[]);
    assert_eq!((text.code, text.stderr.as_str()), (0, ""), "one that fails while others answer is no failure");
    let row = |source: &str, cells: &[&str]| {
        let mut rows = text.stdout.lines().filter(|line| line.starts_with(source));
        assert!(rows.any(|row| cells.iter().all(|cell| row.contains(cell))), "{cells:?}: {}", text.stdout);
    };
    row(both[0], &["Org1MSP", " 132 ", " 8 "]);
    row(both[0], &["Org1MSP", " 83 ", " 8 "]);
    row(both[1], &["Org2MSP", " 83 ", " 8 "]);
    row(&silent, &["can't be asked: no answer within 10 s", "UDP"]);
    assert!(text.stdout.contains("join would take mychannel/83: 8 files, "), "{}", text.stdout);
    let rule = "they satisfy OutOf(2, 'Org1MSP.peer', 'Org2MSP.peer', 'Org3MSP.peer')\n";
    assert!(text.stdout.ends_with(&format!("vouched for by Org1MSP and Org2MSP\n{rule}")), "{}", text.stdout);

    let three = list(dir.path(), &both, &["--min-orgs", "3"]);
    assert_eq!((three.code, three.stderr.as_str()), (0, ""));
    for part in [
        "join would take none: OutOf(3, 'Org1MSP.peer', 'Org2MSP.peer', 'Org3MSP.peer'), by at least 3 organisations, is not satisfied",
        "block 132: Org1MSP for snapshot ",
        "; 2 more needed\n  Org2MSP: doesn't offer this block\n  Org3MSP: none of its sources was asked or answered\n",
        "block 83: Org1MSP and Org2MSP for snapshot ",
        "; 1 more needed\n",
    ] {
        assert!(three.stdout.contains(part), "{part:?}: {}", three.stdout);
    }

    let json = list(dir.path(), &both, &["-O", "json"]).json();
    let blocks = |source: usize| {
        let snapshots = json["sources"][source]["snapshots"].as_array().unwrap().iter();
        snapshots.map(|snapshot| snapshot["block_number"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((blocks(0), blocks(1)), (vec![83, 132], vec![83]));
    assert_eq!(json["join_would_take"]["block_number"], 83);
    assert_eq!(json["join_would_take"]["organisations"], serde_json::json!(["Org1MSP", "Org2MSP"]));
    let json = list(dir.path(), &both, &["--min-orgs", "3", "-O", "json"]).json();
    assert!(json["join_would_take"].is_null());
    assert_eq!((&json["lacking"][0]["block_number"], &json["lacking"][0]["missing"]), (&132.into(), &2.into()));

    let newest = show(dir.path(), &both, &[]);
    assert_eq!(newest.code, 0, "{}", newest.stderr);
    assert!(newest.stdout.starts_with("mychannel/132: all who offer it offer the same\n"), "{}", newest.stdout);
    assert!(newest.stdout.contains(&format!("{} of Org2MSP doesn't offer block 132", both[1])), "{}", newest.stdout);
    let version = &show(dir.path(), &both, &["-b", "83", "-O", "json"]).json()["versions"][0];
    let offered: Vec<_> = version["offered_by"].as_array().unwrap().iter().map(|by| &by["organisation"]).collect();
    assert_eq!(offered, ["Org1MSP", "Org2MSP"]);
    for file in version["files"].as_array().unwrap() {
        let bytes = fs::metadata(recorded("83").join(file["name"].as_str().unwrap())).unwrap().len();
        assert_eq!(file["bytes"], bytes, "{file}");
    }
    let none = show(dir.path(), &both, &["-b", "84"]);
    assert_eq!((none.code, none.stdout.as_str()), (1, ""), "{}", none.stderr);
    assert!(none.stderr.contains("no source offers a snapshot of channel mychannel at block 84"), "{}", none.stderr);
}

#[test]
fn show_says_file_by_file_where_organisations_differ() {
    let dir = TempDir::new().unwrap();
    for seed in ["1", "2"] {
        let sample = run(dir.path(), &["sample", seed, "--keys", "50", "--txids", "10", "--seed", seed]);
        assert_eq!(sample.code, 0, "{}", sample.stderr);
    }
    let one = Service::start(1, root(&[("83", dir.path().join("1"))]), "127.0.0.1:0");
    let two = Service::start(2, root(&[("83", dir.path().join("2"))]), "127.0.0.1:0");
    let both = [one.address.as_str(), two.address.as_str()];

    let split = list(dir.path(), &both, &[]);
    assert_eq!(split.code, 0, "{}", split.stderr);
    assert!(split.stdout.contains(": vouches for another snapshot, "), "{}", split.stdout);
    let run = show(dir.path(), &both, &["-b", "83"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.starts_with("mychannel/83: 2 different snapshots are offered\n"), "{}", run.stdout);
    let (_, differences) = run.stdout.split_once("\ndifferences\n").unwrap();
    for name in ["commit hash", "last block hash", "public_state.data", "txids.data"] {
        assert!(differences.contains(&format!("  {name}\n    version 1: ")), "{name}: {differences}");
    }
    for same in ["state database", "txids.metadata", "public_state.metadata"] {
        assert!(!differences.contains(same), "{same}: {differences}");
    }
    let json = show(dir.path(), &both, &["-O", "json"]).json();
    assert_eq!(json["versions"].as_array().unwrap().len(), 2);
    let file = json["differences"].as_array().unwrap().iter().find(|row| row["what"] == "txids.data").unwrap();
    assert_ne!(file["values"][0], file["values"][1]);
}

#[test]
fn nobody_who_answers_is_4_and_everybody_who_refuses_is_5() {
    let dir = TempDir::new().unwrap();
    let (_socket, silent) = nobody();
    let unreachable = list(dir.path(), &[&silent], &[]);
    assert_eq!((unreachable.code, unreachable.stdout.as_str()), (4, ""), "{}", unreachable.stderr);
    assert!(unreachable.stderr.contains(&format!("{silent}: no answer within 10 s")), "{}", unreachable.stderr);

    let one = Service::start(1, root(&[("83", recorded("83"))]), "127.0.0.1:0");
    // Org3's key under another organisation's name.
    for command in ["list", "show"] {
        let refused = ask(dir.path(), command, credentials(3, 2), &[&one.address], &[]);
        assert_eq!((refused.code, refused.stdout.as_str()), (5, ""), "{}", refused.stderr);
        assert!(refused.stderr.contains("it refuses us"), "{}", refused.stderr);
        assert!(refused.stderr.contains("our own identity isn't valid in this channel"), "{}", refused.stderr);
    }
    let json = ask(dir.path(), "list", credentials(3, 2), &[&one.address], &["-O", "json"]);
    assert_eq!(json.code, 5);
    assert_eq!(json.json()["sources"][0]["refused"], true);

    let no_channel = run(dir.path(), &["catalog", "list", "--from", &one.address]);
    assert_eq!(no_channel.code, 2, "{}", no_channel.stderr);
}

#[test]
fn a_service_is_reached_over_ipv6_and_by_a_server_name() {
    if UdpSocket::bind("[::1]:0").is_err() {
        eprintln!("skipped: this machine has no IPv6 loopback");
        return;
    }
    let dir = TempDir::new().unwrap();
    let one = Service::start(1, root(&[("83", recorded("83"))]), "[::1]:0");
    let by_address = list(dir.path(), &[&one.address], &[]);
    assert_eq!(by_address.code, 5, "{}", by_address.stderr);
    assert!(by_address.stderr.contains("set serverName"), "{}", by_address.stderr);

    let sources = format!("sources: [{{address: '{}', serverName: localhost}}]\n", one.address);
    fs::write(dir.path().join("snapferry.yaml"), sources).unwrap();
    let who = admin();
    let mut args = vec!["join", "-c", "mychannel", "--min-orgs", "1", "--policy", "OutOf(1, 'Org1MSP.peer')"];
    args.extend(["--land", "landed", "--state-dir", "state"]);
    args.extend(who.iter().map(String::as_str));
    // Hashed in the background: asked until it is there.
    let started = Instant::now();
    let joined = loop {
        let joined = run(dir.path(), &args);
        if joined.code == 0 || started.elapsed() > Duration::from_secs(60) {
            break joined;
        }
    };
    assert_eq!(joined.code, 0, "{}", joined.stderr);
    for file in fs::read_dir(recorded("83")).unwrap() {
        let file = file.unwrap();
        let landed = dir.path().join("landed/mychannel/83").join(file.file_name());
        assert_eq!(fs::read(landed).unwrap(), fs::read(file.path()).unwrap(), "{file:?}");
    }
}
