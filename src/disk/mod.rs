//! How bytes become durable: folders, files, the journal and the publish sequence.
//!
//! [`Dir`] and [`File`] are the seam to the disk: [`OsDir`] is the real one, the simulator has its own, and one
//! conformance suite holds both to the same behaviour. What is durable when:
//!
//! | after | durable |
//! |---|---|
//! | [`File::write_all_at`], [`File::set_len`] | nothing (a killed process loses nothing, a power cut may lose any part) |
//! | [`File::sync`] | that file's bytes and length; not its name |
//! | [`Dir::rename`], [`Dir::create_dir`], a created or removed file | nothing |
//! | [`Dir::sync_dir`] | the names in that folder |
//! | a **failed** sync | unknown: the kernel may have dropped the pages and call them clean; don't trust the file again, nor what is read from it before [`File::forget_cached`] |
//!
//! What may be believed after a crash is decided by those who write: [`Journal`] here, the store in `chunking`.

mod error;
#[cfg(test)]
pub(crate) mod faulty;
mod file_reader;
mod journal;
mod os;
mod publish;
mod sealed;

use std::{any::Any, fmt::Debug, ops::Range, path::Path, sync::Arc};

pub use error::{DiskError, lacks_descriptors};
pub use file_reader::FileReader;
pub use journal::{JOURNAL_BYTES_MAX, JOURNAL_RECORD_BYTES_MAX, Journal};
pub use os::OsDir;
pub use publish::{publish_dir, read_small, write_durably};
pub(crate) use sealed::{Magic, seal, unseal};

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; made if missing.
    ReadWrite,
    /// For reading and writing; it must not exist.
    CreateNew,
}

/// What a name in a folder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// Symbolic link, pipe, socket, device, or a name that isn't UTF-8: never followed, never opened.
    Other,
}

/// One name in a folder, and what a changed file can be told by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name; of a name that isn't UTF-8 a lossy image.
    pub name: String,
    /// What it stands for.
    pub kind: EntryKind,
    /// Length in bytes (of files).
    pub len: u64,
    /// Time of the last change of the content, in ns since 1970.
    pub mtime_ns: i128,
    /// Inode number.
    pub inode: u64,
    /// Number of names (hard links) that the file has.
    pub links: u64,
}

/// One folder. Names are single components: a separator, NUL, `""`, `"."` and `".."` are refused with
/// [`DiskError::Name`].
///
/// Every method may fail with [`DiskError::Io`]. Symbolic links are never followed.
pub trait Dir: Any + Send + Sync + Debug {
    /// Where the folder is, for messages only.
    fn path(&self) -> &Path;

    /// Makes a folder; fine if it is already there, [`DiskError::NotADir`] if the name stands for something else.
    fn create_dir(&self, name: &str) -> Result<(), DiskError>;

    /// Opens a folder in this one; [`DiskError::NotADir`] if the name stands for something else.
    fn open_dir(&self, name: &str) -> Result<Arc<dyn Dir>, DiskError>;

    /// Everything in the folder, sorted by name.
    fn list(&self) -> Result<Vec<DirEntry>, DiskError>;

    /// Opens a regular file; [`DiskError::NotAFile`] if the name stands for something else.
    fn open_file(&self, name: &str, access: Access) -> Result<Arc<dyn File>, DiskError>;

    /// Renames in one step; `to_dir` may be this folder or another one of the same file system. A file replaces a file;
    /// the new name of a folder must be free ([`std::io::ErrorKind::AlreadyExists`]).
    fn rename(&self, from: &str, to_dir: &dyn Dir, to: &str) -> Result<(), DiskError>;

    /// Removes a file (or another thing that is no folder); [`std::io::ErrorKind::NotFound`] if it isn't there.
    fn remove_file(&self, name: &str) -> Result<(), DiskError>;

