//! What a peer answers, as our own types: its bytes are decoded and bounded here.

use bytes::Bytes;
use prost::Message as _;

use super::{Refused, pb};
use crate::{
    msp::CONFIG_BYTES_MAX,
    snapshot::{
        BlockHash, BlockNumber, ChannelId,
        protobuf::{Fields, Value, bytes_field},
    },
};

/// Longest answer that is read: a configuration block and what a response wraps around it.
pub const ANSWER_BYTES_MAX: usize = CONFIG_BYTES_MAX + (64 << 10);
/// Most pending requests of a channel that are taken: an admin makes a handful.
pub const PENDINGS_MAX: usize = 100_000;
/// Most channels of a peer that are taken: far more than a peer can hold open.
pub const CHANNELS_MAX: usize = 10_000;
/// Longest path that a peer may name; Linux allows no longer one.
const PATH_BYTES_MAX: usize = 4096;

/// Good statuses of a chaincode's response end here (fabric: core/common/ccprovider, shim.ERRORTHRESHOLD).
const STATUS_ERROR: i32 = 400;

/// An answer that isn't one: not of Fabric's making.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MalformedAnswer {
    /// No such message.
    #[error("it isn't encoded as one")]
    Encoding,
    /// A response without status.
    #[error("it holds no response")]
    NoResponse,
    /// A channel name that Fabric doesn't allow.
    #[error("it names a channel that can't be one")]
    ChannelName,
    /// Too many channels or pending requests.
    #[error("it has more than {limit} entries")]
    TooMany {
        /// Entries allowed.
        limit: usize,
    },
    /// A hash of the ledger that isn't 32 bytes, or a height of 0: every ledger has its first block.
    #[error("its height or a block hash can't be one")]
    Ledger,
    /// A path that is too long or holds control characters.
    #[error("it names a path that can't be one")]
    Path,
}

/// A ledger's end, as `qscc` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainInfo {
    /// The last committed block; Fabric's height is one more.
    pub last_block: BlockNumber,
    /// Its hash.
    pub last_block_hash: BlockHash,
    /// The hash of the block before it; none at block 0.
    pub previous_block_hash: Option<BlockHash>,
    /// The last block in the snapshot by which the peer joined, if it did.
    pub last_block_in_snapshot: Option<BlockNumber>,
}

impl ChainInfo {
    /// From Fabric's `BlockchainInfo`.
    ///
    /// # Errors
    /// If it isn't one, or no ledger can be so.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedAnswer> {
        let info = pb::BlockchainInfo::decode(bytes).map_err(|_| MalformedAnswer::Encoding)?;
        let hash = |bytes: &[u8]| BlockHash::try_from(bytes).map_err(|_| MalformedAnswer::Ledger);
        let previous = &info.previous_block_hash;
        Ok(Self {
            last_block: info.height.checked_sub(1).map(BlockNumber).ok_or(MalformedAnswer::Ledger)?,
            last_block_hash: hash(&info.current_block_hash)?,
            previous_block_hash: if previous.is_empty() { None } else { Some(hash(previous)?) },
            last_block_in_snapshot: info
                .bootstrapping_snapshot_info
                .map(|snapshot| BlockNumber(snapshot.last_block_in_snapshot)),
        })
    }
}

/// The hash of the block before that one, from Fabric's `Block`.
///
/// # Errors
/// If it isn't one, or is another block.
pub(super) fn decode_previous_hash(bytes: &[u8], block_number: BlockNumber) -> Result<BlockHash, MalformedAnswer> {
    let header = bytes_field(bytes, 1).ok_or(MalformedAnswer::Encoding)?;
    // A number of 0 is left away.
    let number = Fields::of(header).map_while(Result::ok).find_map(|field| match field {
        (1, Value::Number(number)) => Some(number),
        _ => None,
    });
    if number.unwrap_or(0) != block_number.0 {
        return Err(MalformedAnswer::Ledger);
    }
    let previous = bytes_field(header, 2).ok_or(MalformedAnswer::Ledger)?;
    BlockHash::try_from(previous).map_err(|_| MalformedAnswer::Ledger)
}

/// Whether a join by snapshot runs. That none runs says nothing of how the last one ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinStatus {
    /// None.
    Idle,
    /// One does.
    InProgress {
        /// The folder that is joined from, on the peer's disk.
        folder: String,
    },
}

impl JoinStatus {
    /// From Fabric's `JoinBySnapshotStatus`.
    ///
    /// # Errors
    /// If it isn't one, or its path can't be one.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedAnswer> {
        let status = pb::JoinBySnapshotStatus::decode(bytes).map_err(|_| MalformedAnswer::Encoding)?;
        if !status.in_progress {
            return Ok(Self::Idle);
        }
        let folder = status.bootstrapping_snapshot_dir;
        if folder.len() > PATH_BYTES_MAX || folder.chars().any(char::is_control) {
            return Err(MalformedAnswer::Path);
        }
        Ok(Self::InProgress { folder })
    }
}

/// The blocks of pending requests, ascending, from Fabric's `QueryPendingSnapshotsResponse`.
///
/// # Errors
/// If it isn't one, or has more than [`PENDINGS_MAX`] entries.
pub fn decode_pendings(bytes: &[u8]) -> Result<Vec<BlockNumber>, MalformedAnswer> {
    let response = pb::QueryPendingSnapshotsResponse::decode(bytes).map_err(|_| MalformedAnswer::Encoding)?;
    if response.block_numbers.len() > PENDINGS_MAX {
        return Err(MalformedAnswer::TooMany { limit: PENDINGS_MAX });
    }
    let mut blocks: Vec<BlockNumber> = response.block_numbers.into_iter().map(BlockNumber).collect();
    blocks.sort_unstable();
    Ok(blocks)
}

/// The peer's channels, in order of their names, from Fabric's `ChannelQueryResponse`.
///
/// # Errors
/// If it isn't one, a name can't be one, or there are more than [`CHANNELS_MAX`].
pub fn decode_channels(bytes: &[u8]) -> Result<Vec<ChannelId>, MalformedAnswer> {
    let response = pb::ChannelQueryResponse::decode(bytes).map_err(|_| MalformedAnswer::Encoding)?;
    if response.channels.len() > CHANNELS_MAX {
        return Err(MalformedAnswer::TooMany { limit: CHANNELS_MAX });
    }
    let names = response.channels.iter().map(|channel| channel.channel_id.parse());
    let mut channels: Vec<ChannelId> = names.collect::<Result<_, _>>().map_err(|_| MalformedAnswer::ChannelName)?;
    channels.sort_unstable();
    Ok(channels)
}

/// What a chaincode answered: its payload, or why it refused. From Fabric's `ProposalResponse`.
///
/// # Errors
/// If it isn't one, or holds no response.
pub fn decode_response(bytes: Bytes) -> Result<Result<Bytes, Refused>, MalformedAnswer> {
    let answer = pb::ProposalResponse::decode(bytes).map_err(|_| MalformedAnswer::Encoding)?;
    let response = answer.response.filter(|response| response.status > 0).ok_or(MalformedAnswer::NoResponse)?;
    if response.status >= STATUS_ERROR {
        return Ok(Err(Refused::new(&response.message)));
    }
    Ok(Ok(response.payload))
}

#[cfg(test)]
mod tests;
