//! What goes into a plan and what comes out.

use std::{fmt, ops::Range, time::Duration};

use crate::snapshot::ChunkIndex;

/// A source of this transfer, numbered by the driver: one identity keeps one number for the whole job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u32);

/// A range request, numbered by the plan; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "source {}", self.0)
    }
}

/// How urgent a request is; the server's stream priority follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The loader needs it next.
    Frontier,
    /// Within the window ahead of the loader.
    Bulk,
    /// Beyond the window: nothing nearer is left to ask.
    Prefetch,
}

/// What happened. Positions are those of [`super::Layout`]. An event that doesn't fit (an unknown or cancelled request, a
/// chunk out of turn) changes nothing; but a chunk that came as its request was cancelled takes a permit until it is proved or rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A source can be asked; `rtt` is the round trip measured by its connection. Also after [`Self::SourceLeft`].
    SourceJoined {
        /// Which.
        source: SourceId,
        /// A hash of who it is (MSP ID and identity id): spreads runs over sources, the same way at every joiner.
        identity: [u8; 32],
        /// Round trip.
        rtt: Duration,
    },
    /// The link to a source is lost: what it owed is missing again. It may come back.
    SourceLeft {
        /// Which.
        source: SourceId,
    },
    /// A source lied: it is never asked again in this job.
    SourceBanned {
        /// Which.
        source: SourceId,
    },
    /// What a source has of this snapshot; until it is said, a source is taken to have everything. It may come before
    /// [`Self::SourceJoined`], and holds until the next one, also over a lost link.
    Has {
        /// Which.
        source: SourceId,
        /// All of it: not what changed.
        have: Have,
    },
    /// Chunks proved from the store at resume: neither asked nor counted against the budget.
    AlreadyPresent {
        /// Positions.
        range: Range<u64>,
    },
    /// Verified chunks turned out to be lost (a failed sync: the file starts over): missing again. The driver drops what
    /// it still holds of them.
    Lost {
        /// Positions.
        range: Range<u64>,
    },
    /// A whole chunk came from the wire; not proved yet.
    ChunkArrived {
        /// The request it answers.
        request: RequestId,
        /// Its position: the next one of the request's run.
        linear: u64,
        /// Length on the wire, in bytes.
        wire_bytes: u64,
    },
    /// Some bytes of the next chunk of a request came; they are part of that chunk's `wire_bytes`.
    Progress {
        /// The request.
        request: RequestId,
        /// Bytes since the last report.
        bytes: u64,
    },
    /// An arrived chunk was proved.
    ChunkVerified {
        /// Its position.
        linear: u64,
    },
    /// A verified chunk was written or handed to the loader: its permit is free again.
    ChunkReleased {
        /// Its position.
        linear: u64,
    },
    /// An arrived chunk failed its proof and was dropped: missing again, and not asked of that source soon. The ban is
    /// an event of its own.
    ChunkRejected {
        /// Its position.
        linear: u64,
        /// Who sent it.
        source: SourceId,
    },
    /// A request is over; what of its run didn't arrive is missing again.
    RequestEnded {
        /// The request.
        request: RequestId,
        /// How.
        outcome: Outcome,
    },
    /// The next chunk that the in-order consumer needs.
    LoaderAt {
        /// Its position.
        linear: u64,
    },
}

/// What a source has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Have {
    /// Everything.
    Complete,
    /// Those positions; empty ranges and ones behind the end are ignored.
    Ranges(Vec<Range<u64>>),
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every chunk arrived.
    Completed,
    /// The source said no.
    Refused(Refusal),
    /// The stream broke off for no reason given.
    Broken,
}

/// What a refusal means for the plan (`protocol.md` 6; `transport::fault` maps the codes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// BUSY, RATE_LIMITED, SHUTTING_DOWN: nothing is asked of it until then.
    Wait {
        /// From now.
        retry_after: Duration,
    },
    /// LEASE_REQUIRED and its like, nobody's fault: asked again after a second.
    Request,
    /// INTERNAL, NOT_FOUND: quality down.
    Quality,
    /// CHUNK_UNAVAILABLE, CHUNK_CORRUPT_AT_SOURCE: it doesn't have the next chunk of the run; the others can be asked.
    ChunkLacking,
    /// LIMIT_EXCEEDED: runs of half the length from now on.
    RunTooLong,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send a range request. Its permits are taken.
    Request {
        /// Its number, for the events that answer it.
        id: RequestId,
        /// Whom to ask.
        source: SourceId,
        /// File, by its index in the manifest.
        file_index: u32,
        /// First chunk of the run.
        first: ChunkIndex,
        /// Chunks, 1..=16; never beyond the end of the file.
        count: u32,
        /// Urgency.
        class: Class,
    },
    /// Stop a request (STOP_SENDING) and drop its bytes; no event of it is awaited any more. Never one that ended before.
    Cancel {
        /// Which.
        id: RequestId,
        /// Why.
        reason: CancelReason,
    },
}

/// Why a request is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// Everything it still owes was proved from elsewhere.
    NotNeeded,
    /// It was late with the chunk that it owed next, and another source brought it; the rest is asked anew.
    Outrun,
    /// Its deadline is over and another source can do it.
    Late,
    /// The source sent no byte for [`super::PlanConfig::stall_after`].
    Stalled,
    /// The source is under the rate floor while another one is above.
    TooSlow,
}
