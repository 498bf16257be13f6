//! The store of the collections' configurations: the pairs of `confighistory.data` as they are. It comes first in a load, as the private
//! data depend on it.

use std::io::Read;

use super::{CollectionHistory, LevelKey, Put, StoreError};
use crate::snapshot::{ChannelId, ConfigHistoryReader};

/// Makes the store's one run of records, ascending, and gathers what the configurations say for a peer of that organisation.
///
/// # Errors
/// [`StoreError`], and what `put` says.
pub fn config_history<R: Read, E: From<StoreError>>(
    channel: &ChannelId,
    reader: &mut ConfigHistoryReader<R>,
    msp_id: &str,
    put: Put<'_, E>,
) -> Result<CollectionHistory, E> {
    let mut keys = LevelKey::new(channel.as_str());
    let mut history = CollectionHistory::new(msp_id);
    while let Some(entry) = reader.next_entry().map_err(StoreError::from)? {
        history.add(&entry)?;
        put(keys.of(&[&entry.key()]), entry.package)?;
    }
    Ok(history)
}
