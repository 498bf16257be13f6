//! Which tables and logs make up a database: the sum of a MANIFEST's edits, and CURRENT, which names the MANIFEST.
//!
//! Decides which MANIFEST counts after a crash as goleveldb decides it (`leveldb/storage/file_storage.go`, `GetMeta`), so that we see what the
//! peer would see.

use std::collections::BTreeMap;

use super::{COMPARATOR, LevelDbError, LogReader, LogWriter, ManifestFault, TableMeta, VersionEdit};
use crate::disk::{Access, Dir, DiskError, EntryKind, read_small, write_durably};

/// Longest MANIFEST, in bytes: goleveldb begins a new one at 64 MiB (`opt.DefaultMaxManifestFileSize`).
pub const MANIFEST_BYTES_MAX: u64 = 256 << 20;

/// Most tables of one database: 2 TiB of tables of 2 MiB.
pub const TABLES_MAX: usize = 1 << 20;

const CURRENT: &str = "CURRENT";
/// What goleveldb keeps of the one before.
const CURRENT_BACKUP: &str = "CURRENT.bak";
/// Longest CURRENT: the name of a MANIFEST.
const CURRENT_BYTES_MAX: u64 = 64;

/// What a database consists of at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Version {
    /// Logs with this number and above are not yet in tables.
    pub log_number: u64,
    /// A log below it that isn't either; 0: there is none.
    pub previous_log_number: u64,
    /// The number of the next new file.
    pub next_file: u64,
    /// The highest sequence number in the tables.
    pub last_sequence: u64,
    /// The tables of each level by number. Those of one level other than 0 don't overlap.
    pub levels: BTreeMap<u32, BTreeMap<u64, TableMeta>>,
}

impl Version {
    /// Reads the version that CURRENT leads to, and the number of its MANIFEST; `None` if the folder holds no database.
    ///
    /// # Errors
    /// [`LevelDbError`]: a MANIFEST that is damaged other than at its end, or a CURRENT that leads nowhere.
    pub fn read(dir: &dyn Dir) -> Result<Option<(u64, Self)>, LevelDbError> {
        let Some(number) = current(dir)? else { return Ok(None) };
        let file = dir.open_file(&manifest_name(number), Access::Read)?;
        let (path, len) = (file.path().to_owned(), file.len()?);
        if len > MANIFEST_BYTES_MAX {
            return Err(DiskError::TooLarge { path, len, max: MANIFEST_BYTES_MAX }.into());
        }
        let mut log = LogReader::new(file);
        let mut sum = Sum::default();
        while let Some(record) = log.next_record()? {
            let added = VersionEdit::decode(&record).and_then(|edit| sum.add(edit));
            added.map_err(|fault| LevelDbError::Manifest { path: path.clone(), fault })?;
        }
        let version = sum.finish().map_err(|fault| LevelDbError::Manifest { path, fault })?;
        Ok(Some((number, version)))
    }

    /// Writes a MANIFEST of this version and makes CURRENT name it: after a crash the database is this version or the one before, after
    /// `Ok` this one. The tables must be durable.
    ///
    /// `number` is a fresh file number, below [`Self::next_file`].
    ///
    /// # Errors
    /// Whatever the disk says; if only the last step failed, CURRENT may already name the new MANIFEST.
    pub fn write(&self, dir: &dyn Dir, number: u64) -> Result<(), DiskError> {
        match dir.remove_file(&manifest_name(number)) {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {} // left by a crash before CURRENT named it
        }
        let mut log = LogWriter::create(dir, &manifest_name(number))?;
        log.append(&self.to_edit().encode())?;
        log.sync()?;
        // The names of tables and MANIFEST before the one that counts on them.
        dir.sync_dir()?;
        write_durably(dir, CURRENT, format!("{}\n", manifest_name(number)).as_bytes())
    }

    /// All of it as one edit of an empty database.
    #[must_use]
    pub fn to_edit(&self) -> VersionEdit {
        let of_level = |(&level, tables): (&u32, &BTreeMap<u64, TableMeta>)| {
            tables.values().map(move |table| (level, table.clone())).collect::<Vec<_>>()
        };
        VersionEdit {
            comparator: Some(COMPARATOR.to_owned()),
            log_number: Some(self.log_number),
            previous_log_number: Some(self.previous_log_number).filter(|&number| number != 0),
            next_file: Some(self.next_file),
            last_sequence: Some(self.last_sequence),
            added: self.levels.iter().flat_map(of_level).collect(),
            ..VersionEdit::default()
        }
    }

    /// The logs in the folder that are not yet in tables, ascending.
    ///
    /// # Errors
    /// Whatever the disk says.
    pub fn logs(&self, dir: &dyn Dir) -> Result<Vec<u64>, DiskError> {
        let files = dir.list()?.into_iter().filter(|entry| entry.kind == EntryKind::File);
        let mut numbers: Vec<u64> = files.filter_map(|entry| entry.name.strip_suffix(".log")?.parse().ok()).collect();
        let previous = self.previous_log_number;
        numbers.retain(|&number| number >= self.log_number || (number == previous && previous != 0));
        numbers.sort_unstable();
        Ok(numbers)
    }
}

