//! Checks a file's content while its bytes stream by, and the files of a snapshot against each other at the end.
//!
//! Decides: everything that a join doesn't check although it relies on it (format byte, bounds, order, counts, the channel's
//! configuration). Hashes are somebody else's part. A file is checked on its own by [`ContentCheck`], in memory that doesn't grow
//! with it; what needs two files ([`FileSummary`] remembers it) is [`cross_check`]'s part, because files arrive in any order.
//!
//! State records bear no namespace, so their order can't be judged before the rows are known: a record that isn't above the one
//! before it is remembered, and must turn out to be the first of a namespace.

use super::{
    BlockNumber, ConfigHistoryEntry, ContentError, ItemFault, NamespaceRow, SnapshotFile, StateDbType, StateRecord,
    collections::ConfiguredCollections,
    items::{FORMAT, ITEM_BYTES_MAX, ItemSplitter},
    records::{CHANNEL_CONFIG_KEY, COUNTS_BYTES_MAX, NAMESPACES_MAX, decode_count, decode_rows, has_rows},
};

/// Largest channel configuration that is kept for the layers above: the limit for a configuration block there is the same.
pub const CHANNEL_CONFIG_BYTES_MAX: usize = 16 << 20;

/// The check of one file, fed with its bytes in order.
#[derive(Debug)]
pub struct ContentCheck {
    file: SnapshotFile,
    format_seen: bool,
    /// Items that were found right.
    items: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    State { splitter: ItemSplitter, state: StateCheck },
    TxIds { splitter: ItemSplitter, last: Vec<u8> },
    ConfigHistory { splitter: ItemSplitter, history: ConfigHistoryCheck },
    Counts { bytes: Vec<u8> },
}

/// What is known of a file that was found right, for [`super::cross_check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSummary(pub(super) Summary);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Summary {
    State(StateSummary),
    Items { items: u64, block_number_max: BlockNumber, collections: ConfiguredCollections },
    Rows(Vec<NamespaceRow>),
    Count(u64),
}

/// What is remembered of a file of state records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StateSummary {
    pub(super) records: u64,
    pub(super) block_number_max: BlockNumber,
    /// Records that are not above the one before them, ascending, at most [`NAMESPACES_MAX`]: each must start a namespace.
    pub(super) drops: Vec<u64>,
    /// Value of the first record if its key is that of the channel's configuration.
    pub(super) channel_config: Option<Vec<u8>>,
}

impl ContentCheck {
    /// A check of `file` in a snapshot of a peer with such a state database.
    #[must_use]
    pub fn new(file: SnapshotFile, db_type: StateDbType) -> Self {
        let kind = match file {
            SnapshotFile::PublicStateData | SnapshotFile::PrivateStateHashesData => Kind::State {
                splitter: ItemSplitter::new(ITEM_BYTES_MAX),
                state: StateCheck {
                    private: file == SnapshotFile::PrivateStateHashesData,
                    ordered: db_type == StateDbType::SimpleKeyValueDb,
                    last_key: Vec::new(),
                    summary: StateSummary {
                        records: 0,
                        block_number_max: BlockNumber(0),
                        drops: Vec::new(),
                        channel_config: None,
                    },
                },
            },
            // Valid transactions have ids of 64 bytes; but a peer keeps those of invalid ones too, and they are whatever text the
            // sender chose (fabric: common/ledger/blkstorage/block_serialization.go).
            SnapshotFile::TxIdsData => Kind::TxIds { splitter: ItemSplitter::new(ITEM_BYTES_MAX), last: Vec::new() },
            SnapshotFile::ConfigHistoryData => Kind::ConfigHistory {
                splitter: ItemSplitter::new(ITEM_BYTES_MAX),
                history: ConfigHistoryCheck {
                    key: Vec::new(),
                    value_next: false,
                    last_key: Vec::new(),
                    block_number_max: BlockNumber(0),
                    collections: ConfiguredCollections::default(),
                },
            },
            SnapshotFile::PublicStateMetadata
            | SnapshotFile::PrivateStateHashesMetadata
            | SnapshotFile::TxIdsMetadata
            | SnapshotFile::ConfigHistoryMetadata => Kind::Counts { bytes: Vec::new() },
        };
        Self { file, format_seen: false, items: 0, kind }
    }

    /// Takes the file's next bytes, any number of them.
    ///
    /// # Errors
    /// The first item that is wrong; the check is over then.
    pub fn update(&mut self, mut bytes: &[u8]) -> Result<(), ContentError> {
        if !self.format_seen {
            let Some((&format, rest)) = bytes.split_first() else { return Ok(()) };
            if format != FORMAT {
                return Err(ContentError::Format { file: self.file, found: Some(format) });
            }
            self.format_seen = true;
            bytes = rest;
        }
        let items = &mut self.items;
        let fed = match &mut self.kind {
            Kind::State { splitter, state } => splitter.feed(bytes, |item| {
                state.record(item, *items)?;
                *items += 1;
                Ok(())
            }),
            Kind::TxIds { splitter, last } => splitter.feed(bytes, |id| {
                // Fabric's index orders by length first. The very first id is above nothing.
                if *items > 0 && (id.len(), id) <= (last.len(), last.as_slice()) {
                    return Err(ItemFault::Order);
                }
                replace(last, id);
                *items += 1;
                Ok(())
            }),
            Kind::ConfigHistory { splitter, history } => splitter.feed(bytes, |item| {
                history.item(item)?;
                *items += u64::from(!history.value_next);
                Ok(())
            }),
            Kind::Counts { bytes: all } => {
                if all.len().saturating_add(bytes.len()) > COUNTS_BYTES_MAX {
                    return Err(ContentError::TooLong { file: self.file, max: COUNTS_BYTES_MAX });
                }
                all.extend_from_slice(bytes);
                Ok(())
            }
        };
        fed.map_err(|fault| ContentError::Item { file: self.file, item: self.items, fault })
    }

