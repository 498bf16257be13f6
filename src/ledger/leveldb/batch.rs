//! A batch of writes, which is one record of a write-ahead log (leveldb: `db/write_batch.cc`): all of it was written, or nothing.
//!
//! ```text
//! batch = sequence number of the first write (u64 LE) | number of writes (u32 LE) | write | write | ...
//! write = 1 | key length (varint) | key | value length (varint) | value       a put
//!       | 0 | key length (varint) | key                                       a deletion
//! ```

use crate::snapshot::protobuf::{put_uvarint, split_uvarint};

/// Highest sequence number: it shares 64 bits with the kind of the write.
pub const SEQUENCE_MAX: u64 = (1 << 56) - 1;

const HEADER_BYTES: usize = 12;
const DELETION: u8 = 0;
const PUT: u8 = 1;

/// What's wrong with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchFault {
    /// The bytes end inside a write, or before all that were announced.
    #[error("ends too early")]
    Truncated,
    /// A write of another kind than put and deletion.
    #[error("holds a write of the unknown kind {0}")]
    Kind(u8),
    /// Bytes behind the last write that was announced.
    #[error("has bytes behind its last write")]
    Trailing,
    /// The sequence numbers don't fit in 56 bits.
    #[error("has a sequence number that is too high")]
    Sequence,
}

/// One write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation<'a> {
    /// From now on the key has this value.
    Put(&'a [u8], &'a [u8]),
    /// From now on the key has none.
    Delete(&'a [u8]),
}

/// A sound batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch<'a> {
    /// Sequence number of the first operation; each further one has the next number.
    pub sequence: u64,
    /// What is written, in this order.
    pub operations: Vec<Operation<'a>>,
}

impl<'a> Batch<'a> {
    /// Takes a record apart.
    ///
    /// # Errors
    /// [`BatchFault`].
    pub fn decode(record: &'a [u8]) -> Result<Self, BatchFault> {
        let (head, mut rest) = record.split_first_chunk::<HEADER_BYTES>().ok_or(BatchFault::Truncated)?;
        let &[s0, s1, s2, s3, s4, s5, s6, s7, c0, c1, c2, c3] = head;
        let sequence = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        let count = u32::from_le_bytes([c0, c1, c2, c3]);
        if sequence.saturating_add(u64::from(count)) > SEQUENCE_MAX {
            return Err(BatchFault::Sequence);
        }
        // Nothing is reserved: what is announced may not come.
        let mut operations = Vec::new();
        for _ in 0..count {
            let (&kind, behind) = rest.split_first().ok_or(BatchFault::Truncated)?;
            let (key, behind) = split_bytes(behind)?;
            let (operation, behind) = match kind {
                PUT => split_bytes(behind).map(|(value, behind)| (Operation::Put(key, value), behind))?,
                DELETION => (Operation::Delete(key), behind),
                kind => return Err(BatchFault::Kind(kind)),
            };
            operations.push(operation);
            rest = behind;
        }
        if rest.is_empty() { Ok(Self { sequence, operations }) } else { Err(BatchFault::Trailing) }
    }
}

fn split_bytes(bytes: &[u8]) -> Result<(&[u8], &[u8]), BatchFault> {
    let (len, rest) = split_uvarint(bytes).ok().flatten().ok_or(BatchFault::Truncated)?;
    usize::try_from(len).ok().and_then(|len| rest.split_at_checked(len)).ok_or(BatchFault::Truncated)
}

/// Puts a batch together.
#[derive(Debug)]
pub struct BatchWriter {
    bytes: Vec<u8>,
    count: u32,
}

impl BatchWriter {
    /// A batch without a write, whose first one will have the number `sequence`.
    #[must_use]
    pub fn new(sequence: u64) -> Self {
        Self { bytes: [&sequence.to_le_bytes()[..], &[0; 4]].concat(), count: 0 }
    }

    /// Adds a put.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.add(PUT, key);
        put_uvarint(&mut self.bytes, value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    /// Adds a deletion.
    pub fn delete(&mut self, key: &[u8]) {
        self.add(DELETION, key);
    }

    /// The record for the log.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        for (byte, count) in self.bytes.iter_mut().skip(HEADER_BYTES - 4).zip(self.count.to_le_bytes()) {
            *byte = count;
        }
        self.bytes
    }

    fn add(&mut self, kind: u8, key: &[u8]) {
        self.count += 1;
        self.bytes.push(kind);
        put_uvarint(&mut self.bytes, key.len() as u64);
        self.bytes.extend_from_slice(key);
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;

    fn written(sequence: u64, writes: &[(Vec<u8>, Option<Vec<u8>>)]) -> Vec<u8> {
        let mut batch = BatchWriter::new(sequence);
        for (key, value) in writes {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        batch.finish()
    }

    #[test]
    fn the_bytes_are_those_of_leveldb() {
        let writes = [(b"foo".to_vec(), Some(b"bar".to_vec())), (b"box".to_vec(), None)];
        let golden = b"\x64\0\0\0\0\0\0\0\x02\0\0\0\x01\x03foo\x03bar\x00\x03box";
        assert_eq!(written(100, &writes), golden);
        let operations = vec![Operation::Put(b"foo", b"bar"), Operation::Delete(b"box")];
        assert_eq!(Batch::decode(golden), Ok(Batch { sequence: 100, operations }));
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        let golden = written(7, &[(b"key".to_vec(), Some(b"value".to_vec()))]);
        for len in 0..golden.len() {
            assert_eq!(Batch::decode(&golden[..len]), Err(BatchFault::Truncated), "{len}");
        }
        assert_eq!(Batch::decode(&[&golden[..], b"\0"].concat()), Err(BatchFault::Trailing));
        let mut other = golden.clone();
        other[HEADER_BYTES] = 2;
        assert_eq!(Batch::decode(&other), Err(BatchFault::Kind(2)));
        assert_eq!(Batch::decode(&written(SEQUENCE_MAX, &[(vec![], None)])), Err(BatchFault::Sequence));
        assert!(Batch::decode(&written(SEQUENCE_MAX - 1, &[(vec![], None)])).is_ok());
    }

    /// R1: the number of writes, and the length of a key.
    #[test]
    fn huge_counts_and_lengths_take_no_memory() {
        let mut many = written(7, &[(b"key".to_vec(), None)]);
        many[8..HEADER_BYTES].fill(0xff);
        assert_eq!(Batch::decode(&many), Err(BatchFault::Truncated));
        let long = [&many[..8], &1_u32.to_le_bytes(), &[PUT], &[0xff; 9], &[1]].concat();
        assert_eq!(Batch::decode(&long), Err(BatchFault::Truncated));
    }

    proptest! {
        #[test]
        fn batches_come_back(sequence in 0..SEQUENCE_MAX - 100, writes in vec((vec(any::<u8>(), 0..200), option::of(vec(any::<u8>(), 0..300))), 0..20)) {
            let record = written(sequence, &writes);
            let batch = Batch::decode(&record).unwrap();
            let found = batch.operations.iter().map(|operation| match *operation {
                Operation::Put(key, value) => (key.to_vec(), Some(value.to_vec())),
                Operation::Delete(key) => (key.to_vec(), None),
            });
            prop_assert_eq!(found.collect::<Vec<_>>(), writes);
            prop_assert_eq!(batch.sequence, sequence);
        }
    }
}
