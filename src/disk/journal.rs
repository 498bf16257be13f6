//! An append-only file of records that survives torn writes: what is read back is always a prefix of what was appended.
//!
//! ```text
//! record   = length (u32 BE) | payload | checksum (8 bytes)
//! file     = header record | record | record | ...
//! checksum = first 8 bytes of BLAKE3(checksum of the record before | offset (u64 BE) | length (u32 BE) | payload)
//! ```
//!
//! The header's payload is [`MAGIC`] and the identity of the work that the journal belongs to; of any other, the file is started over.
//! The checksums form a chain, so a record that is whole but out of place (left of an older file, moved) ends the prefix too.

use std::{
    io::{BufReader, Read},
    sync::Arc,
};

use super::{Access, Dir, DiskError, File, FileReader};

/// Longest payload, in bytes: ours are about 100, and a damaged length must not take memory.
pub const JOURNAL_RECORD_BYTES_MAX: usize = 64 << 10;
/// Longest journal, in bytes: a transfer of 1 TiB writes some MiB.
pub const JOURNAL_BYTES_MAX: u64 = 256 << 20;

/// Kind and version of the file; another format gets another number and is started over.
const MAGIC: &[u8] = b"snapferry journal 1\0";
const LENGTH_BYTES: usize = 4;
const CHECKSUM_BYTES: usize = 8;

type Checksum = [u8; CHECKSUM_BYTES];

/// An open journal; one writer (callers hold the folder's lock).
#[derive(Debug)]
pub struct Journal {
    file: Arc<dyn File>,
    /// Where the next record goes.
    end: u64,
    /// Checksum of the last record.
    last: Checksum,
    poisoned: bool,
}

impl Journal {
    /// Opens (or makes) the journal of the work that `header` identifies, and returns its records in the order of appending.
    ///
    /// What follows the last whole record is cut off. A journal of another `header`, of another format, or with a damaged header is
    /// started over, empty. On return the file and its name are durable.
    ///
    /// # Errors
    /// [`DiskError::TooLarge`] for a header over [`JOURNAL_RECORD_BYTES_MAX`]; or whatever the disk says.
    pub fn open(dir: &dyn Dir, name: &str, header: &[u8]) -> Result<(Self, Vec<Vec<u8>>), DiskError> {
        let file = dir.open_file(name, Access::ReadWrite)?;
        let header = [MAGIC, header].concat();
        let len = file.len()?;
        let mut scan = Scan {
            reader: BufReader::new(FileReader::new(Arc::clone(&file)).take(JOURNAL_BYTES_MAX)),
            end: 0,
            last: [0; 8],
        };
        let mut records = Vec::new();
        if scan.next(&file)?.is_some_and(|found| found == header) {
            while let Some(record) = scan.next(&file)? {
                records.push(record);
            }
            let Scan { end, last, .. } = scan;
            let journal = Self { file, end, last, poisoned: false };
            if len > end {
                journal.file.set_len(end)?;
            }
            // Also when nothing was cut: the records just read may not be durable yet, and the caller builds on them.
            journal.file.sync()?;
            dir.sync_dir()?;
            return Ok((journal, records));
        }
        file.set_len(0)?;
        let mut journal = Self { file, end: 0, last: [0; 8], poisoned: false };
        journal.append(&header)?;
        journal.sync()?;
        dir.sync_dir()?;
        Ok((journal, Vec::new()))
    }

    /// Appends a record; durable after [`Self::sync`]. After an error it isn't in the journal, and may be appended again.
    ///
    /// # Errors
    /// [`DiskError::TooLarge`] beyond [`JOURNAL_RECORD_BYTES_MAX`] or [`JOURNAL_BYTES_MAX`], [`DiskError::Poisoned`] after a failed sync,
    /// or whatever the disk says.
    pub fn append(&mut self, payload: &[u8]) -> Result<(), DiskError> {
        self.check_trusted()?;
        let too_large = |len: u64, max: u64| DiskError::TooLarge { path: self.file.path().to_owned(), len, max };
        if payload.len() > JOURNAL_RECORD_BYTES_MAX {
            return Err(too_large(payload.len() as u64, JOURNAL_RECORD_BYTES_MAX as u64));
        }
        let checksum = checksum(self.last, self.end, payload);
        let mut record = Vec::with_capacity(LENGTH_BYTES + payload.len() + CHECKSUM_BYTES);
        record.extend_from_slice(&length(payload));
        record.extend_from_slice(payload);
        record.extend_from_slice(&checksum);
        let end = self.end + record.len() as u64;
        if end > JOURNAL_BYTES_MAX {
            return Err(too_large(end, JOURNAL_BYTES_MAX));
        }
        // One write; if it is torn, the next one starts at the same place.
        self.file.write_all_at(&record, self.end)?;
        self.end = end;
        self.last = checksum;
        Ok(())
    }

    /// Makes all appended records durable.
    ///
    /// # Errors
    /// Whatever the disk says; from then on every call fails with [`DiskError::Poisoned`]: open the journal again.
    pub fn sync(&mut self) -> Result<(), DiskError> {
        self.check_trusted()?;
        let synced = self.file.sync();
        self.poisoned = synced.is_err();
        synced
    }

    fn check_trusted(&self) -> Result<(), DiskError> {
        if self.poisoned { Err(DiskError::Poisoned { path: self.file.path().to_owned() }) } else { Ok(()) }
    }
}

/// Reads records one after the other until the first that isn't whole.
struct Scan<R> {
    reader: R,
    end: u64,
    last: Checksum,
}

impl<R: Read> Scan<R> {
    /// The next whole record; `None` at the end of the prefix.
    fn next(&mut self, file: &Arc<dyn File>) -> Result<Option<Vec<u8>>, DiskError> {
        let mut head = [0; LENGTH_BYTES];
        if !self.fill(file, &mut head)? {
            return Ok(None);
        }
        let len = u32::from_be_bytes(head) as usize;
        if len > JOURNAL_RECORD_BYTES_MAX {
            return Ok(None);
        }
        let mut payload = vec![0; len];
        let mut found = [0; CHECKSUM_BYTES];
        if !self.fill(file, &mut payload)? || !self.fill(file, &mut found)? {
            return Ok(None);
        }
        if checksum(self.last, self.end, &payload) != found {
            return Ok(None);
        }
        self.end += (LENGTH_BYTES + len + CHECKSUM_BYTES) as u64;
        self.last = found;
        Ok(Some(payload))
    }

    /// Whether there were enough bytes to fill `buf`.
    fn fill(&mut self, file: &Arc<dyn File>, buf: &mut [u8]) -> Result<bool, DiskError> {
        match self.reader.read_exact(buf) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            // A disk that can't be read is no torn tail: nothing may be cut off for it.
            Err(error) => Err(DiskError::io("read", file.path(), error)),
        }
    }
}

/// The length field; payloads are at most [`JOURNAL_RECORD_BYTES_MAX`] bytes.
fn length(payload: &[u8]) -> [u8; LENGTH_BYTES] {
    u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes()
}

fn checksum(before: Checksum, offset: u64, payload: &[u8]) -> Checksum {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&before).update(&offset.to_be_bytes()).update(&length(payload)).update(payload);
    let mut checksum = [0; CHECKSUM_BYTES];
    hasher.finalize_xof().fill(&mut checksum);
    checksum
}
