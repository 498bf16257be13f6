//! The chunks of all files of a manifest in one line: file after file, chunk after chunk.

use std::ops::Range;

use crate::snapshot::{CHUNK_BYTES, ChunkIndex};

/// Sizes of a manifest's files, in the manifest's order, as one line of chunks `0..total`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// By their number in the manifest.
    files: Vec<FileSpan>,
    /// Their numbers in the order of the line.
    order: Vec<u32>,
    total: u64,
}

/// A file too large to be counted in chunks of 1 MiB by 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("file {file_index} of the manifest has {size_bytes} bytes, more than 2^32 - 1 chunks of 1 MiB")]
#[non_exhaustive]
pub struct LayoutError {
    /// Index of the file in the manifest.
    pub file_index: u32,
    /// Its claimed size in bytes.
    pub size_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileSpan {
    first: u64,
    chunks: u32,
    size_bytes: u64,
}

impl Layout {
    /// Lines up files of these sizes in bytes; an empty file has no chunk.
    ///
    /// # Errors
    /// If a file has more chunks than 32 bits count.
    pub fn new(sizes: impl IntoIterator<Item = u64>) -> Result<Self, LayoutError> {
        Self::with_first(sizes, |_| false)
    }

    /// As [`Self::new`], with those files ahead of the others of which that holds.
    ///
    /// # Errors
    /// As there.
    pub fn with_first(
        sizes: impl IntoIterator<Item = u64>,
        is_first: impl Fn(u32) -> bool,
    ) -> Result<Self, LayoutError> {
        let mut files = Vec::new();
        for (file_index, size_bytes) in (0u32..).zip(sizes) {
            let chunks = ChunkIndex::count(size_bytes).ok_or(LayoutError { file_index, size_bytes })?;
            files.push(FileSpan { first: 0, chunks, size_bytes });
        }
        let mut in_line: Vec<(u32, &mut FileSpan)> = (0u32..).zip(&mut files).collect();
        in_line.sort_by_key(|(file_index, _)| !is_first(*file_index));
        let mut total = 0;
        let mut order = Vec::new();
        for (file_index, span) in in_line {
            span.first = total;
            order.push(file_index);
            total += u64::from(span.chunks); // at most 2^32 files of 2^32 chunks: fits
        }
        Ok(Self { files, order, total })
    }

    /// The files' numbers in the order of the line.
    #[must_use]
    pub fn order(&self) -> &[u32] {
        &self.order
    }

    /// How many chunks all files have.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// How many bytes all files have.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum: u64, span| sum.saturating_add(span.size_bytes))
    }

    /// Where a chunk stands in the line; `None` if the file or the chunk doesn't exist.
    #[must_use]
    pub fn linear(&self, file_index: u32, chunk: ChunkIndex) -> Option<u64> {
        let span = self.files.get(usize::try_from(file_index).ok()?)?;
        (chunk.0 < span.chunks).then(|| span.first + u64::from(chunk.0))
    }

    /// Which chunk of which file stands at `linear`; `None` behind the end.
    #[must_use]
    pub fn chunk(&self, linear: u64) -> Option<(u32, ChunkIndex)> {
        let (file_index, span) = self.span(linear)?;
        Some((file_index, ChunkIndex(u32::try_from(linear - span.first).ok()?)))
    }

    /// All chunks of a file; `None` if there is no such file.
    #[must_use]
    pub fn file(&self, file_index: u32) -> Option<Range<u64>> {
        let span = self.files.get(usize::try_from(file_index).ok()?)?;
        Some(span.first..span.first + u64::from(span.chunks))
    }

    /// Length in bytes of the chunk at `linear`: 1 MiB, less for the last one of a file, 0 behind the end.
    #[must_use]
    pub fn bytes(&self, linear: u64) -> u64 {
        let Some((_, span)) = self.span(linear) else { return 0 };
        span.size_bytes.saturating_sub((linear - span.first) * CHUNK_BYTES).min(CHUNK_BYTES)
    }

    /// One behind the last chunk of the file that `linear` is in: no run goes further.
    pub(super) fn file_end(&self, linear: u64) -> u64 {
        self.span(linear).map_or(self.total, |(_, span)| span.first + u64::from(span.chunks))
    }

    fn span(&self, linear: u64) -> Option<(u32, FileSpan)> {
        if linear >= self.total {
            return None;
        }
        // The last file that starts at or before: empty files share their start with the next one and come before it.
        let starts = |file_index: &u32| self.of(*file_index).is_some_and(|span| span.first <= linear);
        let file_index = *self.order.get(self.order.partition_point(starts).checked_sub(1)?)?;
        Some((file_index, self.of(file_index)?))
    }

    fn of(&self, file_index: u32) -> Option<FileSpan> {
        self.files.get(usize::try_from(file_index).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_and_chunks_convert_both_ways_and_skip_empty_files() {
        let layout = Layout::new([3 * CHUNK_BYTES, 0, 5, 0, CHUNK_BYTES + 1]).unwrap();
        assert_eq!(layout.total(), 6);
        let chunks: Vec<_> = (0..6).map(|linear| layout.chunk(linear).unwrap()).collect();
        assert_eq!(
            chunks.iter().map(|(file, chunk)| (*file, chunk.0)).collect::<Vec<_>>(),
            [(0, 0), (0, 1), (0, 2), (2, 0), (4, 0), (4, 1)]
        );
        for (linear, (file, chunk)) in (0..).zip(chunks) {
            assert_eq!(layout.linear(file, chunk), Some(linear));
        }
        assert_eq!(layout.chunk(6), None);
        assert_eq!(layout.linear(1, ChunkIndex(0)), None);
        assert_eq!(layout.linear(9, ChunkIndex(0)), None);
        assert_eq!(layout.file(4), Some(4..6));
        assert_eq!([2, 3, 5, 6].map(|linear| layout.bytes(linear)), [CHUNK_BYTES, 5, 1, 0]);
        assert_eq!([0, 3, 4].map(|linear| layout.file_end(linear)), [3, 4, 6]);
    }

    #[test]
    fn files_that_come_first_keep_their_number() {
        let layout =
            Layout::with_first([2 * CHUNK_BYTES, 5, 0, 7, CHUNK_BYTES], |file| file == 3 || file == 1).unwrap();
        assert_eq!(layout.order(), [1, 3, 0, 2, 4]);
        let line: Vec<_> = (0..layout.total()).map(|linear| layout.chunk(linear).unwrap()).collect();
        let line: Vec<_> = line.into_iter().map(|(file, chunk)| (file, chunk.0)).collect();
        assert_eq!(line, [(1, 0), (3, 0), (0, 0), (0, 1), (4, 0)]);
        for (linear, (file, chunk)) in (0..).zip(line) {
            assert_eq!(layout.linear(file, ChunkIndex(chunk)), Some(linear));
        }
        assert_eq!((layout.bytes(0), layout.bytes(1), layout.file_end(2)), (5, 7, 4));
    }

    /// R1: chunks beyond 32 bits.
    #[test]
    fn a_size_beyond_32_bits_of_chunks_is_refused_by_name() {
        let largest = u64::from(u32::MAX) * CHUNK_BYTES;
        assert_eq!(Layout::new([1, largest]).unwrap().total(), 1 + u64::from(u32::MAX));
        for size_bytes in [largest + 1, 1 << 63, u64::MAX] {
            let error = Layout::new([1, size_bytes]).unwrap_err();
            assert_eq!(error, LayoutError { file_index: 1, size_bytes });
        }
    }
}
