//! Whether a peer works with these databases: it holds a lock as long as it runs (fabric: `leveldbhelper.FileLock`, a LevelDB of its own,
//! which goleveldb locks with flock).

use super::{
    LedgerError,
    leveldb::{Bulk, LevelDbError, make_database},
};
use crate::disk::{Dir, DiskError, EntryKind};

const LOCK_FOLDER: &str = "fileLock";
const LOCK_FILE: &str = "LOCK";

/// Checks that no peer runs on the folder `ledgers` (`ledgersData`) at this moment. Nothing is made there; a folder without a lock file is
/// a copy, or one that no peer has used yet.
///
/// # Errors
/// [`LedgerError::PeerRuns`]; or whatever the disk says.
pub fn refuse_running_peer(ledgers: &dyn Dir) -> Result<(), LedgerError> {
    let folder = match ledgers.open_dir(LOCK_FOLDER) {
        Err(error) if error.is_not_found() => return Ok(()),
        folder => folder?,
    };
    if !folder.list()?.iter().any(|entry| entry.kind == EntryKind::File && entry.name == LOCK_FILE) {
        return Ok(());
    }
    // Given back at once: a peer that starts must not find it taken.
    match folder.lock(LOCK_FILE) {
        Ok(_) => Ok(()),
        Err(DiskError::Locked { .. }) => Err(LedgerError::PeerRuns { path: ledgers.path().to_owned() }),
        Err(error) => Err(error.into()),
    }
}

/// Takes the lock that a peer holds as long as it runs: none starts while it lives. What bears it is an empty database, as a peer makes
/// one there: it refuses a folder with anything else.
///
/// # Errors
/// [`LedgerError::PeerRuns`]; or whatever the disk says.
pub(super) fn hold_off_the_peer(ledgers: &dyn Dir) -> Result<Bulk, LedgerError> {
    match make_database(ledgers, LOCK_FOLDER).and_then(|folder| Bulk::begin(folder, Vec::new())) {
        Err(LevelDbError::Disk(DiskError::Locked { .. })) => {
            Err(LedgerError::PeerRuns { path: ledgers.path().to_owned() })
        }
        lock => Ok(lock?),
    }
}
