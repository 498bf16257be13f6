//! A disk that forgets, breaks and fills up when a test says so. It knows folders and files, not who uses them.
//!
//! # Fault model
//! What a process does shows at once to every process; what a power cut leaves is decided by syncs.
//!
//! | what happens | what is left |
//! |---|---|
//! | a process dies ([`SimDisk::kill`]) | everything; its locks are free |
//! | power is cut ([`SimDisk::crash`], [`Image::outcomes`]) | what was synced; any choice of the rest, the last write torn or whole (`outcomes` says which choices) |
//! | an operation fails ([`SimDisk::fail`]) | nothing of it, or half of a write |
//! | a file's sync fails | what waited is dropped **and called clean**: reads still show it, a later sync succeeds, [`SimFile::forget_cached`] or a power cut shows that it is gone |
//! | the disk is full ([`SimDisk::set_capacity`]) | of a write as much as fits, then ENOSPC, until something is removed |
//! | no file descriptor is left ([`SimDisk::lack_descriptors`]) | everything; what is open can be used |
//! | the disk refuses changes ([`SimDisk::refuse_changes`]), a file can't be read ([`SimDisk::break_file`]) | everything |
//! | a bit rots ([`SimDisk::rot`]) | that bit flipped, seen by the next read |
//! | a disk lies about some of its syncs ([`SimDisk::lie_about_syncs`]) | everything; a power cut shows what wasn't durable |
//!
//! Not modelled: pages that reach the disk before they are synced and then rot in the cache; links, owners and modes.
//!
//! [`SimDisk::keep_images`] records the disk before each operation that changes it, so that one run of the program gives
//! every crash point. Images share their bytes: thousands of them cost little.

mod content;
mod faults;
mod files;
mod handles;
mod outcomes;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub use faults::{Fault, Kind, Operation, SyncLie};
pub use files::Entry;
pub use handles::{Opening, SimDir, SimFile, SimLock};
pub use outcomes::{BYTES_EXHAUSTIVE_MAX, Image, NAMES_EXHAUSTIVE_MAX, SAMPLE};

use self::{
    content::Change,
    faults::Plan,
    files::{Files, Inode, ROOT},
};
use crate::Rng;

/// What a disk without a capacity has free: 1 TiB, more than any test writes.
const FREE_BYTES: u64 = 1 << 40;

