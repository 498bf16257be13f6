//! The audit log: who fetched which snapshot, who had one deleted, when the service started. Text for people, a line of JSON each,
//! chained by hashes so that a later change shows.
//!
//! ```text
//! STATE/audit.log            what is written now
//! STATE/audit-N.log          full ones; N is the number of the last record, and the next file goes on from its chain
//! STATE/audit-damaged-N.log  what didn't hold when it was opened: kept as it was, while a new chain begins
//! ```
//!
//! Decides how records are kept and when a file is full. Leaves to others what is recorded (`transport::serving`, local control), and
//! to the operator when full files go and where chain values are noted.
//!
//! A record is durable before the next one is written: only the last one can be torn, and is then cut off.

mod check;
mod record;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use self::{check::NO_CHAIN, record::Line};
use crate::{
    disk::{Access, Dir, DiskError, File, FileReader},
    snapshot::AuditChain,
};

pub use check::{AuditError, AuditFault, AuditSummary, check_audit};
pub use record::{AUDIT_LINE_BYTES_MAX, AuditBy, AuditRecord, AuditWhat};

/// The file that is written, in the state folder.
pub const AUDIT_FILE: &str = "audit.log";
/// Longest file, in bytes, about 200 000 records: it is read as a whole at each start.
pub const AUDIT_LOG_BYTES_MAX: u64 = 64 << 20;

const FULL_PREFIX: &str = "audit-";
const DAMAGED_PREFIX: &str = "audit-damaged-";
const SUFFIX: &str = ".log";

/// The audit log of a service. One process at a time: callers hold the state folder's lock when they first append.
#[derive(Debug)]
pub struct AuditLog {
    state: Arc<dyn Dir>,
    bytes_max: u64,
    writing: Mutex<Writing>,
}

#[derive(Debug, Default)]
struct Writing {
    /// `None` before the first record, and after a failure: then it is read again.
    open: Option<Open>,
    /// Whether the last attempt failed: what the system has cached of the file may not be what is on the disk.
    failed: bool,
    /// Records that couldn't be written since the last one that could.
    missed: u64,
}

/// Where the next record goes.
#[derive(Debug)]
struct Open {
    file: Arc<dyn File>,
    end: u64,
    /// Number of the last record.
    last: u64,
    head: AuditChain,
}

impl AuditLog {
    /// Over the state folder; nothing is read or written before the first record.
    #[must_use]
    pub const fn new(state: Arc<dyn Dir>) -> Self {
        let writing = Writing { open: None, failed: false, missed: 0 };
        Self { state, bytes_max: AUDIT_LOG_BYTES_MAX, writing: Mutex::new(writing) }
    }

    /// Another limit than [`AUDIT_LOG_BYTES_MAX`].
    #[must_use]
    pub const fn with_bytes_max(mut self, bytes_max: u64) -> Self {
        self.bytes_max = bytes_max;
        self
    }

    /// Adds a record, durably. Blocking. A failure is logged, once until it works again; the log then says how many are missing.
    ///
    /// # Errors
    /// What the disk says: the record isn't in the log, and what it tells of happened all the same.
    pub fn append(&self, record: &AuditRecord, now: SystemTime) -> Result<(), DiskError> {
        let mut writing = self.writing();
        let missed = writing.missed;
        let told = if missed > 0 { self.write(&mut writing, &AuditRecord::missed(missed), now) } else { Ok(()) };
        let appended = told.and_then(|()| {
            writing.missed = 0;
            self.write(&mut writing, record, now)
        });
        match &appended {
            Ok(()) if missed > 0 => {
                tracing::warn!(missed, "the audit log is written again; what is missing stays missing")
            }
            Ok(()) => {}
            Err(error) => {
                *writing = Writing { open: None, failed: true, missed: writing.missed.saturating_add(1) };
                if missed == 0 {
                    tracing::error!(%error, "the audit log can't be written: what is fetched now isn't recorded");
                }
            }
        }
        appended
    }

    /// Counts records that never came so far as to be written.
    pub fn miss(&self, count: u64) {
        let mut writing = self.writing();
        if writing.missed == 0 && count > 0 {
            tracing::error!("the audit log can't keep up: what is fetched now isn't recorded");
        }
        writing.missed = writing.missed.saturating_add(count);
    }

    fn write(&self, writing: &mut Writing, record: &AuditRecord, now: SystemTime) -> Result<(), DiskError> {
        let mut open = match writing.open.take() {
            Some(open) => open,
            None => self.open(writing.failed, now)?,
        };
        writing.failed = false;
        // Leaves room for the longest line, so that no file is longer.
        if open.end.saturating_add(AUDIT_LINE_BYTES_MAX as u64) > self.bytes_max && open.end > 0 {
            open = self.rotate(&open, now)?;
        }
        open.append(record, now)?;
        writing.open = Some(open);
        Ok(())
    }

