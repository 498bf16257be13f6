//! The sources of one job: each address is dialled, asked for its catalog, and dialled again whenever it is lost.
//!
//! Decides when to dial. Leaves to `catalog::agreement` what may be believed, to `fetch` what is asked of whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use tokio::{sync::mpsc, task::JoinHandle, time};

use super::{
    dialer::{Dialer, Pauses, Redial, SourceAddress, trouble, within_start},
    error::{JoinError, SourceTrouble},
    event::{JoinEvent, Observer},
};
use crate::{
    catalog::{AgreedSnapshot, CatalogEntry, Offer},
    chunking::{FileTree, ProofError, SpanTree},
    msp::{IdentityId, MspId},
    snapshot::{Manifest, ManifestFile, ManifestHash, SnapshotId},
    transport::{
        asking::{AskError, Listing, Session},
        fault::{ErrorCode, Fault},
        wire::{CatalogClaim, ChunkTreeRequest},
    },
};

/// News that wait to be heard: each may bring a catalog of 64 000 claims, and whoever has more to tell can wait.
const NEWS_QUEUE: usize = 1;

/// A source by its place in the operator's list.
pub(super) type SourceIndex = u32;

/// Who a source is: what bans go by.
type Peer = (MspId, IdentityId);

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
    /// It won't be dialled again in this job.
    GivenUp(SourceIndex),
}

/// All sources of a job. Dropped, it closes every connection.
pub(super) struct Sources {
    addresses: Vec<String>,
    keepers: Vec<JoinHandle<()>>,
    news: mpsc::Receiver<News>,
    ready: BTreeMap<SourceIndex, Ready>,
    troubles: BTreeMap<SourceIndex, SourceTrouble>,
    dropped: BTreeSet<SourceIndex>,
    /// Not dialled again: they refuse us, or speak another version.
    given_up: BTreeSet<SourceIndex>,
    /// Who was seen at each address.
    known: BTreeMap<SourceIndex, Peer>,
    /// Identities that lied in this job.
    banned: BTreeSet<Peer>,
    observer: Observer,
}

