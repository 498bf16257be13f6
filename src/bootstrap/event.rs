//! What a join tells whoever watches it: the command line draws it, `-O json` prints it, tests read it.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

/// Something that happened in a join, in the order in which it did.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum JoinEvent {
    /// A source accepted us and showed its catalog.
    SourceReady {
        /// Its address as the operator wrote it.
        source: String,
        /// The organisation that it proved to belong to.
        msp_id: String,
        /// Its identity, in hexadecimal.
        identity_id: String,
        /// How many snapshots of the channel it offers.
        snapshots: usize,
    },
    /// A source can't be used for now; it is dialled again while others deliver.
    SourceFailed {
        /// Its address.
        source: String,
        /// Why, in words.
        reason: String,
    },
    /// Enough organisations vouch for the same snapshot.
    Agreed {
        /// The channel.
        channel: String,
        /// The last block in the snapshot.
        block_number: u64,
        /// SHA-256 of Fabric's signable metadata.
        snapshot_hash: String,
        /// Hash of the manifest.
        manifest_hash: String,
        /// Who vouches for exactly this.
        organisations: Vec<String>,
        /// The rule that they satisfy.
        policy: String,
        /// Only the metadata are vouched for: chunks count once their file is whole.
        staged: bool,
        /// Bytes in its files.
        total_bytes: u64,
        /// Number of data files.
        files: usize,
    },
    /// Every source that says where its own peer begins names a block after this snapshot: private data up to it may never come.
    PeersBeganLater {
        /// The last block in the snapshot that was agreed on.
        block_number: u64,
        /// Those sources.
        sources: Vec<LatePeer>,
    },
    /// An organisation contradicts itself: it doesn't count, and the proof is kept.
    Equivocation {
        /// The organisation.
        msp_id: String,
        /// What it said, in words.
        what: String,
        /// The file with the proof: `verify --evidence` proves it to anybody.
        file: String,
    },
    /// Chunks of an earlier run are here; each is proved again before it counts.
    Resuming {
        /// Bytes that aren't asked for again.
        bytes: u64,
    },
    /// What is proved is served to joiners of our own organisation meanwhile.
    Serving {
        /// Where.
        address: String,
    },
    /// How far the transfer is.
    Progress(TransferProgress),
    /// A source broke the protocol or lied: nothing more is asked of that identity in this job.
    SourceDropped {
        /// Its address.
        source: String,
        /// Its organisation.
        msp_id: String,
        /// Its identity, in hexadecimal.
        identity_id: String,
        /// What it did.
        reason: String,
    },
    /// A source's connection is gone; it is dialled again.
    SourceLost {
        /// Its address.
        source: String,
        /// Why, in words.
        reason: String,
    },
    /// The peer's databases may not fit on their disk.
    LedgerRoom {
        /// Where they are.
        path: String,
        /// Bytes in the snapshot: databases take two thirds of it (JSON) to all (what can't be compressed).
        expected: u64,
        /// Bytes free.
        free: u64,
    },
    /// What is proved is loaded into the peer's databases while it comes.
    LoadsBeside,
    /// The load beside the transfer has failed: the folder is loaded once it has landed.
    LoadFailed {
        /// Why, in words.
        reason: String,
    },
    /// What has landed is being loaded.
    Loading {
        /// Bytes that were read.
        bytes: u64,
        /// Bytes in the whole snapshot.
        total_bytes: u64,
    },
    /// The peer joins another channel by a snapshot: ours comes when it is through.
    PeerBusy {
        /// The folder that it joins from, on its own disk.
        folder: String,
    },
    /// The peer joins from what has landed.
    PeerJoins {
        /// Since when.
        #[serde(rename = "elapsed_seconds", serialize_with = "whole_seconds")]
        elapsed: Duration,
    },
    /// The peer doesn't answer in the middle of its join; it is asked again.
    PeerGone {
        /// What was tried, in words.
        reason: String,
    },
    /// A file is whole: SHA-256 equals the metadata's, and its content is sound.
    FileVerified {
        /// Its name.
        file: String,
        /// Its size in bytes.
        size: u64,
    },
    /// No source has the snapshot any more: another one is looked for.
    OtherSnapshot {
        /// The last block of the one that is gone.
        block_number: u64,
        /// What the sources say, in words.
        reason: String,
    },
    /// Too few of those who are connected agree on any snapshot, or none of them has the one that was agreed on; whoever was lost is
    /// waited for.
    WaitsForSources {
        /// What is missing, in words.
        reason: String,
    },
    /// A source is about to delete the snapshot, and gives it until then.
    SourceEnds {
        /// Its address.
        source: String,
        /// How long it still gives chunks.
        #[serde(rename = "drain_seconds", serialize_with = "whole_seconds")]
        drain: Duration,
    },
    /// A chunk that had rotted lies in our own state as it should be.
    ChunkRepaired {
        /// Its file.
        file: String,
        /// Its number in the file.
        chunk: u32,
        /// Which of those to repair it was, from 1 on.
        nth: usize,
        /// How many are to be repaired.
        of: usize,
    },
    /// The disk is full: the transfer waits until there is room.
    DiskFull {
        /// What the disk said, with the path.
        reason: String,
    },
    /// This process, or the machine, has no file descriptor left: the join waits until there are some.
    NoDescriptors {
        /// What couldn't be opened.
        reason: String,
    },
}

/// How far a transfer is.
#[derive(Debug, Clone, Serialize)]
pub struct TransferProgress {
    /// Bytes that are proved and written.
    pub verified_bytes: u64,
    /// Bytes in the whole snapshot.
    pub total_bytes: u64,
    /// Proved bytes per second over the last seconds.
    pub bytes_per_second: u64,
    /// Time left at that rate; `None` while nothing comes.
    #[serde(rename = "eta_seconds", serialize_with = "seconds")]
    pub eta: Option<Duration>,
    /// Bytes of all chunks that came in this run, decompressed: also of those that came twice, or were wrong.
    pub received_bytes: u64,
    /// Memory that chunks took at the same time, at most, in bytes.
    pub memory_peak_bytes: u64,
    /// What each source delivered.
    pub shares: Vec<Share>,
    /// What the transfer waits for, if it does.
    pub waiting_for: Option<String>,
}

/// A source whose own peer joined the channel by a later snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LatePeer {
    /// Its address.
    pub source: String,
    /// Its organisation.
    pub msp_id: String,
    /// The first block that its peer has.
    pub peer_begins_at: u64,
}

/// What one source delivered.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Share {
    /// Its address.
    pub source: String,
    /// Its organisation.
    pub msp_id: String,
    /// Proved bytes that came from it.
    pub verified_bytes: u64,
    /// Bytes on the wire for them.
    pub wire_bytes: u64,
    /// Chunks whose proof failed.
    pub chunks_rejected: u64,
    /// Whether it was dropped for lying.
    pub dropped: bool,
}

/// Where events go. Called on the transfer's thread: it must not block.
pub type Observer = Arc<dyn Fn(JoinEvent) + Send + Sync>;

fn whole_seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    duration.as_secs().serialize(serializer)
}

fn seconds<S: serde::Serializer>(eta: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    eta.map(|eta| eta.as_secs()).serialize(serializer)
}
