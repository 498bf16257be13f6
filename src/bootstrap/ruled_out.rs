//! What a join found to lead nowhere, and when that is looked at again; and what it has begun until now.

use std::collections::{BTreeMap, BTreeSet};

use super::sources::Sources;
use crate::{
    catalog::AgreedSnapshot,
    snapshot::{ManifestHash, SnapshotId},
};

/// What a join found to lead nowhere.
#[derive(Debug, Default)]
pub(super) struct RuledOut {
    /// Not the files that were vouched for.
    manifests: BTreeSet<ManifestHash>,
    /// Given up; and whether somebody offered all of it even then, and gave nothing.
    snapshots: BTreeMap<SnapshotId, bool>,
    /// Every target that was ever given up, also one that is looked at again: something of it may lie in its work folder.
    earlier: BTreeSet<SnapshotId>,
}

impl RuledOut {
    pub(super) const fn manifests(&self) -> &BTreeSet<ManifestHash> {
        &self.manifests
    }

    pub(super) fn is_given_up(&self, id: &SnapshotId) -> bool {
        self.snapshots.contains_key(id)
    }

    /// Whether it was given up though somebody offered all of it: it would give as little again.
    pub(super) fn gave_nothing(&self, id: &SnapshotId) -> bool {
        self.snapshots.get(id).is_some_and(|was_offered| *was_offered)
    }

    /// That manifest doesn't lead to the files that were vouched for.
    pub(super) fn misleads(&mut self, manifest: ManifestHash) {
        self.manifests.insert(manifest);
    }

    /// Another snapshot is worth a look.
    pub(super) fn give_up(&mut self, agreed: &AgreedSnapshot, sources: &Sources) {
        let is_offered = sources.somebody_has_all(agreed.id());
        self.snapshots.insert(agreed.id().clone(), is_offered);
        self.earlier.insert(agreed.id().clone());
    }

    /// Takes back what was given up as nobody offered it, and is offered again; whether there is any such. Who offers something and doesn't
    /// give it can't bring that about: a join doesn't go in circles for it.
    pub(super) fn take_back(&mut self, sources: &Sources) -> bool {
        let before = self.snapshots.len();
        self.snapshots.retain(|id, was_offered| *was_offered || !sources.somebody_has_all(id));
        self.snapshots.len() < before
    }

    /// Takes everything back: somebody comes, with whatever it has.
    pub(super) fn take_all_back(&mut self) {
        self.snapshots.clear();
    }

    /// Whether a target was given up: from then on the join has begun, and doesn't end for want of sources.
    pub(super) fn has_begun(&self) -> bool {
        !self.earlier.is_empty()
    }
}