/// A disk; a clone is the same disk.
#[derive(Debug, Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    files: Files,
    /// Goes up when the processes on it die: handles of earlier ones do nothing any more.
    incarnation: u64,
    locks: BTreeSet<Inode>,
    capacity: Option<u64>,
    refusal: Option<io::ErrorKind>,
    lacks_descriptors: bool,
    broken: BTreeSet<Inode>,
    plan: Plan,
    lie: Option<SyncLie>,
    /// Files whose sync waits for that of another one, and those for which it has come.
    late: Vec<Inode>,
    late_due: Vec<Inode>,
    /// Power is off.
    off: bool,
    log: Vec<Operation>,
    images: Option<Vec<Image>>,
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimDisk {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Files::new())
    }

    fn of(files: Files) -> Self {
        Self(Arc::new(Mutex::new(State {
            files,
            incarnation: 0,
            locks: BTreeSet::new(),
            capacity: None,
            refusal: None,
            lacks_descriptors: false,
            broken: BTreeSet::new(),
            plan: Plan::default(),
            lie: None,
            late: Vec::new(),
            late_due: Vec::new(),
            off: false,
            log: Vec::new(),
            images: None,
        })))
    }

    /// The root folder, for a process that starts now.
    #[must_use]
    pub fn root(&self) -> SimDir {
        SimDir::root(self.clone(), self.state().incarnation)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // What goes wrong.

    /// The processes die; nothing is lost, their locks are free.
    pub fn kill(&self) {
        self.state().restart();
    }

    /// Power is cut, and comes back: of what wasn't synced, `rng` decides.
    pub fn crash(&self, rng: &mut Rng) {
        let mut state = self.state();
        let (kept, torn) = state.image().draw(rng);
        state.files = state.files.after_crash(&kept, torn);
        state.restart();
    }

    /// Power is cut, and comes back: nothing is left but what was synced.
    pub fn lose_unsynced(&self) {
        let mut state = self.state();
        state.files = state.files.after_crash(&[], false);
        state.restart();
    }

    /// Power is cut before that operation (they count from 0): it and all after it fail, until [`Self::crash`].
    pub fn crash_before(&self, operation: u64) {
        self.state().plan.crash_before = Some(operation);
    }

    /// That operation fails; those before and after it don't.
    pub fn fail(&self, operation: u64, fault: Fault) {
        self.state().plan.fail.insert(operation, fault);
    }

    /// From now on it lies about some syncs; `None`: about none. Not copied into images.
    pub fn lie_about_syncs(&self, lie: Option<SyncLie>) {
        self.state().lie = lie;
    }

    /// So many bytes fit on it; `None`: any amount.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Changes are refused with that from now on, as on a disk that is `ReadOnlyFilesystem`, whose folders say
    /// `PermissionDenied`, or whose user's `QuotaExceeded`; `None`: none is.
    pub fn refuse_changes(&self, kind: Option<io::ErrorKind>) {
        self.state().refusal = kind;
    }

    /// From now on nothing can be opened, made or listed, as when a process has all the descriptors that it may have; or it can again.
    pub fn lack_descriptors(&self, lacks: bool) {
        self.state().lacks_descriptors = lacks;
    }

    /// Whether [`Self::lack_descriptors`] is in force: for what else takes descriptors on that machine.
    #[must_use]
    pub fn lacks_descriptors(&self) -> bool {
        self.state().lacks_descriptors
    }

    /// Every read, write and sync of that file says EIO, until it is another file. False: there is none.
    pub fn break_file(&self, path: impl AsRef<Path>) -> bool {
        let mut state = self.state();
        let found = state.files.resolve(path.as_ref());
        found.is_ok_and(|inode| state.broken.insert(inode))
    }

    /// Flips a bit of a file, counted from the lowest of its first byte and around at its end. False: there is none.
    pub fn rot(&self, path: impl AsRef<Path>, bit: u64) -> bool {
        let mut state = self.state();
        let found = state.files.resolve(path.as_ref());
        found.is_ok_and(|inode| state.files.flip(inode, bit))
    }

    // What happened, and what is there. None of it counts as an operation.

    /// Everything that was asked of it so far.
    #[must_use]
    pub fn log(&self) -> Vec<Operation> {
        self.state().log.clone()
    }

    /// How much that is.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().log.len() as u64
    }

    /// Keeps an image from before each operation that changes something, from now on.
    pub fn keep_images(&self) {
        self.state().images.get_or_insert_default();
    }

    /// The kept images, oldest first.
    #[must_use]
    pub fn taken_images(&self) -> Vec<Image> {
        self.state().images.take().unwrap_or_default()
    }

    /// The disk as it is.
    #[must_use]
    pub fn image(&self) -> Image {
        self.state().image()
    }

    /// Names and bytes as one number: equal disks have the same.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.state().files.hash()
    }

    /// Bytes that are taken.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.state().files.allocated()
    }

    /// Puts a file there, with the folders above it, as if it had always been there: all that the disk holds is durable after it.
    ///
    /// # Errors
    /// A file where a folder is needed, or the other way round.
    pub fn put(&self, path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        let path = path.as_ref();
        let mut state = self.state();
        let mut folder = ROOT;
        for name in path.parent().into_iter().flat_map(names) {
            folder = match state.files.lookup(folder, &name) {
                Ok(there) => there,
                Err(_) => state.files.make(folder, &name, true)?,
            };
        }
        let name = names(path).pop().ok_or(io::ErrorKind::InvalidInput)?;
        if state.files.lookup(folder, &name).is_ok() {
            state.files.unlink(folder, &name)?;
        }
        let file = state.files.make(folder, &name, false)?;
        state.files.change(file, Change::write(bytes, 0));
        state.files.sync_all();
        Ok(())
    }

    /// The bytes of a file, if it is there.
    #[must_use]
    pub fn read(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let state = self.state();
        let inode = state.files.resolve(path.as_ref()).ok()?;
        Some(state.files.content(inode).ok()?.bytes())
    }

    /// All files directly in a folder with their bytes, if it is there.
    #[must_use]
    pub fn folder(&self, path: impl AsRef<Path>) -> Option<BTreeMap<String, Vec<u8>>> {
        let state = self.state();
        let inode = state.files.resolve(path.as_ref()).ok()?;
        let mut found = BTreeMap::new();
        for entry in state.files.list(inode).ok()?.into_iter().filter(|entry| !entry.is_dir) {
            found.insert(entry.name, state.files.content(entry.inode).ok()?.bytes());
        }
        Some(found)
    }

    /// Every path on it, folders with a `/` at their end.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        let state = self.state();
        let (mut waiting, mut paths) = (vec![(ROOT, String::new())], Vec::new());
        while let Some((folder, above)) = waiting.pop() {
            for entry in state.files.list(folder).unwrap_or_default() {
                let path = format!("{above}{}{}", entry.name, if entry.is_dir { "/" } else { "" });
                if entry.is_dir {
                    waiting.push((entry.inode, path.clone()));
                }
                paths.push(path);
            }
        }
        paths.sort();
        paths
    }
}

