//! A real Fabric peer is asked for snapshots, channels and joins, by the binary and by the library, and answers as the fake one does.
//!
//! Takes the peer's binary from `FABRIC_BIN`, a folder with Fabric's `peer`; says so and passes without it. The peer is Org3's of the
//! recorded network; neither orderer nor other peers run.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;
#[path = "common/real_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod real_peer;

use processes::{CHANNEL, PATIENCE, assert_identical, binary, fixture};
use real_peer::{RealPeer, binaries};
use snapferry::{
    msp::{ChannelConfig, LocalIdentity, MspId, TlsPair},
    peer::{JoinStatus, Peer, PeerConnection, Refusal, read_tls_roots},
    service::clock::wall_time,
    snapshot::{BlockNumber, ChannelId, read_metadata},
};
use std::{path::PathBuf, process::Command, sync::Arc, time::Duration};

const ADMIN: &str = "admin";
/// A member that is no admin.
const PEER: &str = "peer";

/// Exit code, standard output, standard error.
type Ended = (i32, String, String);

/// The MSP folder of an organisation's admin, or of its peer.
fn msp(org: u8, who: &str) -> PathBuf {
    let domain = format!("org{org}.example.com");
    let below = if who == ADMIN { format!("users/Admin@{domain}") } else { format!("peers/peer0.{domain}") };
    fixture(&format!("crypto/peerOrganizations/{domain}/{below}/msp"))
}

