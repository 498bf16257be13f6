//! The last thing that a load writes but for the channel's record: that every database holds everything, and how each looked then.
//!
//! A load that is cut off behind it needs nothing but that record: the next one only has to see that nobody, a peer that started meanwhile
//! say, has changed anything since.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{LoadError, channel::ChannelPlaces};
use crate::{
    disk::{Dir, DiskError, EntryKind, read_small, write_durably},
    ledger::{
        leveldb::MANIFEST_BYTES_MAX,
        stores::{BOOTSTRAPPING_INFO_FILE, CHAINS_FOLDER, Store},
    },
    snapshot::{ChannelId, SnapshotMetadata},
};

/// Name of a channel's marker in `ledgersData`, where Fabric looks for nothing of that name.
fn name(channel: &ChannelId) -> String {
    format!(".snapferry-{}.loaded", channel.stem())
}

/// Says durably that the databases hold what these metadata are about, and nothing lacks but the channel's record.
pub(super) fn put(places: &ChannelPlaces, metadata: &SnapshotMetadata, msp_id: &str) -> Result<(), LoadError> {
    let marker = of(places.ledgers(), metadata, msp_id)?;
    Ok(write_durably(&**places.ledgers(), &name(&metadata.signable.id().channel), &marker)?)
}

/// Whether that was said, and holds.
pub(super) fn holds(places: &ChannelPlaces, metadata: &SnapshotMetadata, msp_id: &str) -> Result<bool, LoadError> {
    let said = match read_small(&**places.ledgers(), &name(&metadata.signable.id().channel), MARKER_BYTES_MAX) {
        Err(error) if error.is_not_found() => return Ok(false),
        said => said?,
    };
    match of(places.ledgers(), metadata, msp_id) {
        Ok(found) => Ok(found == said),
        // Something of it is gone.
        Err(LoadError::Disk(error)) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes it away. Fine if there is none.
pub(super) fn remove(places: &ChannelPlaces, channel: &ChannelId) -> Result<(), LoadError> {
    match places.ledgers().remove_file(&name(channel)) {
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error.into()),
        Ok(()) => Ok(places.ledgers().sync_dir()?),
    }
}

/// Two metadata files' hashes, and a line per database.
const MARKER_BYTES_MAX: u64 = 4 << 10;

/// What the marker says if it is written now.
fn of(ledgers: &Arc<dyn Dir>, metadata: &SnapshotMetadata, msp_id: &str) -> Result<Vec<u8>, LoadError> {
    let additional = hex::encode(Sha256::digest(metadata.additional().encode()));
    // Which private data are missing depends on whose peer it is.
    let mut text = format!("snapferry 2\n{}\n{additional}\n{msp_id}\n", metadata.signable.hash());
    // The provider's is left out: it may change with other channels, and the channel's record in it is looked at by itself.
    for store in Store::ALL.into_iter().filter(|store| *store != Store::LedgerProvider) {
        let folder = below(ledgers, store.folder())?;
        text.push_str(&format!("{} {}\n", store.folder().join("/"), look(&*folder)?));
    }
    let chain = below(&below(ledgers, &CHAINS_FOLDER)?, &[metadata.signable.id().channel.as_str()])?;
    text.push_str(&format!("chain {}\n", look(&*chain)?));
    Ok(text.into_bytes())
}

fn below(dir: &Arc<dyn Dir>, path: &[&str]) -> Result<Arc<dyn Dir>, DiskError> {
    path.iter().try_fold(Arc::clone(dir), |dir, name| dir.open_dir(name))
}

/// A digest of the folder's names and lengths, and of what its small files hold that say what counts: whoever opens a database writes at
/// least its MANIFEST anew.
fn look(folder: &dyn Dir) -> Result<String, LoadError> {
    let mut entries: Vec<_> = folder.list()?.into_iter().filter(|entry| entry.kind == EntryKind::File).collect();
    entries.sort_by(|left, right| left.name.cmp(&right.name));
    let mut digest = Sha256::new();
    for entry in entries.iter().filter(|entry| entry.name != "LOCK") {
        let bytes = folder.open_file(&entry.name, crate::disk::Access::Read)?.len()?;
        digest.update(format!("{} {bytes}\n", entry.name));
        if entry.name == "CURRENT" || entry.name.starts_with("MANIFEST-") || entry.name == BOOTSTRAPPING_INFO_FILE {
            digest.update(read_small(folder, &entry.name, MANIFEST_BYTES_MAX)?);
        }
    }
    Ok(hex::encode(digest.finalize()))
}
