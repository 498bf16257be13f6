//! One measured transfer: the sources start, a peer joins from all of them, the sources stop.

use super::{
    child::{Child, Program, Usage},
    stage::{Stage, touch_memory},
};
use crate::cli::exit::{Exit, Failure};
use serde_json::Value;
use snapferry::{disk::OsDir, service::builtin};
use std::{
    cell::{Cell, RefCell},
    time::Duration,
};
use tokio::task::spawn_blocking;

/// Where the joiner lands, in the stage's folder.
const LANDING: &str = "landing";
/// The stopped peer's folder.
const PEER: &str = "peer";
const JOINER_STATE: &str = "state-joiner";

/// What a transfer cost.
#[derive(Debug, Clone)]
pub(super) struct Transfer {
    pub(super) joiner: Usage,
    pub(super) sources: Vec<Usage>,
    /// Bytes of chunks as they travelled, before QUIC's own overhead.
    pub(super) wire_bytes: u64,
    /// Proved bytes from each source.
    pub(super) shares: Vec<u64>,
    /// What loading it cost, if that was to be measured.
    pub(super) load: Option<Load>,
}

/// What came of the same bytes in a stopped peer's databases.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// The load of the folder that had landed, by itself.
    pub(super) direct: Duration,
    /// All of that command, which proves the folder first.
    pub(super) landed: Usage,
    /// A join that began with nothing, and loaded while the chunks came.
    pub(super) beside: Usage,
}

/// Every source hashes the sample once and keeps its manifest, as a service beside a peer has long done when somebody joins.
pub(super) async fn publish(program: &Program, stage: &Stage) -> Result<Vec<Usage>, Failure> {
    let mut sources = Vec::new();
    for index in 0..stage.sources().len() {
        let (child, _) = start_source(program, stage, index).await?;
        sources.push(child.stop().await?);
    }
    Ok(sources)
}

/// A transfer of so many bytes from all sources, from a cold start of every process; with `loads` also into a peer's databases.
pub(super) async fn run(program: &Program, stage: &Stage, bytes: u64, loads: bool) -> Result<Transfer, Failure> {
    let dir = stage.path().to_owned();
    spawn_blocking(move || touch_memory(&dir, bytes)).await.map_err(std::io::Error::other)??;
    let mut sources = Vec::new();
    let mut addresses = Vec::new();
    for index in 0..stage.sources().len() {
        let (child, address) = start_source(program, stage, index).await?;
        sources.push(child);
        addresses.push(address);
    }
    let organisations = stage.sources().iter().map(|peer| peer.msp_id).collect::<std::collections::BTreeSet<_>>();
    let mut args = ["-O", "json", "join", "-c", builtin::CHANNEL, "--from"].map(str::to_owned).to_vec();
    args.push(addresses.join(","));
    args.extend(["--config-block".to_owned(), stage.config_block().display().to_string()]);
    args.extend(["--land".to_owned(), stage.path().join(LANDING).display().to_string()]);
    args.extend(["--state-dir".to_owned(), stage.path().join(JOINER_STATE).display().to_string()]);
    // Whoever takes part vouches.
    let vouchers: Vec<String> = organisations.iter().map(|org| format!("'{org}.peer'")).collect();
    let rule = format!("OutOf({}, {})", vouchers.len(), vouchers.join(", "));
    args.extend(["--min-orgs".to_owned(), organisations.len().to_string(), "--policy".to_owned(), rule]);
    args.extend(stage.joiner_flags());
    let (joiner, result) = join(program, &args, "landed").await?;
    let load = if loads { Some(load(program, stage, bytes, &args).await?) } else { None };
    let mut used = Vec::new();
    for source in sources {
        used.push(source.stop().await?);
    }
    stage.clear(LANDING)?;
    let shares = result.get("shares").and_then(Value::as_array).cloned().unwrap_or_default();
    let sum = |field: &str| shares.iter().filter_map(|share| share.get(field)?.as_u64()).collect::<Vec<_>>();
    let wire_bytes = sum("wire_bytes").iter().sum();
    Ok(Transfer { joiner, sources: used, wire_bytes, shares: sum("verified_bytes"), load })
}

/// What a join cost, and its result, if it has that outcome.
async fn join(program: &Program, args: &[String], outcome: &str) -> Result<(Usage, Value), Failure> {
    let (usage, output) = program.start("join", args)?.finish().await?;
    let result = output.last().and_then(|line| serde_json::from_str::<Value>(line).ok()).unwrap_or_default();
    if result.get("outcome").and_then(Value::as_str) != Some(outcome) {
        return Err(Failure::new(Exit::Failed, format!("join: not {outcome}, but {result}")));
    }
    Ok((usage, result))
}

/// The folder that has landed into a peer's databases, then all of it once more, with the load beside the transfer.
async fn load(program: &Program, stage: &Stage, bytes: u64, args: &[String]) -> Result<Load, Failure> {
    let root = OsDir::open(stage.path())?;
    let into_peer = || {
        root.create_dir(PEER)?;
        let ledgers = stage.path().join(PEER).join("ledgersData").display().to_string();
        let loader = ["--loader".to_owned(), "ledger".to_owned(), "--ledger".to_owned(), ledgers];
        Ok::<Vec<String>, Failure>(args.iter().cloned().chain(loader).collect())
    };
    let (landed, result) = join(program, &into_peer()?, "already_there").await?;
    let seconds = result.get("load_seconds").and_then(Value::as_f64);
    let seconds = seconds.ok_or_else(|| Failure::new(Exit::Failed, format!("join: nothing was loaded: {result}")))?;
    stage.clear(LANDING)?;
    stage.clear(PEER)?;
    let dir = stage.path().to_owned();
    spawn_blocking(move || touch_memory(&dir, bytes.saturating_mul(2))).await.map_err(std::io::Error::other)??;
    let (beside, _) = join(program, &into_peer()?, "landed").await?;
    stage.clear(PEER)?;
    Ok(Load { direct: Duration::from_secs_f64(seconds), landed, beside })
}

/// A source that advertises the sample, and where it listens.
async fn start_source(program: &Program, stage: &Stage, index: usize) -> Result<(Child, String), Failure> {
    let peer = stage.sources().get(index).expect("as many as were counted");
    let mut args = ["serve", "--listen-address", "127.0.0.1:0", "--config-block"].map(str::to_owned).to_vec();
    args.push(stage.config_block().display().to_string());
    args.extend(["--snapshots-root-dir".to_owned(), stage.snapshots_root().display().to_string()]);
    args.extend(["--state-dir".to_owned(), stage.state(index).display().to_string()]);
    args.extend(peer.identity_flags());
    let mut child = program.start(&format!("serve {}", index + 1), &args)?;
    // A known sample is advertised at once: its line may stand before the address's.
    let (address, advertised) = (RefCell::new(None), Cell::new(false));
    let ready = child.line(|line| {
        if let Some((_, rest)) = line.split_once("address=").filter(|_| line.contains("serving")) {
            address.replace(rest.split_whitespace().next().map(str::to_owned));
        }
        advertised.set(advertised.get() || line.contains("advertised"));
        address.borrow().clone().filter(|_| advertised.get())
    });
    let address = ready.await?;
    Ok((child, address))
}
