//! What can go wrong while asking a source, and whose fault it is.

use std::net::SocketAddr;

use quinn::ConnectionError;

use crate::{
    snapshot::{ChunkIndex, ManifestHash, SnapshotId},
    transport::{
        fault::{ErrorCode, Fault, chain},
        frame::FrameError,
        session::SessionError,
        wire::{Refusal, WireError},
    },
};

/// TLS alerts travel as QUIC error codes from here on (RFC 9001 4.8).
const TLS_ALERTS: std::ops::Range<u64> = 0x100..0x200;
/// `no_application_protocol`: the other side speaks another major version.
const ALERT_NO_ALPN: u64 = 0x100 + 120;
/// `bad_certificate`: what our verifier says of a name that isn't in the certificate.
const ALERT_BAD_CERTIFICATE: u64 = 0x100 + 42;
/// `unsupported_certificate`: for the other side of a connection.
const ALERT_UNSUPPORTED_CERTIFICATE: u64 = 0x100 + 43;
/// `certificate_expired`: past its dates, or before them.
const ALERT_EXPIRED: u64 = 0x100 + 45;
/// `unknown_ca`: no organisation's roots lead to it.
const ALERT_UNKNOWN_CA: u64 = 0x100 + 48;
/// QUIC's own code of a server that takes no further connection (RFC 9000 20.1).
const CONNECTION_REFUSED: u64 = 0x02;

/// A failure at one source.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{address}: {problem}")]
pub struct AskError {
    /// The source.
    pub address: SocketAddr,
    /// What happened.
    pub problem: AskProblem,
}

/// What happened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AskProblem {
    /// It can't even be dialled: a wrong server name or configuration.
    #[error("it can't be dialled: {0}; check its address, and its serverName if one is configured")]
    Dial(#[from] quinn::ConnectError),
    /// Nobody answers, or no longer.
    #[error(
        "no answer {what}: is snapferry running there, is this its port, and does UDP get through every firewall between?"
    )]
    Silent {
        /// Which wait is over, e.g. `within 10 s`.
        what: &'static str,
    },
    /// Its catalog changed each time between two of its pages, as it may while a service reads its peer's folder.
    #[error("its catalog changes while it is read: it is asked again")]
    CatalogChanges,
    /// The connection broke.
    #[error("the connection is lost: {0}")]
    Lost(ConnectionError),
    /// No answers come on this connection any more, or more requests are open than one connection may have.
    #[error("it answers no further requests on this connection")]
    ControlEnded,
    /// We refuse its TLS certificate.
    #[error("we don't accept its TLS certificate: {refusal}")]
    Tls {
        /// Why.
        refusal: TlsRefusal,
    },
    /// It refuses our TLS certificate; it tells everybody the same.
    #[error("{}", SessionError::Refused)]
    TlsRefused,
    /// It closed the connection and said why.
    #[error("{code}{}", tail(.reason))]
    Closed {
        /// Why.
        code: ErrorCode,
        /// For the log.
        reason: String,
    },
    /// Session auth failed on our side: it isn't who it has to be.
    #[error("{}", chain(&**.0))]
    SessionAuth(std::sync::Arc<SessionError>),
    /// It refused the request.
    #[error("{what}: {}{}", .refusal.code, advice(what, .refusal))]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Its answer.
        refusal: Refusal,
    },
    /// It broke the protocol or lied.
    #[error("it broke the protocol: {0}")]
    Misbehaved(Misbehaviour),
    /// The request can't be asked: this side's programming error, never sent.
    #[error("a request for {count} chunks from {first:?} of a file with {chunks} chunks is none")]
    BadRequest {
        /// First chunk.
        first: ChunkIndex,
        /// Length of the run.
        count: u32,
        /// Chunks in the file.
        chunks: u32,
    },
}

/// Why we refuse a source's TLS certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsRefusal {
    /// No organisation's roots lead to it.
    #[error(
        "no organisation of the channel issued it; either nobody of the channel runs this service, or the config block given here is \
         older than that organisation's membership or TLS CA: fetch a new one"
    )]
    Stranger,
    /// Past its dates, or before them.
    #[error("it has expired or isn't valid yet: its operator has to renew it, unless this machine's clock is wrong")]
    Dates,
    /// It is for another name.
    #[error(
        "it isn't for the name that was dialled; if the address is right, set serverName to the name in the certificate (or \
         nameCheck: org_only, if it has none) for this address under sources"
    )]
    Name,
    /// It is for clients only.
    #[error(
        "it is not for servers: it lacks the extended key usage serverAuth; its operator has to have it issued with that"
    )]
    Purpose,
    /// Something else; in TLS's words.
    #[error("{0}")]
    Other(String),
}

