//! How the chunks of a snapshot that is being joined are found: by what the join hands in, since its store lies in a layer above.

use std::{fmt, ops::Range, sync::Arc};

use crate::{disk::File, snapshot::ChunkIndex};

/// The file that holds a chunk (file number, chunk), if the chunk was proved and lies there now.
pub type FindChunk = Arc<dyn Fn(u32, ChunkIndex) -> Option<Arc<dyn File>> + Send + Sync>;
/// The chunks of a file that were proved, as ascending ranges.
pub type ListChunks = Arc<dyn Fn(u32) -> Vec<Range<u32>> + Send + Sync>;
/// Grows whenever there are more chunks, or fewer.
pub type Version = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The proved chunks of a join.
#[derive(Clone)]
pub struct UnderWay {
    find: FindChunk,
    list: ListChunks,
    version: Version,
}

impl UnderWay {
    /// As the join finds them.
    #[must_use]
    pub const fn new(find: FindChunk, list: ListChunks, version: Version) -> Self {
        Self { find, list, version }
    }

    /// The file that holds a chunk.
    #[must_use]
    pub fn file(&self, file_index: u32, chunk: ChunkIndex) -> Option<Arc<dyn File>> {
        (self.find)(file_index, chunk)
    }

    /// The chunks of a file that can be read, ascending.
    #[must_use]
    pub fn have(&self, file_index: u32) -> Vec<Range<u32>> {
        (self.list)(file_index)
    }

    /// Grows with every change of them.
    #[must_use]
    pub fn version(&self) -> u64 {
        (self.version)()
    }
}

impl fmt::Debug for UnderWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnderWay(version {})", self.version())
    }
}
