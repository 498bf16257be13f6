//! The bookkeeper: which hashes of the state expire with which block, and which namespaces have metadata
//! (fabric: core/ledger/kvledger/txmgmt/pvtstatepurgemgmt and .../privacyenabledstate).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{BLOCK_KEYS_MAX, LevelKey, Put, StoreError, split_namespace};
use crate::{
    disk::Dir,
    ledger::{SortError, Sorted, Sorter},
    snapshot::{BlockNumber, ChannelId, StateRecord, protobuf::put_bytes, put_ordered, split_ordered},
};

/// In front of an expiring block's number.
const EXPIRY: u8 = b'1';

/// Gathers what expires. The file's order is that of keys, so they are sorted by block.
#[derive(Debug)]
pub(super) struct ExpiryKeeper {
    sorter: Sorter,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl ExpiryKeeper {
    pub(super) fn new(scratch: Arc<dyn Dir>, budget_bytes: usize) -> Self {
        Self { sorter: Sorter::new(scratch, "expiry", budget_bytes), key: Vec::new(), value: Vec::new() }
    }

    /// The hash of a key, which `written` wrote and `expiring` purges.
    pub(super) fn add(
        &mut self,
        expiring: BlockNumber,
        written: BlockNumber,
        (namespace, collection): (&str, &str),
        key_hash: &[u8],
    ) -> Result<(), StoreError> {
        self.key.clear();
        put_ordered(&mut self.key, expiring.0);
        put_ordered(&mut self.key, written.0);
        self.value.clear();
        for part in [namespace.as_bytes(), b"\0", collection.as_bytes(), b"\0", key_hash] {
            self.value.extend_from_slice(part);
        }
        Ok(self.sorter.add(&self.key, &self.value)?)
    }

    pub(super) fn finish(self) -> Result<Expiries, StoreError> {
        Ok(Expiries(self.sorter.finish()?))
    }
}

/// What expires, by expiring block.
#[derive(Debug)]
pub struct Expiries(Sorted);

/// Keys of one record: lists of hashes, encoded, by namespace and collection.
type Hashes = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

impl Expiries {
    /// Makes the run of records, ascending: each is written once, with all keys that one block wrote and another one will purge.
    ///
    /// # Errors
    /// [`StoreError::Sort`], [`StoreError::BlockKeys`], and what `put` says.
    pub fn records<E: From<StoreError>>(self, channel: &ChannelId, put: Put<'_, E>) -> Result<(), E> {
        self.bounded_records(channel, BLOCK_KEYS_MAX, put)
    }

    fn bounded_records<E: From<StoreError>>(mut self, channel: &ChannelId, max: u64, put: Put<'_, E>) -> Result<(), E> {
        let mut keys = LevelKey::new(&format!("{channel}/0"));
        let (mut group, mut hashes, mut count) = (Vec::new(), Hashes::new(), 0);
        while let Some((key, value)) = self.0.next_record().map_err(StoreError::from)? {
            if key != group {
                if count > 0 {
                    put(keys.of(&[&[EXPIRY], &group]), &encode_keys(&std::mem::take(&mut hashes)))?;
                }
                (group, count) = (key.to_vec(), 0);
            }
            count += 1;
            if count > max {
                let written =
                    split_ordered(key).and_then(|(_, rest)| split_ordered(rest)).map_or(0, |(block, _)| block);
                return Err(StoreError::BlockKeys { block_number: BlockNumber(written), max }.into());
            }
            let parts = split_namespace(value).and_then(|(namespace, rest)| {
                split_namespace(rest).map(|(collection, hash)| (namespace, collection, hash))
            });
            // The keeper wrote two names, each with a NUL behind it; a scratch file is only proved at its end.
            let (namespace, collection, hash) = parts.ok_or(SortError::Record).map_err(StoreError::from)?;
            let mut key_and_hash = Vec::new();
            put_bytes(&mut key_and_hash, 2, hash);
            put_bytes(list_of(&mut hashes, namespace, collection), 1, &key_and_hash);
        }
        if count > 0 {
            put(keys.of(&[&[EXPIRY], &group]), &encode_keys(&hashes))?;
        }
        Ok(())
    }
}

fn list_of<'h>(hashes: &'h mut Hashes, namespace: &str, collection: &str) -> &'h mut Vec<u8> {
    if !hashes.get(namespace).is_some_and(|collections| collections.contains_key(collection)) {
        hashes.entry(namespace.to_owned()).or_default().insert(collection.to_owned(), Vec::new());
    }
    hashes.get_mut(namespace).and_then(|collections| collections.get_mut(collection)).expect("it is there by now")
}

