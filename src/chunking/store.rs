//! Proved chunks on the disk, until the folder is whole and is published.
//!
//! ```text
//! LAND/.snapferry/CH-N/lock       held while somebody works here
//! LAND/.snapferry/CH-N/journal    which chunks are durable; belongs to one manifest
//! LAND/.snapferry/CH-N/files/     sparse raw files under their final names; renamed to LAND/CH/N when all is proved
//! ```
//!
//! What may be believed: data is synced before the journal claims it, so the journal never claims more than is durable;
//! but it is trusted for presence only. What a file holds, claimed or not (a killed process loses only what was in
//! flight), becomes a [`VerifiedChunk`] again only by [`Store::rehash`]. After a failed sync the file is removed at once
//! and starts over: no later process may take cached pages for what is on the disk. A full disk leaves everything as it
//! was before the write: free space and try again.

mod publish;
mod reading;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use super::{
    buffer::BufferPool,
    claims::{self, Claims},
    proof::{FileTree, VerifiedChunk},
};
use crate::{
    disk::{Access, Dir, DiskError, EntryKind, File, Journal, Lock},
    snapshot::{CHUNK_BYTES, ChunkIndex, FolderError, Manifest, ManifestFile, ManifestHash, SnapshotFile},
};

/// Folder of the partial files, in the job's folder.
pub const FILES_DIR: &str = "files";
/// Journal, in the job's folder.
pub const JOURNAL_FILE: &str = "journal";
/// Lock, in the job's folder.
pub const LOCK_FILE: &str = "lock";
/// A group is synced after so many bytes: 16 MiB take 9 ms, so this costs about 4 % of a second at full speed.
pub const SYNC_BYTES: u64 = 64 << 20;
/// Or after this time: a power cut then costs at most so much of slow work.
pub const SYNC_INTERVAL: Duration = Duration::from_secs(2);

/// Kind and version of what the journal's records mean.
const HEADER: &[u8] = b"store 1\0";

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk refused; nothing that was stored before is lost. `is_full()` of the source: free space and repeat.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A sync of these files failed, so what they hold is unknown: call [`Store::start_over`] for each, all their
    /// chunks are missing again.
    #[error("{} must be fetched again: {source}", names(.files))]
    SyncFailed {
        /// All files that failed, as number in the manifest and file, ascending.
        files: Vec<(u32, SnapshotFile)>,
        /// What the disk said of the first.
        source: DiskError,
    },
    /// The disk can't read this chunk back (a bad sector): it is as good as missing, so fetch it again. Writing it may
    /// heal the place; if not, [`Store::start_over`] moves the file to another one.
    #[error("chunk {} of {file} can't be read back: {source}", chunk.0)]
    Unreadable {
        /// The file's number in the manifest.
        file_index: u32,
        /// The file.
        file: SnapshotFile,
        /// The chunk.
        chunk: ChunkIndex,
        /// What the disk said.
        source: DiskError,
    },
    /// The file waits for [`Store::start_over`], or started over while the call ran.
    #[error("{file} starts over after a failed sync")]
    StartsOver {
        /// The file's number in the manifest.
        file_index: u32,
        /// The file.
        file: SnapshotFile,
    },
    /// A chunk, tree, metadata or file that belongs to another manifest than this store: a mistake of the caller.
    #[error("this belongs to another snapshot than the one that is stored here ({manifest_hash})")]
    Foreign {
        /// The store's manifest.
        manifest_hash: ManifestHash,
    },
    /// The folder has its final name: nothing in it may change any more.
    #[error("the snapshot stored here is already published")]
    Published,
    /// Publishing was asked for although a file isn't proved whole.
    #[error("{file} isn't complete: nothing was published")]
    Incomplete {
        /// The file.
        file: SnapshotFile,
    },
    /// The folder to be published holds something else than the exact set.
    #[error("nothing was published: {0}")]
    NotExactSet(#[from] FolderError),
    /// A file in the folder to be published was changed by somebody else.
    #[error(
        "{name} in the folder to be published has another length or a second name elsewhere: nothing was published"
    )]
    Altered {
        /// The file's name.
        name: String,
    },
}

/// What a reopened store may hold of one file: prove it with [`Store::rehash`] before believing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    /// The file's number in the manifest.
    pub file_index: u32,
    /// Chunks that the journal claims to be durable, ascending.
    pub claimed: Vec<ChunkIndex>,
    /// Further chunks where the file is no hole: what was written but not yet claimed.
    pub unclaimed: Vec<ChunkIndex>,
}

