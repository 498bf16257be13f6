//! The peer beside the source of a clone: asked which channels it has, how they are configured, and for snapshots of now.

use super::{exit::Failure, join_loader::LoaderArgs, peer::AdminsPeer};
use bytes::Bytes;
use clap::Args;
use snapferry::{
    msp::LocalIdentity,
    peer::{Peer, PeerError, Refusal},
    service::config::Config,
    snapshot::{BlockNumber, ChannelId},
};
use std::{path::PathBuf, sync::Arc};
use tokio::sync::Mutex;

/// The peer beside the source.
#[derive(Debug, Args)]
pub(crate) struct SourcePeerArgs {
    /// gRPC of the source's peer: where it is asked which channels it has, how they are configured, and, by an admin, for a snapshot of now
    #[arg(long, value_name = "HOST:PORT", alias = "sourcePeerAddress")]
    source_peer_address: Option<String>,
    /// The CA of its TLS certificate, PEM [default: that of our own peer: --tls-root-cert-file, ...]
    #[arg(long, value_name = "FILE", requires = "source_peer_address")]
    source_peer_tls_root_cert_file: Option<PathBuf>,
    /// The name in its TLS certificate, if that isn't the host
    #[arg(long, value_name = "NAME", requires = "source_peer_address")]
    source_peer_server_name: Option<String>,
}

/// A connected peer of our organisation.
pub(super) struct SourcePeer {
    asked: AdminsPeer,
    peer: Mutex<Peer>,
    channels: Vec<ChannelId>,
}

impl SourcePeerArgs {
    /// Connects, if there is an address. A peer tells its channels to members of its own organisation only, so one of another is found out.
    pub(super) async fn connect(
        &self,
        loader: &LoaderArgs,
        identity: &Arc<LocalIdentity>,
        config: &Config,
    ) -> Result<Option<SourcePeer>, Failure> {
        let Some(address) = &self.source_peer_address else { return Ok(None) };
        let mut of_source = config.clone();
        of_source.peer.address = Some(address.clone());
        of_source.peer.server_name.clone_from(&self.source_peer_server_name);
        if self.source_peer_tls_root_cert_file.is_some() {
            of_source.peer.tls_root_cert.clone_from(&self.source_peer_tls_root_cert_file);
        }
        let asked = AdminsPeer::new(loader.connection(&of_source)?, Arc::clone(identity));
        let peer = asked.connect().await?;
        match peer.channels().await {
            Ok(channels) => Ok(Some(SourcePeer { asked, peer: Mutex::new(peer), channels })),
            Err(error) => {
                let denied = error.refused().is_some_and(|refused| refused.refusal == Refusal::Denied);
                let failure = asked.failure(&peer, error).await;
                Err(if denied {
                    failure.next("name a peer of our own organisation: --source-peer-address")
                } else {
                    failure
                })
            }
        }
    }
}

impl SourcePeer {
    pub(super) fn address(&self) -> &str {
        self.asked.address()
    }

    /// Those that it has.
    pub(super) fn channels(&self) -> &[ChannelId] {
        &self.channels
    }

    pub(super) async fn config_block(&self, channel: &ChannelId) -> Result<Bytes, Failure> {
        self.told(self.ask(async |peer: &Peer| peer.config_block(channel).await).await).await
    }

    pub(super) async fn last_block(&self, channel: &ChannelId) -> Result<BlockNumber, Failure> {
        Ok(self.told(self.ask(async |peer: &Peer| peer.chain_info(channel).await).await).await?.last_block)
    }

    /// Requests a snapshot of now. One that is requested or made already is as good.
    pub(super) async fn request(&self, channel: &ChannelId) -> Result<(), Failure> {
        match self.ask(async |peer: &Peer| peer.generate(channel, None).await).await {
            Err(error)
                if error.refused().is_some_and(|refused| {
                    matches!(refused.refusal, Refusal::AlreadyRequested | Refusal::AlreadyGenerated(_))
                }) =>
            {
                Ok(())
            }
            answered => self.told(answered).await,
        }
    }

    /// Whether a snapshot of the channel is still to be made; `None` if the peer doesn't say.
    pub(super) async fn is_pending(&self, channel: &ChannelId) -> Option<bool> {
        self.ask(async |peer: &Peer| peer.pendings(channel).await).await.ok().map(|blocks| !blocks.is_empty())
    }

    /// The answer to that call. Hours may lie between two calls: a connection that has broken since is made anew.
    async fn ask<T>(&self, call: impl AsyncFn(&Peer) -> Result<T, PeerError>) -> Result<T, PeerError> {
        let mut peer = self.peer.lock().await;
        match call(&peer).await {
            Err(error) if error.refused().is_none() => {
                *peer = self.asked.connect().await?;
                // As at first: one of another organisation doesn't tell.
                peer.channels().await?;
                call(&peer).await
            }
            answered => answered,
        }
    }

    async fn told<T>(&self, answered: Result<T, PeerError>) -> Result<T, Failure> {
        match answered {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.asked.failure(&*self.peer.lock().await, error).await),
        }
    }
}
