//! Reads a table, and believes none of it: checksums, places and order of everything are checked before it is handed out.

use std::sync::Arc;

use super::{
    BLOCK_BYTES_MAX, InternalKey, LevelDbError, TableFault,
    block::BlockReader,
    coding::{compare_keys, masked_crc},
    table::{FOOTER_BYTES, Footer, Handle, SNAPPY, TRAILER_BYTES, UNCOMPRESSED, table_name},
};
use crate::disk::{Access, Dir, File};

/// An open table; its index is in memory, about one key for 4 KiB. Clones share it.
#[derive(Debug, Clone)]
pub struct TableReader {
    file: Arc<dyn File>,
    /// A key at or above the last one of each data block, and where the block lies; both ascend.
    index: Arc<[(InternalKey, Handle)]>,
}

impl TableReader {
    /// Opens the table that has this number and `bytes` bytes, as the MANIFEST says.
    ///
    /// # Errors
    /// [`LevelDbError::Table`] if that file is no sound table of this length; or whatever the disk says.
    pub fn open(dir: &dyn Dir, number: u64, bytes: u64) -> Result<Self, LevelDbError> {
        let file = dir.open_file(&table_name(number), Access::Read)?;
        let fault = |fault| LevelDbError::Table { path: file.path().to_owned(), fault };
        let found = file.len()?;
        if found != bytes {
            return Err(fault(TableFault::Length { found, stated: bytes }));
        }
        let footer_at = bytes.checked_sub(FOOTER_BYTES as u64).ok_or_else(|| fault(TableFault::Footer))?;
        let mut footer = [0; FOOTER_BYTES];
        file.read_exact_at(&mut footer, footer_at)?;
        let Footer { metaindex, index } = Footer::decode(&footer).ok_or_else(|| fault(TableFault::Footer))?;
        if index.end() != Some(footer_at) {
            return Err(fault(TableFault::Handle(index.offset)));
        }
        if metaindex.end().is_none_or(|end| end > index.offset) {
            return Err(fault(TableFault::Handle(metaindex.offset)));
        }
        // A filter would be listed there. It spares reading only, so what is listed is left alone.
        read_block(&*file, metaindex)?;
        let mut blocks: Vec<(InternalKey, Handle)> = Vec::new();
        let mut reader = read_block(&*file, index)?;
        let malformed = || fault(TableFault::Block(index.offset));
        while reader.advance().map_err(|_| malformed())? {
            let key = InternalKey::decode(reader.key()).ok_or_else(|| fault(TableFault::Order))?;
            let (handle, rest) = Handle::split(reader.value()).ok_or_else(malformed)?;
            if !rest.is_empty() {
                return Err(malformed());
            }
            let before = blocks.last().map_or(0, |(_, last)| last.end().unwrap_or(u64::MAX));
            // Ascending: else a small file could be read for ever as one block.
            if handle.offset < before || handle.end().is_none_or(|end| end > metaindex.offset) {
                return Err(fault(TableFault::Handle(handle.offset)));
            }
            if blocks.last().is_some_and(|(last, _)| *last >= key) {
                return Err(fault(TableFault::Order));
            }
            blocks.push((key, handle));
        }
        Ok(Self { index: blocks.into(), file })
    }

    /// All records, ascending.
    #[must_use]
    pub fn iter(&self) -> TableIter {
        self.begin_at(0, None)
    }

    /// The records at and above `key`, ascending.
    #[must_use]
    pub fn seek(&self, key: &InternalKey) -> TableIter {
        self.begin_at(self.index.partition_point(|(last, _)| last < key), Some(key.clone()))
    }

    fn begin_at(&self, block: usize, from: Option<InternalKey>) -> TableIter {
        // In the middle, too, the keys must be above those of the block before.
        let before = block.checked_sub(1).and_then(|before| self.index.get(before));
        let low = before.map_or_else(Vec::new, |(high, _)| high.as_bytes().to_vec());
        TableIter { table: self.clone(), next_block: block, block: BlockReader::empty(), low, from }
    }
}

impl IntoIterator for &TableReader {
    type Item = Result<(InternalKey, Vec<u8>), LevelDbError>;
    type IntoIter = TableIter;

