//! One record of the audit log as a line of JSON, and the chain of hashes that runs through the lines.
//!
//! ```text
//! line  = {"seq":N,"time":T,"what":W, ... ,"chain":H}
//! chain = SHA-256(chain of the record before, 32 raw bytes | the line without its member "chain")
//! ```
//!
//! The record before the first one has a chain of zeros. A line has one spelling only: members in the order of [`Line`], no spaces; so
//! what a JSON tool shows is what was hashed.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::AuditFault;
use crate::{
    calendar::rfc3339,
    msp::{IdentityId, MspId},
    snapshot::{AuditChain, SnapshotId},
};

/// Longest line, in bytes: ours have at most about 2 KiB, with the longest names.
pub const AUDIT_LINE_BYTES_MAX: usize = 4 << 10;
/// Longest note, in characters.
const NOTE_CHARS_MAX: usize = 300;
/// What stands between a record and its hash.
const CHAIN_MEMBER: &str = ",\"chain\":\"";
/// The end of each line.
const END: &str = "\"}";

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum AuditWhat {
    /// The service was started: fetches that have no end were cut off before.
    Started,
    /// A session got the first chunk of a snapshot.
    FetchBegun,
    /// A session that had chunks of a snapshot ended; with their bytes.
    FetchEnded,
    /// A snapshot's data were deleted.
    Deleted,
    /// A snapshot is to be deleted once nobody downloads it any more.
    DeletionCommanded,
    /// The first record of a file that goes on where another one ended.
    Continued,
    /// The first record after a file that was found damaged.
    BegunAnew,
    /// Records before this one couldn't be written.
    Missed,
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditBy {
    /// Its organisation.
    pub msp_id: MspId,
    /// Its certificate.
    pub identity_id: IdentityId,
    /// Where it came from, if by the network.
    pub address: Option<String>,
}

/// What is to be recorded; number, time and chain are the log's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    pub(super) what: AuditWhat,
    pub(super) by: Option<AuditBy>,
    pub(super) snapshot: Option<SnapshotId>,
    pub(super) bytes: Option<u64>,
    pub(super) before: Option<AuditChain>,
    pub(super) note: Option<String>,
}

impl AuditRecord {
    /// The service starts.
    #[must_use]
    pub const fn started() -> Self {
        Self::bare(AuditWhat::Started)
    }

    /// Somebody gets the first chunk of a snapshot.
    #[must_use]
    pub fn fetch_begun(by: AuditBy, snapshot: SnapshotId) -> Self {
        Self { by: Some(by), snapshot: Some(snapshot), ..Self::bare(AuditWhat::FetchBegun) }
    }

    /// Somebody's session ended, with so many bytes sent of a snapshot.
    #[must_use]
    pub fn fetch_ended(by: AuditBy, snapshot: SnapshotId, bytes: u64) -> Self {
        Self { by: Some(by), snapshot: Some(snapshot), bytes: Some(bytes), ..Self::bare(AuditWhat::FetchEnded) }
    }

    /// Somebody had a snapshot deleted.
    #[must_use]
    pub fn deleted(by: AuditBy, snapshot: SnapshotId) -> Self {
        Self { by: Some(by), snapshot: Some(snapshot), ..Self::bare(AuditWhat::Deleted) }
    }

    /// Somebody will have a snapshot deleted, once nobody downloads it any more.
    #[must_use]
    pub fn deletion_commanded(by: AuditBy, snapshot: SnapshotId) -> Self {
        Self { by: Some(by), snapshot: Some(snapshot), ..Self::bare(AuditWhat::DeletionCommanded) }
    }

    /// A deletion that waited is done; who commanded it is on record already.
    #[must_use]
    pub fn deleted_at_last(snapshot: SnapshotId) -> Self {
        Self { snapshot: Some(snapshot), ..Self::bare(AuditWhat::Deleted) }
    }

    pub(super) fn continued(before: AuditChain) -> Self {
        Self { before: Some(before), ..Self::bare(AuditWhat::Continued) }
    }

    pub(super) fn begun_anew(note: &str) -> Self {
        Self { note: Some(note.chars().take(NOTE_CHARS_MAX).collect()), ..Self::bare(AuditWhat::BegunAnew) }
    }

    pub(super) fn missed(count: u64) -> Self {
        let note = format!("{count} records before this one couldn't be written");
        Self { note: Some(note), ..Self::bare(AuditWhat::Missed) }
    }

    const fn bare(what: AuditWhat) -> Self {
        Self { what, by: None, snapshot: None, bytes: None, before: None, note: None }
    }
}

/// The members of a line but the last one, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    pub(super) seq: u64,
    pub(super) time: String,
    pub(super) what: AuditWhat,
    #[serde(skip_serializing_if = "Option::is_none")]
    org: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// Of a file that goes on: the chain of the last record of the file before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl Line {
    pub(super) fn new(record: &AuditRecord, seq: u64, now: SystemTime) -> Self {
        let by = record.by.as_ref();
        Self {
            seq,
            time: rfc3339(now),
            what: record.what,
            org: by.map(|by| by.msp_id.to_string()),
            identity: by.map(|by| by.identity_id.to_string()),
            address: by.and_then(|by| by.address.clone()),
            snapshot: record.snapshot.as_ref().map(ToString::to_string),
            bytes: record.bytes,
            before: record.before.map(|chain| chain.to_string()),
            note: record.note.clone(),
        }
    }

    /// The line, with its line feed, and its place in the chain.
    pub(super) fn encode(&self, before: AuditChain) -> (String, AuditChain) {
        let body = self.body();
        let chain = chain(before, body.as_bytes());
        let open = body.strip_suffix('}').unwrap_or(&body);
        (format!("{open}{CHAIN_MEMBER}{chain}{END}\n"), chain)
    }

    /// The reverse of [`Self::encode`], of a line without its line feed; what it says of the chain isn't checked yet.
    pub(super) fn decode(bytes: &[u8]) -> Result<(Self, AuditChain), AuditFault> {
        let text = std::str::from_utf8(bytes).map_err(|_| AuditFault::NotARecord)?;
        let inside = text.strip_suffix(END).ok_or(AuditFault::NotARecord)?;
        let (open, chain) = inside.rsplit_once(CHAIN_MEMBER).ok_or(AuditFault::NotARecord)?;
        let chain = chain.parse().map_err(|_| AuditFault::NotARecord)?;
        let body = format!("{open}}}");
        let line: Self = serde_json::from_str(&body).map_err(|_| AuditFault::NotARecord)?;
        if line.body() == body { Ok((line, chain)) } else { Err(AuditFault::Spelling) }
    }

    /// The place in the chain that the line should have.
    pub(super) fn chain_after(&self, before: AuditChain) -> AuditChain {
        chain(before, self.body().as_bytes())
    }

    fn body(&self) -> String {
        serde_json::to_string(self).expect("strings and numbers are JSON")
    }
}

fn chain(before: AuditChain, body: &[u8]) -> AuditChain {
    let mut hasher = Sha256::new();
    hasher.update(before.as_bytes());
    hasher.update(body);
    AuditChain(hasher.finalize().into())
}
