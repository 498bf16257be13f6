//! A real network on loopback: an orderer, peers of three organisations with the recorded key material, and a chaincode as a service that
//! keeps private data. Everything else that Fabric needs is made when it starts, by its own tools in `FABRIC_BIN`, in a folder that goes with it.
//!
//! Org1's and Org2's peers run from the start; Org3's is for the tests to bring up, and what the channel says of Org3 is [`Network::start`]'s
//! choice.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    network_config::{Configtx, collections},
    processes::{CHANNEL, Credentials, Ended, Join, PATIENCE, Root, Service, assert_identical, copy_folder},
    real_peer::{Place, Ports, RealPeer, binaries, crypto_of},
};

pub const CHAINCODE: &str = "labcc";
/// What a network needs beside `peer`.
const TOOLS: [&str; 6] = ["orderer", "cryptogen", "configtxgen", "configtxlator", "osnadmin", CHAINCODE];
/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(100);

/// The folder with all of Fabric's binaries and the chaincode's; says so, if one is missing.
pub fn network_binaries() -> Option<PathBuf> {
    let folder = binaries()?;
    if let Some(missing) = TOOLS.iter().find(|tool| !folder.join(tool).is_file()) {
        let line = format!("skipped: no {missing} in FABRIC_BIN, so no real network ran\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return None;
    }
    Some(folder)
}

/// A process that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub struct Network {
    peers: [RealPeer; 3],
    binaries: PathBuf,
    dir: TempDir,
    orderer: Ports,
    package: String,
    /// Organisations whose peers are in the channel.
    pub joined: Vec<u8>,
    _processes: Vec<Running>,
}

impl Network {
    /// With the channel of those organisations (Org1 and Org2 among them), their peers of the first two, and the chaincode's first definition
    /// with [`collections`] of Org1 and Org2.
    pub fn start(binaries: &Path, orgs: &[u8]) -> Self {
        let dir = TempDir::new().unwrap();
        let (orderer, chaincode, ports) =
            (Ports::lasting(), Ports::lasting().0[0], [1, 2, 3].map(|_| Ports::lasting()));
        let builder = write_builder(dir.path());
        let peer = |org: u8| {
            let ports = ports[usize::from(org) - 1];
            RealPeer::at(binaries, Place { org, ports, builder: builder.clone(), settings: settings(), who: None })
        };
        let mut network = Self {
            peers: [1, 2, 3].map(peer),
            binaries: binaries.to_owned(),
            dir,
            orderer,
            package: String::new(),
            joined: vec![1, 2],
            _processes: Vec::new(),
        };
        network.make_genesis(orgs);
        network.start_orderer();
        let genesis = network.path("genesis.block");
        network.osn_join(CHANNEL, &genesis);
        for org in [1, 2] {
            network.peer_mut(org).restart();
            network.peer(org).cli(&["channel", "join", "-b", genesis.to_str().unwrap()]);
        }
        network.start_chaincode(chaincode);
        network.define(1, &[1, 2], &[1, 2]);
        network
    }

    /// So many peers more of that organisation, with identities of their own, that never ran.
    pub fn more_peers(&self, org: u8, count: u8) -> Vec<RealPeer> {
        let domain = format!("org{org}.example.com");
        let folder = format!("more/peerOrganizations/{domain}");
        for part in ["ca", "tlsca", "msp/cacerts", "msp/tlscacerts"] {
            copy_folder(&crypto_of(org, part), &self.path(&folder).join(part));
        }
        let template = format!("{{Count: {}, SANS: [localhost, 127.0.0.1]}}", count + 1);
        let organisation = format!("{{Name: Org{org}, Domain: {domain}, EnableNodeOUs: true, Template: {template}}}");
        fs::write(self.path("more.yaml"), format!("PeerOrgs: [{organisation}]\n")).unwrap();
        self.tool("cryptogen", &["extend", "--config=more.yaml", "--input=more"]);
        let peer = |number: u8| {
            let name = format!("peer{number}.{domain}");
            let who = Some((name.clone(), self.path(&folder).join("peers").join(name)));
            let (ports, builder) = (Ports::lasting(), self.path("builder"));
            RealPeer::at(&self.binaries, Place { org, ports, builder, settings: settings(), who })
        };
        (1..=count).map(peer).collect()
    }

