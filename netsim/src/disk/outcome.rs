//! What a power cut leaves: which of the unsynced changes survive, and whether the last write is torn.

use super::state::{Change, Nodes, State};
use crate::Rng;

/// A torn write ends at a multiple of this: sectors are written whole.
const SECTOR: usize = 512;

/// One of the states that a power cut can leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Of each unsynced change, oldest first: whether it survives.
    pub survives: Vec<bool>,
    /// Of the last write that survives, only the first half does.
    pub torn: bool,
}

impl Outcome {
    /// Chance decides: as often nothing or all as any subset.
    pub(super) fn drawn(state: &State, rng: &mut Rng) -> Self {
        let count = state.pending.len();
        let survives = match rng.below(4) {
            0 => vec![false; count],
            1 => vec![true; count],
            _ => (0..count).map(|_| rng.hits(500_000)).collect(),
        };
        Self { survives, torn: rng.hits(500_000) }
    }

    pub(super) fn all(state: &State, pending_max: usize, draws: usize, rng: &mut Rng) -> Vec<Self> {
        let count = state.pending.len();
        let mut subsets: Vec<Vec<bool>> = Vec::new();
        if count <= pending_max {
            subsets.extend((0_u64..1 << count).map(|bits| (0..count).map(|at| bits >> at & 1 == 1).collect()));
        } else {
            subsets.extend([vec![false; count], vec![true; count]]);
            for at in 0..count {
                subsets.push((0..count).map(|other| other == at).collect());
                subsets.push((0..count).map(|other| other != at).collect());
            }
            subsets.extend((0..draws).map(|_| (0..count).map(|_| rng.hits(500_000)).collect()));
        }
        let with_torn = |survives: Vec<bool>| {
            let writes = state.pending.iter().zip(&survives).any(|(change, survives)| *survives && is_write(change));
            let whole = Self { survives, torn: false };
            let torn = writes.then(|| Self { torn: true, ..whole.clone() });
            [Some(whole), torn]
        };
        subsets.into_iter().flat_map(with_torn).flatten().collect()
    }

    /// What the next process finds.
    pub(super) fn nodes(&self, state: &State) -> Nodes {
        let mut nodes = state.durable.clone();
        let survivors: Vec<&Change> = state
            .pending
            .iter()
            .zip(&self.survives)
            .filter(|(_, survives)| **survives)
            .map(|(change, _)| change)
            .collect();
        let last_write = survivors.iter().rposition(|change| is_write(change)).filter(|_| self.torn);
        for (at, change) in survivors.iter().enumerate() {
            match change {
                Change::Write { file, offset, data } if Some(at) == last_write => {
                    let half = data.len() / 2;
                    let kept = data.get(..half - half % SECTOR.min(half.max(1))).unwrap_or_default();
                    Change::Write { file: *file, offset: *offset, data: kept.into() }.apply(&mut nodes);
                }
                change => change.apply(&mut nodes),
            }
        }
        nodes
    }
}

const fn is_write(change: &Change) -> bool {
    matches!(change, Change::Write { .. })
}
