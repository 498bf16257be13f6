//! The record log that LevelDB's write-ahead logs and its MANIFEST are (leveldb: doc/log_format.md): blocks of 32 KiB, records cut into
//! chunks that never cross a block.
//!
//! ```text
//! chunk = masked CRC-32C of kind and payload (u32 LE) | payload length (u16 LE) | kind | payload
//! ```
//!
//! A writer that died leaves a torn tail: it ends the log silently, as in LevelDB. Damage behind which a record still begins can't have
//! come so: it is an error here, where LevelDB drops what is damaged and goes on.

use std::{path::Path, sync::Arc};

use super::{LevelDbError, coding::masked_crc};
use crate::disk::{Access, Dir, DiskError, File};

/// Longest record, in bytes: a batch holds what one block of a channel writes, and a block is at most 100 MiB
/// (fabric: `comm.DefaultMaxRecvMsgSize`).
pub const LOG_RECORD_BYTES_MAX: usize = 256 << 20;

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;

/// A chunk's place in its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Full = 1,
    First = 2,
    Middle = 3,
    Last = 4,
}

/// What's wrong in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogFault {
    /// A chunk is not what was written.
    #[error("is damaged, though whole records follow")]
    Damaged,
    /// The beginning of a record is missing.
    #[error("goes on with a record whose beginning is missing")]
    NoBeginning,
    /// The end of a record is missing.
    #[error("begins a record before the one before has ended")]
    NoEnd,
    /// A record is longer than any that a peer writes.
    #[error("holds a record of more than {LOG_RECORD_BYTES_MAX} bytes")]
    TooLong,
}

/// Reads the records of a log one after the other, in memory of one block and one record.
#[derive(Debug)]
pub struct LogReader {
    file: Arc<dyn File>,
    record_bytes_max: usize,
    /// The block that is read now, and where it begins in the file.
    block: Vec<u8>,
    block_offset: u64,
    /// The next chunk in the block.
    at: usize,
    ended: bool,
}

impl LogReader {
    /// A reader that stands before the first record of `file`.
    #[must_use]
    pub const fn new(file: Arc<dyn File>) -> Self {
        Self::with_limit(file, LOG_RECORD_BYTES_MAX)
    }

    const fn with_limit(file: Arc<dyn File>, record_bytes_max: usize) -> Self {
        Self { file, record_bytes_max, block: Vec::new(), block_offset: 0, at: 0, ended: false }
    }

    /// Where the log is, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Offset of the next chunk in the file, in bytes.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.block_offset + self.at as u64
    }

    /// The next record; `None` at the end of the log, or where its torn tail begins.
    ///
    /// # Errors
    /// [`LevelDbError::Log`], after which the log counts as ended; or whatever the disk says.
    pub fn next_record(&mut self) -> Result<Option<Vec<u8>>, LevelDbError> {
        let mut begun: Option<Vec<u8>> = None;
        while !self.ended {
            if self.block.len().saturating_sub(self.at) < HEADER_BYTES {
                // What is left of a block is filled with zeros; of the last one it is a cut header.
                self.load(self.block_offset + self.block.len() as u64)?;
                continue;
            }
            let rest = self.block.get(self.at..).unwrap_or_default();
            let Some((kind, payload)) = chunk(rest) else {
                self.ended = true;
                return if self.is_torn_tail()? { Ok(None) } else { Err(self.fault(LogFault::Damaged)) };
            };
            let fault = match (kind, &mut begun) {
                (Kind::Full | Kind::First, Some(_)) => Some(LogFault::NoEnd),
                (Kind::Middle | Kind::Last, None) => Some(LogFault::NoBeginning),
                (_, begun) => {
                    let record = begun.get_or_insert_default();
                    record.extend_from_slice(payload);
                    (record.len() > self.record_bytes_max).then_some(LogFault::TooLong)
                }
            };
            if let Some(fault) = fault {
                self.ended = true;
                return Err(self.fault(fault));
            }
            self.at += HEADER_BYTES + payload.len();
            if matches!(kind, Kind::Full | Kind::Last) {
                return Ok(begun);
            }
        }
        Ok(None)
    }

    fn fault(&self, fault: LogFault) -> LevelDbError {
        LevelDbError::Log { path: self.path().to_owned(), offset: self.offset(), fault }
    }

    /// Reads the block at `offset`; at the end of the file the log has ended.
    fn load(&mut self, offset: u64) -> Result<(), DiskError> {
        self.ended = !self.block.len().is_multiple_of(BLOCK_BYTES);
        if !self.ended {
            self.block = read_block(&*self.file, offset)?;
            (self.block_offset, self.at) = (offset, 0);
            self.ended = self.block.is_empty();
        }
        Ok(())
    }

    /// Whether no record begins behind the chunk that can't be read: it was the last thing that was written.
    fn is_torn_tail(&self) -> Result<bool, DiskError> {
        let begins = |bytes: &[u8]| matches!(chunk(bytes), Some((Kind::Full | Kind::First, _)));
        // The chunk's length may be what is damaged, so the next one may be anywhere.
        if (self.at + 1..self.block.len()).any(|at| begins(self.block.get(at..).unwrap_or_default())) {
            return Ok(false);
        }
        let mut offset = self.block_offset + self.block.len() as u64;
        loop {
            let block = read_block(&*self.file, offset)?;
            if block.is_empty() {
                return Ok(true);
            }
            let mut rest = block.as_slice();
            while let Some((_, payload)) = chunk(rest) {
                if begins(rest) {
                    return Ok(false);
                }
                rest = rest.get(HEADER_BYTES + payload.len()..).unwrap_or_default();
            }
            offset += block.len() as u64;
        }
    }
}

