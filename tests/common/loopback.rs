//! Services of the recorded network on loopback, for tests of the wire: honest ones, and one that lies as told.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use quinn::{Connection, Endpoint, RecvStream, SendStream};
use snapferry::{
    catalog::{AuditLog, Catalog},
    chunking::{BufferPool, Workers},
    disk::OsDir,
    msp::{ChannelConfig, GrantBody, Identity, JoinGrant, LocalIdentity, MspId, TlsPair},
    snapshot::{BlockNumber, SampleNumbers, SampleSpec, SnapshotId, write_sample},
    transport::{
        WallClock,
        asking::{AskError, ChunkStream, ConnectParams, Session},
        endpoint::{self, Tuning},
        fault::ErrorCode,
        live::LiveChannels,
        serving::{Attest, ServeContext, ServeLimits, serve},
        session::{SessionContext, authenticate_server},
        tls::{self, NameCheck, TlsTrust},
        wire::{Body, ChunkRequest, Frame, Hello, LeaseOpen, Refusal},
    },
};
use tokio::{sync::watch, task::JoinHandle};

pub fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}

pub fn config() -> Arc<ChannelConfig> {
    let block = std::fs::read(fixture("network/config_block.pb")).unwrap();
    Arc::new(ChannelConfig::from_block(&block).unwrap())
}

fn peer_folder(org: u8) -> PathBuf {
    fixture(&format!("network/crypto/peerOrganizations/org{org}.example.com/peers/peer0.org{org}.example.com"))
}

/// The recorded channel, of which a test may replace the configuration.
pub fn live() -> LiveChannels {
    LiveChannels::new([(*config()).clone()])
}

pub fn identity(org: u8) -> Arc<LocalIdentity> {
    let msp_id = MspId::new(&format!("Org{org}MSP")).unwrap();
    Arc::new(LocalIdentity::load(&msp_id, &peer_folder(org).join("msp")).unwrap())
}

/// The admin of `org`.
pub fn admin(org: u8) -> Arc<LocalIdentity> {
    let users = fixture(&format!("network/crypto/peerOrganizations/org{org}.example.com/users"));
    let msp_id = MspId::new(&format!("Org{org}MSP")).unwrap();
    Arc::new(LocalIdentity::load(&msp_id, &users.join(format!("Admin@org{org}.example.com/msp"))).unwrap())
}

/// A grant for `peer` by the admin of `org`, for a day.
pub fn grant(org: u8, peer: &Identity) -> Bytes {
    let admin = admin(org);
    let day = Duration::from_secs(86_400);
    let body = GrantBody::new(config().channel(), peer.id(), now(), day, &admin.identity);
    JoinGrant::sign(&body, &admin).unwrap().encode().into()
}

pub fn tls_pair(org: u8) -> TlsPair {
    let folder = peer_folder(org).join("tls");
    TlsPair::load(&folder.join("server.crt"), &folder.join("server.key")).unwrap()
}

pub fn now() -> SystemTime {
    identity(3).identity.not_before() + Duration::from_secs(86_400)
}

/// A wall clock that stands still, a day after the network was made.
fn clock() -> WallClock {
    let now = now();
    Arc::new(move || now)
}

pub fn context(org: u8) -> SessionContext {
    SessionContext::new(identity(org), tls_pair(org).leaf().clone(), clock())
}

pub fn bind_server(org: u8) -> Endpoint {
    bind_server_with(&tls_pair(org))
}

/// With another TLS pair than the recorded ones.
pub fn bind_server_with(pair: &TlsPair) -> Endpoint {
    bind_server_trusting(pair, live().trust())
}

/// That judges handshakes by roots that may be swapped.
pub fn bind_server_trusting(pair: &TlsPair, trust: TlsTrust) -> Endpoint {
    let tls = tls::server_config(trust, pair, clock()).unwrap();
    let loopback = (Ipv4Addr::LOCALHOST, 0).into();
    endpoint::bind(loopback, Some(Tuning::default().server(tls).unwrap()), &Tuning::default()).unwrap()
}

/// A service of `org` over `completed`.
pub struct Service {
    pub address: SocketAddr,
    pub catalog: Arc<Catalog>,
    /// Whose configurations it judges by.
    pub channels: LiveChannels,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    /// Folder of its audit log.
    pub audit: tempfile::TempDir,
    _state: tempfile::TempDir,
}

