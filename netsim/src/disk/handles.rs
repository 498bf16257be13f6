//! What a process holds of the disk: folders, files and locks. A handle of a process that is gone does nothing any more.

use std::{
    fmt, io,
    ops::Range,
    path::{Path, PathBuf},
};

use super::{
    Entry, Kind, SimDisk, State,
    content::Change,
    faults::{Fault, SyncLie, full},
    files::{Inode, ROOT},
};

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// It must exist.
    Read,
    /// Also for writing; made if missing.
    ReadWrite,
    /// Also for writing; it must not exist.
    CreateNew,
}

/// An open folder: stays the same one when it is renamed.
#[derive(Clone)]
pub struct SimDir(Handle);

/// An open file: stays the same one when it is renamed or removed.
#[derive(Clone)]
pub struct SimFile(Handle);

/// A held lock; dropped, it is free.
#[derive(Debug)]
pub struct SimLock(Handle);

#[derive(Clone)]
struct Handle {
    disk: SimDisk,
    incarnation: u64,
    inode: Inode,
    path: PathBuf,
}

impl Handle {
    /// Does one operation, unless it fails.
    fn does<T>(&self, kind: Kind, name: &str, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let path = if name.is_empty() { self.path.clone() } else { self.path.join(name) };
        let mut state = self.disk.state();
        match state.begins(self.incarnation, kind, &path)? {
            Some(fault) => Err(fault.error()),
            None => act(&mut state),
        }
    }

    fn at(&self, inode: Inode, name: &str) -> Self {
        Self { disk: self.disk.clone(), incarnation: self.incarnation, inode, path: self.path.join(name) }
    }

    /// A file that can't be read any more says EIO.
    fn check(&self, state: &State) -> io::Result<()> {
        if state.broken.contains(&self.inode) { Err(Fault::Io.error()) } else { Ok(()) }
    }
}

impl State {
    /// Makes a file, if that is permitted.
    fn makes(&mut self, folder: Inode, name: &str) -> io::Result<Inode> {
        self.permits(Kind::Create, true)?;
        self.files.make(folder, name, false)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

impl fmt::Debug for SimDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimDir({:?})", self.0)
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFile({:?})", self.0)
    }
}

/// Names are taken as they are: what is a legal one, the user of the disk decides.
///
/// # Errors
/// Each method: as the system call that it is named after; what [`SimDisk`] was told to do wrong; `NotConnected` for a
/// process that is gone.
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
impl SimDir {
    pub(super) fn root(disk: SimDisk, incarnation: u64) -> Self {
        Self(Handle { disk, incarnation, inode: ROOT, path: PathBuf::from("/") })
    }

    /// Its path when it was opened, from the disk's root.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Makes a folder; `AlreadyExists` if the name is taken, whatever for.
    pub fn create_dir(&self, name: &str) -> io::Result<()> {
        self.0.does(Kind::CreateDir, name, |state| {
            if state.files.lookup(self.0.inode, name).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.permits(Kind::CreateDir, true)?;
            state.files.make(self.0.inode, name, true).map(drop)
        })
    }

    /// Opens a folder in it; `NotADirectory` if it is a file.
    pub fn open_dir(&self, name: &str) -> io::Result<Self> {
        let inode = self.0.does(Kind::OpenDir, name, |state| {
            let inode = state.files.lookup(self.0.inode, name)?;
            if state.files.is_dir(inode) { Ok(inode) } else { Err(io::ErrorKind::NotADirectory.into()) }
        })?;
        Ok(Self(self.0.at(inode, name)))
    }

    /// Opens a file in it; `IsADirectory` if it is a folder.
    pub fn open(&self, name: &str, how: Opening) -> io::Result<SimFile> {
        let writes = how != Opening::Read;
        let inode = self.0.does(self.kind(name, writes), name, |state| {
            let inode = match state.files.lookup(self.0.inode, name) {
                Ok(_) if how == Opening::CreateNew => return Err(io::ErrorKind::AlreadyExists.into()),
                Err(error) if !writes => return Err(error),
                Err(_) => return state.makes(self.0.inode, name),
                Ok(inode) => inode,
            };
            if state.files.is_dir(inode) {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            state.permits(Kind::Open, writes).map(|()| inode)
        })?;
        Ok(SimFile(self.0.at(inode, name)))
    }

    /// What opening that file for writing is.
    fn kind(&self, name: &str, writes: bool) -> Kind {
        let there = self.0.disk.state().files.lookup(self.0.inode, name).is_ok();
        if there || !writes { Kind::Open } else { Kind::Create }
    }

    /// What is in it, by name.
    pub fn list(&self) -> io::Result<Vec<Entry>> {
        self.0.does(Kind::List, "", |state| state.files.list(self.0.inode))
    }

    /// Gives a file or folder another name, in one step. A file replaces a file; a folder needs a free name.
    pub fn rename(&self, from: &str, to_dir: &Self, to: &str) -> io::Result<()> {
        self.0.does(Kind::Rename, from, |state| {
            state.files.lookup(self.0.inode, from)?;
            state.permits(Kind::Rename, true)?;
            state.files.rename((self.0.inode, from), (to_dir.0.inode, to))
        })
    }

    /// Takes a name away: of a file, or of a folder with nothing in it.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        self.0.does(Kind::Remove, name, |state| {
            state.files.lookup(self.0.inode, name)?;
            state.permits(Kind::Remove, true)?;
            state.files.unlink(self.0.inode, name)
        })
    }

    /// Makes the names in it durable.
    pub fn sync(&self) -> io::Result<()> {
        self.0.does(Kind::SyncDir, "", |state| {
            if !matches!(state.lie, Some(SyncLie::Never(such)) if such(&self.0.path)) {
                state.files.sync_names(self.0.inode);
            }
            Ok(())
        })
    }

    /// Takes the lock that a file stands for, made if missing; `WouldBlock` if somebody holds it.
    pub fn lock(&self, name: &str) -> io::Result<SimLock> {
        let kind = if self.kind(name, true) == Kind::Create { Kind::Create } else { Kind::Lock };
        let inode = self.0.does(kind, name, |state| {
            let inode = match state.files.lookup(self.0.inode, name) {
                Ok(inode) => inode,
                Err(_) => state.makes(self.0.inode, name)?,
            };
            if state.files.is_dir(inode) {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            state.permits(Kind::Lock, true)?;
            if state.locks.insert(inode) { Ok(inode) } else { Err(io::ErrorKind::WouldBlock.into()) }
        })?;
        Ok(SimLock(self.0.at(inode, name)))
    }

    /// Bytes that still fit.
    pub fn free_space(&self) -> io::Result<u64> {
        self.0.does(Kind::FreeSpace, "", |state| Ok(state.free()))
    }
}

