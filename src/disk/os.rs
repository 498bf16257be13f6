//! [`Dir`] and [`File`] on the operating system. The one file that changes the file system.
//!
//! Everything goes through the folder's descriptor (`openat` and its like, `O_NOFOLLOW`), so nobody can swap a
//! component for a link between a check and its use. Only the path given to [`OsDir::open`] or [`OsDir::create`] is
//! resolved as the operator wrote it.

use std::{
    any::Any,
    ffi::CStr,
    fmt, fs, io,
    ops::Range,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fd::OwnedFd,
    fs::{self as unix, Advice, AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, SeekFrom, Stat},
    io::{Errno, retry_on_intr},
};

use super::{Access, Dir, DirEntry, DiskError, EntryKind, File, Lock, check_name};

/// Folders below the root: the peer, another user, must be able to read a landing. What is private lies below a root of
/// mode 0700.
const DIR_MODE: u32 = 0o755;
/// Files, likewise.
const FILE_MODE: u32 = 0o644;
/// How deep a folder to be removed may be nested: ours are 4 deep, and the recursion must end.
const REMOVE_DEPTH_MAX: u32 = 32;

/// How often a lock file that was removed under our hands is made anew: each time somebody else had the lock.
const LOCK_TRIES: u32 = 100;

/// A folder of the operating system, held by its descriptor: it stays the same folder if it is renamed.
pub struct OsDir {
    fd: OwnedFd,
    path: PathBuf,
}

impl OsDir {
    /// Opens the folder that the operator named (links in the path are followed).
    ///
    /// # Errors
    /// [`DiskError::NotADir`], or [`DiskError::Io`] if it isn't there or not readable.
    pub fn open(path: &Path) -> Result<Arc<dyn Dir>, DiskError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match retry_on_intr(|| unix::open(path, flags, Mode::empty())) {
            Ok(fd) => Ok(Arc::new(Self { fd, path: path.to_owned() })),
            Err(Errno::NOTDIR) => Err(DiskError::NotADir { path: path.to_owned() }),
            Err(error) => Err(DiskError::io("open", path, error.into())),
        }
    }

    /// Makes the folder and its missing parents with `mode` (0o700 for private state), durably, and opens it. An
    /// existing folder is left as it is.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn create(path: &Path, mode: u32) -> Result<Arc<dyn Dir>, DiskError> {
        match Self::open(path) {
            Err(error) if error.is_not_found() => {}
            other => return other,
        }
        let parent = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => return Err(DiskError::io("create", path, io::ErrorKind::NotFound.into())),
        };
        let parent = Self::create(parent, mode)?;
        match unix::mkdir(path, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => parent.sync_dir()?,
            Err(error) => return Err(DiskError::io("create", path, error.into())),
        }
        Self::open(path)
    }

    /// The path of `name`, which is a legal name.
    fn checked(&self, name: &str) -> Result<PathBuf, DiskError> {
        check_name(&self.path, name)?;
        Ok(self.path.join(name))
    }

    fn io<T>(&self, operation: &'static str, name: &str, result: Result<T, Errno>) -> Result<T, DiskError> {
        result.map_err(|error| DiskError::io(operation, &self.path.join(name), error.into()))
    }

    /// Kind of the entry, links not followed.
    fn stat(&self, name: &str) -> Result<Stat, DiskError> {
        self.io("look at", name, retry_on_intr(|| unix::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)))
    }
}

impl Dir for OsDir {
    fn path(&self) -> &Path {
        &self.path
    }

    fn create_dir(&self, name: &str) -> Result<(), DiskError> {
        let path = self.checked(name)?;
        match unix::mkdirat(&self.fd, name, Mode::from_raw_mode(DIR_MODE)) {
            Err(Errno::EXIST) if kind(&self.stat(name)?) == EntryKind::Dir => Ok(()),
            Err(Errno::EXIST) => Err(DiskError::NotADir { path }),
            other => self.io("create", name, other),
        }
    }

    fn open_dir(&self, name: &str) -> Result<Arc<dyn Dir>, DiskError> {
        let path = self.checked(name)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match retry_on_intr(|| unix::openat(&self.fd, name, flags, Mode::empty())) {
            Ok(fd) => Ok(Arc::new(Self { fd, path })),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(DiskError::NotADir { path }),
            Err(error) => Err(DiskError::io("open", &path, error.into())),
        }
    }

