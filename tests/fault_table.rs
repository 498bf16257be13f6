//! Every fault of the catalogue has its test, or a written reason why not: docs/faults.md says which.
//!
//! A test belongs to a fault by its own words: its doc comment begins a line with the id (`/// L3: ...`, `/// R1, R4: ...`). The table is
//! written from what stands in the sources; after a change on purpose: `SNAPFERRY_BLESS=1 cargo test --test fault_table`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// A fault of the catalogue.
struct Fault {
    id: &'static str,
    /// What is done.
    injected: &'static str,
    /// What must follow.
    outcome: &'static str,
    /// What is left out, and why.
    remark: &'static str,
}

const fn fault(id: &'static str, injected: &'static str, outcome: &'static str) -> Fault {
    Fault { id, injected, outcome, remark: "" }
}

impl Fault {
    const fn but(self, remark: &'static str) -> Self {
        Self { remark, ..self }
    }
}

const GROUPS: &[(&str, &[Fault])] = &[
    (
        "Lying sources",
        &[
            fault("L1", "flipped byte in a chunk", "refused before it is used, that source banned, fetched elsewhere"),
            fault("L2", "right hash, wrong index or length, trailing bytes", "stream closed, banned"),
            fault("L3", "chunk unasked, or asked from another source", "dropped, banned"),
            fault("L4", "zero size, empty list, early end as \"done\"", "an error; never progress"),
            fault(
                "L5",
                "manifest or chunk tree swapped, larger, smaller, of another group size",
                "refused before any data is asked",
            ),
            fault(
                "L6",
                "catalog: block it lacks, stale, older version again",
                "demoted; versions only rise per source",
            ),
            fault(
                "L7",
                "claims all, answers CHUNK_UNAVAILABLE",
                "asked elsewhere, demoted at the third; no timeout is waited for",
            ),
            fault(
                "L8",
                "extra, missing, doubled file; twins by case or Unicode; `..`, absolute, NUL, device name, symbolic or hard link",
                "refused by the closed set, and again right before publishing",
            ),
            fault("L9", "good until 99 %, then bad or slow", "others give the end"),
            fault("L10", "organisations collude", "below k refused; at k the documented limit: the receipt names them"),
            fault("L11", "one organisation signs two hashes for a block", "proof kept, organisation left out, alarm"),
            fault(
                "L12",
                "bit rot at an honest source",
                "CHUNK_CORRUPT_AT_SOURCE, quality only; the scrubber finds and mends it",
            ),
        ],
    ),
    (
        "Slow and starving",
        &[
            fault("S1", "a byte per 5 s", "cancelled by the rate floor; demoted, not banned"),
            fault("S2", "silence on a live connection", "cancelled by the stall timer; demoted, not banned"),
            fault("S3", "loss in one direction", "smaller windows, runs move to others"),
            fault("S4", "rate drops 100-fold", "smaller windows, runs move to others"),
            fault("S5", "slow disk or loader of the joiner", "requests stop at the budget; memory stays flat"),
            fault("S6", "the chunk that is needed next is on the slowest source", "asked a second time elsewhere"),
            fault("S7", "all sources BUSY with a time", "waits politely, no ban, keeps every proved chunk"),
        ],
    ),
    (
        "Network",
        &[
            fault(
                "N1",
                "all organisations but one cut off in mid-transfer, then healed",
                "goes on with the rest; proved data stay",
            ),
            fault("N2", "full partition for hours", "goes on where it was"),
            fault("N3", "NAT rebinding, address change of either side", "migration or another dial, no chunk lost"),
            fault("N4", "MTU black hole", "finishes"),
            fault("N5", "reordered, doubled, replayed datagrams", "finishes"),
            fault("N6", "recorded first flight replayed", "no effect: there is no 0-RTT"),
            fault("N7", "flood of handshakes", "retry tokens; accepted sessions keep their rate"),
            fault("N8", "one of IPv4, IPv6 broken", "the other is used within 2 s"),
            fault("N9", "UDP blocked", "the message names UDP and the port")
                .but("a way over TCP is left open by the design"),
        ],
    ),
    (
        "Life cycle",
        &[
            fault(
                "C1",
                "snapshot deleted in mid-transfer, with and without lease",
                "drained, or GONE; others or another block",
            ),
            fault("C2", "source restarts", "dialled again, goes on"),
            fault("C3", "a newer snapshot appears", "the target stays unless it falls below need"),
            fault("C4", "organisation removed from the channel", "its sessions end within 1 s; the joiner counts anew"),
            fault("C5", "certificate revoked or expired", "session closed"),
            fault("C6", "CA rotated", "no break while both are in the configuration"),
            fault("C7", "clock a day off", "judged by our clock outside 5 min; the message names the skew"),
            fault("C8", "attestation or catalog of another run, channel, block", "refused: nonce, domain tag, key"),
            fault("C9", "versions N and N-1 both ways", "they work together")
                .but("against golden bytes and unknown fields until there is a second minor version"),
            fault("C10", "downgrade, unknown major version", "refused"),
        ],
    ),
    (
        "Disk of the joiner",
        &[
            fault(
                "D1",
                "crash or power loss at every write, sync, rename",
                "only what proves itself is used again; same final state",
            ),
            fault(
                "D2",
                "no space at every operation",
                "pauses, goes on once there is space; before it has asked anybody: ends with the reason",
            ),
            fault("D3", "EIO at every operation", "after a failed sync that file starts over"),
            fault("D4", "bit rot between download and use", "caught when hashed again; chunk fetched again"),
            fault(
                "D5",
                "journal corrupt, cut, of another transfer",
                "passed over from the bad record on; chunks proved again",
            ),
            fault("D6", "two processes on one folder", "the second is refused"),
            fault("D7", "read-only disk, permission, quota", "stops with the path and the reason"),
            fault(
                "D8",
                "folder edited between verification and publishing",
                "the exact set is checked right before, every byte when the folder is met again",
            ),
        ],
    ),
    (
        "Loader",
        &[
            fault("B1", "join rejects, times out, dies on the way", "told with the peer's state; store kept"),
            fault("B2", "peer restarts, ledger under construction dropped", "fed again, no download"),
            fault("B3", "another join runs in the peer (two of our own: D6)", "waits"),
            fault(
                "B4",
                "the snapshot exists already, or the peer has the channel",
                "nothing is fetched; another one in its place is refused before any download",
            ),
            fault("B5", "\"success\", height or hash differ", "the check afterwards fails"),
        ],
    ),
    (
        "Resources",
        &[
            fault("R1", "sizes of 2^63, 2^32 chunks, 10^6 files or entries", "refused at parse, no memory taken"),
            fault("R2", "zstd bomb", "ends at the buffer"),
            fault("R3", "window bomb", "refused before it is decoded"),
            fault("R4", "nested, huge repeated, unknown fields", "caps; unknown ones are passed over"),
            fault("R5", "flood of streams and connections", "caps; others keep their rate"),
            fault("R6", "slow accept", "caps; others keep their rate"),
            fault("R7", "names made by peers in logs", "bounded, control characters escaped")
                .but("there are no metrics yet, so no labels"),
            fault("R8", "descriptors exhausted", "pauses, recovers"),
        ],
    ),
    (
        "Access",
        &[
            fault(
                "A1",
                "stranger; right CA, wrong organisation; wrong unit; expired grant",
                "UNAUTHORIZED or FORBIDDEN, no hint",
            ),
            fault("A2", "server certificate as client, and reverse role", "refused"),
            fault("A3", "another channel's catalog", "refused"),
            fault("A4", "audit log edited", "its chain breaks, `verify --audit` says where"),
        ],
    ),
];

