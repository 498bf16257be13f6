//! Which channel configuration was last in force here, durably: nothing older, and nothing that doesn't come from it, is ever taken
//! after it (trust.md 2.4).
//!
//! Whoever can write the file that the operator names, but has no orderer's key, could else make a root of trust of it by waiting for
//! the next start.

use std::{cmp::Ordering, path::PathBuf, sync::Arc};

use super::{BundleError, BundleRecord, Given, Rooted, root_of_trust::Anchor};
use crate::{
    disk::{Dir, DiskError, Magic, read_small, seal, unseal, write_durably},
    msp::{CONFIG_BYTES_MAX, ChannelConfig},
    snapshot::ChannelId,
};

/// Folder of the records, in the state folder: a file per channel, by its name.
pub const BUNDLES_DIR: &str = "bundles";
const MAGIC: &Magic = b"snapferry bundle";
/// Bytes of the root's SHA-256, which stands before the block.
const ROOT_BYTES: usize = 32;
/// Longest record that is read: the longest block, its root, magic and checksum.
const RECORD_BYTES_MAX: u64 = CONFIG_BYTES_MAX as u64 + 80;

/// The records of a state folder. One service at a time writes them.
#[derive(Debug, Clone)]
pub struct Bundles {
    dir: Arc<dyn Dir>,
}

/// What may be put in force, once it is noted.
#[derive(Debug, Clone)]
pub struct Judged {
    /// The configuration, and why it is believed.
    pub rooted: Rooted,
    /// `None`: it is on record, or came from no block.
    to_note: Option<Record>,
}

