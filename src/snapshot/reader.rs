//! Reads the data files as streams of items, in memory that doesn't grow with the file.
//!
//! Bounds and forms are checked, order and counts are not: [`super::verify_folder`] does that.

use std::io::{self, Read};

use super::{
    ConfigHistoryEntry, ContentCheck, ContentError, FileSummary, ItemFault, NamespaceRow, SnapshotFile, StateDbType,
    StateRecord,
    content_check::Summary,
    items::{FORMAT, ITEM_BYTES_MAX},
    protobuf::{UVARINT_BYTES_MAX, split_uvarint},
};

/// What the buffer holds at first; it doubles only when an item has filled it.
const BUFFER_BYTES: usize = 256 << 10;

/// Why reading stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The stream beneath.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: SnapshotFile,
        /// What the stream said.
        source: io::Error,
    },
    /// The content.
    #[error(transparent)]
    Content(#[from] ContentError),
}

/// Items (a length and that many bytes each) of one data file.
#[derive(Debug)]
pub struct ItemReader<R> {
    file: SnapshotFile,
    reader: R,
    buffer: Vec<u8>,
    /// Where the bytes that aren't handed out yet start and end.
    start: usize,
    end: usize,
    format_seen: bool,
    items: u64,
}

impl<R: Read> ItemReader<R> {
    /// Reads `file` from its first byte.
    #[must_use]
    pub fn new(file: SnapshotFile, reader: R) -> Self {
        Self { file, reader, buffer: vec![0; BUFFER_BYTES], start: 0, end: 0, format_seen: false, items: 0 }
    }

    /// The next item, where it lies in the buffer; `None` at the end of the file.
    ///
    /// # Errors
    /// The stream fails, the format is unknown, an item is too long or cut off.
    pub fn next_item(&mut self) -> Result<Option<&[u8]>, ReadError> {
        if !self.format_seen {
            while self.start == self.end && self.fill()? {}
            let found = self.waiting().first().copied();
            if found != Some(FORMAT) {
                return Err(ContentError::Format { file: self.file, found }.into());
            }
            self.format_seen = true;
            self.start += 1;
        }
        let (head, len) = loop {
            let waiting = self.waiting();
            match split_uvarint(waiting).map_err(|fault| self.fault(fault.into()))? {
                Some((len, rest)) => {
                    let len = usize::try_from(len)
                        .ok()
                        .filter(|&len| len <= ITEM_BYTES_MAX)
                        .ok_or_else(|| self.fault(ItemFault::TooLong { len, max: ITEM_BYTES_MAX }))?;
                    if rest.len() >= len {
                        break (waiting.len() - rest.len(), len);
                    }
                }
                None if waiting.is_empty() => {
                    if self.fill()? {
                        continue;
                    }
                    return Ok(None);
                }
                None => {}
            }
            if !self.fill()? {
                return Err(self.fault(ItemFault::Truncated).into());
            }
        };
        let start = self.start + head;
        self.start = start + len;
        self.items += 1;
        Ok(self.buffer.get(start..self.start))
    }

    fn waiting(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    fn fault(&self, fault: ItemFault) -> ContentError {
        ContentError::Item { file: self.file, item: self.items, fault }
    }

    /// Reads more; `false` at the end of the stream.
    fn fill(&mut self) -> Result<bool, ReadError> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            // Full of one item: its length was found to be within the limit, and half of the new size has arrived already.
            let len = (2 * self.buffer.len()).min(ITEM_BYTES_MAX + UVARINT_BYTES_MAX);
            self.buffer.resize(len, 0);
        }
        loop {
            let free = self.buffer.get_mut(self.end..).unwrap_or_default();
            match self.reader.read(free) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ReadError::Io { file: self.file, source }),
            }
        }
    }
}

/// State records with the namespace that each belongs to.
#[derive(Debug)]
pub struct StateReader<R> {
    items: ItemReader<R>,
    rows: std::vec::IntoIter<NamespaceRow>,
    row: NamespaceRow,
}

impl<R: Read> StateReader<R> {
    /// Reads a data file; `rows` are those of its metadata ([`decode_rows_file`]).
    #[must_use]
    pub fn new(file: SnapshotFile, reader: R, rows: Vec<NamespaceRow>) -> Self {
        let row = NamespaceRow { namespace: String::new(), records: 0 };
        Self { items: ItemReader::new(file, reader), rows: rows.into_iter(), row }
    }

    /// The next record and its namespace; `None` at the end of the file.
    ///
    /// # Errors
    /// As [`ItemReader::next_item`]; no record; or more of them than the rows count.
    pub fn next_record(&mut self) -> Result<Option<(&str, StateRecord<'_>)>, ReadError> {
        let (file, item) = (self.items.file, self.items.items);
        let Some(message) = self.items.next_item()? else { return Ok(None) };
        while self.row.records == 0 {
            self.row = self.rows.next().ok_or(ContentError::Count { file, found: item + 1, stated: item })?;
        }
        self.row.records -= 1;
        let record = StateRecord::decode(message).map_err(|fault| ContentError::Item { file, item, fault })?;
        Ok(Some((&self.row.namespace, record)))
    }
}