    fn list(&self) -> Result<Vec<DirEntry>, DiskError> {
        let failed = |error: Errno| DiskError::io("list", &self.path, error.into());
        let mut entries = Vec::new();
        for entry in unix::Dir::read_from(&self.fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let raw = entry.file_name();
            if is_dot(raw) {
                continue;
            }
            let stat = match retry_on_intr(|| unix::statat(&self.fd, raw, AtFlags::SYMLINK_NOFOLLOW)) {
                Err(Errno::NOENT) => continue, // removed meanwhile
                other => other.map_err(failed)?,
            };
            let (name, kind) = match raw.to_str() {
                Ok(name) => (name.to_owned(), kind(&stat)),
                Err(_) => (raw.to_string_lossy().into_owned(), EntryKind::Other),
            };
            entries.push(DirEntry {
                name,
                kind,
                len: u64::try_from(stat.st_size).unwrap_or(0),
                mtime_ns: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
                inode: stat.st_ino,
                links: stat.st_nlink as u64,
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn open_file(&self, name: &str, access: Access) -> Result<Arc<dyn File>, DiskError> {
        let path = self.checked(name)?;
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::ReadWrite => OFlags::RDWR | OFlags::CREATE,
            Access::CreateNew => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        };
        // NONBLOCK: opening a pipe must not hang; it means nothing for a regular file.
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = match retry_on_intr(|| unix::openat(&self.fd, name, flags, Mode::from_raw_mode(FILE_MODE))) {
            // A link says LOOP, a folder opened for writing ISDIR, a pipe or device without its other end NXIO.
            Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => return Err(DiskError::NotAFile { path }),
            other => self.io("open", name, other)?,
        };
        if kind(&self.io("look at", name, unix::fstat(&fd))?) != EntryKind::File {
            return Err(DiskError::NotAFile { path });
        }
        Ok(Arc::new(OsFile { file: fs::File::from(fd), path }))
    }

    fn rename(&self, from: &str, to_dir: &dyn Dir, to: &str) -> Result<(), DiskError> {
        self.checked(from)?;
        check_name(to_dir.path(), to)?;
        let to_path = to_dir.path().join(to);
        let Some(to_dir) = (to_dir as &dyn Any).downcast_ref::<Self>() else {
            return Err(DiskError::io("rename to", &to_path, io::ErrorKind::CrossesDevices.into()));
        };
        let renamed = if kind(&self.stat(from)?) == EntryKind::Dir {
            match unix::renameat_with(&self.fd, from, &to_dir.fd, to, RenameFlags::NOREPLACE) {
                // A file system that doesn't know the flag: look first. (Only an empty folder could be replaced in
                // between.)
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) if to_dir.stat(to).is_ok() => Err(Errno::EXIST),
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => unix::renameat(&self.fd, from, &to_dir.fd, to),
                other => other,
            }
        } else {
            unix::renameat(&self.fd, from, &to_dir.fd, to)
        };
        renamed.map_err(|error| DiskError::io("rename to", &to_path, error.into()))
    }

    fn remove_file(&self, name: &str) -> Result<(), DiskError> {
        self.checked(name)?;
        self.io("remove", name, unix::unlinkat(&self.fd, name, AtFlags::empty()))
    }

    fn remove_dir(&self, name: &str) -> Result<(), DiskError> {
        let path = self.checked(name)?;
        match unix::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTDIR) => Err(DiskError::NotADir { path }),
            removed => self.io("remove", name, removed),
        }
    }

    fn remove_dir_all(&self, name: &str) -> Result<(), DiskError> {
        let path = self.checked(name)?;
        if kind(&self.stat(name)?) != EntryKind::Dir {
            return Err(DiskError::NotADir { path });
        }
        let child = self.open_dir(name)?;
        if let Some(child) = (&*child as &dyn Any).downcast_ref::<Self>() {
            remove_content(&child.fd, REMOVE_DEPTH_MAX)
                .map_err(|error| DiskError::io("remove", &path, error.into()))?;
        }
        self.io("remove", name, unix::unlinkat(&self.fd, name, AtFlags::REMOVEDIR))
    }

    fn sync_dir(&self) -> Result<(), DiskError> {
        retry_on_intr(|| unix::fsync(&self.fd)).map_err(|error| DiskError::io("sync", &self.path, error.into()))
    }

