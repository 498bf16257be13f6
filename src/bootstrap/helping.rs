//! A join that serves what it has proved while it runs, to joiners of its own organisation: they help each other, and each chunk leaves
//! the other organisations' sources fewer times.
//!
//! Decides who is served (our own organisation), and from when until when. What is given are chunks of the store that were proved in this
//! run, each read back and proved again; the serving itself is [`crate::transport::serving`]'s. Nothing is ever attested here.

use std::{fmt, net::SocketAddr, sync::Arc};

use quinn::Endpoint;
use tokio::{sync::watch, task::JoinHandle};

use super::{dialer::DialError, dialer::Dialling, error::JoinError};
use crate::{
    catalog::{AgreedSnapshot, Catalog, LeaseLimits, ServedSnapshot, UnderWay},
    chunking::{FileTree, Store, Workers},
    disk::Dir,
    snapshot::SnapshotId,
    transport::{
        fault::ErrorCode,
        limits::SERVE_BUFFERS,
        serving::{Attest, ServeContext, ServeLimits, serve},
        session::SessionContext,
        tls::server_config,
        wire::Refusal,
    },
};

/// Threads that read and hash for others: the join itself needs the rest.
const WORKERS: usize = 1;

/// How a join serves others.
#[derive(Debug, Clone, Copy)]
pub struct ServeWhileJoining {
    /// Where to listen (UDP); port 0: any.
    pub listen: SocketAddr,
    /// Caps on what others may use.
    pub limits: ServeLimits,
}

/// The serving side of a join. Dropped, it breaks off.
pub(super) struct Helper {
    catalog: Arc<Catalog>,
    pub(super) address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Helper {
    /// Listens; has nothing to give yet.
    pub(super) fn start(
        settings: ServeWhileJoining,
        dialling: &Dialling,
        workers: &Workers,
        land: &Arc<dyn Dir>,
    ) -> Result<Self, JoinError> {
        let endpoint = listen(settings.listen, dialling)?;
        let address = endpoint.local_addr().map_err(DialError::Socket)?;
        // Nobody but our own organisation: it may have all there are.
        let all = LeaseLimits::default().all;
        let catalog = Catalog::of_join(Arc::clone(land), (dialling.clock)());
        let catalog = Arc::new(catalog.with_lease_limits(LeaseLimits { per_org: all, all }));
        let (stop, shutdown) = watch::channel(false);
        let leaf = dialling.tls.leaf().clone();
        let never: Attest = Arc::new(|_, _| Err(Refusal::new(ErrorCode::NotFound, "a joining peer attests nothing")));
        let context = ServeContext {
            catalog: Arc::clone(&catalog),
            channels: dialling.live.clone(),
            attest: never,
            audit: None,
            session: SessionContext::new(Arc::clone(&dialling.identity), leaf, Arc::clone(&dialling.clock)),
            only_org: Some(dialling.identity.identity.msp_id().clone()),
            // Who joins has no peer yet to step back for.
            busy: watch::channel(false).1,
            limits: settings.limits,
            workers: match workers {
                // Of its own: its queue has a place for every buffer, so that nothing waits on the thread that drives QUIC.
                Workers::Threads(_) => Workers::threads(WORKERS, SERVE_BUFFERS).map_err(JoinError::Threads)?,
                other => other.clone(),
            },
            shutdown,
        };
        let task = tokio::spawn(serve(endpoint, context));
        Ok(Self { catalog, address, stop, task })
    }

    /// Gives what the store of that snapshot proves, until the answer is dropped.
    pub(super) fn share(&self, agreed: &AgreedSnapshot, trees: &[FileTree], store: &Arc<Store>) -> Shared {
        let (found, listed, counted) = (Arc::downgrade(store), Arc::downgrade(store), Arc::downgrade(store));
        // Weak: the store's lock goes when the join is through with it, whoever still reads.
        let chunks = UnderWay::new(
            Arc::new(move |file_index, chunk| found.upgrade()?.readable(file_index, chunk)),
            Arc::new(move |file_index| listed.upgrade().map(|store| store.proved(file_index)).unwrap_or_default()),
            Arc::new(move || counted.upgrade().map_or(u64::MAX, |store| store.version())),
        );
        let trees = trees.iter().map(|tree| tree.tree().clone()).collect();
        self.catalog.share(Arc::new(ServedSnapshot::under_way(agreed.manifest().clone(), trees, chunks)));
        Shared { catalog: Arc::clone(&self.catalog), id: agreed.id().clone() }
    }

    /// Stops: what is being sent is finished first, for a few seconds.
    pub(super) async fn stop(mut self) {
        let _ = self.stop.send(true); // nobody to tell: it has ended by itself
        let _ = (&mut self.task).await;
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Helper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Helper({})", self.address)
    }
}

/// A snapshot that is given to others as long as this lives.
#[derive(Debug)]
pub(super) struct Shared {
    catalog: Arc<Catalog>,
    id: SnapshotId,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.catalog.unshare(&self.id);
    }
}

/// On the same network as the sources are dialled from.
fn listen(address: SocketAddr, dialling: &Dialling) -> Result<Endpoint, DialError> {
    let tls = server_config(dialling.live.trust(), &dialling.tls, Arc::clone(&dialling.clock))?;
    let quic = dialling.tuning.server(tls).map_err(|_| DialError::NoInitialSuite)?;
    let opened = dialling.network.open(address, &dialling.tuning);
    let endpoint = opened.map_err(|source| DialError::Listen { address, source })?;
    endpoint.set_server_config(Some(quic));
    Ok(endpoint)
}
