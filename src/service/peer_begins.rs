//! Asks the peer beside the service where it begins in each channel: what private data came before, it may never have had, and joiners are told
//! so ([`crate::bootstrap`]).
//!
//! Nothing depends on the answer: a service whose peer can't be asked serves as ever.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::sleep;

use crate::{
    catalog::Catalog,
    msp::LocalIdentity,
    peer::{Peer, PeerConnection, PeerError},
    snapshot::{BlockNumber, ChannelId},
    transport::WallClock,
};

/// How soon a peer is asked again that didn't answer, or isn't in the channel yet: it may have been started with us.
const AGAIN: Duration = Duration::from_secs(30);
/// How soon one that did is: it can leave a channel, and join it by another snapshot.
const LOOK: Duration = Duration::from_secs(3_600);

/// The peer beside the service, and whom its answers are for.
pub(super) struct PeerBegins {
    pub(super) connection: PeerConnection,
    /// A reader of the channels.
    pub(super) identity: Arc<LocalIdentity>,
    pub(super) clock: WallClock,
    pub(super) catalog: Arc<Catalog>,
    pub(super) channels: BTreeSet<ChannelId>,
}

impl PeerBegins {
    /// Asks for as long as it runs.
    pub(super) async fn run(self) -> ! {
        let mut told = None;
        loop {
            let asked = self.ask().await;
            let wait = if asked.is_ok() { LOOK } else { AGAIN };
            let trouble = asked.err().map(|error| error.to_string());
            if let Some(error) = trouble.as_ref().filter(|error| told.as_ref() != Some(*error)) {
                tracing::info!(%error, "the peer doesn't say where it begins: joiners can't be warned; it is asked again");
            }
            told = trouble;
            sleep(wait).await;
        }
    }

    async fn ask(&self) -> Result<(), PeerError> {
        let (identity, clock) = (Arc::clone(&self.identity), Arc::clone(&self.clock));
        let peer = Peer::connect(self.connection.clone(), identity, clock).await?;
        let mut asked = Ok(());
        for channel in &self.channels {
            match peer.chain_info(channel).await {
                Ok(info) => {
                    let begins = info.last_block_in_snapshot.map_or(0, |last| last.0.saturating_add(1));
                    self.catalog.note_peer_begins_at(channel, BlockNumber(begins));
                    tracing::info!(%channel, block_number = begins, "our peer's first block");
                }
                Err(error) => asked = Err(error),
            }
        }
        asked
    }
}
