//! What readers and writers of a table (`NNNNNN.ldb`) agree on (leveldb: doc/table_format.md; goleveldb: `leveldb/table/table.go`).
//!
//! ```text
//! table   = data block | data block | ... | [filter] | metaindex block | index block | footer
//! block   = content | 0: as it is, 1: Snappy | masked CRC-32C of both (u32 LE)
//! index   = one record for each data block: a key at or above its last one and below the next block's first -> handle
//! handle  = offset (varint) | length of the content (varint)
//! footer  = handle of the metaindex | handle of the index | zeros up to 40 bytes | magic
//! ```
//!
//! No filter is written, as a peer writes none.

use super::coding::{InternalKey, split_key};
use crate::ledger::leveldb::{Kind, SEQUENCE_MAX};
use crate::snapshot::protobuf::{put_uvarint, split_uvarint};

/// Longest block, in bytes: a block holds at most one record beyond its usual 4 KiB, and a value is at most 104 MiB
/// ([`crate::snapshot::ITEM_BYTES_MAX`]).
pub const BLOCK_BYTES_MAX: usize = 128 << 20;

/// Bytes behind the content: how it is compressed, and the checksum.
pub(super) const TRAILER_BYTES: usize = 5;
pub(super) const FOOTER_BYTES: usize = 48;
const HANDLES_BYTES: usize = 40;
const MAGIC: [u8; 8] = 0xdb47_7524_8b80_fb57_u64.to_le_bytes();

pub(super) const UNCOMPRESSED: u8 = 0;
pub(super) const SNAPPY: u8 = 1;

/// What's wrong with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableFault {
    /// The file isn't as long as the MANIFEST says.
    #[error("has {found} bytes, not {stated}")]
    Length {
        /// The file's bytes.
        found: u64,
        /// What the MANIFEST says.
        stated: u64,
    },
    /// It doesn't end as a table does.
    #[error("doesn't end with the footer of a table")]
    Footer,
    /// A block that lies where none can be, or overlaps another.
    #[error("names a block at byte {0} that can't be there")]
    Handle(u64),
    /// A block that isn't what was written.
    #[error("is damaged: the block at byte {0} has another checksum")]
    Checksum(u64),
    /// A block that is compressed in an unknown way, or can't be decompressed.
    #[error("holds a block at byte {0} that can't be decompressed")]
    Compression(u64),
    /// A block whose content is malformed.
    #[error("holds a malformed block at byte {0}")]
    Block(u64),
    /// A block longer than any real one.
    #[error("holds a block at byte {0} of more than {BLOCK_BYTES_MAX} bytes")]
    TooLong(u64),
    /// A key that is none, or isn't above the one before. Of a table that is written it is the caller's mistake.
    #[error("has a key that isn't above the one before")]
    Order,
    /// A key below the smallest or above the largest that the MANIFEST states.
    #[error("holds a key outside of the range that the MANIFEST states")]
    Range,
    /// No record at all.
    #[error("is a table without a record")]
    Empty,
}

/// Where a block lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle {
    pub(super) offset: u64,
    /// Bytes of the content, without the trailer.
    pub(super) len: u64,
}

impl Handle {
    pub(super) fn put(self, out: &mut Vec<u8>) {
        put_uvarint(out, self.offset);
        put_uvarint(out, self.len);
    }

    pub(super) fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (offset, rest) = split_uvarint(bytes).ok()??;
        let (len, rest) = split_uvarint(rest).ok()??;
        Some((Self { offset, len }, rest))
    }

    /// Where the block and its trailer end; `None` beyond 64 bits.
    pub(super) fn end(self) -> Option<u64> {
        self.offset.checked_add(self.len)?.checked_add(TRAILER_BYTES as u64)
    }
}

/// The end of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) metaindex: Handle,
    pub(super) index: Handle,
}

impl Footer {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_BYTES);
        self.metaindex.put(&mut out);
        self.index.put(&mut out);
        out.resize(HANDLES_BYTES, 0);
        out.extend_from_slice(&MAGIC);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let handles = bytes.strip_suffix(&MAGIC).filter(|handles| handles.len() == HANDLES_BYTES)?;
        let (metaindex, rest) = Handle::split(handles)?;
        let (index, padding) = Handle::split(rest)?;
        padding.iter().all(|&byte| byte == 0).then_some(Self { metaindex, index })
    }
}

/// The name of the table with this number.
pub(super) fn table_name(number: u64) -> String {
    format!("{number:06}.ldb")
}

/// A short internal key at or above `last` and below `next`, for the index; `last < next`.
pub(super) fn separator(last: &[u8], next: &[u8]) -> Vec<u8> {
    let (Some((last_user, _)), Some((next_user, _))) = (split_key(last), split_key(next)) else { return last.to_vec() };
    let shared = super::coding::shared_prefix(last_user, next_user);
    let shorter = match (last_user.get(shared), next_user.get(shared)) {
        // One above the first byte that differs is enough, if it stays below the next key.
        (Some(&low), Some(&high)) if low < 0xff && low + 1 < high && shared + 1 < last_user.len() => {
            let common = last_user.get(..shared).unwrap_or_default();
            [common, &[low + 1]].concat()
        }
        _ => return last.to_vec(),
    };
    // Above all versions of a key that the shorter one could be.
    InternalKey::new(&shorter, SEQUENCE_MAX, Kind::Put).as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footer_comes_back_and_nothing_else_does() {
        let footer = Footer { metaindex: Handle { offset: 300, len: 8 }, index: Handle { offset: 313, len: 70_000 } };
        let bytes = footer.encode();
        let golden = b"\xac\x02\x08\xb9\x02\xf0\xa2\x04";
        assert_eq!((&bytes[..8], bytes.len()), (&golden[..], FOOTER_BYTES));
        assert_eq!(bytes[40..], *b"\x57\xfb\x80\x8b\x24\x75\x47\xdb");
        assert_eq!(Footer::decode(&bytes), Some(footer));
        assert_eq!(Footer::decode(&bytes[1..]), None);
        for at in 8..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Footer::decode(&damaged), None, "{at}");
        }
        assert_eq!(Handle { offset: u64::MAX - 4, len: 0 }.end(), None);
    }

    #[test]
    fn a_separator_lies_between_its_keys() {
        let key = |user: &str, sequence| InternalKey::new(user.as_bytes(), sequence, Kind::Put);
        for (last, next, expected) in [
            ("abcdef", "abzz", "abd"),
            ("abc", "abd", "abc"),
            ("ab", "abc", "ab"),
            ("abcx", "abd", "abcx"),
            ("a", "z", "a"),
        ] {
            let (last, next) = (key(last, 7), key(next, 7));
            let found = InternalKey::decode(&separator(last.as_bytes(), next.as_bytes())).unwrap();
            assert_eq!(found.user_key(), expected.as_bytes());
            assert!(last <= found && found < next);
        }
        let (newer, older) = (key("a", 9), key("a", 7));
        assert_eq!(separator(newer.as_bytes(), older.as_bytes()), newer.as_bytes());
    }
}
