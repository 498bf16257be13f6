//! A snapshot folder as a whole: exactly the right files, with the right hashes and sound content.
//!
//! Decides: whether a folder may be served, published or loaded, as far as the folder alone can tell. Whether it is the snapshot
//! that several organisations vouch for is `catalog`'s part.

use std::{collections::BTreeMap, path::PathBuf};

use sha2::{Digest, Sha256};

use super::{
    ChunkTree, ChunkTreeBuilder, ContentCheck, ContentError, ContentSummary, FileDigest, METADATA_BYTES_MAX, Manifest,
    ManifestError, ManifestFile, MetadataError, SignableMetadata, SnapshotFile, SnapshotMetadata, cross_check,
};
use crate::disk::{Access, Dir, DiskError, EntryKind, read_small};

/// Bytes per read: one chunk, so that the tree is built without copies.
const READ_BYTES: usize = super::CHUNK_BYTES as usize;

/// Why a folder is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// The disk, or something that is no regular file.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// One of the two metadata files.
    #[error("{}: {source}", folder.display())]
    Metadata {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: MetadataError,
    },
    /// A file that the metadata don't list. A join reads fixed names, so it would be loaded unchecked.
    #[error("{}: {name:?} doesn't belong to the snapshot; move it away", folder.display())]
    Extra {
        /// The folder.
        folder: PathBuf,
        /// What was found.
        name: String,
    },
    /// A listed file isn't there.
    #[error("{}: {name} is missing", folder.display())]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// The file.
        name: &'static str,
    },
    /// A folder, link, pipe or device where a file should be.
    #[error("{}: {name:?} is no regular file", folder.display())]
    NotAFile {
        /// The folder.
        folder: PathBuf,
        /// What was found.
        name: String,
    },
    /// A file's SHA-256 is not the listed one.
    #[error("{}: {file} has SHA-256 {actual}, but the metadata say {listed}", folder.display())]
    Digest {
        /// The folder.
        folder: PathBuf,
        /// The file.
        file: SnapshotFile,
        /// As it is.
        actual: FileDigest,
        /// As it should be.
        listed: FileDigest,
    },
    /// Hashes are right, content isn't: whoever made the snapshot made a broken one.
    #[error("{}: {source}", folder.display())]
    Content {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: ContentError,
    },
    /// A file beyond what a manifest can describe.
    #[error("{}: {source}", folder.display())]
    Manifest {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: ManifestError,
    },
}

/// A folder whose every byte was read and found right.
#[derive(Debug)]
#[non_exhaustive]
pub struct VerifiedFolder {
    /// Sizes and chunk roots as found.
    pub manifest: Manifest,
    /// Both metadata files.
    pub metadata: SnapshotMetadata,
    /// Chunk tree of each file, in the manifest's order.
    pub trees: Vec<ChunkTree>,
    /// The content in numbers.
    pub content: ContentSummary,
}

/// Reads and parses both metadata files.
///
/// # Errors
/// They can't be read, or are refused.
pub fn read_metadata(dir: &dyn Dir) -> Result<SnapshotMetadata, FolderError> {
    let signable = read_small(dir, SnapshotFile::SIGNABLE_METADATA, METADATA_BYTES_MAX as u64)?;
    let additional = read_small(dir, SnapshotFile::ADDITIONAL_METADATA, METADATA_BYTES_MAX as u64)?;
    SnapshotMetadata::parse(&signable, &additional)
        .map_err(|source| FolderError::Metadata { folder: dir.path().to_owned(), source })
}

/// The folder holds exactly the listed files and the two metadata files, all of them regular.
///
/// # Errors
/// Anything else in it, or anything missing.
pub fn check_exact_set(dir: &dyn Dir, signable: &SignableMetadata) -> Result<(), FolderError> {
    let folder = || dir.path().to_owned();
    let mut missing: Vec<&'static str> = [SnapshotFile::ADDITIONAL_METADATA, SnapshotFile::SIGNABLE_METADATA]
        .into_iter()
        .chain(signable.files().keys().map(|file| file.name()))
        .collect();
    for entry in dir.list()? {
        let Some(at) = missing.iter().position(|name| *name == entry.name) else {
            return Err(FolderError::Extra { folder: folder(), name: entry.name });
        };
        if entry.kind != EntryKind::File {
            return Err(FolderError::NotAFile { folder: folder(), name: entry.name });
        }
        missing.swap_remove(at);
    }
    match missing.first() {
        Some(name) => Err(FolderError::Missing { folder: folder(), name }),
        None => Ok(()),
    }
}

/// Reads every file once: exact set, SHA-256, chunk tree and content. `progress` is told the bytes of each step (1 MiB at most).
///
/// Takes 2 MiB of memory, the trees (32 bytes per MiB of file) and the longest record that straddles two MiB.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify_folder(dir: &dyn Dir, progress: &mut dyn FnMut(u64)) -> Result<VerifiedFolder, FolderError> {
    let metadata = read_metadata(dir)?;
    check_exact_set(dir, &metadata.signable)?;
    let content_error = |source| FolderError::Content { folder: dir.path().to_owned(), source };
    let (mut files, mut trees, mut summaries) = (Vec::new(), Vec::new(), BTreeMap::new());
    let mut buffer = vec![0; READ_BYTES];
    for (&file, &listed) in metadata.signable.files() {
        let mut reading = Reading {
            sha256: Sha256::new(),
            tree: ChunkTreeBuilder::new(),
            content: Ok(ContentCheck::new(file, metadata.signable.state_db_type())),
        };
        reading.read(dir, file, &mut buffer, progress)?;
        let actual = FileDigest(reading.sha256.finalize().into());
        // The hash first: it tells a file that was damaged from one that was made wrong.
        if actual != listed {
            return Err(FolderError::Digest { folder: dir.path().to_owned(), file, actual, listed });
        }
        let summary = reading.content.and_then(ContentCheck::finish).map_err(content_error)?;
        summaries.insert(file, summary);
        let (size, root, tree) = reading.tree.finish();
        files.push(ManifestFile { file, size, sha256: actual, root });
        trees.push(tree);
    }
    let content = cross_check(&metadata.signable, &summaries).map_err(content_error)?;
    let manifest = Manifest::new(metadata.signable.clone(), files)
        .map_err(|source| FolderError::Manifest { folder: dir.path().to_owned(), source })?;
    Ok(VerifiedFolder { manifest, metadata, trees, content })
}

/// What is computed while a file is read.
struct Reading {
    sha256: Sha256,
    tree: ChunkTreeBuilder,
    /// The check until it fails; its error then.
    content: Result<ContentCheck, ContentError>,
}

impl Reading {
    fn read(
        &mut self,
        dir: &dyn Dir,
        file: SnapshotFile,
        buffer: &mut [u8],
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), FolderError> {
        let open = dir.open_file(file.name(), Access::Read)?;
        let mut offset = 0_u64;
        loop {
            let len = open.read_at(buffer, offset)?;
            let bytes = buffer.get(..len).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(());
            }
            self.sha256.update(bytes);
            self.tree.update(bytes);
            if let Ok(check) = &mut self.content
                && let Err(error) = check.update(bytes)
            {
                self.content = Err(error);
            }
            offset = offset.saturating_add(len as u64);
            progress(len as u64);
        }
    }
}
