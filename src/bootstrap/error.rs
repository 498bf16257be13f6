//! What ends a join, whose fault it was, and what the operator does next.

use std::{error::Error, path::PathBuf, sync::Arc};

use super::{dialer::DialError, loading::LoadingError, shortage::Shortage};
use crate::{
    catalog::{AgreementError, Equivocation, LandedError},
    chunking::{ProofError, StoreError, plan::LayoutError},
    disk::DiskError,
    msp::ConfigError,
    snapshot::{ChannelId, ContentError, FolderError, MetadataError, SnapshotFile, SnapshotId},
};

/// One source that couldn't be used, and why.
#[derive(Debug, Clone)]
pub struct SourceTrouble {
    /// Its address.
    pub source: String,
    /// Why, in words.
    pub reason: String,
    /// Whether it (or we) refused the other's identity.
    pub refused: bool,
    /// Whether it was dropped for what it did: asking again later won't help.
    pub dropped: bool,
}

/// What ends a join. Nothing was published, and what was proved stays for the next run, unless the text says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// No source at all.
    #[error("no source could be reached: {}", list(.troubles))]
    NoSource {
        /// One per source.
        troubles: Vec<SourceTrouble>,
    },
    /// The sources that answered don't agree on a snapshot.
    #[error("{source}{}", unreachable(.troubles))]
    Agreement {
        /// Who offers what.
        source: Box<AgreementError>,
        /// Those that couldn't be asked, or didn't attest.
        troubles: Vec<SourceTrouble>,
        /// Proofs that organisations contradict themselves, found on the way.
        evidence: Vec<Equivocation>,
    },
    /// By the configuration of the moment, or the snapshot's own, those who vouch aren't enough.
    #[error(
        "by the channel's configuration of now, or by the one that the snapshot itself holds, who vouched for {id} doesn't count any more: {source}"
    )]
    NoLongerAgreed {
        /// The snapshot.
        id: SnapshotId,
        /// Why not.
        source: Box<AgreementError>,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: nobody can be asked for an attestation of this very join")]
    NoRandomness,
    /// The channel that is joined has no configuration here.
    #[error("no configuration of channel {0} is loaded, which is a bug in snapferry: report it")]
    NoConfig(ChannelId),
    /// Everything landed, but the receipt can't be made.
    #[error("{id} is in place, but its receipt can't be written: {reason}; the same command finds the folder in place")]
    Receipt {
        /// The snapshot.
        id: SnapshotId,
        /// Why.
        reason: String,
        /// What the disk said, if it was the disk.
        source: Option<DiskError>,
    },
    /// None of the sources gave the manifest or a chunk tree that they all name.
    #[error("no source delivered {what} of {id}: {}", list(.troubles))]
    NotDelivered {
        /// What was asked for.
        what: String,
        /// The snapshot.
        id: SnapshotId,
        /// One per source.
        troubles: Vec<SourceTrouble>,
    },
    /// Every source that still offers the snapshot refuses its chunks, and will go on to.
    #[error("no source gives the chunks of {id}: {}", list(.troubles))]
    Withheld {
        /// The snapshot.
        id: SnapshotId,
        /// Each source's answer.
        troubles: Vec<SourceTrouble>,
    },
    /// Nobody offers the snapshot any more, and nothing may be taken in its place.
    #[error(
        "no source offers {id} any more: {}; name others, or take another block: `snapferry catalog list` shows what they offer",
        list(.troubles)
    )]
    NoLongerOffered {
        /// The snapshot.
        id: SnapshotId,
        /// What the sources say now.
        troubles: Vec<SourceTrouble>,
    },
    /// Nobody who is connected offers the snapshot any more, but somebody offers another one.
    #[error("no connected source has {id} any more: {}", list(.troubles))]
    Vanished {
        /// The snapshot.
        id: SnapshotId,
        /// What the sources say now.
        troubles: Vec<SourceTrouble>,
    },
    /// Every source was dropped for lying.
    #[error("every source was dropped, the last for: {reason}")]
    EverySourceDropped {
        /// What the last one did.
        reason: String,
    },
    /// The folder that would be published exists and is something else.
    #[error("{} exists and is not this snapshot: {source}; run the command again once it is out of the way", path.display())]
    ExistsDifferently {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<FolderError>,
    },
    /// The folder that would be published exists and is a sound snapshot, but not the one agreed on.
    #[error("{} holds another snapshot than the sources agree on: run the command again once it is out of the way", path.display())]
    ExistsOther {
        /// The folder.
        path: PathBuf,
    },
    /// The folder that was given is no sound snapshot.
    #[error("{source}; nothing was done with it")]
    GivenFolder {
        /// What is wrong with it.
        source: Box<FolderError>,
    },
    /// The folder that was given is sound, but nobody vouches for it.
    #[error("{} is sound, but it isn't the {id} that is vouched for; don't join from it", path.display())]
    GivenOther {
        /// The folder.
        path: PathBuf,
        /// What was agreed on.
        id: SnapshotId,
    },
    /// Metadata that can't be written back.
    #[error("the agreed metadata are not sound: {0}")]
    Metadata(Box<MetadataError>),
    /// No connection can be tried.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// A snapshot whose state holds an older channel configuration than the one that we trust, though it is of a later block.
    #[error(
        "{id} holds channel configuration {found}, older than the {given} given, though its block is not: don't use this snapshot"
    )]
    ConfigRollback {
        /// The snapshot.
        id: SnapshotId,
        /// Its configuration's sequence.
        found: u64,
        /// Ours.
        given: u64,
    },
    /// Too little space.
    #[error("{} has {free} bytes free, the transfer still needs {needed}: make room, then run the command again", path.display())]
    NoSpace {
        /// The landing folder.
        path: PathBuf,
        /// Bytes still to come, and a margin.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// Proved chunks that don't give what the metadata says: those who vouch for the manifest are wrong.
    #[error(transparent)]
    Proof(ProofError),
    /// Files that don't fit together.
    #[error(
        "the files have the hashes that the metadata names, but don't fit together: {0}; don't use this snapshot, tell those who vouch for it"
    )]
    CrossCheck(Box<ContentError>),
    /// The state holds no readable channel configuration.
    #[error(
        "the snapshot's channel configuration can't be read: {0}; don't use this snapshot, tell those who vouch for it"
    )]
    ChannelConfig(Box<ConfigError>),
    /// A file too large for this version.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The record of what landed here.
    #[error(transparent)]
    Record(#[from] LandedError),
    /// Our own disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The store of chunks.
    #[error(transparent)]
    Store(StoreError),
    /// A thread couldn't be started.
    #[error("the system refused a thread: {0}")]
    Threads(std::io::Error),
    /// A part of this program panicked; what was proved is kept.
    #[error(
        "{part} failed unexpectedly, which is a bug in snapferry: run the same command again, and report it with the log"
    )]
    Bug {
        /// Which part.
        part: &'static str,
    },
    /// The disk loses what it was told to keep.
    #[error("the disk failed {times} times to keep {file}: {source}; replace it or land elsewhere")]
    DiskKeepsFailing {
        /// The file.
        file: SnapshotFile,
        /// How often it was started over.
        times: u32,
        /// What the disk said last.
        source: Arc<DiskError>,
    },
    /// The peer doesn't have the channel.
    #[error(transparent)]
    Loading(#[from] LoadingError),
    /// Stopped from outside; what was proved is saved.
    #[error("stopped; what was fetched is kept: run the same command again to go on")]
    Stopped,
}

