//! Whole files and whole folders that appear at once or not at all.

use super::{Access, Dir, DiskError};

/// Reads a whole file of at most `max_bytes` bytes.
///
/// # Errors
/// [`DiskError::TooLarge`] before any memory is taken; or what [`Dir::open_file`] and [`super::File::read_exact_at`]
/// say.
pub fn read_small(dir: &dyn Dir, name: &str, max_bytes: u64) -> Result<Vec<u8>, DiskError> {
    let file = dir.open_file(name, Access::Read)?;
    let len = file.len()?;
    let too_large = || DiskError::TooLarge { path: file.path().to_owned(), len, max: max_bytes };
    if len > max_bytes {
        return Err(too_large());
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| too_large())?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Puts a small file into place: after a crash the name holds all of the old bytes or all of the new ones; after `Ok`
/// the new ones.
///
/// One writer at a time per name: callers hold the folder's lock.
///
/// # Errors
/// Whatever the disk says; the name then holds what it held, or already the new bytes.
pub fn write_durably(dir: &dyn Dir, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
    super::check_name(dir.path(), name)?;
    let temporary = format!(".{name}.new");
    remove_if_there(dir, &temporary)?; // left by a crash
    let written = write_and_rename(dir, &temporary, name, bytes);
    if written.is_err() {
        // The first error is the one to report; a leftover is removed by the next call.
        let _ = remove_if_there(dir, &temporary);
    }
    written
}

/// Gives a finished folder its name, and makes that durable. `to` must be free. The caller has synced every file in it.
///
/// # Errors
/// [`std::io::ErrorKind::AlreadyExists`] if `to` is taken; or whatever the disk says. After an error at the last step
/// the folder may already bear its new name: look before trying again.
pub fn publish_dir(from_parent: &dyn Dir, from: &str, to_parent: &dyn Dir, to: &str) -> Result<(), DiskError> {
    // The names inside first: a power cut after the rename must not show the folder without some of its files
    // (fsync(2): syncing a file doesn't sync the folder that names it).
    from_parent.open_dir(from)?.sync_dir()?;
    from_parent.rename(from, to_parent, to)?;
    // Without this one a published folder was lost in 2 of 336 crash states (faults.md 4). The new name first: if only
    // one of the two survives, let it be the published one.
    to_parent.sync_dir()?;
    from_parent.sync_dir()
}

fn write_and_rename(dir: &dyn Dir, temporary: &str, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
    let file = dir.open_file(temporary, Access::CreateNew)?;
    file.write_all_at(bytes, 0)?;
    // Before the rename: else a power cut may leave the new name on an empty file (ext4 without auto_da_alloc, XFS).
    file.sync()?;
    dir.rename(temporary, dir, name)?;
    // The rename lives in the folder: without this the old bytes may come back after "done" was said.
    dir.sync_dir()
}

fn remove_if_there(dir: &dyn Dir, name: &str) -> Result<(), DiskError> {
    match dir.remove_file(name) {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}
