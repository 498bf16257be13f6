//! Values of a chunk tree: exactly as many as the file's size gives. Whether they merge to the root, `chunking` finds out.

use tokio::time::{Instant, timeout_at};

use super::{
    connect::Session,
    error::{AskError, AskProblem, Misbehaviour},
    run::refused,
};
use crate::{
    snapshot::{ChunkIndex, GROUPS_PER_SPAN, GroupValue},
    transport::{
        limits::{TREE_STEP_TIMEOUT, TREE_VALUE_BYTES, TREE_VALUES_MAX},
        wire::{Body, ChunkTreeRequest},
    },
};

/// Memory taken at once while values arrive: a source can't make us hold what it only announced.
const STEP_VALUES: usize = 1_024;

/// How many values answer a request: of a file of at most 64 GiB all groups (none if it has at most one); above, the spans, or the
/// groups of one span. `None`: there is no such span.
#[must_use]
pub(in crate::transport) fn values_due(file_size: u64, span: Option<u32>) -> Option<u32> {
    let groups = ChunkIndex::count(file_size)?;
    match span {
        None if groups <= 1 => Some(0),
        None if groups <= GROUPS_PER_SPAN => Some(groups),
        None => Some(groups.div_ceil(GROUPS_PER_SPAN)),
        Some(_) if groups <= GROUPS_PER_SPAN => None,
        Some(span) => {
            let first = span.checked_mul(GROUPS_PER_SPAN)?;
            let left = groups.checked_sub(first).filter(|left| *left > 0)?;
            Some(left.min(GROUPS_PER_SPAN))
        }
    }
}

impl Session {
    /// The values of a file of `file_size` bytes (the manifest's): see [`ChunkTreeRequest::span`]. At most 65 536.
    ///
    /// # Errors
    /// [`AskError`]; another number of bytes is the source's fault, silence for 5 s the link's.
    pub async fn tree(&self, request: ChunkTreeRequest, file_size: u64) -> Result<Vec<GroupValue>, AskError> {
        let due = values_due(file_size, request.span).unwrap_or(0).min(TREE_VALUES_MAX) as usize;
        let (mut waiting, mut recv) = self.open(Body::ChunkTreeRequest(request), TREE_STEP_TIMEOUT).await?;
        let mut values = Vec::with_capacity(due.min(STEP_VALUES));
        let wrong = |came: usize| {
            let size = |count: usize| count as u64 * TREE_VALUE_BYTES as u64;
            self.control.accuse(Misbehaviour::TreeLength { due: size(due), came: size(came) })
        };
        let silent = || self.control.error(AskProblem::Silent { what: "5 s to a request for a chunk tree" });
        let mut value = [0; TREE_VALUE_BYTES];
        let mut deadline = Instant::now() + TREE_STEP_TIMEOUT;
        for came in 0..due {
            if came % STEP_VALUES == 0 {
                deadline = Instant::now() + TREE_STEP_TIMEOUT;
            }
            match timeout_at(deadline, recv.read_exact(&mut value)).await {
                Ok(Ok(())) => values.push(GroupValue(value)),
                Ok(Err(quinn::ReadExactError::FinishedEarly(_))) => return Err(wrong(came)),
                Ok(Err(quinn::ReadExactError::ReadError(error))) => {
                    return Err(refused(&self.control, &mut waiting, "chunk tree", error).await);
                }
                Err(_) => return Err(silent()),
            }
        }
        // The end is waited for no longer than a step: without it nothing says that these are all.
        match timeout_at(Instant::now() + TREE_STEP_TIMEOUT, recv.read_chunk(1, true)).await {
            Ok(Ok(None)) => Ok(values),
            Ok(Ok(Some(_))) => Err(wrong(due + 1)),
            Ok(Err(error)) => Err(refused(&self.control, &mut waiting, "chunk tree", error).await),
            Err(_) => Err(silent()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{CHUNK_BYTES, SPAN_BYTES};

    /// R1: sizes beyond count have no values.
    #[test]
    fn the_size_of_a_file_gives_the_number_of_values() {
        for (size, span, due) in [
            (0, None, Some(0)),
            (CHUNK_BYTES, None, Some(0)),
            (CHUNK_BYTES + 1, None, Some(2)),
            (SPAN_BYTES, None, Some(65_536)),
            (SPAN_BYTES, Some(0), None),
            (SPAN_BYTES + 1, None, Some(2)),
            (SPAN_BYTES + 1, Some(0), Some(65_536)),
            (SPAN_BYTES + 1, Some(1), Some(1)),
            (SPAN_BYTES + 1, Some(2), None),
            (SPAN_BYTES + 1, Some(u32::MAX), None),
            (1 << 63, None, None),
            (1 << 63, Some(0), None),
            (u64::MAX, None, None),
        ] {
            assert_eq!(values_due(size, span), due, "{size} bytes, span {span:?}");
        }
    }
}
