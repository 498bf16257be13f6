//! The block index: which transaction ids the channel has had, and up to which block it is complete
//! (fabric: common/ledger/blkstorage).

use std::io::Read;

use super::{LevelKey, Put, StoreError};
use crate::snapshot::{ItemReader, SnapshotId, protobuf::put_uvarint, put_ordered};

/// In front of a transaction id.
const TX_ID: &[u8] = b"t";

/// Up to which block the index is complete.
const CHECKPOINT: &[u8] = b"indexCheckpointKey";

/// The block files' state; a peer would make it when it opens the channel.
const BLOCK_FILES: &[u8] = b"blkMgrInfo";

/// File 0 of no byte, no block in it (the last number: there are no block files with blocks).
const NO_BLOCK_FILES: &[u8] = &[0, 0, 0, 1];

/// Makes the store's one run of records, ascending. Which block and transaction had an id a snapshot doesn't tell: Fabric writes the last block
/// and a running number.
///
/// # Errors
/// [`StoreError::Read`], and what `put` says.
pub fn index<R: Read, E: From<StoreError>>(
    id: &SnapshotId,
    tx_ids: &mut ItemReader<R>,
    put: Put<'_, E>,
) -> Result<(), E> {
    let mut keys = LevelKey::new(id.channel.as_str());
    put(keys.of(&[BLOCK_FILES]), NO_BLOCK_FILES)?;
    let mut checkpoint = Vec::new();
    put_uvarint(&mut checkpoint, id.block_number.0);
    put(keys.of(&[CHECKPOINT]), &checkpoint)?;

    let (mut number, mut head, mut tail) = (0, Vec::new(), Vec::new());
    while let Some(tx_id) = tx_ids.next_item().map_err(StoreError::from)? {
        head.clear();
        put_ordered(&mut head, tx_id.len() as u64);
        tail.clear();
        put_ordered(&mut tail, id.block_number.0);
        put_ordered(&mut tail, number);
        put(keys.of(&[TX_ID, &head, tx_id, &tail]), b"")?;
        number += 1;
    }
    Ok(())
}
