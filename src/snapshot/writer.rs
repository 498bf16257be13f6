//! Writes a snapshot folder item by item, hashing while writing, in memory that doesn't grow with the files.
//!
//! The order of the items is the caller's part: [`super::verify_folder`] says whether it was right.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    AdditionalMetadata, BlockHash, CHUNK_BYTES, ConfigHistoryEntry, Manifest, ManifestError, ManifestFile,
    MetadataError, NamespaceRow, SignableMetadata, SnapshotFile, SnapshotId, SnapshotMetadata, StateDbType,
    StateRecord, encode_count, encode_rows, file_hashing::FileHashing, items::FORMAT, put_item,
};
use crate::disk::{Access, Dir, DiskError, File};

/// Why a snapshot couldn't be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// What the metadata would say is illegal.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// What the manifest would say is illegal.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// Writes one file in whole chunks and hashes it on the way, a large one on a thread of its own: SHA-256 and chunk tree.
#[derive(Debug)]
pub struct FileWriter {
    which: SnapshotFile,
    file: Arc<dyn File>,
    buffer: Vec<u8>,
    size: u64,
    hashing: FileHashing,
}

impl FileWriter {
    /// Makes an empty file; it must not be there.
    ///
    /// # Errors
    /// The disk's.
    pub fn create(dir: &dyn Dir, which: SnapshotFile) -> Result<Self, DiskError> {
        let file = dir.open_file(which.name(), Access::CreateNew)?;
        let buffer = Vec::with_capacity(2 * CHUNK_BYTES as usize);
        Ok(Self { which, file, buffer, size: 0, hashing: FileHashing::new() })
    }

    /// Lets `append` add bytes, and writes what fills whole chunks.
    ///
    /// # Errors
    /// The disk's.
    pub fn put(&mut self, append: impl FnOnce(&mut Vec<u8>)) -> Result<(), DiskError> {
        append(&mut self.buffer);
        let whole = self.buffer.len() - self.buffer.len() % CHUNK_BYTES as usize;
        if whole > 0 {
            let mut next = self.hashing.buffer(2 * CHUNK_BYTES as usize);
            next.extend_from_slice(self.buffer.get(whole..).unwrap_or_default());
            self.buffer.truncate(whole);
            let full = std::mem::replace(&mut self.buffer, next);
            self.write(full)?;
        }
        Ok(())
    }

    /// Writes the rest and makes the file durable (its name needs [`Dir::sync_dir`]).
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(mut self) -> Result<ManifestFile, DiskError> {
        let rest = std::mem::take(&mut self.buffer);
        self.write(rest)?;
        self.file.sync()?;
        let (size, root, sha256) = self.hashing.finish();
        Ok(ManifestFile { file: self.which, size, sha256, root })
    }

    fn write(&mut self, bytes: Vec<u8>) -> Result<(), DiskError> {
        self.file.write_all_at(&bytes, self.size)?;
        self.size = self.size.saturating_add(bytes.len() as u64);
        self.hashing.update(bytes);
        Ok(())
    }
}

/// What the metadata say beside the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// Channel and last block.
    pub id: SnapshotId,
    /// Hash of the last block.
    pub last_block_hash: BlockHash,
    /// Hash of the block before; absent at block 0 only.
    pub previous_block_hash: Option<BlockHash>,
    /// Commit hash of the last block, if the ledger has commit hashes.
    pub commit_hash: Option<BlockHash>,
    /// The order that the records have.
    pub state_db_type: StateDbType,
}

/// Writes all files of a snapshot into an empty folder. Kinds of which nothing is put aren't made, state and ids always are.
#[derive(Debug)]
pub struct SnapshotWriter<'a> {
    dir: &'a dyn Dir,
    open: BTreeMap<SnapshotFile, Section>,
}

#[derive(Debug)]
struct Section {
    data: FileWriter,
    rows: Vec<NamespaceRow>,
    items: u64,
}

impl<'a> SnapshotWriter<'a> {
    /// Starts the two mandatory pairs.
    ///
    /// # Errors
    /// The disk's.
    pub fn create(dir: &'a dyn Dir) -> Result<Self, WriteError> {
        let mut writer = Self { dir, open: BTreeMap::new() };
        writer.section(SnapshotFile::PublicStateData)?;
        writer.section(SnapshotFile::TxIdsData)?;
        Ok(writer)
    }