/// A test that says to which faults it belongs.
struct Test {
    /// `tests/x.rs::name`.
    place: String,
    /// Why it doesn't run by itself.
    ignored: Option<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `folder`, by name.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let below = |path: PathBuf| match path.is_dir() {
        true => sources(&path),
        false => Some(path).filter(|path| path.extension().is_some_and(|kind| kind == "rs")).into_iter().collect(),
    };
    entries.into_iter().flat_map(below).collect()
}

/// The ids that a line of a doc comment begins with.
fn ids(line: &str) -> Vec<&'static str> {
    let Some((ids, _)) = line.strip_prefix("/// ").and_then(|text| text.split_once(": ")) else { return Vec::new() };
    let known =
        |id: &str| GROUPS.iter().flat_map(|(_, faults)| *faults).map(|fault| fault.id).find(|known| *known == id);
    ids.split(", ").map(known).collect::<Option<_>>().unwrap_or_default()
}

/// The tests of each fault, in the order of files and lines.
fn tests() -> BTreeMap<&'static str, Vec<Test>> {
    let mut found: BTreeMap<_, Vec<Test>> = BTreeMap::new();
    for path in ["src", "tests"].iter().flat_map(|folder| sources(&root().join(folder))) {
        let file = path.strip_prefix(root()).unwrap().display().to_string();
        let mut head: Vec<String> = Vec::new();
        for line in fs::read_to_string(&path).unwrap().lines().map(str::trim) {
            let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            if let Some((name, _)) = name.and_then(|rest| rest.split_once('(')) {
                let is_test = head.iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
                let all: Vec<&str> = head.iter().flat_map(|line| ids(line)).collect();
                assert!(is_test || all.is_empty(), "{file}: {name} names a fault but is no test");
                let ignored = head.iter().find_map(|line| line.strip_prefix("#[ignore = \""));
                let ignored = ignored.map(|reason| reason.trim_end_matches(['"', ']', '\\', ' ']).to_owned());
                for id in all {
                    let test = Test { place: format!("{file}::{name}"), ignored: ignored.clone() };
                    found.entry(id).or_default().push(test);
                }
            }
            match line {
                "" | "}" => head.clear(),
                _ if name.is_some() => head.clear(),
                line => head.push(line.to_owned()),
            }
        }
    }
    found
}

