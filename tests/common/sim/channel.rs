//! A channel whose organisations have Ed25519 keys (capability V3_0), its configuration blocks, and snapshots of it. The same every time.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use netsim::disk::SimDisk;
use sha2::{Digest, Sha256};
use snapferry::{
    msp::{ChannelConfig, GrantBody, JoinGrant, LocalIdentity, TlsPair},
    snapshot::{BlockNumber, Manifest, SampleNumbers, SampleSpec, SnapshotId, write_sample},
};
use tempfile::TempDir;

use super::{
    disk::sim_dir,
    org::{SimOrg, sign},
    proto::Proto,
};

pub const CHANNEL: &str = "simchannel";
/// The block with the first configuration.
const FIRST_BLOCK: u64 = 20;
/// When every simulated run begins: 2026-06-01, in Unix seconds.
const BEGINS_UNIX_S: u64 = 1_780_272_000;
/// Grants outlive partitions of hours.
const GRANTED_FOR: Duration = Duration::from_secs(7 * 86_400);

/// A channel.
pub struct SimChannel {
    orgs: Vec<SimOrg>,
    orderer: SimOrg,
    config: ChannelConfig,
    peers: Mutex<BTreeMap<(usize, usize), Arc<SimPeer>>>,
    goldens: Mutex<BTreeMap<(u64, u64), Arc<Golden>>>,
    folder: TempDir,
}

/// A peer: who it is, and its admin's grant.
pub struct SimPeer {
    pub identity: Arc<LocalIdentity>,
    pub tls: Arc<TlsPair>,
    pub grant: Bytes,
    org: usize,
}

/// A snapshot, file by file.
pub struct Golden {
    pub id: SnapshotId,
    /// About the size that was asked for.
    pub bytes: u64,
    pub manifest: Manifest,
    pub files: BTreeMap<String, Vec<u8>>,
}

/// What a newer configuration changes.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// Organisations that are in it no more, from 1.
    pub without: Vec<usize>,
    /// Organisations with a second generation of CAs beside the first.
    pub rotating: Vec<usize>,
    /// Certificates (PEM) that the CA of an organisation has revoked.
    pub revoked: Vec<(usize, Vec<u8>)>,
}

impl SimChannel {
    /// The channel of so many organisations, made once per process.
    pub fn shared(orgs: usize) -> Arc<Self> {
        static CHANNELS: OnceLock<Mutex<BTreeMap<usize, Arc<SimChannel>>>> = OnceLock::new();
        let mut channels = CHANNELS.get_or_init(Mutex::default).lock().unwrap();
        Arc::clone(channels.entry(orgs).or_insert_with(|| Arc::new(Self::new(orgs))))
    }

    fn new(count: usize) -> Self {
        let orgs: Vec<SimOrg> = (1..=count).map(|org| SimOrg::new(&format!("Org{org}MSP"), 0)).collect();
        let orderer = SimOrg::new("OrdererMSP", 0);
        let block = block(&orgs, &orderer, FIRST_BLOCK, 1, &Change::default());
        let config = ChannelConfig::from_block(&block).unwrap();
        let (peers, goldens) = (Mutex::default(), Mutex::default());
        Self { orgs, orderer, config, peers, goldens, folder: tempfile::tempdir().unwrap() }
    }

    /// Its first configuration.
    pub fn config(&self) -> &ChannelConfig {
        &self.config
    }

    /// The block of a newer one, `ahead` sequences later and behind the block of the snapshot, signed by the orderer.
    pub fn newer_block(&self, ahead: u64, change: &Change) -> Vec<u8> {
        block(&self.orgs, &self.orderer, FIRST_BLOCK + 1 + ahead, 1 + ahead, change)
    }

    /// The configuration that a newer block puts in force.
    pub fn newer(&self, ahead: u64, change: &Change) -> ChannelConfig {
        self.config.successor(&self.newer_block(ahead, change)).unwrap()
    }

    /// A configuration in which that organisation isn't any more.
    pub fn without_org(&self, org: usize) -> ChannelConfig {
        self.newer(1, &Change { without: vec![org], ..Change::default() })
    }

    /// A configuration by which that peer is revoked.
    pub fn revoking(&self, peer: &SimPeer) -> ChannelConfig {
        let pem = peer.identity.identity.serialized().id_bytes.to_vec();
        self.newer(1, &Change { revoked: vec![(peer.org, pem)], ..Change::default() })
    }

