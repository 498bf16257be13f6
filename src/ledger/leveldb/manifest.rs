//! One record of a MANIFEST (leveldb: `db/version_edit.cc`; goleveldb: `leveldb/session_record.go`): what changes in the set of tables, and
//! the numbers to go on with.
//!
//! ```text
//! edit = field | field | ...
//! field = 1 | comparator's name          (bytes)      field = 5 | level | internal key      where the next compaction begins
//!       | 2 | number of the log          (varint)           | 6 | level | table             deleted from this level
//!       | 9 | number of the log before   (varint)           | 7 | level | table | bytes | smallest | largest internal key
//!       | 3 | next free file number      (varint)
//!       | 4 | last sequence number       (varint)
//! ```

use super::{SEQUENCE_MAX, TableMeta, coding::InternalKey};
use crate::snapshot::protobuf::{put_uvarint, split_uvarint};

/// Levels that a database may have: goleveldb has no limit of its own, but level 12 already holds more than any disk.
pub const LEVELS_MAX: u32 = 32;

/// The comparator's name, which says that keys are ordered by their bytes.
pub const COMPARATOR: &str = "leveldb.BytewiseComparator";

const COMPARATOR_NAME: u64 = 1;
const LOG_NUMBER: u64 = 2;
const NEXT_FILE: u64 = 3;
const LAST_SEQUENCE: u64 = 4;
const COMPACT_POINTER: u64 = 5;
const DELETED_TABLE: u64 = 6;
const NEW_TABLE: u64 = 7;
const PREVIOUS_LOG_NUMBER: u64 = 9;

/// What's wrong with a MANIFEST.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestFault {
    /// A record ends inside a field, or holds a number that is none.
    #[error("holds a record that ends too early")]
    Truncated,
    /// A field that LevelDB doesn't have.
    #[error("holds a field of the unknown kind {0}")]
    Field(u64),
    /// Keys in another order than that of their bytes.
    #[error("belongs to a database with the comparator {0:?}, only {COMPARATOR} is known")]
    Comparator(String),
    /// More levels than any real database has.
    #[error("speaks of level {0}, at most {LEVELS_MAX} levels are allowed")]
    Level(u64),
    /// An internal key of fewer than 8 bytes, or of no known kind.
    #[error("holds a key that is none")]
    Key,
    /// A sequence number of more than 56 bits.
    #[error("holds a sequence number that is too high")]
    Sequence,
    /// The smallest key of a table is above its largest.
    #[error("says that table {0} ends before it begins")]
    TableRange(u64),
    /// Two tables of one level, other than 0, hold the same keys.
    #[error("says that the tables {0} and {1} of one level overlap")]
    Overlap(u64, u64),
    /// A table that is already there, and is another one.
    #[error("adds table {0} twice")]
    TableTwice(u64),
    /// More tables than allowed.
    #[error("names more tables than are allowed")]
    TooManyTables,
    /// A field that every MANIFEST has is missing.
    #[error("doesn't tell {0}")]
    Missing(&'static str),
}

/// What one record changes. Fields that it doesn't have are left as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionEdit {
    /// Name of the order of keys.
    pub comparator: Option<String>,
    /// Logs with this number and above are not yet in tables.
    pub log_number: Option<u64>,
    /// A log below it that isn't either; 0: there is none. (Only old LevelDBs have it.)
    pub previous_log_number: Option<u64>,
    /// The number of the next new file.
    pub next_file: Option<u64>,
    /// The highest sequence number in the tables.
    pub last_sequence: Option<u64>,
    /// Hints where the next compaction of a level begins.
    pub compact_pointers: Vec<(u32, InternalKey)>,
    /// Tables that leave a level, by number.
    pub deleted: Vec<(u32, u64)>,
    /// Tables that a level gets; they count after those that leave.
    pub added: Vec<(u32, TableMeta)>,
}

