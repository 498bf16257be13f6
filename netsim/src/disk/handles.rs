//! What a process holds of the disk: folders, files, locks. After a crash or a kill its handles are dead.

use std::{
    fmt, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::MutexGuard,
};

use super::{
    SimDisk,
    blocks::{BLOCK, Blocks},
    state::{Change, Ino, Node, ROOT, State},
};

/// How deep a folder to be removed may be nested: the recursion must end.
const REMOVE_DEPTH_MAX: u32 = 32;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// It must exist.
    Read,
    /// It is made if it is missing.
    ReadWrite,
    /// It must not exist.
    CreateNew,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File,
    /// A folder.
    Dir,
}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name.
    pub name: String,
    /// What it stands for.
    pub kind: EntryKind,
    /// Bytes, of a file.
    pub len: u64,
    /// Number of the disk's last change of its content: ascends like a time.
    pub changed_at: u64,
    /// Inode number.
    pub inode: u64,
}

/// An open folder.
#[derive(Debug, Clone)]
pub struct SimDir {
    disk: SimDisk,
    epoch: u64,
    ino: Ino,
    path: PathBuf,
}

/// An open file.
#[derive(Debug, Clone)]
pub struct SimFile {
    disk: SimDisk,
    epoch: u64,
    ino: Ino,
    path: PathBuf,
    writable: bool,
}

/// A held lock; free when dropped.
pub struct SimLock {
    disk: SimDisk,
    epoch: u64,
    ino: Ino,
}

