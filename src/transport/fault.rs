//! Whose fault something was, and the numbers by which the two sides tell each other (protocol.md section 6).
//!
//! Decides: which code is which number, what an answer does to the source that gave it, and what the
//! other side is told when we close. Leaves to `chunking::plan` and `bootstrap`: scores, bans and retries themselves.

use std::{fmt, time::Duration};

/// Whose fault it was: that decides what happens next (ban, retry, pause, stop).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// The other side broke the protocol or lied: it is banned for the job.
    Peer,
    /// The connection, or the other side's state of the moment: retried, here or elsewhere.
    Link,
    /// Our own disk: the transfer pauses, no source is touched.
    Disk,
    /// What the operator configured or asked for: stop and say so.
    Operator,
}

impl Fault {
    /// What the other side is told when a connection is closed because of this fault.
    ///
    /// Only [`Fault::Peer`] blames it; our own troubles are none of its business.
    #[must_use]
    pub const fn close_code(self) -> ErrorCode {
        match self {
            Self::Peer => ErrorCode::Protocol,
            Self::Link | Self::Operator => ErrorCode::Cancelled,
            Self::Disk => ErrorCode::Internal,
        }
    }
}

/// Code of a RESET, STOP_SENDING, close or `Error` frame. 17 and 18 are reserved and never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum ErrorCode {
    /// Done.
    Ok = 0,
    /// The asker no longer wants it.
    Cancelled = 1,
    /// The other side broke the protocol.
    Protocol = 2,
    /// No common version.
    Version = 3,
    /// Session auth or re-validation failed; the reason stays in the server's log.
    Unauthorized = 4,
    /// The access rules say no.
    Forbidden = 5,
    /// No such snapshot here.
    NotFound = 6,
    /// The snapshot was deleted.
    Gone = 7,
    /// The chunk isn't here (a partial source).
    ChunkUnavailable = 8,
    /// The source's own copy has rotted.
    ChunkCorruptAtSource = 9,
    /// No capacity now.
    Busy = 10,
    /// Asked too often or too fast.
    RateLimited = 11,
    /// Chunks need a lease here.
    LeaseRequired = 12,
    /// The lease has ended.
    LeaseExpired = 13,
    /// The request is larger than the limits that were announced.
    LimitExceeded = 14,
    /// The other side's own failure.
    Internal = 15,
    /// The service stops.
    ShuttingDown = 16,
}

/// What a code does to the source that answered so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// It is logged; if the connection was closed, the source isn't dialled again in this job.
    LogAndDropIfClosed,
    /// The operator is told.
    ShowOperator,
    /// Our channel configuration may be old: refresh it and retry once.
    RefreshConfigAndRetryOnce,
    /// Quality goes down if the source's catalog claimed the snapshot.
    QualityDownIfClaimed,
    /// Another source or snapshot has to be planned.
    Replan,
    /// Its claim to hold the chunk is dropped; the third such lie costs quality.
    ClearHave,
    /// Quality goes down; never taken for malice.
    QualityDown,
    /// Asked again after the time that it named.
    RetryAfter,
    /// A lease is opened or renewed, then the request is repeated.
    OpenLeaseAndRepeat,
    /// The run of chunks is halved.
    HalveRun,
}

impl ErrorCode {
    /// All codes, ascending.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Protocol,
        Self::Version,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Gone,
        Self::ChunkUnavailable,
        Self::ChunkCorruptAtSource,
        Self::Busy,
        Self::RateLimited,
        Self::LeaseRequired,
        Self::LeaseExpired,
        Self::LimitExceeded,
        Self::Internal,
        Self::ShuttingDown,
    ];

    /// How long to wait if an answer names no time (its `Error` frame may be missing).
    pub const RETRY_AFTER_DEFAULT: Duration = Duration::from_secs(1);

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The number as QUIC carries it.
    #[must_use]
    pub fn varint(self) -> quinn::VarInt {
        quinn::VarInt::from_u32(self.number())
    }

    /// The code of that number; an unknown number is treated like [`ErrorCode::Internal`] by callers, never trusted.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|code| u64::from(code.number()) == number)
    }

    /// What the code does to the source that answered so.
    #[must_use]
    pub const fn effect(self) -> Effect {
        match self {
            Self::Ok | Self::Cancelled | Self::Forbidden => Effect::Nothing,
            Self::Protocol => Effect::LogAndDropIfClosed,
            Self::Version => Effect::ShowOperator,
            Self::Unauthorized => Effect::RefreshConfigAndRetryOnce,
            Self::NotFound => Effect::QualityDownIfClaimed,
            Self::Gone => Effect::Replan,
            Self::ChunkUnavailable => Effect::ClearHave,
            Self::ChunkCorruptAtSource | Self::Internal => Effect::QualityDown,
            Self::Busy | Self::RateLimited | Self::ShuttingDown => Effect::RetryAfter,
            Self::LeaseRequired | Self::LeaseExpired => Effect::OpenLeaseAndRepeat,
            Self::LimitExceeded => Effect::HalveRun,
        }
    }

    /// Whose fault an answer with this code is. Never [`Fault::Peer`]: a refusal proves no malice.
    #[must_use]
    pub const fn fault(self) -> Fault {
        match self {
            Self::Version | Self::Unauthorized | Self::Forbidden => Fault::Operator,
            _ => Fault::Link,
        }
    }
}

impl fmt::Display for ErrorCode {
    /// In words, as the asker shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "the other side was done",
            Self::Cancelled => "the other side cancelled",
            Self::Protocol => "the other side says that this side broke the protocol",
            Self::Version => "the two sides have no protocol version in common",
            Self::Unauthorized => "the other side refused this identity",
            Self::Forbidden => "this identity may not do that there",
            Self::NotFound => "the other side has no such snapshot",
            Self::Gone => "the snapshot was deleted there",
            Self::ChunkUnavailable => "the other side doesn't hold this chunk",
            Self::ChunkCorruptAtSource => "the other side's own copy is damaged",
            Self::Busy => "the other side is busy",
            Self::RateLimited => "the other side limits the rate of requests",
            Self::LeaseRequired => "the other side wants a lease first",
            Self::LeaseExpired => "the lease has ended",
            Self::LimitExceeded => "the request exceeds the other side's limits",
            Self::Internal => "the other side failed internally",
            Self::ShuttingDown => "the other side is shutting down",
        })
    }
}

/// An error and its causes in one line: layers name what failed, their sources say why.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let why = error.to_string();
        // Some say their cause themselves.
        if !text.contains(&why) {
            text.push_str(": ");
            text.push_str(&why);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_protocol_and_stay() {
        for (number, code) in ErrorCode::ALL.into_iter().enumerate() {
            assert_eq!(code.number() as usize, number);
            assert_eq!(ErrorCode::from_number(number as u64), Some(code));
        }
        assert_eq!(ErrorCode::ChunkCorruptAtSource.number(), 9);
        assert_eq!(ErrorCode::LimitExceeded.number(), 14);
        for reserved in [17, 18, u64::MAX] {
            assert_eq!(ErrorCode::from_number(reserved), None);
        }
    }

    #[test]
    fn only_malice_is_told_as_protocol() {
        assert_eq!(Fault::Peer.close_code(), ErrorCode::Protocol);
        for fault in [Fault::Link, Fault::Disk, Fault::Operator] {
            assert_ne!(fault.close_code(), ErrorCode::Protocol);
        }
        assert!(ErrorCode::ALL.iter().all(|code| code.fault() != Fault::Peer));
    }

    #[test]
    fn protocol_costs_the_peer_only_when_it_closes() {}
}
