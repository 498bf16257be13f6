//! k of n: a snapshot is used when as many organisations vouch for it as the rule asks, and not before; who says what is told, kept, and
//! can be proved to others later. Services and joins are real processes (trust.md 6, threat model).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/lying.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod lying;
#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;

use std::path::{Path, PathBuf};

use lying::{Lie, Source};
use processes::{Credentials, Ended, Join, Root, Service, assert_identical, binary, fixture, names, recorded};
use serde_json::{Value, json};
use tempfile::TempDir;

const SAMPLE: u64 = 1 << 20;
/// Any two of the three organisations, the joiner's own included.
const TWO_OF_THREE: &str = "OutOf(2, 'Org1MSP.peer', 'Org2MSP.peer', 'Org3MSP.peer')";

fn join(from: &[std::net::SocketAddr], land: &TempDir) -> Join {
    Join::new(from, land.path()).args(["--policy", TWO_OF_THREE, "--count-self"])
}

fn completed(root: &Root) -> PathBuf {
    root.path().join("completed")
}

fn verify(args: &[&str]) -> (Option<i32>, String, String) {
    let output = binary().arg("verify").args(args).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

fn receipt(ended: &Ended) -> String {
    ended.result()["receipt"].as_str().unwrap().to_owned()
}

/// The first digits of a snapshot's hash, as errors show it.
fn hash(root: &Root, block: u64) -> String {
    let file = std::fs::read(root.snapshot(block).join("_snapshot_additional_metadata.json")).unwrap();
    let metadata: Value = serde_json::from_slice(&file).unwrap();
    metadata["snapshot_hash"].as_str().unwrap()[..12].to_owned()
}

/// Defence: k of n; removed, one organisation is enough.
#[test]
fn two_of_three_pass_with_a_liar_fail_when_one_is_alone_and_pass_again_once_one_more_signs() {
    let root = Root::new();
    let block = root.add_sample(SAMPLE, 1);
    let services = [1, 2].map(|org| Service::start(org, &root, &[block]));
    // The third organisation's source lies about its bytes.
    let liar = Source::start(&Credentials::org(3), &completed(&root), Lie::Chunks);
    let from = [services[0].address, services[1].address, liar.address];
    let land = TempDir::new().unwrap();
    let joined = join(&from, &land).run();
    assert_identical(&land.path().join(format!("mychannel/{block}")), &root.snapshot(block));
    let vouching = joined.result()["organisations"].as_array().unwrap();
    assert!(vouching.contains(&json!("Org1MSP")) && vouching.contains(&json!("Org2MSP")), "{vouching:?}");

    // Two organisations have other snapshots of this block, or none.
    let (other, empty) = (Root::new(), Root::new());
    assert_eq!(other.add_sample(SAMPLE, 2), block);
    let [_, second] = services;
    drop(second);
    let second = Service::start(2, &empty, &[]);
    let third = Service::start(3, &other, &[block]);
    let from = [from[0], second.address, third.address];
    let land = TempDir::new().unwrap();
    let alone = join(&from, &land).run();
    let (ours, theirs) = (hash(&root, block), hash(&other, block));
    let said = [format!("Org1MSP (live) attests snapshot {ours}"), format!("Org3MSP (live) attests snapshot {theirs}")];
    alone.assert_failed(3, &[TWO_OF_THREE, &said[0], &said[1], "one more organisation"]);
    assert_eq!(names(land.path()), [""; 0]);

    // One more signs: its peer has finished the same snapshot.
    empty.put(block, &root.snapshot(block));
    second.wait_log(|line| (line.contains("-> advertised ")).then_some(()));
    let again = join(&from, &land).run();
    assert_eq!(again.result()["organisations"], json!(["Org1MSP", "Org2MSP"]));
    assert_identical(&land.path().join(format!("mychannel/{block}")), &root.snapshot(block));
}

/// Defence: `min_orgs` and the rule count distinct organisations. Removed (an organisation counted per identity), this passes.
#[test]
fn one_organisation_cannot_stand_for_two() {
    let root = Root::with_recorded();
    let peers = [Credentials::org(1), Credentials::of("org1-peer1", "Org1MSP")];
    let services = peers.each_ref().map(|who| Service::start_as(who, &root, &[83, 132]));
    let from = services.each_ref().map(|service| service.address);
    let land = TempDir::new().unwrap();
    let rule = "OutOf(2, 'Org1MSP.peer', 'Org1MSP.peer')";
    // A rule that lets it pass is refused before anybody is asked ...
    Join::new(&from, land.path()).args(["--policy", rule]).run().assert_failed(2, &["trust.minOrgs"]);
    // ... and the default counts them once.
    Join::new(&from, land.path()).run().assert_failed(3, &["Org1MSP (live) attests", "one more organisation"]);
}

/// Defence: the rule. k - 1 organisations that say the same lie stay below it; k are believed (the documented limit), but the receipt
/// names each of them. Removed (the rule, or the list of who attested), one lie is enough, or nobody knows who told it.
/// L10: with the real binary.
#[test]
fn colluders_below_k_are_refused_and_k_of_them_stand_in_the_receipt_by_name() {
    let (truth, lie) = (Root::new(), Root::new());
    let block = truth.add_sample(SAMPLE, 1);
    assert_eq!(lie.add_sample(SAMPLE, 2), block);
    let honest = Service::start(1, &truth, &[block]);
    let first = Service::start(2, &lie, &[block]);
    let land = TempDir::new().unwrap();
    let below = join(&[honest.address, first.address], &land).run();
    below.assert_failed(3, &["Org1MSP (live) attests", "Org2MSP (live) attests"]);

    let second = Service::start(3, &lie, &[block]);
    let reached = join(&[honest.address, first.address, second.address], &land).run();
    assert_eq!(reached.result()["organisations"], json!(["Org2MSP", "Org3MSP"]));
    let (code, text, errors) = verify(&["--receipt", &receipt(&reached), "-O", "json"]);
    assert_eq!(code, Some(0), "{errors}");
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told["organisations"], json!(["Org2MSP", "Org3MSP"]));
    for (voucher, org) in told["vouchers"].as_array().unwrap().iter().zip(["org2", "org3"]) {
        assert!(voucher.as_str().unwrap().contains(&format!("CN=peer0.{org}.example.com")), "{voucher}");
    }
}

