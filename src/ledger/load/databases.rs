//! The databases of a load: each gets runs of ascending records, and its new content at once when all are there.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use super::{LoadError, channel::ChannelPlaces};
use crate::ledger::{
    leveldb::{Bulk, LevelDbError, LoadedRun, Run},
    stores::{Put, Store},
};

/// All but the one that tells which channels there are.
pub(super) struct Databases {
    bulks: BTreeMap<Store, Bulk>,
    /// What is written, for the commit.
    runs: Mutex<Vec<(Store, LoadedRun)>>,
}

impl Databases {
    pub(super) fn begin(places: &ChannelPlaces) -> Result<Self, LoadError> {
        let others = Store::ALL.into_iter().filter(|store| *store != Store::LedgerProvider);
        let bulks: Result<_, LoadError> = others.map(|store| Ok((store, places.bulk(store)?))).collect();
        Ok(Self { bulks: bulks?, runs: Mutex::default() })
    }

    /// One run of the store's records.
    pub(super) fn run<T>(
        &self,
        store: Store,
        write: impl FnOnce(Put<'_, LoadError>) -> Result<T, LoadError>,
    ) -> Result<T, LoadError> {
        let mut run = self.start(store)?;
        let value = write(&mut |key, value| Ok(run.add(key, value)?))?;
        self.finish(store, run)?;
        Ok(value)
    }

    /// Two runs that are written at once.
    pub(super) fn two_runs(
        &self,
        store: Store,
        write: impl FnOnce(Put<'_, LoadError>, Put<'_, LoadError>) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let (mut first, mut second) = (self.start(store)?, self.start(store)?);
        write(&mut |key, value| Ok(first.add(key, value)?), &mut |key, value| Ok(second.add(key, value)?))?;
        self.finish(store, first)?;
        self.finish(store, second)
    }

    fn start(&self, store: Store) -> Result<Run, LoadError> {
        // Only stores that `begin` has opened are asked for.
        let bulk =
            self.bulks.get(&store).ok_or_else(|| LevelDbError::NoDatabase { path: store.folder().iter().collect() })?;
        Ok(bulk.run())
    }

    fn finish(&self, store: Store, run: Run) -> Result<(), LoadError> {
        let run = run.finish()?;
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).push((store, run));
        Ok(())
    }

    /// Makes every database hold what was written. A crash in between leaves some with it and some without: the channel's record says that
    /// it isn't whole.
    pub(super) fn commit(mut self) -> Result<(), LoadError> {
        for (store, run) in self.runs.into_inner().unwrap_or_else(PoisonError::into_inner) {
            if let Some(bulk) = self.bulks.get_mut(&store) {
                bulk.take(run);
            }
        }
        self.bulks.into_values().try_for_each(Bulk::commit)?;
        Ok(())
    }
}
