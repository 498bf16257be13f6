//! What a peer's databases say of its channels, whether the peer runs or not: read without a lock and without writing anything, so that
//! a peer that runs or starts meanwhile never notices.
//!
//! Leaves to [`Database::read_live`] why that is sound. For a ledger as a whole, of one moment, there is [`super::LedgerView`], and the
//! peer must be stopped.

use std::sync::Arc;

use super::{
    LedgerError, MissingCollection, inspect,
    leveldb::{Database, LevelDbError},
    stores::{LedgerRecord, Status, Store, ledger_key},
    view::store_folder,
};
use crate::{disk::Dir, snapshot::ChannelId};

/// The folder `ledgersData` of a peer that may run.
#[derive(Debug, Clone)]
pub struct LiveLedgers {
    ledgers: Arc<dyn Dir>,
}

impl LiveLedgers {
    /// That folder.
    #[must_use]
    pub const fn new(ledgers: Arc<dyn Dir>) -> Self {
        Self { ledgers }
    }

    /// What became of a channel; `None`: the peer doesn't have it, or never ran.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn status(&self, channel: &ChannelId) -> Result<Option<Status>, LedgerError> {
        let key = ledger_key(channel);
        let read = |ids: &Database| {
            let Some(record) = ids.get(&key)? else { return Ok(None) };
            let fault = || LedgerError::record(Store::LedgerProvider, &key, "it is no LedgerMetadata");
            Ok(Some(LedgerRecord::decode(&record).ok_or_else(fault)?.status))
        };
        match self.read(Store::LedgerProvider, read) {
            Err(LedgerError::NoStore { .. }) => Ok(None),
            read => read,
        }
    }

    /// The private data of a channel that the peer doesn't have, per collection.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn missing_private_data(&self, channel: &ChannelId) -> Result<Vec<MissingCollection>, LedgerError> {
        self.read(Store::PrivateData, |database| inspect::missing(database, channel))
    }

    fn read<T>(&self, store: Store, read: impl Fn(&Database) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        match Database::read_live(&store_folder(&self.ledgers, store)?, read) {
            Err(LedgerError::LevelDb(LevelDbError::NoDatabase { .. })) => {
                Err(LedgerError::NoStore { path: self.ledgers.path().to_owned(), store })
            }
            read => read,
        }
    }
}
