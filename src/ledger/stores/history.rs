//! The store of keys' histories: a snapshot brings none, only the savepoint says up to where it would go.

use super::{
    LevelKey,
    keys::{SAVEPOINT, savepoint},
};
use crate::snapshot::SnapshotId;

/// The store's only record.
#[must_use]
pub fn history_savepoint(id: &SnapshotId) -> (Vec<u8>, Vec<u8>) {
    let mut keys = LevelKey::new(id.channel.as_str());
    (keys.of(&[SAVEPOINT]).to_vec(), savepoint(id.block_number))
}
