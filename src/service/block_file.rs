//! Reading a file that the operator names, and others may write: never blocks, never takes more memory than a configuration may.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags, open},
    io::retry_on_intr,
};

use crate::msp::CONFIG_BYTES_MAX;

/// The file's bytes; of one that is longer than a configuration may be, one byte more than that, so that it is refused as too long.
pub(super) fn read_block(path: &Path) -> io::Result<Vec<u8>> {
    // Before it is opened: opening a device may do something to it.
    must_be_regular(&fs::metadata(path)?)?;
    // NONBLOCK: opening a pipe, swapped in meanwhile, must not hang; it means nothing for a regular file.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(retry_on_intr(|| open(path, flags, Mode::empty()))?);
    must_be_regular(&file.metadata()?)?;
    let mut bytes = Vec::new();
    file.take((CONFIG_BYTES_MAX as u64).saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A pipe, socket or device could block whoever reads it for ever.
pub(super) fn must_be_regular(metadata: &fs::Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"))
}
