//! When which private data go: what the private data store notes of a block whose data don't live for ever.

use super::private_data::kind;
use crate::snapshot::{
    BlockNumber, Height,
    protobuf::{Fields, Value},
    put_ordered,
};

/// A record of what expires (fabric: core/ledger/pvtdatastorage, proto ExpiryData).
#[derive(Debug, PartialEq, Eq)]
pub struct Expiring<'a> {
    /// The block with which it expires. The peer removes it later, every 100 blocks (fabric: ledger.pvtdataStore.purgeInterval).
    pub at: BlockNumber,
    /// The block that wrote it.
    pub written: BlockNumber,
    /// Chaincodes and collections of which data of that block were missing when it was written.
    pub missing: Vec<(&'a str, &'a str)>,
}

impl<'a> Expiring<'a> {
    /// The part of a key, behind the channel's name, with which the records of all blocks up to `at` begin before it.
    #[must_use]
    pub fn behind(at: BlockNumber) -> Vec<u8> {
        let mut key = vec![kind::EXPIRY];
        put_ordered(&mut key, at.0.saturating_add(1));
        key
    }

    /// Where they begin.
    #[must_use]
    pub const fn first() -> [u8; 1] {
        [kind::EXPIRY]
    }

    /// Reads a record whose key has lost the channel's name; `None` if it is no such record.
    #[must_use]
    pub fn decode(rest_of_key: &[u8], value: &'a [u8]) -> Option<Self> {
        let (&kind::EXPIRY, height) = rest_of_key.split_first()? else { return None };
        // Two numbers as in a height, though the second is no transaction.
        let (height, []) = Height::split(height)? else { return None };
        let mut missing = Vec::new();
        for namespace in entries(value, 1) {
            let (namespace, collections) = namespace?;
            for collection in entries(collections?, 2) {
                missing.push((namespace, collection?.0));
            }
        }
        Some(Self { at: height.block_number, written: BlockNumber(height.tx_number), missing })
    }
}

/// Keys of the map in that field, with what they stand for if that is a message.
fn entries(message: &[u8], map: u32) -> impl Iterator<Item = Option<(&str, Option<&[u8]>)>> {
    Fields::of(message).filter_map(move |field| match field {
        Ok((field, Value::Bytes(entry))) if field == map => Some(entry_of(entry)),
        Ok(_) => None,
        Err(_) => Some(None),
    })
}

fn entry_of(entry: &[u8]) -> Option<(&str, Option<&[u8]>)> {
    let (mut key, mut value) = ("", None);
    for field in Fields::of(entry) {
        match field.ok()? {
            (1, Value::Bytes(bytes)) => key = str::from_utf8(bytes).ok()?,
            (2, Value::Bytes(bytes)) => value = Some(bytes),
            _ => {}
        }
    }
    Some((key, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the loader writes it for a block, and the peer for one whose data it had: with field 1 beside.
    #[test]
    fn what_is_missing_of_a_block_is_read_and_torn_records_are_not() {
        let key = b"\x03\x01\x0d\x01\x07";
        let value =
            b"\x0a\x1b\x0a\x02cc\x12\x15\x12\x06\x0a\x02in\x10\x01\x1a\x0b\x0a\x02in\x12\x05\x0a\x03\x00\x03\x03";
        let read = Expiring::decode(key, value).unwrap();
        assert_eq!(read, Expiring { at: BlockNumber(13), written: BlockNumber(7), missing: vec![("cc", "in")] });
        let had = b"\x0a\x0f\x0a\x02cc\x12\x09\x0a\x07\x0a\x02in\x12\x01\x00";
        assert_eq!(Expiring::decode(key, had).unwrap().missing, []);
        for len in 0..key.len() {
            assert_eq!(Expiring::decode(&key[..len], value), None, "{len}");
        }
        for len in 1..value.len() {
            assert_eq!(Expiring::decode(key, &value[..len]), None, "{len}");
        }
        assert_eq!(Expiring::decode(b"\x04\x01\x0d\x01\x07", value), None);
        assert_eq!(Expiring::behind(BlockNumber(13)), b"\x03\x01\x0e");
    }
}
