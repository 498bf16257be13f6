//! The service beside a peer: advertises its finished snapshots and serves them to the organisations of their channels.
//!
//! Decides what is served to whom on which socket, and when folders are looked at again. How it is served is
//! [`crate::transport::serving`]'s, what is worth serving [`crate::catalog`]'s.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use quinn::Endpoint;
use tokio::sync::watch;

use super::{
    BundleError, Bundles, CONFIG_AGE_MAX, CONFIG_POLL, ConfigWatch, ConfigWatchSettings, ConfigWatcher, Given, Judged,
    peer_begins::PeerBegins,
};
use crate::{
    catalog::{
        Attestation, Attestor, AuditLog, AuditRecord, Catalog, LANDED_DIR, Landed, Repairs, STATEMENTS_DIR, Scrubber,
        StatementStore,
    },
    chunking::{Workers, step_back},
    disk::{Dir, DiskError},
    msp::{LocalIdentity, MspError, TlsPair},
    peer::PeerConnection,
    service::control::{ControlContext, ControlError, ControlServer},
    snapshot::ChannelId,
    transport::{
        WallClock,
        endpoint::{Tuning, bind},
        fault::{ErrorCode, chain},
        limits::SERVE_BUFFERS,
        live::LiveChannels,
        serving::{Attest, ServeContext, ServeLimits, serve},
        session::SessionContext,
        tls::{Usage, orgs_accepting, server_config},
        wire::{self, Refusal},
    },
};

/// Threads that read, hash and compress for all sessions: more would only take the peer's CPU.
const WORKERS_MAX: usize = 4;
/// Folder of the catalog's manifests, in the state folder.
pub const MANIFESTS_DIR: &str = "manifests";
/// Folder of finished snapshots, in the peer's `ledger.snapshots.rootDir` (fabric: core/ledger/kvledger/snapshot.go).
pub const COMPLETED_DIR: &str = "completed";

/// What the service needs; nothing is read from the environment.
#[derive(Clone)]
pub struct DaemonSettings {
    /// Where to listen (UDP).
    pub listen: SocketAddr,
    /// The peer's snapshots folder (`ROOT`, with `completed/CH/N` in it).
    pub snapshots_root: Arc<dyn Dir>,
    /// Our state folder.
    pub state: Arc<dyn Dir>,
    /// The channels that are served: what is in force of it must come from what was (see [`Bundles::judge`]).
    pub channels: Vec<Given>,
    /// Where newer configuration blocks of them will be, per channel: a file, or a folder.
    pub watched: BTreeMap<ChannelId, PathBuf>,
    /// Our MSP identity.
    pub identity: Arc<LocalIdentity>,
    /// Our TLS pair.
    pub tls: Arc<TlsPair>,
    /// Settings of connections.
    pub tuning: Tuning,
    /// Whether others on this host need it more: see [`super::watch_host`].
    pub busy: watch::Receiver<bool>,
    /// Caps on what others may use.
    pub limits: ServeLimits,
    /// How often the snapshots folder is looked at.
    pub scan_interval: Duration,
    /// How often each byte that is served is read again, in search of rot; `None`: only when it is asked for.
    pub scrub_period: Option<Duration>,
    /// Whether an admin may have snapshots deleted; nothing is ever written in the snapshots folder otherwise.
    pub allow_delete: bool,
    /// The peer beside us, if it can be asked: joiners are told where it begins.
    pub peer: Option<PeerConnection>,
    /// Wall time.
    pub clock: WallClock,
}

