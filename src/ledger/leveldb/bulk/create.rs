//! A new database: whole under another name first. A peer opens any folder that isn't empty as a database that exists, and ends if it isn't
//! one (fabric: common/ledger/util/leveldbhelper/leveldb_helper.go): no crash may leave such a folder where none was.
//!
//! ```text
//! .NAME.making   held by whoever makes it, and removed by them
//! .NAME.new      the new one, until it is whole
//! .NAME.old      a rest of one, from the moment on where the new one may have its name
//! ```

use std::sync::Arc;

use super::{Bulk, LOCK, folder};
use crate::{
    disk::{Dir, DiskError},
    ledger::leveldb::{LevelDbError, Version},
};

/// The database `name` in the folder `parent`, an empty one if there is none. What a crash has left of one that was being made goes.
///
/// # Errors
/// [`DiskError::Locked`] if somebody else is about to make it; [`LevelDbError::Current`] if there are tables without a database,
/// [`LevelDbError::Foreign`] if there is something else; or whatever the disk says.
pub fn make_database(parent: &dyn Dir, name: &str) -> Result<Arc<dyn Dir>, LevelDbError> {
    let names = Names::of(name);
    if let Some(dir) = existing(parent, name)?
        && Version::read(&*dir)?.is_some()
        && !parent.list()?.iter().any(|entry| names.all().contains(&entry.name.as_str()))
    {
        // Whoever made it may have been stopped before this.
        parent.sync_dir()?;
        return Ok(dir);
    }
    let making = parent.lock(&names.making)?;
    let made = names.make(parent, name);
    let left = parent.remove_file(&names.making);
    drop(making);
    let dir = made?;
    left?;
    parent.sync_dir()?;
    Ok(dir)
}

/// What stands beside the database `name` while it is made.
struct Names {
    making: String,
    new: String,
    old: String,
}

impl Names {
    fn of(name: &str) -> Self {
        let of = |what| format!(".{name}.{what}");
        Self { making: of("making"), new: of("new"), old: of("old") }
    }

    fn all(&self) -> [&str; 3] {
        [&self.making, &self.new, &self.old]
    }

    /// Once nobody else can.
    fn make(&self, parent: &dyn Dir, name: &str) -> Result<Arc<dyn Dir>, LevelDbError> {
        remove(parent, &self.new)?;
        remove(parent, &self.old)?;
        let rest = match existing(parent, name)? {
            Some(dir) if Version::read(&*dir)?.is_some() => return Ok(dir),
            rest => rest,
        };
        let rest = rest.map(|dir| Ok::<_, LevelDbError>((folder::rest(&*dir)?, dir))).transpose()?;
        parent.create_dir(&self.new)?;
        drop(Bulk::begin(parent.open_dir(&self.new)?, Vec::new())?);
        match rest {
            None => {}
            // Never locked: a kill just then would leave the lock alone in it, and no peer makes a database of that.
            Some((rest, _)) if rest.is_empty => parent.remove_dir(name)?,
            Some((_, dir)) => {
                let _lock = dir.lock(LOCK)?;
                parent.rename(name, parent, &self.old)?;
            }
        }
        parent.rename(&self.new, parent, name)?;
        // Before the rest goes: the name must not come back without it.
        parent.sync_dir()?;
        remove(parent, &self.old)?;
        Ok(parent.open_dir(name)?)
    }
}

fn existing(parent: &dyn Dir, name: &str) -> Result<Option<Arc<dyn Dir>>, DiskError> {
    match parent.open_dir(name) {
        Err(error) if error.is_not_found() => Ok(None),
        dir => dir.map(Some),
    }
}

fn remove(parent: &dyn Dir, name: &str) -> Result<(), DiskError> {
    match parent.remove_dir_all(name) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}
