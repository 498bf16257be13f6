//! Who lied: by its identity, wherever it answers, for the rest of the job.

use super::Sources;
use crate::{
    bootstrap::{
        event::JoinEvent,
        keeper::{Peer, SourceIndex},
        ready::Ready,
    },
    catalog::{AgreedSnapshot, Attestation, Ban},
    snapshot::{ManifestHash, SnapshotHash, SnapshotId},
};

impl Sources {
    /// Whether the attestation is of an identity that lied, in this job or not long before.
    pub(in crate::bootstrap) fn lied_before(&self, attestation: &Attestation) -> bool {
        let signer = attestation.identity();
        self.banned.contains_key(&(signer.msp_id().clone(), signer.id()))
    }

    /// Drops whoever names that manifest with another snapshot hash than it has: no manifest can be both.
    pub(in crate::bootstrap) fn hold_to(
        &mut self,
        id: &SnapshotId,
        manifest_hash: ManifestHash,
        snapshot_hash: SnapshotHash,
    ) {
        let contradicts = |ready: &Ready| {
            let mut claims = ready.listing.claims.iter();
            claims
                .find(|claim| {
                    claim.id == *id && claim.manifest_hash == manifest_hash && claim.snapshot_hash != snapshot_hash
                })
                .map(|claim| claim.snapshot_hash)
        };
        let liars: Vec<(Peer, SnapshotHash)> =
            self.ready.values().filter_map(|ready| Some((ready.peer(), contradicts(ready)?))).collect();
        for (liar, named) in liars {
            let reason = format!(
                "its catalog names snapshot hash {named} of {id} with a manifest whose snapshot hash is {snapshot_hash}"
            );
            self.lied(&liar, &reason);
        }
    }

    /// Drops whoever offered, or still offers, the manifest that was agreed on: it doesn't lead to the files that were vouched for.
    pub(in crate::bootstrap) fn misled(&mut self, agreed: &AgreedSnapshot, offered_by: &[Peer], reason: &str) {
        let mut liars = offered_by.to_vec();
        liars.extend(self.who_offers(agreed.id(), agreed.manifest_hash()));
        for liar in liars {
            self.lied(&liar, &format!("its manifest does not lead to the files that were vouched for: {reason}"));
        }
    }

    /// Drops a source that lied, by name: every address where it answers now or later, for the rest of the job. Tells which do now:
    /// an address where somebody else has answered since (a name with several machines behind it) isn't blamed.
    pub(in crate::bootstrap) fn lied(&mut self, liar: &Peer, reason: &str) -> Vec<SourceIndex> {
        if self.banned.insert(liar.clone(), reason.to_owned()).is_none() {
            tracing::warn!(org = %liar.0, identity = %liar.1, reason, "a source lied: it isn't believed again");
            // A lie is rare: the driver may wait for the disk this once, so that not even a kill makes it forgotten.
            if let Some(records) = &self.keeps_bans {
                let (msp_id, identity_id) = liar.clone();
                records.ban(&Ban { msp_id, identity_id, reason: reason.to_owned(), since: (self.clock)() });
            }
        }
        let of_liar = self.known.iter().filter(|(_, peer)| *peer == liar).map(|(index, _)| *index);
        let dropped: Vec<SourceIndex> = of_liar.filter(|index| !self.dropped.contains(index)).collect();
        for &index in &dropped {
            (self.observer)(JoinEvent::SourceDropped {
                source: self.address(index).to_owned(),
                msp_id: liar.0.to_string(),
                identity_id: liar.1.to_string(),
                reason: reason.to_owned(),
            });
            self.drop_source(index, reason);
        }
        dropped
    }
}