/// Entries of the collection-configuration history.
#[derive(Debug)]
pub struct ConfigHistoryReader<R> {
    items: ItemReader<R>,
    key: Vec<u8>,
}

impl<R: Read> ConfigHistoryReader<R> {
    /// Reads `confighistory.data`.
    #[must_use]
    pub fn new(reader: R) -> Self {
        Self { items: ItemReader::new(SnapshotFile::ConfigHistoryData, reader), key: Vec::new() }
    }

    /// The next entry; `None` at the end of the file.
    ///
    /// # Errors
    /// As [`ItemReader::next_item`]; or a key of another form or without a value.
    pub fn next_entry(&mut self) -> Result<Option<ConfigHistoryEntry<'_>>, ReadError> {
        let (file, item) = (self.items.file, self.items.items / 2);
        let fault = |fault| ContentError::Item { file, item, fault };
        let Some(key) = self.items.next_item()? else { return Ok(None) };
        self.key.clear();
        self.key.extend_from_slice(key);
        let package = self.items.next_item()?.ok_or_else(|| fault(ItemFault::KeyWithoutValue))?;
        Ok(Some(ConfigHistoryEntry::decode(&self.key, package).map_err(fault)?))
    }
}

/// The rows of a whole `public_state.metadata` or `private_state_hashes.metadata`; empty for the other files.
///
/// # Errors
/// Other bytes than [`super::encode_rows`] writes.
pub fn decode_rows_file(file: SnapshotFile, bytes: &[u8]) -> Result<Vec<NamespaceRow>, ContentError> {
    match decode_counts(file, bytes)? {
        Summary::Rows(rows) => Ok(rows),
        _ => Ok(Vec::new()),
    }
}

/// The count of a whole `txids.metadata` or `confighistory.metadata`; 0 for the other files.
///
/// # Errors
/// Other bytes than [`super::encode_count`] writes.
pub fn decode_count_file(file: SnapshotFile, bytes: &[u8]) -> Result<u64, ContentError> {
    match decode_counts(file, bytes)? {
        Summary::Count(count) => Ok(count),
        _ => Ok(0),
    }
}

fn decode_counts(file: SnapshotFile, bytes: &[u8]) -> Result<Summary, ContentError> {
    let mut check = ContentCheck::new(file, StateDbType::SimpleKeyValueDb);
    check.update(bytes)?;
    let FileSummary(summary) = check.finish()?;
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::put_item;

    /// Hands out one byte at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let len = buf.len().min(1);
            self.0.read(&mut buf[..len])
        }
    }

    #[test]
    fn items_of_any_size_come_back_and_the_buffer_grows_with_them_only() {
        let items = [vec![1; 5], vec![], vec![2; 300], vec![3; 3 * BUFFER_BYTES], vec![4; 70]];
        let mut bytes = vec![FORMAT];
        items.iter().for_each(|item| put_item(&mut bytes, item));
        let mut reader = ItemReader::new(SnapshotFile::TxIdsData, bytes.as_slice());
        for item in &items {
            assert_eq!(reader.next_item().unwrap(), Some(item.as_slice()));
        }
        assert_eq!(reader.next_item().unwrap(), None);
        assert_eq!(reader.buffer.len(), 4 * BUFFER_BYTES);

        let mut slow = ItemReader::new(SnapshotFile::TxIdsData, Slow(&bytes));
        for item in items.iter().take(3) {
            assert_eq!(slow.next_item().unwrap(), Some(item.as_slice()));
        }
        assert_eq!(slow.buffer.len(), BUFFER_BYTES);
    }

    #[test]
    fn a_cut_or_huge_item_is_an_error() {
        let mut cut = ItemReader::new(SnapshotFile::TxIdsData, &[FORMAT, 3, 1, 2][..]);
        assert!(matches!(
            cut.next_item(),
            Err(ReadError::Content(ContentError::Item { item: 0, fault: ItemFault::Truncated, .. }))
        ));
        let mut huge = ItemReader::new(SnapshotFile::TxIdsData, &[FORMAT, 0xff, 0xff, 0xff, 0xff, 0x7f][..]);
        assert!(matches!(
            huge.next_item(),
            Err(ReadError::Content(ContentError::Item { fault: ItemFault::TooLong { .. }, .. }))
        ));
        let mut empty = ItemReader::new(SnapshotFile::TxIdsData, &[][..]);
        assert!(matches!(empty.next_item(), Err(ReadError::Content(ContentError::Format { found: None, .. }))));
    }
}
