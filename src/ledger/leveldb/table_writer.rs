//! Writes a table from records in ascending order, in memory of one block and a write buffer. When a table is full is left to the caller.

use std::sync::Arc;

use super::{
    InternalKey, Kind, LevelDbError, TableFault, TableMeta,
    block::BlockWriter,
    coding::{compare_keys, masked_crc},
    table::{Footer, Handle, SNAPPY, TRAILER_BYTES, UNCOMPRESSED, separator, table_name},
};
use crate::disk::{Access, Dir, DiskError, File};

/// A data block is finished once it holds so many bytes, as in a peer (goleveldb: `opt.DefaultBlockSize`).
const BLOCK_BYTES: usize = 4 << 10;
/// Every 16th key is whole (goleveldb: `opt.DefaultBlockRestartInterval`), and every one of the index.
const RESTART_INTERVAL: usize = 16;
/// So much is handed to the disk at once.
const WRITE_BYTES: usize = 1 << 20;

/// A table that grows. One that isn't finished is worth nothing: [`TableWriter::finish`] syncs it.
pub struct TableWriter {
    file: Arc<dyn File>,
    number: u64,
    smallest: Option<InternalKey>,
    /// The key that is added, whole.
    key: Vec<u8>,
    data: BlockWriter,
    index: BlockWriter,
    handle: Vec<u8>,
    out: Output,
}

impl TableWriter {
    /// Makes the table's file; nobody else may have.
    ///
    /// # Errors
    /// As [`Dir::open_file`].
    pub fn create(dir: &dyn Dir, number: u64) -> Result<Self, LevelDbError> {
        let file = dir.open_file(&table_name(number), Access::CreateNew)?;
        Ok(Self {
            file,
            number,
            smallest: None,
            key: Vec::new(),
            data: BlockWriter::new(RESTART_INTERVAL),
            index: BlockWriter::new(1),
            handle: Vec::new(),
            out: Output { pending: Vec::new(), offset: 0, encoder: snap::raw::Encoder::new(), compressed: Vec::new() },
        })
    }

    /// Adds a put.
    ///
    /// # Errors
    /// [`TableFault::Order`] unless the key is above the one before (of one key the newest comes first); or whatever the disk says.
    pub fn add(&mut self, user_key: &[u8], sequence: u64, value: &[u8]) -> Result<(), LevelDbError> {
        self.add_of(user_key, sequence, Kind::Put, value)
    }

    /// Adds a record of either kind; a deletion has no value.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_of(&mut self, user_key: &[u8], sequence: u64, kind: Kind, value: &[u8]) -> Result<(), LevelDbError> {
        self.key.clear();
        self.key.extend_from_slice(user_key);
        self.key.extend_from_slice(&(sequence << 8 | kind as u64).to_le_bytes());
        if self.smallest.is_none() {
            self.smallest = Some(InternalKey::new(user_key, sequence, kind));
        } else if compare_keys(self.data.last_key(), &self.key).is_ge() {
            return Err(self.fault(TableFault::Order));
        }
        if self.data.record_bytes() >= BLOCK_BYTES {
            let separator = separator(self.data.last_key(), &self.key);
            self.finish_data_block(&separator)?;
        }
        self.data.add(&self.key, value);
        Ok(())
    }

    /// Bytes of the table so far: what is in the block that isn't finished counts uncompressed.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.out.offset + (self.data.record_bytes() + self.index.record_bytes()) as u64
    }

    /// Completes the table and makes its bytes durable; its name is durable after [`Dir::sync_dir`].
    ///
    /// # Errors
    /// [`TableFault::Empty`] if nothing was added; or whatever the disk says.
    pub fn finish(self) -> Result<TableMeta, LevelDbError> {
        let (table, file) = self.finish_unsynced()?;
        file.sync()?;
        Ok(table)
    }

    /// As [`Self::finish`], but that the bytes are durable only once the file is synced.
    pub(super) fn finish_unsynced(mut self) -> Result<(TableMeta, Arc<dyn File>), LevelDbError> {
        let last = InternalKey::decode(self.data.last_key());
        let (Some(smallest), Some(largest)) = (self.smallest.take(), last) else {
            return Err(self.fault(TableFault::Empty));
        };
        self.finish_data_block(largest.as_bytes())?;
        let metaindex = BlockWriter::new(1).finish(|content| self.out.put_block(content));
        let index = self.index.finish(|content| self.out.put_block(content));
        self.out.put(&Footer { metaindex, index }.encode());
        self.out.flush(&*self.file)?;
        Ok((TableMeta { number: self.number, bytes: self.out.offset, smallest, largest }, self.file))
    }

    fn finish_data_block(&mut self, separator: &[u8]) -> Result<(), DiskError> {
        let handle = self.data.finish(|content| self.out.put_block(content));
        self.handle.clear();
        handle.put(&mut self.handle);
        self.index.add(separator, &self.handle);
        if self.out.pending.len() >= WRITE_BYTES { self.out.flush(&*self.file) } else { Ok(()) }
    }

    fn fault(&self, fault: TableFault) -> LevelDbError {
        LevelDbError::Table { path: self.file.path().to_owned(), fault }
    }
}

impl std::fmt::Debug for TableWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TableWriter({}, {} bytes)", self.file.path().display(), self.file_bytes())
    }
}

/// What goes into the file.
struct Output {
    /// What isn't written yet.
    pending: Vec<u8>,
    /// Bytes with what is pending.
    offset: u64,
    encoder: snap::raw::Encoder,
    compressed: Vec<u8>,
}

impl Output {
    /// Appends a block with its trailer.
    fn put_block(&mut self, content: &[u8]) -> Handle {
        let needed = snap::raw::max_compress_len(content.len());
        if self.compressed.len() < needed {
            self.compressed.resize(needed, 0);
        }
        // It can only fail beyond 4 GiB; then, and where less than an eighth is won (as in LevelDB), the block stays as it is.
        let compressed = self.encoder.compress(content, &mut self.compressed).ok();
        let compressed = compressed.filter(|&len| len < content.len() - content.len() / 8);
        let (kind, len) = compressed.map_or((UNCOMPRESSED, content.len()), |len| (SNAPPY, len));
        let content = if kind == SNAPPY { self.compressed.get(..len).unwrap_or_default() } else { content };
        let handle = Handle { offset: self.offset, len: len as u64 };
        self.pending.extend_from_slice(content);
        self.pending.push(kind);
        self.pending.extend_from_slice(&masked_crc(&[content, &[kind]]).to_le_bytes());
        self.offset += (len + TRAILER_BYTES) as u64;
        handle
    }

    fn put(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        self.offset += bytes.len() as u64;
    }

    fn flush(&mut self, file: &dyn File) -> Result<(), DiskError> {
        file.write_all_at(&self.pending, self.offset - self.pending.len() as u64)?;
        self.pending.clear();
        Ok(())
    }
}