    /// Adds a record of the public state.
    ///
    /// # Errors
    /// The disk's.
    pub fn public(&mut self, namespace: &str, record: &StateRecord<'_>) -> Result<(), WriteError> {
        self.state(SnapshotFile::PublicStateData, namespace, record)
    }

    /// Adds a record of private hashes; the namespace is `<namespace>$$h<collection>`.
    ///
    /// # Errors
    /// The disk's.
    pub fn private(&mut self, namespace: &str, record: &StateRecord<'_>) -> Result<(), WriteError> {
        self.state(SnapshotFile::PrivateStateHashesData, namespace, record)
    }

    /// Adds a transaction id.
    ///
    /// # Errors
    /// The disk's.
    pub fn tx_id(&mut self, id: &[u8]) -> Result<(), WriteError> {
        let section = self.section(SnapshotFile::TxIdsData)?;
        section.items += 1;
        Ok(section.data.put(|out| put_item(out, id))?)
    }

    /// Adds an entry of the collection-configuration history.
    ///
    /// # Errors
    /// The disk's.
    pub fn config_history(&mut self, entry: &ConfigHistoryEntry<'_>) -> Result<(), WriteError> {
        let section = self.section(SnapshotFile::ConfigHistoryData)?;
        section.items += 1;
        Ok(section.data.put(|out| entry.encode_into(out))?)
    }

    /// Writes the counts and the two metadata files, and makes all durable.
    ///
    /// # Errors
    /// The disk's, or facts that Fabric wouldn't write.
    pub fn finish(self, facts: SnapshotFacts) -> Result<(SnapshotMetadata, Manifest), WriteError> {
        let mut files = Vec::new();
        for (which, section) in self.open {
            use SnapshotFile as F;
            let (counts, bytes) = match which {
                F::PublicStateData => (F::PublicStateMetadata, encode_rows(&section.rows)),
                F::PrivateStateHashesData => (F::PrivateStateHashesMetadata, encode_rows(&section.rows)),
                F::TxIdsData => (F::TxIdsMetadata, encode_count(section.items)),
                _ => (F::ConfigHistoryMetadata, encode_count(section.items)),
            };
            files.push(section.data.finish()?);
            let mut writer = FileWriter::create(self.dir, counts)?;
            writer.put(|out| out.extend_from_slice(&bytes))?;
            files.push(writer.finish()?);
        }
        let digests = files.iter().map(|file| (file.file, file.sha256)).collect();
        let SnapshotFacts { id, last_block_hash, previous_block_hash, commit_hash, state_db_type } = facts;
        let signable = SignableMetadata::new(id, last_block_hash, previous_block_hash, digests, state_db_type)?;
        let additional = AdditionalMetadata { snapshot_hash: signable.hash(), last_block_commit_hash: commit_hash };
        for (name, bytes) in [
            (SnapshotFile::SIGNABLE_METADATA, signable.bytes()),
            (SnapshotFile::ADDITIONAL_METADATA, &additional.encode()),
        ] {
            let file = self.dir.open_file(name, Access::CreateNew)?;
            file.write_all_at(bytes, 0)?;
            file.sync()?;
        }
        self.dir.sync_dir()?;
        let manifest = Manifest::new(signable.clone(), files)?;
        Ok((SnapshotMetadata::new(signable, additional)?, manifest))
    }

    fn state(&mut self, which: SnapshotFile, namespace: &str, record: &StateRecord<'_>) -> Result<(), WriteError> {
        let section = self.section(which)?;
        section.items += 1;
        match section.rows.last_mut().filter(|row| row.namespace == namespace) {
            Some(row) => row.records += 1,
            None => section.rows.push(NamespaceRow { namespace: namespace.to_owned(), records: 1 }),
        }
        Ok(section.data.put(|out| record.encode_into(out))?)
    }

    fn section(&mut self, which: SnapshotFile) -> Result<&mut Section, WriteError> {
        use std::collections::btree_map::Entry;
        match self.open.entry(which) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let mut data = FileWriter::create(self.dir, which)?;
                data.put(|out| out.push(FORMAT))?;
                Ok(entry.insert(Section { data, rows: Vec::new(), items: 0 }))
            }
        }
    }
}
