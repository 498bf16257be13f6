//! Attestations and detached signatures that came another way than from a source: by mail, on a disk.

use crate::catalog::{
    AttestationFileError, DetachedError, DetachedSignature, Heard, Statements, decode_attestation_file,
};
use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// Largest file that is read: an attestation has at most 21 KiB, a detached signature less.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Most files that are read from one folder: as many as an answer of a source may hold.
const FILES_MAX: usize = 256;

/// A file that can't be used; the operator's to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VouchingFileError {
    /// It can't be read.
    #[error("can't read {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Larger than any.
    #[error("{} has more than {FILE_BYTES_MAX} bytes: neither an attestation nor a detached signature is so long", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// More files than are read.
    #[error("{} holds more than {FILES_MAX} files: put those of this snapshot into a folder of their own", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
    /// No attestation, or its signature is wrong.
    #[error("{} is no sound attestation: {source}", path.display())]
    Attestation {
        /// The file.
        path: PathBuf,
        /// Why.
        source: AttestationFileError,
    },
    /// No detached signature.
    #[error("{} is no detached signature: {source}", path.display())]
    Detached {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DetachedError,
    },
}

/// Reads every given file, and every file of every given folder. JSON is a detached signature, anything else an attestation as
/// `snapshot sign` writes it.
///
/// # Errors
/// The first file that can't be used: what is given on purpose isn't skipped.
pub fn load_statements(paths: &[PathBuf]) -> Result<Statements, VouchingFileError> {
    let mut statements = Statements::default();
    for path in paths {
        for file in files(path)? {
            let bytes = read(&file)?;
            if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
                let signature = DetachedSignature::decode(&bytes)
                    .map_err(|source| VouchingFileError::Detached { path: file.clone(), source })?;
                statements.detached.push(signature);
            } else {
                let attestation = decode_attestation_file(&bytes)
                    .map_err(|source| VouchingFileError::Attestation { path: file.clone(), source })?;
                statements.heard.push(Heard { attestation, source: file.display().to_string() });
            }
        }
    }
    Ok(statements)
}

fn files(path: &Path) -> Result<Vec<PathBuf>, VouchingFileError> {
    let failed = |source| VouchingFileError::Read { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.is_file() {
            files.push(file);
        }
        if files.len() > FILES_MAX {
            return Err(VouchingFileError::TooMany { path: path.to_owned() });
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<Vec<u8>, VouchingFileError> {
    let failed = |source| VouchingFileError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(VouchingFileError::TooLong { path: path.to_owned() });
    }
    Ok(bytes)
}