/// How a source broke the protocol: each is its own fault, whatever the network did, since QUIC protects what arrives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// A frame over its cap, torn, or not legal.
    #[error("{0}")]
    Frame(FrameError),
    /// An answer of another kind than asked for.
    #[error("{0} was answered by something else")]
    WrongAnswer(&'static str),
    /// Not the manifest of that hash.
    #[error("it sent something else as manifest {0}")]
    ManifestHash(ManifestHash),
    /// A manifest of that hash that is none, or of another snapshot.
    #[error("the manifest of {id} that it names isn't a manifest of it: {why}")]
    Manifest {
        /// The snapshot.
        id: SnapshotId,
        /// What is wrong with it: bounded, without control characters.
        why: String,
    },
    /// A catalog entry of another channel.
    #[error("its catalog lists {0}, which is of another channel")]
    ForeignEntry(SnapshotId),
    /// Catalog pages that don't ascend or don't end.
    #[error("its catalog doesn't ascend, or doesn't end")]
    EndlessCatalog,
    /// A chunk header that breaks a rule.
    #[error("before chunk {}: {error}", .chunk.0)]
    Header {
        /// The chunk that was due.
        chunk: ChunkIndex,
        /// The rule.
        error: WireError,
    },
    /// Another chunk than the next one.
    #[error("chunk {} came instead of chunk {}", .came.0, .due.0)]
    WrongIndex {
        /// The chunk that was due.
        due: ChunkIndex,
        /// What came.
        came: ChunkIndex,
    },
    /// Not the length that the file's size gives.
    #[error("chunk {} was announced with {came} bytes; it has {due}", .chunk.0)]
    WrongLength {
        /// The chunk.
        chunk: ChunkIndex,
        /// Its length.
        due: u32,
        /// As announced.
        came: u32,
    },
    /// Compressed without leave.
    #[error("chunk {} came compressed, which wasn't accepted", .0.0)]
    UnaskedCodec(ChunkIndex),
    /// The stream ended before the answer was complete.
    #[error("the answer ended before chunk {} was complete", .0.0)]
    EarlyEnd(ChunkIndex),
    /// Bytes behind the answer.
    #[error("bytes follow the last chunk of the answer")]
    TrailingBytes,
    /// A chunk tree of another length than asked for.
    #[error("{came} bytes of chunk tree came, {due} were due")]
    TreeLength {
        /// Bytes due.
        due: u64,
        /// Bytes that came, or one more than due.
        came: u64,
    },
}

impl AskError {
    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match &self.problem {
            AskProblem::Misbehaved(_) => Fault::Peer,
            AskProblem::Silent { .. } | AskProblem::CatalogChanges | AskProblem::Lost(_) | AskProblem::ControlEnded => {
                Fault::Link
            }
            AskProblem::Dial(_) | AskProblem::Tls { .. } | AskProblem::TlsRefused | AskProblem::BadRequest { .. } => {
                Fault::Operator
            }
            AskProblem::Closed { code, .. } => code.fault(),
            AskProblem::Refused { refusal, .. } => refusal.code.fault(),
            AskProblem::SessionAuth(error) => error.fault(),
        }
    }

    /// The code that the other side gave, if it gave one.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match &self.problem {
            AskProblem::Closed { code, .. } => Some(*code),
            AskProblem::Refused { refusal, .. } => Some(refusal.code),
            _ => None,
        }
    }
}

impl From<ConnectionError> for AskProblem {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::TimedOut => Self::Silent { what: "for too long" },
            ConnectionError::VersionMismatch => Self::Closed { code: ErrorCode::Version, reason: String::new() },
            ConnectionError::ApplicationClosed(close) => Self::Closed {
                code: ErrorCode::from_number(close.error_code.into_inner()).unwrap_or(ErrorCode::Internal),
                reason: clean(&close.reason),
            },
            ConnectionError::TransportError(ref error) if TLS_ALERTS.contains(&u64::from(error.code)) => {
                refused_by_us(error.code.into(), clean(error.reason.as_bytes()))
            }
            ConnectionError::ConnectionClosed(ref close) if TLS_ALERTS.contains(&u64::from(close.error_code)) => {
                match u64::from(close.error_code) {
                    ALERT_NO_ALPN => Self::Closed { code: ErrorCode::Version, reason: clean(&close.reason) },
                    _ => Self::TlsRefused,
                }
            }
            ConnectionError::ConnectionClosed(ref close) if u64::from(close.error_code) == CONNECTION_REFUSED => {
                Self::Closed { code: ErrorCode::Busy, reason: "it takes no further connection now".to_owned() }
            }
            other => Self::Lost(other),
        }
    }
}

