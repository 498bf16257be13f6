//! The folder of a channel's block files: a channel from a snapshot has none, and a note of where its blocks begin
//! (fabric: common/ledger/blkstorage/snapshot.go).

use crate::snapshot::{
    BlockHash, BlockNumber, SignableMetadata,
    protobuf::{Fields, Value, put_bytes, put_number},
};

/// The folders under the peer's `ledgersData` that hold a folder of each channel.
pub const CHAINS_FOLDER: [&str; 2] = ["chains", "chains"];

/// The note's file.
pub const BOOTSTRAPPING_INFO_FILE: &str = "bootstrappingSnapshot.info";

/// The first block file, empty at first; a peer would make it when it opens the channel.
pub const FIRST_BLOCK_FILE: &str = "blockfile_000000";

/// The snapshot's last block: blocks begin behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootstrappingInfo {
    /// Its number.
    pub last_block_number: BlockNumber,
    /// Its hash.
    pub last_block_hash: BlockHash,
    /// Hash of the block before it; absent only at block 0.
    pub previous_block_hash: Option<BlockHash>,
}

impl BootstrappingInfo {
    /// Of a snapshot.
    #[must_use]
    pub fn of(metadata: &SignableMetadata) -> Self {
        Self {
            last_block_number: metadata.id().block_number,
            last_block_hash: metadata.last_block_hash(),
            previous_block_hash: metadata.previous_block_hash(),
        }
    }

    /// The file's bytes: proto `{1 number, 2 hash, 3 previous hash}`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_number(&mut bytes, 1, self.last_block_number.0);
        put_bytes(&mut bytes, 2, &self.last_block_hash.0);
        put_bytes(&mut bytes, 3, self.previous_block_hash.as_ref().map_or(&[], |hash| &hash.0));
        bytes
    }

    /// Reads the file; `None` unless it is what [`Self::encode`] writes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (mut number, mut last, mut previous) = (0, None, None);
        for field in Fields::of(bytes) {
            match field.ok()? {
                (1, Value::Number(value)) => number = value,
                (2, Value::Bytes(hash)) => last = Some(BlockHash(hash.try_into().ok()?)),
                (3, Value::Bytes(hash)) => previous = Some(BlockHash(hash.try_into().ok()?)),
                _ => return None,
            }
        }
        let last_block_number = BlockNumber(number);
        let info = Self { last_block_number, last_block_hash: last?, previous_block_hash: previous };
        (info.encode() == bytes).then_some(info)
    }
}
