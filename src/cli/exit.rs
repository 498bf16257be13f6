//! Exit codes, and the one line that an operator reads when a command fails: what happened, whose fault, what to do next.

use snapferry::{
    disk::DiskError,
    ledger::{LedgerError, leveldb::LevelDbError},
    service::config::ConfigError,
    snapshot::{FolderError, InspectError},
};
use std::{fmt, io, process::ExitCode};

/// How a command ended; a script can tell what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done, or already so.
    Done = 0,
    /// Failed: read the line.
    Failed = 1,
    /// Usage or configuration: fix the call.
    Usage = 2,
    /// Hash, signature, exact set or policy: never retry blindly.
    Verification = 3,
    /// Can't reach the peer or a source: retry later.
    Unreachable = 4,
    /// Refused: change the identity.
    Refused = 5,
    /// Partial, state saved: run it again.
    Partial = 6,
    /// Ended by Ctrl-C, state saved: run it again.
    Interrupted = 130,
    /// Ended by SIGTERM, state saved: run it again.
    Terminated = 143,
}

impl Exit {
    /// Every code with its meaning and what a script should do, for the help.
    const MEANINGS: [(Self, &str); 9] = [
        (Self::Done, "done, or already so"),
        (Self::Failed, "failed: read the line"),
        (Self::Usage, "usage or configuration: fix the call"),
        (Self::Verification, "verification failed (hash, signature, exact set, policy): never retry blindly"),
        (Self::Unreachable, "can't reach the peer or a source: retry later"),
        (Self::Refused, "refused (identity or access rule): change the identity"),
        (Self::Partial, "partial, state saved: run it again"),
        (Self::Interrupted, "interrupted, state saved: run it again"),
        (Self::Terminated, "terminated, state saved: run it again"),
    ];

    /// The table of codes that stands below the help.
    pub(super) fn table() -> String {
        let lines = Self::MEANINGS.iter().map(|(exit, meaning)| format!("  {:>3}  {meaning}", *exit as u8));
        format!("Exit codes:\n{}", lines.collect::<Vec<_>>().join("\n"))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    what: String,
    next: Option<&'static str>,
}

impl Failure {
    /// What happened, without a hint.
    pub(crate) fn new(exit: Exit, what: impl fmt::Display) -> Self {
        Self { exit, what: what.to_string(), next: None }
    }

    /// Adds what the operator should do.
    pub(crate) fn next(self, next: &'static str) -> Self {
        Self { next: Some(next), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line, whatever a parser's message looks like.
        f.write_str(&self.what.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" "))?;
        self.next.map_or(Ok(()), |next| write!(f, "; {next}"))
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Usage, error)
    }
}

impl From<DiskError> for Failure {
    fn from(error: DiskError) -> Self {
        Self::new(Exit::Failed, error)
    }
}

impl From<FolderError> for Failure {
    fn from(error: FolderError) -> Self {
        const COPY_AGAIN: &str = "don't join from this folder: copy it again, or take it from another peer";
        match exit_of(&error) {
            Exit::Verification => Self::new(Exit::Verification, error).next(COPY_AGAIN),
            exit => Self::new(exit, error),
        }
    }
}

/// Whether the folder is wrong, or the disk that it lies on.
pub(super) fn exit_of(error: &FolderError) -> Exit {
    match error {
        FolderError::Disk(disk) if !is_about_the_folder(disk) => Exit::Failed,
        _ => Exit::Verification,
    }
}

impl From<InspectError> for Failure {
    fn from(error: InspectError) -> Self {
        match error {
            InspectError::Folder(error) => error.into(),
            InspectError::Disk(error) => FolderError::Disk(error).into(),
            error => Self::new(Exit::Verification, error).next("`snapferry verify` says what else is wrong"),
        }
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        const DAMAGED: &str =
            "start the peer once, which repairs what a crash left, and stop it; else restore its folder";
        match error {
            LedgerError::Disk(_) | LedgerError::LevelDb(LevelDbError::Disk(_)) | LedgerError::PeerRuns { .. } => {
                Self::new(Exit::Failed, error)
            }
            LedgerError::NoStore { .. } => {
                Self::new(Exit::Usage, error).next("name the ledgersData in the peer's peer.fileSystemPath")
            }
            LedgerError::NoChannel { .. } => Self::new(Exit::Usage, error),
            LedgerError::LevelDb(LevelDbError::Changing { .. }) => {
                Self::new(Exit::Partial, error).next("the peer is busy: run the command again")
            }
            _ => Self::new(Exit::Verification, error).next(DAMAGED),
        }
    }
}

/// Output that can't be written; a closed pipe (`| head`) means that the reader has enough.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Done, error),
            _ => Self::new(Exit::Failed, format!("can't write the output: {error}")),
        }
    }
}

/// Whether the folder is wrong (a file is missing, too long, or no file), and not the disk.
fn is_about_the_folder(error: &DiskError) -> bool {
    let wrong = matches!(error, DiskError::NotAFile { .. } | DiskError::NotADir { .. } | DiskError::TooLarge { .. });
    wrong || error.is_not_found()
}
