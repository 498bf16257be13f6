//! Chunk trees of any size and values: a list of the wrong length is refused, a right one proves each chunk, nothing panics.

use snapferry::snapshot::{
    ChunkIndex, ChunkTree, ChunkTreeBuilder, GroupValue, group_value, hash_small, merge_span, merge_spans,
};

/// Most bytes that a case hashes: three groups and a bit.
const FILE_BYTES_MAX: usize = (3 << 20) + 7;

/// Takes size, index and values from the data; then builds the tree of the data themselves, repeated if the first byte says so.
pub(crate) fn body(data: &[u8]) {
    let Some((head, rest)) = data.split_first_chunk::<13>() else { return };
    let [choice, s0, s1, s2, s3, s4, s5, s6, s7, i0, i1, i2, i3] = *head;
    let size = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
    let index = u32::from_le_bytes([i0, i1, i2, i3]);
    let values: Vec<GroupValue> = rest.chunks(32).filter_map(|value| GroupValue::try_from(value).ok()).collect();

    if let Ok((root, tree)) = ChunkTree::from_values(size, values.clone()) {
        assert_eq!(size.div_ceil(1 << 20), values.len() as u64);
        assert_eq!(ChunkTree::merge(size, tree.values()).ok(), Some(root));
    }
    let _ = merge_spans(size, &values);
    let _ = merge_span(size, index, &values);
    let _ = group_value(ChunkIndex(index), rest, size);

    let repeats = if choice == u8::MAX { FILE_BYTES_MAX / rest.len().max(1) } else { 1 };
    let file = rest.repeat(repeats);
    let mut builder = ChunkTreeBuilder::new();
    file.chunks(1 + usize::from(choice) * 5_000).for_each(|slice| builder.update(slice));
    let (len, root, tree) = builder.finish();
    assert_eq!(len, file.len() as u64);
    if tree.values().is_empty() {
        assert_eq!(hash_small(&file), root);
    } else {
        assert_eq!(ChunkTree::merge(len, tree.values()).ok(), Some(root));
        for (number, (chunk, value)) in (0..).zip(file.chunks(1 << 20).zip(tree.values())) {
            assert_eq!(group_value(ChunkIndex(number), chunk, len), *value);
        }
    }
}