fn page(tests: &BTreeMap<&'static str, Vec<Test>>) -> String {
    let mut page = String::from(
        "# What can go wrong, and what is tested\n\n\
         Every fault of the catalogue, what must happen, and the tests that hold it. Written by `tests/fault_table.rs` from the tests' own \
         words;\nwhole joins under these faults run on a simulated machine (`tests/faults`), others over real sockets or as the real \
         binary.\n\nSuch a run can be looked at: `cargo run --example netsim -- --seed 7` draws what that seed of the swarm does, \
         `--scenario FILE`\nruns a scenario of your own (see `examples/scenarios`), `--svg FILE` draws it for the browser.\n",
    );
    for (group, faults) in GROUPS {
        write!(page, "\n## {group}\n\n| id | injected | required | tests |\n|---|---|---|---|\n").unwrap();
        for Fault { id, injected, outcome, remark } in *faults {
            let mut cells: Vec<String> = tests
                .get(id)
                .into_iter()
                .flatten()
                .map(|test| match &test.ignored {
                    None => format!("`{}`", test.place),
                    Some(reason) => format!("`{}` (ignored: {reason})", test.place),
                })
                .collect();
            if !remark.is_empty() {
                cells.push(format!("Not tested: {remark}"));
            }
            writeln!(page, "| {id} | {injected} | {outcome} | {} |", cells.join("<br>")).unwrap();
        }
    }
    page
}

#[test]
fn every_fault_has_its_test_or_a_reason_and_the_page_says_so() {
    let tests = tests();
    for fault in GROUPS.iter().flat_map(|(_, faults)| *faults) {
        let runs = tests.get(fault.id).is_some_and(|tests| tests.iter().any(|test| test.ignored.is_none()));
        assert!(runs || !fault.remark.is_empty(), "{} has neither a test that runs nor a reason", fault.id);
    }
    let (path, page) = (root().join("docs/faults.md"), page(&tests));
    if std::env::var_os("SNAPFERRY_BLESS").is_some() {
        fs::write(&path, page).unwrap();
        return;
    }
    let checked_in = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == page,
        "docs/faults.md is not what the tests say: SNAPFERRY_BLESS=1 cargo test --test fault_table"
    );
}

#[test]
fn ids_are_read_from_the_beginning_of_a_line_only() {
    assert_eq!(ids("/// L1: a"), ["L1"]);
    assert_eq!(ids("/// R1, R4: a: b"), ["R1", "R4"]);
    for line in ["/// of L1: a", "/// L13: a", "/// L1, of: a", "// L1: a", "/// L1"] {
        assert!(ids(line).is_empty(), "{line}");
    }
}
