//! `clone` in a real network (`FABRIC_BIN`): a peer takes another one's place by either loader, with private data that come by Fabric's own
//! reconciler until none is missing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/network_config.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod network_config;
#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;
#[path = "common/real_network.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod real_network;
#[path = "common/real_peer.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod real_peer;

use processes::{CHANNEL, Credentials, Service, assert_identical, binary};
use real_network::{Network, network_binaries};
use real_peer::RealPeer;
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tempfile::TempDir;

/// What every clone of Org1's peer is told.
struct Clones {
    service: Service,
    config: PathBuf,
    land: TempDir,
    state: TempDir,
}

impl Clones {
    fn command(&self) -> Command {
        let mut command = binary();
        command.args(["-O", "json", "clone", "--from", &self.service.address.to_string()]);
        command.arg("--config-block").arg(&self.config);
        command.arg("--land").arg(self.land.path()).arg("--state-dir").arg(self.state.path());
        Credentials::admin(1).flags(&mut command);
        command
    }

    fn direct(&self, ledgers: &Path) -> Command {
        let mut command = self.command();
        command.args(["--loader", "ledger", "--ledger"]).arg(ledgers);
        command
    }
}

/// A clone that runs.
struct Cloning {
    child: Child,
    lines: Box<dyn Iterator<Item = Value>>,
}

impl Cloning {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines: Box::new(lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap())) }
    }

    /// The first event of that kind, if it isn't over before.
    fn event(&mut self, kind: &str) -> Option<Value> {
        self.lines.find(|told| told["event"] == kind)
    }

    /// Its result; it must exit 0.
    fn result(mut self) -> Value {
        let result = self.event("result");
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{result:?}\n{said}");
        result.unwrap()
    }
}

#[test]
fn peers_are_cloned_by_either_loader_until_no_private_data_are_missing() {
    let Some(binaries) = network_binaries() else { return };
    let mut network = Network::start(&binaries, &[1, 2]);
    for (number, collection) in [(1, "collection-1"), (2, "collection-2")] {
        network.invoke(1, &[1, 2], &["putpvt", collection, &format!("p{number}-"), "0", "8", "60", "seed"]);
    }
    network.invoke(1, &[1, 2], &["put", "k", "0", "40", "90", "seed"]);
    network.settle();
    let config = network.config_block();
    let service = Service::start_in(&config, &Credentials::org(1), &network.peer(1).root(), &[]);
    let clones = Clones { service, config, land: TempDir::new().unwrap(), state: TempDir::new().unwrap() };
    let [mut direct, mut stock] = <[RealPeer; 2]>::try_from(network.more_peers(1, 2)).ok().unwrap();

    // Straight into the new peer's databases; the running peer makes the snapshot.
    let mut command = clones.direct(&direct.ledgers());
    command.args(["--source-peer-address", &network.peer(1).address(), "--source-peer-tls-root-cert-file"]);
    command.arg(network.peer(1).root_of_tls());
    let mut cloning = Cloning::start(command);
    assert!(cloning.event("snapshot_requested").is_some());
    cloning.result();
    // The wait is from before the peer's start until nothing is missing.
    let mut command = clones.direct(&direct.ledgers());
    command.arg("--wait-private-data");
    let mut waiting = Cloning::start(command);
    let told = waiting.event("private_data").unwrap();
    assert!(told["channels"][0]["transactions"].as_u64() > Some(0), "{told}");
    direct.restart();
    let result = waiting.result();
    assert_eq!(result["missing_private_data"][0]["transactions"], 0, "{result}");
    is_whole(&mut network, &mut direct);

    // By a running peer's own join: one command to the end.
    stock.restart();
    let mut command = clones.command();
    command.args(["--loader", "folder", "--peer-address", &stock.address(), "--tls-root-cert-file"]);
    command.arg(stock.root_of_tls()).arg("--wait-private-data").arg("--ledger").arg(stock.ledgers());
    let result = Cloning::start(command).result();
    assert_eq!(result["missing_private_data"][0]["transactions"], 0, "{result}");
    is_whole(&mut network, &mut stock);
}

/// A peer of Org1 gets one block more, has what Org2's has, and makes the same snapshot.
fn is_whole(network: &mut Network, peer: &mut RealPeer) {
    network.invoke(1, &[1, 2], &["put", "k", "30", "40", "120", "later"]);
    std::mem::swap(network.peer_mut(1), peer);
    assert_eq!(network.peer(1).channels(), [CHANNEL]);
    network.install(1);
    network.wait_same(1, 2, &["range", "", ""]);
    for (collection, key) in [("collection-1", "p1-000003"), ("collection-2", "p2-000005")] {
        network.wait_same(1, 2, &["getpvt", collection, key]);
    }
    let last = network.settle();
    assert_identical(&network.peer(1).snapshot(last), &network.peer(2).snapshot(last));
    std::mem::swap(network.peer_mut(1), peer);
}
