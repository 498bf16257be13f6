//! Ascending records, cut into tables.

use std::{ops::Range, sync::Arc};

use super::{Target, syncing::Syncing};
use crate::ledger::leveldb::{LevelDbError, TableFault, TableMeta, TableWriter, table::table_name};

/// A table is finished once it has so many bytes: goleveldb's own have 2 MiB (`opt.DefaultCompactionTableSize`), but each costs us a sync
/// and the peer an open file, of which it keeps 500.
const TABLE_BYTES: u64 = 8 << 20;

/// Records that are written. A run that isn't finished, or not taken, is worth nothing.
#[derive(Debug)]
pub struct Run {
    target: Arc<Target>,
    open: Option<Open>,
    done: Vec<TableMeta>,
    /// Makes tables durable while the next ones are written; a run of one table needs none.
    syncing: Option<Syncing>,
}

#[derive(Debug)]
struct Open {
    table: TableWriter,
    /// The replaced range that the table lies in: other keys may follow behind it.
    range: Range<Vec<u8>>,
}

impl Run {
    pub(super) const fn new(target: Arc<Target>) -> Self {
        Self { target, open: None, done: Vec::new(), syncing: None }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// [`TableFault::Order`] unless the key is above the one before, [`LevelDbError::NotReplaced`] if it is in none of the replaced ranges;
    /// or whatever the disk says.
    pub fn add(&mut self, key: &[u8], value: &[u8]) -> Result<(), LevelDbError> {
        let sequence = self.target.sequence;
        if let Some(open) = &mut self.open
            && open.table.file_bytes() < TABLE_BYTES
            && key < open.range.end.as_slice()
        {
            // Below the range's start it is below the key before, too.
            return open.table.add(key, sequence, value);
        }
        self.cut(false)?;
        let Some(range) = self.target.replaced.of(key).cloned() else {
            return Err(LevelDbError::NotReplaced { path: self.target.dir.path().to_owned() });
        };
        let number = self.target.next_number();
        if self.done.last().is_some_and(|last| last.largest.user_key() >= key) {
            let path = self.target.dir.path().join(table_name(number));
            return Err(LevelDbError::Table { path, fault: TableFault::Order });
        }
        let mut table = TableWriter::create(&*self.target.dir, number)?;
        table.add(key, sequence, value)?;
        self.open = Some(Open { table, range });
        Ok(())
    }

    /// Completes the run; its bytes are durable.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn finish(mut self) -> Result<LoadedRun, LevelDbError> {
        self.cut(true)?;
        if let Some(syncing) = self.syncing.take() {
            syncing.finish()?;
        }
        Ok(LoadedRun { tables: self.done })
    }

    /// Completes the open table.
    fn cut(&mut self, is_last: bool) -> Result<(), LevelDbError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let (table, file) = open.table.finish_unsynced()?;
        self.done.push(table);
        if self.syncing.is_none() && !is_last {
            self.syncing = Syncing::start();
        }
        match &self.syncing {
            Some(syncing) => syncing.sync(file),
            None => file.sync()?,
        }
        Ok(())
    }
}

/// The tables of a finished run, ascending.
#[derive(Debug)]
pub struct LoadedRun {
    pub(super) tables: Vec<TableMeta>,
}

impl LoadedRun {
    /// Bytes of the run's tables.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.bytes).sum()
    }
}