/// A version while the edits come.
#[derive(Default)]
struct Sum {
    comparator: Option<String>,
    log_number: Option<u64>,
    next_file: Option<u64>,
    last_sequence: Option<u64>,
    tables: usize,
    version: Version,
}

impl Sum {
    fn add(&mut self, edit: VersionEdit) -> Result<(), ManifestFault> {
        if edit.comparator.is_some() {
            self.comparator = edit.comparator;
        }
        self.log_number = edit.log_number.or(self.log_number);
        self.next_file = edit.next_file.or(self.next_file);
        self.last_sequence = edit.last_sequence.or(self.last_sequence);
        self.version.previous_log_number = edit.previous_log_number.unwrap_or(self.version.previous_log_number);
        for (level, number) in edit.deleted {
            // goleveldb minds no table that isn't there.
            let gone = self.version.levels.get_mut(&level).and_then(|tables| tables.remove(&number));
            self.tables -= usize::from(gone.is_some());
        }
        for (level, table) in edit.added {
            let number = table.number;
            let tables = self.version.levels.entry(level).or_default();
            // goleveldb names the tables that it made of its logs twice in the first record of a MANIFEST.
            match tables.get(&number) {
                Some(there) if *there == table => continue,
                Some(_) => return Err(ManifestFault::TableTwice(number)),
                None => tables.insert(number, table),
            };
            self.tables += 1;
            if self.tables > TABLES_MAX {
                return Err(ManifestFault::TooManyTables);
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Version, ManifestFault> {
        let name = self.comparator.ok_or(ManifestFault::Missing("its comparator"))?;
        if name != COMPARATOR {
            return Err(ManifestFault::Comparator(name));
        }
        let mut version = self.version;
        version.log_number = self.log_number.ok_or(ManifestFault::Missing("the number of its log"))?;
        version.next_file = self.next_file.ok_or(ManifestFault::Missing("the next file number"))?;
        version.last_sequence = self.last_sequence.ok_or(ManifestFault::Missing("its last sequence number"))?;
        version.levels.retain(|_, tables| !tables.is_empty());
        for (_, tables) in version.levels.range(1..) {
            let mut ordered: Vec<&TableMeta> = tables.values().collect();
            ordered.sort_by(|a, b| a.smallest.cmp(&b.smallest));
            for pair in ordered.windows(2) {
                if let [low, high] = pair
                    && low.largest >= high.smallest
                {
                    return Err(ManifestFault::Overlap(low.number, high.number));
                }
            }
        }
        Ok(version)
    }
}

/// The name of the MANIFEST with this number.
fn manifest_name(number: u64) -> String {
    format!("MANIFEST-{number:06}")
}

/// The number of the MANIFEST that counts; `None` if there is no CURRENT of any kind.
fn current(dir: &dyn Dir) -> Result<Option<u64>, LevelDbError> {
    let entries = dir.list()?;
    let exists = |name: &str| entries.iter().any(|entry| entry.kind == EntryKind::File && entry.name == name);
    let mut wrong = None;
    let mut named = |name: &str| -> Result<Option<u64>, DiskError> {
        if !exists(name) {
            return Ok(None);
        }
        let content = read_small(dir, name, CURRENT_BYTES_MAX)?;
        let number = manifest_number(&content).filter(|&number| exists(&manifest_name(number)));
        wrong = wrong.take().or_else(|| number.is_none().then(|| dir.path().join(name)));
        Ok(number)
    };

    // goleveldb gives a new CURRENT its name last; one that a crash left under the number of its MANIFEST counts if it is newer.
    let pending = entries.iter().filter_map(|entry| {
        let number: u64 = entry.name.strip_prefix(CURRENT)?.strip_prefix('.')?.parse().ok()?;
        Some((number, &entry.name))
    });
    let mut pending: Vec<_> = pending.collect();
    pending.sort_unstable();
    let mut newest = None;
    for (_, name) in pending.into_iter().rev() {
        newest = named(name)?;
        if newest.is_some() {
            break;
        }
    }
    let settled = match named(CURRENT)? {
        None => named(CURRENT_BACKUP)?,
        found => found,
    };
    match (newest.max(settled), wrong) {
        (None, Some(path)) => Err(LevelDbError::Current { path }),
        (found, _) => Ok(found),
    }
}

/// The number in the content of a CURRENT.
fn manifest_number(content: &[u8]) -> Option<u64> {
    let name = std::str::from_utf8(content).ok()?.strip_suffix('\n')?;
    let number = name.strip_prefix("MANIFEST-")?.parse().ok()?;
    (manifest_name(number) == name).then_some(number)
}

#[cfg(test)]
mod tests;
