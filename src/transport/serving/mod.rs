//! The serving side: accepts members of the channels, tells them what the catalog has, and sends manifests, trees and chunks.
//!
//! Decides: who gets a seat, who may ask what, what a legal request is, in which order streams are sent and how
//! fast, what is compressed. Leaves to
//! [`crate::catalog`] what exists and whether its bytes are still right, and to `super::session` who somebody is. Reading, hashing and
//! compressing run on [`Workers`], never on the thread that drives QUIC.
//!
//! Memory: 16 chunk buffers for all sessions together (a buffer is taken before a chunk is read and returns when the other side
//! has acknowledged its bytes), and at most four control frames per session (one being written, two queued, one about to be).

mod access;
mod answer;
mod attest;
mod bucket;
mod buffers;
mod control;
mod deletions;
mod haves;
mod leases;
mod listener;
mod produce;
mod range;
mod rates;
mod recorder;
mod seats;
mod session;
mod turns;

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

pub use listener::serve;

use super::{
    limits::{
        REVALIDATE_EVERY, SESSIONS_MAX, SESSIONS_PER_ADDRESS_MAX, SESSIONS_PER_ORG_MAX, STREAMS_MAX,
        WRITE_STALL_TIMEOUT,
    },
    live::LiveChannels,
    session::SessionContext,
    wire::{Attestation, AttestationGet, Refusal},
};
use crate::{
    catalog::{AuditLog, Catalog},
    chunking::Workers,
    msp::{ChannelConfig, MspId},
};

/// Makes the attestations of a snapshot of the configuration's channel: our own, live if there is a nonce, then those of others
/// that are kept. Blocking. Who asks may have it signed; how often it is called is bounded per session.
pub type Attest = Arc<dyn Fn(&ChannelConfig, &AttestationGet) -> Result<Vec<Attestation>, Refusal> + Send + Sync>;

/// What serving needs; all of it comes from outside.
#[derive(Clone)]
pub struct ServeContext {
    /// What there is to serve.
    pub catalog: Arc<Catalog>,
    /// The channels that are served, with the configuration of the moment.
    pub channels: LiveChannels,
    /// What makes attestations.
    pub attest: Attest,
    /// Where fetches are recorded; `None`: nowhere.
    pub audit: Option<Arc<AuditLog>>,
    /// Who we are, and our clock.
    pub session: SessionContext,
    /// Only members of that organisation are served; `None`: of every organisation of the channel.
    pub only_org: Option<MspId>,
    /// Whether others on this host need it more at the moment: then all joiners together get a small rate, which they share, and
    /// nothing is compressed.
    pub busy: watch::Receiver<bool>,
    /// Caps.
    pub limits: ServeLimits,
    /// Where files are read, hashed and compressed. Its queue should have 16 places: then nothing ever waits to queue.
    pub workers: Workers,
    /// True (or its sender gone): stop.
    pub shutdown: watch::Receiver<bool>,
}

/// Caps that an operator may lower or raise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServeLimits {
    /// Sessions of one organisation at a time.
    pub sessions_per_org: usize,
    /// Connections from one address at a time.
    pub sessions_per_address: usize,
    /// Sessions in all.
    pub sessions: usize,
    /// Streams of one session at a time.
    pub streams: u32,
    /// Bytes of chunks that one organisation is sent in a second, by all its sessions together; `None`: as fast as it goes.
    pub rate_per_org: Option<u64>,
    /// Chunks that are compressed at the same time; the next one then goes as it is: the CPU is busy. 0: never compress.
    pub compressions: usize,
    /// An answer of which nothing is taken for this long is given up.
    pub write_stall: Duration,
    /// How often a live session's certificates and membership are judged again; besides, it is at once when a configuration changes.
    pub revalidate_every: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            sessions_per_org: SESSIONS_PER_ORG_MAX,
            sessions_per_address: SESSIONS_PER_ADDRESS_MAX,
            sessions: SESSIONS_MAX,
            streams: STREAMS_MAX,
            rate_per_org: None,
            compressions: 2,
            write_stall: WRITE_STALL_TIMEOUT,
            revalidate_every: REVALIDATE_EVERY,
        }
    }
}