    /// When runs begin.
    pub fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(BEGINS_UNIX_S)
    }

    /// The peer with that number (from 0) of that organisation (from 1).
    pub fn peer(&self, org: usize, number: usize) -> Arc<SimPeer> {
        let mut peers = self.peers.lock().unwrap();
        Arc::clone(
            peers.entry((org, number)).or_insert_with(|| Arc::new(self.new_peer(org, number, &self.orgs[org - 1]))),
        )
    }

    fn new_peer(&self, org: usize, number: usize, of: &SimOrg) -> SimPeer {
        let folder = self.folder.path();
        let identity = of.identity(&format!("peer{number}"), "peer", folder);
        let admin = of.identity("admin", "admin", folder);
        let body =
            GrantBody::new(self.config.channel(), identity.identity.id(), self.now(), GRANTED_FOR, &admin.identity);
        let grant = JoinGrant::sign(&body, &admin).unwrap().encode().into();
        SimPeer { identity, tls: of.tls(&format!("peer{number}")), grant, org }
    }

    /// A peer whose certificates are of the organisation's next CAs ([`Change::rotating`]).
    pub fn rotated_peer(&self, org: usize) -> SimPeer {
        let next = next_generation(&self.orgs[org - 1]);
        self.new_peer(org, 0, &next)
    }

    /// The snapshot with that number, of about that size: 1 is what everybody has, 2 is another one of the same block, 3 a newer one.
    pub fn golden(&self, bytes: u64, number: u64) -> Arc<Golden> {
        let mut goldens = self.goldens.lock().unwrap();
        let golden = goldens.entry((bytes, number));
        Arc::clone(golden.or_insert_with(|| Arc::new(self.new_golden(bytes, number))))
    }

    fn new_golden(&self, bytes: u64, number: u64) -> Golden {
        let spec = SampleSpec {
            config_block: BlockNumber(if number == 3 { FIRST_BLOCK + 100 } else { FIRST_BLOCK }),
            channel: CHANNEL.parse().unwrap(),
            channel_config: self.config.config_envelope_bytes().to_vec(),
            collection_members: vec!["Org1MSP".to_owned(), "Org2MSP".to_owned()],
            numbers: SampleNumbers::for_size(bytes, false),
            seed: number,
            expiring: false,
            compressible: false,
        };
        let disk = SimDisk::new();
        let (_, manifest) = write_sample(&*sim_dir(&disk), &spec).unwrap();
        let files = disk.folder(Path::new("")).unwrap();
        Golden { id: manifest.id().clone(), bytes, manifest, files }
    }
}

impl SimPeer {
    /// Of an organisation, from 1.
    pub const fn org(&self) -> usize {
        self.org
    }
}

impl Golden {
    /// Its folder below that one.
    fn folder(&self, below: &str) -> PathBuf {
        Path::new(below).join(self.id.channel.as_str()).join(self.id.block_number.to_string())
    }

    /// Puts it there, durably.
    pub fn put(&self, disk: &SimDisk, below: &str) {
        let folder = self.folder(below);
        self.files.iter().for_each(|(name, bytes)| disk.put(folder.join(name), bytes).unwrap());
    }

    /// Its largest file.
    pub fn largest_file(&self, below: &str) -> PathBuf {
        let largest = self.files.iter().max_by_key(|(_, bytes)| bytes.len());
        self.folder(below).join(largest.unwrap().0)
    }
}

/// The organisation with its next CAs.
fn next_generation(org: &SimOrg) -> SimOrg {
    SimOrg::new(org.msp_id.as_str(), 1)
}

/// A configuration block, signed by the orderer.
fn block(orgs: &[SimOrg], orderer: &SimOrg, number: u64, sequence: u64, change: &Change) -> Vec<u8> {
    let config = Proto::new().number(1, sequence).bytes(2, channel_group(orgs, orderer, change));
    let envelope = Proto::new().bytes(1, config);
    let channel_header = Proto::new().number(1, 1).bytes(4, CHANNEL);
    let header = Proto::new().bytes(1, channel_header);
    let payload = Proto::new().bytes(1, header).bytes(2, envelope);
    let data = Proto::new().bytes(1, payload).end();
    let hashes = [vec![number as u8; 32], Sha256::digest(&data).to_vec()];
    let header = Proto::new().number(1, number).bytes(2, &hashes[0]).bytes(3, &hashes[1]);
    let data = Proto::new().bytes(1, data);
    Proto::new().bytes(1, header).bytes(2, data).bytes(3, signatures(orderer, number, &hashes)).end()
}