/// Defence: receipts are signed, and all statements within are verified again; removed, whom a receipt names can be edited.
#[test]
fn a_receipt_is_verified_offline_and_every_edited_byte_is_found() {
    let root = Root::new();
    root.put(83, &fixture("snapshots/org1/83"));
    let services = [1, 2].map(|org| Service::start(org, &root, &[83]));
    let from = services.each_ref().map(|service| service.address);
    let land = TempDir::new().unwrap();
    let joined = Join::new(&from, land.path()).run();
    drop(services);
    let path = receipt(&joined);
    let block = recorded("config_block.pb");
    let block = block.to_str().unwrap();
    let (code, text, errors) = verify(&["--receipt", &path, "--config-block", block]);
    assert_eq!(code, Some(0), "{errors}");
    for words in ["mychannel/83", "Org1MSP: ", "Org2MSP: ", "OutOf(2,", "Admin@org3.example.com", &from[0].to_string()]
    {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
    for (flags, exit) in [(["-b", "83"], 0), (["-b", "84"], 3), (["-c", "other"], 3)] {
        let (code, _, errors) = verify(&[&["--receipt", &path][..], &flags].concat());
        assert_eq!(code, Some(exit), "{flags:?}: {errors}");
    }
    let bytes = std::fs::read(&path).unwrap();
    let edited = land.path().join("edited.json");
    for at in (0..bytes.len()).step_by(bytes.len() / 60 + 1) {
        let mut other = bytes.clone();
        other[at] = if other[at] == b'1' { b'2' } else { b'1' };
        std::fs::write(&edited, &other).unwrap();
        let (code, _, errors) = verify(&["--receipt", edited.to_str().unwrap(), "--config-block", block]);
        assert_eq!(code, Some(3), "byte {at}: {errors}");
    }
}

/// Defence: two statements of one identity about one block are evidence, and its organisation doesn't count there. Removed, the second
/// organisation's word and either of the equivocator's would do.
/// L11: with the real binary.
#[test]
fn who_signs_two_versions_does_not_count_and_the_proof_convinces_anybody() {
    let (one, two) = (Root::new(), Root::new());
    let block = one.add_sample(SAMPLE, 1);
    assert_eq!(two.add_sample(SAMPLE, 2), block);
    // Two state folders: its own guard would have refused the second.
    let said = [Service::start(1, &one, &[block]), Service::start(1, &two, &[block])];
    let other = Service::start(2, &one, &[block]);
    let land = TempDir::new().unwrap();
    let from = [said[0].address, said[1].address, other.address];
    let ended = join(&from, &land).run();
    ended.assert_failed(3, &["Org1MSP said two things", "Org2MSP (live) attests"]);
    let told = ended.of("equivocation");
    assert_eq!((told.len(), &told[0]["msp_id"]), (1, &json!("Org1MSP")));
    let proof = told[0]["file"].as_str().unwrap();
    assert!(Path::new(proof).starts_with(ended.state.as_ref().unwrap().path().join("evidence")));
    let block_file = recorded("config_block.pb");
    for args in [vec!["--evidence", proof], vec!["--evidence", proof, "--config-block", block_file.to_str().unwrap()]] {
        let (code, text, errors) = verify(&args);
        assert_eq!(code, Some(0), "{errors}");
        for words in ["of Org1MSP said two things", &hash(&one, block), &hash(&two, block)] {
            assert!(text.contains(words), "no {words:?} in {text}");
        }
    }
    // Edited, it proves nothing.
    let mut text: Value = serde_json::from_slice(&std::fs::read(proof).unwrap()).unwrap();
    text["first"] = text["second"].clone();
    let forged = land.path().join("forged.json");
    std::fs::write(&forged, serde_json::to_vec(&text).unwrap()).unwrap();
    assert_eq!(verify(&["--evidence", forged.to_str().unwrap()]).0, Some(3));
    assert_eq!(verify(&["--evidence", proof, "-b", &(block + 1).to_string()]).0, Some(3), "not the one asked for");

    // Whom the peer found out once stays found out, though only one of the two is asked the next time.
    let state = ended.state.as_ref().unwrap();
    let one_of_them = [from[0], from[2]];
    let again = || join(&one_of_them, &land).state(state.path()).run();
    again().assert_failed(3, &["Org1MSP said two things"]);
    assert_eq!(
        join(&one_of_them, &land).args(["--dry-run"]).run().result()["outcome"],
        "dry_run",
        "a peer that heard nothing"
    );
}

/// Every file below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

#[test]
fn a_dry_run_leaves_no_file() {
    let (one, two) = (Root::new(), Root::new());
    let block = one.add_sample(SAMPLE, 1);
    assert_eq!(two.add_sample(SAMPLE, 2), block);
    let services = [Service::start(1, &one, &[block]), Service::start(1, &two, &[block])];
    let agreeing = [Service::start(2, &one, &[block]), Service::start(3, &one, &[block])];
    let from = [&services[0], &services[1], &agreeing[0], &agreeing[1]].map(|service| service.address);
    let (state, land) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let ended = join(&from, &land).state(state.path()).args(["--dry-run"]).run();
    assert_eq!(ended.result()["outcome"], "dry_run");
    assert!(ended.of("equivocation")[0]["file"].as_str().unwrap().starts_with("nowhere"));
    assert_eq!([files_below(state.path()), files_below(land.path())], [Vec::<PathBuf>::new(), Vec::new()]);
}

/// Defence: what names a rule is judged by it. Removed, `verify --config-block` says "sound" as if somebody had vouched.
#[test]
fn no_flag_of_the_rule_is_passed_over_offline() {
    let folder = fixture("snapshots/org1/83");
    let (folder, block) = (folder.to_str().unwrap(), recorded("config_block.pb"));
    let block = block.to_str().unwrap();
    for flags in [
        &["--config-block", block][..],
        &["--min-orgs", "2"],
        &["--manifest-policy", TWO_OF_THREE],
        &["--count-self"],
        &["--min-block", "1"],
        &["--allow-older"],
    ] {
        let (code, _, errors) = verify(&[&[folder][..], flags].concat());
        assert!(code == Some(2) && errors.contains("--attestations"), "{flags:?}: {errors}");
    }
    for what in ["--receipt", "--evidence"] {
        let (code, _, errors) = verify(&[what, block, "--min-orgs", "2"]);
        assert!(code == Some(2) && errors.contains("for a folder"), "{what}: {errors}");
    }
    // Detached signatures name no channel: the folder does.
    let files = TempDir::new().unwrap();
    for org in [1, 2] {
        sign_detached(org, Path::new(folder), &files.path().join(format!("org{org}.json")));
    }
    let attestations = ["--config-block", block, "--attestations", files.path().to_str().unwrap()];
    let (code, text, errors) = verify(&[&[folder][..], &attestations].concat());
    assert!(code == Some(0) && text.contains("Org1MSP and Org2MSP vouch for it"), "{text}{errors}");
}

/// Defence: the floor. Removed, the older snapshot, valid as it is, would be taken in place of what this peer had.
#[test]
fn an_older_snapshot_than_this_peer_had_is_refused_unless_it_is_asked_for() {
    let (newer, older) = (Root::with_recorded(), Root::new());
    older.put(83, &fixture("snapshots/org1/83"));
    let state = TempDir::new().unwrap();
    let land = TempDir::new().unwrap();
    let run = |root: &Root, blocks: &[u64], args: &[&str]| {
        let services = [1, 2].map(|org| Service::start(org, root, blocks));
        let from = services.each_ref().map(|service| service.address);
        Join::new(&from, land.path()).state(state.path()).args(args.iter().copied()).run()
    };
    assert_eq!(run(&newer, &[83, 132], &[]).result()["block_number"], 132);
    run(&older, &[83], &[]).assert_failed(3, &["block 83", "below the floor 132", "--allow-older"]);
    assert_eq!(run(&older, &[83], &["--allow-older"]).result()["block_number"], 83);
}

/// A folder that came by mail: attestations as files, no network.
#[test]
fn a_folder_is_verified_offline_by_attestations_that_came_as_files() {
    let root = Root::new();
    root.put(83, &fixture("snapshots/org1/83"));
    let files = TempDir::new().unwrap();
    let signed = |org: u8| {
        let service = Service::start(org, &root, &[83]);
        let out = files.path().join(format!("org{org}.attestation"));
        let mut command = binary();
        command.args(["snapshot", "sign", "-c", "mychannel", "-b", "83", "--out"]).arg(&out);
        command.arg("--state-dir").arg(service.state());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        out
    };
    let first = signed(1);
    let folder = root.snapshot(83);
    let block = recorded("config_block.pb");
    let check = |attestations: &Path| {
        let (folder, block) = (folder.to_str().unwrap(), block.to_str().unwrap());
        let attestations = attestations.to_str().unwrap();
        verify(&[folder, "--policy", TWO_OF_THREE, "--config-block", block, "--attestations", attestations])
    };
    let (code, _, errors) = check(&first);
    assert_eq!(code, Some(3), "{errors}");
    assert!(errors.contains("Org1MSP (stored) attests") && errors.contains("one more organisation"), "{errors}");
    signed(2);
    let (code, text, errors) = check(files.path());
    assert_eq!(code, Some(0), "{errors}");
    assert!(text.contains("Org1MSP and Org2MSP vouch for it"), "{text}");
    // One bit of one of them, and it isn't passed over.
    let mut bytes = std::fs::read(&first).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&first, bytes).unwrap();
    let (code, _, errors) = check(files.path());
    assert_eq!(code, Some(3), "{errors}");
    assert!(errors.contains("org1.attestation"), "{errors}");
}

