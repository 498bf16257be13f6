//! A service on a simulated machine: honest, or one that lies.

use std::{net::SocketAddr, sync::Arc};

use netsim::{Host, disk::SimDisk};
use snapferry::{
    catalog::{Attestor, AuditLog, Catalog, LANDED_DIR, Landed, Repairs, STATEMENTS_DIR, StatementStore},
    chunking::Workers,
    disk::Dir,
    service::daemon::{MANIFESTS_DIR, attest},
    transport::{
        WallClock,
        endpoint::{Tuning, endpoint_config},
        live::LiveChannels,
        serving::{ServeContext, ServeLimits, serve},
        session::SessionContext,
        tls::server_config,
    },
};
use tokio::{sync::watch, task::JoinHandle};

use super::{
    channel::SimPeer,
    disk::sim_dir,
    liar::{self, Lie, LyingService},
};

/// The port of every simulated service.
pub const PORT: u16 = 7061;

/// A service; dropped, its machine stands still.
pub struct Service {
    pub host: Host,
    pub peer: Arc<SimPeer>,
    pub disk: SimDisk,
    /// What its watcher of configuration blocks puts in force.
    pub live: LiveChannels,
    pub limits: ServeLimits,
    /// Whether others on its machine need it more.
    pub busy: watch::Sender<bool>,
    /// What runs in its place if it lies.
    pub liar: Option<Arc<LyingService>>,
    clock: WallClock,
    lies: Option<Lie>,
    seed: u64,
    running: Option<Running>,
}

struct Running {
    catalog: Arc<Catalog>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Service {
    /// Of `peer` on `host`, over the snapshots on `disk`; not started.
    pub fn new(host: Host, peer: Arc<SimPeer>, disk: SimDisk, live: LiveChannels, clock: WallClock, seed: u64) -> Self {
        let limits = ServeLimits::default();
        let busy = watch::Sender::new(false);
        Self { host, peer, disk, live, limits, busy, liar: None, clock, lies: None, seed, running: None }
    }

    /// One that lies.
    pub fn lying(self, lies: Option<Lie>) -> Self {
        Self { lies, ..self }
    }

    /// Where others find it.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host.ips()[0], PORT)
    }

    /// What it has, while it runs.
    pub fn catalog(&self) -> Option<&Arc<Catalog>> {
        self.running.as_ref().map(|running| &running.catalog)
    }

    /// Chunks that it fetched again, in its state folder.
    pub fn repairs(&self) -> Repairs {
        Repairs::in_state(&*folder(&*sim_dir(&self.disk), "state")).unwrap()
    }

    /// Reads its snapshots, and serves them; if it runs already, nothing.
    pub fn start(&mut self) {
        if self.running.is_some() {
            return;
        }
        // What is left of a process that was told to stop ends now.
        self.crash();
        let root = sim_dir(&self.disk);
        let state = folder(&*root, "state");
        let completed = folder(&*folder(&*root, "snapshots"), "completed");
        let catalog = Catalog::open(completed, folder(&*state, MANIFESTS_DIR), (self.clock)());
        let catalog = Arc::new(catalog.with_deletion(true).with_repairs(self.repairs()));
        catalog.scan().unwrap();
        let statements = Arc::new(StatementStore::open(folder(&*state, STATEMENTS_DIR)));
        let landed = Arc::new(Landed::open(folder(&*state, LANDED_DIR)));
        let attestor = Arc::new(Attestor::new(Arc::clone(&self.peer.identity), statements, landed));
        let tuning = Tuning { rng_seed: Some(seed(self.seed)), ..Tuning::default() };
        let tls = server_config(self.live.trust(), &self.peer.tls, Arc::clone(&self.clock)).unwrap();
        let server = tuning.server(tls).unwrap();
        let endpoint = self.host.endpoint(PORT, endpoint_config(&tuning), Some(server)).unwrap();
        let (stop, shutdown) = watch::channel(false);
        let context = ServeContext {
            attest: attest(&catalog, &attestor, &self.clock),
            audit: Some(Arc::new(AuditLog::new(state))),
            catalog: Arc::clone(&catalog),
            channels: self.live.clone(),
            session: SessionContext::new(
                Arc::clone(&self.peer.identity),
                self.peer.tls.leaf().clone(),
                Arc::clone(&self.clock),
            ),
            only_org: None,
            busy: self.busy.subscribe(),
            limits: self.limits,
            workers: Workers::Inline,
            shutdown,
        };
        let task = match self.lies {
            None => tokio::spawn(serve(endpoint, context)),
            Some(lie) => {
                let service = LyingService::new(context.catalog, context.session, context.channels, lie.0);
                self.liar = Some(Arc::clone(&service));
                tokio::spawn(liar::serve(endpoint, service))
            }
        };
        self.running = Some(Running { catalog, stop, task });
    }

    /// The machine stops, without a goodbye.
    pub fn crash(&mut self) {
        self.host.crash();
        if let Some(running) = self.running.take() {
            running.task.abort();
        }
        self.disk.kill();
    }

    /// The service is told to stop, and its process ends.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = running.stop.send(true);
        }
    }
}

/// A folder in `parent`, made if it is missing.
pub fn folder(parent: &dyn Dir, name: &str) -> Arc<dyn Dir> {
    parent.create_dir(name).unwrap();
    parent.sync_dir().unwrap();
    parent.open_dir(name).unwrap()
}

/// An endpoint's seed.
pub fn seed(seed: u64) -> [u8; 32] {
    *blake3::hash(&seed.to_le_bytes()).as_bytes()
}
