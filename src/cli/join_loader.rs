//! `join --loader`: what has landed becomes a channel of our peer, by its own join or straight in its databases.

use super::{
    admin::AdminArgs,
    channel,
    context::Context,
    exit::{Exit, Failure},
    peer::PeerAddressArgs,
};
use clap::{Args, ValueEnum};
use snapferry::{
    bootstrap::{JoinRequest, LedgerLoader, Loader, LoadingError, Mounted, StockPeer, StockPeerError},
    disk::{Dir, OsDir},
    ledger::{
        load::LoadError,
        stores::{Status, StoreError},
    },
    msp::{LocalIdentity, Principal, PrincipalRole},
    peer::PeerConnection,
    service::config::Config,
    snapshot::ReadError,
};
use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

/// How what has landed comes into the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LoaderKind {
    /// The running peer's own join takes the folder, and its outcome is proved
    Folder,
    /// Straight into the databases of a stopped peer, while the chunks come: many times faster than its own import
    Ledger,
}

/// Where it goes.
#[derive(Debug, Args)]
pub(super) struct LoaderArgs {
    /// Makes what has landed a channel of the peer; without it, it only lands
    #[arg(long, value_enum)]
    loader: Option<LoaderKind>,
    /// With --loader ledger: the stopped peer's databases, ledgersData in its peer.fileSystemPath; other channels there are left as they are
    #[arg(long, value_name = "DIR", required_if_eq("loader", "ledger"))]
    ledger: Option<PathBuf>,
    #[command(flatten)]
    peer: PeerAddressArgs,
}

impl LoaderArgs {
    /// The flags by the keys that they stand over.
    pub(super) fn by_key(&self) -> Vec<(&'static str, String)> {
        self.peer.by_key()
    }

    /// Which it is, if any.
    pub(super) const fn kind(&self) -> Option<LoaderKind> {
        self.loader
    }

    /// The peer's databases, if they are named.
    pub(super) fn ledger(&self) -> Option<&Path> {
        self.ledger.as_deref()
    }

    /// The peer that the configuration names, which may be another one than the flags name.
    pub(super) fn connection(&self, config: &Config) -> Result<PeerConnection, Failure> {
        self.peer.connection(config)
    }

    /// The loader for a join by `request`'s identity.
    pub(super) fn loader(
        &self,
        context: &Context,
        config: &Config,
        request: &JoinRequest,
    ) -> Result<Option<Arc<dyn Loader>>, Failure> {
        match (self.loader, &self.ledger) {
            (Some(LoaderKind::Ledger), Some(ledger)) => {
                refuse_couchdb(config)?;
                ledger_loader(ledger, request)
            }
            (Some(LoaderKind::Folder), _) => {
                let (connection, admin) = (self.peer.connection(config)?, admin(context, config, request)?);
                let (clock, mounted) = (channel::wall_clock(), mounted(config, request)?);
                Ok(Some(Arc::new(StockPeer { connection, admin, clock, mounted, land: Arc::clone(&request.land) })))
            }
            _ => Ok(None),
        }
    }
}

/// Where the peer sees the landing folder: the configured one, or the one that this join names.
fn mounted(config: &Config, request: &JoinRequest) -> Result<Option<Mounted>, Failure> {
    let Some(there) = config.peer.landing_as_seen.clone() else { return Ok(None) };
    let here = match (&config.peer.landing_dir, &request.folder) {
        (Some(configured), _) => std::path::absolute(configured)?,
        (None, None) => request.land.path().to_owned(),
        (None, Some(_)) => return Ok(None),
    };
    Ok(Some(Mounted { here, there }))
}

/// Who asks the peer to join: whoever runs the command, if that is an admin; else the admin that the environment of `peer` names.
fn admin(context: &Context, config: &Config, request: &JoinRequest) -> Result<Arc<LocalIdentity>, Failure> {
    let own = &request.dialling.identity;
    let role = Principal::Role { msp_id: own.identity.msp_id().clone(), role: PrincipalRole::Admin };
    if request.dialling.config()?.satisfies(&own.identity, &role).is_ok() {
        return Ok(Arc::clone(own));
    }
    Ok(Arc::new(AdminArgs::of_environment().load(context, config)?))
}

