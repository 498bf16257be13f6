//! What one block wrote, collection by collection: which transactions' data are missing, and what of it will expire when.

use std::collections::BTreeMap;

use super::{
    CollectionHistory, Put, StoreError, TxSet, bitset, private_data::kind, put_reversed, split_namespace,
    split_reversed,
};
use crate::snapshot::{
    BlockNumber,
    protobuf::{put_bytes, put_number, put_uvarint},
    put_ordered,
};

/// Most private keys that a block writes, and most transactions in it. Blocks reach peers in messages of at most 100 MiB
/// (fabric: `comm.DefaultMaxRecvMsgSize`), and a hashed write takes 64 bytes of it at the least.
pub const BLOCK_KEYS_MAX: u64 = 2 << 20;

/// What a block wrote.
#[derive(Debug, Default)]
pub(super) struct BlockEntries {
    block_number: BlockNumber,
    collections: BTreeMap<String, BTreeMap<String, Collection>>,
    keys: u64,
}

#[derive(Debug)]
struct Collection {
    is_eligible: bool,
    expiring: Option<BlockNumber>,
    /// Of each key, ascending.
    tx_numbers: Vec<u64>,
}

impl BlockEntries {
    pub(super) fn of(block_number: BlockNumber) -> Self {
        Self { block_number, ..Self::default() }
    }

    pub(super) const fn block_number(&self) -> BlockNumber {
        self.block_number
    }

    /// Adds a key; transactions come in ascending order.
    pub(super) fn add(
        &mut self,
        namespace: &str,
        collection: &str,
        tx_number: u64,
        history: &CollectionHistory,
    ) -> Result<(), StoreError> {
        let (block_number, max) = (self.block_number, BLOCK_KEYS_MAX);
        self.keys += 1;
        if self.keys > BLOCK_KEYS_MAX {
            return Err(StoreError::BlockKeys { block_number, max });
        }
        if tx_number >= BLOCK_KEYS_MAX {
            return Err(StoreError::TxNumber { block_number, tx_number, max });
        }
        let known = self.collections.get_mut(namespace).and_then(|collections| collections.get_mut(collection));
        if let Some(known) = known {
            known.tx_numbers.push(tx_number);
            return Ok(());
        }
        let entry = Collection {
            is_eligible: history.is_eligible(namespace, collection, block_number)?,
            expiring: history.private_data_expiry(namespace, collection, block_number),
            tx_numbers: vec![tx_number],
        };
        self.collections.entry(namespace.to_owned()).or_default().insert(collection.to_owned(), entry);
        Ok(())
    }

    /// Makes the block's records, in no order.
    pub(super) fn flush(&self, add: Put<'_, StoreError>) -> Result<(), StoreError> {
        let mut expiring: BTreeMap<BlockNumber, BTreeMap<&str, BTreeMap<&str, &[u64]>>> = BTreeMap::new();
        for (namespace, collections) in &self.collections {
            for (collection, entry) in collections {
                let key =
                    MissingKey { namespace, collection, written: self.block_number, is_eligible: entry.is_eligible };
                add(&key.encode(), &bitset::encode(&entry.tx_numbers))?;
                if let Some(block) = entry.expiring {
                    expiring
                        .entry(block)
                        .or_default()
                        .entry(namespace)
                        .or_default()
                        .insert(collection, &entry.tx_numbers);
                }
            }
        }
        for (block, namespaces) in &expiring {
            let mut key = vec![kind::EXPIRY];
            put_ordered(&mut key, block.0);
            put_ordered(&mut key, self.block_number.0);
            add(&key, &expiry_data(namespaces))?;
        }
        Ok(())
    }
}

/// Proto ExpiryData: by namespace and collection that something is missing, and of each key the transaction. Go writes a map's entries in
/// random order, this in that of the names.
fn expiry_data(namespaces: &BTreeMap<&str, BTreeMap<&str, &[u64]>>) -> Vec<u8> {
    let mut out = Vec::new();
    for (namespace, collections) in namespaces {
        let mut all = Vec::new();
        for collection in collections.keys() {
            let mut missing = Vec::new();
            put_bytes(&mut missing, 1, collection.as_bytes());
            put_number(&mut missing, 2, 1);
            put_bytes(&mut all, 2, &missing);
        }
        for (collection, tx_numbers) in collections {
            let (mut packed, mut list, mut boot) = (Vec::new(), Vec::new(), Vec::new());
            tx_numbers.iter().for_each(|&number| put_uvarint(&mut packed, number));
            put_bytes(&mut list, 1, &packed);
            put_bytes(&mut boot, 1, collection.as_bytes());
            put_bytes(&mut boot, 2, &list);
            put_bytes(&mut all, 3, &boot);
        }
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, namespace.as_bytes());
        put_bytes(&mut entry, 2, &all);
        put_bytes(&mut out, 1, &entry);
    }
    out
}

/// Key of a record of missing data; its value is a [`TxSet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MissingKey<'a> {
    /// The chaincode.
    pub namespace: &'a str,
    /// The collection.
    pub collection: &'a str,
    /// The block that wrote the data.
    pub written: BlockNumber,
    /// Whether the peer may have them: then the reconciler asks for them.
    pub is_eligible: bool,
}

