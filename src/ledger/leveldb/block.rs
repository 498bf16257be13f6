//! A block of a table (leveldb: doc/table_format.md, `table/block_builder.cc`): records in ascending order, each key without what it
//! shares with the one before.
//!
//! ```text
//! block  = record | record | ... | offsets of the restarts (u32 LE each) | number of restarts (u32 LE)
//! record = shared bytes (varint) | further bytes of the key (varint) | value length (varint) | further bytes | value
//! ```
//!
//! At a restart a key is whole, so that a reader may begin there. Which keys are right, and in which order, is left to the table.

use std::ops::Range;

use super::coding::shared_prefix;
use crate::snapshot::protobuf::{put_uvarint, split_uvarint};

const U32_BYTES: usize = 4;

/// Puts one block after the other together.
#[derive(Debug)]
pub(super) struct BlockWriter {
    bytes: Vec<u8>,
    restarts: Vec<u32>,
    restart_interval: usize,
    since_restart: usize,
    last_key: Vec<u8>,
}

impl BlockWriter {
    /// An empty block with a whole key every `restart_interval` records.
    pub(super) const fn new(restart_interval: usize) -> Self {
        Self { bytes: Vec::new(), restarts: Vec::new(), restart_interval, since_restart: 0, last_key: Vec::new() }
    }

    /// Adds a record; keys must ascend.
    #[inline]
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        let shared = if self.restarts.is_empty() || self.since_restart == self.restart_interval {
            self.since_restart = 0;
            // A block ends long before 4 GiB, unless one record is larger: then there is no further one.
            self.restarts.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
            0
        } else {
            shared_prefix(&self.last_key, key)
        };
        let rest = key.get(shared..).unwrap_or_default();
        self.since_restart += 1;
        put_uvarint(&mut self.bytes, shared as u64);
        put_uvarint(&mut self.bytes, rest.len() as u64);
        put_uvarint(&mut self.bytes, value.len() as u64);
        self.bytes.extend_from_slice(rest);
        self.bytes.extend_from_slice(value);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(rest);
    }

    /// The key that was added last, also of a block that was finished since; empty if there is none.
    pub(super) fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    /// Bytes of the records so far.
    pub(super) fn record_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Hands the block to `write` and begins the next one.
    pub(super) fn finish<T>(&mut self, write: impl FnOnce(&[u8]) -> T) -> T {
        if self.restarts.is_empty() {
            self.restarts.push(0); // LevelDB's readers want one, also of an empty block
        }
        for &restart in &self.restarts {
            self.bytes.extend_from_slice(&restart.to_le_bytes());
        }
        let count = u32::try_from(self.restarts.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&count.to_le_bytes());
        let written = write(&self.bytes);
        self.bytes.clear();
        self.restarts.clear();
        written
    }
}

/// A block that isn't what the picture above shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MalformedBlock;

/// Reads a block's records one after the other.
#[derive(Debug)]
pub(super) struct BlockReader {
    bytes: Vec<u8>,
    at: usize,
    records_end: usize,
    key: Vec<u8>,
    value: Range<usize>,
}

impl BlockReader {
    /// A reader that stands before the first record.
    pub(super) fn new(bytes: Vec<u8>) -> Result<Self, MalformedBlock> {
        let (records, count) = bytes.split_last_chunk::<U32_BYTES>().ok_or(MalformedBlock)?;
        let restarts_bytes = (u32::from_le_bytes(*count) as usize).checked_mul(U32_BYTES).ok_or(MalformedBlock)?;
        let records_end = records.len().checked_sub(restarts_bytes).ok_or(MalformedBlock)?;
        // No restart at all would be a block that LevelDB can't search.
        if restarts_bytes == 0 {
            return Err(MalformedBlock);
        }
        Ok(Self { bytes, at: 0, records_end, key: Vec::new(), value: 0..0 })
    }

    /// A reader of nothing.
    pub(super) const fn empty() -> Self {
        Self { bytes: Vec::new(), at: 0, records_end: 0, key: Vec::new(), value: 0..0 }
    }