/// Writes the detached signature of `org`'s peer over the metadata of a folder.
fn sign_detached(org: u8, folder: &Path, out: &Path) {
    let mut command = binary();
    command.args(["snapshot", "sign", "-c", "mychannel", "-b", "83", "--detached"]).arg(folder).arg("--out").arg(out);
    Credentials::org(org).flags(&mut command);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn an_organisation_without_a_service_vouches_by_a_detached_signature_and_whole_files_count() {
    let root = Root::new();
    root.put(83, &fixture("snapshots/org1/83"));
    let service = Service::start(1, &root, &[83]);
    let files = TempDir::new().unwrap();
    let detached = files.path().join("org2.json");
    sign_detached(2, &root.snapshot(83), &detached);
    let detached = detached.to_str().unwrap();
    let land = TempDir::new().unwrap();
    Join::new(&[service.address], land.path()).run().assert_failed(3, &["lacking: one more organisation", "Org2MSP"]);
    let joined = Join::new(&[service.address], land.path()).args(["--attestations", detached]).run();
    assert_eq!(joined.result()["mode"], "staged");
    assert_eq!(joined.result()["organisations"], json!(["Org1MSP", "Org2MSP"]));
    assert_identical(&land.path().join("mychannel/83"), &root.snapshot(83));
    // A loader gets nothing of it before every SHA-256 is known.
    let (elsewhere, peer) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let ledgers = peer.path().join("ledgersData");
    let loaded = Join::new(&[service.address], elsewhere.path()).args(["--attestations", detached]);
    let loaded = loaded.args(["--loader", "ledger", "--ledger", ledgers.to_str().unwrap()]).run();
    assert_eq!(loaded.result()["mode"], "staged");
    assert!(loaded.of("loads_beside").is_empty() && !loaded.of("loading").is_empty(), "{}", loaded.stdout);
    let (code, text, errors) = verify(&["--receipt", &receipt(&joined)]);
    assert!(code == Some(0) && text.contains("(staged)") && text.contains("detached"), "{text}{errors}");

    // It is of this snapshot alone.
    let other = Root::with_recorded();
    let service = Service::start(1, &other, &[83, 132]);
    let land = TempDir::new().unwrap();
    let from = [service.address];
    Join::new(&from, land.path())
        .args(["--attestations", detached, "-b", "132"])
        .run()
        .assert_failed(3, &["block 132", "fits no snapshot of this block"]);
}

/// Defence: in staged mode a chunk's proof says only who sent it; the file's SHA-256 decides. Removed, a source's own manifest would do.
#[test]
fn a_manifest_that_nobody_vouches_for_and_leads_elsewhere_costs_its_source_and_nothing_else() {
    let root = Root::new();
    root.put(83, &fixture("snapshots/org1/83"));
    let files = TempDir::new().unwrap();
    for org in [1, 2] {
        sign_detached(org, &root.snapshot(83), &files.path().join(format!("org{org}.json")));
    }
    let detached = ["--attestations", files.path().to_str().unwrap()];
    let start = |name: &str, org: &str, lie| Source::start(&Credentials::of(name, org), &completed(&root), lie);
    let liar = start("org1-peer1", "Org1MSP", Lie::OwnManifest);
    let land = TempDir::new().unwrap();
    let peer = TempDir::new().unwrap();
    let ledgers = peer.path().join("ledgersData");
    let loader = ["--loader", "ledger", "--ledger", ledgers.to_str().unwrap()];
    let alone = Join::new(&[liar.address], land.path()).args(detached).args(loader).run();
    let made = std::fs::read_dir(&ledgers).map_or(0, Iterator::count);
    assert_eq!(made, 0, "a lie was written into the peer's databases");
    alone.assert_failed(3, &["every source was dropped", "does not lead to the files that were vouched for"]);
    assert!(names(land.path()).iter().all(|name| name == ".snapferry"));

    let honest = start("org2", "Org2MSP", Lie::AttestsNothing);
    let land = TempDir::new().unwrap();
    let ended = Join::new(&[liar.address, honest.address], land.path()).args(detached).run();
    assert_eq!(ended.result()["mode"], "staged");
    assert_identical(&land.path().join("mychannel/83"), &root.snapshot(83));
    assert!(ended.of("source_dropped").iter().all(|told| told["source"] == liar.address.to_string()));
}

/// Defence: our own word, relayed or kept, is never taken for a lie. Removed, a dry run with a service's own state folder would get that
/// service banned by every join for an hour.
#[test]
fn a_dry_run_beside_a_service_does_not_get_it_banned() {
    let root = Root::new();
    let block = root.add_sample(SAMPLE, 1);
    let services = [1, 2].map(|org| Service::start(org, &root, &[block]));
    let from = services.each_ref().map(|service| service.address);
    let land = TempDir::new().unwrap();
    let before = join(&from, &land).state(services[0].state()).args(["--dry-run"]).run();
    assert_eq!(before.result()["outcome"], "dry_run");
    let after = join(&from, &land).run();
    assert!(after.of("source_dropped").is_empty(), "{:?}", after.of("source_dropped"));
    assert_eq!(after.result()["outcome"], "landed");
}

/// Defence: no hash covers the commit hash, so `verify` compares the folder's with the one that is vouched for. Removed, a folder that was
/// altered on its way passes.
#[test]
fn a_folder_with_another_commit_hash_than_is_vouched_for_is_refused_offline() {
    let root = Root::new();
    root.put(83, &fixture("snapshots/org1/83"));
    let files = TempDir::new().unwrap();
    for org in [1, 2] {
        let service = Service::start(org, &root, &[83]);
        let mut command = binary();
        command.args(["snapshot", "sign", "-c", "mychannel", "-b", "83", "--out"]);
        command.arg(files.path().join(format!("org{org}"))).arg("--state-dir").arg(service.state());
        assert!(command.output().unwrap().status.success());
    }
    let forged = TempDir::new().unwrap();
    let folder = forged.path().join("83");
    processes::copy_folder(&root.snapshot(83), &folder);
    let file = folder.join("_snapshot_additional_metadata.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let metadata: Value = serde_json::from_str(&text).unwrap();
    let hash = metadata["last_block_commit_hash"].as_str().unwrap();
    let check = || {
        let block = recorded("config_block.pb");
        let (folder, block, files) =
            (folder.to_str().unwrap(), block.to_str().unwrap(), files.path().to_str().unwrap());
        verify(&[folder, "--policy", TWO_OF_THREE, "--config-block", block, "--attestations", files])
    };
    assert_eq!(check().0, Some(0));
    std::fs::write(&file, text.replace(hash, &"ab".repeat(32))).unwrap();
    let (code, text, errors) = check();
    assert_eq!(code, Some(3), "{text}{errors}");
    assert!(errors.contains("last_block_commit_hash") && errors.contains(hash), "{errors}");
}

/// Defence: nobody is waited for without an end while something else can be agreed on. Removed, one organisation that contradicts itself
/// at a newer block and is always too busy to give the manifest holds up for ever what two honest ones could end.
#[test]
fn one_busy_organisation_does_not_hold_up_what_others_agree_on() {
    let (root, other, older, block) = (Root::with_recorded(), Root::new(), Root::new(), 132);
    older.put(83, &fixture("snapshots/org1/83"));
    other.put(132, &fixture("snapshots/org1/132"));
    // Another sound snapshot of that block: the same data, told of another previous block.
    let file = other.snapshot(132).join("_snapshot_signable_metadata.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let at = text.find("\"previous_block_hash\": \"").unwrap() + 24;
    let changed = format!("{}{}{}", &text[..at], if &text[at..=at] == "0" { "1" } else { "0" }, &text[at + 1..]);
    let sha = |text: &str| hex::encode(<sha2::Sha256 as sha2::Digest>::digest(text));
    let additional = other.snapshot(132).join("_snapshot_additional_metadata.json");
    let rehashed = std::fs::read_to_string(&additional).unwrap().replace(&sha(&text), &sha(&changed));
    std::fs::write(file, changed).unwrap();
    std::fs::write(additional, rehashed).unwrap();
    let evil = [
        Source::start(&Credentials::org(1), &completed(&root), Lie::Nothing),
        Source::start(&Credentials::of("org1-peer1", "Org1MSP"), &completed(&other), Lie::ManifestNever),
    ];
    let honest = [Service::start(2, &root, &[83, block]), Service::start(3, &older, &[83])];
    let from = [evil[0].address, evil[1].address, honest[0].address, honest[1].address];
    let land = TempDir::new().unwrap();
    let ended = join(&from, &land).args(["--deadline", "60s"]).run();
    assert_eq!(ended.result()["block_number"], 83);
}
