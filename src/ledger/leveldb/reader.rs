//! A database, read-only: nothing is written, recovered or locked, so the folder may be a copy that belongs to somebody else.
//!
//! ```text
//! CURRENT -> MANIFEST -> tables of level 0   (each on its own, they overlap)  \
//!                        tables of level n   (one behind the other)            > merged by key, newest version first
//!                        logs                (replayed into memory)           /
//! ```
//!
//! Nobody may write meanwhile: a log that is written into a table between two of our steps would be missed. That is for the caller to see to.

use std::{
    collections::{BTreeMap, btree_map},
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use super::{
    Batch, InternalKey, Kind, LevelDbError, LogReader, Operation, SEQUENCE_MAX, TableFault, TableIter, TableMeta,
    TableReader, Version, table::table_name,
};
use crate::disk::{Access, Dir, DiskError};

/// Most bytes of keys and values in the logs, all of which are held in memory: goleveldb writes a table once there are 4 MiB
/// (`opt.DefaultWriteBuffer`) and the batch that they came with.
pub const RECENT_BYTES_MAX: usize = 512 << 20;

/// A key and its value.
type Pair = (Vec<u8>, Vec<u8>);

/// An open database; tables are opened as they are needed.
#[derive(Debug)]
pub struct Database {
    dir: Arc<dyn Dir>,
    /// Tables that overlap none of the same run, ascending by key.
    runs: Vec<Vec<TableMeta>>,
    /// What the logs hold.
    recent: BTreeMap<InternalKey, Vec<u8>>,
}

impl Database {
    /// Opens the database in `dir` as it was when the last whole batch was written.
    ///
    /// # Errors
    /// [`LevelDbError`]; [`LevelDbError::NoDatabase`] if there is none.
    pub fn open(dir: Arc<dyn Dir>) -> Result<Self, LevelDbError> {
        Self::open_within(dir, RECENT_BYTES_MAX)
    }

    fn open_within(dir: Arc<dyn Dir>, recent_bytes_max: usize) -> Result<Self, LevelDbError> {
        let Some((_, version)) = Version::read(&*dir)? else {
            return Err(LevelDbError::NoDatabase { path: dir.path().to_owned() });
        };
        let recent = replay(&*dir, &version, recent_bytes_max)?;
        let mut runs = Vec::new();
        for (level, tables) in version.levels {
            let mut tables: Vec<TableMeta> = tables.into_values().collect();
            if level == 0 {
                runs.extend(tables.into_iter().map(|table| vec![table]));
            } else {
                tables.sort_by(|a, b| a.smallest.cmp(&b.smallest));
                runs.push(tables);
            }
        }
        Ok(Self { dir, runs, recent })
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`LevelDbError`], of the files where the key may be.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LevelDbError> {
        let found = self.scan(key.to_vec()..=key.to_vec()).next().transpose()?;
        Ok(found.map(|(_, value)| value))
    }

    /// The keys in `range` that have a value, ascending, each with its newest one. Memory: one block of each table that may hold the next
    /// key, and what the logs hold.
    pub fn scan(&self, range: impl RangeBounds<Vec<u8>>) -> Scan<'_> {
        let start = match range.start_bound() {
            Bound::Included(key) => key.clone(),
            // The next key in the order of bytes.
            Bound::Excluded(key) => [key, &[0][..]].concat(),
            Bound::Unbounded => Vec::new(),
        };
        let end = range.end_bound().cloned();
        // Before all versions of the key.
        let from = InternalKey::new(&start, SEQUENCE_MAX, Kind::Put);
        let mut sources = vec![Source::Recent(self.recent.range(from.clone()..))];
        for run in &self.runs {
            let before = run.partition_point(|table| table.largest < from);
            let behind = run.partition_point(|table| is_before(table.smallest.user_key(), &end));
            if let Some(tables) = run.get(before..behind) {
                let tables = Tables { dir: &*self.dir, from: from.clone(), rest: tables.iter(), open: None };
                sources.push(Source::Tables(tables));
            }
        }
        Scan { unread: (0..sources.len()).collect(), sources, next: BTreeMap::new(), last: None, end }
    }
}

