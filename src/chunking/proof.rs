//! Are these bytes right? The only makers of [`VerifiedChunk`] and [`VerifiedFile`]: who holds one holds proved bytes.
//!
//! ```text
//! Manifest (agreed on) + list of values  ->  FileTree        the list merges to the root that the manifest names, or nothing is believed
//! FileTree + bytes of a chunk            ->  VerifiedChunk   its BLAKE3 value stands in the list
//! every VerifiedChunk, in order          ->  VerifiedFile    SHA-256 equals Fabric's metadata, and the content is a snapshot file
//! ```

use sha2::{Digest, Sha256};

use super::buffer::PooledBuf;
use crate::snapshot::{
    ChunkIndex, ChunkRoot, ChunkTree, ContentCheck, ContentError, FileDigest, FileSummary, GroupValue, Manifest,
    ManifestFile, SnapshotFile, ValueCountError, group_value, hash_small,
};

/// Bytes that are not what the manifest names. Who sent them first hand is to blame, but for [`ProofError::FileHash`]
/// and [`ProofError::Content`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The manifest has no such file.
    #[error("the manifest has no file number {file_index}")]
    NoSuchFile {
        /// The number asked for.
        file_index: u32,
    },
    /// A list of values that can't belong to the file.
    #[error("chunk tree of {file}: {source}")]
    TreeLength {
        /// The file.
        file: SnapshotFile,
        /// How long it must be.
        source: ValueCountError,
    },
    /// A list of values that doesn't merge to the file's root.
    #[error("the chunk tree of {file} merges to {found}, the manifest says {}", expected)]
    TreeRoot {
        /// The file.
        file: SnapshotFile,
        /// The manifest's root.
        expected: ChunkRoot,
        /// What the list gives.
        found: ChunkRoot,
    },
    /// A list of group values that doesn't merge to its span's value.
    #[error("the values of span {span} of {file} don't merge to what the span list says")]
    SpanMismatch {
        /// The file.
        file: SnapshotFile,
        /// The span.
        span: u32,
    },
    /// A chunk of the wrong length, or behind the file's end.
    #[error("chunk {} of {file} has {expected} bytes, not {found}", chunk.0)]
    ChunkLength {
        /// The file.
        file: SnapshotFile,
        /// The chunk.
        chunk: ChunkIndex,
        /// Its length in bytes (0: there is no such chunk).
        expected: u64,
        /// Bytes that came.
        found: u64,
    },
    /// A chunk with other bytes.
    #[error("chunk {} of {file} is not what the manifest names", chunk.0)]
    ChunkMismatch {
        /// The file.
        file: SnapshotFile,
        /// The chunk.
        chunk: ChunkIndex,
    },
    /// A chunk out of turn, or of another file: a mistake of the caller, nobody's lie.
    #[error("{file} is hashed in order: chunk {} is next", next.0)]
    OutOfOrder {
        /// The file.
        file: SnapshotFile,
        /// The chunk that is needed next.
        next: ChunkIndex,
    },
    /// Every chunk is proved by the manifest's BLAKE3, but the file's SHA-256 isn't the one that Fabric recorded: those
    /// who vouch for the manifest are broken or lying, and no other source helps.
    #[error(
        "{file} has SHA-256 {found}, its snapshot's metadata says {expected}: those who vouch for this manifest are broken or lying"
    )]
    FileHash {
        /// The file.
        file: SnapshotFile,
        /// Fabric's.
        expected: FileDigest,
        /// What the proved bytes give.
        found: FileDigest,
    },
    /// Every chunk is proved, but the content is none that Fabric writes: those who vouch for the manifest are broken
    /// or lying, and no other source helps.
    #[error("{source}; those who vouch for this manifest are broken or lying")]
    Content {
        /// What is wrong, and in which file.
        source: ContentError,
    },
}

/// The chunk tree of one file of an agreed manifest, merged to the root that the manifest names.
#[derive(Debug, Clone)]
pub struct FileTree {
    file_index: u32,
    file: ManifestFile,
    tree: ChunkTree,
}

impl FileTree {
    /// Believes a list of group values if it merges to the root of file number `file_index`; a file of at most one
    /// chunk has an empty list.
    ///
    /// # Errors
    /// [`ProofError::NoSuchFile`], [`ProofError::TreeLength`], [`ProofError::TreeRoot`].
    pub fn prove(manifest: &Manifest, file_index: u32, values: Vec<GroupValue>) -> Result<Self, ProofError> {
        let file = manifest_file(manifest, file_index)?.clone();
        let counted = |source| ProofError::TreeLength { file: file.file, source };
        if values.is_empty() {
            let tree = ChunkTree::small(file.size).map_err(counted)?;
            return Ok(Self { file_index, file, tree });
        }
        let (found, tree) = ChunkTree::from_values(file.size, values).map_err(counted)?;
        if found != file.root {
            return Err(ProofError::TreeRoot { file: file.file, expected: file.root, found });
        }
        Ok(Self { file_index, file, tree })
    }

