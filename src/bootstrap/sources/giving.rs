//! What sources give beside chunks: manifests, attestations, chunk trees. Decides who may be asked for each; `hedged` asks them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::{task::JoinSet, time};

use super::{
    LATE_FACTOR, LATE_MIN, Sources, Target,
    hedged::{Hedge, Wanted},
};
use crate::{
    bootstrap::{
        dialer::again_after,
        error::{JoinError, SourceTrouble},
        event::JoinEvent,
        keeper::{Peer, SourceIndex},
        ready::{AttestError, Ready},
    },
    catalog::{Attestation, Heard},
    chunking::FileTree,
    snapshot::{Manifest, ManifestFile, ManifestHash, SnapshotId},
    transport::sleep_until,
};

impl Sources {
    /// The manifest of that hash, from whoever names and delivers it first.
    ///
    /// # Errors
    /// [`JoinError::NotDelivered`] if nobody does, [`JoinError::EverySourceDropped`] if that's because all lie.
    pub(in crate::bootstrap) async fn manifest(
        &mut self,
        id: &SnapshotId,
        hash: ManifestHash,
    ) -> Result<Manifest, JoinError> {
        // Who has only the metadata left still has the manifest.
        let names =
            |ready: &Ready| ready.listing.claims.iter().any(|claim| claim.id == *id && claim.manifest_hash == hash);
        let ask = |ready: Ready| {
            let id = id.clone();
            async move { Ok(ready.session.manifest(&id, hash).await?) }
        };
        let wanted = Wanted { id, what: "the manifest", hedge: Hedge::Soon, target: None };
        self.whoever_gives(wanted, names, ask).await
    }

    /// What every connected source that offers that block attests, asked of all at once, with what they relay of others. Who sends
    /// something that no honest service would is dropped. Once what was said is `enough` to agree on, a source that falls
    /// silent holds up nobody for long. Whether all have answered.
    pub(in crate::bootstrap) async fn attestations(
        &mut self,
        id: &SnapshotId,
        nonce: &[u8],
        enough: impl Fn(Vec<Heard>) -> bool,
    ) -> (Vec<Heard>, bool) {
        let mut asking = JoinSet::new();
        let mut awaited = BTreeSet::new();
        for (index, ready) in self.ready.iter().filter(|(_, ready)| ready.offers_block(id)) {
            let (index, ready, id, nonce) = (*index, ready.clone(), id.clone(), nonce.to_vec());
            awaited.insert(index);
            asking.spawn(async move { (index, ready.peer(), ready.attestations(&id, &nonce).await) });
        }
        let asked_at = time::Instant::now();
        let mut until = None;
        // In the order of the sources, whoever answers first: what is said of them doesn't depend on the network.
        let mut answers = BTreeMap::new();
        loop {
            let answer = tokio::select! {
                biased;
                answer = asking.join_next() => answer,
                () = sleep_until(until) => break,
            };
            let Some(answer) = answer else { break };
            if let Ok((index, peer, answer)) = answer {
                awaited.remove(&index);
                answers.insert(index, (peer, answer));
            }
            let said = || {
                let of_one = |(index, (_, answer)): (&SourceIndex, &(Peer, Result<Vec<Attestation>, AttestError>))| {
                    let source = self.address(*index).to_owned();
                    let attestations = answer.iter().flatten().cloned();
                    attestations.map(|attestation| Heard { attestation, source: source.clone() }).collect::<Vec<_>>()
                };
                answers.iter().flat_map(of_one).collect::<Vec<Heard>>()
            };
            if until.is_none() && !awaited.is_empty() && enough(said()) {
                until = Some(time::Instant::now() + LATE_MIN.max(asked_at.elapsed() * LATE_FACTOR));
            }
        }
        let all = awaited.is_empty();
        for index in awaited {
            let reason = format!("it doesn't say in time whether it attests {id}: those who did are enough");
            (self.observer)(JoinEvent::SourceFailed { source: self.address(index).to_owned(), reason });
        }
        let mut heard = Vec::new();
        for (index, (peer, answer)) in answers {
            match answer {
                Ok(attestations) => heard.extend(
                    attestations
                        .into_iter()
                        .map(|attestation| Heard { attestation, source: self.address(index).to_owned() }),
                ),
                Err(AttestError::Lie(reason)) => drop(self.lied(&peer, &reason)),
                Err(AttestError::Ask(error)) => {
                    let trouble = self.failed(index, &peer, &error);
                    let reason = format!("it doesn't attest {id}: {}", trouble.reason);
                    (self.observer)(JoinEvent::SourceFailed { source: trouble.source.clone(), reason: reason.clone() });
                    // That it has none is an answer; that it can't or won't say is none.
                    if trouble.refused || again_after(&error).is_some() {
                        self.silent.insert(index, SourceTrouble { reason, ..trouble });
                    }
                }
            }
        }
        (heard, all)
    }

    /// The chunk tree of one file, from whoever delivers one that merges to the agreed root; who sends another is dropped. Who may still
    /// have it is waited for, as for a chunk.
    ///
    /// # Errors
    /// [`JoinError::Vanished`] if another snapshot is worth a look, [`JoinError::NoLongerOffered`] or [`JoinError::NotDelivered`] if
    /// nobody has or gives it, [`JoinError::NoSource`] if nobody is there and nobody comes, [`JoinError::EverySourceDropped`] if that's
    /// because all lie.
    pub(in crate::bootstrap) async fn chunk_tree(
        &mut self,
        target: Target<'_>,
        file_index: u32,
        file: &ManifestFile,
    ) -> Result<FileTree, JoinError> {
        let agreed = target.agreed;
        let has = |ready: &Ready| ready.has(agreed.id(), agreed.manifest_hash());
        let ask = |ready: Ready| {
            let (agreed, size) = (Arc::clone(agreed), file.size);
            async move { ready.chunk_tree(&agreed, file_index, size).await }
        };
        let what = format!("the chunk tree of {}", file.file);
        let wanted = Wanted { id: agreed.id(), what: &what, hedge: Hedge::Soon, target: Some(target) };
        self.whoever_gives(wanted, has, ask).await
    }
}
