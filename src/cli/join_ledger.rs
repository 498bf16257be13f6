//! `join --loader ledger`: what has landed goes straight into a stopped peer's databases.

use super::{
    channel,
    exit::{Exit, Failure},
};
use clap::{Args, ValueEnum};
use snapferry::{
    bootstrap::{LedgerLoader, Loader, LoadingError},
    ledger::{
        load::LoadError,
        stores::{Status, StoreError},
    },
    msp::MspId,
    snapshot::ReadError,
};
use std::{
    os::unix::fs::MetadataExt as _,
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
}

impl LoaderArgs {
    /// The stopped peer of that organisation, if there is one to load into.
    pub(super) fn loader(&self, msp_id: &MspId, dry_run: bool) -> Result<Option<Arc<dyn Loader>>, Failure> {
        let Some(ledger) = self.ledger.as_ref().filter(|_| self.loader == LoaderKind::Ledger) else { return Ok(None) };
        let path = std::path::absolute(ledger)?;
        check_place(&path)?;
        if dry_run && !path.exists() {
            return Ok(None);
        }
        Ok(Some(Arc::new(LedgerLoader { ledgers: channel::folder(&path, 0o700)?, msp_id: msp_id.clone() })))
    }
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
