//! One channel of a stopped peer, read-only: what its record says, and single keys of its state.
//!
//! Whether a peer runs is looked at when the view is opened and when the caller is done ([`LedgerView::finish`]): no lock is kept, so that a
//! peer that starts meanwhile is not hindered.

use std::{ops::Bound, sync::Arc};

use super::{
    LedgerError,
    leveldb::{Database, LevelDbError, Scan},
    refuse_running_peer,
    stores::{LedgerRecord, LevelKey, StateEntry, Status, Store, ledger_key},
};
use crate::{
    disk::Dir,
    snapshot::{ChannelId, Height, SignableMetadata},
};

/// Most channels that an error names.
const CHANNELS_NAMED_MAX: usize = 20;

/// A channel in the folder `ledgersData` of a peer.
#[derive(Debug)]
pub struct LedgerView {
    ledgers: Arc<dyn Dir>,
    channel: ChannelId,
    status: Status,
    boot: Option<SignableMetadata>,
}

/// A key of the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateValue {
    /// The key in its namespace.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
    /// Key-level endorsement as Fabric keeps it, or empty.
    pub metadata: Vec<u8>,
    /// Block and transaction that wrote it last.
    pub version: Height,
}

impl LedgerView {
    /// Opens the view of `channel` in the folder `ledgersData` of a stopped peer, or in a copy of it.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn open(ledgers: Arc<dyn Dir>, channel: &ChannelId) -> Result<Self, LedgerError> {
        refuse_running_peer(&*ledgers)?;
        let ids = open_store(&ledgers, Store::LedgerProvider)?;
        let key = ledger_key(channel);
        let Some(record) = ids.get(&key)? else {
            return Err(LedgerError::NoChannel { channel: channel.clone(), known: channels(&ids)? });
        };
        let fault = |what| LedgerError::record(Store::LedgerProvider, &key, what);
        let record = LedgerRecord::decode(&record).ok_or_else(|| fault("it is no LedgerMetadata"))?;
        let boot = record.signable.map(SignableMetadata::parse).transpose();
        let boot = boot.map_err(|_| fault("it holds no metadata of a snapshot"))?;
        Ok(Self { status: record.status, boot, channel: channel.clone(), ledgers })
    }

    /// The channel.
    #[must_use]
    pub const fn channel(&self) -> &ChannelId {
        &self.channel
    }

    /// Whether a peer would serve it.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// The snapshot that the ledger came from; `None`: it began with the genesis block.
    #[must_use]
    pub const fn boot_snapshot(&self) -> Option<&SignableMetadata> {
        self.boot.as_ref()
    }

    /// Opens a database of the peer.
    ///
    /// # Errors
    /// [`LedgerError::NoStore`] if it isn't there (of a peer with CouchDB: the state); or what is wrong with its files.
    pub fn database(&self, store: Store) -> Result<Database, LedgerError> {
        open_store(&self.ledgers, store)
    }

    /// The folder of all of the peer's databases.
    #[must_use]
    pub fn ledgers(&self) -> &dyn Dir {
        &*self.ledgers
    }

    /// The value of `key` in `namespace` (of hashes `<namespace>$$h<collection>`, of private data `<namespace>$$p<collection>`).
    ///
    /// # Errors
    /// As [`Self::database`]; a record that isn't what a peer writes.
    pub fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<StateValue>, LedgerError> {
        let state = self.database(Store::State)?;
        let full = LevelKey::new(self.channel.as_str()).of(&[b"d", namespace.as_bytes(), b"\0", key]).to_vec();
        state.get(&full)?.map(|value| self.value(&full, &value)).transpose()
    }

    /// Calls `each` with the keys of `namespace` from `start` on and before `end` (to the last one without), ascending by their bytes.
    ///
    /// # Errors
    /// As [`Self::get`], and what `each` says.
    pub fn scan<E: From<LedgerError>>(
        &self,
        namespace: &str,
        start: &[u8],
        end: Option<&[u8]>,
        each: &mut dyn FnMut(StateValue) -> Result<(), E>,
    ) -> Result<(), E> {
        let state = self.database(Store::State)?;
        let mut keys = LevelKey::new(self.channel.as_str());
        let start = Bound::Included(keys.of(&[b"d", namespace.as_bytes(), b"\0", start]).to_vec());
        // Behind a namespace's last key the NUL is a 1.
        let (nul, end) = end.map_or((b"\x01", &[][..]), |end| (b"\0", end));
        let end = keys.of(&[b"d", namespace.as_bytes(), nul, end]).to_vec();
        for pair in state.scan((start, Bound::Excluded(end))) {
            let (key, value) = pair.map_err(LedgerError::from)?;
            each(self.value(&key, &value)?)?;
        }
        Ok(())
    }

    /// Checks once more that no peer runs: what was read before is then from one moment.
    ///
    /// # Errors
    /// As [`refuse_running_peer`].
    pub fn finish(self) -> Result<(), LedgerError> {
        refuse_running_peer(&*self.ledgers)
    }

    fn value(&self, key: &[u8], value: &[u8]) -> Result<StateValue, LedgerError> {
        let keys = LevelKey::new(self.channel.as_str());
        let entry = keys.rest_of(key).and_then(|rest| StateEntry::decode(rest, value));
        let entry = entry.ok_or_else(|| LedgerError::record(Store::State, key, "it is no value of the state"))?;
        Ok(StateValue {
            key: entry.key.to_vec(),
            value: entry.value.to_vec(),
            metadata: entry.metadata.to_vec(),
            version: entry.version,
        })
    }
}

fn open_store(ledgers: &Arc<dyn Dir>, store: Store) -> Result<Database, LedgerError> {
    match Database::open(store_folder(ledgers, store)?) {
        Err(LevelDbError::NoDatabase { .. }) => Err(LedgerError::NoStore { path: ledgers.path().to_owned(), store }),
        opened => Ok(opened?),
    }
}

/// The folder of that database; [`LedgerError::NoStore`] if it isn't there.
pub(super) fn store_folder(ledgers: &Arc<dyn Dir>, store: Store) -> Result<Arc<dyn Dir>, LedgerError> {
    let mut folder = Arc::clone(ledgers);
    for name in store.folder() {
        folder = match folder.open_dir(name) {
            Err(error) if error.is_not_found() => {
                return Err(LedgerError::NoStore { path: ledgers.path().to_owned(), store });
            }
            opened => opened?,
        };
    }
    Ok(folder)
}

/// The channels that a peer has, some of them.
pub(super) fn channels(ids: &Database) -> Result<Vec<String>, LedgerError> {
    let scan: Scan<'_> = ids.scan(b"s".to_vec()..b"t".to_vec());
    let named = scan.take(CHANNELS_NAMED_MAX).map(|pair| {
        let (key, _) = pair?;
        Ok(String::from_utf8_lossy(key.get(1..).unwrap_or_default()).into_owned())
    });
    named.collect()
}
