//! When no chunk will ever come, though sources are connected; and what they say meanwhile.

use std::time::Duration;

use tokio::time;

use super::{Sources, trouble, vanished};
use crate::{
    bootstrap::{
        drought::Drought,
        error::{JoinError, SourceTrouble},
        keeper::SourceIndex,
    },
    catalog::AgreedSnapshot,
    transport::asking::AskError,
};

/// How long who is connected may lack what is missing before no more is expected of them: chunks come to those who are joining
/// themselves, and rot is repaired.
pub(super) const BARREN_MAX: Duration = Duration::from_secs(600);

/// A refusal of chunks is a source's last word when it was given so often ...
const REFUSALS_MIN: u32 = 3;
/// ... and for so long: an operator may be about to change an access rule or to put a folder back, but not for hours in silence.
pub(super) const REFUSED_FOR_MIN: Duration = Duration::from_secs(10);

/// How a source refuses chunks in a way that won't change.
#[derive(Debug)]
pub(super) struct Refusals {
    count: u32,
    since: time::Instant,
    trouble: SourceTrouble,
}

impl Refusals {
    fn new(trouble: &SourceTrouble, since: time::Instant) -> Self {
        Self { count: 0, since, trouble: trouble.clone() }
    }

    /// Said often and for long enough to be believed.
    fn last_word(&self, now: time::Instant) -> bool {
        self.count >= REFUSALS_MIN && now.duration_since(self.since) >= REFUSED_FOR_MIN
    }
}

impl Sources {
    /// A request for chunks was refused in a way that won't change.
    pub(in crate::bootstrap) fn refused(&mut self, index: SourceIndex, error: &AskError) {
        let trouble = trouble(self.address(index), error);
        let refusals = self.refusals.entry(index).or_insert_with(|| Refusals::new(&trouble, time::Instant::now()));
        refusals.count = refusals.count.saturating_add(1);
        refusals.trouble = trouble;
    }

    /// A proved chunk came from it: what it refused before isn't all it says.
    pub(in crate::bootstrap) fn gave(&mut self, index: SourceIndex) {
        self.refusals.remove(&index);
    }

    /// What those who offer the snapshot say, if all of them refuse its chunks: what a transfer waits for.
    pub(in crate::bootstrap) fn all_refuse(&self, agreed: &AgreedSnapshot) -> Option<String> {
        let refusals = self.refusals_of_all(agreed)?;
        let each = refusals.iter().map(|refusals| {
            let SourceTrouble { source, reason, .. } = &refusals.trouble;
            format!("{source}: {reason}")
        });
        Some(format!("sources that refuse the chunks: {}", each.collect::<Vec<_>>().join("; ")))
    }

    /// Why no chunk will ever come, though sources are connected: all who offer the snapshot have refused often and for long enough
    /// (and nobody who was connected is lost), or nobody offers it any more and nobody else comes. [`super::fetch`] asks this as long as
    /// chunks are missing.
    pub(in crate::bootstrap) fn withheld(&self, agreed: &AgreedSnapshot, drought: &Drought) -> Option<JoinError> {
        let withheld = |troubles| JoinError::Withheld { id: agreed.id().clone(), troubles };
        if drought.lacking_for(BARREN_MAX) && !self.somebody_comes() {
            let lacks = |index: &SourceIndex| {
                vanished::no_longer(
                    self.address(*index),
                    "it offers this snapshot, but none of the chunks that are missing",
                )
            };
            return Some(withheld(self.ready.keys().map(lacks).chain(self.troubles()).collect()));
        }
        if let Some(error) = self.no_longer_offered(agreed) {
            return Some(error);
        }
        // Who was there and is lost may give it, or say what there is instead.
        let for_good = self.all_refuse_for_good(agreed) && !self.somebody_comes_back();
        let refusals = self.refusals_of_all(agreed).filter(|_| for_good)?;
        Some(withheld(refusals.iter().map(|refusals| refusals.trouble.clone()).collect()))
    }

    /// Whether all who offer the snapshot have said their last word about its chunks.
    pub(in crate::bootstrap) fn all_refuse_for_good(&self, agreed: &AgreedSnapshot) -> bool {
        let now = time::Instant::now();
        self.refusals_of_all(agreed).is_some_and(|all| all.iter().all(|refusals| refusals.last_word(now)))
    }

    /// One of each source that offers the snapshot; `None` if there is no such source, or one that hasn't refused.
    fn refusals_of_all(&self, agreed: &AgreedSnapshot) -> Option<Vec<&Refusals>> {
        let offering = self.ready.iter().filter(|(_, ready)| ready.has(agreed.id(), agreed.manifest_hash()));
        let refusals: Option<Vec<&Refusals>> = offering.map(|(index, _)| self.refusals.get(index)).collect();
        refusals.filter(|refusals| !refusals.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_the_last_word_once_it_was_given_often_and_for_long_enough() {
        let since = time::Instant::now();
        let trouble = SourceTrouble { source: String::new(), reason: String::new(), refused: true, dropped: false };
        let later = since + REFUSED_FOR_MIN;
        for (count, now, last) in [(3, later, true), (2, later, false), (3, since + REFUSED_FOR_MIN / 2, false)] {
            assert_eq!(Refusals { count, ..Refusals::new(&trouble, since) }.last_word(now), last);
        }
    }
}