    /// The file's number in the manifest.
    #[must_use]
    pub const fn file_index(&self) -> u32 {
        self.file_index
    }

    /// The file.
    #[must_use]
    pub const fn file(&self) -> &ManifestFile {
        &self.file
    }

    /// The merged tree.
    #[must_use]
    pub const fn tree(&self) -> &ChunkTree {
        &self.tree
    }

    /// Length of a chunk in bytes; 0 if the file has no such chunk.
    #[must_use]
    pub fn chunk_len(&self, chunk: ChunkIndex) -> u64 {
        chunk.range(self.file.size).len()
    }

    /// Believes the bytes of one chunk if they have its length and its value. The buffer of refused bytes goes back to
    /// its pool.
    ///
    /// # Errors
    /// [`ProofError::ChunkLength`], [`ProofError::ChunkMismatch`].
    pub fn prove_chunk(&self, chunk: ChunkIndex, bytes: PooledBuf) -> Result<VerifiedChunk, ProofError> {
        let (expected, found) = (self.chunk_len(chunk), bytes.len() as u64);
        if expected == 0 || expected != found {
            return Err(ProofError::ChunkLength { file: self.file.file, chunk, expected, found });
        }
        // A file of at most one chunk has no list: the chunk's hash is the root.
        let needed = self.tree.value(chunk).unwrap_or(GroupValue(self.file.root.0));
        if group_value(chunk, &bytes, self.file.size) != needed {
            return Err(ProofError::ChunkMismatch { file: self.file.file, chunk });
        }
        Ok(VerifiedChunk { file_index: self.file_index, root: self.file.root, chunk, bytes })
    }
}

/// The proved bytes of one chunk.
#[derive(Debug)]
pub struct VerifiedChunk {
    file_index: u32,
    root: ChunkRoot,
    chunk: ChunkIndex,
    bytes: PooledBuf,
}

impl VerifiedChunk {
    /// The file's number in the manifest.
    #[must_use]
    pub const fn file_index(&self) -> u32 {
        self.file_index
    }

    /// Root of the file that the bytes belong to.
    #[must_use]
    pub const fn root(&self) -> ChunkRoot {
        self.root
    }

    /// Which chunk of the file.
    #[must_use]
    pub const fn index(&self) -> ChunkIndex {
        self.chunk
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The running check of one file: its chunks in order, SHA-256 against Fabric's metadata, and the content as it streams
/// by.
#[derive(Debug)]
pub struct FileProof {
    file_index: u32,
    file: ManifestFile,
    next: ChunkIndex,
    bytes_seen: u64,
    sha256: Sha256,
    /// The check until it fails; its error then. The hash goes on: it tells a manifest that leads elsewhere from a snapshot that was
    /// made wrong.
    content: Result<ContentCheck, ContentError>,
}

impl FileProof {
    /// A check of file number `file_index` that has seen nothing.
    ///
    /// # Errors
    /// [`ProofError::NoSuchFile`].
    pub fn new(manifest: &Manifest, file_index: u32) -> Result<Self, ProofError> {
        let file = manifest_file(manifest, file_index)?.clone();
        let content = Ok(ContentCheck::new(file.file, manifest.signable().state_db_type()));
        Ok(Self { file_index, file, next: ChunkIndex(0), bytes_seen: 0, sha256: Sha256::new(), content })
    }

    /// The chunk that is needed next; `None` when all were seen.
    #[must_use]
    pub fn next(&self) -> Option<ChunkIndex> {
        (self.bytes_seen < self.file.size).then_some(self.next)
    }

    /// Takes the next chunk.
    ///
    /// # Errors
    /// [`ProofError::OutOfOrder`] for any other chunk; nothing is changed then.
    pub fn update(&mut self, chunk: &VerifiedChunk) -> Result<(), ProofError> {
        if chunk.root != self.file.root || chunk.file_index != self.file_index || Some(chunk.chunk) != self.next() {
            return Err(ProofError::OutOfOrder { file: self.file.file, next: self.next });
        }
        if let Ok(content) = &mut self.content
            && let Err(error) = content.update(chunk.bytes())
        {
            self.content = Err(error);
        }
        self.sha256.update(chunk.bytes());
        self.bytes_seen += chunk.bytes().len() as u64;
        self.next = ChunkIndex(self.next.0.saturating_add(1));
        Ok(())
    }

    /// Ends the check after the last chunk.
    ///
    /// # Errors
    /// [`ProofError::OutOfOrder`] if chunks are missing; [`ProofError::FileHash`] and [`ProofError::Content`] if those
    /// who vouch for the manifest are wrong.
    pub fn finish(self) -> Result<VerifiedFile, ProofError> {
        if let Some(next) = self.next() {
            return Err(ProofError::OutOfOrder { file: self.file.file, next });
        }
        let empty = hash_small(&[]);
        if self.file.size == 0 && self.file.root != empty {
            // No chunk has proved this one.
            return Err(ProofError::TreeRoot { file: self.file.file, expected: self.file.root, found: empty });
        }
        let found = FileDigest(self.sha256.finalize().into());
        if found != self.file.sha256 {
            return Err(ProofError::FileHash { file: self.file.file, expected: self.file.sha256, found });
        }
        let content = self.content.and_then(ContentCheck::finish);
        let summary = content.map_err(|source| ProofError::Content { source })?;
        Ok(VerifiedFile { file_index: self.file_index, file: self.file, summary })
    }
}

/// A file whose every byte was proved, by BLAKE3 and by the SHA-256 of Fabric's metadata, and whose content is right on
/// its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedFile {
    file_index: u32,
    file: ManifestFile,
    summary: FileSummary,
}

impl VerifiedFile {
    /// The file's number in the manifest.
    #[must_use]
    pub const fn file_index(&self) -> u32 {
        self.file_index
    }

