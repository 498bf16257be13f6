//! The chunk tree: which BLAKE3 chaining values prove the 1 MiB chunks of a file, and how they merge to its root.
//!
//! The root is the file's plain BLAKE3, as `b3sum` prints it. A chunk is an aligned group of `2^20` bytes, and its
//! chaining value proves it alone, once the list of all values was merged to a root that is trusted. A file of at most
//! one group has no list: its hash is its root. Beyond [`SPAN_BYTES`] there are two levels, so that no list that
//! travels is longer than [`GROUPS_PER_SPAN`] values (2 MiB): span values merge to the root, and the group values of a
//! span merge (as an inner node, not as a root) to the span's value.

use blake3::{
    Hasher,
    hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root},
};

use super::{CHUNK_BYTES, ChunkIndex, ChunkRoot, GroupValue};

/// Bytes of a span: 64 GiB, aligned. A power of two, so a span is a subtree.
pub const SPAN_BYTES: u64 = CHUNK_BYTES * GROUPS_PER_SPAN as u64;
/// Most group values in a span, so most values in a list that travels (2 MiB).
pub const GROUPS_PER_SPAN: u32 = 1 << 16;

/// A list of values that can't belong to a file of that size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a file of {size} bytes needs {needed} values here, not {found}")]
pub struct ValueCountError {
    /// Size of the file, in bytes.
    pub size: u64,
    /// Values that it has.
    pub needed: u64,
    /// Values in the list.
    pub found: u64,
}

/// All group values of one file, ascending; none if the file has at most one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkTree {
    size: u64,
    values: Vec<GroupValue>,
}

impl ChunkTree {
    /// The list of a file of `size` bytes, with the root that it merges to: **compare that with a trusted root before
    /// using the tree**.
    ///
    /// # Errors
    /// [`ValueCountError`] if a file of that size has another number of groups. A file of at most one group has no list
    /// and can't be merged: its root is [`hash_small`] of its bytes.
    pub fn from_values(size: u64, values: Vec<GroupValue>) -> Result<(ChunkRoot, Self), ValueCountError> {
        let root = Self::merge(size, &values)?;
        Ok((root, Self { size, values }))
    }

    /// The tree of a file of at most one group: an empty list.
    ///
    /// # Errors
    /// [`ValueCountError`] if `size` is over one group.
    pub fn small(size: u64) -> Result<Self, ValueCountError> {
        if size > CHUNK_BYTES {
            return Err(ValueCountError { size, needed: group_count(size), found: 0 });
        }
        Ok(Self { size, values: Vec::new() })
    }

    /// Merges the group values of a file of `size` bytes to its root.
    ///
    /// # Errors
    /// [`ValueCountError`] if there are not as many as the size asks for, or the file has at most one group.
    pub fn merge(size: u64, values: &[GroupValue]) -> Result<ChunkRoot, ValueCountError> {
        let needed = group_count(size);
        if needed < 2 || needed != values.len() as u64 {
            return Err(ValueCountError { size, needed, found: values.len() as u64 });
        }
        Ok(merge_root(values))
    }

    /// Size of the file, in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The values of all groups, ascending; empty if the file has at most one.
    #[must_use]
    pub fn values(&self) -> &[GroupValue] {
        &self.values
    }

    /// The value of one group; `None` behind the end, and for a file of at most one group.
    #[must_use]
    pub fn value(&self, index: ChunkIndex) -> Option<GroupValue> {
        self.values.get(usize::try_from(index.0).ok()?).copied()
    }

    /// The values of the spans of a file over [`SPAN_BYTES`], ascending; they merge to the root ([`merge_spans`]).
    /// Empty for smaller files.
    #[must_use]
    pub fn span_values(&self) -> Vec<GroupValue> {
        span_values(&self.values, GROUPS_PER_SPAN)
    }