impl VersionEdit {
    /// Takes a record apart.
    ///
    /// # Errors
    /// [`ManifestFault`].
    pub fn decode(record: &[u8]) -> Result<Self, ManifestFault> {
        let mut edit = Self::default();
        let mut fields = Fields(record);
        while !fields.0.is_empty() {
            match fields.number()? {
                COMPARATOR_NAME => {
                    // Only to be compared and shown: one that is cut is another one, too.
                    let name = String::from_utf8_lossy(fields.bytes()?);
                    edit.comparator = Some(name.chars().take(100).collect());
                }
                LOG_NUMBER => edit.log_number = Some(fields.number()?),
                PREVIOUS_LOG_NUMBER => edit.previous_log_number = Some(fields.number()?),
                NEXT_FILE => edit.next_file = Some(fields.number()?),
                LAST_SEQUENCE => {
                    let sequence = Some(fields.number()?).filter(|&sequence| sequence <= SEQUENCE_MAX);
                    edit.last_sequence = Some(sequence.ok_or(ManifestFault::Sequence)?);
                }
                COMPACT_POINTER => edit.compact_pointers.push((fields.level()?, fields.key()?)),
                DELETED_TABLE => edit.deleted.push((fields.level()?, fields.number()?)),
                NEW_TABLE => {
                    let (level, number, bytes) = (fields.level()?, fields.number()?, fields.number()?);
                    let (smallest, largest) = (fields.key()?, fields.key()?);
                    if smallest > largest {
                        return Err(ManifestFault::TableRange(number));
                    }
                    edit.added.push((level, TableMeta { number, bytes, smallest, largest }));
                }
                other => return Err(ManifestFault::Field(other)),
            }
        }
        Ok(edit)
    }

    /// The record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if let Some(name) = &self.comparator {
            put_uvarint(&mut out, COMPARATOR_NAME);
            put_slice(&mut out, name.as_bytes());
        }
        let numbers = [
            (LOG_NUMBER, self.log_number),
            (PREVIOUS_LOG_NUMBER, self.previous_log_number),
            (NEXT_FILE, self.next_file),
            (LAST_SEQUENCE, self.last_sequence),
        ];
        for (field, number) in numbers {
            if let Some(number) = number {
                put_numbers(&mut out, &[field, number]);
            }
        }
        for (level, key) in &self.compact_pointers {
            put_numbers(&mut out, &[COMPACT_POINTER, u64::from(*level)]);
            put_slice(&mut out, key.as_bytes());
        }
        for &(level, number) in &self.deleted {
            put_numbers(&mut out, &[DELETED_TABLE, u64::from(level), number]);
        }
        for (level, table) in &self.added {
            put_numbers(&mut out, &[NEW_TABLE, u64::from(*level), table.number, table.bytes]);
            put_slice(&mut out, table.smallest.as_bytes());
            put_slice(&mut out, table.largest.as_bytes());
        }
        out
    }
}

fn put_numbers(out: &mut Vec<u8>, numbers: &[u64]) {
    for &number in numbers {
        put_uvarint(out, number);
    }
}

fn put_slice(out: &mut Vec<u8>, bytes: &[u8]) {
    put_uvarint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The rest of a record.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn number(&mut self) -> Result<u64, ManifestFault> {
        let (number, rest) = split_uvarint(self.0).ok().flatten().ok_or(ManifestFault::Truncated)?;
        self.0 = rest;
        Ok(number)
    }

    fn bytes(&mut self) -> Result<&'a [u8], ManifestFault> {
        let len = usize::try_from(self.number()?).map_err(|_| ManifestFault::Truncated)?;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(ManifestFault::Truncated)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn level(&mut self) -> Result<u32, ManifestFault> {
        let level = self.number()?;
        u32::try_from(level).ok().filter(|&level| level < LEVELS_MAX).ok_or(ManifestFault::Level(level))
    }

    fn key(&mut self) -> Result<InternalKey, ManifestFault> {
        InternalKey::decode(self.bytes()?).ok_or(ManifestFault::Key)
    }
}

#[cfg(test)]
mod tests;
