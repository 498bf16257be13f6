//! Where a channel's configuration is believed from: exactly one root of trust, given by the operator (trust.md 2.5).
//!
//! A configuration block that is pinned (by its place, or by its SHA-256, too); a genesis block from which configuration blocks are
//! verified, each by the one before; or the organisations' MSP folders. Nothing else, and never what a source says first.

use super::{
    ChannelConfigError,
    channel_config::{blocks_in, load_block_bytes, load_newest},
    config::ChannelSettings,
};
use crate::{
    catalog::RootOfTrust,
    msp::{ChannelConfig, ConfigError, MspId, MspVersion},
    snapshot::ChannelId,
};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// A configuration, and why it is believed.
#[derive(Debug, Clone)]
pub struct Rooted {
    /// The configuration.
    pub config: ChannelConfig,
    /// Which root it has.
    pub root: RootOfTrust,
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

/// Loads the channel's configuration by the one root that the settings give.
///
/// # Errors
/// [`RootError`]: none, two, or one that doesn't hold.
pub fn load_root(channel: &ChannelId, settings: &ChannelSettings) -> Result<Rooted, RootError> {
    let several = |one, other| RootError::Several { channel: channel.clone(), one, other };
    match (&settings.config_block, &settings.genesis_block, settings.pinned_msps.as_slice()) {
        (None, None, []) => Err(RootError::None(channel.clone())),
        (None, None, pinned) => pinned_msps(channel, pinned),
        (_, Some(_), [_, ..]) => Err(several("a genesis block", "pinned MSP folders")),
        (Some(_), None, [_, ..]) => Err(several("a configuration block", "pinned MSP folders")),
        (Some(_), Some(_), []) if settings.config_block_sha256.is_some() => {
            Err(several("a pinned hash", "a genesis block"))
        }
        (Some(path), None, []) => pinned_block(channel, path, settings.config_block_sha256),
        (blocks, Some(genesis), []) => walked(channel, genesis, blocks.as_deref()),
    }
}

fn pinned_block(channel: &ChannelId, path: &Path, pin: Option<[u8; 32]>) -> Result<Rooted, RootError> {
    let (config, block) = load_newest(path, Some(channel))?;
    let found: [u8; 32] = Sha256::digest(&block).into();
    match pin.filter(|pin| *pin != found) {
        Some(pin) => Err(RootError::Pin { path: path.to_owned(), found: hex::encode(found), wanted: hex::encode(pin) }),
        None => Ok(Rooted { config, root: RootOfTrust::ConfigBlock }),
    }
}

fn walked(channel: &ChannelId, genesis: &Path, blocks: Option<&Path>) -> Result<Rooted, RootError> {
    let (first, first_bytes) = load_block_bytes(genesis, Some(channel))?;
    let mut later = blocks.map_or_else(|| Ok(Vec::new()), |path| blocks_in(path, channel))?;
    later.retain(|(config, _)| config.sequence() > first.sequence());
    later.sort_by_key(|(config, _)| (config.sequence(), config.block_number()));
    let failed = |source| RootError::Walk {
        genesis: genesis.to_owned(),
        blocks: blocks.unwrap_or(genesis).to_owned(),
        source: Box::new(source),
    };
    let config = ChannelConfig::walk(&first_bytes, later.iter().map(|(_, bytes)| bytes.as_slice())).map_err(failed)?;
    Ok(Rooted { config, root: RootOfTrust::GenesisWalk })
}

fn pinned_msps(channel: &ChannelId, pinned: &[(MspId, PathBuf)]) -> Result<Rooted, RootError> {
    let folders: Vec<(MspId, &Path)> = pinned.iter().map(|(id, folder)| (id.clone(), folder.as_path())).collect();
    // Folders carry no capabilities: what every channel allows.
    let config = ChannelConfig::from_pinned_msps(channel.clone(), MspVersion::V1_4_3, &folders)
        .map_err(|error| RootError::Msps(Box::new(error)))?;
    Ok(Rooted { config, root: RootOfTrust::PinnedMsps })
}
