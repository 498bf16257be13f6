//! `join --loader ledger`: what has landed goes straight into a stopped peer's databases.

use super::{
    channel,
    exit::{Exit, Failure},
};
use clap::{Args, ValueEnum};
use snapferry::{
    bootstrap::{LedgerLoader, Loader, LoadingError},
    ledger::load::LoadError,
    msp::{ChannelConfig, LocalIdentity, Principal, PrincipalRole},
    transport::fault::chain,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// How what has landed comes into the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LoaderKind {
    /// Not at all: `peer channel joinbysnapshot` takes the folder
    Folder,
    /// Straight into the databases of a stopped peer: many times faster than its own import
    Ledger,
}

/// Where it goes.
#[derive(Debug, Args)]
pub(super) struct LoaderArgs {
    /// How what has landed comes into the peer
    #[arg(long, value_enum, default_value_t = LoaderKind::Folder)]
    loader: LoaderKind,
    /// With --loader ledger: the stopped peer's databases, ledgersData in its peer.fileSystemPath; other channels there are left as they are
    #[arg(long, value_name = "DIR", required_if_eq("loader", "ledger"))]
    ledger: Option<PathBuf>,
    /// With --loader ledger: MSP folder of the peer itself, unless the command runs with the peer's identity; it decides which private data
    /// the peer may have
    #[arg(long, value_name = "DIR", requires = "ledger")]
    peer_msp: Option<PathBuf>,
}

impl LoaderArgs {
    /// The stopped peer, if there is one to load into.
    pub(super) fn loader(
        &self,
        config: &ChannelConfig,
        joining: &LocalIdentity,
        dry_run: bool,
    ) -> Result<Option<Arc<dyn Loader>>, Failure> {
        let Some(ledger) = self.ledger.as_ref().filter(|_| self.loader == LoaderKind::Ledger) else { return Ok(None) };
        let msp_id = joining.identity.msp_id();
        let peer = match &self.peer_msp {
            Some(folder) => {
                LocalIdentity::load(msp_id, folder).map_err(|error| Failure::new(Exit::Usage, chain(&error)))?.identity
            }
            None => joining.identity.clone(),
        };
        let role = Principal::Role { msp_id: msp_id.clone(), role: PrincipalRole::Peer };
        if let Err(error) = config.satisfies(&peer, &role) {
            let what = format!("{} is no peer of {msp_id}: {}", peer.subject(), chain(&error));
            return Err(Failure::new(Exit::Usage, what).next("name the peer's own MSP folder with --peer-msp"));
        }
        let path = std::path::absolute(ledger)?;
        check_place(&path)?;
        if dry_run && !path.exists() {
            return Ok(None);
        }
        Ok(Some(Arc::new(LedgerLoader { ledgers: channel::folder(&path, 0o700)?, peer })))
    }
}

/// A folder in which no peer looks would take the load, and nobody would miss it before the peer starts without its channel.
fn check_place(path: &Path) -> Result<(), Failure> {
    const NEXT: &str = "name the ledgersData in the peer's peer.fileSystemPath";
    let is_named_so = path.file_name().is_some_and(|name| name == "ledgersData");
    match std::fs::read_dir(path).map(Iterator::count) {
        // Of a peer that never ran.
        Err(_) if is_named_so && path.parent().is_some_and(Path::is_dir) => Ok(()),
        Err(error) => Err(Failure::new(Exit::Usage, format!("{}: {error}", path.display())).next(NEXT)),
        Ok(0) => Ok(()),
        Ok(_) if path.join("ledgerProvider").is_dir() => Ok(()),
        Ok(_) => Err(Failure::new(Exit::Usage, format!("{} is no peer's ledgersData", path.display())).next(NEXT)),
    }
}

impl From<LoadingError> for Failure {
    fn from(error: LoadingError) -> Self {
        match error {
            LoadingError::Load(error) => error.into(),
            LoadingError::CouchDb => Self::new(Exit::Usage, error),
            LoadingError::Disk(error) => error.into(),
            error => Self::new(Exit::Verification, error),
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Ledger(error) => error.into(),
            LoadError::Disk(error) => error.into(),
            LoadError::HashMismatch { .. } | LoadError::Content(_) | LoadError::Snapshot(_) => {
                Self::new(Exit::Verification, error).next("nothing was loaded; run the join again")
            }
            LoadError::ChannelExists { .. } => Self::new(Exit::Failed, error)
                .next("leave the channel first (peer node unjoin), or load into another peer"),
            error => Self::new(Exit::Failed, error),
        }
    }
}
