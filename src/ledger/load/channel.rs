//! Where a channel lies in a peer's `ledgersData`, and its record there: what a peer that starts makes of the rest.

use std::sync::Arc;

use super::{LoadError, marker};
use crate::{
    disk::{Access, Dir},
    ledger::{
        leveldb::{Bulk, Database, LevelDbError, make_database},
        running::{hold_off_the_peer, refuse_running_peer},
        stores::{
            BOOTSTRAPPING_INFO_FILE, BootstrappingInfo, CHAINS_FOLDER, FIRST_BLOCK_FILE, FormatRecord, LedgerRecord,
            Status, Store, ledger_key, ledger_record,
        },
    },
    snapshot::{ChannelId, SignableMetadata, SnapshotMetadata},
};

/// Only a peer with CouchDB has it (fabric: core/ledger/kvledger/ledger_filepath.go).
const COUCHDB_FOLDER: &str = "couchdbRedoLogs";

/// A channel that the peer doesn't have, and its places; no peer starts while this lives.
pub(super) struct ChannelPlaces {
    ledgers: Arc<dyn Dir>,
    channel: ChannelId,
    _no_peer: Bulk,
}

impl ChannelPlaces {
    /// Takes the peer's lock, and makes sure that the channel may be made. What an attempt that was cut off has left is removed.
    pub(super) fn claim(ledgers: &Arc<dyn Dir>, channel: &ChannelId) -> Result<Self, LoadError> {
        may_claim(ledgers, channel)?;
        let no_peer = hold_off_the_peer(&**ledgers)?;
        let places = Self { ledgers: Arc::clone(ledgers), channel: channel.clone(), _no_peer: no_peer };
        match status(ledgers, channel)? {
            Some(status @ (Status::Active | Status::Inactive)) => {
                return Err(LoadError::ChannelExists { channel: channel.clone(), status });
            }
            Some(Status::UnderConstruction | Status::UnderDeletion) => places.remove()?,
            None => {
                if let Some(chain) = places.chain()?
                    && !chain.list()?.is_empty()
                {
                    return Err(LoadError::Blocks { path: chain.path().display().to_string() });
                }
            }
        }
        Ok(places)
    }

    /// The places of a channel that a load has begun, as they are; `None` if there is no such.
    pub(super) fn of_unfinished(
        ledgers: &Arc<dyn Dir>,
        metadata: &SnapshotMetadata,
    ) -> Result<Option<Self>, LoadError> {
        let channel = &metadata.signable.id().channel;
        may_claim(ledgers, channel)?;
        let no_peer = hold_off_the_peer(&**ledgers)?;
        let record = match database(ledgers, Store::LedgerProvider)? {
            Some(database) => database.get(&ledger_key(channel))?,
            None => None,
        };
        let is_begun = record.is_some_and(|record| record == ledger_record(metadata, Status::UnderConstruction));
        Ok(is_begun.then(|| Self { ledgers: Arc::clone(ledgers), channel: channel.clone(), _no_peer: no_peer }))
    }

    pub(super) const fn ledgers(&self) -> &Arc<dyn Dir> {
        &self.ledgers
    }

    /// Says durably that the channel is being made: whatever happens, a peer that starts drops what there is of it.
    pub(super) fn begin(&self, metadata: &SnapshotMetadata) -> Result<(), LoadError> {
        marker::remove(self, &self.channel)?;
        self.put_record(Some(ledger_record(metadata, Status::UnderConstruction)))
    }

    /// Says durably that it is whole.
    pub(super) fn activate(&self, metadata: &SnapshotMetadata) -> Result<(), LoadError> {
        self.put_record(Some(ledger_record(metadata, Status::Active)))?;
        if let Err(error) = marker::remove(self, &self.channel) {
            tracing::warn!("the channel is whole, a file of ours is left beside its databases: {error}");
        }
        Ok(())
    }

    fn put_record(&self, record: Option<Vec<u8>>) -> Result<(), LoadError> {
        let mut bulk = self.bulk(Store::LedgerProvider)?;
        if let Some(record) = record {
            let mut run = bulk.run();
            run.add(&ledger_key(&self.channel), &record)?;
            bulk.take(run.finish()?);
        }
        Ok(bulk.commit()?)
    }

    /// A load of the channel's keys into the store, whose format is put there if it is new.
    pub(super) fn bulk(&self, store: Store) -> Result<Bulk, LoadError> {
        let mut ranges = store.key_ranges(&self.channel);
        let lacking = match database(&self.ledgers, store)? {
            Some(database) => lacking_format(store, &database)?,
            None => store.format(),
        };
        let Some((key, format)) = lacking else { return Ok(Bulk::begin(self.folder(store)?, ranges)?) };
        ranges.push(key.to_vec()..[key, b"\0"].concat());
        let mut bulk = Bulk::begin(self.folder(store)?, ranges)?;
        let mut run = bulk.run();
        run.add(key, format)?;
        bulk.take(run.finish()?);
        Ok(bulk)
    }