impl<'a> MissingKey<'a> {
    fn encode(&self) -> Vec<u8> {
        let mut block = Vec::new();
        put_reversed(&mut block, self.written.0);
        let (namespace, collection) = (self.namespace.as_bytes(), self.collection.as_bytes());
        if self.is_eligible {
            [&[kind::ELIGIBLE], block.as_slice(), namespace, b"\0", collection].concat()
        } else {
            [&[kind::INELIGIBLE], namespace, b"\0", collection, b"\0", &block].concat()
        }
    }

    /// Reads a record whose key has lost the channel's name ([`super::LevelKey::rest_of`]); `None` if it is no record of missing data.
    #[must_use]
    pub fn decode(rest_of_key: &'a [u8], value: &[u8]) -> Option<(Self, TxSet)> {
        let (&first, rest) = rest_of_key.split_first()?;
        let key = match first {
            kind::ELIGIBLE => {
                let (written, rest) = split_reversed(rest)?;
                let (namespace, collection) = split_namespace(rest)?;
                let collection = str::from_utf8(collection).ok()?;
                Self { namespace, collection, written: BlockNumber(written), is_eligible: true }
            }
            kind::INELIGIBLE => {
                let (namespace, rest) = split_namespace(rest)?;
                let (collection, rest) = split_namespace(rest)?;
                let (written, []) = split_reversed(rest)? else { return None };
                Self { namespace, collection, written: BlockNumber(written), is_eligible: false }
            }
            _ => return None,
        };
        Some((key, TxSet::decode(value)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{ConfigHistoryEntry, protobuf::put_bytes};

    /// Chaincode `cc`, committed by block 1: the peer is in `in`, whose data live for 5 blocks, and not in `out`, whose data live for 9.
    fn history() -> CollectionHistory {
        let mut package = Vec::new();
        for config in
            [&b"\x0a\x02in\x12\x0f\x0a\x0d\x1a\x0b\x12\x09\x0a\x07Org1MSP\x28\x05"[..], b"\x0a\x03out\x28\x09"]
        {
            let mut collection = Vec::new();
            put_bytes(&mut collection, 1, config);
            put_bytes(&mut package, 1, &collection);
        }
        let mut history = CollectionHistory::new("Org1MSP");
        let entry = ConfigHistoryEntry { chaincode: "cc", block_number: BlockNumber(1), package: &package };
        history.add(&entry).unwrap();
        history
    }

    #[test]
    fn the_records_of_a_block_say_what_is_missing_and_when_that_expires() {
        let history = history();
        let mut block = BlockEntries::of(BlockNumber(7));
        for (collection, tx_number) in [("in", 0), ("out", 1), ("in", 3), ("in", 3), ("_implicit_org_Org2MSP", 3)] {
            block.add("cc", collection, tx_number, &history).unwrap();
        }
        let mut records = BTreeMap::new();
        block
            .flush(&mut |key, value| {
                records.insert(key.to_vec(), value.to_vec());
                Ok(())
            })
            .unwrap();
        let expected: [(&[u8], &[u8]); 5] = [
            (
                b"\x03\x01\x0d\x01\x07",
                b"\x0a\x1b\x0a\x02cc\x12\x15\x12\x06\x0a\x02in\x10\x01\x1a\x0b\x0a\x02in\x12\x05\x0a\x03\x00\x03\x03",
            ),
            (
                b"\x03\x01\x11\x01\x07",
                b"\x0a\x1b\x0a\x02cc\x12\x15\x12\x07\x0a\x03out\x10\x01\x1a\x0a\x0a\x03out\x12\x03\x0a\x01\x01",
            ),
            (b"\x04\x07\xf8cc\0in", b"\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x09"),
            (b"\x05cc\0_implicit_org_Org2MSP\0\x07\xf8", b"\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\x08"),
            (b"\x05cc\0out\0\x07\xf8", b"\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x02"),
        ];
        assert!(records.iter().map(|(key, value)| (key.as_slice(), value.as_slice())).eq(expected), "{records:02x?}");
        let (key, transactions) = MissingKey::decode(expected[4].0, expected[4].1).unwrap();
        assert_eq!((key.collection, key.written, key.is_eligible), ("out", BlockNumber(7), false));
        assert_eq!(transactions.iter().collect::<Vec<_>>(), [1]);
    }

    /// R1: keys and transactions of a block.
    #[test]
    fn keys_and_transactions_of_a_block_are_bounded() {
        let history = history();
        let mut block = BlockEntries::of(BlockNumber(7));
        block.add("cc", "in", BLOCK_KEYS_MAX - 1, &history).unwrap();
        let error = block.add("cc", "in", BLOCK_KEYS_MAX, &history).unwrap_err();
        assert!(matches!(error, StoreError::TxNumber { tx_number: BLOCK_KEYS_MAX, .. }), "{error}");
        block.keys = BLOCK_KEYS_MAX - 1;
        block.add("cc", "in", BLOCK_KEYS_MAX - 1, &history).unwrap();
        let error = block.add("cc", "in", BLOCK_KEYS_MAX - 1, &history).unwrap_err();
        assert!(matches!(error, StoreError::BlockKeys { block_number: BlockNumber(7), .. }), "{error}");
    }
}