    pub const fn peer(&self, org: u8) -> &RealPeer {
        &self.peers[org as usize - 1]
    }

    pub const fn peer_mut(&mut self, org: u8) -> &mut RealPeer {
        &mut self.peers[org as usize - 1]
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn configtx(&self) -> Configtx<'_> {
        let peers = [1, 2, 3].map(|org| self.peer(org).port());
        Configtx { dir: self.dir.path(), orderer: self.orderer.0[0], peers }
    }

    /// Runs one of Fabric's tools in the network's folder; it must exit 0.
    fn tool(&self, name: &str, args: &[&str]) -> Output {
        let mut command = Command::new(self.binaries.join(name));
        command.env_clear().env("FABRIC_CFG_PATH", self.dir.path()).current_dir(self.dir.path());
        let output = command.args(args).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{name} {args:?}: {output:?}");
        output
    }

    fn make_genesis(&self, orgs: &[u8]) {
        fs::write(self.path("crypto.yaml"), network_crypto()).unwrap();
        self.tool("cryptogen", &["generate", "--config=crypto.yaml", "--output=crypto"]);
        fs::write(self.path("configtx.yaml"), self.configtx().yaml(orgs)).unwrap();
        self.tool("configtxgen", &["-profile", "Net", "-channelID", CHANNEL, "-outputBlock", "genesis.block"]);
    }

    /// The genesis block of another channel with the same organisations.
    pub fn genesis_of(&self, channel: &str) -> PathBuf {
        let name = format!("{channel}.block");
        self.tool("configtxgen", &["-profile", "Net", "-channelID", channel, "-outputBlock", &name]);
        self.path(&name)
    }

    fn orderer_file(&self, name: &str) -> String {
        let folder = "crypto/ordererOrganizations/example.com/orderers/orderer.example.com";
        self.path(folder).join(name).display().to_string()
    }

    fn start_orderer(&mut self) {
        let [listen, admin, operations] = self.orderer.0.map(|port| port.to_string());
        fs::write(self.path("orderer.yaml"), ORDERER_YAML).unwrap();
        let log = File::create(self.path("orderer.log")).unwrap();
        let mut command = Command::new(self.binaries.join("orderer"));
        command.env_clear().env("FABRIC_CFG_PATH", self.dir.path()).current_dir(self.dir.path());
        command.env("ORDERER_GENERAL_LISTENPORT", listen).env("ORDERER_GENERAL_LOCALMSPDIR", self.orderer_file("msp"));
        for section in ["GENERAL", "ADMIN"] {
            command.env(format!("ORDERER_{section}_TLS_PRIVATEKEY"), self.orderer_file("tls/server.key"));
            command.env(format!("ORDERER_{section}_TLS_CERTIFICATE"), self.orderer_file("tls/server.crt"));
        }
        command.env("ORDERER_GENERAL_TLS_ROOTCAS", format!("[{}]", self.orderer_file("tls/ca.crt")));
        command.env("ORDERER_ADMIN_TLS_CLIENTROOTCAS", format!("[{}]", self.orderer_file("tls/ca.crt")));
        command.env("ORDERER_GENERAL_CLUSTER_CLIENTCERTIFICATE", self.orderer_file("tls/server.crt"));
        command.env("ORDERER_GENERAL_CLUSTER_CLIENTPRIVATEKEY", self.orderer_file("tls/server.key"));
        command.env("ORDERER_OPERATIONS_LISTENADDRESS", format!("127.0.0.1:{operations}"));
        command.env("ORDERER_ADMIN_LISTENADDRESS", format!("127.0.0.1:{admin}"));
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self._processes.push(Running(child));
    }

