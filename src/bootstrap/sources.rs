//! The sources of one job: each address is dialled, asked for its catalog, and dialled again whenever it is lost.
//!
//! Decides when to dial. Leaves to `catalog::agreement` what may be believed, to `fetch` what is asked of whom.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::JoinHandle, time};

use super::{
    error::{JoinError, SourceTrouble},
    event::{JoinEvent, Observer},
};
use crate::{
    catalog::CatalogEntry,
    snapshot::{ChannelId, ChunkTree, GroupValue, Manifest, ManifestHash, SnapshotId},
    transport::{AskError, AskProblem, ConnectParams, ErrorCode, Fault, Listing, Session},
};

/// First wait before a lost source is dialled again; doubled up to [`REDIAL_MAX`].
const REDIAL_FIRST: Duration = Duration::from_millis(500);
/// Longest wait before a source is dialled again.
const REDIAL_MAX: Duration = Duration::from_secs(20);

/// A source by its place in the operator's list.
pub(super) type SourceIndex = u32;

/// A source that accepted us.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    pub(super) session: Arc<Session>,
    pub(super) listing: Arc<Listing>,
}

/// What happened to a source.
#[derive(Debug)]
pub(super) enum News {
    Ready(SourceIndex, Ready),
    Failed(SourceIndex, SourceTrouble),
    Lost(SourceIndex, String),
}

/// All sources of a job. Dropped, it closes every connection.
#[derive(Debug)]
pub(super) struct Sources {
    addresses: Vec<String>,
    keepers: Vec<JoinHandle<()>>,
    news: mpsc::UnboundedReceiver<News>,
    ready: BTreeMap<SourceIndex, Ready>,
    troubles: BTreeMap<SourceIndex, SourceTrouble>,
    observer: Observer,
}

impl Sources {
    /// Starts to dial every source.
    pub(super) fn dial(params: Vec<ConnectParams>, channel: &ChannelId, observer: Observer) -> Self {
        let (sender, news) = mpsc::unbounded_channel();
        let addresses = params.iter().map(|params| params.address.clone()).collect();
        let keepers = (0..)
            .zip(params)
            .map(|(index, params)| tokio::spawn(keep(index, params, channel.clone(), sender.clone())))
            .collect();
        Self { addresses, keepers, news, ready: BTreeMap::new(), troubles: BTreeMap::new(), observer }
    }

    /// Waits until each source has answered or failed once.
    ///
    /// # Errors
    /// [`JoinError::NoSource`] if none answered.
    pub(super) async fn settle(&mut self) -> Result<(), JoinError> {
        while self.ready.len() + self.troubles.len() < self.addresses.len() {
            let Some(news) = self.news.recv().await else { break };
            self.take(&news);
        }
        if self.ready.is_empty() {
            return Err(JoinError::NoSource { troubles: self.troubles() });
        }
        Ok(())
    }

    /// The next thing that happens to a source.
    pub(super) async fn next(&mut self) -> News {
        match self.news.recv().await {
            Some(news) => {
                self.take(&news);
                news
            }
            None => std::future::pending().await, // every keeper was stopped: nothing happens any more
        }
    }

    /// Those that are connected.
    pub(super) const fn ready(&self) -> &BTreeMap<SourceIndex, Ready> {
        &self.ready
    }

    /// Those that aren't, and why.
    pub(super) fn troubles(&self) -> Vec<SourceTrouble> {
        self.troubles.values().cloned().collect()
    }

    /// The address as the operator wrote it.
    pub(super) fn address(&self, index: SourceIndex) -> &str {
        usize::try_from(index).ok().and_then(|index| self.addresses.get(index)).map_or("?", String::as_str)
    }

    /// Never dials the source again, and closes its connection with the code for `fault`.
    pub(super) fn drop_source(&mut self, index: SourceIndex, fault: Fault, reason: &str) {
        if let Some(keeper) = usize::try_from(index).ok().and_then(|index| self.keepers.get(index)) {
            keeper.abort();
        }
        if let Some(ready) = self.ready.remove(&index) {
            ready.session.close(fault.close_code(), reason);
            let trouble = SourceTrouble { source: self.address(index).to_owned(), reason: reason.to_owned(), refused: false };
            self.troubles.insert(index, trouble);
        }
    }

    /// The manifest of that hash, from whoever delivers it first.
    ///
    /// # Errors
    /// [`JoinError::NotDelivered`] if nobody does.
    pub(super) async fn manifest(&mut self, id: &SnapshotId, hash: ManifestHash, from: &[SourceIndex]) -> Result<Manifest, JoinError> {
        let mut troubles = Vec::new();
        for &index in from {
            let Some(ready) = self.ready.get(&index).cloned() else { continue };
            match ready.session.manifest(id, hash).await {
                Ok(manifest) => return Ok(manifest),
                Err(error) => troubles.push(self.failed(index, &ready, &error)),
            }
        }
        Err(JoinError::NotDelivered { what: "the manifest".to_owned(), id: id.clone(), troubles })
    }