/// What is kept of a channel.
#[derive(Debug, Clone)]
struct Record {
    /// SHA-256 of the block that the operator trusted by itself: what was in force since came from it.
    root: [u8; ROOT_BYTES],
    /// What was last in force.
    config: ChannelConfig,
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
        Self::open_existing(state)
    }

    /// Those of a state folder that has some, only to be read.
    ///
    /// # Errors
    /// [`DiskError`], also if there are none.
    pub fn open_existing(state: &dyn Dir) -> Result<Self, DiskError> {
        Ok(Self { dir: state.open_dir(BUNDLES_DIR)? })
    }

    /// [`Self::judge`], and notes it: what comes back may be put in force.
    ///
    /// # Errors
    /// [`BundleError`]: nothing of it must be put in force then.
    pub fn admit(&self, given: &Given) -> Result<Rooted, BundleError> {
        let judged = self.judge(given)?;
        self.note(&judged)?;
        Ok(judged.rooted)
    }

    /// Which of the given configurations may be put in force. The first time that is what they are worth by themselves; later, what comes
    /// from the one that was in force: the same, or newer and signed as it demands, each by the one before. Only a block whose SHA-256
    /// the operator pins anew needs no such signatures; older than what was in force it mustn't be either. Pinned MSP folders, which come
    /// from no block, are never noted.
    ///
    /// # Errors
    /// [`BundleError`].
    pub fn judge(&self, given: &Given) -> Result<Judged, BundleError> {
        let Some(newest) = given.newest().block_sha256() else {
            return Ok(Judged { rooted: given.by_itself()?, to_note: None });
        };
        let Some(recorded) = self.read(given.channel())? else {
            let rooted = given.by_itself()?;
            let root = match given.anchor() {
                Anchor::Genesis { sha256, .. } => *sha256,
                _ => newest,
            };
            let to_note = Some(Record { root, config: rooted.config.clone() });
            return Ok(Judged { rooted, to_note });
        };
        let root = match given.anchor() {
            Anchor::Pin(sha256, _) | Anchor::Genesis { sha256, .. } if *sha256 != recorded.root => {
                given.by_itself()?;
                *sha256
            }
            _ => recorded.root,
        };
        let new_pin = root != recorded.root && matches!(given.anchor(), Anchor::Pin(..));
        let config = if new_pin {
            self.not_older(&recorded.config, given)?;
            given.newest().clone()
        } else {
            self.follow(&recorded.config, given)?
        };
        let known = root == recorded.root && is_same(&config, &recorded.config);
        let to_note = (!known).then(|| Record { root, config: config.clone() });
        Ok(Judged { rooted: Rooted { config, root: given.root() }, to_note })
    }

    /// Writes down what is about to be in force: to be called before it is.
    ///
    /// # Errors
    /// [`BundleError::Disk`]: it must not be put in force then.
    pub fn note(&self, judged: &Judged) -> Result<(), BundleError> {
        let Some(Record { root, config }) = &judged.to_note else { return Ok(()) };
        // A service and a join may share the folder: nobody brings an older one back.
        let _lock = self.dir.lock(&format!(".{}.lock", config.channel()))?;
        if let Some(recorded) = self.read(config.channel())?.filter(|known| known.config.sequence() > config.sequence())
        {
            let (given, recorded) = (BundleRecord::of(config), BundleRecord::of(&recorded.config));
            let (channel, path) = (config.channel().clone(), self.path(config.channel()));
            return Err(BundleError::Rollback { channel, given: Box::new(given), recorded: Box::new(recorded), path });
        }
        let block = config.block_bytes().map(AsRef::as_ref).unwrap_or_default();
        let bytes = seal(MAGIC, &[root, block].concat());
        Ok(write_durably(&*self.dir, config.channel().as_str(), &bytes)?)
    }

    /// What was last in force; `None`: nothing yet.
    ///
    /// # Errors
    /// [`BundleError::Unreadable`], [`BundleError::Disk`].
    pub fn recorded(&self, channel: &ChannelId) -> Result<Option<BundleRecord>, BundleError> {
        Ok(self.read(channel)?.map(|record| BundleRecord::of(&record.config)))
    }

    /// The newest of the given ones, if each comes from the one before, and the first from what was in force.
    fn follow(&self, recorded: &ChannelConfig, given: &Given) -> Result<ChannelConfig, BundleError> {
        self.not_older(recorded, given)?;
        let channel = || given.channel().clone();
        let path = || self.path(given.channel());
        let mut current = recorded.clone();
        for next in given.blocks() {
            let told = || (Box::new(BundleRecord::of(next)), Box::new(BundleRecord::of(&current)));
            match next.sequence().cmp(&current.sequence()) {
                // What came before it, in a folder of all that there ever were.
                Ordering::Less => {}
                // The same block may have other signatures around it.
                Ordering::Equal if is_same(next, &current) => current = next.clone(),
                Ordering::Equal => {
                    let (given, recorded) = told();
                    return Err(BundleError::Differs { channel: channel(), given, recorded, path: path() });
                }
                Ordering::Greater => {
                    let bytes = next.block_bytes().map(AsRef::as_ref).unwrap_or_default();
                    current = current.successor(bytes).map_err(|source| {
                        let (given, recorded) = told();
                        let source = Box::new(source);
                        BundleError::NoSuccessor { channel: channel(), given, recorded, source, path: path() }
                    })?;
                }
            }
        }
        Ok(current)
    }

    fn not_older(&self, recorded: &ChannelConfig, given: &Given) -> Result<(), BundleError> {
        let newest = given.newest();
        if newest.sequence() >= recorded.sequence() {
            return Ok(());
        }
        let path = self.path(given.channel());
        let (given, recorded) = (Box::new(BundleRecord::of(newest)), Box::new(BundleRecord::of(recorded)));
        Err(BundleError::Rollback { channel: newest.channel().clone(), given, recorded, path })
    }

    fn read(&self, channel: &ChannelId) -> Result<Option<Record>, BundleError> {
        let bytes = match read_small(&*self.dir, channel.as_str(), RECORD_BYTES_MAX) {
            Err(error) if error.is_not_found() => return Ok(None),
            read => read?,
        };
        let unreadable = |reason: String| BundleError::Unreadable { path: self.path(channel), reason };
        let content = unseal(MAGIC, &bytes).and_then(<[u8]>::split_first_chunk::<ROOT_BYTES>);
        let (root, block) = content.ok_or_else(|| unreadable("it is damaged".to_owned()))?;
        let config = ChannelConfig::from_block(block).map_err(|error| unreadable(error.to_string()))?;
        if config.channel() != channel {
            return Err(unreadable(format!("it is one of channel {}", config.channel())));
        }
        Ok(Some(Record { root: *root, config }))
    }

    fn path(&self, channel: &ChannelId) -> PathBuf {
        self.dir.path().join(channel.as_str())
    }
}

/// Whether two blocks are one, but for the orderers' signatures that were collected.
fn is_same(one: &ChannelConfig, other: &ChannelConfig) -> bool {
    let said = |config: &ChannelConfig| (config.sequence(), config.block_number());
    said(one) == said(other) && one.config_envelope_bytes() == other.config_envelope_bytes()
}

#[cfg(test)]
mod tests;
