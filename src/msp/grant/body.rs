//! What is granted to whom, and its canonical bytes.

use std::{
    collections::BTreeSet,
    fmt,
    time::{Duration, SystemTime},
};

use aws_lc_rs::rand;

use super::{GRANT_BYTES_MAX, GRANT_VALID_MAX, GrantError, unix_s};
use crate::{
    msp::{Identity, IdentityId, SerializedIdentity},
    snapshot::{
        BlockNumber, ChannelId, WireError,
        protobuf::{Fields, Value, put_bytes, put_number},
    },
};

const VERSION: u64 = 1;
/// How long a grant holds that is made for the command that runs: longer than any listing.
const ONE_COMMAND: Duration = Duration::from_secs(3_600);
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
    pub(super) channel: ChannelId,
    pub(super) peer: IdentityId,
    pub(super) operations: BTreeSet<GrantedOperation>,
    pub(super) min_block: BlockNumber,
    pub(super) max_block: BlockNumber,
    pub(super) issued_at: u64,
    pub(super) not_after: u64,
    pub(super) nonce: [u8; NONCE_BYTES],
    pub(super) identity: SerializedIdentity,
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

    /// The canonical bytes: what is signed, after the prefix of [`crate::msp::Purpose::JoinGrant`].
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

fn operation(number: u8) -> Result<GrantedOperation, GrantError> {
    let known = GrantedOperation::ALL.into_iter().find(|operation| *operation as u8 == number);
    known.ok_or(GrantError::Field("ops"))
}