    /// The group values of one span (at most [`GROUPS_PER_SPAN`]); they merge to its value ([`merge_span`]). `None`
    /// behind the end.
    #[must_use]
    pub fn span(&self, span: u32) -> Option<&[GroupValue]> {
        self.values.chunks(GROUPS_PER_SPAN as usize).nth(usize::try_from(span).ok()?)
    }
}

/// Merges the span values of a file of `size` bytes to its root.
///
/// # Errors
/// [`ValueCountError`] if there are not as many as the size asks for, or the file is at most one span.
pub fn merge_spans(size: u64, spans: &[GroupValue]) -> Result<ChunkRoot, ValueCountError> {
    let needed = size.div_ceil(SPAN_BYTES);
    if needed < 2 || needed != spans.len() as u64 {
        return Err(ValueCountError { size, needed, found: spans.len() as u64 });
    }
    Ok(merge_root(spans))
}

/// Merges the group values of span `span` of a file of `size` bytes, which is larger than a span, to the span's value.
///
/// # Errors
/// [`ValueCountError`] if there are not as many as the size asks for.
pub fn merge_span(size: u64, span: u32, values: &[GroupValue]) -> Result<GroupValue, ValueCountError> {
    let start = u64::from(span).saturating_mul(SPAN_BYTES);
    let needed = group_count(size.saturating_sub(start).min(SPAN_BYTES));
    if needed == 0 || needed != values.len() as u64 {
        return Err(ValueCountError { size, needed, found: values.len() as u64 });
    }
    Ok(GroupValue(merge_inner(values)))
}

/// The value that chunk `index` with the bytes `bytes` (at most 1 MiB) has in a file of `size` bytes: its chaining
/// value, or in a file of at most one group, which has no list, the file's root.
#[must_use]
pub fn group_value(index: ChunkIndex, bytes: &[u8], size: u64) -> GroupValue {
    // No more than an aligned group may follow an offset, and blake3 panics at an empty one; such bytes are no group, and
    // a root hash matches no value in a list.
    if size <= CHUNK_BYTES || bytes.is_empty() || bytes.len() as u64 > CHUNK_BYTES {
        return GroupValue(hash_small(bytes).0);
    }
    let mut hasher = Hasher::new();
    hasher.set_input_offset(index.offset());
    hasher.update(bytes);
    GroupValue(hasher.finalize_non_root())
}

/// The root of a file of at most one group: the plain hash of its bytes.
#[must_use]
pub fn hash_small(bytes: &[u8]) -> ChunkRoot {
    ChunkRoot(*blake3::hash(bytes).as_bytes())
}

/// Builds the tree of a file while its bytes pass by, in slices of any size. Whole aligned groups are hashed straight
/// from the slice, in one call: that is the fast path (feed 1 MiB or more at once).
#[derive(Debug, Clone)]
pub struct ChunkTreeBuilder {
    size: u64,
    values: Vec<GroupValue>,
    /// Hash of the group under way (the `filled` bytes since the last group border).
    group: Hasher,
    filled: usize,
}

impl Default for ChunkTreeBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl ChunkTreeBuilder {
    /// A builder for an empty file.
    #[must_use]
    pub fn new() -> Self {
        Self { size: 0, values: Vec::new(), group: Hasher::new(), filled: 0 }
    }

    /// Appends bytes of the file.
    pub fn update(&mut self, bytes: &[u8]) {
        const GROUP: usize = CHUNK_BYTES as usize;
        let mut rest = bytes;
        while !rest.is_empty() {
            // A full group is closed only when more follows: a file of exactly one group has no values.
            if self.filled == GROUP {
                self.close_group();
            }
            let (now, later) = rest.split_at_checked(GROUP - self.filled).unwrap_or((rest, &[]));
            self.group.update(now);
            self.filled += now.len();
            self.size += now.len() as u64;
            rest = later;
        }
    }

