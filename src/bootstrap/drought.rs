//! How long those who are connected have given nothing of what is missing, and why.
//!
//! Leaves what follows from it to [`super::sources`].

use std::time::Duration;

use tokio::time::Instant;

use crate::chunking::plan::WaitsFor;

/// Two clocks: one stops at each word that gives hope, the other only at a chunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drought {
    /// Since when nobody who is connected has any of it.
    lacking_since: Option<Instant>,
    /// The last chunk that was proved.
    gave_at: Instant,
}

impl Drought {
    /// The transfer begins.
    pub(super) fn begin() -> Self {
        Self { lacking_since: None, gave_at: Instant::now() }
    }

    /// What the transfer waits for now. Who says when it may be asked again has what is missing.
    pub(super) fn waits_for(&mut self, waits_for: WaitsFor) {
        match waits_for {
            WaitsFor::Chunks => drop(self.lacking_since.get_or_insert_with(Instant::now)),
            WaitsFor::RetryAfter { .. } => self.lacking_since = None,
            WaitsFor::Sources | WaitsFor::Local => self.rested(),
            // A question that is under way has no answer yet.
            _ => {}
        }
    }

    /// Nobody could be asked for anything, or it was we who weren't through with what there is.
    pub(super) fn rested(&mut self) {
        *self = Self::begin();
    }

    /// Bytes come, or somebody who may bring some.
    pub(super) fn hope(&mut self) {
        self.lacking_since = None;
    }

    /// A chunk was proved.
    pub(super) fn gave(&mut self) {
        *self = Self::begin();
    }

    /// Whether nobody has had what is missing for so long.
    pub(super) fn lacking_for(&self, long: Duration) -> bool {
        self.lacking_since.is_some_and(|since| since.elapsed() >= long)
    }

    /// Whether no chunk has come for so long, whatever the sources say.
    pub(super) fn nothing_for(&self, long: Duration) -> bool {
        self.gave_at.elapsed() >= long
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn only_a_chunk_or_a_rest_ends_a_time_in_which_nothing_came() {
        let later = WaitsFor::RetryAfter { until: LONG };
        let mut drought = Drought::begin();
        for (waits_for, lacking) in [(WaitsFor::Chunks, true), (WaitsFor::Network, true), (later, false)] {
            drought.waits_for(waits_for);
            advance(LONG).await;
            assert_eq!((drought.lacking_for(LONG), drought.nothing_for(LONG)), (lacking, true), "{waits_for:?}");
        }
        drought.waits_for(WaitsFor::Chunks);
        advance(LONG).await;
        drought.hope();
        assert!(!drought.lacking_for(Duration::ZERO) && drought.nothing_for(LONG * 4));
        let nobody = |drought: &mut Drought| drought.waits_for(WaitsFor::Sources);
        let ours = |drought: &mut Drought| drought.waits_for(WaitsFor::Local);
        for end in [Drought::gave, Drought::rested, nobody, ours] {
            drought.waits_for(WaitsFor::Chunks);
            advance(LONG).await;
            assert!(drought.lacking_for(LONG) && drought.nothing_for(LONG));
            end(&mut drought);
            assert!(!drought.lacking_for(Duration::ZERO) && !drought.nothing_for(LONG));
        }
    }
}
