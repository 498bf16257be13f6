//! A channel's configuration from disk: one block, or the newest of a folder.

use super::block_file::read_block;
use crate::{
    msp::{ChannelConfig, ConfigError},
    snapshot::ChannelId,
};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

/// No configuration of the channel can be had; the operator's to mend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelConfigError {
    /// The file or folder can't be read.
    #[error("can't read the configuration block {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file isn't a configuration block that we can use.
    #[error("{} is no usable configuration block: {source}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ConfigError,
    },
    /// The block is of another channel.
    #[error("{} configures channel {found}, not {wanted}", path.display())]
    OtherChannel {
        /// The file.
        path: PathBuf,
        /// Its channel.
        found: ChannelId,
        /// The one that it should configure.
        wanted: ChannelId,
    },
    /// The folder has no usable block of the channel.
    #[error("{} holds no usable configuration block{}", path.display(), wanted.as_ref().map_or_else(String::new, |channel| format!(" of channel {channel}")))]
    NothingInFolder {
        /// The folder.
        path: PathBuf,
        /// The channel.
        wanted: Option<ChannelId>,
    },
}

/// Reads a configuration block; from a folder, the one with the greatest sequence. In a folder, what is no block of the
/// channel is skipped (with a warning, if it can't be read as a block at all).
///
/// # Errors
/// Nothing usable is there.
pub fn load_channel_config(path: &Path, channel: Option<&ChannelId>) -> Result<ChannelConfig, ChannelConfigError> {
    let nothing = || ChannelConfigError::NothingInFolder { path: path.to_owned(), wanted: channel.cloned() };
    let age = |config: &ChannelConfig| (config.sequence(), config.block_number());
    blocks_in(path, channel)?.into_iter().max_by_key(age).ok_or_else(nothing)
}

/// The channels of which a configuration block is there, the file or one in the folder.
///
/// # Errors
/// As [`load_channel_config`]; but a folder may hold none.
pub fn configured_channels(path: &Path) -> Result<BTreeSet<ChannelId>, ChannelConfigError> {
    Ok(blocks_in(path, None)?.iter().map(|config| config.channel().clone()).collect())
}

/// Every configuration block of the channel: the file, or all in the folder.
///
/// # Errors
/// As [`load_channel_config`]; but a folder may hold none.
pub(super) fn blocks_in(path: &Path, channel: Option<&ChannelId>) -> Result<Vec<ChannelConfig>, ChannelConfigError> {
    let failed = |source| ChannelConfigError::Read { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![load_block(path, channel)?]);
    }
    let mut blocks = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if !file.is_file() {
            continue;
        }
        match load_block(&file, channel) {
            Ok(block) => blocks.push(block),
            Err(ChannelConfigError::OtherChannel { .. }) => {}
            Err(error) => tracing::warn!(%error, "skipped"),
        }
    }
    Ok(blocks)
}

pub(super) fn load_block(path: &Path, wanted: Option<&ChannelId>) -> Result<ChannelConfig, ChannelConfigError> {
    let failed = |source| ChannelConfigError::Read { path: path.to_owned(), source };
    let config = ChannelConfig::from_block(&read_block(path).map_err(failed)?)
        .map_err(|source| ChannelConfigError::Unusable { path: path.to_owned(), source })?;
    match wanted.filter(|wanted| *wanted != config.channel()) {
        Some(wanted) => {
            let (found, wanted) = (config.channel().clone(), wanted.clone());
            Err(ChannelConfigError::OtherChannel { path: path.to_owned(), found, wanted })
        }
        None => Ok(config),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    const NETWORK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/network");

    #[test]
    fn a_file_is_the_block_and_must_be_of_the_channel() {
        let path = Path::new(NETWORK).join("config_block.pb");
        assert_eq!(load_channel_config(&path, None).unwrap().channel().as_str(), "mychannel");
        let other = load_channel_config(&path, Some(&"other".parse().unwrap()));
        assert!(matches!(other, Err(ChannelConfigError::OtherChannel { .. })), "{other:?}");
        let missing = load_channel_config(&path.join("x"), None);
        assert!(matches!(missing, Err(ChannelConfigError::Read { .. })), "{missing:?}");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test lays out its files")]
    fn of_a_folder_the_newest_block_counts() {
        let dir = TempDir::new().unwrap();
        let channel = "mychannel".parse().unwrap();
        std::fs::write(dir.path().join("notes.txt"), "no block").unwrap();
        let none = load_channel_config(dir.path(), Some(&channel));
        assert!(matches!(none, Err(ChannelConfigError::NothingInFolder { .. })), "{none:?}");
        for name in ["genesis.block", "config_block.pb"] {
            std::fs::copy(Path::new(NETWORK).join(name), dir.path().join(name)).unwrap();
        }
        let genesis = load_channel_config(&dir.path().join("genesis.block"), None).unwrap();
        let newest = load_channel_config(dir.path(), Some(&channel)).unwrap();
        assert!(newest.sequence() > genesis.sequence());
    }
}
