//! A real Fabric peer joins from what `join` delivers, recorded snapshots and samples alike, opens the ledger again after a restart,
//! and its own snapshot of that block is the same again byte for byte.
//!
//! Takes the peer's binary from `FABRIC_BIN`, a folder with Fabric's `peer`; says so and passes without it. The peer is Org3's of the
//! recorded network; neither orderer nor other peers run.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, missing_docs, reason = "test code")]

#[path = "common/processes.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared by several tests")]
mod processes;

use processes::{CHANNEL, Join, PATIENCE, Root, Service, assert_identical, binary, fixture};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    fs::File,
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Block numbers of the recorded snapshots, with the chaincode and its sequence that a peer must find in each.
const RECORDED: [(u64, &str, u64); 2] = [(83, "labcc", 2), (132, "labcc", 3)];

#[test]
fn a_real_peer_joins_from_the_recorded_snapshots_of_two_organisations() {
    let Some(binaries) = binaries() else { return };
    let root = Root::with_recorded();
    let sources = [1, 2].map(|org| Service::start(org, &root, &RECORDED.map(|(block, ..)| block)));
    for (block, chaincode, sequence) in RECORDED {
        let delivery = Delivery::fetch(&sources, block);
        assert_identical(&delivery.folder, &fixture(&format!("snapshots/org1/{block}")));
        let definition = delivery.is_taken_by_a_real_peer(&binaries, chaincode);
        assert_eq!(definition["sequence"], sequence, "{definition}");
        assert!(!definition["collections"]["config"].as_array().unwrap().is_empty(), "{definition}");
    }
}

#[test]
fn a_real_peer_joins_from_samples_with_and_without_private_data() {
    let Some(binaries) = binaries() else { return };
    let root = Root::new();
    let samples = [
        (true, sample(&root, &["--keys", "2000", "--private-hashes", "300", "--txids", "400", "--seed", "5"])),
        (true, sample(&root, &["--size", "3MiB", "--incompressible", "--txids", "250", "--seed", "8"])),
        (false, sample(&root, &["--keys", "500", "--private-hashes", "0", "--txids", "150", "--seed", "6"])),
        // As small as they get.
        (false, sample(&root, &["--keys", "0", "--private-hashes", "0", "--txids", "1", "--seed", "7"])),
    ];
    let sources = [1, 2].map(|org| Service::start(org, &root, &samples.map(|(_, block)| block)));
    for (private, block) in samples {
        let delivery = Delivery::fetch(&sources, block);
        assert_identical(&delivery.folder, &root.snapshot(block));
        let definition = delivery.is_taken_by_a_real_peer(&binaries, "asset");
        assert_eq!(definition["sequence"], 1, "{definition}");
        let name = &definition["collections"]["config"][0]["Payload"]["StaticCollectionConfig"]["name"];
        assert_eq!(name.as_str(), private.then_some("collection-1"), "{definition}");
    }
}

/// The folder with Fabric's `peer`. If there is none, says so where it is seen even of a test that passes.
fn binaries() -> Option<PathBuf> {
    let folder = std::env::var_os("FABRIC_BIN").filter(|folder| !folder.is_empty());
    if folder.is_none() {
        let line = b"skipped: FABRIC_BIN is not set (a folder with Fabric's `peer`), so no real peer joined\n";
        std::io::stderr().write_all(line).unwrap();
    }
    // Commands run in folders of their own.
    let folder = std::path::absolute(folder?).unwrap();
    assert!(folder.join("peer").is_file(), "FABRIC_BIN: no peer in {}", folder.display());
    Some(folder)
}