    /// Goes to the next record; false behind the last.
    #[inline]
    pub(super) fn advance(&mut self) -> Result<bool, MalformedBlock> {
        let rest = self.bytes.get(self.at..self.records_end).unwrap_or_default();
        if rest.is_empty() {
            return Ok(false);
        }
        let (shared, rest) = split_len(rest)?;
        let (further, rest) = split_len(rest)?;
        let (value_len, rest) = split_len(rest)?;
        let (further, rest) = rest.split_at_checked(further).ok_or(MalformedBlock)?;
        let (_, behind) = rest.split_at_checked(value_len).ok_or(MalformedBlock)?;
        if shared > self.key.len() {
            return Err(MalformedBlock);
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(further);
        self.at = self.records_end - behind.len();
        self.value = self.at - value_len..self.at;
        Ok(true)
    }

    /// The key of the record that it stands at.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The value of the record that it stands at.
    pub(super) fn value(&self) -> &[u8] {
        self.bytes.get(self.value.clone()).unwrap_or_default()
    }
}

#[inline]
fn split_len(bytes: &[u8]) -> Result<(usize, &[u8]), MalformedBlock> {
    let (len, rest) = split_uvarint(bytes).ok().flatten().ok_or(MalformedBlock)?;
    Ok((usize::try_from(len).map_err(|_| MalformedBlock)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(restart_interval: usize, records: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut block = BlockWriter::new(restart_interval);
        records.iter().for_each(|(key, value)| block.add(key, value));
        block.finish(<[u8]>::to_vec)
    }

    type Records = Vec<(Vec<u8>, Vec<u8>)>;

    fn read(bytes: &[u8]) -> Result<Records, MalformedBlock> {
        let mut reader = BlockReader::new(bytes.to_vec())?;
        let mut records = Vec::new();
        while reader.advance()? {
            records.push((reader.key().to_vec(), reader.value().to_vec()));
        }
        Ok(records)
    }

    #[test]
    fn the_bytes_are_those_of_leveldb() {
        let records: [(&[u8], &[u8]); 3] = [(b"apple", b"1"), (b"apply", b""), (b"april", b"23")];
        let golden = b"\x00\x05\x01apple1\x04\x01\x00y\x00\x05\x02april23\0\0\0\0\x0d\0\0\0\x02\0\0\0";
        assert_eq!(written(2, &records), golden);
        assert_eq!(read(golden).unwrap(), records.map(|(key, value)| (key.to_vec(), value.to_vec())));
        assert_eq!(written(16, &[]), b"\0\0\0\0\x01\0\0\0");
        assert_eq!(read(b"\0\0\0\0\x01\0\0\0"), Ok(vec![]));
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for bad in [
            &b""[..],
            b"\x01\0\0",
            b"\0\0\0\0",                                        // no restart
            b"\0\0\0\0\x02\0\0\0",                              // more restarts than bytes
            b"\x00\x05\x01appl\0\0\0\0\x01\0\0\0",              // a key that goes on into the restarts
            b"\x01\x01\x00a\0\0\0\0\x01\0\0\0",                 // shares what isn't there
            b"\x00\x01\xff\xff\xff\xff\x0fa\0\0\0\0\x01\0\0\0", // a huge value
            b"\x80\0\0\0\0\x01\0\0\0",                          // half a number
        ] {
            assert_eq!(read(bad), Err(MalformedBlock), "{bad:?}");
        }
    }

    #[test]
    fn a_writer_begins_anew_after_each_block() {
        let mut block = BlockWriter::new(16);
        let mut blocks = Vec::new();
        for keys in [["aa", "ab"], ["ac", "ad"]] {
            keys.iter().for_each(|key| block.add(key.as_bytes(), b"v"));
            blocks.push(block.finish(<[u8]>::to_vec));
            assert_eq!(block.last_key(), keys[1].as_bytes(), "kept for the order of keys");
        }
        assert_eq!(blocks[1], written(16, &[(b"ac", b"v"), (b"ad", b"v")]));
    }
}
