//! What others may read of a store while it fills: the chunks that were proved in this run.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

use super::{Store, partial};
use crate::{disk::File, snapshot::ChunkIndex};

impl Store {
    /// The file that a proved chunk lies in, by its number in the manifest. Whoever reads there proves the bytes again: the file may begin
    /// anew at any time.
    #[must_use]
    pub fn readable(&self, file_index: u32, chunk: ChunkIndex) -> Option<Arc<dyn File>> {
        let mut state = self.state();
        if state.published {
            return None;
        }
        let partial = partial(&mut state.files, file_index)?;
        (!partial.poisoned && partial.present.contains(&chunk)).then(|| Arc::clone(&partial.file))
    }

    /// The proved chunks of a file, as ascending ranges that don't touch.
    #[must_use]
    pub fn proved(&self, file_index: u32) -> Vec<Range<u32>> {
        let mut state = self.state();
        if state.published {
            return Vec::new();
        }
        let present = partial(&mut state.files, file_index).filter(|partial| !partial.poisoned);
        let mut ranges: Vec<Range<u32>> = Vec::new();
        for chunk in present.iter().flat_map(|partial| &partial.present) {
            match ranges.last_mut().filter(|last| last.end == chunk.0) {
                Some(last) => last.end += 1,
                None => ranges.push(chunk.0..chunk.0 + 1),
            }
        }
        ranges
    }

    /// Grows whenever [`Self::proved`] changes for any file.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(super) fn changed(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "one range of chunks is what is meant")]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        chunking::{BufferPool, fixture::Sample},
        disk::OsDir,
    };

    #[test]
    fn only_what_was_proved_can_be_read_until_it_is_published() {
        let sample = Sample::recorded();
        let keep = tempfile::tempdir().unwrap();
        let open = || Store::open(OsDir::open(keep.path()).unwrap(), &sample.manifest).unwrap().0;
        let store = open();
        let (file, chunk) = sample.all().into_iter().next().map(|(file, chunk)| (file, ChunkIndex(chunk))).unwrap();
        let before = store.version();
        assert!(store.readable(file, chunk).is_none() && store.proved(file).is_empty());
        store.write(&sample.chunk(file, chunk.0), Duration::ZERO).unwrap();
        assert!(store.version() > before);
        assert!(store.readable(file, chunk).is_some());
        assert_eq!(store.proved(file), [chunk.0..chunk.0 + 1]);
        let known = store.version();
        store.write(&sample.chunk(file, chunk.0), Duration::ZERO).unwrap();
        assert_eq!(store.version(), known, "no news");
        store.start_over(file).unwrap();
        assert!(store.version() > known && store.readable(file, chunk).is_none() && store.proved(file).is_empty());
        store.write(&sample.chunk(file, chunk.0), Duration::ZERO).unwrap();
        store.sync().unwrap();
        drop(store);
        // What an earlier run left is a claim until it is hashed.
        let store = open();
        assert!(store.readable(file, chunk).is_none() && store.proved(file).is_empty());
        let tree = &sample.trees[file as usize];
        assert!(store.rehash(tree, chunk, &BufferPool::new(1), Duration::ZERO).unwrap().is_some());
        assert_eq!(store.proved(file), [chunk.0..chunk.0 + 1]);
    }
}