    /// The orderer takes that channel, as soon as it runs.
    pub fn osn_join(&self, channel: &str, genesis: &Path) {
        let (ca, cert, key) =
            ["tls/ca.crt", "tls/server.crt", "tls/server.key"].map(|name| self.orderer_file(name)).into();
        let address = format!("127.0.0.1:{}", self.orderer.0[1]);
        let args =
            ["channel", "join", "--channelID", channel, "--config-block", genesis.to_str().unwrap(), "-o", &address];
        let args = [&args[..], &["--ca-file", &ca, "--client-cert", &cert, "--client-key", &key]].concat();
        wait("the orderer", || {
            let output = Command::new(self.binaries.join("osnadmin")).args(&args).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            if said.contains("Status: 201") { Ok(()) } else { Err(format!("{said} {output:?}")) }
        });
    }

    fn start_chaincode(&mut self, port: u16) {
        let folder = self.path("package");
        fs::create_dir(&folder).unwrap();
        let connection = json!({"address": format!("127.0.0.1:{port}"), "dial_timeout": "10s", "tls_required": false});
        fs::write(folder.join("connection.json"), connection.to_string()).unwrap();
        fs::write(folder.join("metadata.json"), r#"{"type":"service","label":"labcc_1"}"#).unwrap();
        for args in
            [["czf", "code.tar.gz", "connection.json", ""], ["czf", "labcc.tar.gz", "metadata.json", "code.tar.gz"]]
        {
            let args = args.iter().filter(|arg| !arg.is_empty());
            assert!(Command::new("tar").args(args).current_dir(&folder).status().unwrap().success());
        }
        for org in [1, 2] {
            self.install(org);
        }
        let package = folder.join("labcc.tar.gz");
        let id = self.peer(1).cli(&["lifecycle", "chaincode", "calculatepackageid", package.to_str().unwrap()]);
        id.trim().clone_into(&mut self.package);
        let log = File::create(self.path("labcc.log")).unwrap();
        let mut command = Command::new(self.binaries.join(CHAINCODE));
        command.env_clear().env("CHAINCODE_ID", &self.package);
        command.env("CHAINCODE_SERVER_ADDRESS", format!("127.0.0.1:{port}"));
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self._processes.push(Running(child));
    }

    pub fn install(&self, org: u8) {
        let package = self.path("package/labcc.tar.gz");
        self.peer(org).cli(&["lifecycle", "chaincode", "install", package.to_str().unwrap()]);
    }

    fn to_orderer(&self) -> [String; 5] {
        let address = format!("127.0.0.1:{}", self.orderer.0[0]);
        ["-o".to_owned(), address, "--tls".to_owned(), "--cafile".to_owned(), self.orderer_file("tls/ca.crt")]
    }

    /// A command of an organisation's admin with the orderer's address behind it.
    fn ordered(&self, org: u8, args: &[&str]) -> String {
        let orderer = self.to_orderer();
        self.peer(org).cli(&[args, &orderer.each_ref().map(String::as_str)].concat())
    }

    fn endorsers(&self, orgs: &[u8]) -> Vec<String> {
        let of = |org: &u8| {
            let (address, root) = (self.peer(*org).address(), self.peer(*org).root_of_tls().display().to_string());
            ["--peerAddresses".to_owned(), address, "--tlsRootCertFiles".to_owned(), root]
        };
        orgs.iter().flat_map(of).collect()
    }

    /// A definition of the chaincode with the members of collection 1 and 2: Org1 and Org2 approve and commit it.
    pub fn define(&self, sequence: u64, first: &[u8], second: &[u8]) {
        self.define_by(&[1, 2], sequence, first, second);
    }

    /// The same, by other organisations.
    pub fn define_by(&self, orgs: &[u8], sequence: u64, first: &[u8], second: &[u8]) {
        let file = self.path(&format!("collections{sequence}.json"));
        fs::write(&file, collections(first, second)).unwrap();
        for org in orgs {
            self.approve(*org, sequence);
        }
        let (sequence, version) = (sequence.to_string(), format!("{sequence}.0"));
        let args = ["lifecycle", "chaincode", "commit", "-C", CHANNEL, "-n", CHAINCODE, "-v", &version, "--sequence"];
        let args = [&args[..], &[&sequence, "--collections-config", file.to_str().unwrap()]].concat();
        let endorsers = self.endorsers(orgs);
        self.ordered(orgs[0], &[&args[..], &endorsers.iter().map(String::as_str).collect::<Vec<_>>()].concat());
    }

    /// So that the organisation's peer runs the chaincode by the definition of that number.
    pub fn approve(&self, org: u8, sequence: u64) {
        let file = self.path(&format!("collections{sequence}.json"));
        let (sequence, version) = (sequence.to_string(), format!("{sequence}.0"));
        let args = ["lifecycle", "chaincode", "approveformyorg", "-C", CHANNEL, "-n", CHAINCODE, "-v", &version];
        let more = ["--sequence", &sequence, "--package-id", &self.package, "--collections-config"];
        self.ordered(org, &[&args[..], &more, &[file.to_str().unwrap()]].concat());
    }

    /// A transaction of `client`'s admin that those organisations' peers endorse; returns once it is valid in their ledgers.
    pub fn invoke(&self, client: u8, orgs: &[u8], args: &[&str]) {
        let (call, endorsers) = (json!({ "Args": args }).to_string(), self.endorsers(orgs));
        let fixed = ["chaincode", "invoke", "-C", CHANNEL, "-n", CHAINCODE, "--waitForEvent", "-c", &call];
        self.ordered(client, &[&fixed[..], &endorsers.iter().map(String::as_str).collect::<Vec<_>>()].concat());
    }

    /// What an organisation's peer answers, or its error.
    pub fn query(&self, org: u8, args: &[&str]) -> Result<String, String> {
        let call = json!({ "Args": args }).to_string();
        let output = self.peer(org).try_cli(&["chaincode", "query", "-C", CHANNEL, "-n", CHAINCODE, "-c", &call]);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// Waits until a peer answers as `other` does, which must know.
    pub fn wait_same(&self, org: u8, other: u8, args: &[&str]) {
        self.wait_answer(org, args, &self.query(other, args).unwrap());
    }

    /// Waits until a peer answers that.
    pub fn wait_answer(&self, org: u8, args: &[&str], expected: &str) {
        wait(&format!("Org{org}'s {args:?}"), || match self.query(org, args) {
            Ok(found) if found == expected => Ok(()),
            found => Err(format!("{found:?} {}", self.peer(org).log())),
        });
    }

    pub fn height(&self, org: u8, channel: &str) -> u64 {
        let answer = self.peer(org).cli(&["channel", "getinfo", "-c", channel]);
        let info: Value = serde_json::from_str(answer.trim().strip_prefix("Blockchain info: ").unwrap()).unwrap();
        info["height"].as_u64().unwrap()
    }

    /// Waits until all peers of the channel have the same blocks; tells the last one.
    pub fn settle(&self) -> u64 {
        wait("the same blocks everywhere", || {
            let heights: Vec<u64> = self.joined.iter().map(|org| self.height(*org, CHANNEL)).collect();
            if heights.iter().all(|height| *height == heights[0]) {
                Ok(heights[0] - 1)
            } else {
                Err(format!("{heights:?}"))
            }
        })
    }

    /// The newest configuration of our channel, from the orderer.
    pub fn config_block(&self) -> PathBuf {
        self.config_of(CHANNEL)
    }

    fn config_of(&self, channel: &str) -> PathBuf {
        let file = self.path("config.block");
        self.ordered(1, &["channel", "fetch", "config", file.to_str().unwrap(), "-c", channel]);
        file
    }

    /// Org3 becomes a member of the channel, by Org1's and Org2's admins.
    pub fn add_org3(&self) {
        let org = self.tool("configtxgen", &["-printOrg", "Org3MSP"]);
        let org: Value = serde_json::from_slice(&org.stdout).unwrap();
        let envelope = self.update(CHANNEL, |config| {
            config["channel_group"]["groups"]["Application"]["groups"]["Org3MSP"] = org;
        });
        self.peer(2).cli(&["channel", "signconfigtx", "-f", envelope.to_str().unwrap()]);
        self.ordered(1, &["channel", "update", "-f", envelope.to_str().unwrap(), "-c", CHANNEL]);
    }

    /// A block for a channel: a policy changes, by the admins of Org1 and Org2.
    pub fn add_block(&self, channel: &str) {
        let envelope = self.update(channel, |config| {
            let endorsement = &mut config["channel_group"]["groups"]["Application"]["policies"]["Endorsement"];
            endorsement["policy"]["value"]["rule"] = "ANY".into();
        });
        self.peer(2).cli(&["channel", "signconfigtx", "-f", envelope.to_str().unwrap()]);
        self.ordered(1, &["channel", "update", "-f", envelope.to_str().unwrap(), "-c", channel]);
    }

    /// A change of a channel's configuration, without signatures.
    fn update(&self, channel: &str, change: impl FnOnce(&mut Value)) -> PathBuf {
        let config = self.config_of(channel);
        let args = ["proto_decode", "--type", "common.Block", "--input", config.to_str().unwrap()];
        let block: Value = serde_json::from_slice(&self.tool("configtxlator", &args).stdout).unwrap();
        let old = &block["data"]["data"][0]["payload"]["data"]["config"];
        let mut new = old.clone();
        change(&mut new);
        for (name, config) in [("old", old), ("new", &new)] {
            self.encode("common.Config", name, config);
        }
        let args = ["compute_update", "--channel_id", channel, "--original", "old.pb", "--updated", "new.pb"];
        self.tool("configtxlator", &[&args[..], &["--output", "update.pb"]].concat());
        let args = ["proto_decode", "--type", "common.ConfigUpdate", "--input", "update.pb"];
        let update: Value = serde_json::from_slice(&self.tool("configtxlator", &args).stdout).unwrap();
        let header = json!({ "channel_header": { "channel_id": channel, "type": 2 } });
        let envelope = json!({ "payload": { "header": header, "data": { "config_update": update } } });
        self.encode("common.Envelope", "envelope", &envelope);
        self.path("envelope.pb")
    }

    fn encode(&self, message: &str, name: &str, value: &Value) {
        let (text, bytes) = (format!("{name}.json"), format!("{name}.pb"));
        fs::write(self.path(&text), value.to_string()).unwrap();
        self.tool("configtxlator", &["proto_encode", "--type", message, "--input", &text, "--output", &bytes]);
    }

    /// Snapshots of the same block by those peers, which must be the same, and the services beside them that offer them.
    pub fn snapshot(&self, orgs: [u8; 2]) -> Sources {
        let (block, config) = (self.settle(), self.config_block());
        let folders = orgs.map(|org| self.peer(org).snapshot(block));
        assert_identical(&folders[1], &folders[0]);
        let roots = [0, 1].map(|index: usize| {
            let root = Root::new();
            root.put(block, &folders[index]);
            root
        });
        let start =
            |index: usize| Service::start_in(&config, &Credentials::org(orgs[index]), roots[index].path(), &[block]);
        let services = [start(0), start(1)];
        Sources { block, config, services, roots }
    }
}

/// A snapshot that two organisations offer.
pub struct Sources {
    pub block: u64,
    pub config: PathBuf,
    pub services: [Service; 2],
    pub roots: [Root; 2],
}

impl Sources {
    /// Loads what they offer into the databases of Org3's stopped peer.
    pub fn load(&self, ledgers: &Path) {
        self.load_as(3, ledgers);
    }

    /// Has Org3's running peer join by what they offer.
    pub fn join(&self, peer: &RealPeer) {
        let (land, ca) = (TempDir::new().unwrap(), RealPeer::tls_root());
        let addresses = self.services.each_ref().map(|source| source.address);
        let join = Join::new_as_with(&Credentials::admin(3), &self.config, &addresses, land.path()).block(self.block);
        let join = join.args(["--loader", "folder", "--peer-address", &peer.address()]);
        join.args(["--tls-root-cert-file", ca.to_str().unwrap()]).run().result();
    }

    /// Into those of that organisation's peer.
    pub fn load_as(&self, org: u8, ledgers: &Path) {
        let land = TempDir::new().unwrap();
        let addresses = self.services.each_ref().map(|source| source.address);
        let join = Join::new_as_with(&Credentials::admin(org), &self.config, &addresses, land.path());
        // Of an organisation that vouches itself.
        let join = join.variables([("SNAPFERRY_TRUST_COUNTSELF".to_owned(), "true".to_owned())]);
        load(join.block(self.block), ledgers).result();
    }
}

/// Runs a join that loads into those databases.
pub fn load(join: Join, ledgers: &Path) -> Ended {
    join.args(["--loader", "ledger", "--ledger", ledgers.to_str().unwrap()]).run()
}

/// Waits for what `look` returns; gives up with what it says is missing.
pub fn wait<T>(what: &str, look: impl Fn() -> Result<T, String>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(missing) => assert!(Instant::now() < until, "waited in vain for {what}: {missing}"),
        }
        thread::sleep(LOOK); // so that waiting takes no processor from what is waited for
    }
}

