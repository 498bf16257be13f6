//! What can be wrong with a database: the disk's fault, or that of whoever wrote or changed its files.

use std::path::PathBuf;

use super::{BatchFault, LogFault, ManifestFault, TableFault};
use crate::disk::DiskError;

/// Why a database can't be read, or written. Every variant names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LevelDbError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A folder without a CURRENT.
    #[error("{} holds no database", path.display())]
    NoDatabase {
        /// The folder.
        path: PathBuf,
    },
    /// A log, or the log that a MANIFEST is.
    #[error("{} {fault} (at byte {offset})", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// Where, in bytes.
        offset: u64,
        /// What's wrong.
        fault: LogFault,
    },
    /// A whole record of a log that is no batch of writes.
    #[error("{} holds a batch of writes that {fault} (before byte {offset})", path.display())]
    Batch {
        /// The log.
        path: PathBuf,
        /// Where the record ends, in bytes.
        offset: u64,
        /// What's wrong.
        fault: BatchFault,
    },
    /// A MANIFEST whose records don't tell what a database consists of.
    #[error("{} {fault}", path.display())]
    Manifest {
        /// The MANIFEST.
        path: PathBuf,
        /// What's wrong.
        fault: ManifestFault,
    },
    /// A table.
    #[error("{} {fault}", path.display())]
    Table {
        /// The table's file.
        path: PathBuf,
        /// What's wrong.
        fault: TableFault,
    },
    /// A CURRENT that names no MANIFEST in its folder.
    #[error("{} doesn't name a MANIFEST that is there", path.display())]
    Current {
        /// The file.
        path: PathBuf,
    },
    /// A file or folder where a database is to be made, that is nothing a crash leaves of one.
    #[error("{} is where a database would be made, and belongs to none", path.display())]
    Foreign {
        /// The file or folder.
        path: PathBuf,
    },
    /// Somebody works with it.
    #[error("{} changes faster than it can be read", path.display())]
    Changing {
        /// The database's folder.
        path: PathBuf,
    },
    /// A key is loaded that is in none of the ranges whose records are replaced: an older record could hide it. The caller's mistake.
    #[error("a key is loaded into {} that is outside of what is replaced", path.display())]
    NotReplaced {
        /// The database's folder.
        path: PathBuf,
    },
    /// So many runs interleave that there is no level left for one of them. The caller's mistake.
    #[error("more runs are loaded into {} than there are levels", path.display())]
    TooManyRuns {
        /// The database's folder.
        path: PathBuf,
    },
}
