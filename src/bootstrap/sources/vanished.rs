//! When the snapshot that is being fetched counts as gone, and another one is worth a look.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time;

use super::{
    Sources,
    refusals::{BARREN_MAX, REFUSED_FOR_MIN},
};
use crate::{
    bootstrap::{
        drought::Drought,
        error::{JoinError, SourceTrouble},
        ready::Ready,
        ruled_out::RuledOut,
    },
    catalog::AgreedSnapshot,
    msp::MspId,
    snapshot::{BlockNumber, SnapshotHash, SnapshotId},
};

/// How long those who are connected may lack what is missing, while others offer another snapshot.
const BARREN_MIN: Duration = Duration::from_secs(30);

/// What may be taken instead.
#[derive(Debug, Clone, Copy)]
pub(in crate::bootstrap) struct Instead<'a> {
    /// No older block.
    pub(in crate::bootstrap) floor: BlockNumber,
    /// Fewest organisations that must offer the same.
    pub(in crate::bootstrap) orgs_min: usize,
    /// Nor what nobody gave before, though it was offered.
    pub(in crate::bootstrap) ruled_out: &'a RuledOut,
}

impl Sources {
    /// Why another snapshot is worth a look: nobody who is connected offers this one, for long enough if somebody may still come who
    /// does; or nobody of them gives what is missing (`drought`; `None`: nothing was
    /// asked for yet). And enough organisations offer the data of another one: a
    /// single source with something else must not cost us what is here.
    pub(in crate::bootstrap) fn vanished(
        &mut self,
        agreed: &AgreedSnapshot,
        instead: Instead<'_>,
        drought: Option<&Drought>,
        refused: bool,
    ) -> Option<JoinError> {
        let now = time::Instant::now();
        let lacking = refused || drought.is_some_and(|drought| drought.lacking_for(BARREN_MIN));
        let is_barren = lacking || drought.is_some_and(|drought| drought.nothing_for(BARREN_MAX));
        let has = || self.ready.values().any(|ready| ready.has(agreed.id(), agreed.manifest_hash()));
        if self.ready.is_empty() || (has() && !is_barren) {
            self.missed_since = None;
            return None;
        }
        let since = *self.missed_since.get_or_insert(now);
        let too_early = !is_barren && now.duration_since(since) < REFUSED_FOR_MIN && self.somebody_comes();
        // Who has this one, too, and gives nothing of it for now (it is busy), would give nothing of another one.
        let would_give = |ready: &Ready| lacking || !ready.has(agreed.id(), agreed.manifest_hash());
        if too_early || !self.enough_offer_another(agreed.id(), instead, would_give) {
            return None;
        }
        // Of the next target nothing is known yet.
        self.missed_since = None;
        let troubles = self
            .ready
            .keys()
            .map(|index| no_longer(self.address(*index), "it offers other snapshots, but no longer all of this one"));
        Some(JoinError::Vanished { id: agreed.id().clone(), troubles: troubles.chain(self.troubles()).collect() })
    }

    /// Whether so many organisations offer the data of the same other snapshot that they could vouch for it.
    fn enough_offer_another(&self, id: &SnapshotId, instead: Instead<'_>, of: impl Fn(&Ready) -> bool) -> bool {
        let mut orgs: BTreeMap<(BlockNumber, SnapshotHash), BTreeSet<&MspId>> = BTreeMap::new();
        for ready in self.ready.values().filter(|ready| of(ready)) {
            let others = ready.others_in_whole(id, instead.floor);
            let is_new = |block| !instead.ruled_out.gave_nothing(&SnapshotId { block_number: block, ..id.clone() });
            for (block, hash) in others.filter(|(block, _)| is_new(*block)) {
                orgs.entry((block, hash)).or_default().insert(&ready.session.peer().msp_id);
            }
        }
        orgs.values().any(|orgs| orgs.len() >= instead.orgs_min)
    }
}

/// What there is to say of a source that is connected and doesn't help.
pub(super) fn no_longer(source: &str, reason: &str) -> SourceTrouble {
    SourceTrouble { source: source.to_owned(), reason: reason.to_owned(), refused: false, dropped: false }
}
