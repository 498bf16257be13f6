//! Where our own peer begins in a channel: a peer that joined by a snapshot may never have had the private data of what came before.
//!
//! Only remembers it; the service asks the peer.

use std::sync::PoisonError;

use super::Catalog;
use crate::snapshot::{BlockNumber, ChannelId};

impl Catalog {
    /// The first block that our peer has of the channel, if it is known.
    #[must_use]
    pub fn peer_begins_at(&self, channel: &ChannelId) -> Option<BlockNumber> {
        self.begins.lock().unwrap_or_else(PoisonError::into_inner).get(channel).copied()
    }

    /// Takes note of it; whoever watches the catalog hears that it changed.
    pub fn note_peer_begins_at(&self, channel: &ChannelId, block_number: BlockNumber) {
        let mut begins = self.begins.lock().unwrap_or_else(PoisonError::into_inner);
        let before = begins.insert(channel.clone(), block_number);
        drop(begins);
        if before != Some(block_number) {
            self.changed(channel);
        }
    }
}