/// Proto PvtdataKeys. Go writes a map's entries in random order, this in that of the names.
fn encode_keys(hashes: &Hashes) -> Vec<u8> {
    let mut out = Vec::new();
    for (namespace, collections) in hashes {
        let (mut all, mut entry) = (Vec::new(), Vec::new());
        for (collection, list) in collections {
            let mut entry = Vec::new();
            put_bytes(&mut entry, 1, collection.as_bytes());
            put_bytes(&mut entry, 2, list);
            put_bytes(&mut all, 1, &entry);
        }
        put_bytes(&mut entry, 1, namespace.as_bytes());
        put_bytes(&mut entry, 2, &all);
        put_bytes(&mut out, 1, &entry);
    }
    out
}

/// Namespaces in which any record has metadata: in others a peer doesn't look for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetadataHints(BTreeSet<String>);

impl MetadataHints {
    /// Adds a record of a namespace (that of the chaincode, also for hashes).
    pub(super) fn add(&mut self, namespace: &str, record: &StateRecord<'_>) {
        if !record.metadata.is_empty() && !self.0.contains(namespace) {
            self.0.insert(namespace.to_owned());
        }
    }

    /// Joins what another file had.
    pub fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Makes the run of records, ascending.
    ///
    /// # Errors
    /// What `put` says.
    pub fn records<E>(&self, channel: &ChannelId, put: Put<'_, E>) -> Result<(), E> {
        let mut keys = LevelKey::new(&format!("{channel}/1"));
        self.0.iter().try_for_each(|namespace| put(keys.of(&[namespace.as_bytes()]), b""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::OsDir;

    /// Expiring block, writing block, namespace and collection, hash.
    type Key<'a> = (u64, u64, (&'a str, &'a str), &'a [u8]);

    fn expiries(keys: &[Key<'_>]) -> (tempfile::TempDir, Expiries) {
        let temp = tempfile::tempdir().unwrap();
        let mut keeper = ExpiryKeeper::new(OsDir::open(temp.path()).unwrap(), 50);
        for &(expiring, written, collection, hash) in keys {
            keeper.add(BlockNumber(expiring), BlockNumber(written), collection, hash).unwrap();
        }
        (temp, keeper.finish().unwrap())
    }

    #[test]
    fn keys_of_the_same_blocks_are_one_record_by_namespace_and_collection_in_file_order() {
        let (_temp, expiries) = expiries(&[
            (300, 7, ("b", "x"), b"h1"),
            (9, 8, ("a", "y"), b"h2"),
            (300, 7, ("a", "y"), b"h4"),
            (300, 7, ("a", "x"), b"h9"),
            (300, 7, ("a", "y"), b"h3"),
        ]);
        let mut records = Vec::new();
        let put = &mut |key: &[u8], value: &[u8]| {
            records.push((key.to_vec(), value.to_vec()));
            Ok::<_, StoreError>(())
        };
        expiries.records(&"ch".parse().unwrap(), put).unwrap();
        let of_a_x = b"\x0a\x0b\x0a\x01x\x12\x06\x0a\x04\x12\x02h9";
        let of_a_y = b"\x0a\x11\x0a\x01y\x12\x0c\x0a\x04\x12\x02h4\x0a\x04\x12\x02h3";
        let of_b = b"\x0a\x12\x0a\x01b\x12\x0d\x0a\x0b\x0a\x01x\x12\x06\x0a\x04\x12\x02h1";
        let of_a = [&b"\x0a\x25\x0a\x01a\x12\x20"[..], of_a_x, of_a_y].concat();
        let expected = [
            (
                b"ch/0\x001\x01\x09\x01\x08".to_vec(),
                b"\x0a\x12\x0a\x01a\x12\x0d\x0a\x0b\x0a\x01y\x12\x06\x0a\x04\x12\x02h2".to_vec(),
            ),
            (b"ch/0\x001\x02\x01\x2c\x01\x07".to_vec(), [&of_a[..], of_b].concat()),
        ];
        assert_eq!(records, expected);
    }

    /// R1: keys that one block wrote.
    #[test]
    fn a_record_has_no_more_keys_than_a_block_can_write() {
        let keys = [(9, 8, ("a", "y"), &b"h"[..]); 3];
        let channel = "ch".parse().unwrap();
        let bounded = |keys, max| expiries(keys).1.bounded_records(&channel, max, &mut |_, _| Ok::<_, StoreError>(()));
        bounded(&keys, 3).unwrap();
        let error = bounded(&keys, 2).unwrap_err();
        assert!(matches!(error, StoreError::BlockKeys { block_number: BlockNumber(8), max: 2 }), "{error}");
    }
}