    /// Removes an empty folder, in one step: [`std::io::ErrorKind::DirectoryNotEmpty`] if there is anything in it.
    fn remove_dir(&self, name: &str) -> Result<(), DiskError>;

    /// Removes a folder and all in it; [`std::io::ErrorKind::NotFound`] if it isn't there.
    fn remove_dir_all(&self, name: &str) -> Result<(), DiskError>;

    /// Makes the names in this folder durable.
    fn sync_dir(&self) -> Result<(), DiskError>;

    /// Takes the exclusive lock that the file `name` stands for (made if missing); [`DiskError::Locked`] if somebody
    /// holds it. It ends with the value, and with the process; only who holds it may remove the file.
    fn lock(&self, name: &str) -> Result<Lock, DiskError>;

    /// Free space for this user, in bytes.
    fn free_space(&self) -> Result<u64, DiskError>;
}

/// One open regular file. All methods take the position, so any number of threads may use it at once.
pub trait File: Send + Sync + Debug {
    /// Where the file is, for messages only.
    fn path(&self) -> &Path;

    /// Reads up to `buf.len()` bytes at `offset`; fewer only at the end, 0 behind it. Holes read as zeros.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize, DiskError>;

    /// Writes all of `data` at `offset`; on an error any part of it may be written.
    fn write_all_at(&self, data: &[u8], offset: u64) -> Result<(), DiskError>;

    /// Length in bytes.
    fn len(&self) -> Result<u64, DiskError>;

    /// Sets the length; what is added is a hole.
    fn set_len(&self, len: u64) -> Result<(), DiskError>;

    /// Makes bytes and length durable. After an error the file must not be trusted any more.
    fn sync(&self) -> Result<(), DiskError>;

    /// Bytes of the disk that the file takes now: holes take none.
    fn allocated(&self) -> Result<u64, DiskError> {
        self.len()
    }

    /// Drops what the system keeps in memory of the file's synced bytes, so that the next reads show what is on the disk.
    /// A hint: what isn't synced stays, and a disk that caches nothing has nothing to do.
    fn forget_cached(&self) {}

    /// Fills `buf` from `offset`; [`std::io::ErrorKind::UnexpectedEof`] if the file ends before.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<(), DiskError> {
        let mut rest = buf;
        let mut at = offset;
        while !rest.is_empty() {
            let count = self.read_at(rest, at)?;
            if count == 0 {
                return Err(DiskError::io("read", self.path(), std::io::ErrorKind::UnexpectedEof.into()));
            }
            rest = rest.split_at_mut_checked(count).map_or(&mut [], |(_, tail)| tail);
            at = at.saturating_add(count as u64);
        }
        Ok(())
    }

    /// Whether the file holds no byte.
    fn is_empty(&self) -> Result<bool, DiskError> {
        Ok(self.len()? == 0)
    }

    /// Where the file may hold something else than a hole, ascending. A hint that spares reading: the whole file is a
    /// right answer.
    fn data_ranges(&self) -> Result<Vec<Range<u64>>, DiskError> {
        let len = self.len()?;
        Ok(if len == 0 { Vec::new() } else { std::iter::once(0..len).collect() })
    }
}

/// A held lock ([`Dir::lock`]); dropping it gives it back.
pub struct Lock {
    _guard: Box<dyn Any + Send + Sync>,
}

impl Lock {
    /// A lock that lasts as long as `guard`: for implementations of [`Dir`].
    #[must_use]
    pub fn new(guard: impl Any + Send + Sync) -> Self {
        Self { _guard: Box::new(guard) }
    }
}

impl Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock")
    }
}

/// Whether `name` may name something in a folder: for implementations of [`Dir`].
///
/// # Errors
/// [`DiskError::Name`].
pub fn check_name(folder: &Path, name: &str) -> Result<(), DiskError> {
    let legal = !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', '\0']);
    if legal {
        Ok(())
    } else {
        Err(DiskError::Name { folder: folder.to_owned(), name: name.chars().take(300).collect() })
    }
}