    /// The file.
    #[must_use]
    pub const fn file(&self) -> &ManifestFile {
        &self.file
    }

    /// What the content says, to be checked against the other files' ([`crate::snapshot::cross_check`]).
    #[must_use]
    pub const fn summary(&self) -> &FileSummary {
        &self.summary
    }
}

pub(super) fn manifest_file(manifest: &Manifest, file_index: u32) -> Result<&ManifestFile, ProofError> {
    let file = usize::try_from(file_index).ok().and_then(|index| manifest.files().get(index));
    file.ok_or(ProofError::NoSuchFile { file_index })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chunking::fixture::{Sample, sha256},
        snapshot::{CHUNK_BYTES, SignableMetadata},
    };

    const MIB: usize = CHUNK_BYTES as usize;

    fn prove(sample: &Sample, file_index: u32, chunk: u32, bytes: &[u8]) -> Result<VerifiedChunk, ProofError> {
        let mut buf = sample.buffers.take(bytes.len());
        buf.copy_from_slice(bytes);
        sample.trees[file_index as usize].prove_chunk(ChunkIndex(chunk), buf)
    }

    /// Defence: a chunk's value and length; removed, other bytes become a VerifiedChunk.
    /// L1, L2: the proof itself.
    #[test]
    fn only_the_right_bytes_in_the_right_place_become_a_chunk() {
        let sample = Sample::noise([3 * MIB + 5, 10, 2 * MIB, 0]);
        for (file, chunk) in sample.all() {
            let raw = sample.raw(file, chunk).to_vec();
            let proved = prove(&sample, file, chunk, &raw).unwrap();
            assert_eq!(
                (proved.file_index(), proved.index(), proved.bytes()),
                (file, ChunkIndex(chunk), raw.as_slice())
            );
            for at in [0, raw.len() / 2, raw.len() - 1] {
                let mut flipped = raw.clone();
                flipped[at] ^= 0x80;
                let refusal = prove(&sample, file, chunk, &flipped).unwrap_err();
                assert!(
                    matches!(refusal, ProofError::ChunkMismatch { chunk: found, .. } if found.0 == chunk),
                    "{refusal}"
                );
            }
            let shorter = prove(&sample, file, chunk, &raw[1..]).unwrap_err();
            assert!(matches!(shorter, ProofError::ChunkLength { .. }), "{shorter}");
        }
        // Swapped: right bytes at another index, in another file.
        let raw = sample.raw(0, 0).to_vec();
        assert!(matches!(prove(&sample, 0, 1, &raw), Err(ProofError::ChunkMismatch { .. })));
        assert!(matches!(prove(&sample, 2, 0, &raw), Err(ProofError::ChunkMismatch { .. })));
        // Behind the end, and in an empty file.
        assert!(matches!(prove(&sample, 0, 4, &raw), Err(ProofError::ChunkLength { expected: 0, .. })));
        assert!(matches!(prove(&sample, 3, 0, &[]), Err(ProofError::ChunkLength { expected: 0, .. })));
        assert!(matches!(prove(&sample, 0, u32::MAX, &raw), Err(ProofError::ChunkLength { expected: 0, .. })));
    }

