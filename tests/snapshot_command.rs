//! `snapshot list`, `show`, `sign` and `delete` as the real binary: what they print, how they end, and what they leave behind.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/beside_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod beside_peer;
#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;
#[path = "common/relay.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod relay;

use beside_peer::{Machine, admin_msp, run};
use processes::{Join, Joining, Root, copy_folder, is};
use relay::Relay;
use rustix::process::{Pid, Signal, kill_process};
use snapferry::catalog::decode_attestation_file;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};
use tempfile::TempDir;

fn one<'a>(what: &'a str, block: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["snapshot", what, "-c", "mychannel", "-b", block][..], more].concat()
}

#[test]
fn without_a_service_the_folders_are_listed_and_it_is_said_that_nothing_is_served() {
    let machine = Machine::new(1, false);
    let listed = machine.run(&["snapshot", "list"]).expect(0);
    assert!(listed.stdout.starts_with("no service runs here"), "{}", listed.stdout);
    let rows: Vec<&str> = listed.stdout.lines().skip(1).collect();
    assert!(rows[0].starts_with("CHANNEL") && rows.len() == 3, "{rows:?}");
    assert!(rows[1].contains("83") && rows[1].ends_with("not verified yet"), "{rows:?}");
    let json = machine.json(&["snapshot", "list", "-c", "mychannel"]);
    assert_eq!((&json["from"], &json["snapshots"][0]["height"]), (&"disk".into(), &84.into()));
    assert!(json["snapshots"][0]["manifest_hash"].is_null());
    assert_eq!(machine.json(&["snapshot", "list", "-c", "other"])["snapshots"], serde_json::json!([]));
    assert!(!machine.path("state/manifests").exists(), "nothing is written");
    let unread = machine.run(&one("show", "83", &[])).expect(1);
    assert!(unread.stderr.contains("no service has read snapshot mychannel/83 yet"), "{}", unread.stderr);
    for command in ["sign", "delete"] {
        let refused = machine.run(&one(command, "83", &[])).expect(4);
        assert!(refused.stderr.contains("no service runs with the state folder"), "{}", refused.stderr);
    }
    // What a service found out is used once it has gone.
    machine.serve(&[83, 132]).kill();
    let json = machine.json(&["snapshot", "list"]);
    assert_eq!(json["snapshots"][0]["manifest_hash"].as_str().unwrap().len(), 64);
    assert!(json["snapshots"][0]["note"].is_null());
    let shown = machine.run(&one("show", "83", &[])).expect(0).stdout;
    assert!(shown.contains("verified; not served, as no service runs"), "{shown}");
}