impl State {
    fn restart(&mut self) {
        self.incarnation += 1;
        self.off = false;
        self.plan.crash_before = None;
        self.locks.clear();
    }

    fn image(&self) -> Image {
        Image::new(self.files.clone(), self.log.len() as u64)
    }

    /// Counts an operation; what goes wrong with it.
    fn begins(&mut self, incarnation: u64, kind: Kind, path: &Path) -> io::Result<Option<Fault>> {
        let number = self.log.len() as u64;
        self.off |= self.plan.crash_before.is_some_and(|at| at <= number);
        if self.off || self.incarnation != incarnation {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the machine is gone"));
        }
        if kind.changes() {
            let image = self.images.is_some().then(|| self.image());
            self.images.iter_mut().for_each(|images| images.extend(image.clone()));
            std::mem::take(&mut self.late_due).into_iter().for_each(|late| self.files.sync(late, false));
        }
        self.log.push(Operation { kind, path: path.to_owned() });
        let planned = self.plan.fail.get(&number).copied();
        let fault = planned.or_else(|| self.lacks_descriptors.then_some(Fault::NoDescriptor));
        Ok(fault.filter(|fault| *fault != Fault::NoDescriptor || kind.opens()))
    }

    /// Refuses what the disk refuses altogether. A folder's permissions say nothing of what is already open, and a quota lets
    /// everything be removed.
    fn permits(&self, kind: Kind, for_writing: bool) -> io::Result<()> {
        use Kind as K;
        let refused = |refusal: &io::ErrorKind| match (refusal, kind) {
            (_, K::Sync | K::SyncDir) => false,
            (io::ErrorKind::PermissionDenied, K::Write | K::SetLen) => false,
            (io::ErrorKind::QuotaExceeded, _) => kind.takes_space(),
            _ => kind.changes() || for_writing,
        };
        self.refusal.filter(refused).map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    fn free(&self) -> u64 {
        self.capacity.map_or(FREE_BYTES, |capacity| capacity.saturating_sub(self.files.allocated()))
    }
}

fn names(path: &Path) -> Vec<String> {
    PathBuf::from(path).iter().map(|name| name.to_string_lossy().into_owned()).filter(|name| name != "/").collect()
}