    /// Reads what is there, puts it aside if it doesn't hold, and begins or goes on.
    fn open(&self, forget_cached: bool, now: SystemTime) -> Result<Open, DiskError> {
        let file = self.state.open_file(AUDIT_FILE, Access::ReadWrite)?;
        if forget_cached {
            file.forget_cached();
        }
        match summary(&file)? {
            Ok(AuditSummary { numbers: Some((_, last)), head, whole_bytes: end, torn_bytes, .. }) => {
                if torn_bytes > 0 {
                    tracing::warn!(
                        bytes = torn_bytes,
                        "the last record of the audit log was torn by a crash, and is cut off"
                    );
                    file.set_len(end)?;
                }
                // What was read may not be durable yet, and the next record builds on it.
                file.sync()?;
                self.state.sync_dir()?;
                Ok(Open { file, end, last, head })
            }
            // No whole record yet.
            Ok(_) => {
                file.set_len(0)?;
                self.state.sync_dir()?;
                self.begin(file, now)
            }
            Err(fault) => {
                let aside = self.put_aside()?;
                tracing::error!(
                    %fault, kept = aside,
                    "SOMEBODY CHANGED THE AUDIT LOG, or the disk damaged it: it is kept aside, and a new chain begins"
                );
                let file = self.state.open_file(AUDIT_FILE, Access::CreateNew)?;
                self.state.sync_dir()?;
                let mut open = Open { file, end: 0, last: 0, head: NO_CHAIN };
                open.append(&AuditRecord::begun_anew(&format!("the log before is kept as {aside}: {fault}")), now)?;
                Ok(open)
            }
        }
    }

    /// An empty file: of the first log ever, or after a full one.
    fn begin(&self, file: Arc<dyn File>, now: SystemTime) -> Result<Open, DiskError> {
        let Some(full) = self.last_full()? else { return Ok(Open { file, end: 0, last: 0, head: NO_CHAIN }) };
        let before = self.state.open_file(&full, Access::Read)?;
        match summary(&before)? {
            Ok(AuditSummary { numbers: Some((_, last)), head, .. }) => {
                let mut open = Open { file, end: 0, last, head };
                open.append(&AuditRecord::continued(head), now)?;
                Ok(open)
            }
            Ok(_) => Ok(Open { file, end: 0, last: 0, head: NO_CHAIN }),
            Err(fault) => {
                tracing::error!(%fault, file = full, "SOMEBODY CHANGED THE AUDIT LOG, or the disk damaged it: a new chain begins");
                let mut open = Open { file, end: 0, last: 0, head: NO_CHAIN };
                open.append(&AuditRecord::begun_anew(&format!("{full} doesn't hold: {fault}")), now)?;
                Ok(open)
            }
        }
    }

    /// Gives a full file its name, and goes on in a new one.
    fn rotate(&self, full: &Open, now: SystemTime) -> Result<Open, DiskError> {
        self.state.rename(AUDIT_FILE, self.state.as_ref(), &format!("{FULL_PREFIX}{:012}{SUFFIX}", full.last))?;
        let file = self.state.open_file(AUDIT_FILE, Access::CreateNew)?;
        self.state.sync_dir()?;
        let mut open = Open { file, end: 0, last: full.last, head: full.head };
        open.append(&AuditRecord::continued(full.head), now)?;
        Ok(open)
    }

    /// The full file with the highest number.
    fn last_full(&self) -> Result<Option<String>, DiskError> {
        let number = |name: &str| name.strip_prefix(FULL_PREFIX)?.strip_suffix(SUFFIX)?.parse::<u64>().ok();
        let names = self.state.list()?.into_iter().map(|entry| entry.name);
        Ok(names.filter_map(|name| Some((number(&name)?, name))).max().map(|(_, name)| name))
    }

    /// Renames a log that doesn't hold to the first free name.
    fn put_aside(&self) -> Result<String, DiskError> {
        let taken: Vec<String> = self.state.list()?.into_iter().map(|entry| entry.name).collect();
        let names = (1u64..).map(|number| format!("{DAMAGED_PREFIX}{number}{SUFFIX}"));
        let aside = names.into_iter().find(|name| !taken.contains(name)).unwrap_or_default();
        self.state.rename(AUDIT_FILE, self.state.as_ref(), &aside)?;
        Ok(aside)
    }

    fn writing(&self) -> std::sync::MutexGuard<'_, Writing> {
        // A panic in between leaves it closed, so that it is read again.
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn append(&mut self, record: &AuditRecord, now: SystemTime) -> Result<(), DiskError> {
        let seq = self.last.saturating_add(1);
        let (line, head) = Line::new(record, seq, now).encode(self.head);
        self.file.write_all_at(line.as_bytes(), self.end)?;
        self.file.sync()?;
        (self.end, self.last, self.head) = (self.end + line.len() as u64, seq, head);
        Ok(())
    }
}

/// A disk that can't be read is no fault of the log.
fn summary(file: &Arc<dyn File>) -> Result<Result<AuditSummary, AuditError>, DiskError> {
    match check_audit(FileReader::new(Arc::clone(file)), None) {
        Err(AuditError::Read(error)) => Err(DiskError::io("read", file.path(), error)),
        checked => Ok(checked),
    }
}