/// Writes a sample where the services look; tells its block.
fn sample(root: &Root, args: &[&str]) -> u64 {
    let making = root.path().join("making");
    let output = binary().arg("sample").arg(&making).args(args).args(["-O", "json"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let block = serde_json::from_slice::<Value>(&output.stdout).unwrap()["block_number"].as_u64().unwrap();
    assert!(
        !root.snapshot(block).exists(),
        "two samples for block {block}: other numbers of transaction ids make other blocks"
    );
    std::fs::rename(making, root.snapshot(block)).unwrap();
    block
}

/// A snapshot that `join` has put into place.
struct Delivery {
    block: u64,
    folder: PathBuf,
    _land: TempDir,
}

impl Delivery {
    fn fetch(sources: &[Service], block: u64) -> Self {
        let land = TempDir::new().unwrap();
        let addresses: Vec<_> = sources.iter().map(|source| source.address).collect();
        let ended = Join::new(&addresses, land.path()).block(block).run();
        let folder = PathBuf::from(ended.result()["path"].as_str().unwrap());
        Self { block, folder, _land: land }
    }

    /// Everything that a peer's operator would look at. Returns the chaincode's definition, as the peer reads it in the state.
    fn is_taken_by_a_real_peer(&self, binaries: &Path, chaincode: &str) -> Value {
        let mut peer = Peer::start(binaries);
        assert_eq!(peer.channels(), [""; 0]);

        peer.cli(&["channel", "joinbysnapshot", "--snapshotpath", self.folder.to_str().unwrap()]);
        // It runs in the background; its failure would be in the log only.
        peer.wait_for("the end of the join", |peer| {
            peer.cli(&["channel", "joinbysnapshotstatus"]).contains("No joinbysnapshot operation is in progress")
        });
        self.check_ledger(&peer);

        peer.restart();
        self.check_ledger(&peer);
        let definition =
            peer.cli(&["lifecycle", "chaincode", "querycommitted", "-C", CHANNEL, "-n", chaincode, "-O", "json"]);

        let own = peer.snapshot(self.block);
        assert_identical(&own, &self.folder);
        let verified = binary().arg("verify").arg(&own).output().unwrap();
        assert!(verified.status.success(), "{verified:?}");
        peer.assert_calm();
        serde_json::from_str(&definition).unwrap()
    }

    fn check_ledger(&self, peer: &Peer) {
        assert_eq!(peer.channels(), [CHANNEL], "{}", peer.log());
        let signable = std::fs::read(self.folder.join("_snapshot_signable_metadata.json")).unwrap();
        let signable: Value = serde_json::from_slice(&signable).unwrap();
        let answer = peer.cli(&["channel", "getinfo", "-c", CHANNEL]);
        let info: Value = serde_json::from_str(answer.trim().strip_prefix("Blockchain info: ").unwrap()).unwrap();
        assert_eq!(info["height"], self.block + 1, "{info}");
        assert_eq!(info["bootstrappingSnapshotInfo"]["lastBlockInSnapshot"], self.block, "{info}");
        assert_eq!(info["currentBlockHash"], base64_of_hex(&signable["last_block_hash"]), "{info}");
        assert_eq!(info["previousBlockHash"], base64_of_hex(&signable["previous_block_hash"]), "{info}");
    }
}

/// What a peer can't do without. Nobody listens at the orderer's or at other peers' addresses: `orgLeader: false` asks no orderer.
const CORE_YAML: &str = "
peer:
  networkId: real-peer-join
  authentication: {timewindow: 15m}
  gossip:
    useLeaderElection: false
    orgLeader: false
    pvtData:
      reconciliationEnabled: true
      reconcileSleepInterval: 1m
      reconcileBatchSize: 10
      pullRetryThreshold: 60s
      pushAckTimeout: 3s
      transientstoreMaxBlockRetention: 20000
  BCCSP: {Default: SW, SW: {Hash: SHA2, Security: 256}}
  handlers:
    authFilters: [{name: DefaultAuth}]
    decorators: [{name: DefaultDecorator}]
    endorsers: {escc: {name: DefaultEndorsement}}
    validators: {vscc: {name: DefaultValidation}}
chaincode:
  # One of these, or Docker, must be named; no chaincode is ever built.
  externalBuilders: [{name: none, path: /nonexistent}]
  installTimeout: 300s
  startuptimeout: 300s
  executetimeout: 30s
  system: {_lifecycle: enable, cscc: enable, lscc: enable, qscc: enable}
ledger:
  state: {stateDatabase: goleveldb}
  history: {enableHistoryDatabase: true}
metrics: {provider: disabled}
";

/// Org3's peer with an empty ledger. Ends with this value.
struct Peer {
    binary: PathBuf,
    home: TempDir,
    ports: Ports,
    process: Option<Child>,
}

/// Where a peer listens: peer, chaincode, operations.
#[derive(Debug, Clone, Copy)]
struct Ports([u16; 3]);

impl Ports {
    /// Free a moment ago: a peer can't tell which port the system chose for it.
    fn free() -> Self {
        let held = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        Self(held.map(|listener| listener.local_addr().unwrap().port()))
    }
}

/// If others took its ports meanwhile.
const STARTS_MAX: u32 = 5;

impl Peer {
    fn start(binaries: &Path) -> Self {
        let home = TempDir::new().unwrap();
        std::fs::write(home.path().join("core.yaml"), CORE_YAML).unwrap();
        let mut peer = Self { binary: binaries.join("peer"), home, ports: Ports::free(), process: None };
        peer.launch();
        peer
    }

    /// Starts the process and waits until it answers.
    fn launch(&mut self) {
        for _ in 0..STARTS_MAX {
            self.ports = Ports::free();
            self.process = Some(self.node().spawn().unwrap());
            let until = Instant::now() + PATIENCE;
            while self.process.as_mut().unwrap().try_wait().unwrap().is_none() {
                if self.try_cli(&["channel", "list"]).status.success() {
                    return;
                }
                assert!(Instant::now() < until, "the peer never answered: {}", self.log());
            }
            assert!(self.log().contains("address already in use"), "the peer ended: {}", self.log());
        }
        panic!("no free ports for the peer: {}", self.log());
    }

    fn node(&self) -> Command {
        let [peer, chaincode, operations] = self.ports.0.map(|port| format!("127.0.0.1:{port}"));
        let org = crypto("peers/peer0.org3.example.com");
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = self.command("peers/peer0.org3.example.com/msp");
        command.args(["node", "start"]).stdout(log.try_clone().unwrap()).stderr(log);
        // Gossip complains of the recorded network's other peers, which aren't there.
        command.env("FABRIC_LOGGING_SPEC", "gossip=fatal:grpc=fatal:info").env("FABRIC_LOGGING_FORMAT", "json");
        command.env("CORE_PEER_ID", "peer0.org3.example.com").env("CORE_PEER_LISTENADDRESS", &peer);
        command.env("CORE_PEER_GOSSIP_BOOTSTRAP", &peer).env("CORE_PEER_GOSSIP_ENDPOINT", &peer);
        command.env("CORE_PEER_CHAINCODELISTENADDRESS", chaincode).env("CORE_OPERATIONS_LISTENADDRESS", operations);
        command.env("CORE_PEER_TLS_CERT_FILE", org.join("tls/server.crt"));
        command.env("CORE_PEER_TLS_KEY_FILE", org.join("tls/server.key"));
        command.env("CORE_PEER_FILESYSTEMPATH", self.home.path().join("production"));
        command.env("CORE_LEDGER_SNAPSHOTS_ROOTDIR", self.home.path().join("snapshots"));
        command
    }

    /// The binary, with the settings that the node and those who call it share.
    fn command(&self, msp: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.env_clear().stdin(Stdio::null()).current_dir(self.home.path());
        command.env("FABRIC_CFG_PATH", self.home.path()).env("CORE_PEER_LOCALMSPID", "Org3MSP");
        command.env("CORE_PEER_MSPCONFIGPATH", crypto(msp)).env("CORE_PEER_ADDRESS", self.address());
        command.env("CORE_PEER_TLS_ENABLED", "true").env("CORE_PEER_TLS_ROOTCERT_FILE", Self::tls_root());
        command
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.0[0])
    }

    fn tls_root() -> PathBuf {
        crypto("peers/peer0.org3.example.com/tls/ca.crt")
    }

    fn try_cli(&self, args: &[&str]) -> Output {
        let mut command = self.command("users/Admin@org3.example.com/msp");
        command.env("FABRIC_LOGGING_SPEC", "error").args(args).output().unwrap()
    }

    /// Runs a command as Org3's admin, which must exit 0; what it printed on stdout.
    fn cli(&self, args: &[&str]) -> String {
        let output = self.try_cli(args);
        assert!(output.status.success(), "peer {args:?}: {output:?}\n{}", self.log());
        String::from_utf8(output.stdout).unwrap()
    }

    fn channels(&self) -> Vec<String> {
        let answer = self.cli(&["channel", "list"]);
        let mut lines = answer.lines().map(str::trim);
        assert_eq!(lines.next(), Some("Channels peers has joined:"));
        lines.map(str::to_owned).collect()
    }

    /// Asks it for a snapshot of the last block, which must be `block`; returns the finished folder.
    fn snapshot(&self, block: u64) -> PathBuf {
        let (address, root) = (self.address(), Self::tls_root());
        let args =
            ["snapshot", "submitrequest", "-c", CHANNEL, "-b", "0", "--peerAddress", &address, "--tlsRootCertFile"];
        self.cli(&[&args[..], &[root.to_str().unwrap()]].concat());
        let folder = self.home.path().join("snapshots/completed").join(CHANNEL).join(block.to_string());
        self.wait_for("its own snapshot", |_| folder.is_dir());
        folder
    }

    fn wait_for(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < until, "waited in vain for {what}: {}", self.log());
            // So that waiting takes no processor from what is waited for.
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops it as an operator does, and starts it over the same folders.
    fn restart(&mut self) {
        let mut process = self.process.take().unwrap();
        kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
        process.wait().unwrap();
        self.launch();
    }

    /// Panics if it logged an error.
    fn assert_calm(&self) {
        for line in std::fs::read_to_string(self.log_path()).unwrap().lines() {
            // What isn't JSON would be a panic's trace.
            let told: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("the peer's log: {line}"));
            let level = told["level"].as_str().unwrap_or_default();
            assert!(["debug", "info", "warn"].contains(&level), "the peer's log: {line}");
        }
    }

    fn log_path(&self) -> PathBuf {
        self.home.path().join("peer.log")
    }

    /// The end of its log, for messages.
    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        format!("the peer's log ends:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // Gone already, if it failed.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A file of Org3's key material.
fn crypto(path: &str) -> PathBuf {
    fixture("crypto/peerOrganizations/org3.example.com").join(path)
}

/// The hash of a metadata file as `peer channel getinfo` prints it.
fn base64_of_hex(hex: &Value) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes = hex::decode(hex.as_str().unwrap()).unwrap();
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, index| bits << 8 | usize::from(*group.get(index).unwrap_or(&0)));
        for index in 0..4 {
            let digit = char::from(DIGITS[bits >> (18 - 6 * index) & 63]);
            text.push(if index <= group.len() { digit } else { '=' });
        }
    }
    text
}
