//! Which channel configuration was last in force here, durably: an older one is never taken again (trust.md 2.4).

use std::{fmt, path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    disk::{Dir, DiskError, read_small, write_durably},
    msp::ChannelConfig,
    snapshot::ChannelId,
};

/// Folder of the records, in the state folder: a file per channel, by its name.
pub const BUNDLES_DIR: &str = "bundles";
/// Longest record that is read: ours have about 120 bytes.
const RECORD_BYTES_MAX: u64 = 4 << 10;

/// The records of a state folder. One service at a time writes them.
#[derive(Debug, Clone)]
pub struct Bundles {
    dir: Arc<dyn Dir>,
}

/// What is told of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleRecord {
    sequence: u64,
    block_number: u64,
    block_sha256: String,
}

/// A configuration may not be put in force, or that can't be known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// An older one than there was.
    #[error(
        "channel {channel}: the configuration that is given, {given}, is older than the one that was in force here, {recorded}; give that one \
         or a newer one (`peer channel fetch config FILE -c {channel}`); if the record itself is wrong, remove {}", path.display()
    )]
    Rollback {
        /// The channel.
        channel: ChannelId,
        /// What is given.
        given: Box<BundleRecord>,
        /// What was in force.
        recorded: Box<BundleRecord>,
        /// The record.
        path: PathBuf,
    },
    /// The record can't be read.
    #[error("{} is no record of a channel configuration: {reason}; restore it, or remove it if no newer configuration was ever in force", path.display())]
    Unreadable {
        /// The record.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Bundles {
    /// Those of a state folder.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn open(state: &dyn Dir) -> Result<Self, DiskError> {
        state.create_dir(BUNDLES_DIR)?;
        // The folder's own name must outlive a power cut, or the records in it don't.
        state.sync_dir()?;
        Ok(Self { dir: state.open_dir(BUNDLES_DIR)? })
    }

    /// Notes that this configuration is about to be in force, unless a newer one was: to be called before it is. Pinned MSP folders,
    /// which come from no block, are never noted.
    ///
    /// # Errors
    /// [`BundleError`]: it must not be put in force then.
    pub fn admit(&self, config: &ChannelConfig) -> Result<(), BundleError> {
        let Some(given) = BundleRecord::of(config) else { return Ok(()) };
        let channel = config.channel();
        let Some(recorded) = self.recorded(channel)? else { return self.write(channel, &given) };
        match given.age().cmp(&recorded.age()) {
            std::cmp::Ordering::Less => {
                let path = self.dir.path().join(channel.as_str());
                let (given, recorded) = (Box::new(given), Box::new(recorded));
                Err(BundleError::Rollback { channel: channel.clone(), given, recorded, path })
            }
            // The same block with other signatures is the same configuration.
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => self.write(channel, &given),
        }
    }

    /// What was last in force; `None`: nothing yet.
    ///
    /// # Errors
    /// [`BundleError::Unreadable`], [`BundleError::Disk`].
    pub fn recorded(&self, channel: &ChannelId) -> Result<Option<BundleRecord>, BundleError> {
        let bytes = match read_small(&*self.dir, channel.as_str(), RECORD_BYTES_MAX) {
            Err(error) if error.is_not_found() => return Ok(None),
            read => read?,
        };
        let path = || self.dir.path().join(channel.as_str());
        let record = serde_json::from_slice(&bytes);
        record.map(Some).map_err(|error| BundleError::Unreadable { path: path(), reason: error.to_string() })
    }

    fn write(&self, channel: &ChannelId, record: &BundleRecord) -> Result<(), BundleError> {
        let path = || self.dir.path().join(channel.as_str());
        let bytes = serde_json::to_vec(record)
            .map_err(|error| BundleError::Unreadable { path: path(), reason: error.to_string() })?;
        Ok(write_durably(&*self.dir, channel.as_str(), &bytes)?)
    }
}

impl BundleRecord {
    fn of(config: &ChannelConfig) -> Option<Self> {
        let block_sha256 = hex::encode(config.block_sha256()?);
        Some(Self { sequence: config.sequence(), block_number: config.block_number().0, block_sha256 })
    }

    const fn age(&self) -> (u64, u64) {
        (self.sequence, self.block_number)
    }
}

impl fmt::Display for BundleRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sequence {} of block {} (SHA-256 {})", self.sequence, self.block_number, self.block_sha256)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::OsDir;

    fn block(name: &str) -> ChannelConfig {
        let network = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/network");
        ChannelConfig::from_block(&std::fs::read(network.join(name)).unwrap()).unwrap()
    }

    #[test]
    fn an_older_configuration_is_refused_by_name_also_after_a_restart() {
        let state = tempfile::tempdir().unwrap();
        let open = || Bundles::open(&*OsDir::open(state.path()).unwrap()).unwrap();
        let (old, new) = (block("genesis.block"), block("config_block.pb"));
        open().admit(&old).unwrap();
        open().admit(&new).unwrap();
        // The same one by a peer, with other signatures around it.
        open().admit(&block("config_block_from_peer.pb")).unwrap();
        let error = open().admit(&old).unwrap_err();
        assert!(matches!(error, BundleError::Rollback { .. }));
        let text = error.to_string();
        for part in [format!("sequence {} of", old.sequence()), format!("sequence {} of", new.sequence())] {
            assert!(text.contains(&part), "{text}");
        }
        assert!(text.contains("bundles/mychannel"), "{text}");
        open().admit(&new).unwrap();
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test damages its file")]
    fn a_damaged_record_stops_everything() {
        let state = tempfile::tempdir().unwrap();
        let bundles = Bundles::open(&*OsDir::open(state.path()).unwrap()).unwrap();
        let config = block("config_block.pb");
        bundles.admit(&config).unwrap();
        std::fs::write(state.path().join("bundles/mychannel"), "{\"sequence\":0}").unwrap();
        let error = bundles.admit(&config).unwrap_err();
        assert!(matches!(error, BundleError::Unreadable { .. }), "{error}");
    }
}
