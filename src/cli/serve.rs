//! `serve`: the daemon beside a peer.

use super::{
    args::ConfigFlags,
    channel,
    context::Context,
    exit::{Exit, Failure},
    peer::configured_peer,
    stop::Stop,
};
use clap::Args;
use snapferry::{
    disk::OsDir,
    peer::PeerConnection,
    service::{
        LogLevel,
        config::{Config, Loaded},
        daemon::{Daemon, DaemonError, DaemonSettings},
        load_channel_config, load_given, watch_host,
    },
    transport::serving::ServeLimits,
};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// A peer finishes a snapshot every few hours at most; looking costs a folder listing.
const SCAN_INTERVAL: Duration = Duration::from_secs(5);

/// How long our peer may take to answer: nobody waits for it.
const PEER_TIMEOUT: Duration = Duration::from_secs(30);

/// Advertises the finished snapshots of the peer beside it, and serves them to the organisations of their channels
///
/// Reads and hashes every snapshot once before it is advertised; one whose files don't match its metadata never is, and the
/// log says so. Follows the channels' configuration blocks: a newer one in the same place, signed as the one in force asks, counts
/// within a second, and whoever it removes or revokes is cut off. Runs until Ctrl-C or SIGTERM. Must run under the peer's uid: finished snapshots have mode 0700.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The channel's configuration block, instead of the configured one; can be given for several channels
    #[arg(long, value_name = "FILE")]
    config_block: Vec<PathBuf>,
    /// Where to listen, QUIC over UDP [default: 0.0.0.0:7061]
    #[arg(long, value_name = "IP:PORT")]
    listen_address: Option<String>,
    /// The peer's ledger.snapshots.rootDir
    #[arg(long, value_name = "DIR")]
    snapshots_root_dir: Option<PathBuf>,
    #[command(flatten)]
    flags: ConfigFlags,
}

impl Serve {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let mut flags = self.flags.by_key();
        flags.extend(self.listen_address.clone().map(|address| ("listenAddress", address)));
        flags.extend(self.snapshots_root_dir.as_ref().map(|dir| ("snapshots.rootDir", dir.display().to_string())));
        let Loaded { config, .. } = context.configure(flags, LogLevel::Info)?;
        let settings = self.settings(context, &config)?;
        let subject = settings.identity.identity.subject().to_owned();
        let msp_id = settings.identity.identity.msp_id().to_string();
        // One thread drives QUIC; reading, hashing and compressing have their own.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let stop = Stop::default().wait(None);
            let daemon = Daemon::start(settings)?;
            tracing::info!(address = %daemon.address(), %msp_id, identity = %subject, "serving");
            daemon.run(stop).await;
            tracing::info!("stopped");
            Ok(())
        })
    }

    fn settings(&self, context: &Context, config: &Config) -> Result<DaemonSettings, Failure> {
        let mut settings = config.channels.clone();
        for path in &self.config_block {
            let channel = load_channel_config(path, None)?.channel().clone();
            let root = settings.entry(channel).or_default();
            // Another place, or another kind of root: a pinned hash or a genesis block still says which blocks are believed.
            root.config_block = Some(path.clone());
            root.pinned_msps.clear();
        }
        let channels: Result<Vec<_>, _> = settings.iter().map(|(id, root)| load_given(id, root)).collect();
        let channels = channels?;
        let watched = settings.into_iter().filter_map(|(id, root)| Some((id, root.config_block?))).collect();
        let root = config.snapshots_root.as_ref().ok_or_else(|| {
            Failure::new(Exit::Usage, "nothing says where the peer's snapshots are")
                .next("set snapshots.rootDir, or give --snapshots-root-dir DIR (the peer's ledger.snapshots.rootDir)")
        })?;
        let (identity, tls) = channel::identity(config)?;
        Ok(DaemonSettings {
            listen: config.listen_address,
            snapshots_root: OsDir::open(root)?,
            state: channel::folder(&channel::state_dir(context, config)?, 0o700)?,
            channels,
            watched,
            identity: Arc::new(identity),
            tls: Arc::new(tls),
            tuning: channel::tuning(config),
            busy: watch_host(config.limits.yield_above)?,
            limits: serve_limits(config),
            scan_interval: SCAN_INTERVAL,
            scrub_period: config.scrub_period,
            allow_delete: config.allow_delete,
            peer: peer(config),
            clock: channel::wall_clock(),
        })
    }
}

/// The peer that the configuration names. What is wrong with it stops no service: it serves the peer's folders, not the peer.
fn peer(config: &Config) -> Option<PeerConnection> {
    config.peer.address.as_ref()?;
    match configured_peer(config, PEER_TIMEOUT) {
        Ok(connection) => Some(connection),
        Err(failure) => {
            tracing::warn!(error = %failure, "our peer can't be asked where it begins");
            None
        }
    }
}

/// Caps on what others may use.
pub(super) fn serve_limits(config: &Config) -> ServeLimits {
    let limits = &config.limits;
    ServeLimits {
        sessions_per_org: limits.sessions_per_org as usize,
        sessions_per_address: limits.sessions_per_address as usize,
        rate_per_org: limits.rate_per_org,
        streams: limits.streams,
        ..ServeLimits::default()
    }
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        let exit = match error {
            DaemonError::Bundle(error) => return error.into(),
            DaemonError::NoChannel
            | DaemonError::NotMember { .. }
            | DaemonError::TlsNotOurs { .. }
            | DaemonError::Tls(_)
            | DaemonError::NoCompleted { .. } => Exit::Usage,
            _ => Exit::Failed,
        };
        Self::new(exit, error)
    }
}
