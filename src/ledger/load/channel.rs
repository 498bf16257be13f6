//! Where a channel lies in a peer's `ledgersData`, and its record there: what a peer that starts makes of the rest.

use std::sync::Arc;

use super::LoadError;
use crate::{
    disk::{Access, Dir},
    ledger::{
        leveldb::{Bulk, Database, LevelDbError},
        running::{hold_off_the_peer, refuse_running_peer},
        stores::{
            BOOTSTRAPPING_INFO_FILE, BootstrappingInfo, CHAINS_FOLDER, FIRST_BLOCK_FILE, LedgerRecord, Status, Store,
            ledger_key, ledger_record,
        },
    },
    snapshot::{ChannelId, SignableMetadata, SnapshotMetadata},
};

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

    /// Says durably that the channel is being made: whatever happens, a peer that starts drops what there is of it.
    pub(super) fn begin(&self, metadata: &SnapshotMetadata) -> Result<(), LoadError> {
        self.put_record(Some(ledger_record(metadata, Status::UnderConstruction)))
    }

    /// Says durably that it is whole.
    pub(super) fn activate(&self, metadata: &SnapshotMetadata) -> Result<(), LoadError> {
        self.put_record(Some(ledger_record(metadata, Status::Active)))
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
        let Some((key, expected)) = store.format() else { return Ok(Bulk::begin(self.folder(store)?, ranges)?) };
        let found = match database(&self.ledgers, store)? {
            Some(database) => database.get(key)?,
            None => None,
        };
        match found {
            Some(found) if found == expected => Ok(Bulk::begin(self.folder(store)?, ranges)?),
            Some(found) => Err(LoadError::Format {
                store,
                found: found.escape_ascii().to_string(),
                expected: expected.escape_ascii().to_string(),
            }),
            None => {
                ranges.push(key.to_vec()..[key, b"\0"].concat());
                let mut bulk = Bulk::begin(self.folder(store)?, ranges)?;
                let mut run = bulk.run();
                run.add(key, expected)?;
                bulk.take(run.finish()?);
                Ok(bulk)
            }
        }
    }

    /// Takes everything of the channel away, its record last.
    pub(super) fn remove(&self) -> Result<(), LoadError> {
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

    fn folder(&self, store: Store) -> Result<Arc<dyn Dir>, LoadError> {
        self.made(store.folder())
    }

    /// The folder with those components, made if it is missing.
    fn made(&self, components: &[&str]) -> Result<Arc<dyn Dir>, LoadError> {
        let mut folder = Arc::clone(&self.ledgers);
        for component in components {
            let inner = match folder.open_dir(component) {
                Err(error) if error.is_not_found() => {
                    folder.create_dir(component)?;
                    folder.sync_dir()?;
                    folder.open_dir(component)?
                }
                inner => inner?,
            };
            folder = inner;
        }
        Ok(folder)
    }
}

/// Whether the channel may be made, as far as can be seen without a change.
pub(super) fn may_claim(ledgers: &Arc<dyn Dir>, channel: &ChannelId) -> Result<(), LoadError> {
    refuse_running_peer(&**ledgers)?;
    match status(ledgers, channel)? {
        Some(status @ (Status::Active | Status::Inactive)) => {
            Err(LoadError::ChannelExists { channel: channel.clone(), status })
        }
        _ => Ok(()),
    }
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
