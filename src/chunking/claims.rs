//! What the store's journal says: which chunks are durable, and which file started over.
//!
//! ```text
//! claim  = 1 | file number (u32 BE) | (first chunk (u32 BE), count (u32 BE)) ...
//! forget = 2 | file number (u32 BE)
//! ```

use std::collections::{BTreeMap, BTreeSet};

use crate::snapshot::ChunkIndex;

const CLAIM: u8 = 1;
const FORGET: u8 = 2;
/// Ranges in one record: about 8 KiB, far below what the journal takes.
const RANGES_PER_RECORD: usize = 1000;

/// Chunks per file number.
pub(super) type Claims = BTreeMap<u32, BTreeSet<ChunkIndex>>;

/// Records that claim these chunks of a file.
pub(super) fn claim(file_index: u32, chunks: &BTreeSet<ChunkIndex>) -> Vec<Vec<u8>> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for chunk in chunks {
        match ranges.last_mut() {
            Some((first, count)) if first.checked_add(*count) == Some(chunk.0) => *count += 1,
            _ => ranges.push((chunk.0, 1)),
        }
    }
    let record = |ranges: &[(u32, u32)]| {
        let numbers = ranges.iter().flat_map(|(first, count)| [first.to_be_bytes(), count.to_be_bytes()]);
        [CLAIM].into_iter().chain(file_index.to_be_bytes()).chain(numbers.flatten()).collect()
    };
    ranges.chunks(RANGES_PER_RECORD).map(record).collect()
}

/// The record that takes back every claim of a file.
pub(super) fn forget(file_index: u32) -> Vec<u8> {
    [FORGET].into_iter().chain(file_index.to_be_bytes()).collect()
}

/// What the records claim in the end. `chunk_count` tells how many chunks a file has: what lies behind, or a file that
/// isn't there, or a record of another form, claims nothing. (The journal's checksums make that a mistake of ours; it
/// must not take memory all the same.)
pub(super) fn replay(records: &[Vec<u8>], chunk_count: impl Fn(u32) -> Option<u32>) -> Claims {
    let mut claims = Claims::new();
    for record in records {
        let Some((&[kind, a, b, c, d], ranges)) = record.split_first_chunk::<5>() else { continue };
        let file_index = u32::from_be_bytes([a, b, c, d]);
        let Some(count_max) = chunk_count(file_index) else { continue };
        match kind {
            CLAIM => claims
                .entry(file_index)
                .or_default()
                .extend(ranges.chunks_exact(8).flat_map(|range| chunks(range, count_max))),
            FORGET => drop(claims.remove(&file_index)),
            _ => {}
        }
    }
    claims
}

/// The chunks of one range, cut to those that exist.
fn chunks(range: &[u8], count_max: u32) -> impl Iterator<Item = ChunkIndex> + use<> {
    let number = |bytes: Option<&[u8]>| bytes.and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
    let (first, count) = (number(range.get(..4)), number(range.get(4..)));
    (first..first.saturating_add(count).min(count_max)).map(ChunkIndex)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn claims_come_back(chunks in prop::collection::btree_set(0_u32..3000, 0..2500)) {
            let chunks: BTreeSet<_> = chunks.into_iter().map(ChunkIndex).collect();
            let records = claim(7, &chunks);
            let found = replay(&records, |file| (file == 7).then_some(3000));
            prop_assert_eq!(found.get(&7).cloned().unwrap_or_default(), chunks);
        }

        #[test]
        fn any_record_claims_only_what_exists(records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..5)) {
            for (file, chunks) in replay(&records, |file| (file % 2 == 0).then_some(10)) {
                prop_assert!(file % 2 == 0 && chunks.iter().all(|chunk| chunk.0 < 10));
            }
        }
    }

    #[test]
    fn forgetting_takes_back_one_file() {
        let one = BTreeSet::from([ChunkIndex(0), ChunkIndex(1)]);
        let records =
            [claim(0, &one), claim(1, &one), vec![forget(0)], claim(0, &BTreeSet::from([ChunkIndex(4)]))].concat();
        let found = replay(&records, |_| Some(10));
        assert_eq!(found, Claims::from([(0, BTreeSet::from([ChunkIndex(4)])), (1, one)]));
    }
}
