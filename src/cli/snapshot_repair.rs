//! `snapshot repair`: chunks that rotted on our peer's disk are fetched again from others, for the service to give.

use super::{
    args::ConfigFlags,
    channel::{self, NetworkArgs},
    context::Context,
    exit::{Exit, Failure},
    join::style,
    output,
    snapshot::OneSnapshot,
    snapshot::Service,
    snapshot_list::{completed, manifests},
    stop::Stop,
    transfer_view::{self, plural},
};
use clap::Args;
use serde_json::{Value, json};
use snapferry::{
    bootstrap::{JoinError, Records, RepairRequest, Repaired, SourceTrouble, join_workers, repair},
    catalog::{Repairs, RottenChunk, ServedSnapshot, open_on_disk, rotten_on_disk},
    chunking::plan::PlanConfig,
    service::units::parse_duration,
    snapshot::SnapshotId,
};
use std::{sync::Arc, time::Duration};

/// Fetches chunks that rotted on our peer's disk again, from other peers that have the very same snapshot
///
/// Without it the service withholds them, and gives the others. Each is proved against what the service hashed when the snapshot was
/// whole, and kept in the state folder; the service gives it from there at once. The peer's own files are never written: to join a peer
/// from them, fetch a good copy with `snapferry join -b N --land DIR`.
///
/// Which chunks those are, the service finds out bit by bit (snapshots.scrubPeriod); --read-all reads every chunk now.
#[derive(Debug, Args)]
pub(crate) struct Repair {
    #[command(flatten)]
    snapshot: OneSnapshot,
    #[command(flatten)]
    network: NetworkArgs,
    /// Read every chunk first, instead of relying on what the service has found
    #[arg(long)]
    read_all: bool,
    /// Give up after this time, with what was repaired kept (exit code 6); e.g. 30m. A repair ends without it, too: who is busy is asked for
    /// ten minutes at most, who is away is waited for only briefly
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    deadline: Option<Duration>,
    #[command(flatten)]
    flags: ConfigFlags,
}

impl Repair {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let service = Service::find(context, self.flags.by_key())?;
        let id = self.snapshot.id();
        let state = channel::folder(&service.state, 0o700)?;
        let repairs = Repairs::in_state(&*state)?;
        let snapshot = open(&service, &repairs, &id)?;
        let rotten = if self.read_all { snapshot.read_again(&repairs) } else { found(&service, &repairs, &snapshot)? };
        let rotten: Vec<RottenChunk> = rotten.into_iter().filter(|chunk| !chunk.repaired).collect();
        if context.global.dry_run || rotten.is_empty() {
            return report(context, &id, &Repaired::default(), &rotten);
        }
        let config = &service.config;
        let rooted = channel::rooted(config, &self.network.root, &id.channel)?;
        let request = RepairRequest {
            dialling: channel::dialling(config, &self.network, &rooted)?,
            sources: channel::sources(config, &self.network)?,
            records: Records::open(&*state)?,
            snapshot: Arc::new(snapshot),
            rotten,
            repairs,
            workers: join_workers(&PlanConfig::default())?,
        };
        let observer = transfer_view::observer(style(context), "");
        let stop = Stop::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let repaired = runtime.block_on(async { repair(&request, &observer, stop.wait(self.deadline)).await });
        match repaired {
            Ok(repaired) => {
                report(context, &id, &repaired, &[])?;
                ended(&id, &repaired)
            }
            Err(JoinError::Stopped) => Err(Failure::new(stop.exit(), JoinError::Stopped)),
            Err(error) => Err(error.into()),
        }
    }
}

/// The snapshot as the service knew it when it was whole.
fn open(service: &Service, repairs: &Repairs, id: &SnapshotId) -> Result<ServedSnapshot, Failure> {
    let unknown = || {
        Failure::new(Exit::Failed, format!("no service has read {id} as it lies in the peer's folder now"))
            .next("start `snapferry serve`, which reads it; if it refuses the snapshot, fetch another copy: `snapferry join -b N --land DIR`")
    };
    let Some(manifests) = manifests(&service.state)? else { return Err(unknown()) };
    let completed = completed(service)?;
    match open_on_disk(completed.as_ref(), manifests.as_ref(), Some(repairs.clone()), id) {
        Ok(opened) => opened.ok_or_else(unknown),
        Err(error) => Err(Failure::from(error).next("`snapferry snapshot list` shows what there is")),
    }
}

/// What the service has found so far.
fn found(service: &Service, repairs: &Repairs, snapshot: &ServedSnapshot) -> Result<Vec<RottenChunk>, Failure> {
    let Some(manifests) = manifests(&service.state)? else { return Ok(Vec::new()) };
    Ok(rotten_on_disk(manifests.as_ref(), Some(repairs), snapshot.known()))
}

fn report(context: &Context, id: &SnapshotId, repaired: &Repaired, planned: &[RottenChunk]) -> Result<(), Failure> {
    if context.json() {
        return output::print_json(&json!({
            "event": "result",
            "channel": id.channel.as_str(),
            "block_number": id.block_number.0,
            "dry_run": context.global.dry_run,
            "to_repair": planned.iter().map(named).collect::<Vec<_>>(),
            "repaired": repaired.repaired.iter().map(named).collect::<Vec<_>>(),
            "missing": repaired.missing.iter().map(|(chunk, _)| named(chunk)).collect::<Vec<_>>(),
        }));
    }
    let each = |chunks: &[RottenChunk]| {
        let lines = chunks.iter().map(|chunk| format!("  {}, chunk {}\n", chunk.file, chunk.chunk.0));
        lines.collect::<String>()
    };
    let (count, to_repair) = (repaired.repaired.len(), planned.len());
    if !planned.is_empty() {
        let text = format!("{to_repair} chunk{} of {id} would be fetched again:\n", plural(to_repair));
        return output::print(&(text + &each(planned)));
    }
    if count == 0 && repaired.missing.is_empty() {
        return output::print(&format!("no chunk of {id} is known to need repair\n"));
    }
    output::print(&format!(
        "{count} chunk{} of {id} {} in our own state now, and the service gives {}; the peer's own files are as they were\n{}",
        plural(count),
        if count == 1 { "lies" } else { "lie" },
        if count == 1 { "it" } else { "them" },
        each(&repaired.repaired)
    ))
}

/// What is left.
fn ended(id: &SnapshotId, repaired: &Repaired) -> Result<(), Failure> {
    let Some((first, troubles)) = repaired.missing.first() else { return Ok(()) };
    let said: Vec<String> =
        troubles.iter().map(|SourceTrouble { source, reason, .. }| format!("{source}: {reason}")).collect();
    let said = if said.is_empty() { "none of them offers this snapshot".to_owned() } else { said.join("; ") };
    let count = repaired.missing.len();
    let what = format!(
        "nobody gives {count} chunk{} of {id}, the first of them chunk {} of {}: {said}",
        plural(count),
        first.chunk.0,
        first.file
    );
    let exit = if repaired.repaired.is_empty() { Exit::Unreachable } else { Exit::Partial };
    Err(Failure::new(exit, what).next("name more sources: --from HOST:PORT,..."))
}

fn named(chunk: &RottenChunk) -> Value {
    json!({ "file": chunk.file.name(), "chunk": chunk.chunk.0 })
}