/// What our own TLS alert means.
fn refused_by_us(alert: u64, reason: String) -> AskProblem {
    let refusal = match alert {
        ALERT_NO_ALPN => return AskProblem::Closed { code: ErrorCode::Version, reason },
        ALERT_UNKNOWN_CA => TlsRefusal::Stranger,
        ALERT_EXPIRED => TlsRefusal::Dates,
        ALERT_BAD_CERTIFICATE => TlsRefusal::Name,
        ALERT_UNSUPPORTED_CERTIFICATE => TlsRefusal::Purpose,
        _ => TlsRefusal::Other(reason),
    };
    AskProblem::Tls { refusal }
}

/// Text of the other side for logs and terminals: bounded, without control characters.
pub(super) fn clean(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.chars().take(256).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Our own advice, or else the other side's words.
fn advice(what: &str, refusal: &Refusal) -> String {
    let remedy = remedy(what, refusal.code);
    if remedy.is_empty() { tail(&refusal.detail) } else { remedy.to_owned() }
}

/// What the operator does about a refusal, where that can be known here.
const fn remedy(what: &str, code: ErrorCode) -> &'static str {
    match (code, what.as_bytes()) {
        (ErrorCode::Forbidden, b"catalog" | b"catalog watch" | b"attestations") => {
            "; it takes an admin of our organisation, or a JoinGrant by one that still holds: an admin writes it with `snapferry grant`, and \
             --grant FILE shows it"
        }
        (ErrorCode::Forbidden, _) => {
            "; it takes a peer's or an admin's identity that the channel's policy Readers (or its ACL snapferry/Fetch) allows"
        }
        _ => "",
    }
}

fn tail(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quinn::ApplicationClose;

    use super::*;
    use crate::msp::{MspError, MspId};

    fn closed(code: u32, reason: &'static [u8]) -> AskError {
        let close = ApplicationClose { error_code: quinn::VarInt::from_u32(code), reason: reason.into() };
        AskError {
            address: "127.0.0.1:7061".parse().unwrap(),
            problem: ConnectionError::ApplicationClosed(close).into(),
        }
    }

    #[test]
    fn closing_codes_become_words() {
        let refused = closed(4, b"");
        assert_eq!(refused.to_string(), "127.0.0.1:7061: the other side refused this identity");
        assert_eq!((refused.fault(), refused.code()), (Fault::Operator, Some(ErrorCode::Unauthorized)));
        let unknown = closed(99, b"a\x1b[2Jb");
        assert_eq!(unknown.to_string(), "127.0.0.1:7061: the other side failed internally (a?[2Jb)");
        assert_eq!(unknown.fault(), Fault::Link);
    }

    /// N9: the words.
    #[test]
    fn silence_is_the_links_fault_and_names_udp() {
        let error = AskError { address: "127.0.0.1:7061".parse().unwrap(), problem: ConnectionError::TimedOut.into() };
        assert_eq!(error.fault(), Fault::Link);
        assert!(error.to_string().contains("UDP"), "{error}");
    }

    #[test]
    fn tls_refusals_say_whose_certificate_it_is_and_what_to_do() {
        let ours = |alert: u64| refused_by_us(0x100 + alert, "handshake failure".to_owned()).to_string();
        for (alert, says) in [(48, "no organisation"), (45, "expired"), (42, "serverName"), (40, "handshake failure")] {
            let text = ours(alert);
            assert!(text.starts_with("we don't accept its TLS certificate: ") && text.contains(says), "{text}");
        }
        assert!(ours(120).contains("no protocol version in common"), "{}", ours(120));
        let closed = |error_code| {
            let close = quinn::ConnectionClose { error_code, frame_type: None, reason: bytes::Bytes::new() };
            AskProblem::from(ConnectionError::ConnectionClosed(close))
        };
        let theirs = closed(quinn::TransportErrorCode::crypto(48)).to_string();
        assert!(theirs.starts_with("it refuses us"), "{theirs}");
        let full = closed(quinn::TransportErrorCode::CONNECTION_REFUSED);
        assert!(matches!(full, AskProblem::Closed { code: ErrorCode::Busy, .. }), "{full}");
    }

    #[test]
    fn an_identity_that_is_refused_is_refused_with_the_reason() {
        let expired = MspError::NotInChannel { msp_id: MspId::new("Org9MSP").unwrap() };
        let problem = AskProblem::SessionAuth(Arc::new(SessionError::Identity(expired)));
        let text = problem.to_string();
        assert_eq!(
            text,
            "it has no valid identity of the channel: Org9MSP is no application organisation of the channel"
        );
    }
}
