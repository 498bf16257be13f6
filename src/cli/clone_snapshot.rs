//! From which snapshot a channel is cloned: one that our own organisation offers and that is recent enough, or one that its peer is asked to
//! make now.

use super::{
    context::Context,
    exit::{Exit, Failure},
    join::style,
    join_loader::LoaderArgs,
    peer::AdminsPeer,
    transfer_view::Style,
};
use bytes::Bytes;
use clap::Args;
use serde_json::json;
use snapferry::{
    bootstrap::{CatalogRequest, JoinError, JoinRequest, SourceCatalog, catalogs, listings},
    catalog::AgreementError,
    msp::{LocalIdentity, MspId},
    peer::{Peer, PeerError, Refusal},
    service::config::Config,
    snapshot::{BlockNumber, ChannelId},
    transport::{fault::chain, wire::CatalogClaim},
};
use std::{
    io::{self, Write as _},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How often the sources are asked whether they offer what was requested.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// What is waited for is said at least so often.
const SAY_EVERY: Duration = Duration::from_secs(30);

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
    /// Has the source's peer make a snapshot of now where the newest one is more than N blocks behind; else it is asked only where there is
    /// none that could be used
    #[arg(long, value_name = "N", requires = "source_peer_address")]
    max_blocks_behind: Option<u64>,
}

/// What there is to be cloned from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Snapshot {
    /// One that is offered.
    Offered,
    /// None yet; without --dry-run one would be requested.
    WouldBeRequested,
}

/// A connected peer of our organisation.
pub(super) struct SourcePeer {
    asked: AdminsPeer,
    peer: Peer,
}

impl SourcePeerArgs {
    /// Connects, if there is an address.
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
        Ok(Some(SourcePeer { asked, peer }))
    }

    /// Sees to it that there is a snapshot to join from.
    pub(super) async fn newest(
        &self,
        context: &Context,
        request: &JoinRequest,
        source_peer: Option<&SourcePeer>,
    ) -> Result<Snapshot, Failure> {
        let asking = CatalogRequest {
            dialling: request.dialling.clone(),
            sources: request.sources.clone(),
            block_number: None,
            trust: request.trust.clone(),
        };
        let channel = &asking.dialling.channel;
        let (answers, agreed) = catalogs(&asking).await?;
        refuse_others(&answers, request.dialling.identity.identity.msp_id())?;
        let newest = match agreed {
            Ok(agreed) => Ok(agreed.id().block_number),
            Err(error) if has_none(&error) => Err(error),
            Err(error) => return Err(error.into()),
        };
        let (newest, peer) = match (newest, source_peer) {
            (Ok(_), None) => return Ok(Snapshot::Offered),
            (Ok(_), _) if self.max_blocks_behind.is_none() => return Ok(Snapshot::Offered),
            (Err(error), None) => {
                return Err(Failure::from(error).next(
                    "have one made: --source-peer-address, or `snapferry snapshot submit` at the source's peer",
                ));
            }
            (newest, Some(peer)) => (newest.ok(), peer),
        };
        let last_block = peer.last_block(channel).await?;
        if !is_stale(newest, last_block, self.max_blocks_behind) {
            return Ok(Snapshot::Offered);
        }
        if context.global.dry_run {
            return Ok(Snapshot::WouldBeRequested);
        }
        peer.request(channel).await?;
        wait(context, &asking, last_block).await?;
        Ok(Snapshot::Offered)
    }
}

/// Whether a snapshot of now is needed: there is none, or it is too far behind.
fn is_stale(newest: Option<BlockNumber>, last_block: BlockNumber, max_behind: Option<u64>) -> bool {
    let behind = newest.map(|newest| last_block.0.saturating_sub(newest.0));
    behind.is_none_or(|behind| max_behind.is_some_and(|max| behind > max))
}

/// Whether the sources answered, and have nothing that could be used.
fn has_none(error: &JoinError) -> bool {
    let JoinError::Agreement { source, .. } = error else { return false };
    matches!(**source, AgreementError::NothingOffered { .. } | AgreementError::BelowFloor { .. })
}

