//! What one source has: everything, or what it announced; less what it refused or sent wrong a while ago.

use std::time::Duration;

use super::{event::Have, ranges::RangeSet};

/// What a source said it lacks is asked again after this: partial sources grow, rot is repaired.
const REFUSED_FOR: Duration = Duration::from_secs(60);
/// Chunks that a source said it lacks before that counts as a lie about what it has (`protocol.md` 6, code 8).
const REFUSALS_TOLERATED: u32 = 2;

#[derive(Debug, Default)]
pub(super) struct Has {
    /// Not announced; empty: it has everything.
    absent: RangeSet,
    /// Refused, or sent wrong, though announced.
    refused: RangeSet,
    refused_until: Duration,
    refusals: u32,
    /// Both: what it isn't asked. Kept, as `choose` reads it all the time.
    lacks: RangeSet,
}

impl Has {
    /// What it isn't asked.
    pub(super) const fn lacks(&self) -> &RangeSet {
        &self.lacks
    }

    /// What it hasn't announced.
    pub(super) const fn absent(&self) -> &RangeSet {
        &self.absent
    }

    /// Takes an announcement, of `total` chunks. What is new in it can be asked at once, though it was refused before; what was announced
    /// and refused isn't believed sooner because it is announced again.
    pub(super) fn announce(&mut self, have: &Have, total: u64) {
        let all = 0..total;
        let announced = match have {
            Have::Complete => std::slice::from_ref(&all),
            Have::Ranges(ranges) => ranges.as_slice(),
        };
        let mut absent = RangeSet::default();
        absent.insert(all.clone());
        for range in announced {
            absent.remove(range.clone());
            let mut from = range.start;
            while let Some(grown) = self.absent.first_in(from..range.end) {
                self.refused.remove(grown.clone());
                from = grown.end;
            }
        }
        self.absent = absent;
        self.sum_up();
    }

    /// It is not to be asked for that one soon.
    pub(super) fn refuse(&mut self, now: Duration, linear: u64) {
        self.refused.insert(linear..linear + 1);
        self.lacks.insert(linear..linear + 1);
        self.refused_until = now + REFUSED_FOR;
    }

    /// It says itself that it lacks that one. Whether it has claimed too much by now.
    pub(super) fn said_it_lacks(&mut self, now: Duration, linear: u64) -> bool {
        self.refuse(now, linear);
        self.refusals += 1;
        let too_often = self.refusals > REFUSALS_TOLERATED;
        if too_often {
            self.refusals = 0;
        }
        too_often
    }

    /// When what it refused may be asked again; `None` if it refused nothing.
    pub(super) fn refused_until(&self) -> Option<Duration> {
        (!self.refused.is_empty()).then_some(self.refused_until)
    }

    pub(super) fn expire(&mut self, now: Duration) {
        if self.refused_until().is_some_and(|until| until <= now) {
            self.refused.clear();
            self.sum_up();
        }
    }

    fn sum_up(&mut self) {
        self.lacks = self.absent.clone();
        self.refused.runs().for_each(|run| self.lacks.insert(run));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_in_an_announcement_undoes_a_refusal() {
        let mut has = Has::default();
        has.announce(&Have::Ranges(vec![0..10, 10..10]), 100);
        has.refuse(Duration::ZERO, 5);
        has.refuse(Duration::ZERO, 50); // asked on an older word, say
        assert!([5, 10, 50, 99].iter().all(|linear| has.lacks().contains(*linear)) && !has.lacks().contains(4));
        has.announce(&Have::Complete, 100);
        assert!(has.absent().is_empty());
        assert!(has.lacks().contains(5), "announced before, and refused");
        assert!(!has.lacks().contains(50), "it has come by it since");
        has.expire(REFUSED_FOR);
        assert!(has.lacks().is_empty());
        has.announce(&Have::Ranges(vec![90..u64::MAX, 3..3]), 100);
        assert_eq!(has.lacks().len(), 90);
    }
}