/// The content of the logs.
pub(super) fn replay(
    dir: &dyn Dir,
    version: &Version,
    bytes_max: usize,
) -> Result<BTreeMap<InternalKey, Vec<u8>>, LevelDbError> {
    let (mut recent, mut bytes) = (BTreeMap::new(), 0_usize);
    for number in version.logs(dir)? {
        let mut log = LogReader::new(dir.open_file(&format!("{number:06}.log"), Access::Read)?);
        while let Some(record) = log.next_record()? {
            bytes = bytes.saturating_add(record.len());
            if bytes > bytes_max {
                let (len, max) = (bytes as u64, bytes_max as u64);
                return Err(DiskError::TooLarge { path: log.path().to_owned(), len, max }.into());
            }
            let fault = |fault| LevelDbError::Batch { path: log.path().to_owned(), offset: log.offset(), fault };
            let batch = Batch::decode(&record).map_err(fault)?;
            for (sequence, operation) in (batch.sequence..).zip(batch.operations) {
                match operation {
                    Operation::Put(key, value) => {
                        recent.insert(InternalKey::new(key, sequence, Kind::Put), value.to_vec());
                    }
                    Operation::Delete(key) => {
                        recent.insert(InternalKey::new(key, sequence, Kind::Deletion), Vec::new());
                    }
                }
            }
        }
    }
    Ok(recent)
}

/// The keys of a range with their values ([`Database::scan`]). Ends after the first error.
pub struct Scan<'a> {
    sources: Vec<Source<'a>>,
    /// Sources whose next record isn't in `next`.
    unread: Vec<usize>,
    /// The next record of each source, by key and source.
    next: BTreeMap<(InternalKey, usize), Vec<u8>>,
    /// The user key that came last; its other versions are older.
    last: Option<Vec<u8>>,
    end: Bound<Vec<u8>>,
}

impl Scan<'_> {
    fn advance(&mut self) -> Result<Option<Pair>, LevelDbError> {
        loop {
            while let Some(index) = self.unread.pop() {
                if let Some(source) = self.sources.get_mut(index)
                    && let Some((key, value)) = source.next().transpose()?
                    && is_before(key.user_key(), &self.end)
                {
                    self.next.insert((key, index), value);
                }
            }
            let Some(((key, index), value)) = self.next.pop_first() else { return Ok(None) };
            self.unread.push(index);
            if self.last.as_deref() == Some(key.user_key()) {
                continue;
            }
            self.last = Some(key.user_key().to_vec());
            if key.kind() == Kind::Put {
                return Ok(Some((key.user_key().to_vec(), value)));
            }
        }
    }
}

fn is_before(user_key: &[u8], end: &Bound<Vec<u8>>) -> bool {
    match end {
        Bound::Included(end) => user_key <= end.as_slice(),
        Bound::Excluded(end) => user_key < end.as_slice(),
        Bound::Unbounded => true,
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<Pair, LevelDbError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            (self.unread, self.next) = (Vec::new(), BTreeMap::new());
        }
        next.transpose()
    }
}

impl std::fmt::Debug for Scan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan").field("last", &self.last).field("end", &self.end).finish_non_exhaustive()
    }
}

/// Where records come from, ascending by internal key.
enum Source<'a> {
    Recent(btree_map::Range<'a, InternalKey, Vec<u8>>),
    Tables(Tables<'a>),
}

impl Iterator for Source<'_> {
    type Item = Result<(InternalKey, Vec<u8>), LevelDbError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Recent(records) => records.next().map(|(key, value)| Ok((key.clone(), value.clone()))),
            Self::Tables(tables) => tables.advance().transpose(),
        }
    }
}

/// The records of tables that don't overlap, one table open at a time.
struct Tables<'a> {
    dir: &'a dyn Dir,
    from: InternalKey,
    rest: std::slice::Iter<'a, TableMeta>,
    open: Option<(&'a TableMeta, TableIter)>,
}

impl Tables<'_> {
    fn advance(&mut self) -> Result<Option<(InternalKey, Vec<u8>)>, LevelDbError> {
        loop {
            if let Some((table, records)) = &mut self.open {
                match records.next().transpose()? {
                    // The order of tables is that of their stated ranges.
                    Some((key, _)) if key < table.smallest || key > table.largest => {
                        let path = self.dir.path().join(table_name(table.number));
                        return Err(LevelDbError::Table { path, fault: TableFault::Range });
                    }
                    Some(record) => return Ok(Some(record)),
                    None => {}
                }
            }
            let Some(table) = self.rest.next() else { return Ok(None) };
            let reader = TableReader::open(self.dir, table.number, table.bytes)?;
            self.open = Some((table, reader.seek(&self.from)));
        }
    }
}

#[cfg(test)]
mod tests;
