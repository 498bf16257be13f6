//! Checksums and internal keys, as all files of a database have them (leveldb: `db/dbformat.h`, `util/crc32c.h`).

use std::cmp::Ordering;

use super::SEQUENCE_MAX;

/// CRC-32C of the parts together, masked: what holds checksums is itself checksummed.
pub(crate) fn masked_crc(parts: &[&[u8]]) -> u32 {
    let crc = parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part));
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// What a record does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The key has no value from here on.
    Deletion = 0,
    /// The key has this value from here on.
    Put = 1,
}

/// A key with the number of its write: ascending by user key, then newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InternalKey(Vec<u8>);

impl InternalKey {
    /// The key of one write.
    #[must_use]
    pub fn new(user_key: &[u8], sequence: u64, kind: Kind) -> Self {
        Self([user_key, &(sequence << 8 | kind as u64).to_le_bytes()].concat())
    }

    /// Takes a key of a file.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (_, tag) = bytes.split_last_chunk::<8>()?;
        (u64::from_le_bytes(*tag) & 0xff <= Kind::Put as u64).then(|| Self(bytes.to_vec()))
    }

    /// As it is in a file.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key without number and kind.
    #[must_use]
    pub fn user_key(&self) -> &[u8] {
        self.0.split_last_chunk::<8>().map_or(&[], |(key, _)| key)
    }

    fn tag(&self) -> u64 {
        self.0.last_chunk().map_or(0, |tag| u64::from_le_bytes(*tag))
    }

    /// The number of its write.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.tag() >> 8 & SEQUENCE_MAX
    }

    /// What it does.
    #[must_use]
    pub fn kind(&self) -> Kind {
        if self.tag() & 0xff == 0 { Kind::Deletion } else { Kind::Put }
    }
}

impl Ord for InternalKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.user_key().cmp(other.user_key()).then_with(|| other.tag().cmp(&self.tag()))
    }
}

impl PartialOrd for InternalKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The user key of an internal key, and its number and kind in one.
#[inline]
pub(super) fn split_key(key: &[u8]) -> Option<(&[u8], u64)> {
    key.split_last_chunk::<8>().map(|(user_key, tag)| (user_key, u64::from_le_bytes(*tag)))
}

/// The order of internal keys as they are in a file.
#[inline]
pub(super) fn compare_keys(one: &[u8], other: &[u8]) -> Ordering {
    let (one, other) = (split_key(one), split_key(other));
    let users = one.map(|(user_key, _)| user_key).cmp(&other.map(|(user_key, _)| user_key));
    users.then_with(|| other.map(|(_, tag)| tag).cmp(&one.map(|(_, tag)| tag)))
}

/// How many bytes at their beginning are the same.
#[inline]
pub(super) fn shared_prefix(one: &[u8], other: &[u8]) -> usize {
    let (words, _) = one.as_chunks::<8>();
    let (other_words, _) = other.as_chunks::<8>();
    let mut shared = 0;
    for (word, other_word) in words.iter().zip(other_words) {
        let differs = u64::from_le_bytes(*word) ^ u64::from_le_bytes(*other_word);
        if differs != 0 {
            return shared + differs.trailing_zeros() as usize / 8;
        }
        shared += 8;
    }
    let rest = one.iter().skip(shared).zip(other.iter().skip(shared));
    shared + rest.take_while(|(byte, other_byte)| byte == other_byte).count()
}

/// A table of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableMeta {
    /// Its file's number.
    pub number: u64,
    /// Its length.
    pub bytes: u64,
    /// Its first key.
    pub smallest: InternalKey,
    /// Its last key.
    pub largest: InternalKey,
}
