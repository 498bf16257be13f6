//! Records in memory: their bytes in one piece, and where each lies.

use super::{Record, prefix};

/// Records to be sorted, then handed out.
#[derive(Debug, Default)]
pub(super) struct Records {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    handed_out: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Of the key: mostly it decides, without a look at the bytes, which are all over the memory.
    prefix: u64,
    key_start: usize,
    value_start: usize,
    end: usize,
}

impl Records {
    pub(super) fn push(&mut self, key: &[u8], value: &[u8]) {
        let key_start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let value_start = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.entries.push(Entry { prefix: prefix(key), key_start, value_start, end: self.bytes.len() });
    }

    /// What they take.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<Entry>()
    }

    /// Ascending by key, else as they came.
    pub(super) fn sort(&mut self) {
        let bytes = &self.bytes;
        let key = |entry: &Entry| bytes.get(entry.key_start..entry.value_start);
        self.entries.sort_by(|a, b| a.prefix.cmp(&b.prefix).then_with(|| key(a).cmp(&key(b))));
    }

    pub(super) fn next_record(&mut self) -> Option<Record<'_>> {
        let entry = *self.entries.get(self.handed_out)?;
        self.handed_out += 1;
        Some((self.bytes.get(entry.key_start..entry.value_start)?, self.bytes.get(entry.value_start..entry.end)?))
    }

    /// Forgets all; memory above the budget is given back.
    pub(super) fn clear(&mut self, budget_bytes: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(budget_bytes);
        self.entries.clear();
        self.handed_out = 0;
    }
}
