//! The private data store: a joined peer has none of the data yet. It keeps their hashes, which are missing, and when the entries expire
//! (fabric: core/ledger/pvtdatastorage).
//!
//! | key behind the channel's name | value |
//! |---|---|
//! | `01` | the last block (varint) |
//! | `03` expiring block, writing block | proto ExpiryData: what of these blocks goes |
//! | `04` writing block reversed, namespace 00 collection | set of transactions whose data the peer may have |
//! | `05` namespace 00 collection 00 writing block reversed | set of transactions whose data it may not have |
//! | `09` writing block, transaction, namespace 00 collection | proto BootKVHashes: hashes of keys and values |
//! | `61` | the last block (varint) that came with the snapshot |

use std::sync::Arc;

use super::{CollectionHistory, LevelKey, Put, StoreError, missing::BlockEntries, split_namespace};
use crate::{
    disk::Dir,
    ledger::{SortError, Sorted, Sorter},
    snapshot::{
        Height, SnapshotId, StateRecord,
        protobuf::{put_bytes, put_uvarint},
    },
};

/// In front of each kind of key.
pub(super) mod kind {
    pub(in super::super) const LAST_BLOCK: u8 = 0x01;
    pub(in super::super) const EXPIRY: u8 = 0x03;
    pub(in super::super) const ELIGIBLE: u8 = 0x04;
    pub(in super::super) const INELIGIBLE: u8 = 0x05;
    pub(in super::super) const BOOT_HASHES: u8 = 0x09;
    pub(in super::super) const BOOT_BLOCK: u8 = 0x61;
}

/// Gathers hashes, to be sorted by what wrote them: block, transaction, namespace, collection, key.
#[derive(Debug)]
pub(super) struct RowKeeper {
    scratch: Arc<dyn Dir>,
    budget_bytes: usize,
    sorter: Sorter,
    key: Vec<u8>,
}

impl RowKeeper {
    pub(super) fn new(scratch: Arc<dyn Dir>, budget_bytes: usize) -> Self {
        let sorter = Sorter::new(Arc::clone(&scratch), "hashes", budget_bytes);
        Self { scratch, budget_bytes, sorter, key: Vec::new() }
    }

    pub(super) fn add(
        &mut self,
        (namespace, collection): (&str, &str),
        record: &StateRecord<'_>,
    ) -> Result<(), StoreError> {
        self.key.clear();
        record.version.encode_into(&mut self.key);
        for part in [namespace.as_bytes(), b"\0", collection.as_bytes(), b"\0", record.key] {
            self.key.extend_from_slice(part);
        }
        Ok(self.sorter.add(&self.key, record.value)?)
    }

    pub(super) fn finish(self) -> Result<MissingData, StoreError> {
        let rows = self.sorter.finish()?;
        Ok(MissingData { rows, scratch: self.scratch, budget_bytes: self.budget_bytes })
    }
}

/// Hashes of all private data, by what wrote them.
#[derive(Debug)]
pub struct MissingData {
    rows: Sorted,
    scratch: Arc<dyn Dir>,
    budget_bytes: usize,
}

impl MissingData {
    /// Makes the store's two runs of records, each ascending: first all of `put_hashes` (keys from `09` on), then all of `put_missing`
    /// (keys below `09`).
    ///
    /// # Errors
    /// [`StoreError`], and what the callbacks say.
    pub fn records<E: From<StoreError>>(
        mut self,
        id: &SnapshotId,
        collections: &CollectionHistory,
        put_hashes: Put<'_, E>,
        put_missing: Put<'_, E>,
    ) -> Result<(), E> {
        let mut keys = LevelKey::new(id.channel.as_str());
        let mut last_block = Vec::new();
        put_uvarint(&mut last_block, id.block_number.0);

        // Blocks come in ascending order, but most keys begin with something else: sorted once more.
        let mut others = Sorter::new(self.scratch, "missing", self.budget_bytes);
        let mut add = |key: &[u8], value: &[u8]| others.add(key, value).map_err(StoreError::from);
        let (mut block, mut boot) = (BlockEntries::default(), BootHashes::default());
        while let Some((key, value_hash)) = self.rows.next_record().map_err(StoreError::from)? {
            // The keeper wrote a height and two names, each with a NUL behind it; a scratch file is only proved at its end.
            let row = Row::split(key).ok_or(SortError::Record).map_err(StoreError::from)?;
            if row.version.block_number != block.block_number() {
                block.flush(&mut add)?;
                block = BlockEntries::of(row.version.block_number);
            }
            if row.group != boot.group {
                boot.flush(&mut keys, put_hashes)?;
                boot.group.extend_from_slice(row.group);
            }
            block.add(row.namespace, row.collection, row.version.tx_number, collections)?;
            boot.add(row.key_hash, value_hash);
        }
        block.flush(&mut add)?;
        boot.flush(&mut keys, put_hashes)?;
        put_hashes(keys.of(&[&[kind::BOOT_BLOCK]]), &last_block)?;

        put_missing(keys.of(&[&[kind::LAST_BLOCK]]), &last_block)?;
        let mut others = others.finish().map_err(StoreError::from)?;
        while let Some((key, value)) = others.next_record().map_err(StoreError::from)? {
            put_missing(keys.of(&[key]), value)?;
        }
        Ok(())
    }
}

/// A key of the rows.
struct Row<'a> {
    version: Height,
    namespace: &'a str,
    collection: &'a str,
    key_hash: &'a [u8],
    /// Version, namespace, NUL and collection: what the row shares with others in one record.
    group: &'a [u8],
}

impl<'a> Row<'a> {
    fn split(key: &'a [u8]) -> Option<Self> {
        let (version, rest) = Height::split(key)?;
        let (namespace, rest) = split_namespace(rest)?;
        let (collection, key_hash) = split_namespace(rest)?;
        let group = key.get(..key.len() - key_hash.len() - 1)?;
        Some(Self { version, namespace, collection, key_hash, group })
    }
}

/// Hashes that one transaction wrote in one collection: proto BootKVHashes.
#[derive(Debug, Default)]
struct BootHashes {
    group: Vec<u8>,
    list: Vec<u8>,
    pair: Vec<u8>,
}

impl BootHashes {
    fn add(&mut self, key_hash: &[u8], value_hash: &[u8]) {
        self.pair.clear();
        put_bytes(&mut self.pair, 1, key_hash);
        put_bytes(&mut self.pair, 2, value_hash);
        put_bytes(&mut self.list, 1, &self.pair);
    }

    fn flush<E>(&mut self, keys: &mut LevelKey, put: Put<'_, E>) -> Result<(), E> {
        if !self.list.is_empty() {
            put(keys.of(&[&[kind::BOOT_HASHES], &self.group]), &self.list)?;
        }
        self.group.clear();
        self.list.clear();
        Ok(())
    }
}