    fn lock(&self, name: &str) -> Result<Lock, DiskError> {
        let path = self.checked(name)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        for _ in 0..LOCK_TRIES {
            let fd = match retry_on_intr(|| unix::openat(&self.fd, name, flags, Mode::from_raw_mode(0o600))) {
                Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => return Err(DiskError::NotAFile { path }),
                other => self.io("open", name, other)?,
            };
            match unix::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(DiskError::Locked { path }),
                Err(error) => return Err(DiskError::io("lock", &path, error.into())),
            }
            // Whoever held it before may have removed it after we opened it: then ours keeps nobody out.
            let held = self.io("look at", name, unix::fstat(&fd))?;
            match self.stat(name) {
                Ok(named) if (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino) => return Ok(Lock::new(fd)),
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        Err(DiskError::Locked { path })
    }

    fn free_space(&self) -> Result<u64, DiskError> {
        let space = unix::fstatvfs(&self.fd)
            .map_err(|error| DiskError::io("ask the free space of", &self.path, error.into()))?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

impl fmt::Debug for OsDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OsDir({})", self.path.display())
    }
}

struct OsFile {
    file: fs::File,
    path: PathBuf,
}

impl OsFile {
    fn failed(&self, operation: &'static str, error: impl Into<io::Error>) -> DiskError {
        DiskError::io(operation, &self.path, error.into())
    }
}

impl File for OsFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize, DiskError> {
        let mut filled = 0;
        while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset.saturating_add(filled as u64)) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed("read", error)),
            }
        }
        Ok(filled)
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> Result<(), DiskError> {
        self.file.write_all_at(data, offset).map_err(|error| self.failed("write", error))
    }

    fn len(&self) -> Result<u64, DiskError> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(|error| self.failed("look at", error))
    }

    fn set_len(&self, len: u64) -> Result<(), DiskError> {
        retry_on_intr(|| unix::ftruncate(&self.file, len)).map_err(|error| self.failed("set the length of", error))
    }

    fn sync(&self) -> Result<(), DiskError> {
        // fdatasync covers the length too (fdatasync(2)); only times are left out.
        retry_on_intr(|| unix::fdatasync(&self.file)).map_err(|error| self.failed("sync", error))
    }

    fn allocated(&self) -> Result<u64, DiskError> {
        /// What `st_blocks` counts in, whatever the file system's own blocks are (stat(2)).
        const UNIT_BYTES: u64 = 512;
        let metadata = self.file.metadata().map_err(|error| self.failed("look at", error))?;
        Ok(metadata.blocks().saturating_mul(UNIT_BYTES))
    }

    fn forget_cached(&self) {
        // Without a length: to the end. A system that doesn't know this advice reads from its cache, as without it.
        let _ = unix::fadvise(&self.file, 0, None, Advice::DontNeed);
    }

    fn data_ranges(&self) -> Result<Vec<Range<u64>>, DiskError> {
        let len = self.len()?;
        let mut ranges = Vec::new();
        let mut at = 0;
        // The descriptor's own position moves, but nothing here uses it.
        while at < len {
            let start = match unix::seek(&self.file, SeekFrom::Data(at)) {
                Ok(start) => start,
                Err(Errno::NXIO) => break,               // only a hole is left
                Err(Errno::INVAL | Errno::NOTSUP) => at, // not known here: all of it may be data
                Err(error) => return Err(self.failed("look for holes in", error)),
            };
            let end = match unix::seek(&self.file, SeekFrom::Hole(start)) {
                Ok(end) => end.min(len),
                Err(Errno::INVAL | Errno::NOTSUP | Errno::NXIO) => len,
                Err(error) => return Err(self.failed("look for holes in", error)),
            };
            if start >= end {
                break; // truncated meanwhile
            }
            ranges.push(start..end);
            at = end;
        }
        Ok(ranges)
    }
}

impl fmt::Debug for OsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OsFile({})", self.path.display())
    }
}

fn kind(stat: &Stat) -> EntryKind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Dir,
        _ => EntryKind::Other,
    }
}

fn is_dot(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

/// Empties a folder by its descriptor, by raw names, so that names that aren't UTF-8 go too.
fn remove_content(fd: &OwnedFd, depth_left: u32) -> Result<(), Errno> {
    let Some(depth_left) = depth_left.checked_sub(1) else { return Err(Errno::NAMETOOLONG) };
    // The names are collected first: removing while reading may skip entries.
    let names: Vec<_> = unix::Dir::read_from(fd)?
        .map(|entry| entry.map(|entry| entry.file_name().to_owned()))
        .collect::<Result<_, _>>()?;
    for name in names.iter().filter(|name| !is_dot(name)) {
        let name = name.as_c_str();
        if kind(&unix::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW)?) == EntryKind::Dir {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            remove_content(&unix::openat(fd, name, flags, Mode::empty())?, depth_left)?;
            unix::unlinkat(fd, name, AtFlags::REMOVEDIR)?;
        } else {
            unix::unlinkat(fd, name, AtFlags::empty())?;
        }
    }
    Ok(())
}
