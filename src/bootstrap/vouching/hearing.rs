//! What is kept of what was said: each word once, and no more of it than there is room for.

use super::Vouching;
use crate::{
    bootstrap::on_disk,
    catalog::{AttestBody, Attestation, Heard},
    snapshot::SnapshotId,
};

/// Most bytes of statements that are kept in a join; beyond, only what each source signs itself.
pub(super) const HEARD_BYTES_MAX: usize = 16 << 20;
/// How what an earlier join kept is named in reports.
pub(super) const KEPT_SOURCE: &str = "an earlier join";
impl Vouching<'_> {
    /// Keeps what was said of that block, in place of the same that was said before; of what is relayed no more than there is room for.
    pub(super) fn hear(&mut self, id: &SnapshotId, all_heard: Vec<Heard>) {
        // Asked again, a source that says the same has said it once.
        let said = |heard: &Heard| {
            let body = heard.attestation.body();
            (
                heard.source.clone(),
                heard.attestation.identity().id(),
                body.snapshot_hash,
                body.manifest_hash,
                body.commit_hash,
            )
        };
        let again: Vec<_> = all_heard.iter().map(said).collect();
        self.statements.heard.retain(|heard| heard.attestation.body().id != *id || !again.contains(&said(heard)));
        let mut held_bytes = heard_bytes(&self.statements.heard);
        for heard in all_heard {
            // Made for us: by the source itself, one each.
            let own = heard.attestation.body().request_nonce == self.nonce;
            let bytes = held_bytes.saturating_add(heard.attestation.body_bytes().len());
            if own || bytes <= self.heard_bytes_max {
                held_bytes = bytes;
                self.statements.heard.push(heard);
            }
        }
    }

    /// What was said and proved of that block in earlier joins: who says something else now is found out again.
    pub(super) async fn remember(&mut self, id: &SnapshotId) {
        let Some((records, workers)) = self.records else { return };
        let records = records.clone();
        let (wanted, now) = (id.clone(), (self.clock)());
        let read = on_disk(workers, move || Ok((records.said_before(&wanted, now), records.proofs(&wanted))));
        let Ok((said_before, proofs)) = read.await else { return };
        // Asked again, an earlier join has said it once.
        self.statements.heard.retain(|heard| heard.source != KEPT_SOURCE || heard.attestation.body().id != *id);
        if self.remembered.insert(id.block_number) {
            self.statements.proofs.extend(proofs);
        }
        for attestation in said_before.into_iter().filter(|said| self.matters(said)).collect::<Vec<_>>() {
            self.statements.heard.push(Heard { attestation, source: KEPT_SOURCE.to_owned() });
        }
    }

    /// Whether what was said before can change anything: it contradicts its signer or, by a manifest that is at hand, another peer; or
    /// nobody of its organisation speaks now. Another peer's word whose manifest is gone would only raise a doubt.
    pub(super) fn matters(&self, said: &Attestation) -> bool {
        let (org, body) = (said.identity().msp_id(), said.body());
        let of_org =
            |heard: &&Heard| heard.attestation.body().id == body.id && heard.attestation.identity().msp_id() == org;
        let mut others = self.statements.heard.iter().filter(of_org).peekable();
        if others.peek().is_none() {
            return !self.trust.policy.require_live;
        }
        let at_hand = self.manifests.contains_key(&(body.id.clone(), body.manifest_hash));
        let claim = |body: &AttestBody| (body.snapshot_hash, body.manifest_hash, body.commit_hash);
        others.any(|heard| {
            let same_signer = heard.attestation.identity().id() == said.identity().id();
            claim(heard.attestation.body()) != claim(body) && (same_signer || at_hand)
        })
    }
}

/// Bytes of all these statements.
pub(super) fn heard_bytes(heard: &[Heard]) -> usize {
    heard.iter().map(|heard| heard.attestation.body_bytes().len()).sum()
}