fn read_block(file: &dyn File, offset: u64) -> Result<Vec<u8>, DiskError> {
    let mut block = vec![0; BLOCK_BYTES];
    let count = file.read_at(&mut block, offset)?;
    block.truncate(count);
    Ok(block)
}

/// The whole chunk that `bytes` (the rest of a block) begin with.
fn chunk(bytes: &[u8]) -> Option<(Kind, &[u8])> {
    let (&[c0, c1, c2, c3, l0, l1, kind], rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let payload = rest.get(..usize::from(u16::from_le_bytes([l0, l1])))?;
    let kind = [Kind::Full, Kind::First, Kind::Middle, Kind::Last].into_iter().find(|&known| known as u8 == kind)?;
    (masked_crc(&[&[kind as u8], payload]) == u32::from_le_bytes([c0, c1, c2, c3])).then_some((kind, payload))
}

/// Writes a new log.
#[derive(Debug)]
pub struct LogWriter {
    file: Arc<dyn File>,
    end: u64,
    poisoned: bool,
}

impl LogWriter {
    /// Makes the log `name`; nobody else may have.
    ///
    /// # Errors
    /// As [`Dir::open_file`].
    pub fn create(dir: &dyn Dir, name: &str) -> Result<Self, DiskError> {
        Ok(Self { file: dir.open_file(name, Access::CreateNew)?, end: 0, poisoned: false })
    }

    /// Length of the log, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.end
    }

    /// Appends a record; durable after [`Self::sync`]. After an error it isn't in the log, and may be appended again.
    ///
    /// # Errors
    /// [`DiskError::TooLarge`] beyond [`LOG_RECORD_BYTES_MAX`], [`DiskError::Poisoned`] after a failed sync, or whatever the disk says.
    pub fn append(&mut self, record: &[u8]) -> Result<(), DiskError> {
        let path = || self.file.path().to_owned();
        if self.poisoned {
            return Err(DiskError::Poisoned { path: path() });
        }
        if record.len() > LOG_RECORD_BYTES_MAX {
            let (len, max) = (record.len() as u64, LOG_RECORD_BYTES_MAX as u64);
            return Err(DiskError::TooLarge { path: path(), len, max });
        }
        let mut out = Vec::with_capacity(record.len() + (record.len() / BLOCK_BYTES + 2) * HEADER_BYTES);
        let (mut rest, mut is_first) = (record, true);
        loop {
            let mut room = BLOCK_BYTES - (self.end + out.len() as u64) as usize % BLOCK_BYTES;
            if room < HEADER_BYTES {
                out.resize(out.len() + room, 0);
                room = BLOCK_BYTES;
            }
            let (payload, behind) = rest.split_at_checked(room - HEADER_BYTES).unwrap_or((rest, &[]));
            let kind = match (is_first, behind.is_empty()) {
                (true, true) => Kind::Full,
                (true, false) => Kind::First,
                (false, false) => Kind::Middle,
                (false, true) => Kind::Last,
            };
            out.extend_from_slice(&masked_crc(&[&[kind as u8], payload]).to_le_bytes());
            // At most a block, which 16 bits hold.
            out.extend_from_slice(&(payload.len() as u16).to_le_bytes());
            out.push(kind as u8);
            out.extend_from_slice(payload);
            (rest, is_first) = (behind, false);
            if rest.is_empty() {
                break;
            }
        }
        // One write; if it is torn, the next one starts at the same place.
        self.file.write_all_at(&out, self.end)?;
        self.end += out.len() as u64;
        Ok(())
    }

    /// Makes all appended records durable; the log's name is durable after [`Dir::sync_dir`].
    ///
    /// # Errors
    /// Whatever the disk says; the log can't be trusted afterwards, and every further call fails.
    pub fn sync(&mut self) -> Result<(), DiskError> {
        if self.poisoned {
            return Err(DiskError::Poisoned { path: self.file.path().to_owned() });
        }
        let synced = self.file.sync();
        self.poisoned = synced.is_err();
        synced
    }
}

#[cfg(test)]
mod tests;
