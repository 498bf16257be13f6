//! Loads a snapshot straight into a stopped peer's databases, as its own import would leave them (fabric:
//! core/ledger/kvledger/snapshot.go, `CreateFromSnapshot`), but sorted and in one pass.
//!
//! ```text
//! record of the channel: UNDER_CONSTRUCTION      from here on a peer that starts drops what there is
//! confighistory.data                             -> run
//! txids.data | public_state.data | hashes        -> runs, at once; every byte hashed and checked on its way
//!            |                   | gathered of them: expiries, missing data -> runs
//! gathered of both: metadata                     -> run
//! every hash, the whole content                  or nothing was loaded
//! one MANIFEST for each database
//! marker: nothing lacks but the record           from here on the next run only needs to finish
//! record of the channel: ACTIVE
//! ```
//!
//! Decides the order of things and what is cleaned up. Leaves keys and values to [`super::stores`], tables to [`super::leveldb`], and who
//! vouched for the metadata to the caller.

mod channel;
mod databases;
mod error;
mod files;
mod marker;
mod proving;
#[cfg(test)]
mod tests;

use std::{
    io::Read,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use channel::ChannelPlaces;
use databases::Databases;
pub use error::LoadError;
use files::Files;

use super::stores::{
    CollectionHistory, Gathered, MetadataHints, Put, Store, config_history, history_savepoint, index, private_hashes,
    public_state, state_savepoint,
};
use crate::{
    disk::{Dir, DiskError},
    snapshot::{
        ChannelId, ConfigHistoryReader, ItemReader, NamespaceRow, SnapshotFile, SnapshotId, SnapshotMetadata,
        StateReader,
    },
};

/// A file of the snapshot, from its first byte.
pub enum FileStream<'a> {
    /// Its bytes are hashed and checked on their way.
    Unproved(Box<dyn Read + Send + 'a>),
    /// Whoever gives them has proved each, holds all to the file's hash and content, and lets the stream end well only then.
    Proved(Box<dyn Read + Send + 'a>),
}

/// What is loaded into what, and for whom.
pub struct Load<'a> {
    /// The peer's `ledgersData`; no peer runs on it.
    pub ledgers: Arc<dyn Dir>,
    /// What was agreed on: every byte is held to it.
    pub metadata: &'a SnapshotMetadata,
    /// The files that the metadata list.
    pub open: &'a (dyn Fn(SnapshotFile) -> Result<FileStream<'a>, DiskError> + Sync),
    /// The organisation whose peer it is.
    pub msp_id: &'a str,
    /// An empty folder for sorting.
    pub scratch: Arc<dyn Dir>,
    /// Memory for sorting.
    pub sort_bytes: usize,
    /// Asked when all is loaded, before any of it counts; may take its time.
    pub may_activate: &'a (dyn Fn() -> bool + Sync),
}

/// Loads the channel, which the peer finds whole when it starts.
///
/// Blocking; works on three files at a time, each with a thread that hashes it and one that syncs. Files are opened in this order: namespaces
/// of the private hashes, of the public state, the history of collection configurations; then the others, at once. After an error nothing of
/// the channel is there, unless even that can't be cleaned up: then the peer does it when it starts, or the next load.
///
/// # Errors
/// [`LoadError`]; the channel is active only if everything was proved.
pub fn load(job: &Load<'_>) -> Result<(), LoadError> {
    let places = ChannelPlaces::claim(&job.ledgers, &job.metadata.signable.id().channel)?;
    places.begin(job.metadata)?;
    match fill(job, &places) {
        // From here on it is whole but for its record: what fails now, the next one finishes.
        Ok(()) => places.activate(job.metadata),
        Err(error) => {
            if let Err(left) = places.remove() {
                tracing::warn!("what was loaded until then is left, and dropped when the peer starts: {left}");
            }
            Err(error)
        }
    }
}

/// Makes the channel active if an earlier load of just this snapshot, for that organisation's peer, had proved and written everything, and
/// nobody has changed anything since; else nothing is done. False as well if `may_activate` says so.
///
/// # Errors
/// As [`may_load`]; the disk.
pub fn finish(
    ledgers: &Arc<dyn Dir>,
    metadata: &SnapshotMetadata,
    msp_id: &str,
    may_activate: &dyn Fn() -> bool,
) -> Result<bool, LoadError> {
    let Some(places) = ChannelPlaces::of_unfinished(ledgers, metadata)? else { return Ok(false) };
    if !marker::holds(&places, metadata, msp_id)? || !may_activate() {
        return Ok(false);
    }
    places.activate(metadata)?;
    Ok(true)
}

/// Whether a load of the channel would find its place now. Changes nothing.
///
/// # Errors
/// [`LoadError`]: the peer runs, or has the channel; the folder isn't one of a peer that this can load into.
pub fn may_load(ledgers: &Arc<dyn Dir>, channel: &ChannelId) -> Result<(), LoadError> {
    channel::may_claim(ledgers, channel)
}

