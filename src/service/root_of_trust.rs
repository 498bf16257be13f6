//! Where a channel's configuration is believed from: exactly one root of trust, given by the operator (trust.md 2.5).
//!
//! A configuration block that is pinned (by its place, or by its SHA-256, too); a genesis block from which configuration blocks are
//! verified, each by the one before; or the organisations' MSP folders. Nothing else, and never what a source says first.
//!
//! Decides what is given, and what it is worth by itself: that is what counts at the first start. Later ones go on from what was in
//! force, which is [`super::Bundles`]' to decide.

use super::{
    ChannelConfigError,
    channel_config::{blocks_in, load_block},
    config::ChannelSettings,
};
use crate::{
    catalog::RootOfTrust,
    msp::{ChannelConfig, ConfigError, MspId, MspVersion},
    snapshot::ChannelId,
};
use std::path::{Path, PathBuf};

/// A configuration, and why it is believed.
#[derive(Debug, Clone)]
pub struct Rooted {
    /// The configuration.
    pub config: ChannelConfig,
    /// Which root it has.
    pub root: RootOfTrust,
}

/// What the operator gives for a channel: blocks that may be put in force, and what they are believed by.
#[derive(Debug, Clone)]
pub struct Given {
    /// By age; pinned MSP folders make one without a block.
    older: Vec<ChannelConfig>,
    newest: ChannelConfig,
    anchor: Anchor,
}

/// What the first of the blocks is believed by.
#[derive(Debug, Clone)]
pub(super) enum Anchor {
    /// Where it lies, or who gives it.
    Place,
    /// The SHA-256 that it must have, and where it lies.
    Pin([u8; 32], PathBuf),
    /// It comes from this genesis block.
    Genesis {
        /// The genesis block's SHA-256.
        sha256: [u8; 32],
        /// Its file.
        genesis: PathBuf,
        /// The file or folder of the later blocks.
        blocks: PathBuf,
    },
    /// The operator's folders.
    Msps,
}