impl JoinError {
    /// Whether the manifest doesn't lead to the files that the metadata name: if only sources claimed it, they are to blame. Content
    /// that is wrong under the right SHA-256 isn't theirs.
    pub(super) const fn is_of_manifest(&self) -> bool {
        matches!(self, Self::Proof(ProofError::FileHash { .. } | ProofError::TreeRoot { .. }))
    }

    /// What the machine has run out of, if that is all that was wrong: then the same may be tried again.
    pub(super) fn shortage(&self) -> Option<Shortage> {
        // Whatever for: what those files hold is unknown now.
        if matches!(self, Self::Store(StoreError::SyncFailed { .. }) | Self::DiskKeepsFailing { .. }) {
            return None;
        }
        let mut cause: Option<&(dyn Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(shortage) = error.downcast_ref().and_then(Shortage::told_by) {
                return Some(shortage);
            }
            cause = error.source();
        }
        None
    }
}

impl From<StoreError> for JoinError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Disk(error) => Self::Disk(error),
            other => Self::Store(other),
        }
    }
}

fn list(troubles: &[SourceTrouble]) -> String {
    let each: Vec<String> = troubles.iter().map(|trouble| format!("{}: {}", trouble.source, trouble.reason)).collect();
    if each.is_empty() { "none was named".to_owned() } else { each.join("; ") }
}

fn unreachable(troubles: &[SourceTrouble]) -> String {
    if troubles.is_empty() { String::new() } else { format!(" (not asked: {})", list(troubles)) }
}
