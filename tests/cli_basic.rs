//! The commands that need no network, as the real binary: output, exit code, and the folder afterwards.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tempfile::TempDir;

const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/network/snapshots/org1/83");

struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

/// Runs the binary in `dir` with nothing but the given environment.
fn run_with(dir: &Path, environment: &[(&str, &str)], args: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snapferry"));
    command.env_clear().envs(environment.iter().copied()).current_dir(dir).args(args).stdin(Stdio::null());
    let output = command.output().unwrap();
    Run {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn run(dir: &Path, args: &[&str]) -> Run {
    run_with(dir, &[], args)
}

/// A fresh folder with a copy of the recorded snapshot in `83`.
fn copied() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("83");
    fs::create_dir(&folder).unwrap();
    for entry in fs::read_dir(RECORDED).unwrap() {
        let entry = entry.unwrap();
        fs::write(folder.join(entry.file_name()), fs::read(entry.path()).unwrap()).unwrap();
    }
    (dir, folder)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn verify_of_a_sound_folder_exits_with_0_and_says_what_it_is() {
    let (dir, _) = copied();
    let run = run(dir.path(), &["verify", "83"]);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert!(run.stdout.starts_with("mychannel/83 is a sound snapshot: 8 files, "), "{}", run.stdout);
}

#[test]
fn verify_of_each_damage_exits_with_3_and_the_reason() {
    for name in names(Path::new(RECORDED)) {
        let (dir, folder) = copied();
        let mut bytes = fs::read(folder.join(&name)).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(folder.join(&name), bytes).unwrap();
        let run = run(dir.path(), &["verify", "83"]);
        assert_eq!((run.code, run.stdout.as_str()), (3, ""), "{name}: {}", run.stderr);
        assert!(run.stderr.starts_with("snapferry: ") && run.stderr.lines().count() == 1, "{}", run.stderr);
        assert!(run.stderr.contains(&name) || name.ends_with(".json"), "{name}: {}", run.stderr);
    }
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("txids.data", |folder| fs::remove_file(folder.join("txids.data")).unwrap()),
        ("_snapshot_signable_metadata.json", |folder| {
            fs::remove_file(folder.join("_snapshot_signable_metadata.json")).unwrap();
        }),
        ("extra", |folder| fs::write(folder.join("extra"), "").unwrap()),
        ("txids.data2", |folder| fs::rename(folder.join("txids.data"), folder.join("txids.data2")).unwrap()),
        ("public_state.data", |folder| {
            let file = fs::File::options().write(true).open(folder.join("public_state.data")).unwrap();
            file.set_len(5000).unwrap();
        }),
        ("confighistory.data", |folder| {
            fs::rename(folder.join("confighistory.data"), folder.join("../elsewhere")).unwrap();
            std::os::unix::fs::symlink("../elsewhere", folder.join("confighistory.data")).unwrap();
        }),
    ];
    for (named, damage) in damages {
        let (dir, folder) = copied();
        damage(&folder);
        let run = run(dir.path(), &["verify", "83"]);
        assert_eq!(run.code, 3, "{named}: {}", run.stderr);
        assert!(run.stderr.contains(named), "{named}: {}", run.stderr);
    }
}

#[test]
fn verify_knows_which_snapshot_was_asked_for() {
    let (dir, _) = copied();
    assert_eq!(run(dir.path(), &["verify", "83", "-c", "mychannel", "-b", "83"]).code, 0);
    let other = run(dir.path(), &["verify", "83", "--channelID", "mychannel", "--blockNumber", "132"]);
    assert_eq!(other.code, 3);
    assert!(other.stderr.contains("it is snapshot mychannel/83"), "{}", other.stderr);
}

#[test]
fn a_folder_that_is_not_there_is_no_verification_failure() {
    let dir = TempDir::new().unwrap();
    let run = run(dir.path(), &["verify", "83"]);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("83"), "{}", run.stderr);
}

#[test]
fn inspect_prints_json_with_the_recorded_numbers() {
    let (dir, _) = copied();
    let run = run(dir.path(), &["inspect", "83", "-O", "json"]);
    assert_eq!((run.code, run.stdout.lines().count()), (0, 1), "{}", run.stderr);
    let value: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&value["channel"], &value["block_number"]), (&"mychannel".into(), &83.into()));
    let labcc = value["public_state"].as_array().unwrap().iter().find(|row| row["namespace"] == "labcc").unwrap();
    assert_eq!(labcc["keys"], 353);
    assert_eq!(value["files"].as_array().unwrap().len(), 8);
    assert_eq!(value["transaction_ids"], 150);
    assert_eq!(value["collection_config_history"].as_array().unwrap().len(), 2);
}

#[test]
fn inspect_prints_text_for_people() {
    let (dir, _) = copied();
    let run = run(dir.path(), &["inspect", "83"]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("labcc") && run.stdout.contains("(channel configuration)"), "{}", run.stdout);
}