/// BlockMetadata with the orderer's signature (fabric: protoutil/signer.go and blockutils.go).
fn signatures(orderer: &SimOrg, number: u64, hashes: &[Vec<u8>; 2]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let identity = orderer.identity("orderer0", "orderer", folder.path());
    let creator = identity.identity.serialized().encode();
    let signature_header = Proto::new().bytes(1, creator).bytes(2, [7; 24]).end();
    let value = b"last config".to_vec();
    assert!(number < 128, "one byte of DER");
    let mut der = vec![0x30, 3 + 34 + 34, 2, 1, number as u8];
    hashes.iter().for_each(|hash| der.extend([vec![4, 32], hash.clone()].concat()));
    let signature = sign("orderer0", orderer, &[&value[..], &signature_header, &der].concat());
    let signature = Proto::new().bytes(1, signature_header).bytes(2, signature);
    let first = Proto::new().bytes(1, value).bytes(2, signature);
    Proto::new().bytes(1, first).bytes(1, []).bytes(1, []).end()
}

/// As configtxgen's sample has it: Readers and Writers any member, Admins a majority, blocks by any orderer.
fn channel_group(orgs: &[SimOrg], orderer: &SimOrg, change: &Change) -> Vec<u8> {
    let implicit = |rule: u64, of: &str| {
        let policy = Proto::new().bytes(1, of).number(2, rule);
        Proto::new().bytes(2, Proto::new().number(1, 3).bytes(2, policy))
    };
    let usual = |group: Proto| {
        let group = group.entry(4, "Admins", implicit(2, "Admins")).entry(4, "Readers", implicit(0, "Readers"));
        group.entry(4, "Writers", implicit(0, "Writers"))
    };
    let mut application = Proto::new();
    for (number, org) in (1..).zip(orgs).filter(|(number, _)| !change.without.contains(number)) {
        let next = change.rotating.contains(&number).then(|| next_generation(org));
        let revoked: Vec<Vec<u8>> =
            change.revoked.iter().filter(|(of, _)| *of == number).map(|(_, pem)| pem.clone()).collect();
        let msp = org.msp(&next.iter().collect::<Vec<_>>(), &revoked);
        application = application.entry(2, org.msp_id.as_str(), org_group(org, &msp));
    }
    let application = usual(application).entry(4, "Endorsement", implicit(2, "Endorsement"));
    let orderers = Proto::new().entry(2, orderer.msp_id.as_str(), org_group(orderer, &orderer.msp(&[], &[])));
    let orderers = usual(orderers).entry(4, "BlockValidation", implicit(0, "Writers"));
    let capabilities = Proto::new().entry(1, "V3_0", []);
    let channel = Proto::new().entry(2, "Application", application).entry(2, "Orderer", orderers);
    usual(channel.entry(3, "Capabilities", Proto::new().bytes(2, capabilities))).end()
}

fn org_group(org: &SimOrg, msp: &[u8]) -> Vec<u8> {
    let id = org.msp_id.as_str();
    let one_of = |role: u64| {
        let role = Proto::new().bytes(1, id).number(2, role);
        let principal = Proto::new().number(1, 0).bytes(2, role);
        let signed_by_the_first = Proto::new().number(1, 0);
        let rule = Proto::new().bytes(2, Proto::new().number(1, 1).bytes(2, signed_by_the_first));
        let envelope = Proto::new().number(1, 0).bytes(2, rule).bytes(3, principal);
        Proto::new().bytes(2, Proto::new().number(1, 1).bytes(2, envelope))
    };
    // MSPRole: 0 member, 1 admin, 3 peer.
    let group = Proto::new().entry(3, "MSP", Proto::new().bytes(2, msp));
    let group = group.entry(4, "Admins", one_of(1)).entry(4, "Endorsement", one_of(3));
    group.entry(4, "Readers", one_of(0)).entry(4, "Writers", one_of(0)).end()
}