    /// The list of group values of one file, from whoever delivers one that `prove` believes; who sends another is dropped.
    ///
    /// # Errors
    /// [`JoinError::NotDelivered`] if nobody does.
    pub(super) async fn chunk_tree<T>(
        &mut self,
        manifest: &Manifest,
        hash: ManifestHash,
        file_index: u32,
        from: &[SourceIndex],
        prove: impl Fn(Vec<GroupValue>) -> Result<T, crate::chunking::ProofError>,
    ) -> Result<T, JoinError> {
        let id = manifest.id();
        let Some(file) = usize::try_from(file_index).ok().and_then(|index| manifest.files().get(index)) else {
            return prove(Vec::new()).map_err(JoinError::Proof);
        };
        if ChunkTree::small(file.size).is_ok() {
            return prove(Vec::new()).map_err(JoinError::Proof);
        }
        let mut troubles = Vec::new();
        for &index in from {
            let Some(ready) = self.ready.get(&index).cloned() else { continue };
            match ready.session.tree(&id, hash, file_index, file.size).await {
                Ok(values) => match prove(values) {
                    Ok(tree) => return Ok(tree),
                    Err(error) => {
                        let reason = error.to_string();
                        self.lied(index, &ready, &reason);
                        troubles.push(SourceTrouble { source: self.address(index).to_owned(), reason, refused: false });
                    }
                },
                Err(error) => troubles.push(self.failed(index, &ready, &error)),
            }
        }
        Err(JoinError::NotDelivered { what: format!("the chunk tree of {}", file.file), id, troubles })
    }

    /// Drops a source that lied, by name: every address of that identity.
    pub(super) fn lied(&mut self, index: SourceIndex, ready: &Ready, reason: &str) {
        (self.observer)(JoinEvent::SourceDropped {
            source: self.address(index).to_owned(),
            msp_id: ready.session.peer().msp_id.to_string(),
            identity_id: ready.session.peer().identity_id.to_string(),
            reason: reason.to_owned(),
        });
        self.drop_source(index, Fault::Peer, reason);
    }

    fn failed(&mut self, index: SourceIndex, ready: &Ready, error: &AskError) -> SourceTrouble {
        let trouble = trouble(self.address(index), error);
        if error.fault() == Fault::Peer {
            self.lied(index, ready, &trouble.reason);
        }
        trouble
    }

    fn take(&mut self, news: &News) {
        match news {
            News::Ready(index, ready) => {
                self.troubles.remove(index);
                self.ready.insert(*index, ready.clone());
                (self.observer)(JoinEvent::SourceReady {
                    source: self.address(*index).to_owned(),
                    msp_id: ready.session.peer().msp_id.to_string(),
                    identity_id: ready.session.peer().identity_id.to_string(),
                    snapshots: ready.listing.claims.len(),
                });
            }
            News::Failed(index, trouble) => {
                self.ready.remove(index);
                let known = self.troubles.insert(*index, trouble.clone());
                if known.is_none_or(|known| known.reason != trouble.reason) {
                    let (source, reason) = (trouble.source.clone(), trouble.reason.clone());
                    (self.observer)(JoinEvent::SourceFailed { source, reason });
                }
            }
            News::Lost(index, reason) => {
                self.ready.remove(index);
                let source = self.address(*index).to_owned();
                let trouble = SourceTrouble { source: source.clone(), reason: reason.clone(), refused: false };
                self.troubles.insert(*index, trouble);
                (self.observer)(JoinEvent::SourceLost { source, reason: reason.clone() });
            }
        }
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        self.keepers.iter().for_each(JoinHandle::abort);
        for ready in self.ready.values() {
            ready.session.close(ErrorCode::Ok, "done");
        }
    }
}

impl Ready {
    /// What the source claims of that snapshot, if it claims it with its data.
    pub(super) fn offers(&self, id: &SnapshotId, manifest_hash: ManifestHash) -> bool {
        let mut claims = self.listing.claims.iter();
        claims.any(|claim| {
            claim.id == *id && claim.manifest_hash == manifest_hash && !claim.only_metadata_available && !claim.partial
        })
    }

    /// Its claims as the catalog's own type.
    pub(super) fn entries(&self) -> Vec<CatalogEntry> {
        let entry = |claim: &crate::transport::CatalogClaim| CatalogEntry {
            id: claim.id.clone(),
            manifest_hash: claim.manifest_hash,
            snapshot_hash: claim.snapshot_hash,
            total_bytes: claim.total_bytes,
            files: claim.files,
            only_metadata_available: claim.only_metadata_available,
            partial: claim.partial,
            commit_hash: claim.last_block_commit_hash,
        };
        self.listing.claims.iter().map(entry).collect()
    }
}

/// An error at a source, as the operator reads it.
pub(super) fn trouble(address: &str, error: &AskError) -> SourceTrouble {
    let refused = matches!(error.problem, AskProblem::Certificate { .. } | AskProblem::Identity(_))
        || matches!(error.code(), Some(ErrorCode::Unauthorized | ErrorCode::Forbidden));
    SourceTrouble { source: address.to_owned(), reason: error.problem.to_string(), refused }
}

async fn keep(index: SourceIndex, params: ConnectParams, channel: ChannelId, news: mpsc::UnboundedSender<News>) {
    let mut pause = REDIAL_FIRST;
    loop {
        let sent = match dial(&params).await {
            Ok((session, mut listing)) => {
                pause = REDIAL_FIRST;
                listing.claims.retain(|claim| claim.id.channel == channel);
                let ready = Ready { session: Arc::clone(&session), listing: Arc::new(listing) };
                if news.send(News::Ready(index, ready)).is_err() {
                    return;
                }
                let reason = session.closed().await.problem.to_string();
                news.send(News::Lost(index, reason))
            }
            Err(error) => news.send(News::Failed(index, trouble(&params.address, &error))),
        };
        if sent.is_err() {
            return;
        }
        time::sleep(pause).await;
        pause = (pause * 2).min(REDIAL_MAX);
    }
}

async fn dial(params: &ConnectParams) -> Result<(Arc<Session>, Listing), AskError> {
    let session = Arc::new(Session::connect(params).await?);
    let listing = session.catalog().await?;
    Ok((session, listing))
}