#[test]
fn one_snapshot_is_shown_with_its_files_and_who_vouches() {
    let machine = Machine::new(1, false);
    let _service = machine.serve(&[83, 132]);
    let shown = machine.run(&one("show", "83", &[])).expect(0).stdout;
    for part in ["83 (height 84)", "SimpleKeyValueDB", "public_state.data", "served", "nobody's attestation is kept"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    machine.run(&one("sign", "83", &[])).expect(0);
    let shown = machine.run(&one("show", "83", &[])).expect(0).stdout;
    assert!(shown.contains("ATTESTED BY") && shown.contains("Org1MSP"), "{shown}");
    let json = machine.json(&one("show", "83", &[]));
    assert_eq!(json["files"].as_array().unwrap().len(), 8);
    assert_eq!(
        (&json["attestations"][0]["organisation"], &json["attestations"][0]["agrees"]),
        (&"Org1MSP".into(), &true.into())
    );
    let none = machine.run(&one("show", "84", &[])).expect(1);
    assert!(
        none.stderr.contains("no snapshot mychannel/84") && none.stderr.contains("snapshot list"),
        "{}",
        none.stderr
    );
}

#[test]
fn a_signed_file_is_an_attestation_and_a_dry_run_signs_nothing() {
    let machine = Machine::new(2, false);
    let _service = machine.serve(&[83, 132]);
    let dry = machine.run(&one("sign", "83", &["--out", "a", "--dry-run"])).expect(0);
    assert!(dry.stdout.contains("would be signed"), "{}", dry.stdout);
    assert!(!machine.path("a").exists() && !machine.path("state/statements/mychannel").exists());
    let signed = machine.run(&one("sign", "83", &["--out", "a"])).expect(0).stdout;
    assert!(
        signed.contains("has signed snapshot mychannel/83") && signed.contains("a holds the attestation"),
        "{signed}"
    );
    let attestation = decode_attestation_file(&fs::read(machine.path("a")).unwrap()).unwrap();
    assert_eq!(attestation.identity().msp_id().as_str(), "Org2MSP");
    assert_eq!(attestation.body().expires_at - attestation.body().issued_at, 7 * 86_400);
    assert!(attestation.body().request_nonce.is_empty());
}

/// The own guard through the binary: the peer's folder changes, and the service refuses with "never retry blindly".
#[test]
fn a_second_version_of_a_block_is_refused_as_a_failed_verification() {
    let machine = Machine::new(1, false);
    let service = machine.serve(&[83, 132]);
    machine.run(&one("sign", "132", &[])).expect(0);
    service.kill();
    // Another valid snapshot of that block: told of another previous block.
    let file = |name: &str| machine.folder(132).join(name);
    let signable = fs::read_to_string(file("_snapshot_signable_metadata.json")).unwrap();
    let at = signable.find("\"previous_block_hash\": \"").unwrap() + 24;
    let digit = if &signable[at..=at] == "0" { "1" } else { "0" };
    let changed = format!("{}{digit}{}", &signable[..at], &signable[at + 1..]);
    let additional = fs::read_to_string(file("_snapshot_additional_metadata.json")).unwrap();
    let hash = |text: &str| hex::encode(<sha2::Sha256 as sha2::Digest>::digest(text));
    fs::write(file("_snapshot_signable_metadata.json"), &changed).unwrap();
    fs::write(file("_snapshot_additional_metadata.json"), additional.replace(&hash(&signable), &hash(&changed)))
        .unwrap();
    let _service = machine.serve(&[83, 132]);
    let refused = machine.run(&one("sign", "132", &["--out", "a"])).expect(3).stderr;
    for part in [
        &hash(&signable),
        &hash(&changed),
        "already signed another snapshot mychannel/132",
        "statements/mychannel/132/guard",
    ] {
        assert!(refused.contains(part), "{part}: {refused}");
    }
    assert!(!machine.path("a").exists());
}

#[test]
fn deleting_asks_first_and_says_what_follows() {
    let machine = Machine::new(1, true);
    let _service = machine.serve(&[83, 132]);
    let admin = admin_msp(1);
    let dry = machine.run(&one("delete", "83", &["--dry-run"])).expect(0);
    assert!(dry.stdout.contains("would be deleted: 8 files"), "{}", dry.stdout);
    let unasked = machine.run(&one("delete", "83", &["--msp-config-path", &admin])).expect(2);
    assert!(unasked.stderr.contains("no terminal to ask on; give --yes"), "{}", unasked.stderr);
    let nobody = machine.run(&one("delete", "83", &["--yes"])).expect(2);
    assert!(nobody.stderr.contains("CORE_PEER_MSPCONFIGPATH"), "{}", nobody.stderr);
    assert!(machine.folder(83).exists());
    let mut command = machine.command(&one("delete", "83", &["--yes"]));
    let deleted = run(command.env("CORE_PEER_MSPCONFIGPATH", &admin)).expect(0);
    assert!(deleted.stdout.contains("is deleted") && deleted.stdout.contains("snapshot sign"), "{}", deleted.stdout);
    assert!(!machine.folder(83).exists());
    let left: Vec<_> =
        fs::read_dir(machine.path("root/completed")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["mychannel"], "nothing is left beside it");
    let again = machine.run(&one("delete", "83", &[])).expect(0);
    assert!(again.stdout.contains("nothing to do"), "{}", again.stdout);
    let listed = machine.run(&["snapshot", "list"]).expect(0).stdout;
    assert!(listed.lines().nth(1).unwrap().ends_with("only metadata left"), "{listed}");
    let shown = machine.run(&one("show", "83", &[])).expect(0).stdout;
    assert!(shown.contains("only metadata left: it can be signed, not fetched"), "{shown}");
}

#[test]
fn where_deletion_is_not_allowed_it_is_a_matter_of_configuration() {
    let machine = Machine::new(1, false);
    let _service = machine.serve(&[83, 132]);
    let refused = machine.run(&one("delete", "83", &["--yes", "--msp-config-path", &admin_msp(1)])).expect(2);
    assert!(refused.stderr.contains("snapshots.allowDelete: true"), "{}", refused.stderr);
    assert!(machine.folder(83).exists());
}

const MIB: u64 = 1 << 20;

/// A join of a large snapshot from that machine, held in the middle: it has its lease.
struct Held {
    machine: Machine,
    service: beside_peer::Service,
    link: Relay,
    join: Joining,
    block: u64,
    land: TempDir,
    root: Root,
}

impl Held {
    fn start() -> Self {
        let (machine, root, land) = (Machine::new(1, true), Root::new(), TempDir::new().unwrap());
        let block = root.add_sample(16 * MIB, 3);
        copy_folder(&root.snapshot(block), &machine.folder(block));
        let service = machine.serve(&[block]);
        let link = Relay::to(service.address.parse().unwrap(), 6 * MIB);
        let join = Join::new(&[link.address], land.path()).block(block);
        let join = join.args(["--policy", "OR('Org1MSP.peer')", "--min-orgs", "1"]).start();
        link.wait_passed(6 * MIB);
        join.wait_verified(2 * MIB);
        Self { machine, service, link, join, block, land, root }
    }

    fn show(&self) -> serde_json::Value {
        self.machine.json(&one("show", &self.block.to_string(), &[]))
    }

    /// `snapshot delete`, while it waits; with what it says.
    fn delete(&self, more: &[&str]) -> (Child, Receiver<String>) {
        let (admin, block) = (admin_msp(1), self.block.to_string());
        let args = one("delete", &block, &[&["--yes", "--msp-config-path", &admin][..], more].concat());
        let mut child = self.machine.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (said, lines) = channel();
        let stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).for_each(|line| drop(said.send(line)));
        });
        (child, lines)
    }

    fn landed(self) -> (Machine, beside_peer::Service) {
        self.link.release();
        let joined = self.join.wait();
        assert_eq!(joined.code, Some(0), "{joined:?}");
        let landed = self.land.path().join("mychannel").join(self.block.to_string());
        processes::assert_identical(&landed, &self.root.snapshot(self.block));
        (self.machine, self.service)
    }
}

