//! Whether one statement counts, here and now: whose it is, when it was made, and for whom (trust.md 1.6, 6.5).

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{AttestBody, Attestation, DetachedSignature, Equivocation, TrustPolicy};
use crate::{
    msp::{ChannelConfig, Identity, MspError, MspId},
    snapshot::BlockNumber,
};

/// How far a live statement's clock may be from ours, either way.
pub const LIVE_WITHIN: Duration = Duration::from_secs(5 * 60);
/// Longest life of a stored statement that still counts: a revocation mustn't be outlived for longer.
pub const STORED_LIFE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// What statements are judged by.
#[derive(Debug, Clone, Copy)]
pub struct Judging<'a> {
    /// Who is a member.
    pub config: &'a ChannelConfig,
    /// What it takes.
    pub policy: &'a TrustPolicy,
    /// Our own organisation.
    pub own_msp: &'a MspId,
    /// The time.
    pub now: SystemTime,
    /// What we asked the sources to echo. `None`: nobody can be asked (`verify`), so stored statements are judged.
    pub nonce: Option<&'a [u8]>,
    /// The lowest block that isn't a rollback: of the pinned configuration, and the highest that this peer ever had.
    pub floor: BlockNumber,
    /// Take older ones all the same.
    pub allow_older: bool,
}

/// An attestation and who handed it over.
#[derive(Debug, Clone)]
pub struct Heard {
    /// What was said; its signature is right.
    pub attestation: Attestation,
    /// A source's address, or a file's name: for reports.
    pub source: String,
}

/// All that was said about snapshots of a channel.
#[derive(Debug, Clone, Default)]
pub struct Statements {
    /// Attestations, by sources or from files.
    pub heard: Vec<Heard>,
    /// Signatures of plain-Fabric organisations; from the operator alone, never from a source.
    pub detached: Vec<DetachedSignature>,
    /// What was proved before: who contradicted himself about a block doesn't count for it again.
    pub proofs: Vec<Equivocation>,
}

/// How a statement that counts was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum How {
    /// Over Fabric's two files, without a time.
    Detached,
    /// Earlier or for somebody else, and still good.
    Stored,
    /// For us, now: it echoes our nonce.
    Live,
}

/// Why a statement doesn't count. As text: the end of a sentence that begins with whose statement it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum Uncounted {
    /// Our own organisation's.
    #[error("it is of our own organisation, which doesn't count (trust.countSelf)")]
    OwnOrganisation,
    /// Not a valid member of the channel, in the MSP's words.
    #[error("{0}")]
    NotValid(String),
    /// Past its end.
    #[error("it has expired")]
    Expired,
    /// Made later than now.
    #[error("it was signed in the future: compare the clocks")]
    Future,
    /// Good for longer than a stored one may be.
    #[error("it is good for more than 7 days, too long for a stored one")]
    LivesTooLong,
    /// It echoes our nonce, but not our time.
    #[error("it answers us, but its time is more than 5 minutes from ours: compare the clocks")]
    Clock,
    /// Stored or relayed, where only live ones count.
    #[error("it wasn't made for this join, and trust.requireLive is on")]
    NotLive,
    /// A detached signature has no time, so nothing else keeps an old one out.
    #[error("it has no time and is of a block below the floor")]
    BelowFloor,
    /// It names a manifest that is of another snapshot.
    #[error("it names a manifest of another snapshot")]
    OtherManifest,
    /// Its organisation said two things about this block.
    #[error("{0} contradicts itself about this block")]
    Contradicts(MspId),
    /// Its signer said two things about this block; that isn't its organisation's word.
    #[error("its signer contradicts itself about this block")]
    SignerContradicts,
    /// Two statements of an organisation differ, and whether they may can't be told without a manifest that nobody gave.
    #[error("another peer of {0} names another snapshot, whose manifest nobody gave")]
    Doubtful(MspId),
    /// A detached signature whose second part fits no commit hash that anybody names.
    #[error("its second signature fits no commit hash that anybody names")]
    CommitHashUnknown,
    /// A detached signature that is over none of the metadata at hand.
    #[error(
        "its signature fits no snapshot of this block that is offered: it is of another block, or of other metadata"
    )]
    FitsNothing,
}

impl Judging<'_> {
    /// Whether an attestation counts, and as what. Who else said what isn't asked.
    ///
    /// # Errors
    /// Why it doesn't.
    pub fn standing(&self, attestation: &Attestation) -> Result<How, Uncounted> {
        let (body, identity) = (attestation.body(), attestation.identity());
        self.counts(identity)?;
        let now = seconds(self.now);
        let near = LIVE_WITHIN.as_secs();
        let for_us = self.nonce.is_some_and(|nonce| !nonce.is_empty() && nonce == body.request_nonce);
        if for_us && now.abs_diff(body.issued_at) <= near {
            if now > body.expires_at {
                return Err(Uncounted::Expired);
            }
            self.still_valid(identity, How::Live).map_err(not_valid)?;
            return Ok(How::Live);
        }
        match () {
            () if self.policy.require_live && for_us => Err(Uncounted::Clock),
            () if self.policy.require_live && self.nonce.is_some() => Err(Uncounted::NotLive),
            () if now > body.expires_at => Err(Uncounted::Expired),
            () if body.issued_at > now.saturating_add(near) => Err(Uncounted::Future),
            () if body.expires_at.saturating_sub(body.issued_at) > STORED_LIFE_MAX.as_secs() => {
                Err(Uncounted::LivesTooLong)
            }
            () => Ok(How::Stored),
        }
    }

    /// Whether a detached signature about that block counts; it was verified.
    pub(super) fn standing_detached(&self, identity: &Identity, block: BlockNumber) -> Result<How, Uncounted> {
        self.counts(identity)?;
        if block < self.floor() { Err(Uncounted::BelowFloor) } else { Ok(How::Detached) }
    }

    /// Whether a signer is still a member, as far as his kind of statement asks: dates count only for live ones.
    pub(super) fn still_valid(&self, identity: &Identity, how: How) -> Result<(), MspError> {
        match how {
            How::Live => self.config.validate(identity, self.now),
            How::Stored | How::Detached => self.config.validate_stored(identity),
        }
    }

    /// The lowest block that isn't a rollback.
    #[must_use]
    pub fn floor(&self) -> BlockNumber {
        self.policy.min_block.map_or(self.floor, |min_block| min_block.max(self.floor))
    }

    /// Whether a snapshot at that block may be used at all.
    pub(super) fn is_new_enough(&self, block: BlockNumber) -> bool {
        self.allow_older || block >= self.floor()
    }

    /// Whether anything that this identity says can count.
    fn counts(&self, identity: &Identity) -> Result<(), Uncounted> {
        self.still_valid(identity, How::Stored).map_err(not_valid)?;
        if identity.msp_id() == self.own_msp && !self.policy.count_self {
            return Err(Uncounted::OwnOrganisation);
        }
        Ok(())
    }
}

fn not_valid(error: MspError) -> Uncounted {
    Uncounted::NotValid(error.to_string())
}

/// Whether what was said still holds.
pub(super) fn is_unexpired(body: &AttestBody, now: SystemTime) -> bool {
    body.expires_at > seconds(now)
}

/// Seconds since 1970; a clock before that reads 0.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live => "live",
            Self::Stored => "stored",
            Self::Detached => "detached",
        })
    }
}