/// The work folder of one transfer. All methods may be called from any thread.
#[derive(Debug)]
pub struct Store {
    job: Arc<dyn Dir>,
    files_dir: Arc<dyn Dir>,
    manifest: Manifest,
    manifest_hash: ManifestHash,
    state: Mutex<State>,
    /// Grows whenever there are more proved chunks, or fewer.
    version: AtomicU64,
    /// Held during a group sync and a start-over, so that these never overlap. Taken before `state`.
    journal: Mutex<Journal>,
    _lock: Lock,
}

#[derive(Debug)]
struct State {
    files: Vec<Partial>,
    /// Written and not yet synced.
    pending: Claims,
    pending_bytes: u64,
    /// When the oldest of them was written.
    pending_since: Option<Duration>,
    /// What was pending is on its way to the disk, and may come back.
    syncing: bool,
    published: bool,
}

#[derive(Debug)]
struct Partial {
    file: Arc<dyn File>,
    /// Chunks that were proved in this run and lie in the file.
    present: BTreeSet<ChunkIndex>,
    /// Goes up when the file starts over.
    generation: u64,
    poisoned: bool,
}

impl Store {
    /// Opens (or makes) the store of `manifest` in the job's folder, takes its lock, and tells what may be there.
    ///
    /// # Errors
    /// [`DiskError::Locked`] if another process works there; or whatever the disk says.
    pub fn open(job: Arc<dyn Dir>, manifest: &Manifest) -> Result<(Self, Vec<Candidates>), StoreError> {
        let lock = job.lock(LOCK_FILE)?;
        job.create_dir(FILES_DIR)?;
        let files_dir = job.open_dir(FILES_DIR)?;
        let kept = remove_foreign(&*files_dir, manifest)?;
        let manifest_hash = manifest.hash();
        let header = [HEADER, manifest_hash.as_bytes()].concat();
        let (mut journal, records) = Journal::open(&*job, JOURNAL_FILE, &header)?;
        let mut claims = claims::replay(&records, |index| chunk_count(file_at(manifest, index)?));

        let mut files = Vec::new();
        let mut candidates = Vec::new();
        for (file_index, listed) in (0..).zip(manifest.files()) {
            let name = listed.file.name();
            let mut file = files_dir.open_file(name, Access::ReadWrite)?;
            let mut known = kept.contains(&listed.file);
            if known && settle(&*file).is_err() {
                known = false;
                files_dir.remove_file(name)?;
                file = files_dir.open_file(name, Access::CreateNew)?;
            }
            if file.len()? != listed.size {
                file.set_len(listed.size)?;
            }
            let mut claimed = claims.remove(&file_index).unwrap_or_default();
            if !known && !claimed.is_empty() {
                journal.append(&claims::forget(file_index))?;
                claimed.clear();
            }
            let unclaimed = chunks_with_data(&*file, listed)?.difference(&claimed).copied().collect();
            candidates.push(Candidates { file_index, claimed: claimed.into_iter().collect(), unclaimed });
            files.push(Partial { file, present: BTreeSet::new(), generation: 0, poisoned: false });
        }
        // The names of the files must be durable before the journal claims anything in them.
        files_dir.sync_dir()?;
        job.sync_dir()?;

        let state = State {
            files,
            pending: Claims::new(),
            pending_bytes: 0,
            pending_since: None,
            syncing: false,
            published: false,
        };
        let store = Self {
            job,
            files_dir,
            manifest: manifest.clone(),
            manifest_hash,
            state: Mutex::new(state),
            version: AtomicU64::new(1),
            journal: Mutex::new(journal),
            _lock: lock,
        };
        Ok((store, candidates))
    }

    /// The manifest that the store belongs to.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Writes a chunk to its place at once: a killed process keeps it, a power cut only after [`Self::sync`]. `now` is
    /// any clock that only goes forward.
    ///
    /// # Errors
    /// [`StoreError::Disk`] (a full disk: nothing is changed, repeat when there is space), [`StoreError::StartsOver`],
    /// [`StoreError::Foreign`].
    pub fn write(&self, chunk: &VerifiedChunk, now: Duration) -> Result<(), StoreError> {
        let file_index = chunk.file_index();
        let listed = self.listed(file_index)?;
        if listed.root != chunk.root() {
            return Err(self.foreign());
        }
        let (file, generation) = self.file(file_index)?;
        // Without the lock: writes run side by side.
        file.write_all_at(chunk.bytes(), chunk.index().offset())?;
        self.note(file_index, generation, chunk.index(), now)
    }