    #[test]
    fn a_list_is_believed_only_if_it_merges_to_the_manifests_root() {
        let sample = Sample::noise([3 * MIB + 5, 10, 2 * MIB, 0]);
        let manifest = &sample.manifest;
        let values = sample.trees[0].tree().values().to_vec();
        assert!(FileTree::prove(manifest, 0, values.clone()).is_ok());
        for at in 0..values.len() {
            let mut bad = values.clone();
            bad[at].0[31] ^= 1;
            assert!(matches!(FileTree::prove(manifest, 0, bad), Err(ProofError::TreeRoot { .. })));
        }
        for bad in [vec![], values[..3].to_vec(), [values.clone(), values[..1].to_vec()].concat()] {
            assert!(matches!(FileTree::prove(manifest, 0, bad), Err(ProofError::TreeLength { .. })));
        }
        assert!(matches!(FileTree::prove(manifest, 1, values[..1].to_vec()), Err(ProofError::TreeLength { .. })));
        assert!(matches!(FileTree::prove(manifest, 2, values[..2].to_vec()), Err(ProofError::TreeRoot { .. })));
        assert_eq!(FileTree::prove(manifest, 4, values).unwrap_err(), ProofError::NoSuchFile { file_index: 4 });
    }

    #[test]
    fn a_file_is_verified_by_every_chunk_in_order() {
        let sample = Sample::recorded();
        let verified = sample.verified();
        assert_eq!(verified.len(), 8);
        assert!(verified.iter().zip(sample.manifest.files()).all(|(verified, listed)| verified.file() == listed));
    }

    #[test]
    fn chunks_out_of_turn_change_nothing() {
        let sample = Sample::tx_ids(3 * MIB / 65 - 100);
        let mut proof = FileProof::new(&sample.manifest, 2).unwrap();
        proof.update(&sample.chunk(2, 0)).unwrap();
        for (file, chunk) in [(2, 0), (2, 2), (0, 1), (1, 0)] {
            let refusal = proof.update(&sample.chunk(file, chunk));
            assert!(matches!(refusal, Err(ProofError::OutOfOrder { .. })), "{file} {chunk}");
        }
        assert_eq!(proof.next(), Some(ChunkIndex(1)));
        proof.update(&sample.chunk(2, 1)).unwrap();
        proof.update(&sample.chunk(2, 2)).unwrap();
        let verified = proof.finish().unwrap();
        assert_eq!((verified.file_index(), verified.file()), (2, &sample.manifest.files()[2]));
    }

    #[test]
    fn no_chunk_may_be_missing_at_the_end() {
        let sample = Sample::tx_ids(2 * MIB / 65);
        let mut proof = FileProof::new(&sample.manifest, 2).unwrap();
        proof.update(&sample.chunk(2, 0)).unwrap();
        assert!(matches!(proof.finish(), Err(ProofError::OutOfOrder { next: ChunkIndex(1), .. })));
    }

    #[test]
    fn proved_bytes_that_are_no_snapshot_file_blame_those_who_vouch() {
        let sample = Sample::noise([2 * MIB, 10, 10, 0]);
        let mut proof = FileProof::new(&sample.manifest, 0).unwrap();
        (0..2).for_each(|chunk| proof.update(&sample.chunk(0, chunk)).unwrap());
        let refusal = proof.finish().unwrap_err();
        assert!(matches!(refusal, ProofError::Content { .. }), "{refusal}");
        let empty = FileProof::new(&sample.manifest, 3).unwrap().finish();
        assert!(matches!(empty, Err(ProofError::Content { .. })));
    }

    /// Defence: SHA-256 of the whole file stays the authority; removed, a manifest with right metadata and other roots passes.
    #[test]
    fn a_wrong_sha256_under_a_right_blake3_blames_those_who_vouch() {
        let sample = Sample::recorded();
        let signable = &sample.metadata.signable;
        let mut digests = signable.files().clone();
        let file = SnapshotFile::TxIdsMetadata;
        let wrong = sha256(b"something else");
        digests.insert(file, wrong);
        let lying = SignableMetadata::new(
            signable.id().clone(),
            signable.last_block_hash(),
            signable.previous_block_hash(),
            digests,
            signable.state_db_type(),
        )
        .unwrap();
        let mut files = sample.manifest.files().to_vec();
        files[7].sha256 = wrong;
        let manifest = Manifest::new(lying, files).unwrap();
        let mut proof = FileProof::new(&manifest, 7).unwrap();
        proof.update(&sample.chunk(7, 0)).unwrap();
        let found = sha256(&sample.files[7]);
        assert_eq!(proof.finish(), Err(ProofError::FileHash { file, expected: wrong, found }));
    }

    #[test]
    fn an_empty_file_needs_the_root_of_nothing() {
        let sample = Sample::noise([5, 5, 5, 0]);
        let mut files = sample.manifest.files().to_vec();
        files[3].root = files[0].root;
        let manifest = Manifest::new(sample.metadata.signable.clone(), files).unwrap();
        assert!(matches!(FileProof::new(&manifest, 3).unwrap().finish(), Err(ProofError::TreeRoot { .. })));
    }
}
