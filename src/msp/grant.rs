//! JoinGrant: an admin's word that a peer's service of its organisation may list snapshots and have them signed (trust.md 2.3).
//!
//! Keeps the RFC's "admin" where peers join unattended. The bytes are the file that an admin hands over, and what Hello carries.

use std::{
    collections::BTreeSet,
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::rand;
use bytes::Bytes;

use super::{
    ChannelConfig, Identity, IdentityId, LocalIdentity, MspError, MspId, Principal, PrincipalRole, Purpose,
    SerializedIdentity,
};
use crate::snapshot::{
    BlockNumber, ChannelId, ChannelIdError, WireError,
    protobuf::{Fields, Value, put_bytes, put_number},
};

const VERSION: u64 = 1;
/// Longest grant that is read: an identity of 16 KiB, the other fields and the signature.
pub const GRANT_BYTES_MAX: usize = 24 << 10;
/// Longest time for which one holds: it can't be taken back before, but by revoking somebody.
pub const GRANT_VALID_MAX: Duration = Duration::from_secs(7 * 86_400);
/// How far the admin's clock may be ahead of ours.
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);
/// How long a grant holds that is made for the command that runs: longer than any listing.
const ONE_COMMAND: Duration = Duration::from_secs(3_600);
/// Longest signature that is read: P-384's have about 104.
const SIGNATURE_BYTES_MAX: usize = 512;
const NONCE_BYTES: usize = 16;

/// What a grant may grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GrantedOperation {
    /// List the snapshots of the channel.
    List = 1,
    /// Have the metadata of a snapshot signed.
    Sign = 2,
}

impl GrantedOperation {
    /// All of them, ascending.
    pub const ALL: [Self; 2] = [Self::List, Self::Sign];
}

impl fmt::Display for GrantedOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::List => "list snapshots",
            Self::Sign => "have snapshots signed",
        })
    }
}

/// `GrantBody`: what is granted to whom, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantBody {
    channel: ChannelId,
    peer: IdentityId,
    operations: BTreeSet<GrantedOperation>,
    min_block: BlockNumber,
    max_block: BlockNumber,
    issued_at: u64,
    not_after: u64,
    nonce: [u8; NONCE_BYTES],
    identity: SerializedIdentity,
}

/// A grant whose signature is right. That its issuer is an admin is for a configuration to say, each time anew.
#[derive(Debug, Clone)]
pub struct JoinGrant {
    body: GrantBody,
    bytes: Bytes,
    signature: Bytes,
    issuer: Identity,
}