impl Sources {
    /// Starts to dial every source.
    pub(super) fn dial(dialer: &Dialer, list: &[SourceAddress], observer: &Observer) -> Self {
        let (sender, news) = mpsc::channel(NEWS_QUEUE);
        let keeper = |(index, source): (SourceIndex, &SourceAddress)| {
            tokio::spawn(keep(index, dialer.clone(), source.clone(), sender.clone()))
        };
        Self {
            addresses: list.iter().map(|source| source.address.clone()).collect(),
            keepers: (0..).zip(list).map(keeper).collect(),
            news,
            ready: BTreeMap::new(),
            troubles: BTreeMap::new(),
            dropped: BTreeSet::new(),
            given_up: BTreeSet::new(),
            known: BTreeMap::new(),
            banned: BTreeSet::new(),
            observer: Arc::clone(observer),
        }
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

    /// Whether every source was dropped for what it did.
    pub(super) fn all_dropped(&self) -> bool {
        self.dropped.len() == self.addresses.len()
    }

    /// Whether none is connected and none will be.
    pub(super) fn nobody_comes(&self) -> bool {
        self.ready.is_empty() && self.dropped.union(&self.given_up).count() == self.addresses.len()
    }

    /// Why a source isn't connected.
    pub(super) fn trouble(&self, index: SourceIndex) -> SourceTrouble {
        let unknown = || SourceTrouble {
            source: self.address(index).to_owned(),
            reason: "no answer yet".to_owned(),
            refused: false,
            dropped: false,
        };
        self.troubles.get(&index).cloned().unwrap_or_else(unknown)
    }

    /// What the connected sources offer.
    pub(super) fn offers(&self) -> Vec<Offer> {
        self.ready.iter().flat_map(|(index, ready)| ready.offers(self.address(*index))).collect()
    }

    /// The manifest of that hash, from whoever names and delivers it first.
    ///
    /// # Errors
    /// [`JoinError::NotDelivered`] if nobody does, [`JoinError::EverySourceDropped`] if that's because all lie.
    pub(super) async fn manifest(&mut self, id: &SnapshotId, hash: ManifestHash) -> Result<Manifest, JoinError> {
        let mut troubles = Vec::new();
        // Who has only the metadata left still has the manifest.
        let claims =
            |ready: &Ready| ready.listing.claims.iter().any(|claim| claim.id == *id && claim.manifest_hash == hash);
        let naming = self.ready.iter().filter(|(_, ready)| claims(ready));
        let naming: Vec<(SourceIndex, Ready)> = naming.map(|(index, ready)| (*index, ready.clone())).collect();
        for (index, ready) in naming {
            match ready.session.manifest(id, hash).await {
                Ok(manifest) => return Ok(manifest),
                Err(error) => troubles.push(self.failed(index, &error)),
            }
        }
        Err(self.not_delivered("the manifest".to_owned(), id, troubles))
    }

    /// The chunk tree of one file, from whoever delivers one that merges to the agreed root; who sends another is dropped.
    ///
    /// # Errors
    /// [`JoinError::NotDelivered`] if nobody does, [`JoinError::EverySourceDropped`] if that's because all lie.
    pub(super) async fn chunk_tree(
        &mut self,
        agreed: &AgreedSnapshot,
        file_index: u32,
        file: &ManifestFile,
    ) -> Result<FileTree, JoinError> {
        let mut troubles = Vec::new();
        for (index, ready) in self.naming(agreed.id(), agreed.manifest_hash()) {
            match ready.chunk_tree(agreed, file_index, file.size).await {
                Ok(tree) => return Ok(tree),
                Err(TreeError::Ask(error)) => troubles.push(self.failed(index, &error)),
                Err(TreeError::Proof(error)) => {
                    self.lied(index, &error.to_string());
                    troubles.push(self.trouble(index));
                }
            }
        }
        Err(self.not_delivered(format!("the chunk tree of {}", file.file), agreed.id(), troubles))
    }

    fn not_delivered(&self, what: String, id: &SnapshotId, troubles: Vec<SourceTrouble>) -> JoinError {
        match troubles.last() {
            Some(last) if self.all_dropped() => JoinError::EverySourceDropped { reason: last.reason.clone() },
            _ => JoinError::NotDelivered { what, id: id.clone(), troubles },
        }
    }

    fn naming(&self, id: &SnapshotId, hash: ManifestHash) -> Vec<(SourceIndex, Ready)> {
        let naming = self.ready.iter().filter(|(_, ready)| ready.has(id, hash));
        naming.map(|(index, ready)| (*index, ready.clone())).collect()
    }

    /// Drops a source that lied, by name: every address of that identity, for the rest of the job. Tells which.
    pub(super) fn lied(&mut self, index: SourceIndex, reason: &str) -> Vec<SourceIndex> {
        let Some(liar) = self.known.get(&index).cloned() else { return Vec::new() };
        self.banned.insert(liar.clone());
        let of_liar = self.known.iter().filter(|(_, peer)| **peer == liar).map(|(index, _)| *index);
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

    /// Never dials the source again, and closes its connection.
    fn drop_source(&mut self, index: SourceIndex, reason: &str) {
        if let Some(keeper) = usize::try_from(index).ok().and_then(|index| self.keepers.get(index)) {
            keeper.abort();
        }
        self.dropped.insert(index);
        if let Some(ready) = self.ready.remove(&index) {
            ready.session.close(Fault::Peer.close_code(), reason);
        }
        let source = self.address(index).to_owned();
        let trouble = SourceTrouble { source, reason: reason.to_owned(), refused: false, dropped: true };
        self.troubles.insert(index, trouble);
    }

    fn failed(&mut self, index: SourceIndex, error: &AskError) -> SourceTrouble {
        let trouble = trouble(self.address(index), error);
        if error.fault() == Fault::Peer {
            self.lied(index, &trouble.reason);
        }
        trouble
    }

    fn take(&mut self, news: &News) {
        match news {
            News::Ready(index, ready) => {
                let peer = (ready.session.peer().msp_id.clone(), ready.session.peer().identity_id);
                self.known.insert(*index, peer.clone());
                if self.banned.contains(&peer) {
                    self.drop_source(*index, "this identity lied before, at another address");
                    return;
                }
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
            News::GivenUp(index) => {
                self.given_up.insert(*index);
            }
            News::Lost(index, reason) => {
                self.ready.remove(index);
                let source = self.address(*index).to_owned();
                let trouble =
                    SourceTrouble { source: source.clone(), reason: reason.clone(), refused: false, dropped: false };
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

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("ready", &self.ready).field("troubles", &self.troubles).finish_non_exhaustive()
    }
}

impl Ready {
    /// Whether the source claims that snapshot with its data.
    pub(super) fn has(&self, id: &SnapshotId, manifest_hash: ManifestHash) -> bool {
        let mut claims = self.listing.claims.iter();
        claims.any(|claim| claim.id == *id && claim.manifest_hash == manifest_hash && !claim.only_metadata_available)
    }

    fn offers(&self, address: &str) -> Vec<Offer> {
        let peer = self.session.peer();
        let offer = |claim: &CatalogClaim| Offer {
            source: address.to_owned(),
            msp_id: peer.msp_id.clone(),
            identity_id: peer.identity_id,
            entry: CatalogEntry {
                id: claim.id.clone(),
                manifest_hash: claim.manifest_hash,
                snapshot_hash: claim.snapshot_hash,
                total_bytes: claim.total_bytes,
                files: claim.files,
                only_metadata_available: claim.only_metadata_available,
                partial: claim.partial,
            },
            manifest: None,
            commit_hash: claim.last_block_commit_hash,
        };
        self.listing.claims.iter().map(offer).collect()
    }

    /// The list of a file, believed once it merges to the agreed root; above 64 GiB span by span, each believed on its own.
    async fn chunk_tree(&self, agreed: &AgreedSnapshot, file_index: u32, size: u64) -> Result<FileTree, TreeError> {
        let manifest = agreed.manifest();
        let list = |span| {
            let (id, manifest_hash) = (agreed.id().clone(), agreed.manifest_hash());
            self.session.tree(ChunkTreeRequest { id, manifest_hash, file_index, span }, size)
        };
        if !SpanTree::applies_to(size) {
            return Ok(FileTree::prove(manifest, file_index, list(None).await?)?);
        }
        let mut tree = SpanTree::prove(manifest, file_index, list(None).await?)?;
        while let Some(span) = tree.next_span() {
            tree.add(manifest, &list(Some(span)).await?)?;
        }
        Ok(tree.finish(manifest)?)
    }
}

/// Why a source's chunk tree isn't used.
#[derive(Debug)]
enum TreeError {
    Ask(AskError),
    Proof(ProofError),
}

impl From<AskError> for TreeError {
    fn from(error: AskError) -> Self {
        Self::Ask(error)
    }
}

impl From<ProofError> for TreeError {
    fn from(error: ProofError) -> Self {
        Self::Proof(error)
    }
}

/// Dials a source, and again whenever it is lost, until it makes no sense any more.
async fn keep(index: SourceIndex, dialer: Dialer, source: SourceAddress, news: mpsc::Sender<News>) {
    let mut pauses = Pauses::default();
    let mut refused_before = false;
    loop {
        let dialled = within_start(&source.address, dial(&dialer, &source)).await;
        let begun = time::Instant::now();
        let (told, redial) = match dialled {
            Ok((session, listing)) => {
                refused_before = false;
                let ready = Ready { session: Arc::clone(&session), listing: Arc::new(listing) };
                if news.send(News::Ready(index, ready)).await.is_err() {
                    return;
                }
                let error = session.closed().await;
                (News::Lost(index, error.problem.to_string()), Redial::after(&error))
            }
            Err((trouble, redial)) => (News::Failed(index, trouble), redial),
        };
        let lasted = begun.elapsed();
        let over = redial == Redial::Never || (redial == Redial::Once && refused_before);
        refused_before = redial == Redial::Once;
        if news.send(told).await.is_err() || (over && news.send(News::GivenUp(index)).await.is_ok()) {
            return;
        }
        time::sleep(pauses.after(lasted)).await;
    }
}

async fn dial(dialer: &Dialer, source: &SourceAddress) -> Result<(Arc<Session>, Listing), (SourceTrouble, Redial)> {
    let session = Arc::new(dialer.connect(source).await?);
    let listing = session.catalog().await;
    let listing = listing.map_err(|error| (trouble(&source.address, &error), Redial::after(&error)))?;
    Ok((session, listing))
}
