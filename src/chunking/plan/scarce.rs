//! Rarest first, where nobody has everything: what few sources have may be gone with them, so it is fetched before what all have.
//! Where one has everything no chunk is rare, and the window's order is better for the page cache.

use std::collections::BTreeMap;

use super::{ranges::RangeSet, source::Source};

/// The chunks that one connected source has, those that two have, and so on; not those that all have. Nothing if one has all.
#[derive(Debug, Default)]
pub(super) struct Scarce(Vec<RangeSet>);

impl Scarce {
    /// Counts holders among `sources`, for `total` chunks. O(announced runs), so only when somebody comes, goes or announces.
    pub(super) fn among<'a>(sources: impl Iterator<Item = &'a Source>, total: u64) -> Self {
        let absent: Vec<&RangeSet> = sources.map(|source| source.has.absent()).collect();
        if absent.iter().any(|absent| absent.is_empty()) {
            return Self::default();
        }
        // Where the number of holders changes, and by how much.
        let mut steps: BTreeMap<u64, (usize, usize)> = BTreeMap::new();
        for run in absent.iter().flat_map(|absent| absent.runs()) {
            steps.entry(run.start).or_default().1 += 1;
            steps.entry(run.end.min(total)).or_default().0 += 1;
        }
        let mut rarity = vec![RangeSet::default(); absent.len().saturating_sub(1)];
        let (mut from, mut holders) = (0, absent.len());
        for (at, (more, fewer)) in steps.into_iter().chain([(total, (0, 0))]) {
            if let Some(of_so_many) = holders.checked_sub(1).and_then(|index| rarity.get_mut(index)) {
                of_so_many.insert(from..at);
            }
            (from, holders) = (at, holders + more - fewer);
        }
        Self(rarity)
    }

    /// Rarest first.
    pub(super) fn ranks(&self) -> impl Iterator<Item = &RangeSet> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunking::plan::{PlanConfig, event::Have};

    fn source(have: Have) -> Source {
        let mut source = Source::new(&PlanConfig::default());
        source.has.announce(&have, 100);
        source
    }

    #[test]
    fn chunks_are_ranked_by_how_many_have_them() {
        let some = [vec![0..40, 40..50], vec![20..30, 30..60], vec![40..55, 90..100]]
            .map(|ranges| source(Have::Ranges(ranges)));
        let scarce = Scarce::among(some.iter(), 100);
        let ranks: Vec<Vec<_>> = scarce.ranks().map(|rank| rank.runs().collect()).collect();
        assert_eq!(ranks, [vec![0..20, 55..60, 90..100], vec![20..40, 50..55]]);
        let all = source(Have::Complete);
        assert_eq!(Scarce::among(some.iter().chain([&all]), 100).ranks().count(), 0);
        assert_eq!(Scarce::among([].into_iter(), 100).ranks().count(), 0);
    }
}