/// Why the service can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// No channel to serve.
    #[error("no channel to serve: give --config-block FILE, or channels.CHANNEL.configBlock in the configuration")]
    NoChannel,
    /// A channel's configuration is older than the one that was in force, or doesn't come from it.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Our own identity isn't a member of a channel.
    #[error(
        "our identity {subject} of {msp_id} isn't accepted in channel {channel}: {source}; check identity.* and the channel's config block"
    )]
    NotMember {
        /// The channel.
        channel: ChannelId,
        /// Our organisation.
        msp_id: String,
        /// Our certificate's subject.
        subject: String,
        /// Why not.
        source: Box<MspError>,
    },
    /// Our TLS certificate isn't from our organisation's TLS CA.
    #[error(
        "our TLS certificate isn't from a TLS CA of {msp_id} in channel {channel}, or has expired: check identity.tls.*"
    )]
    TlsNotOurs {
        /// The channel.
        channel: ChannelId,
        /// Our organisation.
        msp_id: String,
    },
    /// Our TLS pair.
    #[error("our TLS pair can't be used to serve: {0}")]
    Tls(#[from] rustls::Error),
    /// QUIC needs AES-128-GCM for its first packets.
    #[error("TLS without the cipher suite that QUIC starts with")]
    NoInitialSuite,
    /// The UDP socket.
    #[error("UDP {address} can't be bound: {source}; is another service running there?")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The snapshots folder or the state folder.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The snapshots folder has no `completed`.
    #[error("{} has no folder `completed`: is it the peer's ledger.snapshots.rootDir (by default FILESYSTEMPATH/snapshots), and has the peer started once?", root.display())]
    NoCompleted {
        /// What is configured.
        root: PathBuf,
    },
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A thread.
    #[error("the system refused a thread: {0}")]
    Threads(io::Error),
}

/// A started service; [`Self::run`] serves until told to stop.
pub struct Daemon {
    endpoint: Endpoint,
    address: SocketAddr,
    catalog: Arc<Catalog>,
    attestor: Arc<Attestor>,
    control: ControlServer,
    context: ServeContext,
    stop: watch::Sender<bool>,
    scanner: Scanner,
    scrubbing: Option<Scrubbing>,
    config_watch: ConfigWatcher,
    peer_begins: Option<PeerBegins>,
}

