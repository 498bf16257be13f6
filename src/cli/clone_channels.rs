//! Which channels a clone takes, and by which configuration each of them is joined.
//!
//! Both are believed because the operator gives them: as blocks, or by naming a peer of our own organisation and the CA of its TLS
//! certificate. What a source says of either counts for nothing.

use super::{
    channel::NetworkArgs,
    clone_source::SourcePeer,
    exit::{Exit, Failure},
    join_loader::{LoaderArgs, LoaderKind},
    peer::AdminsPeer,
};
use snapferry::{
    disk::OsDir,
    ledger::{LiveLedgers, stores::Status},
    msp::{ChannelConfig, LocalIdentity},
    service::{
        Given,
        config::{ChannelSettings, Config},
        configured_channels, load_given,
    },
    snapshot::ChannelId,
    transport::fault::chain,
};
use std::{collections::BTreeSet, sync::Arc};

/// Where channels and their configurations come from.
pub(super) struct Channels<'a> {
    pub(super) network: &'a NetworkArgs,
    pub(super) config: &'a Config,
    /// Who clones.
    pub(super) identity: &'a Arc<LocalIdentity>,
}

/// What the peer that is cloned into has.
pub(super) enum There {
    /// Only folders land.
    Nothing,
    /// In the databases, whether the peer runs or not.
    Ledgers(LiveLedgers),
    /// As the running peer says.
    Listed(BTreeSet<ChannelId>),
}

impl Channels<'_> {
    /// The channels, ascending: those named, else all that the source's peer has, else all whose configuration is given.
    pub(super) fn list(
        &self,
        named: &[ChannelId],
        source_peer: Option<&SourcePeer>,
    ) -> Result<BTreeSet<ChannelId>, Failure> {
        if !named.is_empty() {
            return Ok(named.iter().cloned().collect());
        }
        let (list, of): (BTreeSet<_>, _) = match (source_peer, &self.network.root.config_block) {
            (Some(peer), _) => (peer.channels().iter().cloned().collect(), "the source's peer is in no channel"),
            (None, Some(path)) => (configured_channels(path)?, "no configuration block is there"),
            (None, None) => (self.config.channels.keys().cloned().collect(), "nothing says which channels there are"),
        };
        if list.is_empty() {
            return Err(Failure::new(Exit::Usage, of).next(
                "give -c CHANNEL,..., or --source-peer-address HOST:PORT of a peer of our organisation that has them",
            ));
        }
        Ok(list)
    }

    /// The channel's configuration, and where newer ones come from: what flags or configuration give; else what the source's peer says
    /// is in force.
    pub(super) async fn configuration(
        &self,
        channel: &ChannelId,
        source_peer: Option<&SourcePeer>,
    ) -> Result<(ChannelSettings, Given), Failure> {
        let root = self.network.root.settings(self.config, channel)?;
        match source_peer.filter(|_| root == ChannelSettings::default()) {
            Some(peer) => Ok((root, self.of_peer(channel, peer).await?.into())),
            None => {
                let given = load_given(channel, &root)?;
                Ok((root, given))
            }
        }
    }

    async fn of_peer(&self, channel: &ChannelId, peer: &SourcePeer) -> Result<ChannelConfig, Failure> {
        const NEXT: &str =
            "fetch the block from an orderer (`peer channel fetch config`), and give it with --config-block";
        let block = peer.config_block(channel).await.map_err(|failure| failure.next(NEXT))?;
        let wrong = |reason: String| {
            let what =
                format!("what {} gave as the configuration of {channel} can't be used: {reason}", peer.address());
            Failure::new(Exit::Verification, what).next(NEXT)
        };
        let config = ChannelConfig::from_block(&block).map_err(|error| wrong(chain(&error)))?;
        if config.channel() != channel {
            return Err(wrong(format!("it configures channel {}", config.channel())));
        }
        // Our own organisation's MSP is what we know of the channel beforehand (trust.md 2.5).
        let own = &self.identity.identity;
        config.validate(own, (super::channel::wall_clock())()).map_err(|error| {
            wrong(format!("by it, {} is nobody of {}: {}", own.subject(), own.msp_id(), chain(&error)))
        })?;
        Ok(config)
    }

    /// What the peer that is cloned into has already.
    pub(super) async fn in_the_peer(&self, loader: &LoaderArgs) -> Result<There, Failure> {
        match (loader.kind(), loader.ledger()) {
            (Some(LoaderKind::Ledger), Some(path)) if path.is_dir() => {
                let ledgers = LiveLedgers::new(OsDir::open(&std::path::absolute(path)?)?);
                Ok(There::Ledgers(ledgers))
            }
            (Some(LoaderKind::Folder), _) => {
                let asked = AdminsPeer::new(loader.connection(self.config)?, Arc::clone(self.identity));
                let peer = asked.connect().await?;
                match peer.channels().await {
                    Ok(channels) => Ok(There::Listed(channels.into_iter().collect())),
                    Err(error) => Err(asked.failure(&peer, error).await),
                }
            }
            _ => Ok(There::Nothing),
        }
    }
}

impl There {
    /// Whether the channel is there, whole. One whose record can't be read isn't: the join then says why.
    pub(super) fn has(&self, channel: &ChannelId) -> bool {
        match self {
            Self::Nothing => false,
            Self::Ledgers(ledgers) => matches!(ledgers.status(channel), Ok(Some(Status::Active))),
            Self::Listed(channels) => channels.contains(channel),
        }
    }
}