fn said(lines: &Receiver<String>) -> String {
    lines.recv_timeout(Duration::from_secs(60)).unwrap()
}

/// C1: with the real binaries: a deletion waits for a join, outlives the command and the service, and is done when the join is.
#[test]
fn a_deletion_waits_for_a_running_join_also_after_the_command_and_the_service_have_ended() {
    let mut held = Held::start();
    let block = held.block;
    let shown = held.show();
    assert_eq!(shown["downloads"][0]["organisation"], "Org3MSP", "{shown}");
    assert!(shown["deletion"].is_null());

    let (mut waiting, lines) = held.delete(&[]);
    let line = said(&lines);
    assert!(line.starts_with("waiting for 1 download: Org3MSP (identity ") && !line.contains("at most"), "{line}");
    let listed = held.machine.run(&["snapshot", "list"]).expect(0).stdout;
    assert!(listed.contains("to be deleted after 1 download"), "{listed}");
    let shown = held.machine.run(&one("show", &block.to_string(), &[])).expect(0).stdout;
    for part in
        ["to be deleted: served to those who download it", "Org3MSP (identity ", "done when the downloads are through"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    kill_process(Pid::from_child(&waiting), Signal::INT).unwrap();
    assert_eq!(waiting.wait().unwrap().code(), Some(130));
    let line = said(&lines);
    assert!(line.contains("will be deleted once nobody downloads it any more") && line.contains("--force"), "{line}");

    held.service.kill();
    held.service = held.machine.serve(&[block]);
    let shown = held.show();
    assert!(shown["deletion"].is_object() && shown["downloads"].as_array().unwrap().len() == 1, "{shown}");
    let (mut waiting, lines) = held.delete(&[]);
    assert!(said(&lines).starts_with("waiting for 1 download"));
    assert!(held.machine.folder(block).exists());
    held.link.redirect(held.service.address.parse().unwrap());
    let (machine, _service) = held.landed();
    assert_eq!(waiting.wait().unwrap().code(), Some(0));
    assert!(!machine.folder(block).exists());
    let told = fs::read_to_string(machine.path("state/audit.log")).unwrap();
    assert_eq!(told.matches("\"what\":\"deletion-commanded\"").count(), 2, "{told}");
    assert_eq!(told.matches("\"what\":\"deleted\"").count(), 1, "{told}");
}

/// C1: with the real binaries: forced, it gives ten minutes, and says so to both sides.
#[test]
fn a_forced_deletion_tells_the_join_how_long_it_has() {
    let held = Held::start();
    let block = held.block;
    let (mut waiting, lines) = held.delete(&["--force"]);
    let line = said(&lines);
    assert!(
        line.contains("Org3MSP") && (line.contains(", for 10m00s at most") || line.contains(", for 9m5")),
        "{line}"
    );
    let left = held.show()["deletion"]["forced_in_seconds"].as_u64().unwrap();
    assert!((500..=600).contains(&left), "{left}");
    held.link.release();
    held.join.wait_for(|event| is(event, "source_ends").then(|| event["drain_seconds"].as_u64().unwrap()));
    let (machine, _service) = held.landed();
    assert_eq!(waiting.wait().unwrap().code(), Some(0));
    assert!(!machine.folder(block).exists());
}