impl Daemon {
    /// Checks who we are, binds the socket, and starts to look at the snapshots folder. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`DaemonError`]: nothing runs then.
    pub fn start(settings: DaemonSettings) -> Result<Self, DaemonError> {
        let bundles = Bundles::open(&*settings.state)?;
        let judge = |given| bundles.judge(given);
        let channels = settings.channels.iter().map(judge).collect::<Result<Vec<Judged>, _>>()?;
        check_membership(&settings, &channels)?;
        let completed = open_completed(&*settings.snapshots_root)?;
        let manifests = subfolder(&*settings.state, MANIFESTS_DIR)?;
        let repairs = Repairs::in_state(&*settings.state)?;
        let catalog = Catalog::open(completed, manifests, (settings.clock)())
            .with_deletion(settings.allow_delete)
            .with_repairs(repairs);
        let catalog = Arc::new(catalog);
        let statements = Arc::new(StatementStore::open(subfolder(&*settings.state, STATEMENTS_DIR)?));
        let landed = Arc::new(Landed::open(subfolder(&*settings.state, LANDED_DIR)?));
        let attestor =
            Arc::new(Attestor::new(Arc::clone(&settings.identity), Arc::clone(&statements), Arc::clone(&landed)));

        // Not before: a block that can't be ours would be on record for good.
        channels.iter().try_for_each(|judged| bundles.note(judged))?;
        let served = channels.iter().map(|judged| judged.rooted.config.channel().clone()).collect();
        let channels = LiveChannels::new(channels.into_iter().map(|judged| judged.rooted.config));
        let trust = channels.trust();
        trust.current().warn_of_outdated((settings.clock)());
        let tls = server_config(trust, &settings.tls, Arc::clone(&settings.clock))?;
        let quic = settings.tuning.server(tls).map_err(|_| DaemonError::NoInitialSuite)?;
        let failed = |source| DaemonError::Bind { address: settings.listen, source };
        let endpoint = bind(settings.listen, Some(quic), &settings.tuning).map_err(failed)?;
        let address = endpoint.local_addr().map_err(failed)?;

        let config_watch = ConfigWatch::new(ConfigWatchSettings {
            paths: settings.watched,
            channels: channels.clone(),
            bundles,
            identity: Arc::clone(&settings.identity),
            clock: Arc::clone(&settings.clock),
            interval: CONFIG_POLL,
            age_max: Some(CONFIG_AGE_MAX),
        });
        let config_watch = config_watch.start().map_err(DaemonError::Threads)?;
        let threads = thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
        let (stop, shutdown) = watch::channel(false);
        let audit = Arc::new(AuditLog::new(Arc::clone(&settings.state)));
        let context = ServeContext {
            catalog: Arc::clone(&catalog),
            channels,
            attest: attest(&catalog, &attestor, &settings.clock),
            audit: Some(Arc::clone(&audit)),
            session: SessionContext::new(settings.identity, settings.tls.leaf().clone(), settings.clock),
            only_org: None,
            busy: settings.busy,
            limits: settings.limits,
            workers: Workers::background(threads, SERVE_BUFFERS).map_err(DaemonError::Threads)?,
            shutdown,
        };
        let control = ControlContext {
            catalog: Arc::clone(&catalog),
            attestor: Arc::clone(&attestor),
            statements,
            landed,
            audit: Arc::clone(&audit),
            channels: context.channels.clone(),
            identity: Arc::clone(&context.session.identity),
            clock: Arc::clone(&context.session.clock),
        };
        let control = ControlServer::start(&settings.state, control)?;
        // Not before: the state folder is ours alone from here on.
        audit.append(&AuditRecord::started(), (context.session.clock)())?;
        let scanner = Scanner::start(Arc::clone(&catalog), settings.scan_interval).map_err(DaemonError::Threads)?;
        let clock = Arc::clone(&context.session.clock);
        let scrub = |period| Scrubbing::start(Arc::clone(&catalog), period, clock, context.busy.clone());
        let scrubbing = settings.scrub_period.map(scrub).transpose().map_err(DaemonError::Threads)?;
        let peer_begins = settings.peer.map(|connection| PeerBegins {
            connection,
            identity: Arc::clone(&context.session.identity),
            clock: Arc::clone(&context.session.clock),
            catalog: Arc::clone(&catalog),
            channels: served,
        });
        Ok(Self {
            endpoint,
            address,
            catalog,
            attestor,
            control,
            context,
            stop,
            scanner,
            scrubbing,
            config_watch,
            peer_begins,
        })
    }

    /// Where it listens: the port that the system chose, if 0 was asked for.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it advertises.
    #[must_use]
    pub const fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// What signs for it.
    #[must_use]
    pub const fn attestor(&self) -> &Arc<Attestor> {
        &self.attestor
    }

    /// The channels that it serves, with the configurations of the moment.
    #[must_use]
    pub const fn channels(&self) -> &LiveChannels {
        &self.context.channels
    }

    /// Serves until `stop` completes; running answers are finished first, for a few seconds.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let serving = serve(self.endpoint, self.context);
        let mut serving = std::pin::pin!(serving);
        let peer_begins = async {
            match self.peer_begins {
                Some(peer_begins) => peer_begins.run().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop => {}
            () = &mut serving => return,
            () = self.control.run() => {}
            () = peer_begins => {}
        }
        let _ = self.stop.send(true); // nobody to tell: serving has ended by itself
        serving.await;
        drop((self.scanner, self.scrubbing, self.config_watch));
    }
}

/// Our own identity and TLS pair must be good in every channel: better said now than by every peer later.
fn check_membership(settings: &DaemonSettings, channels: &[Judged]) -> Result<(), DaemonError> {
    let now = (settings.clock)();
    let identity = &settings.identity.identity;
    if channels.is_empty() {
        return Err(DaemonError::NoChannel);
    }
    for config in channels.iter().map(|judged| &judged.rooted.config) {
        let channel = config.channel().clone();
        let msp_id = identity.msp_id().to_string();
        config.validate(identity, now).map_err(|source| DaemonError::NotMember {
            channel: channel.clone(),
            msp_id: msp_id.clone(),
            subject: identity.subject().to_owned(),
            source: Box::new(source),
        })?;
        if !orgs_accepting(config, &settings.tls.chain, now, Usage::Server).contains(identity.msp_id()) {
            return Err(DaemonError::TlsNotOurs { channel, msp_id });
        }
    }
    Ok(())
}

