//! From which snapshot a channel is cloned: one that our own organisation offers and that is recent enough, or one that its peer is asked to
//! make now.

use super::{
    clone_source::SourcePeer,
    context::Context,
    exit::{Exit, Failure},
    join::style,
    transfer_view::Style,
};
use clap::Args;
use serde_json::json;
use snapferry::{
    bootstrap::{CatalogRequest, JoinError, JoinRequest, SourceCatalog, catalogs, listings},
    catalog::AgreementError,
    msp::MspId,
    snapshot::{BlockNumber, ChannelId},
    transport::{fault::chain, wire::CatalogClaim},
};
use std::{
    io::{self, Write as _},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How often the sources are asked whether they offer what was requested.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long sources that can't be asked are waited for: a service may be restarted.
const SILENT_MAX: Duration = Duration::from_secs(120);
/// How long a service may take to hash a snapshot that is made, before it offers it: it looks for new ones every few seconds.
const SETTLED_MAX: Duration = Duration::from_secs(3600);
/// What is waited for is said at least so often.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// What there is to be cloned from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Snapshot {
    /// One that is offered.
    Offered,
    /// None yet; without --dry-run one would be requested.
    WouldBeRequested,
}

/// How recent a snapshot must be.
#[derive(Debug, Args)]
pub(crate) struct SnapshotAgeArgs {
    /// Has the source's peer make a snapshot of now where the newest one is more than N blocks behind; else it is asked only where there is
    /// none that could be used
    #[arg(long, value_name = "N", requires = "source_peer_address")]
    max_blocks_behind: Option<u64>,
}

impl SnapshotAgeArgs {
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
        wait(context, &asking, last_block, peer).await?;
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

/// How long what was requested has been waited for in vain.
#[derive(Debug, Default)]
struct Patience {
    /// Since when the sources can't be asked.
    silent: Option<Instant>,
    /// Since when the peer doesn't say that the request is pending.
    settled: Option<Instant>,
}

impl Patience {
    const fn sources_answered(&mut self) {
        self.silent = None;
    }

    /// No source could be asked; whether that was so for too long.
    fn sources_silent(&mut self) -> bool {
        self.silent.get_or_insert_with(Instant::now).elapsed() >= SILENT_MAX
    }

    /// Whether the request is pending with the peer, if it could be asked; whether it hasn't said so for too long.
    fn peer_said(&mut self, pending: Option<bool>) -> bool {
        if pending == Some(true) {
            self.settled = None;
            return false;
        }
        self.settled.get_or_insert_with(Instant::now).elapsed() >= SETTLED_MAX
    }
}

/// Waits until a source offers a snapshot of that block or a later one.
async fn wait(
    context: &Context,
    asking: &CatalogRequest,
    block: BlockNumber,
    peer: &SourcePeer,
) -> Result<(), Failure> {
    let channel = &asking.dialling.channel;
    let (mut said, mut patience): (Option<Instant>, Patience) = (None, Patience::default());
    loop {
        match listings(asking).await {
            Ok(answers) => {
                patience.sources_answered();
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
                if patience.sources_silent() {
                    return Err(error.into());
                }
                tracing::warn!(reason = %chain(&error), "the sources can't be asked; the request stays with the peer");
            }
        }
        if patience.peer_said(peer.is_pending(channel).await) {
            let what = format!(
                "{} hasn't said for {} minutes that a snapshot of {channel} is pending, and no source offers one of block {block} or later",
                peer.address(),
                SETTLED_MAX.as_secs() / 60
            );
            return Err(Failure::new(Exit::Failed, what).next(
                "look for `Failed to generate snapshot` in that peer's log, and whether the service given with --from is the one beside it",
            ));
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn what_was_requested_is_waited_for_as_long_as_anybody_may_yet_give_it() {
        let moment = Duration::from_secs(1);
        let mut patience = Patience::default();
        assert!(!patience.sources_silent());
        advance(SILENT_MAX - moment).await;
        assert!(!patience.sources_silent());
        advance(moment).await;
        assert!(patience.sources_silent());
        patience.sources_answered();
        assert!(!patience.sources_silent(), "they were heard meanwhile");

        assert!(!patience.peer_said(Some(true)) && !patience.peer_said(Some(false)));
        advance(SETTLED_MAX - moment).await;
        assert!(!patience.peer_said(Some(false)) && !patience.peer_said(None));
        advance(moment).await;
        assert!(patience.peer_said(Some(false)) && patience.peer_said(None), "nor does one that can't be asked say so");
        assert!(!patience.peer_said(Some(true)) && !patience.peer_said(None), "somebody requested one");
    }

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
