//! `trait Loader` for a running peer: its own join takes the folder that has landed, and its outcome is proved.
//!
//! ```text
//! before any fetch      the channel isn't listed, and an admin asks
//! once it has landed    no other join runs (waits) -> folder proved once more -> noted -> JoinChainBySnapshot -> status, until idle
//! then                  channel listed -> joined by this very block -> its last block has the agreed hash, or the next one names it
//! ```
//!
//! A peer answers success to a join that fails later: its answer is no evidence, only the last line is (operator.md, "Joining, and making
//! sure"). A run that is cut off behind the note leaves the proof to the next one ([`Told`]). Leaves what its texts mean to [`crate::peer`].

use std::{
    future::Future,
    path::{Path, PathBuf},
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use tokio::time;

use super::{
    event::JoinEvent,
    landing::check_folder,
    loader::{Loader, Loading, ToLoad, Watch},
    loading::LoadingError,
    told_peer::Told,
};
use crate::{
    disk::{Dir, OsDir},
    msp::LocalIdentity,
    peer::{JoinStatus, Peer, PeerConnection, PeerError, Refusal},
    snapshot::{BlockHash, BlockNumber, ChannelId},
    transport::{WallClock, off_the_driver},
};

/// How often the peer is asked whether it still joins: that costs it next to nothing.
const POLL: Duration = Duration::from_secs(1);
/// How long a peer that doesn't answer is waited for: it may be restarted in the middle of a join.
const GONE_MAX: Duration = Duration::from_secs(120);
/// How often the peer is asked to join anew after it was restarted in the middle of it, when it has dropped what it had.
const JOINS_MAX: u32 = 3;

/// What a peer will have answered.
type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, PeerError>> + Send + 'a>>;

/// A running peer, and the admin who asks it.
#[derive(Clone)]
pub struct StockPeer {
    /// Where it is.
    pub connection: PeerConnection,
    /// An admin of its organisation.
    pub admin: Arc<LocalIdentity>,
    /// Wall time.
    pub clock: WallClock,
    /// Where the peer sees a folder that we see elsewhere; `None`: paths are the same there.
    pub mounted: Option<Mounted>,
    /// The landing folder, where it is noted what the peer was told.
    pub land: Arc<dyn Dir>,
}

/// A folder that has another path on the peer's own disk (its container's, say).
#[derive(Debug, Clone)]
pub struct Mounted {
    /// Its path here.
    pub here: PathBuf,
    /// Its path there.
    pub there: PathBuf,
}

impl Mounted {
    /// The peer's path of what lies at `path` here: what lies elsewhere has the same one.
    fn path_there(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.here).map_or_else(|_| path.to_owned(), |below| self.there.join(below))
    }
}

/// Why the peer doesn't have the channel, or another one than was agreed on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StockPeerError {
    /// The peer has the channel.
    #[error("the peer {address} already has channel {channel}")]
    ChannelExists {
        /// The peer.
        address: String,
        /// The channel.
        channel: ChannelId,
    },
    /// The join was taken, and the channel isn't there.
    #[error(
        "the peer {address} took the join from {folder}, ended it, and doesn't have channel {channel}: it failed. Its log says why: look for \
         `Error creating ledger from snapshot`"
    )]
    NotThere {
        /// The peer.
        address: String,
        /// The folder, as the peer sees it.
        folder: String,
        /// The channel.
        channel: ChannelId,
    },
    /// The channel is there, but it isn't the one that was to be joined.
    #[error(
        "the peer {address} has channel {channel}, but {what}: it isn't what was agreed on. Stop the peer, and look into it before anything is built on it"
    )]
    Differs {
        /// The peer.
        address: String,
        /// The channel.
        channel: ChannelId,
        /// What differs.
        what: String,
    },
}

