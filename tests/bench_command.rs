//! `bench` as the real binary: it measures every side, says so in one JSON object, and leaves nothing behind.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

fn bench(dir: &tempfile::TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snapferry"));
    command.env_clear().env("TMPDIR", dir.path()).current_dir(dir.path()).arg("bench").args(args);
    command.stdin(Stdio::null());
    command
}

fn is_empty(dir: &tempfile::TempDir) -> bool {
    std::fs::read_dir(dir.path()).unwrap().next().is_none()
}

fn positive(value: &Value, path: &str) -> f64 {
    let figure = value.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path} in {value:#}"));
    assert!(figure > 0.0 && figure.is_finite(), "{path} is {figure}");
    figure
}

#[test]
fn a_run_measures_every_side_and_removes_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let output = bench(&dir, &["--size", "8MiB", "--sources", "2", "--load", "-O", "json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout.lines().count(), 1, "one object: {stdout}");
    let result: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&result["event"], &result["data"]), (&"result".into(), &"sample".into()));
    assert_eq!((&result["sources"], &result["rounds"], &result["mtu"]), (&2.into(), &1.into(), &1452.into()));
    for path in [
        "/cores",
        "/transfer/mb_per_s",
        "/transfer/seconds",
        "/transfer/cpu_s_per_gb",
        "/transfer/ratio_to_raw_quinn",
        "/transfer/ratios/0",
        "/load/mb_per_s",
        "/load/seconds",
        "/load/address_to_ledger_seconds",
        "/load/land_then_load_seconds",
        "/load/ratios/0",
        "/load/two_commands_seconds",
        "/raw_quinn/mb_per_s",
        "/one_core/sha256_mb_per_s",
        "/one_core/blake3_mb_per_s",
        "/one_core/zstd_compress_mb_per_s",
        "/one_core/zstd_decompress_mb_per_s",
        "/sample/mb_per_s",
        "/publish/mb_per_s",
    ] {
        positive(&result, path);
    }
    let sides =
        ["/transfer/joiner", "/transfer/sources/0", "/transfer/sources/1", "/raw_quinn/receiver", "/raw_quinn/sender"];
    for side in sides {
        positive(&result, &format!("{side}/cpu_s_per_gb"));
        let peak_mb = positive(&result, &format!("{side}/peak_mb"));
        assert!((2.0..128.0).contains(&peak_mb), "{side}: a process of {peak_mb} MB");
    }
    let bytes = positive(&result, "/bytes");
    assert!((7.5e6..9.0e6).contains(&bytes), "about 8 MiB: {bytes}");
    let wire = positive(&result, "/transfer/wire_bytes");
    assert!(wire < bytes * 0.8, "JSON travels compressed: {wire} of {bytes}");
    let shares: f64 = result["transfer"]["shares"].as_array().unwrap().iter().filter_map(Value::as_f64).sum();
    assert_eq!(shares, bytes, "every byte came from a source");
    assert!(positive(&result, "/one_core/zstd_ratio") > 1.5);
    assert!(is_empty(&dir), "the temporary folder is gone");
}

#[test]
fn random_data_is_not_compressed_and_a_table_is_for_people() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--size", "8MiB", "--sources", "1", "--data", "random", "--mtu", "6400", "--rounds", "2", "-q"];
    let output = bench(&dir, &args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "quiet");
    let table = String::from_utf8(output.stdout).unwrap();
    for text in
        ["random data from 1 source", "2 rounds, MTU 6400", "joiner", "source 1", "raw quinn", "ratio to raw quinn"]
    {
        assert!(table.contains(text), "no {text:?} in\n{table}");
    }
    assert!(!table.contains("zstd decompression"), "nothing was compressed:\n{table}");
}

#[test]
fn an_interrupted_run_leaves_no_file_and_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = bench(&dir, &["--size", "64MiB", "--rounds", "1000"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut progress = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("round 1") {
        line.clear();
        assert!(progress.read_line(&mut line).unwrap() > 0, "it ended before it began");
    }
    let pid = child.id();
    let children = || {
        let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut running = children();
    while running.is_empty() && Instant::now() < deadline {
        std::thread::yield_now();
        running = children();
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(is_empty(&dir), "the temporary folder is gone");
    for pid in running {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "process {pid} still runs");
    }
}

#[test]
fn a_number_of_sources_that_there_are_not_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for sources in ["0", "5"] {
        let output = bench(&dir, &["--sources", sources]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
    }
}
