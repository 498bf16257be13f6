//! What the keys of all stores are made of: the channel's name in front, numbers that sort, and namespaces.

use super::KeyRange;
use crate::snapshot::{BlockNumber, Height};

/// Ends the name of a logical database, a namespace and a collection in a key (fabric: common/ledger/util/leveldbhelper).
const NUL: u8 = 0;

/// Builds keys of one logical database, one after the other: its name (of a channel, or more exactly `C/0`), NUL, and the rest.
#[derive(Debug, Clone)]
pub struct LevelKey {
    bytes: Vec<u8>,
    prefix_bytes: usize,
}

impl LevelKey {
    /// Keys of the logical database `name`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let bytes = [name.as_bytes(), &[NUL]].concat();
        Self { prefix_bytes: bytes.len(), bytes }
    }

    /// The key whose rest is these parts. It lies here until the next one is asked for.
    pub fn of(&mut self, parts: &[&[u8]]) -> &[u8] {
        self.bytes.truncate(self.prefix_bytes);
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        &self.bytes
    }

    /// The rest of a key; `None` if it belongs to another logical database.
    #[must_use]
    pub fn rest_of<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        key.strip_prefix(self.bytes.get(..self.prefix_bytes)?)
    }

    /// All keys of this logical database.
    #[must_use]
    pub fn range(&self) -> KeyRange {
        let start = self.bytes.get(..self.prefix_bytes).unwrap_or_default().to_vec();
        let mut end = start.clone();
        end.pop();
        end.push(NUL + 1);
        start..end
    }
}

/// Appends a number so that higher ones sort first: one byte that counts the leading ff bytes of 2^64-1 minus the number, then its
/// other bytes (fabric: core/ledger/pvtdatastorage/kv_encoding.go).
pub fn put_reversed(out: &mut Vec<u8>, value: u64) {
    let reversed = u64::MAX - value;
    let full = reversed.leading_ones() as usize / 8;
    out.push(full as u8);
    out.extend(reversed.to_be_bytes().into_iter().skip(full));
}

/// Splits such a number off; `None` unless it is what [`put_reversed`] writes.
#[must_use]
pub fn split_reversed(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (&full, rest) = bytes.split_first()?;
    let (digits, rest) = rest.split_at_checked(8_usize.checked_sub(full.into())?)?;
    if digits.first() == Some(&0xff) {
        return None;
    }
    // What is missing in front are bytes ff.
    let reversed = digits.iter().fold(u64::MAX, |value, &digit| value << 8 | u64::from(digit));
    Some((u64::MAX - reversed, rest))
}

/// Splits a namespace or a collection off: the text up to the next NUL, and what follows it.
#[must_use]
pub fn split_namespace(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|&byte| byte == NUL)?;
    let (name, rest) = bytes.split_at_checked(end)?;
    Some((str::from_utf8(name).ok()?, rest.get(1..)?))
}

/// Rest of the key under which state and history keep the height up to which they are complete.
pub(super) const SAVEPOINT: &[u8] = b"s";

/// Value of a savepoint behind a block: the highest transaction number there can be.
pub(super) fn savepoint(block_number: BlockNumber) -> Vec<u8> {
    let mut value = Vec::new();
    Height { block_number, tx_number: u64::MAX }.encode_into(&mut value);
    value
}

/// What a record of the state or the history is, if it is the savepoint: the height up to which the store is complete.
#[must_use]
pub fn savepoint_of(rest_of_key: &[u8], value: &[u8]) -> Option<Height> {
    if rest_of_key == SAVEPOINT { Height::decode(value) } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::snapshot::{put_ordered, split_ordered};

    fn reversed(value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        put_reversed(&mut out, value);
        out
    }

    fn ordered(value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        put_ordered(&mut out, value);
        out
    }

    #[test]
    fn reversed_numbers_are_fabrics() {
        for (value, bytes) in [
            (0, &[8][..]),
            (129, &[7, 0x7e]),
            (255, &[7, 0]),
            (256, &[6, 0xfe, 0xff]),
            (u64::MAX - 1, &[0, 0, 0, 0, 0, 0, 0, 0, 1]),
            (u64::MAX, &[0; 9]),
        ] {
            assert_eq!(reversed(value), bytes, "{value}");
        }
        // Empty, too many leading bytes, one that should have been counted, torn.
        for bad in [&[][..], &[9], &[7, 0xff], &[6, 1]] {
            assert_eq!(split_reversed(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn keys_belong_to_their_database_and_savepoints_are_read_back() {
        let mut keys = LevelKey::new("ch/0");
        assert_eq!(keys.of(&[b"a", b"\0b"]), b"ch/0\0a\0b");
        assert_eq!(keys.of(&[]), b"ch/0\0");
        assert_eq!(keys.rest_of(b"ch/0\0x"), Some(&b"x"[..]));
        assert_eq!(keys.rest_of(b"ch/00"), None);
        let value = savepoint(BlockNumber(132));
        assert_eq!(value, b"\x01\x84\x08\xff\xff\xff\xff\xff\xff\xff\xff");
        let height = Height { block_number: BlockNumber(132), tx_number: u64::MAX };
        assert_eq!(savepoint_of(b"s", &value), Some(height));
        assert_eq!(savepoint_of(b"s", b""), None);
        assert_eq!(savepoint_of(b"d", &value), None);
        assert_eq!(split_namespace(b"cc\0coll\0"), Some(("cc", &b"coll\0"[..])));
        assert_eq!(split_namespace(b"cc"), None);
        assert_eq!(split_namespace(b"\xff\0"), None);
    }

    /// Numbers of every length.
    fn number() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0_u32..64).prop_map(|(value, shift)| value >> shift)
    }

    proptest! {
        #[test]
        fn numbers_come_back_and_sort(a in number(), b in number()) {
            prop_assert_eq!(ordered(a).cmp(&ordered(b)), a.cmp(&b));
            prop_assert_eq!(reversed(a).cmp(&reversed(b)), b.cmp(&a));
            let (ordered, reversed) = ([ordered(a), vec![7]].concat(), [reversed(a), vec![7]].concat());
            prop_assert_eq!(split_ordered(&ordered), Some((a, &[7][..])));
            prop_assert_eq!(split_reversed(&reversed), Some((a, &[7][..])));
        }

        #[test]
        fn what_is_read_is_what_would_be_written(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            for (split, put) in [
                (split_reversed as fn(&[u8]) -> Option<(u64, &[u8])>, put_reversed as fn(&mut Vec<u8>, u64)),
                (split_ordered, put_ordered),
            ] {
                if let Some((value, rest)) = split(&bytes) {
                    let mut again = Vec::new();
                    put(&mut again, value);
                    again.extend(rest);
                    prop_assert_eq!(&again, &bytes);
                }
            }
        }
    }
}
