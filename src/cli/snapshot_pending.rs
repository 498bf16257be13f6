//! `snapshot pending`: requests that our peer has not yet fulfilled.

use super::{
    admin::AdminArgs,
    context::Context,
    exit::Failure,
    output,
    peer::{AdminsPeer, PeerArgs, block_on},
};
use clap::Args;
use serde_json::json;
use snapferry::{
    service::{LogLevel, config::Loaded},
    snapshot::{BlockNumber, ChannelId},
};

/// Lists the requests for snapshots that our peer still has to fulfil
///
/// For an admin of the peer's organisation (--msp-config-path, or CORE_PEER_MSPCONFIGPATH as for `peer`).
#[derive(Debug, Args)]
pub(crate) struct Pending {
    /// Channel [default: every channel of the peer]
    #[arg(short, long, value_name = "CHANNEL", alias = "channelID", short_alias = 'C')]
    channel_id: Option<ChannelId>,
    #[command(flatten)]
    peer: PeerArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

impl Pending {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let flags = self.peer.by_key().into_iter().chain(self.admin.by_key(context)).collect();
        let Loaded { config, .. } = context.configure(flags, LogLevel::Warn)?;
        let asked = self.peer.admins(&self.admin, context, &config)?;
        let pendings = block_on(self.ask(&asked))?;
        if context.json() {
            let channels = pendings.iter().map(|(channel, blocks)| {
                json!({ "channel": channel.as_str(), "block_numbers": blocks.iter().map(|block| block.0).collect::<Vec<_>>() })
            });
            return output::print_json(&json!({ "channels": channels.collect::<Vec<_>>() }));
        }
        let line = |(channel, blocks): &(ChannelId, Vec<BlockNumber>)| match self.channel_id {
            Some(_) => format!("Successfully got pending snapshot requests: {}\n", shown(blocks)),
            None => format!("{channel}: {}\n", shown(blocks)),
        };
        let text: String = pendings.iter().map(line).collect();
        output::print(if text.is_empty() { "the peer is in no channel\n" } else { &text })
    }

    async fn ask(&self, asked: &AdminsPeer) -> Result<Vec<(ChannelId, Vec<BlockNumber>)>, Failure> {
        let peer = asked.connect().await?;
        let channels = match &self.channel_id {
            Some(channel) => vec![channel.clone()],
            None => match peer.channels().await {
                Ok(channels) => channels,
                Err(error) => return Err(asked.failure(&peer, error).await),
            },
        };
        let mut pendings = Vec::new();
        for channel in channels {
            match peer.pendings(&channel).await {
                Ok(blocks) => pendings.push((channel, blocks)),
                Err(error) => return Err(asked.failure(&peer, error).await),
            }
        }
        Ok(pendings)
    }
}

/// Block numbers as `peer` prints them.
pub(super) fn shown(blocks: &[BlockNumber]) -> String {
    format!("[{}]", blocks.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
}