    /// Takes everything of the channel away, its record last.
    pub(super) fn remove(&self) -> Result<(), LoadError> {
        marker::remove(self, &self.channel)?;
        for store in Store::ALL.into_iter().filter(|store| *store != Store::LedgerProvider) {
            self.bulk(store)?.commit()?;
        }
        let chains = self.made(&CHAINS_FOLDER)?;
        if self.chain()?.is_some() {
            chains.remove_dir_all(self.channel.as_str())?;
            chains.sync_dir()?;
        }
        self.put_record(None)
    }

    /// The channel's folder of block files, if there is one.
    fn chain(&self) -> Result<Option<Arc<dyn Dir>>, LoadError> {
        match self.made(&CHAINS_FOLDER)?.open_dir(self.channel.as_str()) {
            Ok(chain) => Ok(Some(chain)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Where the channel's blocks begin.
    pub(super) fn put_bootstrapping_info(&self, signable: &SignableMetadata) -> Result<(), LoadError> {
        let chain = self.made(&[&CHAINS_FOLDER[..], &[self.channel.as_str()]].concat())?;
        let info = BootstrappingInfo::of(signable).encode();
        for (name, bytes) in [(FIRST_BLOCK_FILE, &[][..]), (BOOTSTRAPPING_INFO_FILE, &info)] {
            let file = chain.open_file(name, Access::CreateNew)?;
            file.write_all_at(bytes, 0)?;
            file.sync()?;
        }
        Ok(chain.sync_dir()?)
    }

    /// The store's folder, with a database in it.
    fn folder(&self, store: Store) -> Result<Arc<dyn Dir>, LoadError> {
        let Some((name, above)) = store.folder().split_last() else { return Ok(Arc::clone(&self.ledgers)) };
        Ok(make_database(&*self.made(above)?, name)?)
    }

    /// The folder with those components, made if it is missing.
    fn made(&self, components: &[&str]) -> Result<Arc<dyn Dir>, LoadError> {
        let mut folder = Arc::clone(&self.ledgers);
        for component in components {
            let inner = match folder.open_dir(component) {
                Err(error) if error.is_not_found() => {
                    folder.create_dir(component)?;
                    folder.open_dir(component)?
                }
                inner => inner?,
            };
            // Also of one that was there: whoever made it may have been stopped before this.
            folder.sync_dir()?;
            folder = inner;
        }
        Ok(folder)
    }
}

/// Whether the channel may be made, as far as can be seen without a change.
pub(super) fn may_claim(ledgers: &Arc<dyn Dir>, channel: &ChannelId) -> Result<(), LoadError> {
    refuse_running_peer(&**ledgers)?;
    if ledgers.list()?.iter().any(|entry| entry.name == COUCHDB_FOLDER) {
        return Err(LoadError::CouchDbPeer { path: ledgers.path().display().to_string() });
    }
    for store in Store::ALL {
        if let Some(database) = database(ledgers, store)? {
            lacking_format(store, &database)?;
        }
    }
    match status(ledgers, channel)? {
        Some(status @ (Status::Active | Status::Inactive)) => {
            Err(LoadError::ChannelExists { channel: channel.clone(), status })
        }
        _ => Ok(()),
    }
}

/// The record of the format of its data that the database needs and has not: only an empty one may be without, as nothing in it is of
/// another format.
fn lacking_format(store: Store, database: &Database) -> Result<Option<FormatRecord>, LoadError> {
    let Some((key, expected)) = store.format() else { return Ok(None) };
    let found = match database.get(key)? {
        Some(found) if found == expected => return Ok(None),
        Some(found) => found.escape_ascii().to_string(),
        None => match database.scan(..).next() {
            None => return Ok(Some((key, expected))),
            Some(first) => first.map(|_| String::new())?,
        },
    };
    Err(LoadError::Format { store, found, expected: expected.escape_ascii().to_string() })
}

/// What the peer's record of the channel says, if it has one.
fn status(ledgers: &Arc<dyn Dir>, channel: &ChannelId) -> Result<Option<Status>, LoadError> {
    let Some(database) = database(ledgers, Store::LedgerProvider)? else { return Ok(None) };
    let Some(record) = database.get(&ledger_key(channel))? else { return Ok(None) };
    match LedgerRecord::decode(&record) {
        Some(record) => Ok(Some(record.status)),
        None => Err(LoadError::Record { channel: channel.clone() }),
    }
}

/// The store as it is; `None` if there is none.
fn database(ledgers: &Arc<dyn Dir>, store: Store) -> Result<Option<Database>, LoadError> {
    let mut folder = Arc::clone(ledgers);
    for component in store.folder() {
        folder = match folder.open_dir(component) {
            Err(error) if error.is_not_found() => return Ok(None),
            inner => inner?,
        };
    }
    match Database::open(folder) {
        Ok(database) => Ok(Some(database)),
        Err(LevelDbError::NoDatabase { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