    fn into_iter(self) -> TableIter {
        self.iter()
    }
}

/// The records of a table, in memory of one block. Ends after the first error.
#[derive(Debug)]
pub struct TableIter {
    table: TableReader,
    /// Index of the block to be read next.
    next_block: usize,
    block: BlockReader,
    /// What the next key must be above.
    low: Vec<u8>,
    /// What is below isn't wanted.
    from: Option<InternalKey>,
}

impl TableIter {
    fn advance(&mut self) -> Result<Option<(InternalKey, Vec<u8>)>, LevelDbError> {
        loop {
            let offset = self.at().map_or(0, |(_, handle)| handle.offset);
            if self.block.advance().map_err(|_| self.fault(TableFault::Block(offset)))? {
                let key = InternalKey::decode(self.block.key()).filter(|key| self.is_in_place(key));
                let key = key.ok_or_else(|| self.fault(TableFault::Order))?;
                self.low.clear();
                self.low.extend_from_slice(key.as_bytes());
                if self.from.as_ref().is_none_or(|from| key >= *from) {
                    self.from = None;
                    return Ok(Some((key, self.block.value().to_vec())));
                }
                continue;
            }
            if let Some((high, _)) = self.at() {
                self.low = high.as_bytes().to_vec();
            }
            let Some(&(_, handle)) = self.table.index.get(self.next_block) else { return Ok(None) };
            self.block = read_block(&*self.table.file, handle)?;
            self.next_block += 1;
        }
    }

    /// The block that is read now.
    fn at(&self) -> Option<&(InternalKey, Handle)> {
        self.table.index.get(self.next_block.checked_sub(1)?)
    }

    /// Above the key before, and where the index lets a search find it.
    fn is_in_place(&self, key: &InternalKey) -> bool {
        (self.low.is_empty() || compare_keys(&self.low, key.as_bytes()).is_lt())
            // The number in an index key is of no use in a search, and some writers round it.
            && self.at().is_some_and(|(high, _)| key.user_key() <= high.user_key())
    }

    fn fault(&self, fault: TableFault) -> LevelDbError {
        LevelDbError::Table { path: self.table.file.path().to_owned(), fault }
    }
}

impl Iterator for TableIter {
    type Item = Result<(InternalKey, Vec<u8>), LevelDbError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            self.next_block = usize::MAX;
            self.block = BlockReader::empty();
        }
        next.transpose()
    }
}

/// Reads the block there, which lies within the file, and proves its checksum.
fn read_block(file: &dyn File, handle: Handle) -> Result<BlockReader, LevelDbError> {
    let fault = |fault| LevelDbError::Table { path: file.path().to_owned(), fault };
    let len = usize::try_from(handle.len).ok().filter(|&len| len <= BLOCK_BYTES_MAX);
    let len = len.ok_or_else(|| fault(TableFault::TooLong(handle.offset)))?;
    let mut bytes = vec![0; len + TRAILER_BYTES];
    file.read_exact_at(&mut bytes, handle.offset)?;
    let (kind, checksum) = match bytes.get(len..) {
        Some(&[kind, c0, c1, c2, c3]) => (kind, u32::from_le_bytes([c0, c1, c2, c3])),
        _ => return Err(fault(TableFault::Handle(handle.offset))),
    };
    bytes.truncate(len);
    if masked_crc(&[&bytes, &[kind]]) != checksum {
        return Err(fault(TableFault::Checksum(handle.offset)));
    }
    let content = match kind {
        UNCOMPRESSED => bytes,
        SNAPPY => {
            // The stated length before memory is taken.
            match snap::raw::decompress_len(&bytes) {
                Ok(len) if len > BLOCK_BYTES_MAX => return Err(fault(TableFault::TooLong(handle.offset))),
                Ok(_) => snap::raw::Decoder::new().decompress_vec(&bytes).ok(),
                Err(_) => None,
            }
            .ok_or_else(|| fault(TableFault::Compression(handle.offset)))?
        }
        _ => return Err(fault(TableFault::Compression(handle.offset))),
    };
    BlockReader::new(content).map_err(|_| fault(TableFault::Block(handle.offset)))
}

#[cfg(test)]
mod tests;
