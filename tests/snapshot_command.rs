//! `snapshot list`, `show`, `sign` and `delete` as the real binary: what they print, how they end, and what they leave behind.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/beside_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod beside_peer;

use beside_peer::{Machine, admin_msp, run};
use snapferry::catalog::decode_attestation_file;
use std::fs;

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
