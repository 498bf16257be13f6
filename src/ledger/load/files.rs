//! The snapshot's files as streams: what is read of them is hashed and checked on its way, to the last byte.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{FileStream, LoadError, proving::proving};
use crate::{
    disk::DiskError,
    snapshot::{
        ContentCheck, FileSummary, NamespaceRow, SignableMetadata, SnapshotFile, cross_check, decode_rows_file,
    },
};

/// All files that the metadata list; each is read once.
pub(super) struct Files<'a> {
    signable: &'a SignableMetadata,
    open: &'a (dyn Fn(SnapshotFile) -> Result<FileStream<'a>, DiskError> + Sync),
    /// Of those that were proved here.
    summaries: Mutex<BTreeMap<SnapshotFile, FileSummary>>,
    proved_elsewhere: AtomicBool,
    /// The first one that can't be loaded: the others are read no further.
    failed: OnceLock<SnapshotFile>,
}

impl<'a> Files<'a> {
    pub(super) fn new(
        signable: &'a SignableMetadata,
        open: &'a (dyn Fn(SnapshotFile) -> Result<FileStream<'a>, DiskError> + Sync),
    ) -> Self {
        Self {
            signable,
            open,
            summaries: Mutex::default(),
            proved_elsewhere: AtomicBool::default(),
            failed: OnceLock::new(),
        }
    }

    /// Lets `work` read the file, and holds all of it to its hash; `None` if the snapshot has no such file. If it fails, those that are
    /// read at the same time fail, too.
    pub(super) fn read<T>(
        &self,
        file: SnapshotFile,
        work: impl FnOnce(&mut dyn Read) -> Result<T, LoadError>,
    ) -> Result<Option<T>, LoadError> {
        self.noting(file, || self.read_alone(file, work))
    }

    /// Work on what was read of the file: if it fails, those that are read at the same time fail, too.
    pub(super) fn noting<T>(
        &self,
        file: SnapshotFile,
        work: impl FnOnce() -> Result<T, LoadError>,
    ) -> Result<T, LoadError> {
        let result = work();
        if result.is_err() {
            let _ = self.failed.set(file); // another was first
        }
        result
    }

    /// What became of files that were read at the same time: if some failed, why the first one did, as the others may only have failed for it.
    pub(super) fn together<const N: usize>(
        &self,
        mut ended: [(SnapshotFile, Result<(), LoadError>); N],
    ) -> Result<(), LoadError> {
        ended.sort_by_key(|(file, _)| self.failed.get() != Some(file));
        ended.into_iter().try_for_each(|(_, ended)| ended)
    }

    fn read_alone<T>(
        &self,
        file: SnapshotFile,
        work: impl FnOnce(&mut dyn Read) -> Result<T, LoadError>,
    ) -> Result<Option<T>, LoadError> {
        let Some(listed) = self.signable.files().get(&file) else { return Ok(None) };
        let inner: Box<dyn Read + Send + '_> = match (self.open)(file)? {
            FileStream::Unproved(inner) => Box::new(Together { inner, failed: &self.failed }),
            FileStream::Proved(inner) => {
                self.proved_elsewhere.store(true, Ordering::Relaxed);
                return proved(file, &mut Together { inner, failed: &self.failed }, work).map(Some);
            }
        };
        let check = ContentCheck::new(file, self.signable.state_db_type());
        let (result, proved) = proving(inner, check, work);
        // The hash first: it tells a file that was damaged from one that was made wrong.
        if result.as_ref().is_err_and(|error| !error.is_of_content()) {
            return result.map(Some);
        }
        let summary = proved.map_err(|source| LoadError::Read { file, source })?.finish(file, *listed)?;
        let value = result?;
        self.lock().insert(file, summary);
        Ok(Some(value))
    }

    /// The rows of a file of counts; none if there is no such file.
    pub(super) fn rows(&self, file: SnapshotFile) -> Result<Vec<NamespaceRow>, LoadError> {
        let rows = self.read(file, |stream| Ok(decode_rows_file(file, &all(file, stream)?)?))?;
        Ok(rows.unwrap_or_default())
    }

    /// Reads what only counts items, and checks the files against each other.
    pub(super) fn finish(self, signable: &SignableMetadata) -> Result<(), LoadError> {
        for file in [SnapshotFile::ConfigHistoryMetadata, SnapshotFile::TxIdsMetadata] {
            self.read(file, |_| Ok(()))?;
        }
        let summaries = self.summaries.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Whoever has proved files has checked them against each other, too.
        if !self.proved_elsewhere.into_inner() {
            cross_check(signable, &summaries)?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SnapshotFile, FileSummary>> {
        self.summaries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that ends when another file has failed.
struct Together<'a> {
    inner: Box<dyn Read + Send + 'a>,
    failed: &'a OnceLock<SnapshotFile>,
}

impl Read for Together<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.failed.get() {
            Some(failed) => Err(io::Error::other(format!("{failed} can't be loaded"))),
            None => self.inner.read(buf),
        }
    }
}

/// Lets `work` read what is proved, to its end.
fn proved<T>(
    file: SnapshotFile,
    stream: &mut dyn Read,
    work: impl FnOnce(&mut dyn Read) -> Result<T, LoadError>,
) -> Result<T, LoadError> {
    let value = work(stream)?;
    let rest = io::copy(stream, &mut io::sink());
    rest.map_err(|source| LoadError::Read { file, source })?;
    Ok(value)
}

fn all(file: SnapshotFile, stream: &mut dyn Read) -> Result<Vec<u8>, LoadError> {
    let mut bytes = Vec::new();
    // Longer than any file of counts may be: then the check has found that out, too.
    let limit = stream.take(crate::snapshot::COUNTS_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
    limit.map_err(|source| LoadError::Read { file, source })?;
    Ok(bytes)
}