/// # Errors
/// As those of [`SimDir`].
#[allow(clippy::missing_errors_doc, reason = "said once, above")]
#[allow(clippy::len_without_is_empty, reason = "an operation that can fail, not a container")]
impl SimFile {
    /// Its path when it was opened, from the disk's root.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Fills `buf` from `offset` as far as the file goes; how many bytes that are.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.does(Kind::Read, "", |state| {
            self.0.check(state)?;
            Ok(state.files.content(self.0.inode)?.read_at(buf, offset))
        })
    }

    /// Writes all of `data`, or as much as fits and then says so.
    pub fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.0.disk.state();
        let fault = state.begins(self.0.incarnation, Kind::Write, &self.0.path)?;
        self.0.check(&state)?;
        state.permits(Kind::Write, true)?;
        let change = Change::write(data, offset);
        let fits = state.files.content(self.0.inode)?.growth(&change) <= state.free();
        let change = match fault {
            None if fits => Some(change),
            None | Some(Fault::Short) => change.torn().filter(|half| {
                state.files.content(self.0.inode).is_ok_and(|content| content.growth(half) <= state.free())
            }),
            Some(Fault::Io | Fault::NoSpace | Fault::NoDescriptor) => None,
        };
        if let Some(change) = change {
            state.files.change(self.0.inode, change);
        }
        match fault {
            Some(fault) => Err(fault.error()),
            None if fits => Ok(()),
            None => Err(full()),
        }
    }

    /// Its bytes.
    pub fn len(&self) -> io::Result<u64> {
        self.0.does(Kind::Len, "", |state| Ok(state.files.content(self.0.inode)?.len()))
    }

    /// Cuts it off, or adds a hole.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.does(Kind::SetLen, "", |state| {
            state.permits(Kind::SetLen, true)?;
            state.files.change(self.0.inode, Change::SetLen(len));
            Ok(())
        })
    }

    /// Makes its bytes and length durable; when it fails, drops what wasn't.
    pub fn sync(&self) -> io::Result<()> {
        let mut state = self.0.disk.state();
        let fault = state.begins(self.0.incarnation, Kind::Sync, &self.0.path)?;
        let checked = self.0.check(&state);
        match state.lie {
            Some(SyncLie::Never(such)) if such(&self.0.path) => return Ok(()),
            Some(SyncLie::Late(such)) if such(&self.0.path) => {
                state.late.push(self.0.inode);
                return Ok(());
            }
            _ => state.files.sync(self.0.inode, fault.is_some() || checked.is_err()),
        }
        let late = std::mem::take(&mut state.late);
        state.late_due.extend(late);
        fault.map_or(checked, |fault| Err(fault.error()))
    }

    /// Bytes of the disk that it takes.
    pub fn allocated(&self) -> io::Result<u64> {
        self.0.does(Kind::Allocated, "", |state| Ok(state.files.content(self.0.inode)?.allocated()))
    }

    /// Where it isn't a hole, ascending.
    pub fn data_ranges(&self) -> io::Result<Vec<Range<u64>>> {
        self.0.does(Kind::Allocated, "", |state| Ok(state.files.content(self.0.inode)?.data_ranges()))
    }

    /// The next reads show what is on the disk, and what waits to get there. Never fails, and isn't counted.
    pub fn forget_cached(&self) {
        let mut state = self.0.disk.state();
        if state.incarnation == self.0.incarnation {
            state.files.forget_cached(self.0.inode);
        }
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.0.disk.state();
        // Of an earlier process: the lock was free since, and may be another's.
        if state.incarnation == self.0.incarnation {
            state.locks.remove(&self.0.inode);
        }
    }
}
