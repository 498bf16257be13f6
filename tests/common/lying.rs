//! A source in the test's own process that is who it says (or isn't: the credentials are the test's) and tells the truth about a
//! snapshots folder, but for one [`Lie`].

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use snapferry::{
    catalog::Catalog,
    disk::OsDir,
    msp::{ChannelConfig, LocalIdentity, MspId, TlsPair},
    transport::{
        WallClock,
        endpoint::{self, Tuning},
        live::LiveChannels,
        session::SessionContext,
        tls,
    },
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

#[path = "lies.rs"]
mod lies;

pub use lies::Lie;
use lies::LyingService;

use super::processes::{Credentials, recorded};

/// A source that runs until it is dropped.
pub struct Source {
    pub address: SocketAddr,
    /// The identity, in hexadecimal.
    pub identity_id: String,
    service: Arc<LyingService>,
    _runtime: Runtime,
    _state: TempDir,
}

impl Source {
    /// A source of those credentials over `completed`.
    pub fn start(who: &Credentials, completed: &Path, lie: Lie) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _guard = runtime.enter();
        let state = TempDir::new().unwrap();
        let open = |path: &Path| OsDir::open(path).unwrap();
        let catalog = Arc::new(Catalog::open(open(completed), open(state.path()), SystemTime::now()));
        catalog.scan().unwrap();
        let block = std::fs::read(recorded("config_block.pb")).unwrap();
        let channels = LiveChannels::new([ChannelConfig::from_block(&block).unwrap()]);
        let identity = LocalIdentity::load(&MspId::new(&who.msp_id).unwrap(), &who.msp_dir).unwrap();
        let identity_id = identity.identity.id().to_string();
        let pair = TlsPair::load(&who.tls_cert, &who.tls_key).unwrap();
        let clock: WallClock = Arc::new(SystemTime::now);
        let server =
            Tuning::default().server(tls::server_config(channels.trust(), &pair, Arc::clone(&clock)).unwrap()).unwrap();
        let endpoint = endpoint::bind((Ipv4Addr::LOCALHOST, 0).into(), Some(server), &Tuning::default()).unwrap();
        let address = endpoint.local_addr().unwrap();
        let context = SessionContext::new(Arc::new(identity), pair.leaf().clone(), clock);
        let service = LyingService::new(catalog, context, channels, lie);
        let serving = Arc::clone(&service);
        runtime.spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                tokio::spawn(Arc::clone(&serving).serve(incoming));
            }
        });
        drop(_guard);
        Self { address, identity_id, service, _runtime: runtime, _state: state }
    }

    /// How often it was asked for chunks.
    pub fn chunk_requests(&self) -> usize {
        self.service.chunk_requests()
    }
}
