//! Why a configuration may not be put in force after the one that was.

use std::{fmt, path::PathBuf};

use super::RootError;
use crate::{
    disk::DiskError,
    msp::{ChannelConfig, ConfigError},
    snapshot::ChannelId,
};

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
    /// Another one of the same age.
    #[error(
        "channel {channel}: the configuration that is given, {given}, isn't the one that was in force here, {recorded}, but claims its place: \
         the orderers make one only, so find out who made this one; `peer channel fetch config FILE -c {channel}` writes the true one; if you \
         want to trust this block as a new root, remove {}", path.display()
    )]
    Differs {
        /// The channel.
        channel: ChannelId,
        /// What is given.
        given: Box<BundleRecord>,
        /// What was in force.
        recorded: Box<BundleRecord>,
        /// The record.
        path: PathBuf,
    },
    /// A newer one that doesn't come from the one there was.
    #[error(
        "channel {channel}: the configuration that is given, {given}, doesn't follow from the one that was in force here, {recorded}: {source}. \
         Give the configuration blocks in between, all in one folder; or, if you want to trust this block as a new root, remove {}",
        path.display()
    )]
    NoSuccessor {
        /// The channel.
        channel: ChannelId,
        /// What is given.
        given: Box<BundleRecord>,
        /// What was in force, or follows from it by the blocks that are given.
        recorded: Box<BundleRecord>,
        /// What doesn't hold.
        source: Box<ConfigError>,
        /// The record.
        path: PathBuf,
    },
    /// What is given doesn't hold by itself.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The record can't be read.
    #[error(
        "{} is no record of a channel configuration: {reason}; restore it, or remove it if you want to trust the block that is given as a new root",
        path.display()
    )]
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

impl BundleError {
    /// Whether the configuration is refused for what it is; else nothing is known of it.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Rollback { .. } | Self::Differs { .. } | Self::NoSuccessor { .. } | Self::Root(_))
    }
}

/// What is told of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleRecord {
    sequence: u64,
    block_number: u64,
    block_sha256: String,
}

impl BundleRecord {
    pub(super) fn of(config: &ChannelConfig) -> Self {
        let block_sha256 = config.block_sha256().map(hex::encode).unwrap_or_default();
        Self { sequence: config.sequence(), block_number: config.block_number().0, block_sha256 }
    }
}

impl fmt::Display for BundleRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sequence {} of block {} (SHA-256 {})", self.sequence, self.block_number, self.block_sha256)
    }
}
