//! What becomes of the sources: who may be asked for what, under which lease, and whether anybody is left.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::Driver;
use crate::{
    bootstrap::{
        error::JoinError,
        haves::Listen,
        keeper::{News, Peer, SourceIndex},
        lease::Leasing,
        ready::Ready,
    },
    chunking::plan::{Event, Have, SourceId, SourceState},
};

impl Driver<'_> {
    pub(super) fn source_news(&mut self, news: News) {
        match news {
            News::Ready(index, ready) => self.source_ready(index, &ready),
            News::Listed(index, listed) => self.source_listed(index, &listed),
            News::GivenUp(_) | News::Lied(..) => {}
            News::Dropped(sources, reason) => self.dropped(&sources, &reason),
            News::Failed(index, ..) | News::Lost(index, _) => {
                self.partial.remove(&index);
                self.leases.remove(&index);
                self.event(Event::SourceLeft { source: SourceId(index) });
            }
        }
    }

    pub(super) fn source_ready(&mut self, index: SourceIndex, ready: &Ready) {
        let agreed = &self.job.agreed;
        if !self.job.sources.ready().contains_key(&index) || !ready.has(agreed.id(), agreed.manifest_hash()) {
            return;
        }
        let peer = ready.session.peer();
        let share = self.shares.entry(index).or_default();
        share.source = self.job.sources.address(index).to_owned();
        share.msp_id = peer.msp_id.to_string();
        let mut identity = blake3::Hasher::new();
        identity.update(peer.msp_id.as_str().as_bytes()).update(peer.identity_id.as_bytes());
        identity.update(share.source.as_bytes());
        let identity = *identity.finalize().as_bytes();
        self.drought.hope();
        self.lease_at(index, ready);
        self.source_has(index, ready);
        self.event(Event::SourceJoined { source: SourceId(index), identity, rtt: ready.session.rtt() });
    }

    /// Chunks need a lease: opened with the first request.
    fn lease_at(&mut self, index: SourceIndex, ready: &Ready) {
        if self.leases.get(&index).is_some_and(|leasing| leasing.is_of(&ready.session)) {
            return;
        }
        let (id, manifest_hash) = (self.job.agreed.id().clone(), self.job.agreed.manifest_hash());
        self.leases.insert(index, Leasing::start(index, &ready.session, id, manifest_hash, &self.sender));
    }

    /// It has every chunk, or nothing until it says what.
    fn source_has(&mut self, index: SourceIndex, ready: &Ready) {
        let (agreed, source) = (&self.job.agreed, SourceId(index));
        let partial = ready.is_partial(agreed.id(), agreed.manifest_hash());
        let listen = partial.then(|| Listen {
            source,
            session: Arc::clone(&ready.session),
            snapshot: agreed.id().clone(),
            manifest_hash: agreed.manifest_hash(),
            files: u32::try_from(agreed.manifest().files().len()).unwrap_or(u32::MAX),
            layout: self.layout.clone(),
            sender: self.sender.clone(),
        });
        // The earlier one first: what it still tells is of another session.
        self.partial.remove(&index);
        let have = if partial { Have::Ranges(Vec::new()) } else { Have::Complete };
        self.event(Event::Has { source, have });
        self.partial.extend(listen.map(|listen| (index, listen.start())));
    }

    /// It no longer has the snapshot, or has it now.
    fn source_listed(&mut self, index: SourceIndex, listed: &Ready) {
        let agreed = &self.job.agreed;
        let source = SourceId(index);
        let asked = self.plan.status().sources.get(&source).is_some_and(|status| status.state != SourceState::Gone);
        match (listed.has(agreed.id(), agreed.manifest_hash()), asked) {
            (true, false) => self.source_ready(index, listed),
            (false, true) => {
                self.partial.remove(&index);
                // Its connection lives: what it still sends would take memory, and no permit.
                self.requests.retain(|_, (of, task)| {
                    let gone = *of == source;
                    if gone {
                        task.abort();
                    }
                    !gone
                });
                self.event(Event::SourceLeft { source });
            }
            _ => {}
        }
    }

    /// However the transfer ended; a source that doesn't hear it lets our lease expire.
    pub(super) async fn close_leases(&mut self) {
        let mut closing = JoinSet::new();
        for leasing in std::mem::take(&mut self.leases).into_values() {
            closing.spawn(leasing.close());
        }
        while closing.join_next().await.is_some() {}
    }

    /// Drops every address of an identity.
    pub(super) fn ban(&mut self, liar: &Peer, reason: &str) {
        let dropped = self.job.sources.lied(liar, reason);
        self.dropped(&dropped, reason);
    }

    fn dropped(&mut self, sources: &[SourceIndex], reason: &str) {
        for &index in sources {
            self.last_lie = Some(reason.to_owned());
            self.shares.entry(index).or_default().dropped = true;
            self.partial.remove(&index);
            self.leases.remove(&index);
            self.event(Event::SourceBanned { source: SourceId(index) });
        }
    }

    /// Those who are connected won't bring what is missing.
    pub(super) fn withheld(&mut self) -> Option<JoinError> {
        let status = self.plan.status();
        if self.paused.is_some() || status.chunks_missing == 0 {
            self.drought.rested();
        }
        if status.chunks_missing == 0 {
            return None;
        }
        self.drought.waits_for(status.waits_for);
        let (agreed, sources, drought) = (&self.job.agreed, &mut self.job.sources, &self.drought);
        let refused = sources.all_refuse_for_good(agreed);
        let vanished = self.job.instead.and_then(|instead| sources.vanished(agreed, instead, Some(drought), refused));
        vanished.or_else(|| sources.withheld(agreed, drought))
    }

    /// Nobody can bring what is missing, now or later.
    pub(super) fn nobody_left(&self) -> bool {
        self.job.sources.nobody_comes() && self.requests.is_empty() && self.plan.status().chunks_missing > 0
    }
}