/// Also of a peer that never ran: it would start, and look for its state elsewhere.
fn refuse_couchdb(config: &Config) -> Result<(), Failure> {
    match config.peer.state_database.as_deref() {
        Some(database) if database.eq_ignore_ascii_case("CouchDB") => {
            let what = "the peer keeps its state in CouchDB (ledger.state.stateDatabase): nothing can be loaded there";
            Err(Failure::new(Exit::Usage, what).next("its own join can: --loader folder"))
        }
        _ => Ok(()),
    }
}

fn ledger_loader(ledger: &Path, request: &JoinRequest) -> Result<Option<Arc<dyn Loader>>, Failure> {
    let path = std::path::absolute(ledger)?;
    check_place(&path)?;
    if request.dry_run && !path.exists() {
        return Ok(None);
    }
    let msp_id = request.dialling.identity.identity.msp_id().clone();
    channel::folder(&path, 0o700)?;
    // However it is spelled, it is the same.
    let ledgers: Arc<dyn Dir> = OsDir::open(&std::fs::canonicalize(&path)?)?;
    let land = Arc::clone(&request.land);
    Ok(Some(Arc::new(LedgerLoader { ledgers, msp_id, land })))
}

/// A folder in which no peer looks would take the load, and nobody would miss it before the peer starts without its channel.
fn check_place(path: &Path) -> Result<(), Failure> {
    const NEXT: &str = "name the ledgersData in the peer's peer.fileSystemPath";
    let refused = |what: String| Err(Failure::new(Exit::Usage, what).next(NEXT));
    let is_named_so = path.file_name().is_some_and(|name| name == "ledgersData");
    let place = match (std::fs::metadata(path), path.parent()) {
        (Ok(_), _) if is_named_so || path.join("ledgerProvider").is_dir() => path,
        (Ok(_), _) => return refused(format!("{} is no peer's ledgersData", path.display())),
        // Of a peer that never ran.
        (Err(_), Some(parent)) if is_named_so && parent.is_dir() => parent,
        (Err(error), _) => return refused(format!("{}: {error}", path.display())),
    };
    // What another user makes there, the peer can't open.
    let (owner, own) = (std::fs::metadata(place)?.uid(), rustix::process::geteuid().as_raw());
    if owner != own {
        let what = format!(
            "{} belongs to user {owner}, and this runs as user {own}: the peer couldn't use what is made there",
            place.display()
        );
        return Err(Failure::new(Exit::Usage, what).next("run the command as the peer's user"));
    }
    Ok(())
}

impl From<LoadingError> for Failure {
    fn from(error: LoadingError) -> Self {
        match error {
            LoadingError::Load(error) => error.into(),
            LoadingError::CouchDb => Self::new(Exit::Usage, error),
            LoadingError::AlreadyJoined { .. } => Self::new(Exit::Done, error),
            LoadingError::Disk(error) => error.into(),
            LoadingError::Folder(error) => error.into(),
            LoadingError::Peer(error) => error.into(),
            LoadingError::StockPeer(error) => error.into(),
            LoadingError::Threads(_) | LoadingError::Panicked => Self::new(Exit::Failed, error),
            LoadingError::CalledOff => Self::new(Exit::Partial, error),
            error => Self::new(Exit::Verification, error),
        }
    }
}

impl From<StockPeerError> for Failure {
    fn from(error: StockPeerError) -> Self {
        match error {
            StockPeerError::ChannelExists { .. } => Self::new(Exit::Failed, error)
                .next("there is nothing to do, unless it should be another one: then leave the channel first (peer node unjoin)"),
            StockPeerError::NotThere { .. } => Self::new(Exit::Failed, error).next(
                "what has landed is kept, the same command tries again; what the failed join has left, a peer drops at its next start",
            ),
            error => Self::new(Exit::Verification, error),
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Ledger(error) => error.into(),
            LoadError::Disk(error) => error.into(),
            // Our own disk's.
            LoadError::Snapshot(StoreError::Sort(_) | StoreError::Read(ReadError::Io { .. })) => {
                Self::new(Exit::Failed, error)
            }
            LoadError::HashMismatch { .. } | LoadError::Content(_) | LoadError::Snapshot(_) => {
                Self::new(Exit::Verification, error).next("nothing was loaded; run the join again")
            }
            LoadError::ChannelExists { status: Status::Inactive, .. } => {
                Self::new(Exit::Failed, error).next("peer node resume makes it active again")
            }
            LoadError::ChannelExists { .. } => Self::new(Exit::Failed, error)
                .next("leave the channel first (peer node unjoin), or load into another peer"),
            error => Self::new(Exit::Failed, error),
        }
    }
}
