//! The throwaway organisations: their folders, identities and services, on loopback, in one temporary folder.

use super::liar::Liar;
use crate::cli::{
    channel::wall_clock,
    exit::{Exit, Failure},
};
use snapferry::{
    bootstrap::Dialling,
    catalog::{Catalog, ServedSnapshot},
    disk::{Access, Dir, OsDir},
    msp::{ChannelConfig, GrantBody, JoinGrant, LocalIdentity, MspId, TlsPair},
    service::{
        builtin::{self, BuiltinFile},
        daemon::{Daemon, DaemonSettings},
    },
    snapshot::SnapshotId,
    transport::{
        endpoint::{Tuning, bind},
        live::LiveChannels,
        network::Network,
        serving::ServeLimits,
        session::SessionContext,
        tls::server_config,
    },
};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};

/// New snapshots show up at once: this is a demonstration.
const SCAN_INTERVAL: Duration = Duration::from_millis(100);
/// Hashing the sample takes a second or two; far more means that something is wrong.
const ADVERTISED_WITHIN: Duration = Duration::from_secs(120);

/// A join takes seconds here.
const GRANTED_FOR: Duration = Duration::from_secs(3600);

/// Packets as large as loopback carries: a demonstration has no routers on its way.
pub(super) fn tuning() -> Tuning {
    Tuning { mtu_upper_bound: 6_400, ..Tuning::default() }
}

/// One organisation's peer: who it is, and its folder.
pub(super) struct Member {
    pub(super) msp_id: &'static str,
    identity: Arc<LocalIdentity>,
    tls: Arc<TlsPair>,
    pub(super) dir: Arc<dyn Dir>,
}