fn snapshot_as(peer: &RealPeer, org: u8, user: &str, args: &[&str]) -> Ended {
    let mut command: Command = binary();
    command.arg("snapshot").args(args).args(["--peer-address", &peer.address()]);
    command.arg("--tls-root-cert-file").arg(RealPeer::tls_root());
    command.args(["--msp-id", &format!("Org{org}MSP"), "--msp-config-path"]).arg(msp(org, user));
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn snapshot(peer: &RealPeer, args: &[&str]) -> Ended {
    snapshot_as(peer, 3, ADMIN, args)
}

async fn connected(peer: &RealPeer, org: u8, user: &str) -> Peer {
    let identity = LocalIdentity::load(&MspId::new(&format!("Org{org}MSP")).unwrap(), &msp(org, user)).unwrap();
    let [certificate, key] = RealPeer::client_pair();
    let connection = PeerConnection {
        address: peer.address(),
        server_name: None,
        roots: read_tls_roots(&RealPeer::tls_root()).unwrap(),
        client: peer.has_mutual_tls().then(|| TlsPair::load(&certificate, &key).unwrap()),
        timeout: PATIENCE,
    };
    Peer::connect(connection, Arc::new(identity), Arc::new(wall_time)).await.unwrap()
}

#[tokio::test]
async fn a_real_peer_joins_and_makes_snapshots_as_it_is_asked() {
    let Some(binaries) = binaries() else { return };
    let real = RealPeer::start(&binaries, false);
    assert_eq!(snapshot(&real, &["pending"]), (0, "the peer is in no channel\n".to_owned(), String::new()));
    joins(&real).await;
    requests(&real);
    others(&real).await;
}

/// A join by the library, and what the peer says of it.
async fn joins(real: &RealPeer) {
    let admin = connected(real, 3, ADMIN).await;
    let (channel, folder) = (CHANNEL.parse::<ChannelId>().unwrap(), fixture("snapshots/org1/83"));
    let missing = admin.join_by_snapshot(&folder.join("nosuch")).await.unwrap_err();
    assert_eq!(missing.refused().unwrap().refusal, Refusal::Other, "{missing}");
    let unknown = admin.chain_info(&channel).await.unwrap_err();
    assert_eq!(unknown.refused().unwrap().refusal, Refusal::NotJoined, "{unknown}");
    let unknown = admin.config_block(&channel).await.unwrap_err();
    assert_eq!(unknown.refused().unwrap().refusal, Refusal::NotJoined, "{unknown}");
    let denied = connected(real, 3, PEER).await.join_by_snapshot(&folder).await.unwrap_err();
    assert_eq!(denied.refused().unwrap().refusal, Refusal::Denied, "{denied}");

    admin.join_by_snapshot(&folder).await.unwrap();
    ended(&admin).await;
    assert_eq!(admin.channels().await.unwrap(), std::slice::from_ref(&channel));
    let info = admin.chain_info(&channel).await.unwrap();
    let dir = snapferry::disk::OsDir::open(&folder).unwrap();
    let metadata = read_metadata(&*dir).unwrap();
    assert_eq!((info.last_block, info.last_block_in_snapshot), (BlockNumber(83), Some(BlockNumber(83))));
    assert_eq!(info.last_block_hash, metadata.signable.last_block_hash());
    assert_eq!(info.previous_block_hash, metadata.signable.previous_block_hash());

    // A join that can't be: the answer is success all the same.
    admin.join_by_snapshot(&folder).await.unwrap();
    ended(&admin).await;
    // Its configuration block lies in the snapshot.
    admin.config_block(&channel).await.unwrap_err();
}

async fn ended(peer: &Peer) {
    let polled = async {
        while peer.join_status().await.unwrap() != JoinStatus::Idle {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, polled).await.unwrap();
}

/// Every recorded case of snapshot requests.
fn requests(real: &RealPeer) {
    let root = real.root();
    let (code, out, err) =
        snapshot(real, &["submit", "-c", CHANNEL, "--wait", "--snapshots-root-dir", root.to_str().unwrap()]);
    let made = root.join("completed").join(CHANNEL).join("83");
    let expected =
        format!("Snapshot request submitted successfully\nsnapshot {CHANNEL}/83 is made: {}\n", made.display());
    assert_eq!((code, out), (0, expected), "{err}");
    assert_identical(&made, &fixture("snapshots/org1/83"));

    let is = |args: &[&str], code: i32, words: &str| {
        let ended = snapshot(real, &[args, &["-c", CHANNEL]].concat());
        assert!(ended.0 == code && (ended.1.contains(words) || ended.2.contains(words)), "{args:?}: {ended:?}");
    };
    is(&["submitrequest"], 0, "the snapshot of block 83 is there already");
    is(&["submit", "-b", "83"], 0, "the snapshot of block 83 is there already");
    is(&["submit", "-b", "2"], 1, "cannot be less than the last committed block number 83");
    is(&["submit", "-b", "100000"], 0, "Snapshot request submitted successfully");
    is(&["submit", "-b", "100200"], 0, "Snapshot request submitted successfully");
    is(&["submit", "-b", "100000"], 0, "is requested already");
    is(&["listpending"], 0, "Successfully got pending snapshot requests: [100000 100200]\n");
    is(&["cancelrequest", "-b", "100000"], 0, "Snapshot request cancelled successfully");
    is(&["cancel", "-b", "100000"], 1, "no snapshot request exists for block number 100000; pending are [100200]");
    is(&["cancel", "-b", "100200"], 0, "Snapshot request cancelled successfully");
    is(&["pending"], 0, "Successfully got pending snapshot requests: []\n");
    let (code, _, err) = snapshot(real, &["submit", "-c", "nosuch"]);
    assert!(code == 1 && err.contains("its channels are mychannel"), "{err}");
}

/// Who is refused, and what other organisations may read.
async fn others(real: &RealPeer) {
    for (org, user, words) in
        [(3, PEER, "does not contain OU [ADMIN]"), (1, ADMIN, "expected MSP ID Org3MSP, received Org1MSP")]
    {
        let (code, _, err) = snapshot_as(real, org, user, &["pending", "-c", CHANNEL]);
        assert!(code == 5 && err.contains(words), "{code} {err}");
    }
    let channel = CHANNEL.parse().unwrap();
    let other = connected(real, 1, PEER).await;
    assert_eq!(other.chain_info(&channel).await.unwrap().last_block, BlockNumber(83));
    let denied = other.channels().await.unwrap_err();
    assert_eq!(denied.refused().unwrap().refusal, Refusal::Denied, "{denied}");
}

#[tokio::test]
async fn a_real_peer_with_mutual_tls_gives_its_configuration_to_every_reader() {
    let Some(binaries) = binaries() else { return };
    let real = RealPeer::start(&binaries, true);
    real.cli(&["channel", "join", "-b", fixture("genesis.block").to_str().unwrap()]);
    let (code, _, err) = snapshot(&real, &["pending"]);
    assert!(code == 5 && err.contains("refuses our TLS certificate"), "{code} {err}");
    let [certificate, key] = RealPeer::client_pair();
    let pair = ["--tls-cert", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    assert_eq!(snapshot(&real, &[&["pending"][..], &pair].concat()).1, "mychannel: []\n");
    for org in [1, 3] {
        let reader = connected(&real, org, PEER).await;
        let channel = CHANNEL.parse().unwrap();
        let block = reader.config_block(&channel).await.unwrap();
        assert_eq!(ChannelConfig::from_block(&block).unwrap().channel(), &channel);
        let info = reader.chain_info(&channel).await.unwrap();
        assert_eq!(
            (info.last_block, info.previous_block_hash, info.last_block_in_snapshot),
            (BlockNumber(0), None, None)
        );
    }
}