/// No root of trust can be had; the operator's to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RootError {
    /// None is given.
    #[error("nothing says who is in channel {0}")]
    None(ChannelId),
    /// Two are given.
    #[error("channel {channel} has two roots of trust, {one} and {other}: exactly one counts")]
    Several {
        /// The channel.
        channel: ChannelId,
        /// One of them.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// A block.
    #[error(transparent)]
    Block(#[from] ChannelConfigError),
    /// The block isn't the one whose hash is pinned.
    #[error("{} has SHA-256 {found}, but {wanted} is pinned: it is another block", path.display())]
    Pin {
        /// The block's file.
        path: PathBuf,
        /// As it is.
        found: String,
        /// As it should be.
        wanted: String,
    },
    /// The walk from genesis fails.
    #[error("the blocks in {} can't be verified from the genesis block {}: {source}", blocks.display(), genesis.display())]
    Walk {
        /// The genesis block's file.
        genesis: PathBuf,
        /// The file or folder of blocks.
        blocks: PathBuf,
        /// Why.
        source: Box<ConfigError>,
    },
    /// A pinned MSP folder.
    #[error("the pinned MSP folders can't be used: {0}")]
    Msps(#[source] Box<ConfigError>),
}

/// Loads the channel's configuration by the one root that the settings give, as if it were the first time.
///
/// # Errors
/// [`RootError`]: none, two, or one that doesn't hold.
pub fn load_root(channel: &ChannelId, settings: &ChannelSettings) -> Result<Rooted, RootError> {
    load_given(channel, settings)?.by_itself()
}

/// Loads what the settings give for the channel, and believes nothing of it yet.
///
/// # Errors
/// [`RootError`]: no root, two, or nothing usable.
pub fn load_given(channel: &ChannelId, settings: &ChannelSettings) -> Result<Given, RootError> {
    let several = |one, other| RootError::Several { channel: channel.clone(), one, other };
    match (&settings.config_block, &settings.genesis_block, settings.pinned_msps.as_slice()) {
        (None, None, []) => Err(RootError::None(channel.clone())),
        (None, None, pinned) => pinned_msps(channel, pinned),
        (_, Some(_), [_, ..]) => Err(several("a genesis block", "pinned MSP folders")),
        (Some(_), None, [_, ..]) => Err(several("a configuration block", "pinned MSP folders")),
        (Some(_), Some(_), []) if settings.config_block_sha256.is_some() => {
            Err(several("a pinned hash", "a genesis block"))
        }
        (Some(path), None, []) => {
            let pin = settings.config_block_sha256;
            let anchor = pin.map_or(Anchor::Place, |pin| Anchor::Pin(pin, path.clone()));
            let nothing = || ChannelConfigError::NothingInFolder { path: path.clone(), wanted: Some(channel.clone()) };
            Ok(Given::of(blocks_in(path, Some(channel))?, anchor).ok_or_else(nothing)?)
        }
        (blocks, Some(genesis), []) => from_genesis(channel, genesis, blocks.as_deref()),
    }
}

impl Given {
    fn of(mut blocks: Vec<ChannelConfig>, anchor: Anchor) -> Option<Self> {
        blocks.sort_by_key(|config| (config.sequence(), config.block_number()));
        Some(Self { newest: blocks.pop()?, older: blocks, anchor })
    }

    /// The channel.
    #[must_use]
    pub const fn channel(&self) -> &ChannelId {
        self.newest.channel()
    }

    pub(super) const fn newest(&self) -> &ChannelConfig {
        &self.newest
    }

    /// All blocks, by age.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &ChannelConfig> {
        self.older.iter().chain([&self.newest])
    }

    pub(super) const fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    pub(super) const fn root(&self) -> RootOfTrust {
        match self.anchor {
            Anchor::Place | Anchor::Pin(..) => RootOfTrust::ConfigBlock,
            Anchor::Genesis { .. } => RootOfTrust::GenesisWalk,
            Anchor::Msps => RootOfTrust::PinnedMsps,
        }
    }

    /// The newest, if the anchor alone is enough to believe it.
    pub(super) fn by_itself(&self) -> Result<Rooted, RootError> {
        match &self.anchor {
            Anchor::Place | Anchor::Msps => {}
            Anchor::Pin(pin, path) => {
                if let Some(found) = self.newest.block_sha256().filter(|found| found != pin) {
                    let (found, wanted) = (hex::encode(found), hex::encode(pin));
                    return Err(RootError::Pin { path: path.clone(), found, wanted });
                }
            }
            Anchor::Genesis { genesis, blocks, .. } => {
                let failed = |source| RootError::Walk {
                    genesis: genesis.clone(),
                    blocks: blocks.clone(),
                    source: Box::new(source),
                };
                let mut bytes = self.blocks().filter_map(ChannelConfig::block_bytes);
                if let Some(first) = bytes.next() {
                    ChannelConfig::walk(first, bytes.map(AsRef::as_ref)).map_err(failed)?;
                }
            }
        }
        Ok(Rooted { config: self.newest.clone(), root: self.root() })
    }
}

/// One that somebody believes already.
impl From<ChannelConfig> for Given {
    fn from(newest: ChannelConfig) -> Self {
        let anchor = if newest.block_bytes().is_some() { Anchor::Place } else { Anchor::Msps };
        Self { newest, older: Vec::new(), anchor }
    }
}

fn from_genesis(channel: &ChannelId, genesis: &Path, blocks: Option<&Path>) -> Result<Given, RootError> {
    let first = load_block(genesis, Some(channel))?;
    let later = blocks.map_or_else(|| Ok(Vec::new()), |path| blocks_in(path, Some(channel)))?;
    let anchor = Anchor::Genesis {
        sha256: first.block_sha256().unwrap_or_default(), // it came from a block
        genesis: genesis.to_owned(),
        blocks: blocks.unwrap_or(genesis).to_owned(),
    };
    let mut later: Vec<_> = later.into_iter().filter(|config| config.sequence() > first.sequence()).collect();
    later.sort_by_key(|config| (config.sequence(), config.block_number()));
    Ok(match later.pop() {
        Some(newest) => Given { older: [vec![first], later].concat(), newest, anchor },
        None => Given { older: Vec::new(), newest: first, anchor },
    })
}

fn pinned_msps(channel: &ChannelId, pinned: &[(MspId, PathBuf)]) -> Result<Given, RootError> {
    let folders: Vec<(MspId, &Path)> = pinned.iter().map(|(id, folder)| (id.clone(), folder.as_path())).collect();
    // Folders carry no capabilities: what every channel allows.
    let config = ChannelConfig::from_pinned_msps(channel.clone(), MspVersion::V1_4_3, &folders)
        .map_err(|error| RootError::Msps(Box::new(error)))?;
    Ok(config.into())
}
