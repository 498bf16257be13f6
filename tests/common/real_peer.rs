//! A real peer with an empty ledger and the recorded network's key material, from the binaries in `FABRIC_BIN`: Org3's, alone, where neither
//! orderer nor other peers run; or any organisation's, as [`Place`] says.

use std::{
    fs::File,
    io::Write as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::processes::{CHANNEL, PATIENCE, fixture};

/// The folder with Fabric's `peer`. If there is none, says so where it is seen even of a test that passes.
pub fn binaries() -> Option<PathBuf> {
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

/// A peer of a network that runs: where it listens, so that others find it there again after a restart, and more settings for its process.
pub struct Place {
    pub org: u8,
    pub ports: Ports,
    /// Folder of an external builder of chaincodes.
    pub builder: PathBuf,
    pub settings: Vec<(&'static str, String)>,
    /// Its name and the folder of its key material; else it is the organisation's recorded one.
    pub who: Option<(String, PathBuf)>,
}

/// A peer with an empty ledger. Ends with this value.
pub struct RealPeer {
    binary: PathBuf,
    home: TempDir,
    place: Option<Place>,
    ports: Ports,
    /// Whether it asks for client certificates.
    mutual_tls: bool,
    process: Option<Child>,
}

/// Where a peer listens: peer, chaincode, operations.
#[derive(Debug, Clone, Copy)]
pub struct Ports(pub [u16; 3]);

impl Ports {
    /// Free a moment ago: a peer can't tell which port the system chose for it.
    pub fn free() -> Self {
        let held = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        Self(held.map(|listener| listener.local_addr().unwrap().port()))
    }
}

/// The first port that [`Ports::lasting`] tries, and how many: below those that systems choose from for connections, one of which could have
/// the port of a node that restarts, be it only because it tries to reach that very port.
const LASTING: (u16, u16) = (10_000, 20_000);

impl Ports {
    /// Free now, and likely so when the node restarts.
    pub fn lasting() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut free = std::iter::repeat_with(|| {
            // Tests that run beside this one begin elsewhere.
            let at = std::process::id().wrapping_mul(97) + NEXT.fetch_add(1, Ordering::Relaxed);
            LASTING.0 + u16::try_from(at % u32::from(LASTING.1)).unwrap()
        })
        .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
        Self([(); 3].map(|()| free.next().unwrap()))
    }
}

/// If others took its ports meanwhile.
const STARTS_MAX: u32 = 5;

impl RealPeer {
    pub fn start(binaries: &Path, mutual_tls: bool) -> Self {
        let mut peer = Self::new(binaries, mutual_tls);
        peer.launch();
        peer
    }

    /// One that never ran.
    pub fn new(binaries: &Path, mutual_tls: bool) -> Self {
        let home = TempDir::new().unwrap();
        std::fs::write(home.path().join("core.yaml"), CORE_YAML).unwrap();
        std::fs::create_dir(home.path().join("production")).unwrap();
        Self { binary: binaries.join("peer"), home, place: None, ports: Ports::free(), mutual_tls, process: None }
    }

    /// One of a network, that never ran.
    pub fn at(binaries: &Path, place: Place) -> Self {
        let mut peer = Self::new(binaries, false);
        let builder = format!("{{name: service, path: {}}}", place.builder.display());
        let core = CORE_YAML.replace("{name: none, path: /nonexistent}", &builder);
        std::fs::write(peer.home.path().join("core.yaml"), core).unwrap();
        peer.ports = place.ports;
        peer.place = Some(place);
        peer
    }

    fn org(&self) -> u8 {
        self.place.as_ref().map_or(3, |place| place.org)
    }

    /// Starts the process and waits until it answers.
    fn launch(&mut self) {
        for _ in 0..STARTS_MAX {
            if self.place.is_none() {
                self.ports = Ports::free();
            }
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
        let (name, own) = self.place.as_ref().and_then(|place| place.who.clone()).unwrap_or_else(|| {
            let name = format!("peer0.org{}.example.com", self.org());
            (name.clone(), crypto_of(self.org(), &format!("peers/{name}")))
        });
        let log = File::options().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = self.command(&own.join("msp"));
        command.args(["node", "start"]).stdout(log.try_clone().unwrap()).stderr(log);
        // Gossip complains of the recorded network's other peers, which aren't there.
        command.env("FABRIC_LOGGING_SPEC", "gossip=fatal:grpc=fatal:info").env("FABRIC_LOGGING_FORMAT", "json");
        command.env("CORE_PEER_ID", &name).env("CORE_PEER_LISTENADDRESS", &peer);
        command.env("CORE_PEER_GOSSIP_BOOTSTRAP", &peer).env("CORE_PEER_GOSSIP_ENDPOINT", &peer);
        command.env("CORE_PEER_CHAINCODELISTENADDRESS", chaincode).env("CORE_OPERATIONS_LISTENADDRESS", operations);
        command.env("CORE_PEER_TLS_CERT_FILE", own.join("tls/server.crt"));
        command.env("CORE_PEER_TLS_KEY_FILE", own.join("tls/server.key"));
        command.env("CORE_PEER_FILESYSTEMPATH", self.home.path().join("production"));
        command.env("CORE_LEDGER_SNAPSHOTS_ROOTDIR", self.home.path().join("snapshots"));
        if let Some(place) = &self.place {
            command.env("CORE_PEER_GOSSIP_EXTERNALENDPOINT", self.address()).envs(place.settings.iter().cloned());
        }
        command
    }

    /// The binary, with the settings that the node and those who call it share.
    fn command(&self, msp: &Path) -> Command {
        let mut command = Command::new(&self.binary);
        command.env_clear().stdin(Stdio::null()).current_dir(self.home.path());
        command.env("FABRIC_CFG_PATH", self.home.path()).env("CORE_PEER_LOCALMSPID", format!("Org{}MSP", self.org()));
        command.env("CORE_PEER_MSPCONFIGPATH", msp).env("CORE_PEER_ADDRESS", self.address());
        command.env("CORE_PEER_TLS_ENABLED", "true").env("CORE_PEER_TLS_ROOTCERT_FILE", self.root_of_tls());
        if self.mutual_tls {
            let [certificate, key] = Self::client_pair();
            command
                .env("CORE_PEER_TLS_CLIENTAUTHREQUIRED", "true")
                .env("CORE_PEER_TLS_CLIENTROOTCAS_FILES", Self::tls_root());
            command.env("CORE_PEER_TLS_CLIENTCERT_FILE", certificate).env("CORE_PEER_TLS_CLIENTKEY_FILE", key);
        }
        command
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.0[0])
    }

    pub const fn port(&self) -> u16 {
        self.ports.0[0]
    }

    pub fn tls_root() -> PathBuf {
        crypto("peers/peer0.org3.example.com/tls/ca.crt")
    }

    /// The root of its TLS certificate, whichever its organisation.
    pub fn root_of_tls(&self) -> PathBuf {
        crypto_of(self.org(), &format!("peers/peer0.org{}.example.com/tls/ca.crt", self.org()))
    }

    pub const fn has_mutual_tls(&self) -> bool {
        self.mutual_tls
    }

    /// A certificate that it accepts of clients, and its key.
    pub fn client_pair() -> [PathBuf; 2] {
        ["client.crt", "client.key"].map(|name| crypto("users/Admin@org3.example.com/tls").join(name))
    }

    pub fn root(&self) -> PathBuf {
        self.home.path().join("snapshots")
    }

    pub fn try_cli(&self, args: &[&str]) -> Output {
        let admin = format!("users/Admin@org{}.example.com/msp", self.org());
        let mut command = self.command(&crypto_of(self.org(), &admin));
        command.env("FABRIC_LOGGING_SPEC", "error").args(args).output().unwrap()
    }

    /// Runs a command as its organisation's admin, which must exit 0; what it printed on stdout.
    pub fn cli(&self, args: &[&str]) -> String {
        let output = self.try_cli(args);
        assert!(output.status.success(), "peer {args:?}: {output:?}\n{}", self.log());
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn channels(&self) -> Vec<String> {
        let answer = self.cli(&["channel", "list"]);
        let mut lines = answer.lines().map(str::trim);
        assert_eq!(lines.next(), Some("Channels peers has joined:"));
        lines.map(str::to_owned).collect()
    }

    /// Asks it for a snapshot of the last block, which must be `block`; returns the finished folder.
    pub fn snapshot(&self, block: u64) -> PathBuf {
        let (address, root) = (self.address(), self.root_of_tls());
        let args =
            ["snapshot", "submitrequest", "-c", CHANNEL, "-b", "0", "--peerAddress", &address, "--tlsRootCertFile"];
        self.cli(&[&args[..], &[root.to_str().unwrap()]].concat());
        let folder = self.home.path().join("snapshots/completed").join(CHANNEL).join(block.to_string());
        self.wait_for("its own snapshot", |_| folder.is_dir());
        folder
    }

    pub fn wait_for(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < until, "waited in vain for {what}: {}", self.log());
            // So that waiting takes no processor from what is waited for.
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops it as an operator does, and starts it over the same folders.
    pub fn restart(&mut self) {
        self.restart_after(|_| ());
    }

    /// As [`Self::restart`], once that was done while it was stopped.
    pub fn restart_after(&mut self, meanwhile: impl FnOnce(&Self)) {
        self.stop();
        meanwhile(self);
        self.launch();
    }

    /// Stops it as an operator does, if it runs.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
            process.wait().unwrap();
        }
    }

    /// The most memory that the running process ever had, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        let pid = self.process.as_ref().unwrap().id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// SIGKILL; gone when this returns.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Its databases.
    pub fn ledgers(&self) -> PathBuf {
        self.home.path().join("production/ledgersData")
    }

    /// Removes all that a stopped peer has.
    pub fn forget(&self) {
        assert!(self.process.is_none(), "it runs");
        std::fs::remove_dir_all(self.home.path().join("production")).unwrap();
        std::fs::create_dir(self.home.path().join("production")).unwrap();
        let _ = std::fs::remove_dir_all(self.root()); // one that never ran has none
    }

    /// Panics if it logged an error.
    pub fn assert_calm(&self) {
        for line in std::fs::read_to_string(self.log_path()).unwrap().lines() {
            // What isn't JSON would be a panic's trace.
            let told: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("the peer's log: {line}"));
            let level = told["level"].as_str().unwrap_or_default();
            assert!(["debug", "info", "warn"].contains(&level), "the peer's log: {line}");
        }
    }

    /// Whether it ever logged that.
    pub fn has_logged(&self, text: &str) -> bool {
        std::fs::read_to_string(self.log_path()).unwrap().contains(text)
    }

    fn log_path(&self) -> PathBuf {
        self.home.path().join("peer.log")
    }

    /// The end of its log, for messages.
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        format!("the peer's log ends:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"))
    }
}

impl Drop for RealPeer {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // Gone already, if it failed.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A file of Org3's key material.
pub fn crypto(path: &str) -> PathBuf {
    crypto_of(3, path)
}

/// A file of that organisation's key material.
pub fn crypto_of(org: u8, path: &str) -> PathBuf {
    fixture(&format!("crypto/peerOrganizations/org{org}.example.com")).join(path)
}