/// What the wire asks for ([`ServeContext::attest`]): the reason of a refusal stays in the log.
#[must_use]
pub fn attest(catalog: &Arc<Catalog>, attestor: &Arc<Attestor>, clock: &WallClock) -> Attest {
    let (catalog, attestor, clock) = (Arc::clone(catalog), Arc::clone(attestor), Arc::clone(clock));
    Arc::new(move |config, get| {
        let signed = attestor.attest(&catalog, &get.id, &get.nonce, config, clock());
        let signed = signed.map_err(|error| {
            tracing::warn!(snapshot = %get.id, reason = %chain(&error), "asked for an attestation, and refused");
            if error.may_pass() {
                // Else a joiner takes it for our last word, and goes away while we recover.
                return Refusal::new(ErrorCode::Busy, "this snapshot can't be attested just now");
            }
            Refusal::new(ErrorCode::NotFound, "this snapshot isn't attested here")
        })?;
        let on_wire = |attestation: Attestation| wire::Attestation {
            body: attestation.body_bytes().clone(),
            signature: attestation.signature().clone(),
        };
        Ok(signed.into_iter().map(on_wire).collect())
    })
}

fn subfolder(state: &dyn Dir, name: &str) -> Result<Arc<dyn Dir>, DiskError> {
    state.create_dir(name)?;
    // Else a power cut may take a guard away with its folder.
    state.sync_dir()?;
    state.open_dir(name)
}

/// A peer that never finished a snapshot has no `completed` yet: an empty one may come later, a missing root is a mistake.
fn open_completed(root: &dyn Dir) -> Result<Arc<dyn Dir>, DaemonError> {
    match root.open_dir(COMPLETED_DIR) {
        Err(error) if error.is_not_found() => Err(DaemonError::NoCompleted { root: root.path().to_owned() }),
        opened => Ok(opened?),
    }
}

/// The thread that looks at the snapshots folder; dropped, it ends after the scan that runs.
struct Scanner {
    _stop: mpsc::Sender<()>,
}

impl Scanner {
    fn start(catalog: Arc<Catalog>, interval: Duration) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        thread::Builder::new().name("scanner".to_owned()).spawn(move || {
            let mut failing = None;
            loop {
                match catalog.scan() {
                    Ok(_) => failing = None, // the catalog logs what it found
                    Err(error) => {
                        let reason = error.to_string();
                        if failing.as_ref() != Some(&reason) {
                            tracing::error!(%reason, "the snapshots folder can't be read; nothing new is advertised");
                        }
                        failing = Some(reason);
                    }
                }
                if stopped.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Self { _stop: stop })
    }
}

/// So much slower while others on this host need it: nothing hurries here, but rot is still found where a host is always busy.
const SCRUB_SLOWER_WHEN_BUSY: u32 = 8;

/// The thread that reads what is served again; dropped, it ends after the chunk that it reads.
struct Scrubbing {
    _stop: mpsc::Sender<()>,
}

impl Scrubbing {
    fn start(
        catalog: Arc<Catalog>,
        period: Duration,
        clock: WallClock,
        busy: watch::Receiver<bool>,
    ) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        thread::Builder::new().name("scrubber".to_owned()).spawn(move || {
            step_back();
            let mut scrubber = Scrubber::new(period);
            loop {
                let mut pause = scrubber.step(&catalog, clock());
                if *busy.borrow() {
                    pause *= SCRUB_SLOWER_WHEN_BUSY;
                }
                if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Self { _stop: stop })
    }
}
