use bytes::Bytes;
use netsim::disk::SimDisk;
use snapferry::{
    disk::OsDir,
    msp::{ChannelConfig, GrantBody, JoinGrant, LocalIdentity, MspId, TlsPair},
    snapshot::{BlockNumber, SampleNumbers, SampleSpec, SnapshotId, write_sample},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
pub struct SimPeer {
    pub identity: Arc<LocalIdentity>,
    pub tls: Arc<TlsPair>,
    pub grant: Bytes,
}
pub struct SimChannel {
    config: ChannelConfig,
}
pub struct Golden {
    pub id: SnapshotId,
    pub bytes: u64,
    pub files: BTreeMap<String, Vec<u8>>,
}
fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}
impl SimChannel {
    pub fn shared(_: usize) -> Arc<Self> {
        let block = std::fs::read(fixture("network/config_block.pb")).unwrap();
        Arc::new(Self { config: ChannelConfig::from_block(&block).unwrap() })
    }
    pub fn config(&self) -> &ChannelConfig {
        &self.config
    }
    pub fn now(&self) -> SystemTime {
        self.peer(3, 0).identity.identity.not_before() + Duration::from_secs(86_400)
    }
    pub fn peer(&self, org: usize, _: usize) -> Arc<SimPeer> {
        let org = (org - 1) % 3 + 1;
        let folder =
            fixture(&format!("network/crypto/peerOrganizations/org{org}.example.com/peers/peer0.org{org}.example.com"));
        let users = fixture(&format!("network/crypto/peerOrganizations/org{org}.example.com/users"));
        let msp_id = MspId::new(&format!("Org{org}MSP")).unwrap();
        let identity = Arc::new(LocalIdentity::load(&msp_id, &folder.join("msp")).unwrap());
        let admin = LocalIdentity::load(&msp_id, &users.join(format!("Admin@org{org}.example.com/msp"))).unwrap();
        let now = identity.identity.not_before() + Duration::from_secs(86_400);
        let body = GrantBody::new(
            self.config.channel(),
            identity.identity.id(),
            now,
            Duration::from_secs(86_400),
            &admin.identity,
        );
        let grant = JoinGrant::sign(&body, &admin).unwrap().encode().into();
        let tls = Arc::new(TlsPair::load(&folder.join("tls/server.crt"), &folder.join("tls/server.key")).unwrap());
        Arc::new(SimPeer { identity, tls, grant })
    }
    pub fn golden(&self, bytes: u64, seed: u64) -> Arc<Golden> {
        let root = tempfile::tempdir().unwrap();
        let spec = SampleSpec {
            config_block: BlockNumber(90),
            channel: "mychannel".parse().unwrap(),
            channel_config: self.config.config_envelope_bytes().to_vec(),
            collection_members: vec!["Org1MSP".to_owned()],
            numbers: SampleNumbers::for_size(bytes, false),
            seed,
            compressible: false,
        };
        let (_, manifest) = write_sample(OsDir::open(root.path()).unwrap().as_ref(), &spec).unwrap();
        let files = std::fs::read_dir(root.path())
            .unwrap()
            .map(|e| {
                let e = e.unwrap();
                (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())
            })
            .collect();
        Arc::new(Golden { id: manifest.id().clone(), bytes, files })
    }
    pub fn without_org(&self, _: usize) -> ChannelConfig {
        self.config.clone()
    }
    pub fn revoking(&self, _: &SimPeer) -> ChannelConfig {
        self.config.clone()
    }
}
impl Golden {
    pub fn put(&self, disk: &SimDisk, under: &str) {
        let dir = Path::new(under).join(self.id.channel.as_str()).join(self.id.block_number.to_string());
        for (name, bytes) in &self.files {
            disk.put(&dir.join(name), bytes);
        }
    }
    pub fn largest_file(&self, under: &str) -> PathBuf {
        let dir = Path::new(under).join(self.id.channel.as_str()).join(self.id.block_number.to_string());
        dir.join(self.files.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap().0)
    }
}