/// The orderer is asked by each peer; peers that come and go are noticed, and missing private data fetched, soon.
fn settings() -> Vec<(&'static str, String)> {
    let settings = [
        ("CORE_PEER_GOSSIP_ORGLEADER", "true"),
        ("CORE_PEER_GOSSIP_ALIVETIMEINTERVAL", "1s"),
        ("CORE_PEER_GOSSIP_ALIVEEXPIRATIONTIMEOUT", "5s"),
        ("CORE_PEER_GOSSIP_RECONNECTINTERVAL", "2s"),
        ("CORE_PEER_GOSSIP_PUBLISHSTATEINFOINTERVAL", "1s"),
        ("CORE_PEER_GOSSIP_REQUESTSTATEINFOINTERVAL", "1s"),
        ("CORE_PEER_GOSSIP_PVTDATA_RECONCILESLEEPINTERVAL", "1s"),
        ("CORE_PEER_GOSSIP_PVTDATA_PULLRETRYTHRESHOLD", "3s"),
    ];
    settings.map(|(name, value)| (name, value.to_owned())).to_vec()
}

/// An external builder whose chaincodes run already: it copies their address.
fn write_builder(dir: &Path) -> PathBuf {
    let folder = dir.join("builder");
    fs::create_dir_all(folder.join("bin")).unwrap();
    for (name, script) in [
        ("detect", "grep -q '\"service\"' \"$2/metadata.json\""),
        ("build", "cp \"$1/connection.json\" \"$3/\""),
        ("release", "mkdir -p \"$2/chaincode/server\" && cp \"$1/connection.json\" \"$2/chaincode/server/\""),
    ] {
        let file = folder.join("bin").join(name);
        fs::write(&file, format!("#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

/// The orderer's own organisation; those of the peers are recorded.
const fn network_crypto() -> &'static str {
    "OrdererOrgs: [{Name: Orderer, Domain: example.com, EnableNodeOUs: true, \
     Specs: [{Hostname: orderer, SANS: [localhost, 127.0.0.1]}]}]\n"
}

const ORDERER_YAML: &str = "
General:
  ListenAddress: 127.0.0.1
  LocalMSPID: OrdererMSP
  TLS: {Enabled: true}
  Keepalive: {ServerMinInterval: 60s, ServerInterval: 7200s, ServerTimeout: 20s}
  Cluster: {SendBufferSize: 100}
  BootstrapMethod: none
  BCCSP: {Default: SW, SW: {Hash: SHA2, Security: 256}}
  Authentication: {TimeWindow: 15m}
FileLedger: {Location: orderer}
Consensus: {WALDir: orderer/wal, SnapDir: orderer/snap}
ChannelParticipation: {Enabled: true, MaxRequestBodySize: 1 MB}
Admin: {TLS: {Enabled: true, ClientAuthRequired: true}}
Metrics: {Provider: disabled}
";
