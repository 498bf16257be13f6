//! The state: what each key is, and which block and transaction wrote it. Public records and hashes of private ones are two runs of keys
//! that interleave, and so are the files that they come from (fabric: core/ledger/kvledger/txmgmt/statedb/stateleveldb).

use std::io::Read;

use super::{
    LevelKey, MetadataHints, Put, StoreError,
    keys::{SAVEPOINT, savepoint, split_namespace},
};
use crate::snapshot::{
    Height, SnapshotId, StateReader, StateRecord,
    protobuf::{Fields, Value, put_bytes},
};

/// In front of a namespace.
const DATA: &[u8] = b"d";

/// Makes the run of public records; ascending if the snapshot is of a peer with LevelDB (one with CouchDB has another order: sort them).
///
/// # Errors
/// [`StoreError::Read`], and what `put` says.
pub fn public_state<R: Read, E: From<StoreError>>(
    id: &SnapshotId,
    reader: &mut StateReader<R>,
    hints: &mut MetadataHints,
    put: Put<'_, E>,
) -> Result<(), E> {
    let mut writer = StateWriter::new(id);
    while let Some((namespace, record)) = reader.next_record().map_err(StoreError::from)? {
        hints.add(namespace, &record);
        let (key, value) = writer.record(namespace, &record);
        put(key, value)?;
    }
    Ok(())
}

/// The record that says up to where the state is complete; it sorts behind all others of the channel.
#[must_use]
pub fn state_savepoint(id: &SnapshotId) -> (Vec<u8>, Vec<u8>) {
    let mut keys = LevelKey::new(id.channel.as_str());
    (keys.of(&[SAVEPOINT]).to_vec(), savepoint(id.block_number))
}

/// Makes the store's records one by one.
#[derive(Debug)]
pub(super) struct StateWriter {
    keys: LevelKey,
    version: Vec<u8>,
    value: Vec<u8>,
}

impl StateWriter {
    pub(super) fn new(id: &SnapshotId) -> Self {
        Self { keys: LevelKey::new(id.channel.as_str()), version: Vec::new(), value: Vec::new() }
    }

    /// Key and value (proto DBValue) of a record.
    pub(super) fn record(&mut self, namespace: &str, record: &StateRecord<'_>) -> (&[u8], &[u8]) {
        self.version.clear();
        record.version.encode_into(&mut self.version);
        self.value.clear();
        put_bytes(&mut self.value, 1, &self.version);
        put_bytes(&mut self.value, 2, record.value);
        put_bytes(&mut self.value, 3, record.metadata);
        (self.keys.of(&[DATA, namespace.as_bytes(), b"\0", record.key]), &self.value)
    }
}

/// A record of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateEntry<'a> {
    /// The namespace; of hashes `<namespace>$$h<collection>`, of private data `<namespace>$$p<collection>`.
    pub namespace: &'a str,
    /// The key in it.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// Key-level endorsement, or empty.
    pub metadata: &'a [u8],
    /// Who wrote it last.
    pub version: Height,
}

impl<'a> StateEntry<'a> {
    /// Reads a record whose key has lost the channel's name ([`LevelKey::rest_of`]); `None` if it is none of these.
    #[must_use]
    pub fn decode(rest_of_key: &'a [u8], value: &'a [u8]) -> Option<Self> {
        let (namespace, key) = split_namespace(rest_of_key.strip_prefix(DATA)?)?;
        let (mut version, mut data, mut metadata) = (None, &[][..], &[][..]);
        for field in Fields::of(value) {
            match field.ok()? {
                (1, Value::Bytes(bytes)) => version = Some(Height::decode(bytes)?),
                (2, Value::Bytes(bytes)) => data = bytes,
                (3, Value::Bytes(bytes)) => metadata = bytes,
                _ => return None,
            }
        }
        Some(Self { namespace, key, value: data, metadata, version: version? })
    }
}
