//! An append-only file of records that survives torn writes: what is read back is always a prefix of what was appended.
//!
//! ```text
//! record   = length (u32 BE) | payload | checksum (8 bytes)
//! file     = header record | record | record | ...
//! checksum = first 8 bytes of BLAKE3(checksum of the record before | offset (u64 BE) | length (u32 BE) | payload)
//! ```
//!
//! The header's payload is [`MAGIC`] and the identity of the work that the journal belongs to; of any other, the file
//! is started over. The checksums form a chain, so a record that is whole but out of place (left of an older file,
//! moved) ends the prefix too.

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
    /// Opens (or makes) the journal of the work that `header` identifies, and returns its records in the order of
    /// appending.
    ///
    /// What follows the last whole record is cut off. A journal of another `header`, of another format, or with a
    /// damaged header is started over, empty. On return the file and its name are durable.
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

    /// Appends a record; durable after [`Self::sync`]. After an error it isn't in the journal, and may be appended
    /// again.
    ///
    /// # Errors
    /// [`DiskError::TooLarge`] beyond [`JOURNAL_RECORD_BYTES_MAX`] or [`JOURNAL_BYTES_MAX`], [`DiskError::Poisoned`]
    /// after a failed sync, or whatever the disk says.
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

    /// Whether a sync failed, so that the journal must be opened again.
    #[must_use]
    pub const fn is_poisoned(&self) -> bool {
        self.poisoned
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

#[cfg(test)]
mod tests {
    use std::io;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::disk::{OsDir, read_small};

    const NAME: &str = "journal";

    fn folder() -> (TempDir, Arc<dyn Dir>) {
        let temporary = tempfile::tempdir().unwrap();
        let dir = OsDir::open(temporary.path()).unwrap();
        (temporary, dir)
    }

    fn put(dir: &dyn Dir, bytes: &[u8]) {
        let file = dir.open_file(NAME, Access::ReadWrite).unwrap();
        file.set_len(0).unwrap();
        file.write_all_at(bytes, 0).unwrap();
    }

    /// A closed journal of these records, as bytes.
    fn written(dir: &dyn Dir, header: &[u8], records: &[Vec<u8>]) -> Vec<u8> {
        put(dir, &[]);
        let (mut journal, found) = Journal::open(dir, NAME, header).unwrap();
        assert_eq!(found, Vec::<Vec<u8>>::new());
        records.iter().for_each(|record| journal.append(record).unwrap());
        journal.sync().unwrap();
        read_small(dir, NAME, JOURNAL_BYTES_MAX).unwrap()
    }

    fn read(dir: &dyn Dir, header: &[u8]) -> Vec<Vec<u8>> {
        Journal::open(dir, NAME, header).unwrap().1
    }

    fn records() -> impl Strategy<Value = Vec<Vec<u8>>> {
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)
    }

    proptest! {
        #[test]
        fn what_was_appended_is_read_back(records in records(), more in records()) {
            let (_temporary, dir) = folder();
            written(&*dir, b"job", &records);
            let (mut journal, found) = Journal::open(&*dir, NAME, b"job").unwrap();
            prop_assert_eq!(&found, &records);
            for record in &more {
                journal.append(record).unwrap();
            }
            prop_assert_eq!(read(&*dir, b"job"), [records, more].concat());
        }

        /// D5: cut anywhere.
        #[test]
        fn any_truncation_leaves_a_prefix_that_can_be_continued(records in records(), cut in any::<prop::sample::Index>()) {
            let (_temporary, dir) = folder();
            let bytes = written(&*dir, b"job", &records);
            put(&*dir, &bytes[..cut.index(bytes.len())]);
            let (mut journal, found) = Journal::open(&*dir, NAME, b"job").unwrap();
            prop_assert!(records.starts_with(&found));
            journal.append(b"continued").unwrap();
            prop_assert_eq!(read(&*dir, b"job"), [found, vec![b"continued".to_vec()]].concat());
        }

        /// D5: damaged anywhere.
        #[test]
        fn any_damaged_byte_leaves_a_prefix(records in records(), at in any::<prop::sample::Index>(), flip in 1_u8..) {
            let (_temporary, dir) = folder();
            let mut bytes = written(&*dir, b"job", &records);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            put(&*dir, &bytes);
            let found = read(&*dir, b"job");
            prop_assert!(records.starts_with(&found));
            // Everything before the damage is kept, unless it hit the header.
            let header = LENGTH_BYTES + MAGIC.len() + 3 + CHECKSUM_BYTES;
            let whole = records.iter().scan(header, |end, record| {
                *end += LENGTH_BYTES + record.len() + CHECKSUM_BYTES;
                Some(*end)
            });
            let kept = if at < header { 0 } else { whole.take_while(|end| *end <= at).count() };
            prop_assert_eq!(found.len(), kept);
        }

        #[test]
        fn a_record_out_of_place_ends_the_prefix(first in records(), second in records()) {
            let (_temporary, dir) = folder();
            let one = written(&*dir, b"job", &first);
            let two = written(&*dir, b"job", &second);
            // The tail of a longer, older file behind a shorter one of the same work.
            let (short, long, expected) = if one.len() < two.len() { (&one, &two, &first) } else { (&two, &one, &second) };
            put(&*dir, &[short.as_slice(), &long[short.len()..]].concat());
            let found = read(&*dir, b"job");
            prop_assert!(first.starts_with(&found) || second.starts_with(&found));
            prop_assert!(found.len() >= expected.len());
        }
    }

    /// D5: of another work.
    #[test]
    fn another_work_starts_over() {
        let (_temporary, dir) = folder();
        written(&*dir, b"job 1", &[b"claim".to_vec()]);
        assert_eq!(read(&*dir, b"job 1").len(), 1);
        assert_eq!(read(&*dir, b"job 2"), Vec::<Vec<u8>>::new());
        assert_eq!(read(&*dir, b"job 1"), Vec::<Vec<u8>>::new(), "and nothing of the first is left");
    }

    #[test]
    fn a_record_over_the_limit_is_refused_and_nothing_written() {
        let (_temporary, dir) = folder();
        let (mut journal, _) = Journal::open(&*dir, NAME, b"job").unwrap();
        let error = journal.append(&vec![0; JOURNAL_RECORD_BYTES_MAX + 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        journal.append(&vec![1; JOURNAL_RECORD_BYTES_MAX]).unwrap();
        assert_eq!(read(&*dir, b"job").len(), 1);
    }

    #[test]
    fn a_length_that_lies_takes_no_memory() {
        let (_temporary, dir) = folder();
        let mut bytes = written(&*dir, b"job", &[]);
        bytes.extend_from_slice(&u32::MAX.to_be_bytes());
        put(&*dir, &bytes);
        assert_eq!(read(&*dir, b"job"), Vec::<Vec<u8>>::new());
    }
}
