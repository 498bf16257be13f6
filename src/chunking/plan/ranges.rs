//! A set of chunk positions kept as runs: a terabyte that is missing is one entry, and every step costs O(log n).

use std::{collections::BTreeMap, ops::Range};

/// Positions as disjoint runs that don't touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RangeSet {
    /// Start of a run -> one behind its end.
    runs: BTreeMap<u64, u64>,
    len: u64,
}

impl RangeSet {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its runs in order.
    pub(super) fn runs(&self) -> impl Iterator<Item = Range<u64>> {
        self.runs.iter().map(|(&start, &end)| start..end)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn insert(&mut self, range: Range<u64>) {
        let Range { mut start, mut end } = range;
        if start >= end {
            return;
        }
        if let Some((&before, &before_end)) = self.runs.range(..=start).next_back()
            && before_end >= start
        {
            start = before;
            end = end.max(before_end);
        }
        while let Some((&inner, &inner_end)) = self.runs.range(start..=end).next() {
            self.runs.remove(&inner);
            self.len -= inner_end - inner;
            end = end.max(inner_end);
        }
        self.runs.insert(start, end);
        self.len += end - start;
    }

    pub(super) fn remove(&mut self, range: Range<u64>) {
        let Range { start, end } = range;
        if start >= end {
            return;
        }
        if let Some((&before, &before_end)) = self.runs.range(..start).next_back()
            && before_end > start
        {
            self.runs.insert(before, start);
            self.len -= before_end - start;
            if before_end > end {
                self.runs.insert(end, before_end);
                self.len += before_end - end;
            }
        }
        while let Some((&inner, &inner_end)) = self.runs.range(start..end).next() {
            self.runs.remove(&inner);
            self.len -= inner_end - inner;
            if inner_end > end {
                self.runs.insert(end, inner_end);
                self.len += inner_end - end;
            }
        }
    }

    pub(super) fn contains(&self, position: u64) -> bool {
        self.runs.range(..=position).next_back().is_some_and(|(_, &end)| end > position)
    }

    /// The first positions of the set within `range`: the part of one run.
    pub(super) fn first_in(&self, range: Range<u64>) -> Option<Range<u64>> {
        let start = if self.contains(range.start) { range.start } else { *self.runs.range(range.start..).next()?.0 };
        let end = self.end_of_run(start).min(range.end);
        (start < end).then_some(start..end)
    }

    /// One behind the run that `position` is in; `position` itself if it isn't in the set.
    pub(super) fn end_of_run(&self, position: u64) -> u64 {
        self.runs.range(..=position).next_back().map_or(position, |(_, &end)| end.max(position))
    }

    /// The first positions within `range` that are in `self` and not in `without`.
    pub(super) fn first_without(&self, range: Range<u64>, without: &Self) -> Option<Range<u64>> {
        let mut from = range.start;
        while let Some(run) = self.first_in(from..range.end) {
            let start = without.end_of_run(run.start);
            if start < run.end {
                let end = without.first_in(start..run.end).map_or(run.end, |lacked| lacked.start);
                return Some(start..end);
            }
            from = run.end;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_behaves_as_a_set_of_positions(steps in prop::collection::vec((any::<bool>(), 0u64..40, 0u64..12), 0..60)) {
            let (mut set, mut model) = (RangeSet::default(), BTreeSet::new());
            for (insert, start, len) in steps {
                let range = start..start + len;
                if insert {
                    set.insert(range.clone());
                    model.extend(range);
                } else {
                    set.remove(range.clone());
                    model.retain(|position| !range.contains(position));
                }
                prop_assert_eq!(set.len(), model.len() as u64);
                for position in 0..55 {
                    prop_assert_eq!(set.contains(position), model.contains(&position));
                    let first = set.first_in(position..50);
                    prop_assert_eq!(first.as_ref().map(|run| run.start), model.range(position..).next().copied().filter(|p| *p < 50));
                    if let Some(run) = first {
                        prop_assert!(run.clone().all(|p| model.contains(&p)) && (run.end == 50 || !model.contains(&run.end)));
                    }
                }
            }
        }

        #[test]
        fn first_without_skips_exactly_the_excluded(a in prop::collection::vec((0u64..40, 0u64..9), 0..8), b in prop::collection::vec((0u64..40, 0u64..9), 0..8)) {
            let (mut set, mut without) = (RangeSet::default(), RangeSet::default());
            a.into_iter().for_each(|(start, len)| set.insert(start..start + len));
            b.into_iter().for_each(|(start, len)| without.insert(start..start + len));
            let wanted = |p: &u64| set.contains(*p) && !without.contains(*p);
            for from in 0..50 {
                let first = set.first_without(from..45, &without);
                prop_assert_eq!(first.as_ref().map(|run| run.start), (from..45).find(wanted));
                if let Some(run) = first {
                    prop_assert!(run.clone().all(|p| wanted(&p)) && (run.end == 45 || !wanted(&run.end)));
                }
            }
        }
    }
}
