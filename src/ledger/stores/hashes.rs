//! The one pass over `private_state_hashes.data`: its records become the state's, and what the bookkeeper and the private data store make of
//! them in other orders is gathered on the way.

use std::{io::Read, sync::Arc};

use super::{
    CollectionHistory, Expiries, MetadataHints, MissingData, Put, StoreError, bookkeeping::ExpiryKeeper,
    private_data::RowKeeper, state::StateWriter,
};
use crate::{
    disk::Dir,
    snapshot::{SnapshotId, StateReader, split_private_namespace},
};

/// What the pass leaves to be written when it is over. Both parts can be written at once.
#[derive(Debug)]
pub struct Gathered {
    /// For the bookkeeper.
    pub expiries: Expiries,
    /// For the private data store.
    pub missing: MissingData,
}

impl Gathered {
    /// Of a snapshot without private data.
    ///
    /// # Errors
    /// [`StoreError::Sort`].
    pub fn nothing(scratch: &Arc<dyn Dir>) -> Result<Self, StoreError> {
        Ok(Self {
            expiries: ExpiryKeeper::new(Arc::clone(scratch), 0).finish()?,
            missing: RowKeeper::new(Arc::clone(scratch), 0).finish()?,
        })
    }
}

/// Makes the state's run of hashes; ascending if the snapshot is of a peer with LevelDB. `scratch` is for sorting, in about twice
/// `budget_bytes` of memory.
///
/// # Errors
/// [`StoreError`], and what `put` says.
pub fn private_hashes<R: Read, E: From<StoreError>>(
    id: &SnapshotId,
    reader: &mut StateReader<R>,
    collections: &CollectionHistory,
    hints: &mut MetadataHints,
    (scratch, budget_bytes): (&Arc<dyn Dir>, usize),
    put: Put<'_, E>,
) -> Result<Gathered, E> {
    let mut writer = StateWriter::new(id);
    // Not all that is missing expires.
    let mut expiries = ExpiryKeeper::new(Arc::clone(scratch), budget_bytes / 3);
    let mut rows = RowKeeper::new(Arc::clone(scratch), budget_bytes / 3 * 2);
    while let Some((name, record)) = reader.next_record().map_err(StoreError::from)? {
        let collection = split_private_namespace(name).filter(|_| !name.contains('\0'));
        let (namespace, collection) = collection.ok_or_else(|| StoreError::Namespace { namespace: name.to_owned() })?;
        hints.add(namespace, &record);
        let written = record.version.block_number;
        if let Some(expiring) = collections.state_expiry(namespace, collection, written)? {
            expiries.add(expiring, written, (namespace, collection), record.key)?;
        }
        rows.add((namespace, collection), &record)?;
        let (key, value) = writer.record(name, &record);
        put(key, value)?;
    }
    Ok(Gathered { expiries: expiries.finish()?, missing: rows.finish()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        disk::OsDir,
        ledger::stores::ConfigFault,
        snapshot::{BlockNumber, ConfigHistoryEntry, Height, NamespaceRow, SnapshotFile, StateRecord},
    };

    /// One record of that namespace, written by block 5; collection `old` has a configuration, but not in the newest one of chaincode `cc`.
    fn pass(namespace: &str) -> Result<(), StoreError> {
        let mut history = CollectionHistory::new("Org1MSP");
        for (block, package) in [(9, &b"\x0a\x07\x0a\x05\x0a\x03new"[..]), (3, b"\x0a\x07\x0a\x05\x0a\x03old")] {
            history.add(&ConfigHistoryEntry { chaincode: "cc", block_number: BlockNumber(block), package })?;
        }
        let version = Height { block_number: BlockNumber(5), tx_number: 0 };
        let mut data = vec![1];
        StateRecord { key: &[7; 32], value: &[8; 32], metadata: b"", version }.encode_into(&mut data);
        let rows = vec![NamespaceRow { namespace: namespace.to_owned(), records: 1 }];
        let mut reader = StateReader::new(SnapshotFile::PrivateStateHashesData, data.as_slice(), rows);
        let temp = tempfile::tempdir().unwrap();
        let scratch: Arc<dyn Dir> = OsDir::open(temp.path()).unwrap();
        let id = SnapshotId { channel: "ch".parse().unwrap(), block_number: BlockNumber(9) };
        let (hints, put) = (&mut MetadataHints::default(), &mut |_: &[u8], _: &[u8]| Ok::<_, StoreError>(()));
        let gathered = private_hashes(&id, &mut reader, &history, hints, (&scratch, 1_000), put)?;
        gathered.missing.records(&id, &history, put, &mut |_: &[u8], _: &[u8]| Ok::<_, StoreError>(()))
    }

    #[test]
    fn hashes_that_no_peer_could_place_are_refused() {
        pass("cc$$h_implicit_org_Org1MSP").unwrap();
        for name in ["cc", "cc$$h", "cc\0$$hnew", "cc$$hn\0w"] {
            assert!(matches!(pass(name), Err(StoreError::Namespace { .. })), "{name:?}");
        }
        for (name, expected) in [
            ("cc$$hnew", ConfigFault::NoneBefore),
            ("cc$$hold", ConfigFault::NotInNewest),
            ("dd$$hnew", ConfigFault::NotInNewest),
        ] {
            assert!(matches!(pass(name), Err(StoreError::NoConfig { why, .. }) if why == expected), "{name}");
        }
    }
}
