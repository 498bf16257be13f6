//! The snapshot's files as streams: what is read of them is hashed and checked on its way, to the last byte.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    sync::{Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

use super::{FileStream, LoadError};
use crate::{
    disk::DiskError,
    snapshot::{
        ContentCheck, ContentError, ContentSummary, FileDigest, FileSummary, NamespaceRow, SignableMetadata,
        SnapshotFile, cross_check, decode_rows_file,
    },
};

/// Read at once: hashing and checking take it while it is in the processor's cache.
const READ_BYTES: usize = 256 << 10;

/// All files that the metadata list; each is read once.
pub(super) struct Files<'a> {
    signable: &'a SignableMetadata,
    open: &'a (dyn Fn(SnapshotFile) -> Result<FileStream<'a>, DiskError> + Sync),
    proved: Mutex<BTreeMap<SnapshotFile, FileSummary>>,
}

impl<'a> Files<'a> {
    pub(super) const fn new(
        signable: &'a SignableMetadata,
        open: &'a (dyn Fn(SnapshotFile) -> Result<FileStream<'a>, DiskError> + Sync),
    ) -> Self {
        Self { signable, open, proved: Mutex::new(BTreeMap::new()) }
    }

    /// Lets `work` read the file, and holds all of it to its hash; `None` if the snapshot has no such file.
    pub(super) fn read<T>(
        &self,
        file: SnapshotFile,
        work: impl FnOnce(&mut dyn Read) -> Result<T, LoadError>,
    ) -> Result<Option<T>, LoadError> {
        let Some(listed) = self.signable.files().get(&file) else { return Ok(None) };
        let check = ContentCheck::new(file, self.signable.state_db_type());
        let mut proving = Proving { inner: (self.open)(file)?, sha256: Sha256::new(), check: Ok(check) };
        let result = work(&mut proving);
        // The hash first: it tells a file that was damaged from one that was made wrong.
        if result.as_ref().is_err_and(|error| !error.is_of_content()) {
            return result.map(Some);
        }
        let summary = proving.finish(file, *listed)?;
        let value = result?;
        self.proved.lock().unwrap_or_else(PoisonError::into_inner).insert(file, summary);
        Ok(Some(value))
    }

    /// The rows of a file of counts; none if there is no such file.
    pub(super) fn rows(&self, file: SnapshotFile) -> Result<Vec<NamespaceRow>, LoadError> {
        let rows = self.read(file, |stream| Ok(decode_rows_file(file, &all(file, stream)?)?))?;
        Ok(rows.unwrap_or_default())
    }

    /// Reads what nobody has read yet, and checks the files against each other.
    pub(super) fn finish(self, signable: &SignableMetadata) -> Result<ContentSummary, LoadError> {
        for &file in signable.files().keys() {
            if !self.proved.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&file) {
                self.read(file, |_| Ok(()))?;
            }
        }
        let proved = self.proved.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(cross_check(signable, &proved)?)
    }
}

fn all(file: SnapshotFile, stream: &mut dyn Read) -> Result<Vec<u8>, LoadError> {
    let mut bytes = Vec::new();
    // Longer than any file of counts may be: then the check has found that out, too.
    let limit = stream.take(crate::snapshot::COUNTS_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
    limit.map_err(|source| LoadError::Read { file, source })?;
    Ok(bytes)
}

/// A stream that is hashed and checked while it is read.
struct Proving<'a> {
    inner: FileStream<'a>,
    sha256: Sha256,
    /// The first thing that is wrong.
    check: Result<ContentCheck, ContentError>,
}

impl Proving<'_> {
    /// Reads the rest, and holds all to the hash.
    fn finish(mut self, file: SnapshotFile, listed: FileDigest) -> Result<FileSummary, LoadError> {
        let mut buffer = vec![0; READ_BYTES];
        while self.read(&mut buffer).map_err(|source| LoadError::Read { file, source })? > 0 {}
        let actual = FileDigest(self.sha256.finalize().into());
        if actual != listed {
            return Err(LoadError::HashMismatch { file, actual, listed });
        }
        Ok(self.check?.finish()?)
    }
}

impl Read for Proving<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buf)?;
        let read = buf.get(..count).unwrap_or_default();
        self.sha256.update(read);
        if let Ok(check) = &mut self.check
            && let Err(error) = check.update(read)
        {
            self.check = Err(error);
        }
        Ok(count)
    }
}