    /// Size, root and tree of what was fed.
    #[must_use]
    pub fn finish(mut self) -> (u64, ChunkRoot, ChunkTree) {
        if self.values.is_empty() {
            let root = ChunkRoot(*self.group.finalize().as_bytes());
            return (self.size, root, ChunkTree { size: self.size, values: Vec::new() });
        }
        self.close_group();
        let root = merge_root(&self.values);
        (self.size, root, ChunkTree { size: self.size, values: self.values })
    }

    /// Files the group under way and begins the next one.
    fn close_group(&mut self) {
        self.values.push(GroupValue(self.group.finalize_non_root()));
        // Not `reset`: it keeps the old input offset (blake3 1.8).
        self.group = Hasher::new();
        self.group.set_input_offset(self.values.len() as u64 * CHUNK_BYTES);
        self.filled = 0;
    }
}

fn group_count(size: u64) -> u64 {
    size.div_ceil(CHUNK_BYTES)
}

/// Root over two or more subtrees of equal size (the last may be smaller).
fn merge_root(values: &[GroupValue]) -> ChunkRoot {
    let (left, right) = split(values);
    ChunkRoot(*merge_subtrees_root(&merge_inner(left), &merge_inner(right), Mode::Hash).as_bytes())
}

/// Chaining value over one or more subtrees of equal size (the last may be smaller). The depth is the logarithm of
/// their number.
fn merge_inner(values: &[GroupValue]) -> ChainingValue {
    match values {
        [] => [0; 32], // callers have at least one; no list merges to zeros
        [one] => one.0,
        _ => {
            let (left, right) = split(values);
            merge_subtrees_non_root(&merge_inner(left), &merge_inner(right), Mode::Hash)
        }
    }
}

/// BLAKE3's shape: the left subtree is the largest power of two that leaves something for the right one.
fn split(values: &[GroupValue]) -> (&[GroupValue], &[GroupValue]) {
    let left = values.len().div_ceil(2).next_power_of_two();
    values.split_at_checked(left).unwrap_or((values, &[]))
}

