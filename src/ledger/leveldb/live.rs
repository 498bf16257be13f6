//! Reading a database while somebody else works with it, without a lock and without writing anything.
//!
//! What is in a database changes its MANIFEST first, and files go only after that: a log once its records are in a table that the MANIFEST
//! names, a table once a compaction has replaced it. Logs only grow, whole batch by whole batch. So what was read between two looks at the
//! MANIFEST that are equal is the database as it was when some batch had just been written. Else it is read again.

use std::sync::Arc;

use super::{Database, LevelDbError, Version};
use crate::disk::Dir;

/// How often a database is read that always changes meanwhile. A peer's change after some MiB of writes.
const ATTEMPTS_MAX: u32 = 8;

impl Database {
    /// What `read` makes of the database in `dir`, as it was at one moment, though somebody may work with it. May call `read` several times.
    ///
    /// # Errors
    /// [`LevelDbError::Changing`] if it never stood still; what `read` said, or was wrong with the files, every time.
    pub fn read_live<T, E: From<LevelDbError>>(
        dir: &Arc<dyn Dir>,
        read: impl Fn(&Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let version = || Version::read(&**dir);
        let mut failed = None;
        for _ in 0..ATTEMPTS_MAX {
            let before = version();
            let made = Self::open(Arc::clone(dir)).map_err(E::from).and_then(|database| read(&database));
            failed = match (before, version(), made) {
                (Ok(before), Ok(after), Ok(made)) if before == after => return Ok(made),
                // Whatever it failed for, files that went meanwhile may be why.
                (Ok(before), Ok(after), _) if before != after => None,
                (Err(error), ..) | (_, Err(error), _) => Some(error.into()),
                // Damage is still there the next time.
                (.., made) => made.err(),
            };
        }
        Err(failed.unwrap_or_else(|| LevelDbError::Changing { path: dir.path().to_owned() }.into()))
    }
}

#[cfg(test)]
mod tests;
