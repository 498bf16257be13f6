//! A new database: whole under another name first. A peer opens any folder that isn't empty as a database that exists, and ends if it isn't
//! one (fabric: common/ledger/util/leveldbhelper/leveldb_helper.go): no crash may leave such a folder.

use std::sync::Arc;

use super::{Bulk, LOCK, folder};
use crate::{
    disk::{Dir, DiskError},
    ledger::leveldb::{LevelDbError, Version},
};

/// The database `name` in the folder `parent`, an empty one if there is none. What a crash has left of one that was being made goes.
///
/// # Errors
/// [`DiskError::Locked`] if somebody is about to make it; [`LevelDbError`] if there are tables without a database, or whatever the disk says.
pub fn make_database(parent: &dyn Dir, name: &str) -> Result<Arc<dyn Dir>, LevelDbError> {
    let (new, old) = (format!(".{name}.new"), format!(".{name}.old"));
    for left in [&new, &old] {
        remove(parent, left)?;
    }
    let rest = match parent.open_dir(name) {
        Err(error) if error.is_not_found() => None,
        rest => Some(rest?),
    };
    if let Some(dir) = &rest
        && Version::read(&**dir)?.is_some()
    {
        // Whoever made it may have been stopped before this.
        parent.sync_dir()?;
        return Ok(Arc::clone(dir));
    }
    parent.create_dir(&new)?;
    drop(Bulk::begin(parent.open_dir(&new)?, Vec::new())?);
    if let Some(dir) = rest {
        folder::refuse_tables(&*dir)?;
        // Whoever makes a database holds this.
        let _lock = dir.lock(LOCK)?;
        parent.rename(name, parent, &old)?;
    }
    parent.rename(&new, parent, name)?;
    parent.sync_dir()?;
    remove(parent, &old)?;
    Ok(parent.open_dir(name)?)
}

fn remove(parent: &dyn Dir, name: &str) -> Result<(), DiskError> {
    match parent.remove_dir_all(name) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}
