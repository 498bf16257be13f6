//! What sources give beside chunks: manifests, attestations, chunk trees. Each is asked of whoever offers it, with patience.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::{task::JoinSet, time};

use super::Sources;
use crate::{
    bootstrap::{
        dialer::again_after,
        error::{JoinError, SourceTrouble},
        event::JoinEvent,
        keeper::{News, Peer, SourceIndex},
        ready::{AttestError, GiveError, Ready},
    },
    catalog::{AgreedSnapshot, Attestation, Heard},
    chunking::FileTree,
    snapshot::{Manifest, ManifestFile, ManifestHash, SnapshotId},
    transport::sleep_until,
};

/// How long those who are lost may take to come back and give what all others refuse: a restart of theirs.
const LOST_MAY_HAVE_IT: Duration = Duration::from_secs(10);

/// How long an answer is waited for once the others' are enough: a source that is silent for so long has stalled.
const LATE_ANSWER_MIN: Duration = Duration::from_secs(5);
/// Or so many times what those others took.
const LATE_ANSWER_FACTOR: u32 = 4;

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
        let ask = |ready: Ready| async move { Ok(ready.session.manifest(id, hash).await?) };
        self.whoever_gives(id, "the manifest", names, ask).await
    }

    /// What every connected source that offers that block attests, asked of all at once, with what they relay of others. Who sends
    /// something that no honest service would is dropped. Once what was said is `enough` to agree on, a source that falls
    /// silent holds up nobody for long.
    pub(in crate::bootstrap) async fn attestations(
        &mut self,
        id: &SnapshotId,
        nonce: &[u8],
        enough: impl Fn(Vec<Heard>) -> bool,
    ) -> Vec<Heard> {
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
                until = Some(time::Instant::now() + LATE_ANSWER_MIN.max(asked_at.elapsed() * LATE_ANSWER_FACTOR));
            }
        }
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
        heard
    }

    /// The chunk tree of one file, from whoever delivers one that merges to the agreed root; who sends another is dropped.
    ///
    /// # Errors
    /// [`JoinError::NotDelivered`] if nobody does, [`JoinError::EverySourceDropped`] if that's because all lie.
    pub(in crate::bootstrap) async fn chunk_tree(
        &mut self,
        agreed: &AgreedSnapshot,
        file_index: u32,
        file: &ManifestFile,
    ) -> Result<FileTree, JoinError> {
        let has = |ready: &Ready| ready.has(agreed.id(), agreed.manifest_hash());
        let ask = |ready: Ready| async move { ready.chunk_tree(agreed, file_index, file.size).await };
        self.whoever_gives(agreed.id(), &format!("the chunk tree of {}", file.file), has, ask).await
    }

    /// Asks those who offer it, one after the other, until one gives it. Who is busy, silent or lost is asked again, if this job has
    /// the patience; a lie or a refusal that won't change is the last word of a source.
    pub(super) async fn whoever_gives<T, F: Future<Output = Result<T, GiveError>>>(
        &mut self,
        id: &SnapshotId,
        what: &str,
        offers: impl Fn(&Ready) -> bool,
        ask: impl Fn(Ready) -> F,
    ) -> Result<T, JoinError> {
        let mut answers: BTreeMap<SourceIndex, Answer> = BTreeMap::new();
        loop {
            let now = time::Instant::now();
            let due = self.ready.iter().find(|(index, ready)| {
                offers(ready) && answers.get(index).is_none_or(|answer| answer.again.is_some_and(|at| at <= now))
            });
            if let Some((index, ready)) = due.map(|(index, ready)| (*index, ready.clone())) {
                let peer = ready.peer();
                match ask(ready).await {
                    Ok(given) => return Ok(given),
                    Err(GiveError::Ask(error)) => {
                        let again = again_after(&error).map(|pause| time::Instant::now() + pause);
                        let trouble = self.failed(index, &peer, &error);
                        let told = answers.get(&index).is_some_and(|before| before.trouble.reason == trouble.reason);
                        if again.is_some() && !told {
                            let (source, reason) = (trouble.source.clone(), trouble.reason.clone());
                            (self.observer)(JoinEvent::SourceFailed { source, reason });
                        }
                        answers.insert(index, Answer { trouble, again, at: time::Instant::now() });
                    }
                    Err(GiveError::Proof(error)) => {
                        self.lied(&peer, &error.to_string());
                    }
                }
                continue;
            }
            let connected = self.ready.iter().filter(|(_, ready)| offers(ready));
            let connected: Vec<Option<&Answer>> = connected.map(|(index, _)| answers.get(index)).collect();
            // Once all who are connected have refused for good, only who was lost can still give it.
            let refused = connected.iter().all(|answer| answer.is_some_and(|answer| answer.again.is_none()));
            let last = connected.iter().flatten().map(|answer| answer.at + LOST_MAY_HAVE_IT).max();
            let over = refused && (!self.somebody_comes_back() || last.is_some_and(|last| last <= now));
            if over || !self.patient {
                return Err(self.not_delivered(what.to_owned(), id, &answers));
            }
            let wake = if refused { last } else { connected.iter().flatten().filter_map(|answer| answer.again).min() };
            tokio::select! {
                biased;
                news = self.next() => if let News::Ready(index, _) = news {
                    answers.remove(&index);
                },
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Whether somebody who answered in this job is lost, and dialled again.
    pub(in crate::bootstrap) fn somebody_comes_back(&self) -> bool {
        let gone = |index: &SourceIndex| {
            self.ready.contains_key(index) || self.dropped.contains(index) || self.given_up.contains(index)
        };
        self.known.keys().any(|index| !gone(index))
    }

    fn not_delivered(&self, what: String, id: &SnapshotId, answers: &BTreeMap<SourceIndex, Answer>) -> JoinError {
        if self.all_dropped() {
            return self.nobody();
        }
        // What it did last: a source that lied or was lost said nothing after that.
        let indexes = self.known.keys().filter_map(|index| {
            self.troubles.get(index).or_else(|| answers.get(index).map(|answer| &answer.trouble)).cloned()
        });
        JoinError::NotDelivered { what, id: id.clone(), troubles: indexes.collect() }
    }
}

/// What a source said last to a request.
#[derive(Debug)]
struct Answer {
    trouble: SourceTrouble,
    /// When it is asked again; `None`: it won't say anything else.
    again: Option<time::Instant>,
    at: time::Instant,
}
