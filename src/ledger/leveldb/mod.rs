//! LevelDB's files as goleveldb, the peer's implementation, reads and writes them. Decides what bytes mean and which files make up a
//! database; what the keys are is left to those who use it.

mod batch;
mod block;
mod bulk;
mod coding;
mod error;
mod live;
mod log;
mod manifest;
mod reader;
mod table;
mod table_reader;
mod table_writer;
mod version;

pub use batch::{Batch, BatchFault, BatchWriter, Operation, SEQUENCE_MAX};
pub use bulk::{Bulk, LoadedRun, Run, make_database};
pub use coding::{InternalKey, Kind, TableMeta};
pub use error::LevelDbError;
pub use log::{LOG_RECORD_BYTES_MAX, LogFault, LogReader, LogWriter};
pub use manifest::{COMPARATOR, LEVELS_MAX, ManifestFault, VersionEdit};
pub use reader::{Database, RECENT_BYTES_MAX, Scan};
pub use table::{BLOCK_BYTES_MAX, TableFault};
pub use table_reader::{TableIter, TableReader};
pub use table_writer::TableWriter;
pub use version::{MANIFEST_BYTES_MAX, TABLES_MAX, Version};
