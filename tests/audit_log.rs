//! Who fetched what, what was deleted and when the service started can be read later, and whoever changes it is found out: with the
//! real binaries.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/beside_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod beside_peer;
#[path = "common/loopback.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod loopback;
#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;

use beside_peer::{Machine, admin_msp};
use loopback::{Joiner, Service, recorded};
use processes::Join;
use serde_json::Value;
use snapferry::{
    catalog::check_audit,
    snapshot::ChunkIndex,
    transport::{
        serving::ServeLimits,
        wire::{ChunkRequest, RequestClass},
    },
};
use tempfile::TempDir;

/// The records of the log, as JSON.
fn records(machine: &Machine) -> Vec<Value> {
    let text = std::fs::read_to_string(machine.path("state/audit.log")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What happened, in order.
fn story(machine: &Machine) -> Vec<String> {
    records(machine).iter().map(|record| record["what"].as_str().unwrap().to_owned()).collect()
}

/// A4: a fetch, a deletion and the starts are in the log, and `verify` names the line that was changed.
#[test]
fn what_happened_is_in_the_log_and_an_edited_line_is_named() {
    let machine = Machine::new(1, true);
    let service = machine.serve(&[83, 132]);
    let land = TempDir::new().unwrap();
    let join = Join::new(&[service.address.parse().unwrap()], land.path()).block(83);
    let joined = join.args(["--policy", "OR('Org1MSP.peer')", "--min-orgs", "1"]).run();
    assert_eq!(joined.code, Some(0), "{joined:?}");
    let args = ["snapshot", "delete", "-c", "mychannel", "-b", "83", "--yes", "--msp-config-path", &admin_msp(1)];
    machine.json(&args);
    service.stop();
    machine.serve(&[132]).kill();

    // The session's end and the deletion come in any order.
    let mut told = story(&machine);
    told[2..4].sort();
    assert_eq!(told, ["started", "fetch-begun", "deleted", "fetch-ended", "started"]);
    for record in records(&machine) {
        let fetch = record["what"].as_str().unwrap().starts_with("fetch");
        if fetch {
            assert_eq!(record["org"], "Org3MSP");
            assert!(record["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{record}");
        }
        if fetch || record["what"] == "deleted" {
            assert_eq!(record["snapshot"], "mychannel/83");
            assert_eq!(record["identity"].as_str().unwrap().len(), 64);
        }
        if record["what"] == "fetch-ended" {
            assert!(record["bytes"].as_u64().unwrap() > 100_000, "{record}");
        }
    }

    let verified = machine.json(&["verify", "--audit", "state/audit.log"]);
    assert_eq!((&verified["records"], &verified["last_record"]), (&5.into(), &5.into()));
    let head = verified["chain_head"].as_str().unwrap();
    let words = machine.run(&["verify", "--audit", "state/audit.log", "--from-chain", head]).expect(0).stdout;
    assert!(
        words.contains("5 records, first 1 of ") && words.contains(&format!("chain head {head}: note it")),
        "{words}"
    );
    assert!(words.contains("nothing was changed since it was noted"), "{words}");

    let whole = std::fs::read_to_string(machine.path("state/audit.log")).unwrap();
    let edited = whole.replacen("Org3MSP", "Org2MSP", 1);
    std::fs::write(machine.path("edited.log"), edited).unwrap();
    let refused = machine.run(&["verify", "--audit", "edited.log"]).expect(3);
    assert!(refused.stderr.contains("edited.log: line 2: its hash doesn't follow"), "{}", refused.stderr);
    // Cut off at a line's end: only what was noted tells.
    let cut: String = whole.split_inclusive('\n').take(3).collect();
    std::fs::write(machine.path("cut.log"), cut).unwrap();
    machine.run(&["verify", "--audit", "cut.log"]).expect(0);
    let refused = machine.run(&["verify", "--audit", "cut.log", "--from-chain", head]).expect(3);
    assert!(refused.stderr.contains(&format!("chain {head} isn't in it")), "{}", refused.stderr);
    machine.run(&["verify", "--audit", "none.log"]).expect(2);
    machine.run(&["verify", "--audit", "cut.log", "--min-orgs", "2"]).expect(2);
}

/// A4: a service goes on with a log that somebody changed, but not in it, and says so.
#[test]
fn a_service_keeps_a_changed_log_aside_and_says_so() {
    let machine = Machine::new(1, true);
    machine.serve(&[]).stop();
    let mut bytes = std::fs::read(machine.path("state/audit.log")).unwrap();
    bytes[30] ^= 1;
    std::fs::write(machine.path("state/audit.log"), &bytes).unwrap();
    let mut service = machine.serve(&[]);
    service.wait_log(|line| line.contains("SOMEBODY CHANGED THE AUDIT LOG") && line.contains("audit-damaged-1.log"));
    service.stop();
    assert_eq!(std::fs::read(machine.path("state/audit-damaged-1.log")).unwrap(), bytes);
    assert_eq!(story(&machine), ["begun-anew", "started"]);
    machine.run(&["verify", "--audit", "state/audit.log"]).expect(0);
}

/// A4: a log that can't be written stops no fetch. (That it says later what is missing: src/catalog/audit/tests.rs.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_be_written_stops_no_fetch() {
    let completed = recorded();
    let service = Service::start(1, completed.path(), ServeLimits::default());
    // In its place: it can be neither read nor written.
    std::fs::create_dir(service.audit.path().join("audit.log")).unwrap();
    fetch(&service).await;
    fetch(&service).await;
    assert!(service.stop().await.path().join("audit.log").is_dir());
}

/// A4: what a session fetched is in the log, its end, too, once the service has stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_session_stands_in_the_log_with_its_bytes() {
    let completed = recorded();
    let service = Service::start(1, completed.path(), ServeLimits::default());
    fetch(&service).await;
    fetch(&service).await;
    let audit = service.stop().await;
    let log = std::fs::File::open(audit.path().join("audit.log")).unwrap();
    let summary = check_audit(log, None).unwrap();
    assert_eq!((summary.records, summary.torn_bytes), (4, 0));
}

/// One chunk, in a session of its own.
async fn fetch(service: &Service) {
    let session = Joiner::new(3).connect(service.address).await.unwrap();
    let claim = session.catalog().await.unwrap().claims.remove(0);
    let manifest = session.manifest(&claim.id, claim.manifest_hash).await.unwrap();
    let request = ChunkRequest {
        id: claim.id.clone(),
        manifest_hash: claim.manifest_hash,
        file_index: 0,
        first_chunk: ChunkIndex(0),
        count: 1,
        accept_zstd: false,
        class: RequestClass::Bulk,
        lease_id: 0,
    };
    let mut chunks = loopback::chunks(&session, request, manifest.files()[0].size).await.unwrap();
    assert!(chunks.next().await.unwrap().is_some());
}
