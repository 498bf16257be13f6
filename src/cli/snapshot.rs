//! `snapshot submit | pending | cancel`: requests that our peer itself keeps; `list | show | sign | repair | delete`: its snapshots, mostly
//! by way of the service that runs beside it.

use super::{
    channel,
    context::Context,
    exit::{Exit, Failure},
    snapshot_cancel::Cancel,
    snapshot_delete::Delete,
    snapshot_list::List,
    snapshot_pending::Pending,
    snapshot_repair::Repair,
    snapshot_show::Show,
    snapshot_sign::Sign,
    snapshot_submit::Submit,
};
use clap::{Args, Subcommand};
use snapferry::{
    service::{
        LogLevel,
        config::{Config, Loaded},
        control::{AskControlError, Refused, RefusedCode, Request, Response, Shown, ask_control},
    },
    snapshot::{BlockNumber, ChannelId, SnapshotId},
    transport::fault::chain,
};
use std::path::PathBuf;

/// Our own peer's snapshots: requests, lists, shows, signs, repairs, deletes
#[derive(Debug, Args)]
pub(crate) struct SnapshotCommand {
    #[command(subcommand)]
    command: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    #[command(visible_alias = "submitrequest")]
    Submit(Submit),
    #[command(visible_alias = "listpending")]
    Pending(Pending),
    #[command(visible_alias = "cancelrequest")]
    Cancel(Cancel),
    List(List),
    Show(Show),
    Sign(Sign),
    Repair(Repair),
    Delete(Delete),
}

impl SnapshotCommand {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        match &self.command {
            Which::Submit(command) => command.run(context),
            Which::Pending(command) => command.run(context),
            Which::Cancel(command) => command.run(context),
            Which::List(command) => command.run(context),
            Which::Show(command) => command.run(context),
            Which::Sign(command) => command.run(context),
            Which::Repair(command) => command.run(context),
            Which::Delete(command) => command.run(context),
        }
    }
}

/// The one snapshot that is meant.
#[derive(Debug, Args)]
pub(super) struct OneSnapshot {
    /// Channel
    #[arg(short, long, value_name = "CHANNEL", alias = "channelID", short_alias = 'C')]
    channel_id: ChannelId,
    /// Last block in the snapshot
    #[arg(short, long, value_name = "N", alias = "blockNumber")]
    block_number: BlockNumber,
}

impl OneSnapshot {
    pub(super) fn id(&self) -> SnapshotId {
        SnapshotId { channel: self.channel_id.clone(), block_number: self.block_number }
    }
}

/// The running service, as these commands find it.
pub(super) struct Service {
    pub(super) config: Config,
    pub(super) state: PathBuf,
}

impl Service {
    /// By the configuration: the service is the one over our state folder.
    pub(super) fn find(context: &Context, flags: Vec<(&'static str, String)>) -> Result<Self, Failure> {
        let Loaded { config, .. } = context.configure(flags, LogLevel::Warn)?;
        let state = channel::state_dir(context, &config)?;
        Ok(Self { config, state })
    }

    /// Its answer, if it is no refusal.
    pub(super) fn ask(&self, request: &Request) -> Result<Response, Failure> {
        match ask_control(&self.state, request)? {
            Response::Refused(refused) => Err(refused.into()),
            answer => Ok(answer),
        }
    }

    /// Its answer; `None` if no service runs.
    pub(super) fn ask_if_running(&self, request: &Request) -> Result<Option<Response>, Failure> {
        match ask_control(&self.state, request) {
            Err(AskControlError::NotRunning { .. }) => Ok(None),
            Ok(Response::Refused(refused)) => Err(refused.into()),
            answer => Ok(Some(answer?)),
        }
    }

    /// All that it knows of a snapshot.
    pub(super) fn show(&self, id: &SnapshotId) -> Result<Shown, Failure> {
        match self.ask(&Request::Show(id.clone()))? {
            Response::Shown(shown) => Ok(*shown),
            _ => Err(out_of_turn()),
        }
    }
}

/// An answer to another question.
pub(super) fn out_of_turn() -> Failure {
    Failure::new(Exit::Failed, "the service's answer isn't one to the question")
        .next("is it of the same version of snapferry? Restart it")
}

impl From<AskControlError> for Failure {
    fn from(error: AskControlError) -> Self {
        let text = chain(&error);
        match error {
            AskControlError::NotRunning { .. } => Self::new(Exit::Unreachable, text)
                .next("start `snapferry serve`, or name the state folder of the one that runs: --state-dir DIR"),
            AskControlError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Self::new(Exit::Refused, text).next("run this as the service's user, or as root")
            }
            AskControlError::Io { .. } => {
                Self::new(Exit::Unreachable, text).next("try again; the service's log says whether it hung up")
            }
            _ => Self::new(Exit::Failed, text),
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let exit = match refused.code {
            RefusedCode::NotAllowed => Exit::Usage,
            RefusedCode::Denied => Exit::Refused,
            RefusedCode::Contradiction => Exit::Verification,
            RefusedCode::Malformed | RefusedCode::NotFound | RefusedCode::Failed => Exit::Failed,
        };
        let not_found = refused.code == RefusedCode::NotFound;
        let failure = Self::new(exit, refused);
        if not_found { failure.next("`snapferry snapshot list` shows what there is") } else { failure }
    }
}