    /// Reads a chunk back and proves it; `None` if the file doesn't hold it (a hole, rot, a torn write, cut off). A
    /// proved one is claimed at the next sync.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`]: missing too, and the only one that the disk causes; [`StoreError::StartsOver`],
    /// [`StoreError::Published`], [`StoreError::Foreign`] if the tree is that of another file.
    pub fn rehash(
        &self,
        tree: &FileTree,
        chunk: ChunkIndex,
        buffers: &BufferPool,
        now: Duration,
    ) -> Result<Option<VerifiedChunk>, StoreError> {
        let file_index = tree.file_index();
        if *self.listed(file_index)? != *tree.file() {
            return Err(self.foreign());
        }
        let Ok(len @ 1..) = usize::try_from(tree.chunk_len(chunk)) else { return Ok(None) };
        let (file, generation) = self.file(file_index)?;
        let mut bytes = buffers.take(len);
        let read = file.read_exact_at(&mut bytes, chunk.offset());
        if read.is_ok()
            && let Ok(verified) = tree.prove_chunk(chunk, bytes)
        {
            return self.note(file_index, generation, chunk, now).map(|()| Some(verified));
        }
        if let Some(partial) = partial(&mut self.state().files, file_index) {
            partial.present.remove(&chunk);
            self.changed();
        }
        match read {
            Err(source) if source.kind() != ErrorKind::UnexpectedEof => {
                Err(StoreError::Unreadable { file_index, file: tree.file().file, chunk, source })
            }
            _ => Ok(None),
        }
    }

    /// What [`Self::publish`] still misses: chunks that weren't proved in this run, as (file number, chunk), ascending.
    #[must_use]
    pub fn missing(&self) -> Vec<(u32, ChunkIndex)> {
        let state = self.state();
        let mut missing = Vec::new();
        for ((file_index, listed), partial) in (0..).zip(self.manifest.files()).zip(&state.files) {
            let chunks = (0..chunk_count(listed).unwrap_or(0)).map(ChunkIndex);
            // What a poisoned file noted isn't to be trusted any more.
            let absent = chunks.filter(|chunk| partial.poisoned || !partial.present.contains(chunk));
            missing.extend(absent.map(|chunk| (file_index, chunk)));
        }
        missing
    }