/// Bytes that are no grant, or a grant that doesn't hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// Longer than any grant.
    #[error("a grant of {0} bytes is too long")]
    TooLong(usize),
    /// Of another version.
    #[error("grant version {0} is unknown")]
    Version(u64),
    /// Not a protocol buffer as our encoder writes it.
    #[error("the grant {0}")]
    Wire(#[from] WireError),
    /// The channel's name isn't legal.
    #[error("the grant's channel: {0}")]
    Channel(#[from] ChannelIdError),
    /// A field that isn't as it has to be.
    #[error("the grant's {0} is not usable")]
    Field(&'static str),
    /// Readable, but not the canonical bytes.
    #[error("the grant isn't in its canonical form")]
    NotCanonical,
    /// The issuer's certificate, its signature, or that it is a valid member of its organisation.
    #[error("the grant's issuer: {0}")]
    Issuer(#[from] MspError),
    /// It is for another channel.
    #[error("the grant is for channel {found}, not {wanted}")]
    OtherChannel {
        /// The grant's.
        found: ChannelId,
        /// Ours.
        wanted: ChannelId,
    },
    /// It is for somebody else.
    #[error("the grant is for identity {found}, not {wanted}")]
    OtherPeer {
        /// The grant's.
        found: IdentityId,
        /// Who shows it.
        wanted: IdentityId,
    },
    /// Its issuer is of another organisation than who shows it.
    #[error("the grant is by {issuer}, but who shows it is of {holder}")]
    OtherOrganisation {
        /// The issuer's organisation.
        issuer: MspId,
        /// The holder's.
        holder: MspId,
    },
    /// Its issuer is no admin.
    #[error("the grant's issuer is no admin of its organisation: {0}")]
    NotAdmin(#[source] MspError),
    /// It would hold for longer than a grant may.
    #[error("the grant would hold for {0} s; at most 7 days are allowed")]
    TooLongValid(u64),
    /// It was issued in the future: one of the clocks is wrong.
    #[error("the grant was issued {ahead_s} s in the future: is a clock wrong?")]
    NotYet {
        /// How far ahead.
        ahead_s: u64,
    },
    /// It no longer holds.
    #[error("the grant ended {ago_s} s ago: have an admin write a new one")]
    Ended {
        /// How long ago.
        ago_s: u64,
    },
    /// It doesn't grant that.
    #[error("the grant doesn't let anybody {0}")]
    Operation(GrantedOperation),
    /// It doesn't reach to that block.
    #[error("the grant is for blocks {min_block} to {max_block}, not for {block}")]
    Block {
        /// The one asked about.
        block: BlockNumber,
        /// The first that it is for.
        min_block: BlockNumber,
        /// The last one.
        max_block: BlockNumber,
    },
}

impl GrantBody {
    /// Everything that can be granted, for all blocks of the channel, to `peer`, by `admin` of the same organisation.
    #[must_use]
    pub fn new(channel: &ChannelId, peer: IdentityId, now: SystemTime, valid_for: Duration, admin: &Identity) -> Self {
        let issued_at = unix_s(now);
        let mut nonce = [0; NONCE_BYTES];
        // Only tells grants apart: nothing rests on it, so none is no reason to fail.
        let _ = rand::fill(&mut nonce);
        Self {
            channel: channel.clone(),
            peer,
            operations: GrantedOperation::ALL.into(),
            min_block: BlockNumber(0),
            max_block: BlockNumber(u64::MAX),
            issued_at,
            not_after: issued_at.saturating_add(valid_for.as_secs()),
            nonce,
            identity: admin.serialized().clone(),
        }
    }

    /// An admin's grant to itself, for the command that it runs.
    #[must_use]
    pub fn for_one_command(channel: &ChannelId, admin: &Identity, now: SystemTime) -> Self {
        Self::new(channel, admin.id(), now, ONE_COMMAND, admin)
    }

    /// Only for blocks from `min_block` to `max_block`, both included; `None`: no bound on that side. A listing isn't cut by it.
    #[must_use]
    pub fn with_blocks(mut self, min_block: Option<BlockNumber>, max_block: Option<BlockNumber>) -> Self {
        self.min_block = min_block.unwrap_or(BlockNumber(0));
        self.max_block = max_block.unwrap_or(BlockNumber(u64::MAX));
        self
    }

    /// Only these operations.
    #[must_use]
    pub fn with_operations(mut self, operations: impl IntoIterator<Item = GrantedOperation>) -> Self {
        self.operations = operations.into_iter().collect();
        self
    }

    /// The channel.
    #[must_use]
    pub const fn channel(&self) -> &ChannelId {
        &self.channel
    }

    /// To whom.
    #[must_use]
    pub const fn peer(&self) -> IdentityId {
        self.peer
    }

    /// Until when it holds, in seconds since 1970.
    #[must_use]
    pub const fn not_after(&self) -> u64 {
        self.not_after
    }

    /// The canonical bytes: what is signed, after the prefix of [`Purpose::JoinGrant`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let operations: Vec<u8> = self.operations.iter().map(|operation| *operation as u8).collect();
        let mut out = Vec::with_capacity(4 << 10);
        put_number(&mut out, 1, VERSION);
        put_bytes(&mut out, 2, self.channel.as_str().as_bytes());
        put_bytes(&mut out, 3, self.peer.as_bytes());
        put_bytes(&mut out, 4, &operations);
        put_number(&mut out, 5, self.min_block.0);
        put_number(&mut out, 6, self.max_block.0);
        put_number(&mut out, 7, self.issued_at);
        put_number(&mut out, 8, self.not_after);
        put_bytes(&mut out, 9, &self.nonce);
        put_bytes(&mut out, 10, &self.identity.encode());
        out
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// Anything that [`Self::encode`] wouldn't have written; another version; a grant of nothing, or for more than 7 days.
    pub fn decode(bytes: &[u8]) -> Result<Self, GrantError> {
        if bytes.len() > GRANT_BYTES_MAX {
            return Err(GrantError::TooLong(bytes.len()));
        }
        let (mut version, mut numbers, mut texts) = (0, [0_u64; 4], [&[][..]; 5]);
        let [min_block, max_block, issued_at, not_after] = &mut numbers;
        let [channel, peer, operations, nonce, identity] = &mut texts;
        for field in Fields::of(bytes) {
            match field? {
                (1, Value::Number(value)) => version = value,
                (2, Value::Bytes(value)) => *channel = value,
                (3, Value::Bytes(value)) => *peer = value,
                (4, Value::Bytes(value)) => *operations = value,
                (5, Value::Number(value)) => *min_block = value,
                (6, Value::Number(value)) => *max_block = value,
                (7, Value::Number(value)) => *issued_at = value,
                (8, Value::Number(value)) => *not_after = value,
                (9, Value::Bytes(value)) => *nonce = value,
                (10, Value::Bytes(value)) => *identity = value,
                (field, _) => return Err(WireError::Field(field).into()),
            }
        }
        if version != VERSION {
            return Err(GrantError::Version(version));
        }
        let body = Self {
            // Bytes that aren't UTF-8 become a sign that no channel's name may hold.
            channel: String::from_utf8_lossy(channel).parse()?,
            peer: IdentityId((*peer).try_into().map_err(|_| GrantError::Field("peer_identity_id"))?),
            operations: operations.iter().map(|number| operation(*number)).collect::<Result<_, _>>()?,
            min_block: BlockNumber(*min_block),
            max_block: BlockNumber(*max_block),
            issued_at: *issued_at,
            not_after: *not_after,
            nonce: (*nonce).try_into().map_err(|_| GrantError::Field("nonce"))?,
            identity: SerializedIdentity::decode(identity)?,
        };
        if body.operations.is_empty() {
            return Err(GrantError::Field("ops"));
        }
        let valid_s = body.not_after.saturating_sub(body.issued_at);
        if valid_s > GRANT_VALID_MAX.as_secs() {
            return Err(GrantError::TooLongValid(valid_s));
        }
        if body.encode() == bytes { Ok(body) } else { Err(GrantError::NotCanonical) }
    }
}

impl JoinGrant {
    /// Signs. The body must name that identity.
    ///
    /// # Errors
    /// If the crypto library fails, the body names somebody else, or grants for more than 7 days.
    pub fn sign(body: &GrantBody, by: &LocalIdentity) -> Result<Self, GrantError> {
        let bytes = body.encode();
        let signature = by.sign(Purpose::JoinGrant, &[&bytes])?;
        Self::from_parts(&bytes, &signature)
    }

    /// Takes a file or Hello's field apart and checks the signature, over the bytes as they came.
    ///
    /// # Errors
    /// [`GrantError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, GrantError> {
        if bytes.len() > GRANT_BYTES_MAX {
            return Err(GrantError::TooLong(bytes.len()));
        }
        let (mut body, mut signature) = (&[][..], &[][..]);
        for field in Fields::of(bytes) {
            match field? {
                (1, Value::Bytes(value)) => body = value,
                (2, Value::Bytes(value)) => signature = value,
                (field, _) => return Err(WireError::Field(field).into()),
            }
        }
        let grant = Self::from_parts(body, signature)?;
        if grant.encode() == bytes { Ok(grant) } else { Err(GrantError::NotCanonical) }
    }

    fn from_parts(body: &[u8], signature: &[u8]) -> Result<Self, GrantError> {
        if signature.len() > SIGNATURE_BYTES_MAX {
            return Err(GrantError::Field("signature"));
        }
        let (bytes, signature) = (Bytes::copy_from_slice(body), Bytes::copy_from_slice(signature));
        let body = GrantBody::decode(&bytes)?;
        let issuer = Identity::parse(body.identity.clone())?;
        issuer.verify(Purpose::JoinGrant, &[&bytes], &signature)?;
        Ok(Self { body, bytes, signature, issuer })
    }

    /// The bytes of the file, and of Hello's field.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len() + self.signature.len() + 16);
        put_bytes(&mut out, 1, &self.bytes);
        put_bytes(&mut out, 2, &self.signature);
        out
    }

    /// What is granted.
    #[must_use]
    pub const fn body(&self) -> &GrantBody {
        &self.body
    }

    /// Who signed.
    #[must_use]
    pub const fn issuer(&self) -> &Identity {
        &self.issuer
    }

    /// Whether it holds now, by that configuration, for `holder`: of the channel, to that identity, by an admin of its own
    /// organisation; and, where they are given, for that operation and block.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(
        &self,
        config: &ChannelConfig,
        holder: &Identity,
        operation: Option<GrantedOperation>,
        block: Option<BlockNumber>,
        now: SystemTime,
    ) -> Result<(), GrantError> {
        let body = &self.body;
        if body.channel != *config.channel() {
            return Err(GrantError::OtherChannel { found: body.channel.clone(), wanted: config.channel().clone() });
        }
        if body.peer != holder.id() {
            return Err(GrantError::OtherPeer { found: body.peer, wanted: holder.id() });
        }
        let msp_id = self.issuer.msp_id().clone();
        if msp_id != *holder.msp_id() {
            return Err(GrantError::OtherOrganisation { issuer: msp_id, holder: holder.msp_id().clone() });
        }
        let now_s = unix_s(now);
        let ahead_s = body.issued_at.saturating_sub(now_s);
        if ahead_s > CLOCK_SKEW.as_secs() {
            return Err(GrantError::NotYet { ahead_s });
        }
        if now_s > body.not_after {
            return Err(GrantError::Ended { ago_s: now_s - body.not_after });
        }
        if let Some(operation) = operation.filter(|operation| !body.operations.contains(operation)) {
            return Err(GrantError::Operation(operation));
        }
        if let Some(block) = block.filter(|block| !(body.min_block..=body.max_block).contains(block)) {
            return Err(GrantError::Block { block, min_block: body.min_block, max_block: body.max_block });
        }
        config.validate(&self.issuer, now)?;
        let admin = Principal::Role { msp_id, role: PrincipalRole::Admin };
        config.satisfies(&self.issuer, &admin).map_err(GrantError::NotAdmin)
    }
}

fn operation(number: u8) -> Result<GrantedOperation, GrantError> {
    let known = GrantedOperation::ALL.into_iter().find(|operation| *operation as u8 == number);
    known.ok_or(GrantError::Field("ops"))
}

fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
