//! `snapshot cancel`: takes a request for a snapshot back.

use super::{
    admin::AdminArgs,
    context::Context,
    exit::{Exit, Failure},
    output,
    peer::{AdminsPeer, PeerArgs, block_on},
    snapshot_pending::shown,
};
use clap::Args;
use serde_json::json;
use snapferry::{
    peer::Refusal,
    service::{LogLevel, config::Loaded},
    snapshot::{BlockNumber, ChannelId},
};

/// Takes a request for a snapshot back, before our peer makes it
///
/// For an admin of the peer's organisation (--msp-config-path, or CORE_PEER_MSPCONFIGPATH as for `peer`).
#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// Channel
    #[arg(short, long, value_name = "CHANNEL", alias = "channelID", short_alias = 'C')]
    channel_id: ChannelId,
    /// The block for which the snapshot was requested
    #[arg(short, long, value_name = "N", alias = "blockNumber", value_parser = pending_block)]
    block_number: BlockNumber,
    #[command(flatten)]
    peer: PeerArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

/// A request for block 0 is one for the block of that moment: it is pending under that one's number.
fn pending_block(text: &str) -> Result<BlockNumber, &'static str> {
    match text.parse() {
        Ok(0) => Err("no request is pending under 0: `snapshot pending` shows the blocks"),
        Ok(block) => Ok(BlockNumber(block)),
        Err(_) => Err("it should be a block number"),
    }
}

impl Cancel {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let flags = self.peer.by_key().into_iter().chain(self.admin.by_key(context)).collect();
        let Loaded { config, .. } = context.configure(flags, LogLevel::Warn)?;
        let asked = self.peer.admins(&self.admin, context, &config)?;
        if !context.global.dry_run {
            block_on(self.ask(&asked))?;
        }
        if context.json() {
            return output::print_json(&json!({
                "channel": self.channel_id.as_str(),
                "block_number": self.block_number.0,
                "cancelled": !context.global.dry_run,
                "dry_run": context.global.dry_run,
            }));
        }
        if context.global.dry_run {
            let (block, channel, address) = (self.block_number, &self.channel_id, asked.address());
            return output::print(&format!(
                "the request for block {block} of {channel} would be cancelled at {address}\n"
            ));
        }
        output::print("Snapshot request cancelled successfully\n")
    }

    async fn ask(&self, asked: &AdminsPeer) -> Result<(), Failure> {
        let peer = asked.connect().await?;
        let Err(error) = peer.cancel(&self.channel_id, self.block_number).await else { return Ok(()) };
        if error.refused().is_some_and(|refused| refused.refusal == Refusal::NoSuchRequest)
            && let Ok(pending) = peer.pendings(&self.channel_id).await
        {
            return Err(Failure::new(Exit::Failed, format!("{error}; pending are {}", shown(&pending))));
        }
        Err(asked.failure(&peer, error).await)
    }
}