fn span_values(values: &[GroupValue], groups_per_span: u32) -> Vec<GroupValue> {
    let spans = values.chunks(groups_per_span as usize);
    if spans.len() < 2 { Vec::new() } else { spans.map(|span| GroupValue(merge_inner(span))).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// Bytes in which no two groups are equal.
    fn bytes(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    fn sizes() -> Vec<usize> {
        vec![
            0,
            1,
            1023,
            1024,
            1025,
            MIB - 1,
            MIB,
            MIB + 1,
            2 * MIB,
            2 * MIB + 1024,
            3 * MIB + 5,
            4 * MIB,
            5 * MIB,
            6 * MIB - 1,
            7 * MIB + 1,
            9 * MIB + 1025,
        ]
    }

    #[test]
    fn the_root_is_the_plain_hash_whatever_the_slices() {
        for size in sizes() {
            let data = bytes(size);
            let plain = ChunkRoot(*blake3::hash(&data).as_bytes());
            for step in [1000, 1024, MIB - 1, MIB, MIB + 1, 3 * MIB, size.max(1)] {
                let mut builder = ChunkTreeBuilder::new();
                data.chunks(step).for_each(|slice| builder.update(slice));
                let (found, root, tree) = builder.finish();
                assert_eq!((found, root), (size as u64, plain), "{size} in steps of {step}");
                assert_eq!(tree.size(), size as u64);
                let groups = if size <= MIB { 0 } else { size.div_ceil(MIB) };
                assert_eq!(tree.values().len(), groups);
            }
        }
    }

    #[test]
    fn each_chunk_alone_has_the_value_in_the_list() {
        for size in sizes().into_iter().filter(|size| *size > MIB) {
            let data = bytes(size);
            let mut builder = ChunkTreeBuilder::new();
            builder.update(&data);
            let (_, root, tree) = builder.finish();
            for (index, chunk) in (0..).map(ChunkIndex).zip(data.chunks(MIB)) {
                assert_eq!(Some(group_value(index, chunk, size as u64)), tree.value(index), "{size}, chunk {index:?}");
                assert_ne!(
                    Some(group_value(ChunkIndex(index.0 + 1), chunk, size as u64)),
                    tree.value(index),
                    "another place is another value"
                );
                let longer = [chunk, &data[..MIB + 1 - chunk.len()]].concat();
                assert_ne!(Some(group_value(index, &longer, size as u64)), tree.value(index));
                let mut flipped = chunk.to_vec();
                flipped[0] ^= 1;
                assert_ne!(Some(group_value(index, &flipped, size as u64)), tree.value(index));
            }
            let mut values = tree.values().to_vec();
            assert_eq!(ChunkTree::from_values(size as u64, values.clone()).unwrap(), (root, tree));
            values.swap(0, 1);
            assert_ne!(ChunkTree::merge(size as u64, &values).unwrap(), root);
        }
    }

    #[test]
    fn small_files_have_no_list() {
        for size in sizes().into_iter().filter(|size| *size <= MIB) {
            let data = bytes(size);
            let mut builder = ChunkTreeBuilder::new();
            builder.update(&data);
            let (_, root, tree) = builder.finish();
            assert_eq!(root, hash_small(&data));
            assert_eq!(root.0, group_value(ChunkIndex(0), &data, size as u64).0);
            assert_eq!(tree, ChunkTree::small(size as u64).unwrap());
            assert!(ChunkTree::merge(size as u64, &[]).is_err());
        }
        assert!(ChunkTree::small(CHUNK_BYTES + 1).is_err());
    }

    #[test]
    fn a_list_of_another_length_is_refused() {
        let values = vec![GroupValue([7; 32]); 3];
        for size in [0, 1, CHUNK_BYTES, 2 * CHUNK_BYTES, 3 * CHUNK_BYTES + 1, u64::MAX] {
            assert!(ChunkTree::merge(size, &values).is_err(), "{size}");
        }
        assert!(ChunkTree::merge(3 * CHUNK_BYTES, &values).is_ok());
    }

    #[test]
    fn spans_merge_to_the_same_root() {
        for groups in 2..40 {
            let data = bytes(64 * groups + 3);
            let values: Vec<_> =
                data.windows(32).step_by(64).take(groups).map(|value| GroupValue(value.try_into().unwrap())).collect();
            for groups_per_span in [1, 2, 4, 8, 16] {
                let spans = span_values(&values, groups_per_span);
                if groups <= groups_per_span as usize {
                    assert!(spans.is_empty());
                } else {
                    assert_eq!(merge_root(&spans), merge_root(&values), "{groups} groups, {groups_per_span} in a span");
                }
            }
        }
    }

    #[test]
    fn lists_of_spans_have_the_length_that_the_size_asks_for() {
        let size = 2 * SPAN_BYTES + CHUNK_BYTES + 1;
        let full = vec![GroupValue([1; 32]); GROUPS_PER_SPAN as usize];
        let last = vec![GroupValue([2; 32]); 2];
        let spans =
            [merge_span(size, 0, &full), merge_span(size, 1, &full), merge_span(size, 2, &last)].map(Result::unwrap);
        let values = [full.clone(), full.clone(), last.clone()].concat();
        let (root, tree) = ChunkTree::from_values(size, values).unwrap();
        assert_eq!(merge_spans(size, &spans), Ok(root));
        assert_eq!(tree.span_values(), spans);
        assert_eq!(tree.span(2), Some(last.as_slice()));
        assert_eq!(tree.span(3), None);
        assert!(merge_span(size, 2, &full).is_err());
        assert!(merge_span(size, 3, &[]).is_err());
        assert!(merge_span(size, 0, &last).is_err());
        assert!(merge_spans(size, spans.get(..2).unwrap()).is_err());
    }
}
