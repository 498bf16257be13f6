//! Snapshots for the tests of this layer: a real one, and one whose files are large enough to have several chunks.

use std::{collections::BTreeMap, path::Path};

use sha2::{Digest, Sha256};

use super::{BufferPool, FileProof, FileTree, VerifiedChunk, VerifiedFile};
use crate::{
    disk::{OsDir, read_small},
    snapshot::{
        BlockHash, BlockNumber, CHUNK_BYTES, ChunkIndex, ChunkTreeBuilder, FileDigest, Manifest, ManifestFile,
        SignableMetadata, SnapshotFile, SnapshotId, SnapshotMetadata, StateDbType, encode_count, put_item,
    },
};

/// A snapshot in memory: every file's bytes in the manifest's order, and its proved tree.
pub(crate) struct Sample {
    pub(crate) manifest: Manifest,
    pub(crate) metadata: SnapshotMetadata,
    pub(crate) files: Vec<Vec<u8>>,
    pub(crate) trees: Vec<FileTree>,
    pub(crate) buffers: BufferPool,
}

impl Sample {
    /// The recorded snapshot of block 132: eight small files.
    pub(crate) fn recorded() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/network/snapshots/org1/132");
        let dir = OsDir::open(&path).unwrap();
        let read = |name| read_small(&*dir, name, 1 << 20).unwrap();
        let metadata =
            SnapshotMetadata::parse(&read(SnapshotFile::SIGNABLE_METADATA), &read(SnapshotFile::ADDITIONAL_METADATA))
                .unwrap();
        let files = metadata.signable.files().keys().map(|file| read(file.name())).collect();
        Self::new(metadata, files)
    }

    /// Four files of these lengths, with bytes that no parser would like.
    pub(crate) fn noise(lens: [usize; 4]) -> Self {
        let mut hasher = blake3::Hasher::new();
        let files = lens.map(|len| {
            let mut bytes = vec![0; len];
            hasher.update(b"next").finalize_xof().fill(&mut bytes);
            bytes
        });
        Self::of_four(files)
    }

    /// A right `txids.data` (file 2) with so many ids of 65 bytes; two chunks of noise in file 0.
    pub(crate) fn tx_ids(count: usize) -> Self {
        let mut data = vec![1];
        (0..count).for_each(|n| put_item(&mut data, format!("{n:064x}").as_bytes()));
        Self::of_four([vec![7; 2 << 20], vec![7; 10], data, encode_count(count as u64)])
    }

    fn of_four(files: [Vec<u8>; 4]) -> Self {
        use SnapshotFile as F;
        let names = [F::PublicStateData, F::PublicStateMetadata, F::TxIdsData, F::TxIdsMetadata];
        let files = Vec::from(files);
        let digests: BTreeMap<_, _> = names.into_iter().zip(files.iter().map(|bytes| sha256(bytes))).collect();
        let id = SnapshotId { channel: "mychannel".parse().unwrap(), block_number: BlockNumber(9) };
        let hash = BlockHash([1; 32]);
        let signable = SignableMetadata::new(id, hash, Some(hash), digests, StateDbType::SimpleKeyValueDb).unwrap();
        Self::new(SnapshotMetadata { signable, commit_hash: Some(hash) }, files)
    }

    fn new(metadata: SnapshotMetadata, files: Vec<Vec<u8>>) -> Self {
        let built: Vec<_> = files
            .iter()
            .map(|bytes| {
                let mut builder = ChunkTreeBuilder::new();
                builder.update(bytes);
                builder.finish()
            })
            .collect();
        let listed = metadata.signable.files().iter().zip(&built);
        let listed = listed.map(|((file, sha256), (size, root, _))| ManifestFile {
            file: *file,
            size: *size,
            sha256: *sha256,
            root: *root,
        });
        let manifest = Manifest::new(metadata.signable.clone(), listed.collect()).unwrap();
        let prove = |(index, (_, _, tree)): (u32, &(_, _, crate::snapshot::ChunkTree))| {
            FileTree::prove(&manifest, index, tree.values().to_vec()).unwrap()
        };
        let trees = (0..).zip(&built).map(prove).collect();
        Self { manifest, metadata, files, trees, buffers: BufferPool::new(4) }
    }

    /// The raw bytes of one chunk.
    pub(crate) fn raw(&self, file_index: u32, chunk: u32) -> &[u8] {
        self.files[file_index as usize].chunks(CHUNK_BYTES as usize).nth(chunk as usize).unwrap()
    }

    /// One chunk, proved.
    pub(crate) fn chunk(&self, file_index: u32, chunk: u32) -> VerifiedChunk {
        let raw = self.raw(file_index, chunk);
        let mut buf = self.buffers.take(raw.len());
        buf.copy_from_slice(raw);
        self.trees[file_index as usize].prove_chunk(ChunkIndex(chunk), buf).unwrap()
    }

    /// Every (file number, chunk).
    pub(crate) fn all(&self) -> Vec<(u32, u32)> {
        let count = |listed: &ManifestFile| ChunkIndex::count(listed.size).unwrap();
        let files = (0..).zip(self.manifest.files());
        files.flat_map(|(index, listed)| (0..count(listed)).map(move |chunk| (index, chunk))).collect()
    }

    /// Every file, proved whole.
    pub(crate) fn verified(&self) -> Vec<VerifiedFile> {
        (0..)
            .zip(self.manifest.files())
            .map(|(index, _)| {
                let mut proof = FileProof::new(&self.manifest, index).unwrap();
                while let Some(next) = proof.next() {
                    proof.update(&self.chunk(index, next.0)).unwrap();
                }
                proof.finish().unwrap()
            })
            .collect()
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> FileDigest {
    FileDigest(Sha256::digest(bytes).into())
}