/// Another organisation's word doesn't count here; that it was asked is a mistake.
fn refuse_others(answers: &[SourceCatalog], own: &MspId) -> Result<(), Failure> {
    let other = |source: &SourceCatalog| {
        let msp_id = &source.answer.as_ref().ok()?.msp_id;
        (msp_id != own).then(|| format!("{} is a service of {msp_id}, not of {own}", source.source))
    };
    match answers.iter().find_map(other) {
        Some(what) => Err(Failure::new(Exit::Usage, format!("{what}: a clone takes from our own organisation only"))
            .next("name a service of our own; `snapferry join` takes from several organisations")),
        None => Ok(()),
    }
}

/// Waits until a source offers a snapshot of that block or a later one.
async fn wait(context: &Context, asking: &CatalogRequest, block: BlockNumber) -> Result<(), Failure> {
    let channel = &asking.dialling.channel;
    let mut said: Option<Instant> = None;
    loop {
        match listings(asking).await {
            Ok(answers) => {
                let answers = answers.iter().filter_map(|source| source.answer.as_ref().ok());
                let claims = answers.flat_map(|answer| &answer.listing.claims);
                let new: Vec<&CatalogClaim> =
                    claims.filter(|claim| claim.id.block_number >= block && !claim.partial).collect();
                if new.iter().any(|claim| !claim.only_metadata_available) {
                    return Ok(());
                }
                if !new.is_empty() {
                    let what = format!(
                        "a snapshot of {channel} at block {block}, the last one, was made before, but its data were deleted"
                    );
                    return Err(Failure::new(Exit::Failed, what)
                        .next("the peer makes no other one before the next block: try again then"));
                }
            }
            // A service that restarts meanwhile is waited for, too.
            Err(error) => {
                tracing::warn!(reason = %chain(&error), "the sources can't be asked; the request stays with the peer");
            }
        }
        if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            said = Some(Instant::now());
            say(context, channel, block);
        }
        sleep(ASK_EVERY).await;
    }
}

fn say(context: &Context, channel: &ChannelId, block: BlockNumber) {
    // A line that is lost is no failure.
    let _ = match style(context) {
        Style::Quiet => Ok(()),
        Style::Json => {
            let event = json!({ "event": "snapshot_requested", "channel": channel.as_str(), "block_number": block.0 });
            writeln!(io::stdout(), "{event}")
        }
        Style::Bar | Style::Lines => writeln!(
            io::stderr(),
            "  a snapshot of block {block} or later was requested of the source's peer; waiting until its service offers it"
        ),
    };
}

impl SourcePeer {
    pub(super) fn address(&self) -> &str {
        self.asked.address()
    }

    pub(super) async fn channels(&self) -> Result<Vec<ChannelId>, Failure> {
        self.told(self.peer.channels().await).await
    }

    pub(super) async fn config_block(&self, channel: &ChannelId) -> Result<Bytes, Failure> {
        self.told(self.peer.config_block(channel).await).await
    }

    async fn last_block(&self, channel: &ChannelId) -> Result<BlockNumber, Failure> {
        Ok(self.told(self.peer.chain_info(channel).await).await?.last_block)
    }

    /// Requests a snapshot of now. One that is requested or made already is as good.
    async fn request(&self, channel: &ChannelId) -> Result<(), Failure> {
        match self.peer.generate(channel, None).await {
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

    async fn told<T>(&self, answered: Result<T, PeerError>) -> Result<T, Failure> {
        match answered {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.asked.failure(&self.peer, error).await),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_of_now_is_needed_where_there_is_none_or_it_is_too_old() {
        let (last, block) = (BlockNumber(100), |number| Some(BlockNumber(number)));
        assert!(is_stale(None, last, None) && is_stale(None, last, Some(1000)));
        assert!(!is_stale(block(3), last, None), "any will do");
        assert!(!is_stale(block(90), last, Some(10)));
        assert!(is_stale(block(89), last, Some(10)));
        assert!(!is_stale(block(100), last, Some(0)));
        // The source may be ahead of the peer that was asked.
        assert!(!is_stale(block(101), last, Some(0)));
    }
}
