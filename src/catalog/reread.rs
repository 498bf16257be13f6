//! A whole snapshot read again, chunk by chunk: for who won't wait until the scrubber has come by everything.

use super::{Repairs, RottenChunk, ServedSnapshot};
use crate::snapshot::ChunkIndex;

impl ServedSnapshot {
    /// Reads every chunk of our peer's own files; those that aren't what they were, or that the disk doesn't give at all, ascending.
    /// Blocking, for as long as that takes.
    #[must_use]
    pub fn read_again(&self, repairs: &Repairs) -> Vec<RottenChunk> {
        let (mut buf, mut rotten) = (Vec::new(), Vec::new());
        for (file_index, listed) in (0..).zip(self.manifest.files()) {
            for chunk in (0..ChunkIndex::count(listed.size).unwrap_or(0)).map(ChunkIndex) {
                match self.scrub_chunk(file_index, chunk, &mut buf) {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(error) => tracing::warn!(snapshot = %self.id(), %error, "a chunk can't be read"),
                }
                let repaired = repairs.has(self.id(), listed.file, chunk);
                rotten.push(RottenChunk { file: listed.file, file_index, chunk, repaired });
            }
        }
        rotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::test_site::{Site, id};

    #[test]
    fn every_chunk_is_read_and_what_rotted_is_told() {
        let site = Site::new();
        let snapshot = site.catalog().snapshot(&id(83)).unwrap();
        let repairs = Repairs::in_state(&*site.open("")).unwrap();
        assert_eq!(snapshot.read_again(&repairs), []);
        let names: Vec<String> = snapshot.manifest.files().iter().map(|file| file.file.to_string()).collect();
        let rotten = [&names[0], &names[names.len() - 1]];
        rotten.iter().for_each(|name| site.rot(83, name, 0));
        let told = snapshot.read_again(&repairs);
        assert_eq!(told.iter().map(|chunk| chunk.file.to_string()).collect::<Vec<_>>(), rotten.map(String::clone));
        assert!(told.iter().all(|chunk| chunk.chunk == ChunkIndex(0) && !chunk.repaired));
        repairs.keep(&id(83), told[0].file, told[0].chunk, b"whatever").unwrap();
        assert!(snapshot.read_again(&repairs)[0].repaired);
    }
}
