//! A service of Org1 that follows a configuration block on disk, and transfers from it that are stopped in their middle by not being
//! read.

use std::{net::Ipv4Addr, path::PathBuf, sync::Arc, time::Duration};

use snapferry::{
    disk::OsDir,
    service::daemon::{Daemon, DaemonSettings},
    snapshot::{ChunkIndex, Manifest},
    transport::{
        asking::{AskError, ChunkStream, Session},
        endpoint::Tuning,
        fault::ErrorCode,
        limits::RUN_CHUNKS_MAX,
        live::LiveChannels,
        serving::ServeLimits,
        wire::{ChunkRequest, RequestClass},
    },
};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use super::loopback::{self, sampled};

/// Larger than a run, and than all that can be under way unread.
const SNAPSHOT_BYTES: u64 = 40 << 20;
/// As long as for anything else that takes a thread and a disk.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the issue promises, from when the configuration is in force.
const PROMISED: Duration = Duration::from_secs(1);

/// The running service.
pub struct Followed {
    pub address: std::net::SocketAddr,
    pub channels: LiveChannels,
    /// What it serves.
    pub manifest: Arc<Manifest>,
    block: PathBuf,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    _folders: [TempDir; 2],
}

impl Followed {
    pub async fn start() -> Self {
        let completed = sampled(SNAPSHOT_BYTES, false);
        let place = TempDir::new().unwrap();
        let (root, state) = (place.path().join("root"), place.path().join("state"));
        std::fs::create_dir_all(root.join("completed")).unwrap();
        std::fs::create_dir(&state).unwrap();
        std::fs::rename(completed.path().join("mychannel"), root.join("completed/mychannel")).unwrap();
        let block = place.path().join("block.pb");
        std::fs::copy(loopback::fixture("network/config_block.pb"), &block).unwrap();
        let config = loopback::config();
        let daemon = Daemon::start(DaemonSettings {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            snapshots_root: OsDir::open(&root).unwrap(),
            state: OsDir::open(&state).unwrap(),
            channels: vec![(*config).clone().into()],
            watched: [(config.channel().clone(), block.clone())].into(),
            identity: loopback::identity(1),
            tls: Arc::new(loopback::tls_pair(1)),
            tuning: Tuning::default(),
            busy: tokio::sync::watch::channel(false).1,
            limits: ServeLimits::default(),
            scan_interval: Duration::from_millis(50),
            scrub_period: None,
            allow_delete: false,
            peer: None,
            clock: Arc::new(loopback::now),
        });
        let daemon = daemon.unwrap();
        let (address, channels, catalog) = (daemon.address(), daemon.channels().clone(), Arc::clone(daemon.catalog()));
        let mut versions = catalog.subscribe(config.channel());
        let listed = async {
            while catalog.page(config.channel()).1.is_empty() {
                versions.changed().await.unwrap();
            }
        };
        timeout(PATIENCE, listed).await.unwrap();
        let id = catalog.page(config.channel()).1[0].id.clone();
        let manifest = catalog.snapshot(&id).unwrap().manifest.clone();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(daemon.run(async { drop(stopped.await) }));
        Self { address, channels, manifest, block, stop, task, _folders: [completed, place] }
    }

    /// Puts a newer block in the place of the one that is followed, and waits until it is in force.
    pub async fn follow(&self, block: &[u8]) {
        let mut changes = self.channels.changes();
        let new = self.block.with_extension("new");
        std::fs::write(&new, block).unwrap();
        std::fs::rename(new, &self.block).unwrap();
        timeout(PATIENCE, changes.changed()).await.unwrap().unwrap();
    }

    pub async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap();
    }

    /// A transfer that has begun and isn't read further: more is asked for than can be under way unread.
    pub async fn begun(&self, session: &Session) -> ChunkStream {
        let files = self.manifest.files();
        let index = files.iter().position(|file| file.size > u64::from(RUN_CHUNKS_MAX + 1) << 20).unwrap();
        let request = ChunkRequest {
            id: self.manifest.id().clone(),
            manifest_hash: self.manifest.hash(),
            file_index: u32::try_from(index).unwrap(),
            first_chunk: ChunkIndex(0),
            count: RUN_CHUNKS_MAX,
            accept_zstd: false,
            class: RequestClass::Bulk,
            lease_id: 0,
        };
        let mut stream = loopback::chunks(session, request, files[index].size).await.unwrap();
        stream.next().await.unwrap().unwrap();
        stream
    }
}

/// The session is closed with UNAUTHORIZED and no reason in time, and its transfer doesn't come to its end.
pub async fn is_cut_off(session: &Session, stream: ChunkStream) {
    let closed = timeout(PROMISED, session.closed()).await.expect("closed within a second");
    assert_eq!(closed.code(), Some(ErrorCode::Unauthorized), "{closed}");
    assert_eq!(closed.to_string().matches('(').count(), 0, "no reason is told: {closed}");
    let (chunks, error) = rest(stream).await;
    assert!(error.is_some() && chunks < RUN_CHUNKS_MAX - 1, "{chunks} {error:?}");
    assert!(session.ping().await.is_err());
}

/// The session lives, and its transfer comes to its end.
pub async fn is_left_alone(session: &Session, stream: ChunkStream) {
    session.ping().await.unwrap();
    let (chunks, error) = rest(stream).await;
    assert!(error.is_none() && chunks == RUN_CHUNKS_MAX - 1, "{chunks} {error:?}");
}

async fn rest(mut stream: ChunkStream) -> (u32, Option<AskError>) {
    let mut chunks = 0;
    loop {
        match stream.next().await {
            Ok(Some(_)) => chunks += 1,
            Ok(None) => return (chunks, None),
            Err(error) => return (chunks, Some(error)),
        }
    }
}