/// Removes what a load or a peer's own join that was cut off has left of the channel. Fine if there is nothing.
///
/// # Errors
/// [`LoadError::ChannelExists`] if it is whole; the peer runs; the disk.
pub fn clean_up(ledgers: &Arc<dyn Dir>, channel: &ChannelId) -> Result<(), LoadError> {
    ChannelPlaces::claim(ledgers, channel)?.remove()
}

/// Everything but the channel's own record.
fn fill(job: &Load<'_>, places: &ChannelPlaces) -> Result<(), LoadError> {
    let signable = &job.metadata.signable;
    places.put_bootstrapping_info(signable)?;
    let databases = Databases::begin(places)?;
    let files = Files::new(signable, job.open);

    // Who streams the files gives these first: without them no record can be told whose it is.
    let hashes_rows = files.rows(SnapshotFile::PrivateStateHashesMetadata)?;
    let public_rows = files.rows(SnapshotFile::PublicStateMetadata)?;
    let collections = files.read(SnapshotFile::ConfigHistoryData, |stream| {
        let mut reader = ConfigHistoryReader::new(stream);
        let channel = &signable.id().channel;
        databases.run(Store::ConfigHistory, |put| config_history(channel, &mut reader, job.msp_id, put))
    })?;
    let collections = collections.unwrap_or_else(|| CollectionHistory::new(job.msp_id));

    let (id, hints) = (signable.id(), Mutex::new(MetadataHints::default()));
    thread::scope(|scope| {
        let tx_ids = scope.spawn(|| tx_ids(id, &files, &databases));
        let public = scope.spawn(|| public(id, (&files, public_rows), &databases, &hints));
        let hashes = files.noting(SnapshotFile::PrivateStateHashesData, || {
            let gathered = hashes(job, (&files, hashes_rows), &databases, &collections, &hints)?;
            // While the public state may still be read, which is the longest.
            let expiries = |put: Put<'_, LoadError>| gathered.expiries.records(&id.channel, put);
            databases.run(Store::Bookkeeper, expiries)?;
            databases.two_runs(Store::PrivateData, |hashes, missing| {
                gathered.missing.records(id, &collections, hashes, missing)
            })
        });
        let [tx_ids, public] =
            [tx_ids, public].map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        files.together([
            (SnapshotFile::TxIdsData, tx_ids),
            (SnapshotFile::PublicStateData, public),
            (SnapshotFile::PrivateStateHashesData, hashes),
        ])
    })?;

    let hints = hints.into_inner().unwrap_or_else(PoisonError::into_inner);
    databases.run(Store::Bookkeeper, |put| hints.records(&id.channel, put))?;
    databases.run(Store::History, |put| {
        let (key, value) = history_savepoint(id);
        put(&key, &value)
    })?;
    // Nothing of it is used before all of it was proved.
    files.finish(signable)?;
    if !(job.may_activate)() {
        return Err(LoadError::CalledOff);
    }
    databases.commit()?;
    marker::put(places, job.metadata, job.msp_id)
}

fn tx_ids(id: &SnapshotId, files: &Files<'_>, databases: &Databases) -> Result<(), LoadError> {
    let file = SnapshotFile::TxIdsData;
    files.read(file, |stream| {
        let mut tx_ids = ItemReader::new(file, stream);
        databases.run(Store::Index, |put| index(id, &mut tx_ids, put))
    })?;
    Ok(())
}

fn public(
    id: &SnapshotId,
    (files, rows): (&Files<'_>, Vec<NamespaceRow>),
    databases: &Databases,
    hints: &Mutex<MetadataHints>,
) -> Result<(), LoadError> {
    let file = SnapshotFile::PublicStateData;
    let mut found = MetadataHints::default();
    files.read(file, |stream| {
        let mut reader = StateReader::new(file, stream, rows);
        databases.run(Store::State, |put| {
            public_state(id, &mut reader, &mut found, put)?;
            // Above all keys of the state.
            let (key, value) = state_savepoint(id);
            put(&key, &value)
        })
    })?;
    hints.lock().unwrap_or_else(PoisonError::into_inner).merge(found);
    Ok(())
}

fn hashes(
    job: &Load<'_>,
    (files, rows): (&Files<'_>, Vec<NamespaceRow>),
    databases: &Databases,
    collections: &CollectionHistory,
    hints: &Mutex<MetadataHints>,
) -> Result<Gathered, LoadError> {
    let (file, id) = (SnapshotFile::PrivateStateHashesData, job.metadata.signable.id());
    let mut found = MetadataHints::default();
    let sorting = (&job.scratch, job.sort_bytes);
    let gathered = files.read(file, |stream| {
        let mut reader = StateReader::new(file, stream, rows);
        databases.run(Store::State, |put| private_hashes(id, &mut reader, collections, &mut found, sorting, put))
    })?;
    hints.lock().unwrap_or_else(PoisonError::into_inner).merge(found);
    match gathered {
        Some(gathered) => Ok(gathered),
        None => Ok(Gathered::nothing(&job.scratch)?),
    }
}
