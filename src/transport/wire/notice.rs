//! What is pushed or said at the end: notices, goodbye, and the refusal of a request.

use std::time::Duration;

use super::Broken;
use crate::transport::{
    fault::ErrorCode,
    limits::{DETAIL_BYTES_MAX, RETRY_AFTER_MAX},
    pb,
};

/// Pushed by the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The catalog has this version now.
    CatalogChanged {
        /// Version of the catalog.
        version: u64,
    },
    /// A snapshot that is being fetched is about to be deleted.
    LeaseEnding {
        /// The lease.
        lease_id: u64,
        /// Time left.
        drain: Duration,
    },
    /// The service is about to stop.
    GoingAway {
        /// When it may be dialled again.
        retry_after: Duration,
    },
}

/// The sender is about to close the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goodbye {
    /// Why.
    pub code: ErrorCode,
    /// When it may be dialled again.
    pub retry_after: Duration,
    /// For the log; at most 256 bytes, without control characters.
    pub reason: String,
}

/// A request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub code: ErrorCode,
    /// When to ask again; `None`: not named.
    pub retry_after: Option<Duration>,
    /// For the log; at most 256 bytes, without control characters.
    pub detail: String,
}

impl Refusal {
    /// A refusal of that code; `detail` is cut to 256 bytes.
    #[must_use]
    pub fn new(code: ErrorCode, detail: &str) -> Self {
        let mut end = detail.len().min(DETAIL_BYTES_MAX);
        while !detail.is_char_boundary(end) {
            end -= 1;
        }
        Self { code, retry_after: None, detail: detail.get(..end).unwrap_or_default().to_owned() }
    }
}

impl TryFrom<pb::Notice> for Notice {
    type Error = Broken;
    fn try_from(notice: pb::Notice) -> Result<Self, Broken> {
        use pb::notice::Kind;
        Ok(match notice.kind.ok_or(Broken::Field("kind"))? {
            Kind::CatalogChanged(changed) => Self::CatalogChanged { version: changed.version },
            Kind::LeaseEnding(ending) => {
                Self::LeaseEnding { lease_id: ending.lease_id, drain: wait(ending.drain_ms) }
            }
            Kind::GoingAway(away) => Self::GoingAway { retry_after: wait(away.retry_after_ms) },
        })
    }
}

impl From<Notice> for pb::Notice {
    fn from(notice: Notice) -> Self {
        use pb::notice::Kind;
        Self {
            kind: Some(match notice {
                Notice::CatalogChanged { version } => Kind::CatalogChanged(pb::CatalogChanged { version }),
                Notice::LeaseEnding { lease_id, drain } => {
                    Kind::LeaseEnding(pb::LeaseEnding { lease_id, drain_ms: millis(drain) })
                }
                Notice::GoingAway { retry_after } => {
                    Kind::GoingAway(pb::GoingAway { retry_after_ms: millis(retry_after) })
                }
            }),
        }
    }
}

impl TryFrom<pb::Goodbye> for Goodbye {
    type Error = Broken;
    fn try_from(goodbye: pb::Goodbye) -> Result<Self, Broken> {
        Ok(Self {
            code: code(goodbye.code),
            retry_after: wait(goodbye.retry_after_ms),
            reason: detail(goodbye.reason, "reason")?,
        })
    }
}

impl From<Goodbye> for pb::Goodbye {
    fn from(goodbye: Goodbye) -> Self {
        Self {
            code: goodbye.code.number(),
            retry_after_ms: millis(goodbye.retry_after),
            reason: goodbye.reason,
        }
    }
}

impl TryFrom<pb::Error> for Refusal {
    type Error = Broken;
    fn try_from(error: pb::Error) -> Result<Self, Broken> {
        let retry_after = (error.retry_after_ms > 0).then(|| wait(error.retry_after_ms));
        Ok(Self { code: code(error.code), retry_after, detail: detail(error.detail, "detail")? })
    }
}

impl From<Refusal> for pb::Error {
    fn from(refusal: Refusal) -> Self {
        Self {
            code: refusal.code.number(),
            retry_after_ms: refusal.retry_after.map_or(0, millis),
            detail: refusal.detail,
        }
    }
}

/// An unknown code counts as the other side's own failure.
fn code(number: u32) -> ErrorCode {
    ErrorCode::from_number(u64::from(number)).unwrap_or(ErrorCode::Internal)
}

fn wait(ms: u64) -> Duration {
    Duration::from_millis(ms).min(RETRY_AFTER_MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.min(RETRY_AFTER_MAX).as_millis()).unwrap_or(u64::MAX)
}

/// Text of the other side ends in logs and terminals: bounded, and control characters are replaced.
fn detail(text: String, field: &'static str) -> Result<String, Broken> {
    if text.len() > DETAIL_BYTES_MAX {
        return Err(Broken::Field(field));
    }
    Ok(if text.chars().any(char::is_control) { text.replace(char::is_control, "?") } else { text })
}
