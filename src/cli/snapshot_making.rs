//! The wait for a snapshot that our peer was asked to make.

use super::{
    exit::{Exit, Failure},
    peer::AdminsPeer,
    stop::Stop,
};
use snapferry::{
    disk::OsDir,
    peer::{Peer, PeerError},
    service::daemon::COMPLETED_DIR,
    snapshot::{BlockNumber, ChannelId},
    transport::fault::chain,
};
use std::{collections::BTreeSet, ops::RangeInclusive, path::PathBuf, pin::Pin, time::Duration};
use tokio::time::sleep;

/// How often the peer is asked, and its folder looked at.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// A snapshot that is to come, as it is known before it is requested.
pub(super) struct Making {
    channel: ChannelId,
    /// `None`: the block that is the last one when the peer hears of it.
    block: Option<BlockNumber>,
    /// The last block, before.
    last_before: BlockNumber,
    root: Option<PathBuf>,
    /// Finished snapshots, before.
    there: BTreeSet<BlockNumber>,
}

/// How the wait ended.
pub(super) struct Made {
    /// Of which block, as far as that is known.
    pub(super) block: Option<BlockNumber>,
    /// The finished folder.
    pub(super) folder: Option<PathBuf>,
    /// Why it couldn't be looked for.
    pub(super) unreadable: Option<String>,
}

impl Making {
    pub(super) async fn before(
        peer: &Peer,
        channel: &ChannelId,
        block: Option<BlockNumber>,
        root: Option<PathBuf>,
    ) -> Result<Self, PeerError> {
        let last_before = peer.chain_info(channel).await?.last_block;
        let mut making = Self { channel: channel.clone(), block, last_before, root, there: BTreeSet::new() };
        // What can't be read now is said at the end.
        making.there = making.finished().unwrap_or_default();
        Ok(making)
    }

    /// Waits until it is made, or can't be any more. Stopped, it leaves the request as it is.
    pub(super) async fn wait(
        self,
        asked: &AdminsPeer,
        peer: Peer,
        mut stopped: Pin<&mut impl Future<Output = ()>>,
        stop: &Stop,
    ) -> Result<Made, Failure> {
        let mut peer = Some(peer);
        let mut blocks: Option<RangeInclusive<BlockNumber>> = self.block.map(|block| block..=block);
        loop {
            let found = async {
                let connected = match peer.take() {
                    Some(peer) => peer,
                    None => asked.connect().await?,
                };
                let looked = self.look(&connected, &mut blocks).await;
                peer = Some(connected);
                looked
            };
            tokio::select! {
                biased;
                () = &mut stopped => return Err(self.stopped(stop)),
                found = found => match found {
                    Ok(Some(pending)) => tracing::info!(channel = %self.channel, block_number = %pending, "waiting for the snapshot"),
                    Ok(None) => return self.ended(blocks),
                    // The peer keeps the request, also when it is restarted.
                    Err(error) if is_passing(&error) => {
                        tracing::warn!(reason = %chain(&error), "the peer can't be asked; the request stays with it");
                        peer = None;
                    }
                    Err(error) => return Err(match &peer {
                        Some(peer) => asked.failure(peer, error).await,
                        None => error.into(),
                    }),
                },
            }
            tokio::select! {
                biased;
                () = &mut stopped => return Err(self.stopped(stop)),
                () = sleep(ASK_EVERY) => {}
            }
        }
    }

    /// The block that is still pending. The request ends after its folder is in place, so a look at the folder comes after this.
    async fn look(
        &self,
        peer: &Peer,
        blocks: &mut Option<RangeInclusive<BlockNumber>>,
    ) -> Result<Option<BlockNumber>, PeerError> {
        let among = match blocks {
            Some(blocks) => blocks.clone(),
            // It was requested between the two.
            None => self.last_before..=peer.chain_info(&self.channel).await?.last_block.max(self.last_before),
        };
        let pending = peer.pendings(&self.channel).await?.into_iter().find(|block| among.contains(block));
        *blocks = Some(pending.map_or(among, |block| block..=block));
        Ok(pending)
    }

    /// It is no longer pending: made, as its folder shows.
    fn ended(&self, blocks: Option<RangeInclusive<BlockNumber>>) -> Result<Made, Failure> {
        let blocks = blocks.unwrap_or(self.last_before..=self.last_before);
        let only = (blocks.start() == blocks.end()).then_some(*blocks.start());
        let finished = match self.finished() {
            Ok(finished) => finished,
            Err(unreadable) => return Ok(Made { block: only, folder: None, unreadable: Some(unreadable) }),
        };
        let new = finished.range(blocks).rev().find(|block| only.is_some() || !self.there.contains(block));
        let Some((block, root)) = new.zip(self.root.as_ref()) else {
            let which = only.map_or_else(|| self.channel.to_string(), |block| format!("{}/{block}", self.channel));
            let gone = format!("the request for snapshot {which} is no longer pending, and there is no such snapshot");
            return Err(Failure::new(Exit::Failed, gone)
                .next("either it was cancelled, or the peer's log says `Failed to generate snapshot`; is snapshots.rootDir the peer's?"));
        };
        let folder = root.join(COMPLETED_DIR).join(self.channel.as_str()).join(block.to_string());
        Ok(Made { block: Some(*block), folder: Some(folder), unreadable: None })
    }

    /// The blocks of the channel's finished snapshots; or why they can't be seen.
    fn finished(&self) -> Result<BTreeSet<BlockNumber>, String> {
        let root = self.root.as_ref().ok_or("snapshots.rootDir isn't set")?;
        let completed = OsDir::open(&root.join(COMPLETED_DIR)).map_err(|error| chain(&error))?;
        drop(completed);
        let entries =
            match OsDir::open(&root.join(COMPLETED_DIR).join(self.channel.as_str())).and_then(|dir| dir.list()) {
                Err(error) if error.is_not_found() => return Ok(BTreeSet::new()),
                entries => entries.map_err(|error| chain(&error))?,
            };
        Ok(entries.iter().filter_map(|entry| entry.name.parse().ok()).collect())
    }

    fn stopped(&self, stop: &Stop) -> Failure {
        Failure::new(
            stop.exit(),
            format!("no longer waiting; the peer keeps the request for a snapshot of {}", self.channel),
        )
        .next("`snapferry snapshot pending` shows it, `snapferry snapshot cancel` takes it back")
    }
}

/// Whether the peer may answer later.
const fn is_passing(error: &PeerError) -> bool {
    matches!(
        error,
        PeerError::Unreachable { .. } | PeerError::Timeout { .. } | PeerError::Lost { .. } | PeerError::Tls { .. }
    )
}
