//! What a peer's databases say of its channels, whether the peer runs or not: read without a lock and without writing anything, so that
//! a peer that runs or starts meanwhile never notices.
//!
//! Leaves to [`Database::read_live`] why that is sound. For a ledger as a whole, of one moment, there is [`super::LedgerView`], and the
//! peer must be stopped.

use std::sync::Arc;

use super::{
    LedgerError, MissingCollection, inspect,
    leveldb::{Database, LevelDbError},
    stores::{BOOTSTRAPPING_INFO_FILE, CHAINS_FOLDER, LedgerRecord, Status, Store, ledger_key},
    view::{channels, store_folder},
};
use crate::{
    disk::{Access, Dir},
    snapshot::ChannelId,
};

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
        let fault = || LedgerError::record(Store::LedgerProvider, &key, "it is no LedgerMetadata");
        let record = self.record(&key)?;
        record.map(|record| Ok(LedgerRecord::decode(&record).ok_or_else(fault)?.status)).transpose()
    }

    /// The record of a channel that is active, with all its databases and the place of its blocks; `None` if it isn't, or something of that is
    /// gone.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn whole(&self, channel: &ChannelId) -> Result<Option<Vec<u8>>, LedgerError> {
        if self.status(channel)? != Some(Status::Active) {
            return Ok(None);
        }
        for store in Store::ALL {
            match self.read(store, |_| Ok(())) {
                Err(LedgerError::NoStore { .. }) => return Ok(None),
                opened => opened?,
            }
        }
        let chains = CHAINS_FOLDER.iter().copied().chain([channel.as_str()]);
        let info = chains
            .into_iter()
            .try_fold(Arc::clone(&self.ledgers), |dir, name| dir.open_dir(name))
            .and_then(|chain| chain.open_file(BOOTSTRAPPING_INFO_FILE, Access::Read));
        match info {
            Err(error) if error.is_not_found() => return Ok(None),
            info => drop(info?),
        }
        self.record(&ledger_key(channel))
    }

    /// The private data of a channel that the peer doesn't have, per collection.
    ///
    /// # Errors
    /// [`LedgerError`]: also if the peer doesn't have the channel, as nothing of it is missing there.
    pub fn missing_private_data(&self, channel: &ChannelId) -> Result<Vec<MissingCollection>, LedgerError> {
        if !matches!(self.status(channel)?, Some(Status::Active | Status::Inactive)) {
            let known = self.read(Store::LedgerProvider, channels)?;
            return Err(LedgerError::NoChannel { channel: channel.clone(), known });
        }
        self.read(Store::PrivateData, |database| inspect::missing(database, channel))
    }

    /// A channel's record, as it is.
    fn record(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LedgerError> {
        match self.read(Store::LedgerProvider, |ids| Ok(ids.get(key)?)) {
            Err(LedgerError::NoStore { .. }) => Ok(None),
            read => read,
        }
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
