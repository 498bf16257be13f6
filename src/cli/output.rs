//! Results on standard output, and in the files that commands write.

use super::exit::{Exit, Failure};
use serde::Serialize;
use snapferry::disk::{OsDir, write_durably};
use std::{
    io::{self, Write as _},
    path::Path,
};

/// Prints one JSON object on one line.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut line = serde_json::to_vec(value).map_err(io::Error::from)?;
    line.push(b'\n');
    print_bytes(&line)
}

/// Prints text; the caller ends its lines.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_bytes(text.as_bytes())
}

/// Prints bytes.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}

/// Writes a file durably, in the place of an older one.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let path = std::path::absolute(path)?;
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(Failure::new(Exit::Usage, format!("{} is no name for a file", path.display())));
    };
    Ok(write_durably(&*OsDir::open(folder)?, name, bytes)?)
}