impl Service {
    pub fn start(org: u8, completed: &Path, limits: ServeLimits) -> Self {
        Self::start_with(context(org), bind_server(org), completed, limits)
    }

    /// With another clock or more patience, on an endpoint of [`bind_server`].
    pub fn start_with(session: SessionContext, endpoint: Endpoint, completed: &Path, limits: ServeLimits) -> Self {
        let nothing: Attest = Arc::new(|_, _| Err(Refusal::new(ErrorCode::NotFound, "")));
        Self::start_attesting(session, endpoint, completed, limits, live(), nothing)
    }

    /// Whose handshakes and sessions follow the channels that are handed in.
    pub fn start_live(org: u8, completed: &Path, channels: LiveChannels) -> Self {
        let endpoint = bind_server_trusting(&tls_pair(org), channels.trust());
        let nothing: Attest = Arc::new(|_, _| Err(Refusal::new(ErrorCode::NotFound, "")));
        Self::start_attesting(context(org), endpoint, completed, ServeLimits::default(), channels, nothing)
    }

    pub fn start_attesting(
        session: SessionContext,
        endpoint: Endpoint,
        completed: &Path,
        limits: ServeLimits,
        channels: LiveChannels,
        attest: Attest,
    ) -> Self {
        let (state, audit) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let open = |path: &Path| OsDir::open(path).unwrap();
        let catalog = Arc::new(Catalog::open(open(completed), open(state.path()), now()).with_deletion(true));
        let report = catalog.scan().unwrap();
        assert!(report.refused.is_empty(), "{report:?}");
        let address = endpoint.local_addr().unwrap();
        let (stop, shutdown) = watch::channel(false);
        let context = ServeContext {
            catalog: Arc::clone(&catalog),
            channels: channels.clone(),
            attest,
            audit: Some(Arc::new(AuditLog::new(open(audit.path())))),
            session,
            only_org: None,
            busy: watch::channel(false).1,
            limits,
            workers: Workers::threads(2, 16).unwrap(),
            shutdown,
        };
        let task = tokio::spawn(serve(endpoint, context));
        Self { address, catalog, channels, stop, task, audit, _state: state }
    }

    /// Tells it to stop, and waits until it has; the folder of its audit log.
    pub async fn stop(self) -> tempfile::TempDir {
        self.stop.send(true).unwrap();
        self.task.await.unwrap();
        self.audit
    }
}

/// A joining peer of `org`, with a grant of its organisation's admin.
pub struct Joiner {
    endpoint: Endpoint,
    context: SessionContext,
    tls: TlsPair,
    grant: Option<Bytes>,
}

impl Joiner {
    pub fn new(org: u8) -> Self {
        Self::with(identity(org), tls_pair(org))
    }

    /// With another identity or TLS pair than the recorded ones.
    pub fn with(identity: Arc<LocalIdentity>, tls: TlsPair) -> Self {
        let endpoint = endpoint::bind((Ipv4Addr::LOCALHOST, 0).into(), None, &Tuning::default()).unwrap();
        let org =
            identity.identity.msp_id().as_str().trim_start_matches("Org").trim_end_matches("MSP").parse().unwrap();
        let grant = Some(grant(org, &identity.identity));
        Self { endpoint, context: SessionContext::new(identity, tls.leaf().clone(), clock()), tls, grant }
    }

    /// With another grant, or none.
    pub fn granted(self, grant: Option<Bytes>) -> Self {
        Self { grant, ..self }
    }

    pub fn params(&self, address: SocketAddr) -> ConnectParams {
        self.params_speaking(address, &[tls::ALPN])
    }

    /// That offers those protocols in the handshake, best first.
    pub fn params_speaking(&self, address: SocketAddr, protocols: &[&[u8]]) -> ConnectParams {
        let mut tls = tls::client_config(live().trust(), &self.tls, NameCheck::San, clock()).unwrap();
        tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        ConnectParams {
            address,
            server_name: "localhost".to_owned(),
            quic: Tuning::default().client(tls).unwrap(),
            channel: config(),
            context: self.context.clone(),
            grant: self.grant.clone(),
            buffers: BufferPool::new(4),
        }
    }

    pub async fn connect(&self, address: SocketAddr) -> Result<Session, AskError> {
        self.connect_with(&self.params(address)).await
    }

    pub async fn connect_with(&self, params: &ConnectParams) -> Result<Session, AskError> {
        Session::connect(&self.endpoint, params).await
    }