#[test]
fn an_unknown_command_exits_with_2_and_names_the_nearest() {
    let dir = TempDir::new().unwrap();
    let wrong = run(dir.path(), &["verfy", "83"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("'verify'"), "{}", wrong.stderr);
    assert_eq!(run(dir.path(), &[]).code, 2);
    assert_eq!(run(dir.path(), &["verify", "--nonsense"]).code, 2);
    let help = run(dir.path(), &["--help"]);
    assert_eq!((help.code, help.stderr.as_str()), (0, ""));
    assert!(run(dir.path(), &["--version"]).stdout.starts_with("snapferry "));
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let dir = TempDir::new().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_snapferry"));
    let output = command.current_dir(dir.path()).args(["completion", "bash"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}

#[test]
fn a_sample_verifies_and_the_same_flags_give_the_same_bytes() {
    let dir = TempDir::new().unwrap();
    let flags = ["--keys", "300", "--value-bytes", "5000", "--private-hashes", "70", "--txids", "90", "--seed", "7"];
    let sample = |name: &str, more: &[&str]| run(dir.path(), &[&["sample", name], &flags[..], more].concat());
    for (name, more) in [("a", &[][..]), ("b", &[]), ("c", &["--incompressible"])] {
        let run = sample(name, more);
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
    for name in names(&dir.path().join("a")) {
        assert_eq!(
            fs::read(dir.path().join("a").join(&name)).unwrap(),
            fs::read(dir.path().join("b").join(&name)).unwrap()
        );
    }
    let state = |name: &str| fs::read(dir.path().join(name).join("public_state.data")).unwrap();
    assert_ne!(state("a"), state("c"));
    assert!(sample("d", &["--seed", "8"]).code == 2, "a flag twice");
    for name in ["a", "c"] {
        let run = run(dir.path(), &["verify", name, "-O", "json"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        let value: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!((&value["private_hashes"], &value["transaction_ids"]), (&70.into(), &90.into()));
        // The chaincode's keys, its definition in _lifecycle, and the channel's configuration.
        assert!(value["public_keys"].as_u64().unwrap() > 300);
    }
}

#[test]
fn a_sample_has_about_the_asked_size_and_never_overwrites() {
    let dir = TempDir::new().unwrap();
    let first = run(dir.path(), &["sample", "s", "--size", "3MB", "-O", "json"]);
    assert_eq!(first.code, 0, "{}", first.stderr);
    let bytes = serde_json::from_str::<Value>(&first.stdout).unwrap()["bytes"].as_u64().unwrap();
    assert!((2_700_000..3_300_000).contains(&bytes), "{bytes}");
    let before = names(&dir.path().join("s"));
    let second = run(dir.path(), &["sample", "s", "--size", "3MB"]);
    assert_eq!(second.code, 2);
    assert!(second.stderr.contains("isn't empty"), "{}", second.stderr);
    assert_eq!(names(&dir.path().join("s")), before);
    assert_eq!(run(dir.path(), &["sample", "t", "--size", "lots"]).code, 2);
    let dry = run(dir.path(), &["sample", "t", "--dry-run"]);
    assert_eq!((dry.code, dir.path().join("t").exists()), (0, false), "{}", dry.stdout);
    let block = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/network/genesis.block");
    assert_eq!(run(dir.path(), &["sample", "u", "--config-block", block]).code, 0);
    assert_eq!(run(dir.path(), &["sample", "v", "--config-block", "none"]).code, 2);
}

#[test]
fn config_is_written_checked_and_shown_with_its_origins() {
    let dir = TempDir::new().unwrap();
    assert_eq!(run(dir.path(), &["config", "init"]).code, 0);
    assert_eq!(run(dir.path(), &["config", "init"]).code, 1, "never over an existing one");
    assert_eq!(run(dir.path(), &["config", "check"]).code, 0);
    fs::write(dir.path().join("snapferry.yaml"), "trust: {minOrgs: 3}\nidentity: {mspId: FileMSP}\n").unwrap();
    let environment = [("SNAPFERRY_IDENTITY_MSPID", "EnvMSP"), ("SNAPFERRY_NONSENSE", "1")];
    let shown = run_with(dir.path(), &environment, &["config", "show", "--origin", "--mspConfigPath", "m"]);
    assert_eq!(shown.code, 0, "{}", shown.stderr);
    assert!(shown.stdout.contains("identity.mspId: EnvMSP    # SNAPFERRY_IDENTITY_MSPID"), "{}", shown.stdout);
    assert!(
        shown.stdout.contains("trust.minOrgs: 3    # ") && shown.stdout.contains("/m    # flag"),
        "{}",
        shown.stdout
    );
    assert!(shown.stderr.contains("WARN [cli] ") && shown.stderr.contains("SNAPFERRY_NONSENSE"), "{}", shown.stderr);
    fs::write(dir.path().join("snapferry.yaml"), "trust: {minOrg: 3}\n").unwrap();
    let wrong = run(dir.path(), &["config", "check"]);
    assert_eq!((wrong.code, wrong.stderr.lines().count()), (2, 1));
    assert!(wrong.stderr.contains("did you mean \"trust.minOrgs\"?"), "{}", wrong.stderr);
    assert_eq!(run(dir.path(), &["verify", RECORDED]).code, 0, "needs no configuration, so a broken one can't stop it");
}

#[test]
fn completions_and_manual_pages_are_generated() {
    let dir = TempDir::new().unwrap();
    assert!(run(dir.path(), &["completion", "bash"]).stdout.contains("snapferry"));
    let man = run(dir.path(), &["man", "pages"]);
    assert_eq!(man.code, 0, "{}", man.stderr);
    let pages = names(&dir.path().join("pages"));
    assert!(
        pages.contains(&"snapferry.1".to_owned()) && pages.contains(&"snapferry-config-show.1".to_owned()),
        "{pages:?}"
    );
    assert!(
        fs::read_to_string(dir.path().join("pages/snapferry-verify.1")).unwrap().contains("completed/mychannel/83")
    );
}
