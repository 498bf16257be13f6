//! A snapshot of our own peer that others may read: every file was hashed when it was found, and every chunk is checked
//! again when it is read.

use super::{CatalogEntry, KnownSnapshot, ReadError};
use crate::{
    disk::{Access, Dir, DiskError, File},
    snapshot::{BlockHash, ChunkIndex, ChunkTree, Manifest, SnapshotId, group_value, hash_small},
};
use bytes::Bytes;
use std::{io, sync::Arc};

/// Manifest, chunk trees and open files of one snapshot. The files stay readable if their names are removed meanwhile.
#[derive(Debug)]
#[non_exhaustive]
pub struct ServedSnapshot {
    /// What the chunks prove against.
    pub manifest: Arc<Manifest>,
    /// The manifest's canonical bytes.
    pub manifest_bytes: Bytes,
    known: KnownSnapshot,
    files: Vec<(ChunkTree, Arc<dyn File>)>,
}

impl ServedSnapshot {
    /// Opens the files of a snapshot that was verified; `trees` are in the order of the manifest's files.
    pub(super) fn open(
        dir: &dyn Dir,
        manifest: Manifest,
        commit_hash: Option<BlockHash>,
        trees: Vec<ChunkTree>,
    ) -> Result<Self, DiskError> {
        let opened = manifest.files().iter().map(|file| dir.open_file(file.file.name(), Access::Read));
        let opened = opened.collect::<Result<Vec<_>, _>>()?;
        let known = KnownSnapshot::new(manifest, commit_hash);
        let (manifest, manifest_bytes) = (Arc::clone(&known.manifest), known.manifest_bytes.clone());
        let files = trees.into_iter().zip(opened).collect();
        Ok(Self { manifest, manifest_bytes, known, files })
    }

    /// Channel and last block.
    #[must_use]
    pub fn id(&self) -> &SnapshotId {
        self.manifest.id()
    }

    /// The line of the catalog.
    #[must_use]
    pub const fn entry(&self) -> &CatalogEntry {
        &self.known.entry
    }

    /// Commit hash of the last block, from the additional metadata; covered by no hash.
    #[must_use]
    pub const fn commit_hash(&self) -> Option<BlockHash> {
        self.known.commit_hash
    }

    /// What is known of it, which outlives its data.
    #[must_use]
    pub const fn known(&self) -> &KnownSnapshot {
        &self.known
    }

    /// The chunk tree of a file, by its place in the manifest.
    #[must_use]
    pub fn tree(&self, file_index: u32) -> Option<&ChunkTree> {
        self.files.get(usize::try_from(file_index).ok()?).map(|(tree, _)| tree)
    }

    /// Fills `buf` with one chunk (at most 1 MiB), checked against our own tree. Reusing one buffer spares its zeroing.
    /// Blocking.
    ///
    /// # Errors
    /// No such file or chunk; the disk fails; the bytes aren't those any more that were hashed, then `buf` is empty.
    pub fn read_chunk(&self, file_index: u32, chunk: ChunkIndex, buf: &mut Vec<u8>) -> Result<(), ReadError> {
        let no_file = || ReadError::NoSuchFile { id: self.id().clone(), file_index };
        let place = usize::try_from(file_index).map_err(|_| no_file())?;
        let listed = self.manifest.files().get(place).ok_or_else(no_file)?;
        let (tree, file) = self.files.get(place).ok_or_else(no_file)?;
        let range = chunk.range(listed.size);
        if range.is_empty() {
            return Err(ReadError::NoSuchChunk { id: self.id().clone(), file: listed.file, chunk });
        }
        // A chunk is at most 1 MiB, so its length fits.
        buf.resize(usize::try_from(range.len()).unwrap_or(0), 0);
        let read = file.read_exact_at(buf, range.start);
        let proved = match read {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
            Err(error) => return Err(error.into()),
            Ok(()) => match tree.value(chunk) {
                Some(value) => group_value(chunk, buf, listed.size) == value,
                None => hash_small(buf) == listed.root,
            },
        };
        if proved {
            Ok(())
        } else {
            buf.clear();
            Err(ReadError::CorruptAtSource { id: self.id().clone(), file: listed.file, chunk })
        }
    }
}
