//! A run: sorted records in a scratch file, one after the other.
//!
//! ```text
//! record = key length (varint) | value length (varint) | key | value
//! ```

use std::{cmp::Ordering, ops::Range, sync::Arc};

use super::{Record, SortError, prefix};
use crate::{
    disk::{Access, Dir, File},
    snapshot::protobuf::{UVARINT_BYTES_MAX, put_uvarint, split_uvarint},
};

/// What is written at once.
const WRITE_BYTES: usize = 256 << 10;

/// A run that was written. The file goes with the value.
#[derive(Debug)]
pub(super) struct Run {
    scratch: Arc<dyn Dir>,
    name: String,
    bytes: u64,
    /// With its lengths.
    record_bytes_max: usize,
    /// BLAKE3 of the file. What this process wrote a moment ago is no foreign input, but disks go bad.
    hash: Option<blake3::Hash>,
}

impl Drop for Run {
    fn drop(&mut self) {
        // What can't be removed costs space until the folder's owner clears it.
        let _ = self.scratch.remove_file(&self.name);
    }
}

#[derive(Debug)]
pub(super) struct RunWriter {
    run: Run,
    file: Arc<dyn File>,
    buffer: Vec<u8>,
    hasher: blake3::Hasher,
}

impl RunWriter {
    pub(super) fn create(scratch: Arc<dyn Dir>, name: String) -> Result<Self, SortError> {
        let file = scratch.open_file(&name, Access::CreateNew)?;
        let run = Run { scratch, name, bytes: 0, record_bytes_max: 0, hash: None };
        Ok(Self { run, file, buffer: Vec::with_capacity(WRITE_BYTES), hasher: blake3::Hasher::new() })
    }

    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), SortError> {
        let start = self.buffer.len();
        put_uvarint(&mut self.buffer, key.len() as u64);
        put_uvarint(&mut self.buffer, value.len() as u64);
        self.buffer.extend_from_slice(key);
        self.buffer.extend_from_slice(value);
        self.run.record_bytes_max = self.run.record_bytes_max.max(self.buffer.len() - start);
        if self.buffer.len() < WRITE_BYTES { Ok(()) } else { self.flush() }
    }

    /// Not synced: after a crash nobody reads it.
    pub(super) fn finish(mut self) -> Result<Run, SortError> {
        self.flush()?;
        self.run.hash = Some(self.hasher.finalize());
        Ok(self.run)
    }

    fn flush(&mut self) -> Result<(), SortError> {
        self.file.write_all_at(&self.buffer, self.run.bytes)?;
        self.hasher.update(&self.buffer);
        self.run.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        self.buffer.shrink_to(WRITE_BYTES);
        Ok(())
    }
}

/// Where a record's key and value lie in the buffer.
type Places = (Range<usize>, Range<usize>);

/// Reads a run, record by record.
#[derive(Debug)]
pub(super) struct RunReader {
    run: Run,
    age: usize,
    file: Arc<dyn File>,
    offset: u64,
    buffer: Vec<u8>,
    /// What of the buffer is filled and not yet used.
    waiting: Range<usize>,
    key: Range<usize>,
    value: Range<usize>,
    /// Of the key: mostly it decides who is first.
    prefix: u64,
    hasher: blake3::Hasher,
}

impl RunReader {
    /// Stands at the first record; a run has one.
    pub(super) fn open(run: Run, age: usize, read_bytes: usize) -> Result<Self, SortError> {
        let file = run.scratch.open_file(&run.name, Access::Read)?;
        let buffer = vec![0; read_bytes];
        let (waiting, key, value) = (0..0, 0..0, 0..0);
        let hasher = blake3::Hasher::new();
        let mut reader = Self { run, age, file, offset: 0, buffer, waiting, key, value, prefix: 0, hasher };
        if reader.advance()? { Ok(reader) } else { Err(reader.changed()) }
    }

    pub(super) fn record(&self) -> Record<'_> {
        let part = |range: &Range<usize>| self.buffer.get(range.clone()).unwrap_or_default();
        (part(&self.key), part(&self.value))
    }

    /// Goes on to the next record; `false` at the end, where all bytes are proved.
    pub(super) fn advance(&mut self) -> Result<bool, SortError> {
        loop {
            if let Some((key, value)) = self.next_places()? {
                self.waiting.start = value.end;
                (self.key, self.value) = (key, value);
                self.prefix = prefix(self.record().0);
                return Ok(true);
            }
            if self.offset == self.run.bytes {
                let whole = self.waiting.is_empty() && Some(self.hasher.finalize()) == self.run.hash;
                return if whole { Ok(false) } else { Err(self.changed()) };
            }
            self.fill()?;
        }
    }

    /// Where the next record's parts lie; `None` if it isn't all there.
    fn next_places(&mut self) -> Result<Option<Places>, SortError> {
        let waiting = self.buffer.get(self.waiting.clone()).unwrap_or_default();
        let lens = || {
            let Some((key_len, rest)) = split_uvarint(waiting)? else { return Ok(None) };
            Ok(split_uvarint(rest)?.map(|(value_len, rest)| (key_len, value_len, waiting.len() - rest.len())))
        };
        let lens = lens().map_err(|_: crate::snapshot::WireError| self.changed())?;
        let Some((key_len, value_len, head)) = lens else { return Ok(None) };
        let bounded = |len: u64| usize::try_from(len).ok().filter(|&len| len <= self.run.record_bytes_max);
        let (Some(key_len), Some(value_len)) = (bounded(key_len), bounded(value_len)) else {
            return Err(self.changed());
        };
        let key_start = self.waiting.start + head;
        let value_start = key_start + key_len;
        let whole = value_start + value_len <= self.waiting.end;
        Ok(whole.then(|| (key_start..value_start, value_start..value_start + value_len)))
    }

    /// Reads more behind what waits.
    fn fill(&mut self) -> Result<(), SortError> {
        self.buffer.copy_within(self.waiting.clone(), 0);
        self.waiting = 0..self.waiting.len();
        if self.waiting.end == self.buffer.len() {
            let len = (2 * self.buffer.len()).min(self.run.record_bytes_max + UVARINT_BYTES_MAX);
            if len <= self.buffer.len() {
                return Err(self.changed());
            }
            self.buffer.resize(len, 0);
        }
        let left = usize::try_from(self.run.bytes - self.offset).unwrap_or(usize::MAX);
        let free = self.buffer.get_mut(self.waiting.end..).unwrap_or_default();
        let len = free.len().min(left);
        let free = free.get_mut(..len).unwrap_or_default();
        let count = self.file.read_at(free, self.offset)?;
        if count == 0 {
            return Err(self.changed());
        }
        self.hasher.update(free.get(..count).unwrap_or_default());
        self.offset += count as u64;
        self.waiting.end += count;
        Ok(())
    }

    fn changed(&self) -> SortError {
        SortError::Changed { path: self.file.path().to_owned() }
    }
}

/// The smallest key is the greatest reader, as a heap has the greatest on top; of the same key the oldest.
impl Ord for RunReader {
    fn cmp(&self, other: &Self) -> Ordering {
        let ordering = other.prefix.cmp(&self.prefix);
        ordering.then_with(|| (other.record().0, other.age).cmp(&(self.record().0, self.age)))
    }
}

impl PartialOrd for RunReader {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for RunReader {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for RunReader {}