impl SimDir {
    pub(super) fn root(disk: SimDisk, epoch: u64) -> Self {
        Self { disk, epoch, ino: ROOT, path: PathBuf::from("/") }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a folder.
    ///
    /// # Errors
    /// `NotADirectory` if a file has that name; the disk.
    pub fn create_dir(&self, name: &str) -> io::Result<()> {
        let mut state = self.begin_change("create_dir", name)?;
        if let Some(known) = state.names(self.ino)?.get(name).copied() {
            return state.names(known).map(drop);
        }
        let ino = state.new_ino(Node::Dir(Default::default()));
        state.change(Change::Link { dir: self.ino, name: name.to_owned(), ino, is_dir: true });
        Ok(())
    }

    /// Opens a folder in it.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory`; the disk.
    pub fn open_dir(&self, name: &str) -> io::Result<Self> {
        let state = self.begin("open_dir", name)?;
        let ino = *state.names(self.ino)?.get(name).ok_or(io::ErrorKind::NotFound)?;
        state.names(ino)?;
        drop(state);
        Ok(Self { disk: self.disk.clone(), epoch: self.epoch, ino, path: self.path.join(name) })
    }

    /// Everything in it, by name.
    ///
    /// # Errors
    /// The disk.
    pub fn list(&self) -> io::Result<Vec<DirEntry>> {
        let state = self.begin("list", "")?;
        let entry = |(name, ino): (&String, &Ino)| {
            let (kind, len) = match state.blocks(*ino) {
                Ok(blocks) => (EntryKind::File, blocks.len),
                Err(_) => (EntryKind::Dir, 0),
            };
            let changed_at = state.changed_at.get(ino).copied().unwrap_or(0);
            DirEntry { name: name.clone(), kind, len, changed_at, inode: *ino }
        };
        Ok(state.names(self.ino)?.iter().map(entry).collect())
    }

    /// Opens a file in it.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists`, `IsADirectory`; the disk.
    pub fn open_file(&self, name: &str, how: Open) -> io::Result<SimFile> {
        let mut state = self.begin("open_file", name)?;
        let known = state.names(self.ino)?.get(name).copied();
        let ino = match (known, how) {
            (Some(_), Open::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(ino), _) => {
                state.blocks(ino)?;
                ino
            }
            (None, Open::Read) => return Err(io::ErrorKind::NotFound.into()),
            (None, _) if state.read_only => return Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            (None, _) => {
                let ino = state.new_ino(Node::File(Blocks::default()));
                state.change(Change::Link { dir: self.ino, name: name.to_owned(), ino, is_dir: false });
                ino
            }
        };
        if how != Open::Read && state.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        drop(state);
        let (disk, path) = (self.disk.clone(), self.path.join(name));
        Ok(SimFile { disk, epoch: self.epoch, ino, path, writable: how != Open::Read })
    }

    /// Renames in one step, here or into another folder of the disk. A file replaces a file.
    ///
    /// # Errors
    /// `NotFound`; `AlreadyExists` if the new name of a folder, or a folder's, is taken; the disk.
    pub fn rename(&self, from: &str, to_dir: &Self, to: &str) -> io::Result<()> {
        let mut state = self.begin_change("rename", from)?;
        let ino = *state.names(self.ino)?.get(from).ok_or(io::ErrorKind::NotFound)?;
        let is_dir = state.blocks(ino).is_err();
        if let Some(taken) = state.names(to_dir.ino)?.get(to).copied()
            && (is_dir || state.blocks(taken).is_err())
            && taken != ino
        {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (from, to) = ((self.ino, from.to_owned()), (to_dir.ino, to.to_owned()));
        state.change(Change::Rename { from, to, ino, is_dir });
        Ok(())
    }

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound`, `IsADirectory`; the disk.
    pub fn remove_file(&self, name: &str) -> io::Result<()> {
        let mut state = self.begin_change("remove_file", name)?;
        let ino = *state.names(self.ino)?.get(name).ok_or(io::ErrorKind::NotFound)?;
        state.blocks(ino)?;
        state.change(Change::Unlink { dir: self.ino, name: name.to_owned() });
        Ok(())
    }

    /// Removes a folder and all in it, name by name: each is a change of its own.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory`; folders nested deeper than 32; the disk.
    pub fn remove_dir_all(&self, name: &str) -> io::Result<()> {
        self.remove_down_to(name, REMOVE_DEPTH_MAX)
    }

    fn remove_down_to(&self, name: &str, depth: u32) -> io::Result<()> {
        let within = self.open_dir(name)?;
        let deeper = depth.checked_sub(1).ok_or_else(|| io::Error::other("folders are nested too deeply"))?;
        for entry in within.list()? {
            match entry.kind {
                EntryKind::File => within.remove_file(&entry.name)?,
                EntryKind::Dir => within.remove_down_to(&entry.name, deeper)?,
            }
        }
        let mut state = self.begin_change("remove_dir", name)?;
        state.change(Change::Unlink { dir: self.ino, name: name.to_owned() });
        Ok(())
    }

    /// Makes the names in it durable.
    ///
    /// # Errors
    /// The disk.
    pub fn sync(&self) -> io::Result<()> {
        self.begin("sync_dir", "")?.sync_dir(self.ino);
        Ok(())
    }

    /// Takes the exclusive lock that the file stands for, which is made if it is missing; `None`: somebody holds it.
    ///
    /// # Errors
    /// The disk.
    pub fn lock(&self, name: &str) -> io::Result<Option<SimLock>> {
        loop {
            let ino = self.open_file(name, Open::ReadWrite)?.ino;
            let mut state = self.begin("lock", name)?;
            // Who held it may have removed the file in between: then another one is meant.
            if state.names(self.ino)?.get(name) == Some(&ino) {
                let taken = state.locks.insert(ino);
                return Ok(taken.then(|| SimLock { disk: self.disk.clone(), epoch: self.epoch, ino }));
            }
        }
    }

    /// Bytes that still fit.
    ///
    /// # Errors
    /// The disk.
    pub fn free_space(&self) -> io::Result<u64> {
        let state = self.begin("free_space", "")?;
        Ok(state.capacity.map_or(u64::MAX / 4, |capacity| capacity.saturating_sub(state.used())))
    }

    fn begin(&self, what: &str, name: &str) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.disk.state();
        state.begin(self.epoch, &|| format!("{what} {}", self.path.join(name).display()))?;
        Ok(state)
    }

    fn begin_change(&self, what: &str, name: &str) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.disk.state();
        state.begin_change(self.epoch, &|| format!("{what} {}", self.path.join(name).display()))?;
        Ok(state)
    }
}