    /// A connection without a word said on it.
    pub async fn dial(&self, address: SocketAddr) -> Connection {
        let params = self.params(address);
        self.endpoint.connect_with(params.quic, address, "localhost").unwrap().await.unwrap()
    }
}

/// `ROOT/completed` with the recorded snapshots of the channel.
pub fn recorded() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for block in ["83", "132"] {
        let from = fixture("network/snapshots/org1").join(block);
        let to = root.path().join("mychannel").join(block);
        std::fs::create_dir_all(&to).unwrap();
        for file in std::fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    root
}

/// `ROOT/completed` with a sample of about `bytes`; its number of blocks is in the folder's name.
pub fn sampled(bytes: u64, compressible: bool) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    sample_of("mychannel", root.path(), bytes, compressible);
    root
}

/// A sample of that channel, as another snapshot below `completed`.
pub fn sample_of(name: &str, completed: &Path, bytes: u64, compressible: bool) -> SnapshotId {
    let channel = completed.join(name);
    std::fs::create_dir_all(channel.join("making")).unwrap();
    let spec = SampleSpec {
        config_block: BlockNumber(0),
        channel: name.parse().unwrap(),
        channel_config: config().config_envelope_bytes().to_vec(),
        collection_members: vec!["Org1MSP".to_owned()],
        numbers: SampleNumbers::for_size(bytes, compressible),
        seed: 7,
        expiring: false,
        compressible,
    };
    let (_, manifest) = write_sample(OsDir::open(&channel.join("making")).unwrap().as_ref(), &spec).unwrap();
    let block = manifest.id().block_number.to_string();
    std::fs::rename(channel.join("making"), channel.join(block)).unwrap();
    manifest.id().clone()
}

/// A source of `org` that is who it says, and then does what `lie` does with each stream that it is asked on. The answers on its
/// control stream are `control`'s.
pub async fn liar<L, F>(org: u8, control: fn(Body) -> Option<Body>, lie: L) -> (SocketAddr, Endpoint)
where
    L: Fn(SendStream, RecvStream) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    liar_granting(true, org, control, lie).await
}

/// A [`liar`] that may grant no stream but the control stream.
pub async fn liar_granting<L, F>(
    streams: bool,
    org: u8,
    control: fn(Body) -> Option<Body>,
    lie: L,
) -> (SocketAddr, Endpoint)
where
    L: Fn(SendStream, RecvStream) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let endpoint = bind_server(org);
    let address = endpoint.local_addr().unwrap();
    let accepting = endpoint.clone();
    tokio::spawn(async move {
        let connection = accepting.accept().await.unwrap().await.unwrap();
        let (mut send, mut recv) = connection.accept_bi().await.unwrap();
        authenticate_server(&connection, &mut send, &mut recv, &context(org), &live()).await.unwrap();
        let hello = read(&mut recv).await.unwrap();
        write(&mut send, hello.request_id, Body::HelloAck(Hello::default())).await;
        if streams {
            endpoint::accepted(&connection, 64);
        }
        tokio::spawn(async move {
            while let Some(frame) = read(&mut recv).await {
                if let Some(answer) = control(frame.body) {
                    write(&mut send, frame.request_id, answer).await;
                }
            }
        });
        while let Ok((send, recv)) = connection.accept_bi().await {
            lie(send, recv).await;
        }
    });
    (address, endpoint)
}

/// Asks for chunks by a lease of ours, opened if there is none.
pub async fn chunks(session: &Session, request: ChunkRequest, size: u64) -> Result<ChunkStream, AskError> {
    let open = LeaseOpen { id: request.id.clone(), manifest_hash: request.manifest_hash };
    let lease_id = session.open_lease(open).await?.lease_id;
    session.chunks(ChunkRequest { lease_id, ..request }, size).await
}

/// Reads one frame; `None` at the end.
pub async fn read(recv: &mut RecvStream) -> Option<Frame> {
    let mut length = [0; 4];
    recv.read_exact(&mut length).await.ok()?;
    let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
    recv.read_exact(&mut bytes).await.ok()?;
    Some(Frame::decode(bytes.into()).unwrap())
}

/// Writes one frame.
pub async fn write(send: &mut SendStream, request_id: u64, body: Body) {
    let bytes = Frame { request_id, body }.encode();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    let _ = send.write_all_chunks(&mut [Bytes::copy_from_slice(&length), bytes]).await;
}
