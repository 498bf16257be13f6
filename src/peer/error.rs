//! Why a peer's answer is missing. Says whose fault it is: the operator's, the link's, or the peer's own.

use std::{fmt, io, path::PathBuf, time::Duration};

use super::{MalformedAnswer, Refused};
use crate::msp::MspError;

/// A call, by Fabric's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// `protos.Snapshot/Generate`.
    Generate,
    /// `protos.Snapshot/Cancel`.
    Cancel,
    /// `protos.Snapshot/QueryPendings`.
    QueryPendings,
    /// `cscc` GetChannels.
    GetChannels,
    /// `cscc` GetConfigBlock.
    GetConfigBlock,
    /// `cscc` JoinChainBySnapshot.
    JoinChainBySnapshot,
    /// `cscc` JoinBySnapshotStatus.
    JoinBySnapshotStatus,
    /// `qscc` GetChainInfo.
    GetChainInfo,
    /// `qscc` GetBlockByNumber.
    GetBlockByNumber,
}

impl Call {
    /// Fabric's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Generate => "Generate",
            Self::Cancel => "Cancel",
            Self::QueryPendings => "QueryPendings",
            Self::GetChannels => "GetChannels",
            Self::GetConfigBlock => "GetConfigBlock",
            Self::JoinChainBySnapshot => "JoinChainBySnapshot",
            Self::JoinBySnapshotStatus => "JoinBySnapshotStatus",
            Self::GetChainInfo => "GetChainInfo",
            Self::GetBlockByNumber => "GetBlockByNumber",
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A call to a peer that gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The address isn't `HOST:PORT`, or its host can't stand in a certificate. The operator's.
    #[error("{address:?} is no peer's address: it should be HOST:PORT")]
    Address {
        /// As given.
        address: String,
    },
    /// The file with the peer's TLS roots can't be read.
    #[error("can't read the peer's TLS roots {path}: {source}", path = path.display())]
    RootsFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds no certificate that can be a root.
    #[error("{path} holds no certificate (PEM) that can be a TLS root", path = path.display())]
    Roots {
        /// The file.
        path: PathBuf,
    },
    /// Our client certificate or its key can't be used for TLS.
    #[error("our own certificate isn't usable for TLS: {0}")]
    OwnCertificate(rustls::Error),
    /// Nobody listens there, or its name isn't known. The link's.
    #[error("can't reach the peer {address}: {source}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The peer's certificate isn't one that we may trust.
    #[error("the TLS certificate of the peer {address} isn't trusted: {reason}")]
    Certificate {
        /// Where.
        address: String,
        /// Why.
        reason: rustls::CertificateError,
    },
    /// The peer wants a client certificate, or refuses ours.
    #[error("the peer {address} refuses our TLS certificate: {alert}")]
    ClientCertificate {
        /// Where.
        address: String,
        /// As it said it.
        alert: String,
    },
    /// No TLS connection came about for another reason.
    #[error("no TLS connection to the peer {address}: {source}")]
    Tls {
        /// Where.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// No answer in time.
    #[error("the peer {address} didn't answer {what} within {}s", after.as_secs_f64())]
    Timeout {
        /// Where.
        address: String,
        /// `the connection`, or the call.
        what: String,
        /// How long was waited.
        after: Duration,
    },
    /// The connection was lost.
    #[error("the connection to the peer {address} was lost at {call}: {reason}")]
    Lost {
        /// Where.
        address: String,
        /// The call.
        call: Call,
        /// What is known.
        reason: String,
    },
    /// The peer doesn't know the call: Fabric before 2.3, or no peer.
    #[error("{address} doesn't know {call}")]
    Unknown {
        /// Where.
        address: String,
        /// The call.
        call: Call,
    },
    /// The peer refuses, in its own words.
    #[error("the peer refused {call}: {refused}")]
    Refused {
        /// The call.
        call: Call,
        /// What it says, and what that means.
        refused: Refused,
    },
    /// An answer of more bytes than any may have.
    #[error("the answer of {address} to {call} has more than {limit} bytes")]
    TooLarge {
        /// Where.
        address: String,
        /// The call.
        call: Call,
        /// Bytes allowed.
        limit: usize,
    },
    /// An answer that isn't one.
    #[error("the answer of {address} to {call} is none: {source}")]
    Malformed {
        /// Where.
        address: String,
        /// The call.
        call: Call,
        /// What is wrong with it.
        source: MalformedAnswer,
    },
    /// The system gives no random numbers for a nonce.
    #[error("the system gives no random numbers")]
    Random,
    /// Our own key can't sign.
    #[error(transparent)]
    Signing(#[from] MspError),
}

impl PeerError {
    /// What the peer refused, if it did.
    #[must_use]
    pub const fn refused(&self) -> Option<&Refused> {
        match self {
            Self::Refused { refused, .. } => Some(refused),
            _ => None,
        }
    }
}