impl Member {
    /// Unpacks the built-in keys of an organisation into a folder of its own.
    pub(super) fn new(stage: &dyn Dir, name: &str, built_in: (&'static str, &[BuiltinFile])) -> Result<Self, Failure> {
        let (msp_id, files) = built_in;
        let dir = subfolder(stage, name)?;
        for (path, bytes) in files {
            unpack(&*dir, path, bytes)?;
        }
        let broken = |error: &dyn std::fmt::Display| Failure::new(Exit::Failed, format!("the built-in keys: {error}"));
        let id = MspId::new(msp_id).ok_or_else(|| broken(&"no MSP ID"))?;
        let identity = LocalIdentity::load(&id, &dir.path().join("msp")).map_err(|error| broken(&error))?;
        let tls = TlsPair::load(&dir.path().join("tls/server.crt"), &dir.path().join("tls/server.key"));
        let tls = Arc::new(tls.map_err(|error| broken(&error))?);
        Ok(Self { msp_id, identity: Arc::new(identity), tls, dir })
    }

    /// The peer's folder of finished snapshots of the channel.
    pub(super) fn completed(&self) -> Result<Arc<dyn Dir>, Failure> {
        let root = subfolder(&*self.dir, "snapshots")?;
        subfolder(&*subfolder(&*root, "completed")?, builtin::CHANNEL)
    }

    /// What it dials with: it is a peer, so an admin of its organisation grants it to list and to have signed.
    pub(super) fn dialling(&self, channel: &ChannelConfig, admin: &LocalIdentity) -> Result<Dialling, Failure> {
        let (peer, now) = (self.identity.identity.id(), (wall_clock())());
        let body = GrantBody::new(channel.channel(), peer, now, GRANTED_FOR, &admin.identity);
        let grant = JoinGrant::sign(&body, admin)
            .map_err(|error| Failure::new(Exit::Failed, format!("the admin can't grant: {error}")))?;
        Ok(Dialling {
            channel: channel.channel().clone(),
            live: LiveChannels::new([channel.clone()]),
            identity: Arc::clone(&self.identity),
            tls: Arc::clone(&self.tls),
            grant: Some(grant.encode().into()),
            tuning: tuning(),
            network: Network::system(),
            clock: wall_clock(),
        })
    }

    /// A folder of its own, for whatever it needs.
    pub(super) fn folder(&self, name: &str) -> Result<Arc<dyn Dir>, Failure> {
        subfolder(&*self.dir, name)
    }

    /// Starts its service, on a thread of its own as if it were a process.
    pub(super) fn serve(&self, channel: &ChannelConfig) -> Result<Service, Failure> {
        let settings = DaemonSettings {
            listen: loopback(),
            snapshots_root: subfolder(&*self.dir, "snapshots")?,
            state: subfolder(&*self.dir, "state")?,
            channels: vec![channel.clone().into()],
            watched: BTreeMap::new(),
            identity: Arc::clone(&self.identity),
            tls: Arc::clone(&self.tls),
            tuning: tuning(),
            busy: tokio::sync::watch::channel(false).1,
            limits: ServeLimits::default(),
            scan_interval: SCAN_INTERVAL,
            scrub_period: None,
            allow_delete: false,
            peer: None,
            clock: wall_clock(),
        };
        let (started, start) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name(self.msp_id.to_owned()).spawn(move || {
            let told = started.clone();
            let served = on_own_runtime(async move {
                let daemon = Daemon::start(settings)?;
                let _ = told.send(Ok((daemon.address(), Arc::clone(daemon.catalog()))));
                daemon.run(async { drop(stopped.await) }).await;
                Ok(())
            });
            if let Err(failure) = served {
                let _ = started.send(Err(failure)); // nobody waits any more once it had started
            }
        })?;
        let gone = |_| Failure::new(Exit::Failed, "the service ended before it had started");
        let (address, catalog) = start.recv().map_err(gone)??;
        Ok(Service { address, catalog, stop: Some(stop), thread: Some(thread) })
    }

    /// Starts a source with this identity that flips a bit of every chunk of `snapshot`. Needs a tokio runtime.
    pub(super) fn lie(&self, channel: &ChannelConfig, snapshot: Arc<ServedSnapshot>) -> Result<SocketAddr, Failure> {
        let failed =
            |error: &dyn std::fmt::Display| Failure::new(Exit::Failed, format!("the liar can't start: {error}"));
        let live = LiveChannels::new([channel.clone()]);
        let tls = server_config(live.trust(), &self.tls, wall_clock()).map_err(|error| failed(&error))?;
        let quic = tuning().server(tls).map_err(|error| failed(&error))?;
        let endpoint = bind(loopback(), Some(quic), &tuning())?;
        let address = endpoint.local_addr()?;
        let session = SessionContext::new(Arc::clone(&self.identity), self.tls.leaf().clone(), wall_clock());
        let liar = Liar { snapshot, live, session };
        tokio::spawn(liar.serve(endpoint));
        Ok(address)
    }
}

/// An admin's identity, unpacked.
pub(super) fn admin(stage: &dyn Dir, built_in: (&'static str, &[BuiltinFile])) -> Result<LocalIdentity, Failure> {
    let (msp_id, files) = built_in;
    let dir = subfolder(stage, "admin")?;
    for (path, bytes) in files {
        unpack(&*dir, path, bytes)?;
    }
    let broken = |error: &dyn std::fmt::Display| Failure::new(Exit::Failed, format!("the built-in keys: {error}"));
    let id = MspId::new(msp_id).ok_or_else(|| broken(&"no MSP ID"))?;
    LocalIdentity::load(&id, &dir.path().join("msp")).map_err(|error| broken(&error))
}

/// A running service; dropped, it stops.
pub(super) struct Service {
    pub(super) address: SocketAddr,
    catalog: Arc<Catalog>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Waits until the service has read, hashed and advertised a snapshot.
    pub(super) async fn advertised(&self, id: &SnapshotId) -> Result<Arc<ServedSnapshot>, Failure> {
        let mut version = self.catalog.subscribe(&id.channel);
        let seen = async {
            loop {
                version.borrow_and_update();
                if let Some(snapshot) = self.catalog.snapshot(id) {
                    return Some(snapshot);
                }
                version.changed().await.ok()?;
            }
        };
        let late = || Failure::new(Exit::Failed, format!("{id} was not advertised")).next("run with -v to see why");
        timeout(ADVERTISED_WITHIN, seen).await.ok().flatten().ok_or_else(late)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // what went wrong in it was logged there
        }
    }
}

/// Writes a built-in file, with the folders above it.
pub(super) fn unpack(dir: &dyn Dir, path: &str, bytes: &[u8]) -> Result<(), Failure> {
    match path.split_once('/') {
        Some((folder, rest)) => unpack(&*subfolder(dir, folder)?, rest, bytes),
        None => Ok(dir.open_file(path, Access::CreateNew)?.write_all_at(bytes, 0)?),
    }
}

/// A folder below `dir`, made if it is missing.
pub(super) fn subfolder(dir: &dyn Dir, name: &str) -> Result<Arc<dyn Dir>, Failure> {
    dir.create_dir(name)?;
    Ok(dir.open_dir(name)?)
}

/// Copies the files of a snapshot folder, as another organisation's peer would have written the same ones.
pub(super) fn copy_folder(from: &Path, to: &dyn Dir) -> Result<(), Failure> {
    for entry in OsDir::open(from)?.list()? {
        std::fs::copy(from.join(&entry.name), to.path().join(&entry.name))?;
    }
    Ok(())
}

fn on_own_runtime(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

const fn loopback() -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0)
}