impl Loader for StockPeer {
    fn check<'a>(&'a self, channel: &'a ChannelId, watch: &'a Watch) -> Loading<'a, ()> {
        Box::pin(async move {
            let mut peer = self.connect().await?;
            if !peer.channels().await?.contains(channel) {
                // Whom the peer lists its channels for isn't yet one who may have it join.
                peer.join_status().await?;
                return Ok(());
            }
            let Some(told) = self.told(channel)? else { return Err(self.exists(channel)) };
            self.prove_outcome(&mut peer, &told, watch).await?;
            Err(LoadingError::AlreadyJoined { place: format!("the peer {}", self.connection.address), id: told.id })
        })
    }

    fn load<'a>(&'a self, landed: &'a ToLoad, watch: &'a Watch) -> Loading<'a, ()> {
        Box::pin(async move {
            let mut peer = self.connect().await?;
            let (told, folder) = (Told::of(landed.agreed().manifest().signable()), self.folder(landed));
            let (channel, land) = (&told.id.channel, &*self.land);
            let mut joins = 0;
            while joins < JOINS_MAX {
                self.wait_for_turn(&mut peer, watch).await?;
                if peer.channels().await?.contains(channel) {
                    // What was waited for may have been told by an earlier run of ours.
                    if self.told(channel)?.as_ref() != Some(&told) {
                        return Err(self.exists(channel));
                    }
                    break;
                }
                prove(landed, watch).await?;
                if !(watch.still_agreed)() || watch.is_stopped() {
                    return Err(LoadingError::CalledOff);
                }
                // That took its time: connections break meanwhile, and others may have been faster.
                peer = self.connect().await?;
                if matches!(peer.join_status().await?, JoinStatus::InProgress { .. }) {
                    continue;
                }
                if peer.channels().await?.contains(channel) {
                    return Err(self.exists(channel));
                }
                told.note(land, &self.connection.address)?;
                let answered = peer.join_by_snapshot(&folder).await;
                let was_told = match answered {
                    Ok(()) => true,
                    Err(error) if refusal(&error) == Some(Refusal::JoinUnderWay) => {
                        told.settle(land, &self.connection.address);
                        continue;
                    }
                    Err(error) if error.refused().is_some() => {
                        told.settle(land, &self.connection.address);
                        return Err(error.into());
                    }
                    // No answer: it may have taken it.
                    Err(_) => false,
                };
                joins += 1;
                match self.follow(&mut peer, channel, watch).await? {
                    (true, _) => break,
                    (false, was_gone) => {
                        told.settle(land, &self.connection.address);
                        // It has dropped what it had, and can take it again.
                        if was_told && !was_gone {
                            return Err(self.not_there(&folder, channel));
                        }
                    }
                }
            }
            if self.told(channel)?.is_none() {
                return Err(self.not_there(&folder, channel));
            }
            self.prove_outcome(&mut peer, &told, watch).await?;
            told.settle(land, &self.connection.address);
            Ok(())
        })
    }
}

impl StockPeer {
    /// What an earlier run told it of the channel, and nobody knows what became of it.
    fn told(&self, channel: &ChannelId) -> Result<Option<Told>, LoadingError> {
        Ok(Told::find(&*self.land, channel, &self.connection.address)?)
    }

    fn not_there(&self, folder: &Path, channel: &ChannelId) -> LoadingError {
        let (address, folder) = (self.connection.address.clone(), folder.display().to_string());
        StockPeerError::NotThere { address, folder, channel: channel.clone() }.into()
    }

    async fn connect(&self) -> Result<Peer, PeerError> {
        Peer::connect(self.connection.clone(), Arc::clone(&self.admin), Arc::clone(&self.clock)).await
    }

    /// The folder, as the peer sees it.
    fn folder(&self, landed: &ToLoad) -> PathBuf {
        let path = landed.path();
        self.mounted.as_ref().map_or_else(|| path.clone(), |mounted| mounted.path_there(&path))
    }

    fn exists(&self, channel: &ChannelId) -> LoadingError {
        let address = self.connection.address.clone();
        StockPeerError::ChannelExists { address, channel: channel.clone() }.into()
    }

    /// Waits until no join runs.
    async fn wait_for_turn(&self, peer: &mut Peer, watch: &Watch) -> Result<(), LoadingError> {
        let (mut told, mut status) = (None, peer.join_status().await?);
        while let JoinStatus::InProgress { folder } = status {
            if told.as_ref() != Some(&folder) {
                (watch.observer)(JoinEvent::PeerBusy { folder: folder.clone() });
                told = Some(folder);
            }
            self.pause(watch).await?;
            status = self.patiently(peer, watch, &mut false, |peer| Box::pin(peer.join_status())).await?;
        }
        Ok(())
    }

    /// Waits until the join has ended, however; whether the peer has the channel then, and whether it was gone meanwhile.
    async fn follow(&self, peer: &mut Peer, channel: &ChannelId, watch: &Watch) -> Result<(bool, bool), LoadingError> {
        let (begun, mut was_gone) = (time::Instant::now(), false);
        while let JoinStatus::InProgress { .. } =
            self.patiently(peer, watch, &mut was_gone, |peer| Box::pin(peer.join_status())).await?
        {
            (watch.observer)(JoinEvent::PeerJoins { elapsed: begun.elapsed() });
            self.pause(watch).await?;
        }
        let channels = self.patiently(peer, watch, &mut was_gone, |peer| Box::pin(peer.channels())).await?;
        Ok((channels.contains(channel), was_gone))
    }

