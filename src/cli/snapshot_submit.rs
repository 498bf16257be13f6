//! `snapshot submit`: the RFC's SubmitSnapshotRequest, kept by our peer.

use super::{
    admin::AdminArgs,
    context::Context,
    exit::{Exit, Failure},
    output,
    peer::{AdminsPeer, PeerArgs, block_on},
    snapshot_making::{Made, Making},
    stop::Stop,
};
use clap::Args;
use serde_json::{Value, json};
use snapferry::{
    peer::{Peer, PeerError, Refusal},
    service::{LogLevel, config::Loaded, units::parse_duration},
    snapshot::{BlockNumber, ChannelId},
};
use std::{path::PathBuf, time::Duration};
use tokio::time::{Instant, timeout};

/// Has our peer make a snapshot, now or when a block is reached
///
/// For an admin of the peer's organisation (--msp-config-path, or CORE_PEER_MSPCONFIGPATH as for `peer`). The peer keeps the request, also
/// when it is restarted. While it writes the snapshot it commits no block of that channel. A snapshot that is there or requested already
/// is no failure.
///
/// With --wait it ends when the finished folder is in the peer's snapshots folder. Where that can't be read, as it belongs to the peer's
/// user, it ends when the request is no longer pending, and says so. Interrupted, it leaves the request to the peer.
#[derive(Debug, Args)]
pub(crate) struct Submit {
    /// Channel
    #[arg(short, long, value_name = "CHANNEL", alias = "channelID", short_alias = 'C')]
    channel_id: ChannelId,
    /// The last block that is to be in the snapshot; 0: the last one now
    #[arg(short, long, value_name = "N", alias = "blockNumber", default_value = "0")]
    block_number: BlockNumber,
    /// Wait until the snapshot is made
    #[arg(long)]
    wait: bool,
    /// Wait no longer than this [default: as long as it takes]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "wait")]
    deadline: Option<Duration>,
    /// The peer's ledger.snapshots.rootDir, where --wait looks [default: snapshots.rootDir]
    #[arg(long, value_name = "DIR", requires = "wait")]
    snapshots_root_dir: Option<PathBuf>,
    #[command(flatten)]
    peer: PeerArgs,
    #[command(flatten)]
    admin: AdminArgs,
}

/// What the peer made of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Submitted {
    Now,
    /// It was pending before.
    Already,
    /// The snapshot is there; of this block, if the peer says it.
    Made(Option<BlockNumber>),
}

impl Submit {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let mut flags = self.peer.by_key();
        flags.extend(self.admin.by_key(context));
        flags.extend(self.snapshots_root_dir.as_ref().map(|dir| ("snapshots.rootDir", dir.display().to_string())));
        let Loaded { config, .. } = context.configure(flags, LogLevel::Warn)?;
        let asked = self.peer.admins(&self.admin, context, &config)?;
        if context.global.dry_run {
            return self.would_submit(context, &asked);
        }
        block_on(async {
            let (stop, begun) = (Stop::default(), Instant::now());
            let connecting = timeout(self.deadline.unwrap_or(Duration::MAX), asked.connect());
            let peer = connecting.await.map_err(|_| {
                let what = format!("the peer {} didn't answer in time: nothing was requested", asked.address());
                Failure::new(Exit::Partial, what)
            })??;
            // Known before: what is looked for is what comes.
            let making = match self.wait {
                true => match Making::before(&peer, &self.channel_id, self.block(), config.snapshots_root).await {
                    Ok(making) => Some(making),
                    Err(error) => return Err(asked.failure(&peer, error).await),
                },
                false => None,
            };
            let submitted = match self.submit(&peer).await {
                Ok(submitted) => submitted,
                Err(error) => return Err(asked.failure(&peer, error).await),
            };
            let Some(making) = making.filter(|_| !matches!(submitted, Submitted::Made(_))) else {
                return self.report(context, submitted, "result");
            };
            self.report(context, submitted, "requested")?;
            // Not before: until then Ctrl-C ends the command as usual.
            let stopped =
                std::pin::pin!(stop.wait(self.deadline.map(|deadline| deadline.saturating_sub(begun.elapsed()))));
            let made = making.wait(&asked, peer, stopped, &stop).await?;
            self.report_made(context, &made)
        })
    }

    /// `None`: now. In Fabric's words it is 0.
    fn block(&self) -> Option<BlockNumber> {
        (self.block_number.0 > 0).then_some(self.block_number)
    }

    async fn submit(&self, peer: &Peer) -> Result<Submitted, PeerError> {
        match peer.generate(&self.channel_id, self.block()).await {
            Ok(()) => Ok(Submitted::Now),
            Err(error) => match error.refused().map(|refused| refused.refusal) {
                Some(Refusal::AlreadyRequested) => Ok(Submitted::Already),
                Some(Refusal::AlreadyGenerated(block)) => Ok(Submitted::Made(block.or_else(|| self.block()))),
                _ => Err(error),
            },
        }
    }

    fn would_submit(&self, context: &Context, asked: &AdminsPeer) -> Result<(), Failure> {
        if context.json() {
            let block = self.block().map(|block| block.0);
            return output::print_json(
                &json!({ "dry_run": true, "channel": self.channel_id.as_str(), "block_number": block }),
            );
        }
        let when = self.block().map_or_else(|| "now".to_owned(), |block| format!("at block {block}"));
        output::print(&format!("a snapshot of {} {when} would be requested of {}\n", self.channel_id, asked.address()))
    }

    fn report(&self, context: &Context, submitted: Submitted, event: &str) -> Result<(), Failure> {
        if context.json() {
            let (made, block) = match submitted {
                Submitted::Made(block) => (true, block),
                Submitted::Now | Submitted::Already => (false, self.block()),
            };
            return output::print_json(&self.json(event, block, made, submitted != Submitted::Now));
        }
        match submitted {
            Submitted::Now => output::print("Snapshot request submitted successfully\n"),
            Submitted::Already => {
                let which =
                    self.block().map_or_else(|| "of the last block".to_owned(), |block| format!("at block {block}"));
                output::print(&format!("a snapshot {which} is requested already: nothing to do\n"))
            }
            Submitted::Made(block) => {
                let which = block.map_or_else(String::new, |block| format!(" of block {block}"));
                output::print(&format!("the snapshot{which} is there already: nothing to do\n"))
            }
        }
    }

    fn report_made(&self, context: &Context, made: &Made) -> Result<(), Failure> {
        if context.json() {
            let mut result = self.json("result", made.block, made.folder.is_some(), false);
            if let Value::Object(fields) = &mut result {
                fields.insert("folder".to_owned(), json!(made.folder));
                fields.insert("folder_unreadable".to_owned(), json!(made.unreadable));
            }
            return output::print_json(&result);
        }
        let which =
            made.block.map_or_else(|| self.channel_id.to_string(), |block| format!("{}/{block}", self.channel_id));
        match (&made.folder, &made.unreadable) {
            (Some(folder), _) => output::print(&format!("snapshot {which} is made: {}\n", folder.display())),
            (None, reason) => {
                let reason = reason.as_deref().unwrap_or("snapshots.rootDir isn't set");
                output::print(&format!(
                    "the request for snapshot {which} is no longer pending; whether the snapshot was made couldn't be seen: {reason}\n"
                ))
            }
        }
    }

    fn json(&self, event: &str, block: Option<BlockNumber>, made: bool, already: bool) -> Value {
        json!({
            "event": event,
            "channel": self.channel_id.as_str(),
            "block_number": block.map(|block| block.0),
            "made": made,
            "already": already,
        })
    }
}
