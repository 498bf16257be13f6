//! Sets of user keys as ranges.

use std::ops::Range;

/// Ranges of keys, ascending, none of which touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ranges(Vec<Range<Vec<u8>>>);

impl Ranges {
    pub(super) fn new(mut ranges: Vec<Range<Vec<u8>>>) -> Self {
        ranges.retain(|range| !range.is_empty());
        ranges.sort_by(|one, other| one.start.cmp(&other.start));
        let mut disjoint: Vec<Range<Vec<u8>>> = Vec::new();
        for range in ranges {
            match disjoint.last_mut() {
                Some(last) if range.start <= last.end => last.end = range.end.max(std::mem::take(&mut last.end)),
                _ => disjoint.push(range),
            }
        }
        Self(disjoint)
    }

    /// The number of ranges that begin at or before the key: keys outside all ranges have the same if no range lies between them.
    pub(super) fn rank(&self, key: &[u8]) -> usize {
        self.0.partition_point(|range| range.start.as_slice() <= key)
    }

    /// The range that holds the key.
    pub(super) fn of(&self, key: &[u8]) -> Option<&Range<Vec<u8>>> {
        self.0.get(self.rank(key).checked_sub(1)?).filter(|range| key < range.end.as_slice())
    }

    pub(super) fn holds(&self, key: &[u8]) -> bool {
        self.of(key).is_some()
    }

    /// Whether any key from `first` to `last`, both included, could be in a range.
    pub(super) fn touch(&self, first: &[u8], last: &[u8]) -> bool {
        self.holds(first) || self.rank(first) != self.rank(last)
    }

    /// Whether all keys from `first` to `last`, both included, are in a range.
    pub(super) fn cover(&self, first: &[u8], last: &[u8]) -> bool {
        self.of(first).is_some_and(|range| last < range.end.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_know_their_keys() {
        let range = |start: &str, end: &str| start.as_bytes().to_vec()..end.as_bytes().to_vec();
        let ranges =
            Ranges::new(vec![range("m", "p"), range("c", "e"), range("d", "f"), range("z", "a"), range("p", "q")]);
        assert_eq!(ranges, Ranges(vec![range("c", "f"), range("m", "q")]));
        let held: Vec<&str> =
            "a b c d e f g l m o p q z".split(' ').filter(|key| ranges.holds(key.as_bytes())).collect();
        assert_eq!(held, ["c", "d", "e", "m", "o", "p"]);
        for (first, last, touches, covers) in [
            ("a", "b", false, false),
            ("a", "c", true, false),
            ("a", "z", true, false),
            ("d", "e", true, true),
            ("d", "g", true, false),
            ("f", "l", false, false),
            ("d", "n", true, false),
            ("g", "n", true, false),
        ] {
            let (first, last) = (first.as_bytes(), last.as_bytes());
            assert_eq!((ranges.touch(first, last), ranges.cover(first, last)), (touches, covers), "{first:?} {last:?}");
        }
    }
}
