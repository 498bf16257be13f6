//! Hello: what the two sides tell each other once session auth has succeeded.

use bytes::Bytes;

use super::Broken;
use crate::transport::{limits::GRANT_BYTES_MAX, pb};

/// Versions, limits and clock of the sender.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hello {
    /// Minor version; the major is the ALPN.
    pub minor: u32,
    /// Bit set of optional features; unknown bits are ignored.
    pub features: u64,
    /// What the sender allows the other side.
    pub limits: SessionLimits,
    /// The sender's wall clock, Unix seconds.
    pub time_unix_s: u64,
    /// A JoinGrant (trust.md 2.3), at most 24 KiB, as sent; empty: none.
    pub join_grant: Bytes,
}

/// What one side allows the other; 0 is "not limited".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionLimits {
    /// Streams open at a time.
    pub streams: u32,
    /// Chunks asked for and not yet answered.
    pub chunks_in_flight: u32,
    /// Bytes a second.
    pub rate_bytes_per_s: u64,
}

impl TryFrom<pb::Hello> for Hello {
    type Error = Broken;
    fn try_from(hello: pb::Hello) -> Result<Self, Broken> {
        if hello.join_grant.len() > GRANT_BYTES_MAX {
            return Err(Broken::Field("join_grant"));
        }
        let limits = hello.limits.unwrap_or_default();
        Ok(Self {
            minor: hello.minor,
            features: hello.features,
            limits: SessionLimits {
                streams: limits.streams,
                chunks_in_flight: limits.chunks_in_flight,
                rate_bytes_per_s: limits.rate_bytes_per_s,
            },
            time_unix_s: hello.time_unix_s,
            join_grant: hello.join_grant,
        })
    }
}

impl From<Hello> for pb::Hello {
    fn from(hello: Hello) -> Self {
        Self {
            minor: hello.minor,
            features: hello.features,
            limits: Some(pb::SessionLimits {
                streams: hello.limits.streams,
                chunks_in_flight: hello.limits.chunks_in_flight,
                rate_bytes_per_s: hello.limits.rate_bytes_per_s,
            }),
            time_unix_s: hello.time_unix_s,
            join_grant: hello.join_grant,
        }
    }
}