impl SimFile {
    /// Where it was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads up to `buf.len()` bytes at `offset`; holes are zeros.
    ///
    /// # Errors
    /// The disk.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(self.begin("read")?.blocks(self.ino)?.read(buf, offset))
    }

    /// Writes all of `data` at `offset`.
    ///
    /// # Errors
    /// `StorageFull`, of which any part may be written; `PermissionDenied` if it was opened for reading; the disk.
    pub fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.begin_change("write")?;
        let change = |state: &mut State, data: &[u8]| {
            state.change(Change::Write { file: self.ino, offset, data: data.into() });
        };
        let half = data.get(..data.len() / 2).unwrap_or_default();
        if state.is_cut_short() {
            change(&mut state, half);
            return Err(io::ErrorKind::StorageFull.into());
        }
        let before = state.blocks(self.ino)?;
        let mut after = before.clone();
        after.write(data, offset);
        let more = after.allocated().saturating_sub(before.allocated());
        if !state.fits(more) {
            // What still fits, of large writes at least.
            if data.len() as u64 > 2 * BLOCK && state.fits(more / 2 + BLOCK) {
                change(&mut state, half);
            }
            return Err(io::ErrorKind::StorageFull.into());
        }
        change(&mut state, data);
        Ok(())
    }

    /// Length in bytes.
    ///
    /// # Errors
    /// The disk.
    pub fn len(&self) -> io::Result<u64> {
        Ok(self.begin("len")?.blocks(self.ino)?.len)
    }

    /// Whether it holds nothing.
    ///
    /// # Errors
    /// The disk.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Sets the length; what is added is a hole.
    ///
    /// # Errors
    /// The disk.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.begin_change("set_len")?;
        state.change(Change::SetLen { file: self.ino, len });
        Ok(())
    }

    /// Makes bytes and length durable.
    ///
    /// # Errors
    /// The disk: what should have become durable never will.
    pub fn sync(&self) -> io::Result<()> {
        let begun = self.begin("sync").map(drop);
        let mut state = self.disk.state();
        if state.is_cut_short() || begun.is_err() {
            if !state.down && state.epoch == self.epoch {
                state.forsake(self.ino);
            }
            return begun.and_then(|()| Err(io::Error::other("input/output error (simulated)")));
        }
        state.sync_file(self.ino);
        Ok(())
    }

    /// Bytes of the disk that it takes.
    ///
    /// # Errors
    /// The disk.
    pub fn allocated(&self) -> io::Result<u64> {
        Ok(self.begin("allocated")?.blocks(self.ino)?.allocated())
    }

    /// Where it is no hole, ascending.
    ///
    /// # Errors
    /// The disk.
    pub fn data_ranges(&self) -> io::Result<Vec<Range<u64>>> {
        Ok(self.begin("data_ranges")?.blocks(self.ino)?.data_ranges())
    }

    /// From now on reads show what is on the platter, if nothing of the file is on its way there.
    pub fn forget_cached(&self) {
        let mut state = self.disk.state();
        if state.epoch == self.epoch {
            state.forget_cached(self.ino);
        }
    }

    fn begin(&self, what: &str) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.disk.state();
        state.begin(self.epoch, &|| format!("{what} {}", self.path.display()))?;
        Ok(state)
    }

    fn begin_change(&self, what: &str) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.disk.state();
        state.begin_change(self.epoch, &|| format!("{what} {}", self.path.display()))?;
        if self.writable { Ok(state) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        // A later process may hold it by now.
        if state.epoch == self.epoch {
            state.locks.remove(&self.ino);
        }
    }
}

impl fmt::Debug for SimLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimLock({})", self.ino)
    }
}
