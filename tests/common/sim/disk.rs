//! The simulated disk behind snapferry's [`Dir`] and [`File`].

use std::{any::Any, io, ops::Range, path::Path, sync::Arc};

use netsim::disk::{self, Opening, SimDisk};
use snapferry::disk::{Access, Dir, DirEntry, DiskError, EntryKind, File, Lock, check_name};

/// The root folder of a disk, for a process that starts now.
pub fn sim_dir(disk: &SimDisk) -> Arc<dyn Dir> {
    Arc::new(SimDir(disk.root()))
}

/// As deep as [`snapferry::disk::OsDir`] removes folders.
const REMOVE_DEPTH_MAX: u32 = 32;

#[derive(Debug)]
struct SimDir(disk::SimDir);

#[derive(Debug)]
struct SimFile(disk::SimFile);

impl SimDir {
    fn named<T>(&self, what: &'static str, name: &str, done: io::Result<T>) -> Result<T, DiskError> {
        done.map_err(|error| match error.kind() {
            io::ErrorKind::NotADirectory => DiskError::NotADir { path: self.0.path().join(name) },
            io::ErrorKind::IsADirectory => DiskError::NotAFile { path: self.0.path().join(name) },
            io::ErrorKind::WouldBlock => DiskError::Locked { path: self.0.path().join(name) },
            _ => DiskError::io(what, &self.0.path().join(name), error),
        })
    }

    fn check(&self, name: &str) -> Result<(), DiskError> {
        check_name(self.0.path(), name)
    }
}

impl Dir for SimDir {
    fn path(&self) -> &Path {
        self.0.path()
    }

    fn create_dir(&self, name: &str) -> Result<(), DiskError> {
        self.check(name)?;
        match self.0.create_dir(name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.open_dir(name).map(drop),
            made => self.named("create", name, made),
        }
    }

    fn open_dir(&self, name: &str) -> Result<Arc<dyn Dir>, DiskError> {
        self.check(name)?;
        self.named("open", name, self.0.open_dir(name)).map(|dir| Arc::new(Self(dir)) as _)
    }

    fn list(&self) -> Result<Vec<DirEntry>, DiskError> {
        let entries = self.named("list", "", self.0.list())?.into_iter();
        Ok(entries
            .map(|entry| DirEntry {
                name: entry.name,
                kind: if entry.is_dir { EntryKind::Dir } else { EntryKind::File },
                len: entry.len,
                mtime_ns: i128::from(entry.modified),
                inode: entry.inode,
                links: 1,
            })
            .collect())
    }

    fn open_file(&self, name: &str, access: Access) -> Result<Arc<dyn File>, DiskError> {
        self.check(name)?;
        let how = match access {
            Access::Read => Opening::Read,
            Access::ReadWrite => Opening::ReadWrite,
            Access::CreateNew => Opening::CreateNew,
        };
        self.named("open", name, self.0.open(name, how)).map(|file| Arc::new(SimFile(file)) as _)
    }

    fn rename(&self, from: &str, to_dir: &dyn Dir, to: &str) -> Result<(), DiskError> {
        self.check(from)?;
        check_name(to_dir.path(), to)?;
        let to_dir = (to_dir as &dyn Any).downcast_ref::<Self>().expect("a folder of the simulator");
        self.named("rename", from, self.0.rename(from, &to_dir.0, to))
    }

    fn remove_file(&self, name: &str) -> Result<(), DiskError> {
        self.check(name)?;
        self.named("remove", name, self.0.remove(name))
    }

    fn remove_dir(&self, name: &str) -> Result<(), DiskError> {
        self.check(name)?;
        self.named("open", name, self.0.open_dir(name))?;
        self.named("remove", name, self.0.remove(name))
    }

    fn remove_dir_all(&self, name: &str) -> Result<(), DiskError> {
        self.check(name)?;
        self.named("remove", name, remove_down_to(&self.0, name, REMOVE_DEPTH_MAX))
    }

    fn sync_dir(&self) -> Result<(), DiskError> {
        self.named("sync", "", self.0.sync())
    }

    fn lock(&self, name: &str) -> Result<Lock, DiskError> {
        self.check(name)?;
        self.named("lock", name, self.0.lock(name)).map(Lock::new)
    }

    fn free_space(&self) -> Result<u64, DiskError> {
        self.named("ask the free space of", "", self.0.free_space())
    }
}

/// Removes a folder and all in it, name by name: a power cut can come between any two.
fn remove_down_to(dir: &disk::SimDir, name: &str, depth: u32) -> io::Result<()> {
    let within = dir.open_dir(name)?;
    let deeper = depth.checked_sub(1).ok_or_else(|| io::Error::other("folders are nested too deeply"))?;
    for entry in within.list()? {
        if entry.is_dir {
            remove_down_to(&within, &entry.name, deeper)?;
        } else {
            within.remove(&entry.name)?;
        }
    }
    dir.remove(name)
}

impl SimFile {
    fn done<T>(&self, what: &'static str, done: io::Result<T>) -> Result<T, DiskError> {
        done.map_err(|error| DiskError::io(what, self.0.path(), error))
    }
}

impl File for SimFile {
    fn path(&self) -> &Path {
        self.0.path()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize, DiskError> {
        self.done("read", self.0.read_at(buf, offset))
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> Result<(), DiskError> {
        self.done("write", self.0.write_at(data, offset))
    }

    fn len(&self) -> Result<u64, DiskError> {
        self.done("ask the length of", self.0.len())
    }

    fn set_len(&self, len: u64) -> Result<(), DiskError> {
        self.done("set the length of", self.0.set_len(len))
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.done("sync", self.0.sync())
    }

    fn allocated(&self) -> Result<u64, DiskError> {
        self.done("ask what is taken by", self.0.allocated())
    }

    fn forget_cached(&self) {
        self.0.forget_cached();
    }

    fn data_ranges(&self) -> Result<Vec<Range<u64>>, DiskError> {
        self.done("find the holes of", self.0.data_ranges())
    }
}