    /// Bytes of the disk that the partial files already take: what is still to come fits into the rest.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub fn allocated(&self) -> Result<u64, StoreError> {
        let files: Vec<_> = self.state().files.iter().map(|partial| Arc::clone(&partial.file)).collect();
        let mut sum: u64 = 0;
        for (file, listed) in files.iter().zip(self.manifest.files()) {
            // The file system's own records count too, but save nothing.
            sum = sum.saturating_add(file.allocated()?.min(listed.size));
        }
        Ok(sum)
    }

    /// Whether a group sync is due: [`SYNC_BYTES`] were written since the last one, or the oldest unsynced chunk is
    /// [`SYNC_INTERVAL`] old.
    #[must_use]
    pub fn sync_due(&self, now: Duration) -> bool {
        let state = self.state();
        let old = state.pending_since.is_some_and(|since| now.saturating_sub(since) >= SYNC_INTERVAL);
        old || state.pending_bytes >= SYNC_BYTES
    }

    /// Whether everything that was written is durable and claimed.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        let state = self.state();
        state.pending.is_empty() && !state.syncing
    }

    /// Makes everything durable that was written before the call, and returns what now is: (file number, chunk),
    /// ascending. Writes go on meanwhile.
    ///
    /// # Errors
    /// [`StoreError::SyncFailed`] names every file that must start over (chunks of other files stay written and are
    /// claimed by the next sync); [`StoreError::Disk`] if only the journal failed: nothing is lost, repeat.
    pub fn sync(&self) -> Result<Vec<(u32, ChunkIndex)>, StoreError> {
        let mut journal = self.journal();
        self.sync_taken(|taken| self.sync_files(taken).and_then(|()| self.claim(&mut journal, taken)))
    }

    /// Has what is pending made durable by `sync`; what isn't is pending again.
    fn sync_taken<T>(&self, sync: impl FnOnce(&Claims) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let taken = self.state().take_pending();
        let synced = sync(&taken);
        let mut state = self.state();
        state.syncing = false;
        if synced.is_err() {
            state.give_back(taken, &self.manifest);
        }
        synced
    }

    /// Empties a file whose sync failed, so that it can be fetched again: all its chunks are missing from now on.
    ///
    /// # Errors
    /// [`StoreError::Disk`]: the file stays unusable, repeat.
    pub fn start_over(&self, file_index: u32) -> Result<(), StoreError> {
        let listed = self.listed(file_index)?;
        let mut journal = self.journal();
        if self.state().published {
            return Err(StoreError::Published);
        }
        {
            let mut state = self.state();
            if let Some(partial) = partial(&mut state.files, file_index) {
                partial.poisoned = true;
            }
            state.pending.remove(&file_index);
            self.changed();
        }
        // A new inode: what the old one's pages hold or lost doesn't matter any more. Claims are taken back first.
        self.write_records(&mut journal, &[claims::forget(file_index)])?;
        match self.files_dir.remove_file(listed.file.name()) {
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
        let file = self.files_dir.open_file(listed.file.name(), Access::CreateNew)?;
        file.set_len(listed.size)?;
        self.files_dir.sync_dir()?;
        if let Some(partial) = partial(&mut self.state().files, file_index) {
            *partial = Partial { file, present: BTreeSet::new(), generation: partial.generation + 1, poisoned: false };
        }
        Ok(())
    }

    /// Notes that a chunk lies in the file, unless that started over meanwhile.
    fn note(&self, file_index: u32, generation: u64, chunk: ChunkIndex, now: Duration) -> Result<(), StoreError> {
        let listed = self.listed(file_index)?;
        let mut state = self.state();
        match partial(&mut state.files, file_index) {
            Some(partial) if partial.generation == generation && !partial.poisoned => {
                if partial.present.insert(chunk) {
                    self.changed();
                }
            }
            _ => return Err(StoreError::StartsOver { file_index, file: listed.file }),
        }
        if state.pending.entry(file_index).or_default().insert(chunk) {
            state.pending_bytes += chunk.range(listed.size).len();
        }
        state.pending_since.get_or_insert(now);
        Ok(())
    }

    /// Syncs the files that have chunks in `taken`: all of them, so that each that fails is known. Those are not to be
    /// trusted any more.
    fn sync_files(&self, taken: &Claims) -> Result<(), StoreError> {
        let mut failed = Vec::new();
        let mut first_error = None;
        for &file_index in taken.keys() {
            let listed = self.listed(file_index)?;
            let (file, _) = self.file(file_index)?;
            if let Err(source) = file.sync() {
                let mut state = self.state();
                if let Some(partial) = partial(&mut state.files, file_index) {
                    partial.poisoned = true;
                    partial.present.clear();
                    self.changed();
                }
                state.pending.remove(&file_index);
                drop(state);
                // At once: the kernel may call the lost pages clean now, and a later process would read and sync them
                // without an error. If even that fails, `settle` is left.
                let _ = self.files_dir.remove_file(listed.file.name());
                failed.push((file_index, listed.file));
                first_error.get_or_insert(source);
            }
        }
        first_error.map_or(Ok(()), |source| Err(StoreError::SyncFailed { files: failed, source }))
    }

    /// Claims in the journal what was synced.
    fn claim(&self, journal: &mut Journal, synced: &Claims) -> Result<Vec<(u32, ChunkIndex)>, StoreError> {
        let records: Vec<_> =
            synced.iter().flat_map(|(file_index, chunks)| claims::claim(*file_index, chunks)).collect();
        if !records.is_empty() {
            self.write_records(journal, &records)?;
        }
        Ok(synced.iter().flat_map(|(file_index, chunks)| chunks.iter().map(|chunk| (*file_index, *chunk))).collect())
    }

    /// Appends and syncs; a journal that failed to sync before is opened again first (what it lost was presence only).
    fn write_records(&self, journal: &mut Journal, records: &[Vec<u8>]) -> Result<(), StoreError> {
        if journal.is_poisoned() {
            let header = [HEADER, self.manifest_hash.as_bytes()].concat();
            *journal = Journal::open(&*self.job, JOURNAL_FILE, &header)?.0;
        }
        records.iter().try_for_each(|record| journal.append(record))?;
        Ok(journal.sync()?)
    }

    fn listed(&self, file_index: u32) -> Result<&ManifestFile, StoreError> {
        file_at(&self.manifest, file_index).ok_or_else(|| self.foreign())
    }

    /// The open file and its generation, unless it must start over.
    fn file(&self, file_index: u32) -> Result<(Arc<dyn File>, u64), StoreError> {
        let listed = self.listed(file_index)?;
        let mut state = self.state();
        if state.published {
            return Err(StoreError::Published);
        }
        match partial(&mut state.files, file_index) {
            Some(partial) if !partial.poisoned => Ok((Arc::clone(&partial.file), partial.generation)),
            _ => Err(StoreError::StartsOver { file_index, file: listed.file }),
        }
    }

    fn foreign(&self) -> StoreError {
        StoreError::Foreign { manifest_hash: self.manifest_hash }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one step, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_pending(&mut self) -> Claims {
        self.pending_bytes = 0;
        self.pending_since = None;
        self.syncing = true;
        std::mem::take(&mut self.pending)
    }

    /// Puts back what could not be made durable, but for files that start over.
    fn give_back(&mut self, taken: Claims, manifest: &Manifest) {
        for (file_index, chunks) in taken {
            let Some(listed) = file_at(manifest, file_index) else { continue };
            if partial(&mut self.files, file_index).is_none_or(|partial| partial.poisoned) {
                self.pending.remove(&file_index);
                continue;
            }
            self.pending_bytes += chunks.iter().map(|chunk| chunk.range(listed.size).len()).sum::<u64>();
            self.pending.entry(file_index).or_default().extend(chunks);
            self.pending_since.get_or_insert(Duration::ZERO); // at once when asked again
        }
    }
}

/// The files, for a message.
fn names(files: &[(u32, SnapshotFile)]) -> String {
    let names: Vec<_> = files.iter().map(|(_, file)| file.name()).collect();
    names.join(", ")
}

fn partial(files: &mut [Partial], file_index: u32) -> Option<&mut Partial> {
    files.get_mut(usize::try_from(file_index).ok()?)
}

fn file_at(manifest: &Manifest, file_index: u32) -> Option<&ManifestFile> {
    manifest.files().get(usize::try_from(file_index).ok()?)
}

fn chunk_count(listed: &ManifestFile) -> Option<u32> {
    ChunkIndex::count(listed.size)
}

/// Removes from the work folder what isn't a partial file of this manifest, and files that are linked from elsewhere:
/// writing to them would change those. What stays is returned.
fn remove_foreign(files_dir: &dyn Dir, manifest: &Manifest) -> Result<BTreeSet<SnapshotFile>, DiskError> {
    let mut kept = BTreeSet::new();
    for entry in files_dir.list()? {
        let listed = manifest.files().iter().find(|listed| listed.file.name() == entry.name);
        match (entry.kind, listed) {
            (EntryKind::Dir, _) => files_dir.remove_dir_all(&entry.name)?,
            (EntryKind::File, Some(listed)) if entry.links == 1 => drop(kept.insert(listed.file)),
            _ => match files_dir.remove_file(&entry.name) {
                // A name that isn't UTF-8 can't be named; publishing will refuse it.
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            },
        }
    }
    Ok(kept)
}

/// Lets a file that another process left be read from the disk, not from the page cache: that may hold what a failed
/// sync, which nobody remembers any more, never brought to the disk.
fn settle(file: &dyn File) -> Result<(), DiskError> {
    // What isn't written yet would stay in the cache.
    file.sync()?;
    file.forget_cached();
    Ok(())
}

/// Chunks that aren't holes altogether.
fn chunks_with_data(file: &dyn File, listed: &ManifestFile) -> Result<BTreeSet<ChunkIndex>, DiskError> {
    let mut chunks = BTreeSet::new();
    let count = chunk_count(listed).unwrap_or(0);
    for range in file.data_ranges()? {
        let first = u32::try_from(range.start / CHUNK_BYTES).unwrap_or(u32::MAX);
        let end = u32::try_from(range.end.div_ceil(CHUNK_BYTES)).unwrap_or(u32::MAX);
        chunks.extend((first..end.min(count)).map(ChunkIndex));
    }
    Ok(chunks)
}