    /// The answer to that call; a peer that is gone, or refuses for a reason of its own (it limits calls at a time), is asked again for a
    /// while.
    async fn patiently<T>(
        &self,
        peer: &mut Peer,
        watch: &Watch,
        was_gone: &mut bool,
        call: impl Fn(&Peer) -> Answer<'_, T> + Send,
    ) -> Result<T, LoadingError> {
        let mut gone_since = None;
        loop {
            let error = match call(peer).await {
                Err(error) if refusal(&error).is_none_or(|refusal| refusal == Refusal::Other) => error,
                answered => return Ok(answered?),
            };
            *was_gone = true;
            if gone_since.get_or_insert_with(time::Instant::now).elapsed() >= GONE_MAX {
                return Err(error.into());
            }
            (watch.observer)(JoinEvent::PeerGone { reason: error.to_string() });
            self.pause(watch).await?;
            if let Ok(again) = self.connect().await {
                *peer = again;
            }
        }
    }

    async fn pause(&self, watch: &Watch) -> Result<(), LoadingError> {
        if watch.is_stopped() {
            return Err(LoadingError::CalledOff);
        }
        time::sleep(POLL).await;
        Ok(())
    }

    /// Holds what the peer has to what was agreed on.
    async fn prove_outcome(&self, peer: &mut Peer, told: &Told, watch: &Watch) -> Result<(), LoadingError> {
        let (id, expected, gone) = (&told.id, told.last_block_hash, &mut false);
        let differs = |what: String| {
            let address = self.connection.address.clone();
            Err(StockPeerError::Differs { address, channel: id.channel.clone(), what }.into())
        };
        let channel = id.channel.clone();
        let info = self.patiently(peer, watch, gone, move |peer| {
            let channel = channel.clone();
            Box::pin(async move { peer.chain_info(&channel).await })
        });
        let info = info.await?;
        if info.last_block_in_snapshot != Some(id.block_number) {
            return differs(match info.last_block_in_snapshot {
                Some(other) => format!("it joined by a snapshot of block {other}, not of {}", id.block_number),
                None => "it didn't join by a snapshot".to_owned(),
            });
        }
        let found: BlockHash = match info.last_block.cmp(&id.block_number) {
            std::cmp::Ordering::Less => {
                return differs(format!("its last block is {}, before {}", info.last_block, id.block_number));
            }
            std::cmp::Ordering::Equal => info.last_block_hash,
            std::cmp::Ordering::Greater => {
                let next = BlockNumber(id.block_number.0.saturating_add(1));
                let channel = id.channel.clone();
                let hash = self.patiently(peer, watch, gone, move |peer| {
                    let channel = channel.clone();
                    Box::pin(async move { peer.previous_block_hash(&channel, next).await })
                });
                hash.await?
            }
        };
        if found != expected {
            return differs(format!(
                "the hash of its block {} is {found}, where {expected} was agreed on",
                id.block_number
            ));
        }
        Ok(())
    }
}

/// Proves the folder once more, right before the peer is told of it: exact set, names, every hash, content.
async fn prove(landed: &ToLoad, watch: &Watch) -> Result<(), LoadingError> {
    let landed = landed.clone();
    let check = move || {
        let folder = match &landed.given {
            // The peer goes by the path: what lies there now counts, not what was opened when the join began.
            Some(given) => OsDir::open(given.path())?,
            None => landed.folder()?,
        };
        match check_folder(&*folder, landed.agreed())? {
            Some(_) => Ok(()),
            None => Err(LoadingError::Changed { path: folder.path().display().to_string() }),
        }
    };
    let mut proved = pin!(off_the_driver(&watch.workers, check));
    loop {
        tokio::select! {
            proved = &mut proved => return proved.map_err(LoadingError::Threads)?,
            // It may read for minutes: who doesn't want it any more isn't kept waiting.
            () = time::sleep(POLL) => if watch.is_stopped() {
                return Err(LoadingError::CalledOff);
            }
        }
    }
}

fn refusal(error: &PeerError) -> Option<Refusal> {
    error.refused().map(|refused| refused.refusal)
}

impl std::fmt::Debug for StockPeer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StockPeer({} as {})", self.connection.address, self.admin.identity.subject())
    }
}
