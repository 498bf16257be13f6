//! What the keepers tell of their sources, and what is known of each from then on.

use std::sync::Arc;

use super::Sources;
use crate::{
    bootstrap::{
        dialer::Redial,
        error::SourceTrouble,
        event::JoinEvent,
        keeper::{News, SourceIndex},
        ready::Ready,
    },
    transport::fault::Fault,
};

impl Sources {
    /// Takes note of what happened; what is left to know of it.
    pub(super) fn take(&mut self, news: News) -> News {
        match &news {
            News::Ready(index, ready) => self.take_ready(*index, ready),
            News::Failed(index, trouble, redial) => {
                self.ready.remove(index);
                match redial {
                    Redial::WhenFree => self.busy.insert(*index),
                    _ => self.busy.remove(index),
                };
                let known = self.troubles.insert(*index, trouble.clone());
                if known.is_none_or(|known| known.reason != trouble.reason) {
                    let (source, reason) = (trouble.source.clone(), trouble.reason.clone());
                    (self.observer)(JoinEvent::SourceFailed { source, reason });
                }
            }
            News::Listed(index, listed) => {
                let same = |ready: &&mut Ready| Arc::ptr_eq(&ready.session, &listed.session);
                if let Some(ready) = self.ready.get_mut(index).filter(same) {
                    *ready = listed.clone();
                }
            }
            News::GivenUp(index) => {
                self.given_up.insert(*index);
            }
            News::Lied(index, peer, reason) => {
                self.known.insert(*index, peer.clone());
                return News::Dropped(self.lied(peer, reason), reason.clone());
            }
            News::Lost(index, reason) => {
                self.ready.remove(index);
                let source = self.address(*index).to_owned();
                let trouble =
                    SourceTrouble { source: source.clone(), reason: reason.clone(), refused: false, dropped: false };
                self.troubles.insert(*index, trouble);
                (self.observer)(JoinEvent::SourceLost { source, reason: reason.clone() });
            }
            News::Dropped(..) => {}
        }
        news
    }

    fn take_ready(&mut self, index: SourceIndex, ready: &Ready) {
        let peer = ready.peer();
        if self.dropped.contains(&index) {
            return; // said before its keeper was stopped
        }
        self.known.insert(index, peer.clone());
        if let Some(reason) = self.banned.get(&peer).cloned() {
            ready.session.close(Fault::Peer.close_code(), "lied before");
            let reason = format!("{}'s identity {} lied before: {reason}", peer.0, peer.1);
            (self.observer)(JoinEvent::SourceFailed { source: self.address(index).to_owned(), reason: reason.clone() });
            self.drop_source(index, &reason);
            return;
        }
        self.troubles.remove(&index);
        self.busy.remove(&index);
        self.refusals.remove(&index);
        self.ready.insert(index, ready.clone());
        (self.observer)(JoinEvent::SourceReady {
            source: self.address(index).to_owned(),
            msp_id: peer.0.to_string(),
            identity_id: peer.1.to_string(),
            snapshots: ready.listing.claims.len(),
        });
    }
}
