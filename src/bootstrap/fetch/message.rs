//! What the parts of a transfer tell its driver: workers, range streams, the in-order pass, syncs, leases.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::sync::mpsc;

use crate::{
    bootstrap::{
        error::JoinError,
        in_order::Proved,
        keeper::{Peer, SourceIndex},
        request::Asked,
        writing::Writing,
    },
    chunking::{
        StoreError,
        plan::{Event, SourceId},
    },
    disk::DiskError,
    snapshot::SnapshotFile,
};

/// What the parts of a transfer tell its driver.
#[derive(Debug)]
pub(in crate::bootstrap) enum Message {
    /// Straight to the plan.
    Plan(Event),
    /// A chunk is proved and written; `kept`: it waits in memory for its turn.
    Written { linear: u64, source: SourceId, wire_bytes: u64, raw_bytes: u64, kept: bool },
    /// A chunk failed its proof.
    Rejected { linear: u64, source: SourceId, peer: Peer, reason: String },
    /// A proved chunk couldn't be written.
    NotWritten { writing: Box<Writing>, error: StoreError },
    /// A range request failed.
    Ended(Asked),
    /// The in-order pass has hashed everything before this position.
    Hashed { linear: u64 },
    /// The store doesn't hold these after all.
    Lost { chunks: BTreeSet<u64> },
    /// A file is whole and right.
    FileVerified { file: SnapshotFile, size: u64 },
    /// A group sync is through.
    Synced(Synced),
    /// A source is about to delete the snapshot.
    LeaseEnding { source: SourceIndex, drain: Duration },
    /// Every file is.
    Proved(Box<Proved>),
    /// The transfer can't go on.
    Failed(Box<JoinError>),
}

/// What came of a group sync.
#[derive(Debug, Default)]
pub(in crate::bootstrap) struct Synced {
    /// Files that failed, and were begun anew.
    pub(super) begun_anew: Vec<Failing>,
    /// Files that failed, and couldn't be begun anew.
    pub(super) failing: Vec<Failing>,
    /// What else went wrong, or why not.
    pub(super) error: Option<StoreError>,
}

/// A file whose sync failed.
#[derive(Debug, Clone)]
pub(in crate::bootstrap) struct Failing {
    pub(super) file_index: u32,
    pub(super) file: SnapshotFile,
    pub(super) source: Arc<DiskError>,
}

/// The answer that the driver waits for: if whoever owes it panics, the driver hears that instead of nothing.
pub(in crate::bootstrap) struct Answer {
    sender: mpsc::UnboundedSender<Message>,
    part: &'static str,
    given: bool,
}

impl Answer {
    pub(in crate::bootstrap) fn new(sender: &mpsc::UnboundedSender<Message>, part: &'static str) -> Self {
        Self { sender: sender.clone(), part, given: false }
    }

    pub(in crate::bootstrap) fn give(mut self, message: Message) {
        self.given = true;
        drop(self.sender.send(message)); // nobody listens once the transfer is over
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if !self.given {
            drop(self.sender.send(Message::Failed(Box::new(JoinError::Bug { part: self.part }))));
        }
    }
}
