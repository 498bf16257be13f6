//! A disk that fails at any chosen operation, for tests of what is built on it.

use std::{
    fmt::{self, Debug},
    io::ErrorKind,
    ops::Range,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{Access, Dir, DirEntry, DiskError, File, Lock};

/// Counts changing operations and fails one of them.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    countdown: AtomicU64,
    full: AtomicBool,
    /// Whether nothing works any more after the chosen one.
    crash: AtomicBool,
    /// What was done, as `operation name`.
    log: Mutex<Vec<String>>,
    /// Which of these always fail; here also `read name`.
    broken: Mutex<Vec<String>>,
    /// Free bytes, if not 0.
    free: AtomicU64,
    /// What happens before an operation.
    before: Mutex<Option<(String, Hook)>>,
}

struct Hook(Box<dyn FnOnce() + Send>);

impl Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

impl Faults {
    /// The `n`th operation from now fails.
    pub(crate) fn fail_next(&self, n: u64, kind: ErrorKind) {
        self.full.store(kind == ErrorKind::StorageFull, Ordering::Relaxed);
        self.countdown.store(n, Ordering::Relaxed);
    }

    /// The `n`th operation from now fails, and so does everything after it: the process has died there.
    pub(crate) fn crash_at(&self, n: u64) {
        self.crash.store(true, Ordering::Relaxed);
        self.fail_next(n, ErrorKind::Other);
    }

    /// These operations fail from now on, and no others.
    pub(crate) fn break_only(&self, operations: &[&str]) {
        *self.broken.lock().unwrap() = operations.iter().map(ToString::to_string).collect();
    }

    /// Runs `hook` right before this operation, once.
    pub(crate) fn before(&self, operation: &str, hook: impl FnOnce() + Send + 'static) {
        *self.before.lock().unwrap() = Some((operation.to_owned(), Hook(Box::new(hook))));
    }

    /// The disk has so many bytes free.
    pub(crate) fn set_free(&self, bytes: u64) {
        self.free.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn left(&self) -> u64 {
        self.countdown.load(Ordering::Relaxed)
    }

    pub(crate) fn taken_log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }

    fn operation(&self, what: &str, path: &Path) -> Result<(), DiskError> {
        self.log.lock().unwrap().push(named(what, path));
        let hook = self.before.lock().unwrap().take_if(|(operation, _)| *operation == named(what, path));
        if let Some((_, Hook(hook))) = hook {
            hook();
        }
        self.check_broken(what, path)?;
        let before = self.countdown.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if before == Ok(1) || (before == Err(0) && self.crash.load(Ordering::Relaxed)) {
            let kind = if self.full.load(Ordering::Relaxed) { ErrorKind::StorageFull } else { ErrorKind::Other };
            return Err(DiskError::io("(fault)", path, kind.into()));
        }
        Ok(())
    }

    fn check_broken(&self, what: &str, path: &Path) -> Result<(), DiskError> {
        let broken = self.broken.lock().unwrap().contains(&named(what, path));
        if broken { Err(DiskError::io("(fault)", path, ErrorKind::Other.into())) } else { Ok(()) }
    }
}

fn named(what: &str, path: &Path) -> String {
    format!("{what} {}", path.file_name().unwrap().display())
}

/// A folder whose changing operations are counted.
#[derive(Debug)]
pub(crate) struct FaultyDir {
    inner: Arc<dyn Dir>,
    faults: Arc<Faults>,
}

impl FaultyDir {
    pub(crate) fn wrap(inner: Arc<dyn Dir>, faults: &Arc<Faults>) -> Arc<dyn Dir> {
        Arc::new(Self { inner, faults: Arc::clone(faults) })
    }
}

impl Dir for FaultyDir {
    fn path(&self) -> &Path {
        self.inner.path()
    }
    fn create_dir(&self, name: &str) -> Result<(), DiskError> {
        self.faults.operation("create in", self.path())?;
        self.inner.create_dir(name)
    }
    fn open_dir(&self, name: &str) -> Result<Arc<dyn Dir>, DiskError> {
        Ok(Self::wrap(self.inner.open_dir(name)?, &self.faults))
    }
    fn list(&self) -> Result<Vec<DirEntry>, DiskError> {
        self.inner.list()
    }
    fn open_file(&self, name: &str, access: Access) -> Result<Arc<dyn File>, DiskError> {
        self.faults.operation("open in", self.path())?;
        Ok(Arc::new(FaultyFile { inner: self.inner.open_file(name, access)?, faults: Arc::clone(&self.faults) }))
    }
    fn rename(&self, from: &str, to_dir: &dyn Dir, to: &str) -> Result<(), DiskError> {
        self.faults.operation("rename from", self.path())?;
        let to_dir = (to_dir as &dyn std::any::Any).downcast_ref::<Self>().unwrap();
        self.inner.rename(from, &*to_dir.inner, to)
    }
    fn remove_file(&self, name: &str) -> Result<(), DiskError> {
        // Counted only when there is something to remove.
        if self.inner.list()?.iter().any(|entry| entry.name == name) {
            self.faults.operation("remove from", self.path())?;
        }
        self.inner.remove_file(name)
    }
    fn remove_dir(&self, name: &str) -> Result<(), DiskError> {
        self.faults.operation("remove from", self.path())?;
        self.inner.remove_dir(name)
    }
    fn remove_dir_all(&self, name: &str) -> Result<(), DiskError> {
        self.faults.operation("remove from", self.path())?;
        self.inner.remove_dir_all(name)
    }
    fn sync_dir(&self) -> Result<(), DiskError> {
        self.faults.operation("sync", self.path())?;
        self.inner.sync_dir()
    }
    fn lock(&self, name: &str) -> Result<Lock, DiskError> {
        self.inner.lock(name)
    }
    fn free_space(&self) -> Result<u64, DiskError> {
        match self.faults.free.load(Ordering::Relaxed) {
            0 => self.inner.free_space(),
            free => Ok(free),
        }
    }
}

#[derive(Debug)]
struct FaultyFile {
    inner: Arc<dyn File>,
    faults: Arc<Faults>,
}

impl File for FaultyFile {
    fn path(&self) -> &Path {
        self.inner.path()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize, DiskError> {
        self.faults.check_broken("read", self.path())?;
        self.inner.read_at(buf, offset)
    }
    fn write_all_at(&self, data: &[u8], offset: u64) -> Result<(), DiskError> {
        if let Err(error) = self.faults.operation("write", self.path()) {
            self.inner.write_all_at(&data[..data.len() / 2], offset)?; // a short write
            return Err(error);
        }
        self.inner.write_all_at(data, offset)
    }
    fn len(&self) -> Result<u64, DiskError> {
        self.inner.len()
    }
    fn set_len(&self, len: u64) -> Result<(), DiskError> {
        self.faults.operation("set_len", self.path())?;
        self.inner.set_len(len)
    }
    fn sync(&self) -> Result<(), DiskError> {
        self.faults.operation("sync", self.path())?;
        self.inner.sync()
    }
    fn forget_cached(&self) {
        self.faults.log.lock().unwrap().push(named("forget", self.path()));
        self.inner.forget_cached();
    }
    fn data_ranges(&self) -> Result<Vec<Range<u64>>, DiskError> {
        if self.faults.check_broken("know holes of", self.path()).is_err() {
            return Ok(std::iter::once(0..self.len()?).collect());
        }
        self.inner.data_ranges()
    }
    fn allocated(&self) -> Result<u64, DiskError> {
        self.inner.allocated()
    }
}
