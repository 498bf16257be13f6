//! The list of a file over 64 GiB, which travels span by span: each is believed on its own, so one that lies is known at once.

use super::proof::{FileTree, ProofError, manifest_file};
use crate::snapshot::{GroupValue, Manifest, SPAN_BYTES, merge_span, merge_spans};

/// The span list of one file, merged to the root that the manifest names, and the group values of the spans so far.
#[derive(Debug, Clone)]
pub struct SpanTree {
    file_index: u32,
    spans: Vec<GroupValue>,
    values: Vec<GroupValue>,
    next: u32,
}

impl SpanTree {
    /// Whether a file of `size` bytes has a span list at all; else its list of group values travels whole.
    #[must_use]
    pub const fn applies_to(size: u64) -> bool {
        size > SPAN_BYTES
    }

    /// Believes a span list if it merges to the root of file number `file_index`.
    ///
    /// # Errors
    /// [`ProofError::NoSuchFile`], [`ProofError::TreeLength`], [`ProofError::TreeRoot`].
    pub fn prove(manifest: &Manifest, file_index: u32, spans: Vec<GroupValue>) -> Result<Self, ProofError> {
        let listed = manifest_file(manifest, file_index)?;
        let (file, expected) = (listed.file, listed.root);
        let found = merge_spans(listed.size, &spans).map_err(|source| ProofError::TreeLength { file, source })?;
        if found != expected {
            return Err(ProofError::TreeRoot { file, expected, found });
        }
        Ok(Self { file_index, spans, values: Vec::new(), next: 0 })
    }

    /// The span whose group values are needed next; `None` when all are there.
    #[must_use]
    pub fn next_span(&self) -> Option<u32> {
        usize::try_from(self.next).is_ok_and(|next| next < self.spans.len()).then_some(self.next)
    }

    /// Believes the group values of the next span if they merge to its value.
    ///
    /// # Errors
    /// [`ProofError::TreeLength`], [`ProofError::SpanMismatch`]; ask somebody else for the same span.
    pub fn add(&mut self, manifest: &Manifest, values: &[GroupValue]) -> Result<(), ProofError> {
        let listed = manifest_file(manifest, self.file_index)?;
        let (file, span) = (listed.file, self.next);
        let found = merge_span(listed.size, span, values).map_err(|source| ProofError::TreeLength { file, source })?;
        if usize::try_from(span).ok().and_then(|span| self.spans.get(span)) != Some(&found) {
            return Err(ProofError::SpanMismatch { file, span });
        }
        self.values.extend_from_slice(values);
        self.next = span.saturating_add(1);
        Ok(())
    }

    /// The whole tree, when every span was added.
    ///
    /// # Errors
    /// [`ProofError::TreeLength`] if some are missing.
    pub fn finish(self, manifest: &Manifest) -> Result<FileTree, ProofError> {
        FileTree::prove(manifest, self.file_index, self.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chunking::fixture::Sample,
        snapshot::{CHUNK_BYTES, ChunkTree, GROUPS_PER_SPAN},
    };

    #[test]
    fn spans_are_believed_one_by_one() {
        let size = 2 * SPAN_BYTES + CHUNK_BYTES + 1;
        assert!(SpanTree::applies_to(size) && !SpanTree::applies_to(SPAN_BYTES));
        let per_span = GROUPS_PER_SPAN as usize;
        let values: Vec<_> = (0..2 * per_span + 2).map(|n| GroupValue([n.to_le_bytes()[0]; 32])).collect();
        let (root, tree) = ChunkTree::from_values(size, values.clone()).unwrap();
        let sample = Sample::noise([5, 5, 5, 5]);
        let mut files = sample.manifest.files().to_vec();
        (files[0].size, files[0].root) = (size, root);
        let manifest = Manifest::new(sample.metadata.signable, files).unwrap();

        let mut lying = tree.span_values();
        lying[2].0[0] ^= 1;
        assert!(matches!(SpanTree::prove(&manifest, 0, lying), Err(ProofError::TreeRoot { .. })));
        assert!(matches!(SpanTree::prove(&manifest, 0, vec![]), Err(ProofError::TreeLength { .. })));
        assert!(matches!(SpanTree::prove(&manifest, 1, tree.span_values()), Err(ProofError::TreeLength { .. })));

        let mut spans = SpanTree::prove(&manifest, 0, tree.span_values()).unwrap();
        while let Some(span) = spans.next_span() {
            let right = tree.span(span).unwrap();
            let mut wrong = right.to_vec();
            wrong[1].0[0] ^= 1;
            assert!(matches!(spans.add(&manifest, &wrong), Err(ProofError::SpanMismatch { .. })));
            assert!(matches!(spans.add(&manifest, &right[1..]), Err(ProofError::TreeLength { .. })));
            assert!(matches!(spans.clone().finish(&manifest), Err(ProofError::TreeLength { .. })));
            spans.add(&manifest, right).unwrap();
        }
        assert!(spans.add(&manifest, &values[..1]).is_err());
        assert_eq!(spans.finish(&manifest).unwrap().tree().values(), values);
    }
}
