//! What can go wrong on the disk; every variant names the path.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

/// A failure of the local disk, or something in a folder that we refuse to touch. Never a source's fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The operating system refused; `kind()` tells a full disk from a missing file.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A name that could lead out of the folder.
    #[error("{name:?} is no name for something in {}", folder.display())]
    Name {
        /// The folder.
        folder: PathBuf,
        /// The name, cut to 300 characters.
        name: String,
    },
    /// Somebody else holds the lock.
    #[error("{} is locked: another process works in this folder; let it finish, or stop it", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A symbolic link, pipe, device or folder where a regular file is needed.
    #[error("{} is no regular file (links are not followed); move it away", path.display())]
    NotAFile {
        /// What was found.
        path: PathBuf,
    },
    /// Something else where a folder is needed.
    #[error("{} is no folder (links are not followed); move it away", path.display())]
    NotADir {
        /// What was found.
        path: PathBuf,
    },
    /// More bytes than are allowed there.
    #[error("{} would hold {len} bytes, more than the {max} that are allowed", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        len: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// A sync of this file failed before: what it holds on the disk is unknown.
    #[error("{} can't be trusted after a failed sync; open it again", path.display())]
    Poisoned {
        /// The file.
        path: PathBuf,
    },
}

impl DiskError {
    /// A failure of the system at `path`: for implementations of [`super::Dir`].
    #[must_use]
    pub fn io(operation: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { operation, path: path.to_owned(), source }
    }

    /// The kind that decides what follows: wait for space, refuse, report.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Io { source, .. } => source.kind(),
            Self::Name { .. } => io::ErrorKind::InvalidInput,
            Self::Locked { .. } => io::ErrorKind::ResourceBusy,
            Self::NotAFile { .. } => io::ErrorKind::InvalidData,
            Self::NotADir { .. } => io::ErrorKind::NotADirectory,
            Self::TooLarge { .. } => io::ErrorKind::FileTooLarge,
            Self::Poisoned { .. } => io::ErrorKind::Other,
        }
    }

    /// Whether the name simply isn't there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind() == io::ErrorKind::NotFound
    }

    /// Whether space (or quota) ran out: freeing some helps, and nothing was lost.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether this process, or the machine, has no file descriptor left: closing some helps, and nothing was lost.
    #[must_use]
    pub fn lacks_descriptors(&self) -> bool {
        matches!(self, Self::Io { source, .. } if lacks_descriptors(source))
    }
}

/// Whether the system refused another file descriptor, for a file or a socket: EMFILE, ENFILE. No [`io::ErrorKind`] tells.
#[must_use]
pub fn lacks_descriptors(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

impl From<DiskError> for io::Error {
    fn from(error: DiskError) -> Self {
        Self::new(error.kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_descriptors_is_told_from_a_lack_of_space_and_from_anything_else() {
        let of = |error: io::Error| {
            let error = DiskError::io("open", Path::new("a"), error);
            (error.lacks_descriptors(), error.is_full())
        };
        for errno in [Errno::MFILE, Errno::NFILE] {
            assert_eq!(of(errno.into()), (true, false), "{errno}");
        }
        assert_eq!(of(Errno::NOSPC.into()), (false, true));
        assert_eq!(of(Errno::IO.into()), (false, false));
        assert_eq!(of(io::ErrorKind::Other.into()), (false, false));
    }
}
