//! Our peer is asked as Fabric's own command does it, and what it answers is told to operator and script.
//!
//! The peer is a fake that checks what a real one checks and says what a real one was recorded to say; `real_peer.rs` asks a real one.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/beside_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod beside_peer;
#[path = "common/fake_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod fake_peer;

use beside_peer::{Ended, admin_msp, binary, peer_msp, run};
use fake_peer::{Conduct, FakePeer, HUNG_UP, Ledger};
use rustix::process::{Pid, Signal, kill_process};
use snapferry::{
    msp::{LocalIdentity, MspId},
    peer::{Call, JoinStatus, MalformedAnswer, Peer, PeerConnection, PeerError, Refusal, read_tls_roots},
    service::clock::wall_time,
    snapshot::{BlockNumber, ChannelId},
};
use std::{
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;

/// `snapferry snapshot ...` as Org1's admin, with the words of `peer`.
fn command(peer: &FakePeer, home: &TempDir, args: &[&str]) -> Command {
    let mut command = binary();
    command.current_dir(home.path()).args(["snapshot"]).args(args);
    command.args(["--peerAddress", &peer.address.to_string(), "--tlsRootCertFile"]).arg(peer.file("ca.crt"));
    command.env("FABRIC_CFG_PATH", home.path()).env("CORE_PEER_LOCALMSPID", "Org1MSP");
    command.env("CORE_PEER_MSPCONFIGPATH", admin_msp(1));
    command
}

fn snapshot(peer: &FakePeer, args: &[&str]) -> Ended {
    run(&mut command(peer, &TempDir::new().unwrap(), args))
}

#[test]
fn requests_are_submitted_listed_and_cancelled_in_fabrics_words() {
    let peer = FakePeer::start();
    let submitted = snapshot(&peer, &["submitrequest", "-c", "mychannel", "-b", "100000"]).expect(0);
    assert_eq!(submitted.stdout, "Snapshot request submitted successfully\n");
    snapshot(&peer, &["submit", "--channelID", "mychannel", "--blockNumber", "100200"]).expect(0);
    for name in ["listpending", "pending"] {
        let listed = snapshot(&peer, &[name, "-c", "mychannel"]).expect(0);
        assert_eq!(listed.stderr, "", "an admin's identity is no borrowed one");
        assert_eq!(listed.stdout, "Successfully got pending snapshot requests: [100000 100200]\n");
    }
    let cancelled = snapshot(&peer, &["cancelrequest", "-c", "mychannel", "-b", "100000"]).expect(0);
    assert_eq!(cancelled.stdout, "Snapshot request cancelled successfully\n");
    snapshot(&peer, &["cancel", "-c", "mychannel", "-b", "100200"]).expect(0);
    let listed = snapshot(&peer, &["pending", "-c", "mychannel"]).expect(0);
    assert_eq!(listed.stdout, "Successfully got pending snapshot requests: []\n");
}

#[test]
fn every_channel_is_listed_without_a_name() {
    let peer = FakePeer::start();
    peer.add("another", Ledger { last: 7, pending: [9, 12].into(), ..Ledger::default() });
    let listed = snapshot(&peer, &["pending"]).expect(0);
    assert_eq!(listed.stdout, "another: [9 12]\nmychannel: []\n");
    let json = snapshot(&peer, &["pending", "-O", "json"]).expect(0).json();
    assert_eq!(json["channels"][0], serde_json::json!({ "channel": "another", "block_numbers": [9, 12] }));
}

#[test]
fn what_is_so_already_is_no_failure() {
    let peer = FakePeer::start();
    for args in [["-b", "83"], ["-b", "0"]] {
        let made = snapshot(&peer, &[&["submit", "-c", "mychannel"][..], &args].concat()).expect(0);
        assert_eq!(made.stdout, "the snapshot of block 83 is there already: nothing to do\n");
    }
    snapshot(&peer, &["submit", "-c", "mychannel", "-b", "90"]).expect(0);
    let again = snapshot(&peer, &["submit", "-c", "mychannel", "-b", "90"]).expect(0);
    assert_eq!(again.stdout, "a snapshot at block 90 is requested already: nothing to do\n");
    let json = snapshot(&peer, &["submit", "-c", "mychannel", "-b", "90", "-O", "json"]).expect(0).json();
    assert_eq!((&json["already"], &json["made"], &json["block_number"]), (&true.into(), &false.into(), &90.into()));
}

#[test]
fn refusals_say_what_helps() {
    let peer = FakePeer::start();
    let behind = snapshot(&peer, &["submit", "-c", "mychannel", "-b", "2"]).expect(1);
    for part in ["cannot be less than the last committed block number 83", "-b 0"] {
        assert!(behind.stderr.contains(part), "{}", behind.stderr);
    }
    let unknown = snapshot(&peer, &["submit", "-c", "nosuch", "-b", "90"]).expect(1);
    assert!(
        unknown.stderr.contains("cannot find ledger for channel nosuch; its channels are mychannel"),
        "{}",
        unknown.stderr
    );
    snapshot(&peer, &["submit", "-c", "mychannel", "-b", "100"]).expect(0);
    let none = snapshot(&peer, &["cancel", "-c", "mychannel", "-b", "99"]).expect(1);
    assert!(
        none.stderr.contains("no snapshot request exists for block number 99; pending are [100]"),
        "{}",
        none.stderr
    );
    peer.hold();
    peer.add("busy", Ledger { last: 5, pending: [5].into(), ..Ledger::default() });
    let late = snapshot(&peer, &["cancel", "-c", "busy", "-b", "5"]).expect(1);
    assert!(late.stderr.contains("under processing; it is too late to cancel"), "{}", late.stderr);
    let zero = snapshot(&peer, &["cancel", "-c", "mychannel", "-b", "0"]).expect(2);
    assert!(zero.stderr.contains("no request is pending under 0"), "{}", zero.stderr);
}

#[test]
fn who_is_refused_is_told_as_whom_it_was_signed() {
    let peer = FakePeer::start();
    let home = TempDir::new().unwrap();
    let mut as_peer = command(&peer, &home, &["pending", "-c", "mychannel"]);
    let refused = run(as_peer.env("CORE_PEER_MSPCONFIGPATH", peer_msp(1))).expect(5);
    for part in ["does not contain OU [ADMIN]", "peer0.org1.example.com", "organizational unit peer", "of Org1MSP"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    let other = run(command(&peer, &home, &["submit", "-c", "mychannel"])
        .env("CORE_PEER_MSPCONFIGPATH", admin_msp(2))
        .env("CORE_PEER_LOCALMSPID", "Org2MSP"))
    .expect(5);
    assert!(other.stderr.contains("expected MSP ID Org1MSP, received Org2MSP"), "{}", other.stderr);
    let nobody =
        run(command(&peer, &home, &["submit", "-c", "mychannel"]).env_remove("CORE_PEER_MSPCONFIGPATH")).expect(2);
    assert!(nobody.stderr.contains("an admin must sign this command"), "{}", nobody.stderr);
    assert!(peer.ledger("mychannel").pending.is_empty());
}

#[test]
fn a_dry_run_asks_nothing() {
    let peer = FakePeer::start();
    for args in [["submit", "-c", "mychannel", "-b", "90"], ["cancel", "-c", "mychannel", "-b", "90"]] {
        let would = snapshot(&peer, &[&args[..], &["--dry-run"]].concat()).expect(0);
        assert!(would.stdout.contains("would be") && would.stdout.contains("block 90"), "{}", would.stdout);
    }
    assert_eq!(peer.calls(), [""; 0]);
}

#[test]
fn address_and_certificates_come_from_the_peers_configuration_too() {
    let peer = FakePeer::start_with_mutual_tls();
    let home = TempDir::new().unwrap();
    let tls = ["ca.crt", "client.crt", "client.key"].map(|name| peer.file(name).display().to_string());
    let core = format!(
        "peer:\n  address: {}\n  localMspId: Org1MSP\n  tls:\n    rootcert: {{file: {}}}\n    clientCert: {{file: {}}}\n    clientKey: {{file: {}}}\n",
        peer.address, tls[0], tls[1], tls[2]
    );
    std::fs::write(home.path().join("core.yaml"), core).unwrap();
    let mut command = binary();
    command.current_dir(home.path()).args([
        "snapshot",
        "pending",
        "-c",
        "mychannel",
        "--msp-config-path",
        &admin_msp(1),
    ]);
    assert_eq!(run(&mut command).expect(0).stdout, "Successfully got pending snapshot requests: []\n");
}

#[test]
fn a_wait_ends_when_the_folder_is_there() {
    let peer = FakePeer::start();
    let home = TempDir::new().unwrap();
    let root = home.path().join("snapshots");
    std::fs::create_dir_all(root.join("completed")).unwrap();
    let args = ["submit", "-c", "mychannel", "-b", "90", "--wait", "--snapshots-root-dir", root.to_str().unwrap()];
    let child = command(&peer, &home, &args).stdout(Stdio::piped()).spawn().unwrap();
    peer.wait_calls("QueryPendings", 2);
    peer.make("mychannel", 90, Some(&root));
    let output = child.wait_with_output().unwrap();
    let folder = root.join("completed/mychannel/90");
    let expected =
        format!("Snapshot request submitted successfully\nsnapshot mychannel/90 is made: {}\n", folder.display());
    assert_eq!((output.status.code(), String::from_utf8(output.stdout).unwrap()), (Some(0), expected));
}

#[test]
fn a_wait_outlives_a_lost_connection() {
    let peer = FakePeer::start();
    let home = TempDir::new().unwrap();
    let root = home.path().join("snapshots");
    std::fs::create_dir_all(root.join("completed")).unwrap();
    let args = ["submit", "-c", "mychannel", "-b", "90", "--wait", "--snapshots-root-dir", root.to_str().unwrap()];
    let mut waiting = command(&peer, &home, &args);
    let child = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    peer.wait_calls("QueryPendings", 1);
    peer.behave(Conduct::HangsUp);
    peer.wait_calls(HUNG_UP, 1);
    peer.make("mychannel", 90, Some(&root));
    peer.behave(Conduct::Fabric);
    let output = child.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && out.contains("snapshot mychannel/90 is made"), "{out}{err}");
    assert!(err.contains("the peer can't be asked; the request stays with it"), "{err}");
}

#[test]
fn a_wait_for_a_snapshot_of_now_tells_its_block() {
    let peer = FakePeer::start();
    peer.hold();
    peer.add("mychannel", Ledger { last: 85, generated: [83].into(), ..Ledger::default() });
    let home = TempDir::new().unwrap();
    let root = home.path().join("snapshots");
    std::fs::create_dir_all(root.join("completed/mychannel/83")).unwrap();
    let args = ["submit", "-c", "mychannel", "--wait", "-O", "json", "--snapshots-root-dir", root.to_str().unwrap()];
    let child = command(&peer, &home, &args).stdout(Stdio::piped()).spawn().unwrap();
    peer.wait_calls("QueryPendings", 2);
    peer.make("mychannel", 85, Some(&root));
    let output = child.wait_with_output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!((&last["event"], &last["block_number"], &last["made"]), (&"result".into(), &85.into(), &true.into()));
}

#[test]
fn a_wait_says_what_it_cannot_see_and_what_is_missing() {
    for (readable, code, words) in [
        (false, 0, "is no longer pending; whether the snapshot was made couldn't be seen"),
        (true, 1, "is no longer pending, and there is no such snapshot"),
    ] {
        let peer = FakePeer::start();
        let home = TempDir::new().unwrap();
        let root = home.path().join("snapshots");
        if readable {
            std::fs::create_dir_all(root.join("completed")).unwrap();
        }
        let args = ["submit", "-c", "mychannel", "-b", "90", "--wait", "--snapshots-root-dir", root.to_str().unwrap()];
        let mut waiting = command(&peer, &home, &args);
        let child = waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        peer.wait_calls("QueryPendings", 1);
        snapshot(&peer, &["cancel", "-c", "mychannel", "-b", "90"]).expect(0);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn a_wait_that_is_stopped_leaves_the_request() {
    let peer = FakePeer::start();
    let home = TempDir::new().unwrap();
    let args = ["submit", "-c", "mychannel", "-b", "90", "--wait"];
    let child = command(&peer, &home, &args).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    peer.wait_calls("QueryPendings", 1);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(143), "{said}");
    assert!(said.contains("the peer keeps the request"), "{said}");
    let late = snapshot(&peer, &["submit", "-c", "mychannel", "-b", "90", "--wait", "--deadline", "1s"]).expect(6);
    assert!(late.stderr.contains("no longer waiting"), "{}", late.stderr);
    assert_eq!(peer.ledger("mychannel").pending, [90].into());
}

#[test]
fn a_peer_that_is_not_known_is_not_asked() {
    let peer = FakePeer::start();
    let home = TempDir::new().unwrap();
    let ask = |change: &dyn Fn(&mut Command)| {
        let mut command = binary();
        command.current_dir(home.path()).args(["snapshot", "pending", "-c", "mychannel"]);
        command.args(["--msp-config-path", &admin_msp(1), "--msp-id", "Org1MSP"]);
        change(&mut command);
        run(&mut command)
    };
    let address = peer.address.to_string();
    let roots = |name: &str| peer.file(name).display().to_string();
    let wrong_root = ask(&|command| {
        command.args(["--peer-address", &address, "--tls-root-cert-file", &roots("other.crt")]);
    })
    .expect(2);
    assert!(
        wrong_root.stderr.contains("isn't trusted") && wrong_root.stderr.contains("--tls-root-cert-file"),
        "{}",
        wrong_root.stderr
    );
    let wrong_name = ask(&|command| {
        let port = peer.address.port();
        command.args(["--peer-address", &format!("localhost:{port}"), "--tls-root-cert-file", &roots("ca.crt")]);
    })
    .expect(2);
    assert!(wrong_name.stderr.contains("--peer-server-name"), "{}", wrong_name.stderr);
    ask(&|command| {
        let port = peer.address.port();
        command.args(["--peer-address", &format!("localhost:{port}"), "--tls-root-cert-file", &roots("ca.crt")]);
        command.args(["--peer-server-name", "peer0.org1.example.com"]);
    })
    .expect(0);
    let no_root = ask(&|command| {
        command.args(["--peer-address", &address]);
    })
    .expect(2);
    assert!(no_root.stderr.contains("over TLS only"), "{}", no_root.stderr);
    let no_peer = ask(&|command| {
        command.args(["--tls-root-cert-file", &roots("ca.crt")]);
    })
    .expect(2);
    assert!(no_peer.stderr.contains("which peer?"), "{}", no_peer.stderr);
    assert_eq!(peer.calls(), ["QueryPendings"]);
}

#[test]
fn a_peer_that_is_down_or_wants_a_certificate_is_said() {
    let peer = FakePeer::start_with_mutual_tls();
    let refused = snapshot(&peer, &["pending", "-c", "mychannel"]).expect(5);
    assert!(refused.stderr.contains("refuses our TLS certificate: CertificateRequired"), "{}", refused.stderr);
    let (certificate, key) = (peer.file("client.crt"), peer.file("client.key"));
    let pair = ["--tls-cert", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    snapshot(&peer, &[&["pending", "-c", "mychannel"][..], &pair].concat()).expect(0);
    // Nobody listens where this one did.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let home = TempDir::new().unwrap();
    let mut down = binary();
    down.current_dir(home.path()).args(["snapshot", "pending", "-c", "mychannel", "--peer-address", &free]);
    down.arg("--tls-root-cert-file").arg(peer.file("ca.crt")).args([
        "--msp-config-path",
        &admin_msp(1),
        "--msp-id",
        "Org1MSP",
    ]);
    let down = run(&mut down).expect(4);
    assert!(down.stderr.contains(&format!("can't reach the peer {free}")), "{}", down.stderr);
}

#[test]
fn a_peer_that_misbehaves_is_given_up() {
    for (conduct, code, words) in [
        (Conduct::Silent, 4, "didn't answer QueryPendings within 1s"),
        (Conduct::HangsUp, 4, "was lost at QueryPendings"),
        (Conduct::Garbage, 1, "to QueryPendings is none: it isn't encoded as one"),
        (Conduct::Floods, 1, "to QueryPendings has more than"),
        (Conduct::NoPeer, 1, "doesn't know QueryPendings"),
    ] {
        let peer = FakePeer::start();
        peer.behave(conduct);
        let ended = snapshot(
            &peer,
            &["pending", "-c", "mychannel", "--timeout", if conduct == Conduct::Silent { "1s" } else { "60s" }],
        );
        assert!(ended.stderr.contains(words), "{conduct:?}: {}", ended.stderr);
        ended.expect(code);
    }
}

/// Our library's client, as a member of Org1 with that MSP folder.
async fn connected(peer: &FakePeer, msp: &str) -> Peer {
    let identity = LocalIdentity::load(&MspId::new("Org1MSP").unwrap(), Path::new(msp)).unwrap();
    let connection = PeerConnection {
        address: peer.address.to_string(),
        server_name: None,
        roots: read_tls_roots(&peer.file("ca.crt")).unwrap(),
        client: None,
        timeout: Duration::from_secs(60),
    };
    Peer::connect(connection, Arc::new(identity), Arc::new(wall_time)).await.unwrap()
}

#[tokio::test]
async fn channels_ledgers_and_configuration_are_read() {
    let fake = FakePeer::start();
    fake.add("joined", Ledger { last: 132, joined_by: Some(83), ..Ledger::default() });
    let peer = connected(&fake, &peer_msp(1)).await;
    let channel = |name: &str| name.parse::<ChannelId>().unwrap();
    assert_eq!(peer.channels().await.unwrap(), [channel("joined"), channel("mychannel")]);
    let info = peer.chain_info(&channel("joined")).await.unwrap();
    assert_eq!((info.last_block, info.last_block_in_snapshot), (BlockNumber(132), Some(BlockNumber(83))));
    assert_eq!(info.last_block_hash.as_bytes(), &[1; 32]);
    assert_eq!(peer.chain_info(&channel("mychannel")).await.unwrap().last_block_in_snapshot, None);
    assert_eq!(peer.config_block(&channel("mychannel")).await.unwrap(), "a block");
    let error = peer.chain_info(&channel("nosuch")).await.unwrap_err();
    assert_eq!(error.refused().unwrap().refusal, Refusal::NotJoined, "{error}");
}

#[tokio::test]
async fn a_join_is_begun_and_followed() {
    let fake = FakePeer::start();
    let peer = connected(&fake, &admin_msp(1)).await;
    let folder = TempDir::new().unwrap();
    assert_eq!(peer.join_status().await.unwrap(), JoinStatus::Idle);
    let missing = peer.join_by_snapshot(Path::new("/nosuch")).await.unwrap_err();
    assert!(
        missing
            .to_string()
            .contains("the peer refused JoinChainBySnapshot: cannot create ledger from snapshot /nosuch"),
        "{missing}"
    );
    peer.join_by_snapshot(folder.path()).await.unwrap();
    let running = JoinStatus::InProgress { folder: folder.path().display().to_string() };
    assert_eq!(peer.join_status().await.unwrap(), running);
    let busy = peer.join_by_snapshot(folder.path()).await.unwrap_err();
    assert_eq!(busy.refused().unwrap().refusal, Refusal::JoinUnderWay, "{busy}");
    fake.set_joining(None);
    assert_eq!(peer.join_status().await.unwrap(), JoinStatus::Idle);
    let user = connected(&fake, &peer_msp(1)).await;
    let denied = user.join_by_snapshot(folder.path()).await.unwrap_err();
    assert_eq!(denied.refused().unwrap().refusal, Refusal::Denied, "{denied}");
}

#[tokio::test]
async fn answers_are_judged_before_they_are_believed() {
    let fake = FakePeer::start();
    let peer = connected(&fake, &admin_msp(1)).await;
    fake.behave(Conduct::Garbage);
    let error = peer.channels().await.unwrap_err();
    assert!(
        matches!(error, PeerError::Malformed { call: Call::GetChannels, source: MalformedAnswer::Encoding, .. }),
        "{error}"
    );
    // The connection isn't lost by it.
    fake.behave(Conduct::Fabric);
    fake.add("NoChannel", Ledger::default());
    let error = peer.channels().await.unwrap_err();
    assert!(matches!(error, PeerError::Malformed { source: MalformedAnswer::ChannelName, .. }), "{error}");
}
