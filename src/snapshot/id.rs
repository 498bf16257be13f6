//! Which snapshot: a channel and the last block in it; and the numbers that must not be mixed.

use std::{borrow::Cow, fmt, num::ParseIntError, str::FromStr};

/// Bytes in a chunk: an aligned 1 MiB group of a file's BLAKE3 tree. The last chunk of a file is shorter.
pub const CHUNK_BYTES: u64 = 1 << 20;

/// A channel name that Fabric allows: `[a-z][a-z0-9.-]*`, at most 249 bytes (fabric: common/configtx/validator.go).
///
/// So it is safe as a folder name: no separator, never `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(String);

/// A text that is no channel name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no channel name: lower-case letters, digits, '.' and '-', a letter first, at most 249 bytes")]
pub struct ChannelIdError(String);

impl ChannelId {
    const BYTES_MAX: usize = 249;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The beginning of a file's name that is of this channel alone, and leaves room for more: the channel's name, or of a very long one the first
    /// part and a hash.
    #[must_use]
    pub fn stem(&self) -> Cow<'_, str> {
        match self.0.get(..STEM_BYTES_MAX - STEM_HASH_DIGITS - 1).filter(|_| self.0.len() > STEM_BYTES_MAX) {
            None => Cow::Borrowed(&self.0),
            Some(first) => {
                let hash = blake3::hash(self.0.as_bytes()).to_hex();
                // No channel's own name has a '~' in it.
                Cow::Owned(format!("{first}~{}", hash.get(..STEM_HASH_DIGITS).unwrap_or_default()))
            }
        }
    }
}

/// File systems allow names of 255 bytes; a block number and whatever else follows need less than a hundred.
const STEM_BYTES_MAX: usize = 150;
const STEM_HASH_DIGITS: usize = 32;

impl FromStr for ChannelId {
    type Err = ChannelIdError;
    fn from_str(text: &str) -> Result<Self, ChannelIdError> {
        let legal = text.len() <= Self::BYTES_MAX
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'.' || c == b'-');
        if legal { Ok(Self(text.to_owned())) } else { Err(ChannelIdError(text.chars().take(300).collect())) }
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Number of a block; a snapshot is named by the last block in it (`last_block_number`; the RFC's height is one more).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockNumber(pub u64);

impl fmt::Display for BlockNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for BlockNumber {
    type Err = ParseIntError;
    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

/// Channel and last block: what names a snapshot everywhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId {
    /// The channel.
    pub channel: ChannelId,
    /// The last block in the snapshot.
    pub block_number: BlockNumber,
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.channel, self.block_number)
    }
}

/// Index of a chunk in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkIndex(pub u32);

impl ChunkIndex {
    /// Where the chunk starts in its file, in bytes.
    #[must_use]
    pub const fn offset(self) -> u64 {
        self.0 as u64 * CHUNK_BYTES
    }

    /// The chunk's bytes in a file of `size` bytes; empty if the chunk lies behind the end.
    #[must_use]
    pub fn range(self, size: u64) -> ByteRange {
        let start = self.offset().min(size);
        ByteRange { start, end: start.saturating_add(CHUNK_BYTES).min(size) }
    }

    /// How many chunks a file of `size` bytes has (an empty file has none); `None` beyond what 32 bits count.
    #[must_use]
    pub fn count(size: u64) -> Option<u32> {
        u32::try_from(size.div_ceil(CHUNK_BYTES)).ok()
    }
}

/// Bytes `start..end` of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ByteRange {
    /// First byte.
    pub start: u64,
    /// One behind the last byte.
    pub end: u64,
}

impl ByteRange {
    /// Length in bytes.
    #[must_use]
    pub const fn len(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether the range holds no byte.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_names_are_fabrics() {
        for good in ["a", "mychannel", "my.channel-2"] {
            assert!(good.parse::<ChannelId>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-a", "1a", "A", "a/b", "a_b", "a\0", "ä", &"a".repeat(250)] {
            assert!(bad.parse::<ChannelId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_files_have_room_behind_a_channels_stem() {
        let stem = |name: String| name.parse::<ChannelId>().unwrap().stem().into_owned();
        assert_eq!(stem("c".repeat(STEM_BYTES_MAX)), "c".repeat(STEM_BYTES_MAX));
        let long = ["c", "d"].map(|last| stem(format!("{}{last}", "c".repeat(STEM_BYTES_MAX))));
        assert_ne!(long[0], long[1]);
        assert!(long.iter().all(|stem| stem.len() == STEM_BYTES_MAX && stem.parse::<ChannelId>().is_err()), "{long:?}");
    }

    #[test]
    fn the_last_chunk_is_shorter() {
        let size = 2 * CHUNK_BYTES + 5;
        assert_eq!(ChunkIndex::count(size), Some(3));
        assert_eq!(ChunkIndex(2).range(size), ByteRange { start: 2 * CHUNK_BYTES, end: size });
        assert!(ChunkIndex(3).range(size).is_empty());
        assert_eq!(ChunkIndex::count(0), Some(0));
        assert_eq!(ChunkIndex::count(u64::MAX), None);
    }
}
