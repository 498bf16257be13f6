//! For how long what nobody gives now is waited for. A join waits for its target until it is stopped, as long as somebody may come who
//! has it; every other command ends by itself.

use std::{sync::Arc, time::Duration};

use tokio::time;

use super::{Instead, SourceIndex, Sources, refusals::BARREN_MAX, vanished::no_longer};
use crate::{bootstrap::error::JoinError, catalog::AgreedSnapshot};

/// How long those who are lost may take to come back and give what all others refuse or lack: a restart of theirs.
pub(super) const LOST_MAY_HAVE_IT: Duration = Duration::from_secs(10);
/// How long who refuses a part of the target may take to say what it offers instead: its catalog is asked for once a second.
const OFFERS_INSTEAD: Duration = Duration::from_secs(3);
/// How often it is looked whether the target is still offered: time counts too.
pub(super) const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// For how long a job waits for what can't be given now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bootstrap) enum Patience {
    /// Not at all: everybody is asked once.
    Once,
    /// Until nothing was given for ten minutes: the command ends, whatever sources do.
    Limited,
    /// Until it is stopped, as long as somebody may come who gives it.
    UntilStopped,
}

impl Patience {
    /// When it is at its end, if nothing was given since then; `None`: not for that.
    pub(super) fn ends(self, since: time::Instant) -> Option<time::Instant> {
        match self {
            Self::Once | Self::UntilStopped => None,
            Self::Limited => Some(since + BARREN_MAX),
        }
    }
}

/// The snapshot that a join has agreed on.
#[derive(Debug, Clone, Copy)]
pub(in crate::bootstrap) struct Target<'a> {
    pub(in crate::bootstrap) agreed: &'a Arc<AgreedSnapshot>,
    /// What may be taken in its place; `None`: nothing may.
    pub(in crate::bootstrap) instead: Option<Instead<'a>>,
}

impl Sources {
    /// Why the target is waited for no longer, before its first chunk is asked for: another one is worth a look, or nobody has this one
    /// and nobody comes who might.
    /// `refused`: by all who offer it, for good.
    pub(super) fn gone(&mut self, target: Target<'_>, refused: bool) -> Option<JoinError> {
        let vanished = target.instead.and_then(|instead| self.vanished(target.agreed, instead, None, refused));
        vanished
            .or_else(|| self.no_longer_offered(target.agreed))
            .or_else(|| self.nobody_comes().then(|| self.nobody()))
    }

    /// When a part of the target, refused for good by all who offer it, is given up; `last`: the last refusal.
    pub(super) fn refused_until(&self, last: time::Instant) -> time::Instant {
        last + if self.somebody_comes() { LOST_MAY_HAVE_IT } else { OFFERS_INSTEAD }
    }

    /// Nobody who is connected offers it any more, and nobody else comes.
    pub(super) fn no_longer_offered(&self, agreed: &AgreedSnapshot) -> Option<JoinError> {
        let offered = self.ready.values().any(|ready| ready.has(agreed.id(), agreed.manifest_hash()));
        if self.ready.is_empty() || offered || self.somebody_comes() {
            return None;
        }
        let gone = |index: &SourceIndex| no_longer(self.address(*index), "it no longer offers this snapshot");
        let troubles = self.ready.keys().map(gone).chain(self.troubles()).collect();
        Some(JoinError::NoLongerOffered { id: agreed.id().clone(), troubles })
    }

    /// Whether somebody who answered in this job is lost, and dialled again.
    pub(super) fn somebody_comes_back(&self) -> bool {
        let gone = |index: &SourceIndex| {
            self.ready.contains_key(index) || self.dropped.contains(index) || self.given_up.contains(index)
        };
        self.known.keys().any(|index| !gone(index))
    }
}