    /// The file has ended.
    ///
    /// # Errors
    /// It ends within an item, or has bytes behind the last one.
    pub fn finish(self) -> Result<FileSummary, ContentError> {
        let (file, items) = (self.file, self.items);
        if !self.format_seen {
            return Err(ContentError::Format { file, found: None });
        }
        let at_item = |fault| ContentError::Item { file, item: items, fault };
        let summary = match self.kind {
            Kind::State { splitter, state } => {
                splitter.finish().map_err(at_item)?;
                Summary::State(StateSummary { records: items, ..state.summary })
            }
            Kind::TxIds { splitter, .. } => {
                splitter.finish().map_err(at_item)?;
                let collections = ConfiguredCollections::default();
                Summary::Items { items, block_number_max: BlockNumber(0), collections }
            }
            Kind::ConfigHistory { splitter, history } => {
                splitter.finish().map_err(at_item)?;
                if history.value_next {
                    return Err(at_item(ItemFault::KeyWithoutValue));
                }
                let ConfigHistoryCheck { block_number_max, collections, .. } = history;
                Summary::Items { items, block_number_max, collections }
            }
            Kind::Counts { bytes } => {
                let (summary, rest) = if has_rows(file) {
                    let (rows, rest) =
                        decode_rows(&bytes).map_err(|(item, fault)| ContentError::Item { file, item, fault })?;
                    (Summary::Rows(rows), rest)
                } else {
                    let (count, rest) = decode_count(&bytes).map_err(at_item)?;
                    (Summary::Count(count), rest)
                };
                if !rest.is_empty() {
                    return Err(ContentError::Trailing { file });
                }
                summary
            }
        };
        Ok(FileSummary(summary))
    }
}

#[derive(Debug)]
struct StateCheck {
    private: bool,
    ordered: bool,
    last_key: Vec<u8>,
    summary: StateSummary,
}

impl StateCheck {
    #[inline]
    fn record(&mut self, item: &[u8], index: u64) -> Result<(), ItemFault> {
        let record = StateRecord::decode(item)?;
        let summary = &mut self.summary;
        if self.private {
            if record.key.len() != 32 || record.value.len() != 32 {
                return Err(ItemFault::NoHash);
            }
        } else if index == 0 && record.key == CHANNEL_CONFIG_KEY && record.value.len() <= CHANNEL_CONFIG_BYTES_MAX {
            summary.channel_config = Some(record.value.to_vec());
        }
        summary.block_number_max = summary.block_number_max.max(record.version.block_number);
        if self.ordered {
            if index > 0 && record.key <= self.last_key.as_slice() {
                // One drop per namespace at most, and those are bounded.
                if summary.drops.len() as u64 >= NAMESPACES_MAX {
                    return Err(ItemFault::Order);
                }
                summary.drops.push(index);
            }
            replace(&mut self.last_key, record.key);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct ConfigHistoryCheck {
    key: Vec<u8>,
    value_next: bool,
    last_key: Vec<u8>,
    block_number_max: BlockNumber,
    collections: ConfiguredCollections,
}

impl ConfigHistoryCheck {
    fn item(&mut self, item: &[u8]) -> Result<(), ItemFault> {
        if !self.value_next {
            if item <= self.last_key.as_slice() {
                return Err(ItemFault::Order);
            }
            replace(&mut self.key, item);
            self.value_next = true;
            // The key alone decides here: a wrong one is refused before its value comes.
            ConfigHistoryEntry::decode(item, &[])?;
            return Ok(());
        }
        let entry = ConfigHistoryEntry::decode(&self.key, item)?;
        if item.is_empty() {
            return Err(ItemFault::NoValue);
        }
        self.block_number_max = self.block_number_max.max(entry.block_number);
        self.collections.add(&entry)?;
        std::mem::swap(&mut self.last_key, &mut self.key);
        self.value_next = false;
        Ok(())
    }
}

/// Keeps the buffer: no allocation per record.
#[inline]
fn replace(buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.clear();
    buffer.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Height;

    #[test]
    fn a_file_of_counts_is_collected_up_to_its_cap() {
        let file = SnapshotFile::PublicStateMetadata;
        let mut check = ContentCheck::new(file, StateDbType::SimpleKeyValueDb);
        check.update(&[FORMAT]).unwrap();
        check.update(&vec![0; COUNTS_BYTES_MAX]).unwrap();
        assert_eq!(check.update(&[0]), Err(ContentError::TooLong { file, max: COUNTS_BYTES_MAX }));
    }

    #[test]
    fn a_file_drops_in_order_as_often_as_there_can_be_namespaces() {
        let mut item = Vec::new();
        let version = Height { block_number: BlockNumber(1), tx_number: 0 };
        StateRecord { key: b"k", value: b"v", metadata: b"", version }.encode_into(&mut item);
        let file = SnapshotFile::PublicStateData;
        let mut check = ContentCheck::new(file, StateDbType::SimpleKeyValueDb);
        check.update(&[FORMAT]).unwrap();
        // The first is above nothing, each of the others drops.
        let items = usize::try_from(NAMESPACES_MAX).unwrap() + 1;
        check.update(&item.repeat(items)).unwrap();
        let refused = check.update(&item);
        assert_eq!(refused, Err(ContentError::Item { file, item: items as u64, fault: ItemFault::Order }));
    }
}
