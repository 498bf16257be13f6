//! `join`: fetch a snapshot from the peers of several organisations, prove it, put it into place.

use super::{
    args::{ConfigFlags, SnapshotArgs, TrustArgs},
    channel::{self, NetworkArgs},
    context::Context,
    exit::{Exit, Failure, exit_of},
    join_loader::{LoaderArgs, LoaderKind},
    output,
    serve::serve_limits,
    stop::Stop,
    transfer_view::{self, Style, plural},
};
use clap::Args;
use serde_json::json;
use snapferry::{
    bootstrap::{
        Dialling, JoinError, JoinRequest, Joined, LoadingError, Outcome, Records, ServeWhileJoining, SourceAddress,
        SourceTrouble, join, join_workers,
    },
    catalog::{AgreementError, Mode, Tally, TrustPolicy},
    chunking::{StoreError, plan::PlanConfig},
    disk::{Dir, OsDir},
    service::{
        Bundles, CONFIG_POLL, ConfigWatch, ConfigWatchSettings, ConfigWatcher, Given, LogLevel,
        config::{ChannelSettings, Config, Loaded},
        load_given,
        units::{format_bytes, parse_duration},
    },
    snapshot::{BlockNumber, CHUNK_BYTES, ChannelId, SnapshotId, read_metadata},
};
use std::{
    io::{self, IsTerminal as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Fetches a snapshot from several organisations at once, proves every byte, and publishes the folder
///
/// Takes the newest snapshot (or the one of -b) that enough organisations vouch for: each source is asked to sign, for this very
/// join, what it read and hashed itself, and those who signed alike must satisfy the rule (--policy; else peers of more than half of
/// the channel's organisations). Every chunk is proved before it is written; a source that lies is dropped by name. Ended or killed, the same command goes on where it was. The folder
/// DIR/CHANNEL/N appears only when every file's SHA-256, the content and the exact set of files are right; then
/// `peer channel joinbysnapshot --snapshotpath DIR/CHANNEL/N` takes it as it is, or --loader ledger puts it into a stopped peer's
/// databases at once. A receipt in the state folder says who vouched, under
/// which rule and configuration, and what came from whom; `snapferry verify --receipt` checks it offline.
#[derive(Debug, Args)]
pub(crate) struct Join {
    #[command(flatten)]
    snapshot: SnapshotArgs,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    trust: TrustArgs,
    /// Landing folder: the snapshot becomes DIR/CHANNEL/N, work under way lies in DIR/.snapferry [default with --loader:
    /// peer.landing.dir]
    #[arg(long, value_name = "DIR")]
    land: Option<PathBuf>,
    /// A snapshot's folder that is already here, however it came: nothing is fetched, but it must be what enough organisations vouch for.
    /// Without anybody to ask (--from), what they signed before must say so (--attestations)
    #[arg(long, value_name = "DIR", alias = "snapshotpath", conflicts_with_all = ["land", "serve"])]
    snapshot_path: Option<PathBuf>,
    #[command(flatten)]
    loader: LoaderArgs,
    /// Meanwhile serve what is proved to joiners of our own organisation, who name this address in their --from (off by default);
    /// nothing is attested, and it ends with the join
    #[arg(long, value_name = "IP:PORT")]
    serve: Option<SocketAddr>,
    /// Give up after this time, with what was fetched saved (exit code 6); e.g. 30m
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    deadline: Option<Duration>,
    #[command(flatten)]
    flags: ConfigFlags,
}

impl Join {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let mut flags = self.flags.by_key();
        flags.extend(self.trust.by_key());
        flags.extend(self.loader.by_key());
        let Loaded { config, .. } = context.configure(flags, LogLevel::Warn)?;
        let (mut request, _watcher) = self.request(context, &config)?;
        let wanted = request.block_number;
        request.loader = self.loader.loader(context, &config, &request)?;
        let observer = transfer_view::observer(style(context), "");
        let stop = Stop::default();
        // One thread drives QUIC; proofs, hashing and the disk have their own.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let joined = runtime.block_on(async { join(&request, &observer, stop.wait(self.deadline)).await });
        // Disk work that was told to stop may still read: the process doesn't wait for it.
        runtime.shutdown_background();
        drop(observer);
        let joined = match joined {
            Err(JoinError::Loading(done @ LoadingError::AlreadyJoined { .. })) => {
                return already_joined(context, &done, wanted);
            }
            joined => joined.map_err(|error| match error {
                JoinError::Stopped => Failure::new(stop.exit(), JoinError::Stopped),
                error => error.into(),
            })?,
        };
        match context.json() {
            true => output::print_json(&as_json(&joined))?,
            false => output::print(&as_text(&joined, self.loader.kind()))?,
        }
        settle(&request, &joined);
        Ok(())
    }

    fn request(&self, context: &Context, config: &Config) -> Result<(JoinRequest, Option<ConfigWatcher>), Failure> {
        let channel = channel::channel_id(&self.snapshot)?;
        let root = self.network.root.settings(config, &channel)?;
        let given = load_given(&channel, &root)?;
        let folder = self.snapshot_path.as_deref().map(|path| given_folder(path, &channel)).transpose()?;
        let wanted = Wanted {
            given: &given,
            root: &root,
            network: &self.network,
            trust: &self.trust,
            own_organisation: false,
            serve: self.serve.map(|listen| ServeWhileJoining { listen, limits: serve_limits(config) }),
        };
        let (request, watcher) = wanted.request(context, config, |state| match &folder {
            // Only for what sorting doesn't hold in memory.
            Some(_) => Ok(Arc::clone(state)),
            None => landing_folder(self.land.as_deref(), &self.loader, config),
        })?;
        let request = JoinRequest {
            sources: self.sources(config, folder.is_some())?,
            block_number: folder.as_ref().map(|(_, id)| id.block_number).or(self.snapshot.block_number),
            folder: folder.map(|(folder, _)| folder),
            ..request
        };
        Ok((request, watcher))
    }

    /// Whom to ask; a folder that is here needs nobody if statements are given.
    fn sources(&self, config: &Config, has_folder: bool) -> Result<Vec<SourceAddress>, Failure> {
        if has_folder && self.network.from.is_empty() && !self.trust.attestations.is_empty() {
            return Ok(Vec::new());
        }
        channel::sources(config, &self.network)
    }
}

/// One channel to be joined.
pub(super) struct Wanted<'a> {
    /// Its configuration.
    pub(super) given: &'a Given,
    /// Where newer ones may come from while the join runs.
    pub(super) root: &'a ChannelSettings,
    pub(super) network: &'a NetworkArgs,
    pub(super) trust: &'a TrustArgs,
    /// Whether a peer of our own organisation is believed, instead of whom the operator's rule names.
    pub(super) own_organisation: bool,
    pub(super) serve: Option<ServeWhileJoining>,
}

impl Wanted<'_> {
    /// The join, of the newest snapshot, from nobody yet, into no peer. `land` gives the landing folder, once all else is in order; it is
    /// told the state folder.
    pub(super) fn request(
        &self,
        context: &Context,
        config: &Config,
        land: impl Fn(&Arc<dyn Dir>) -> Result<Arc<dyn Dir>, Failure>,
    ) -> Result<(JoinRequest, Option<ConfigWatcher>), Failure> {
        let state = channel::folder(&channel::state_dir(context, config)?, 0o700)?;
        let bundles = Bundles::open(&*state)?;
        let judged = bundles.judge(self.given)?;
        let rooted = &judged.rooted;
        let dialling = channel::dialling(config, self.network, rooted)?;
        let land = land(&state)?;
        let mut plan = PlanConfig::default();
        plan.budget_chunks = u32::try_from(config.limits.memory_bytes / CHUNK_BYTES).unwrap_or(u32::MAX);
        let records = Records::open(&*state)?;
        let policy = match self.own_organisation {
            true => {
                let own = dialling.identity.identity.msp_id();
                TrustPolicy::own_organisation(own, &config.trust, &rooted.config)?
            }
            false => TrustPolicy::new(&config.trust, &rooted.config)?,
        };
        let trust = channel::trust_by(policy, config, self.trust, rooted.config.channel(), Some(&records))?;
        if !context.global.dry_run {
            bundles.note(&judged)?;
        }
        // The watcher notes what it puts in force.
        let watcher = if context.global.dry_run { None } else { follow(self.root, bundles, &dialling)? };
        let request = JoinRequest {
            sources: Vec::new(),
            dialling,
            block_number: None,
            trust,
            root: rooted.root,
            records,
            land,
            folder: None,
            loader: None,
            workers: join_workers(&plan)?,
            plan,
            accept_zstd: true,
            serve: self.serve,
            dry_run: context.global.dry_run,
        };
        Ok((request, watcher))
    }
}

/// The landing folder, made if it is missing.
pub(super) fn landing_folder(
    land: Option<&Path>,
    loader: &LoaderArgs,
    config: &Config,
) -> Result<Arc<dyn Dir>, Failure> {
    let configured = config.peer.landing_dir.as_deref().filter(|_| loader.kind().is_some());
    let land = land.or(configured).ok_or_else(|| {
        Failure::new(Exit::Usage, "where shall it land?").next("give --land DIR, or --loader and peer.landing.dir")
    })?;
    refuse_inside_root(land, config)?;
    // The peer is another process: it needs the whole path.
    channel::folder(&std::path::absolute(land)?, 0o755)
}

/// Its end was told.
pub(super) fn settle(request: &JoinRequest, joined: &Joined) {
    if let Some(loader) = request.loader.as_ref().filter(|_| joined.loaded.is_some()) {
        loader.settle(&joined.id.channel);
    }
}

/// The peer has what an earlier run told it to join, which is no help to whoever wants another block.
fn already_joined(context: &Context, done: &LoadingError, wanted: Option<BlockNumber>) -> Result<(), Failure> {
    let LoadingError::AlreadyJoined { id, .. } = done else { return output::print(&format!("{done}\n")) };
    if let Some(wanted) = wanted.filter(|wanted| *wanted != id.block_number) {
        return Err(Failure::new(Exit::Failed, format!("block {wanted} can't be joined by: {done}"))
            .next("leave the channel first (peer node unjoin), if it should be that block"));
    }
    match context.json() {
        true => output::print_json(&json!({
            "event": "result",
            "outcome": "already_in_the_peer",
            "channel": id.channel.as_str(),
            "block_number": id.block_number.0,
        })),
        false => output::print(&format!("{done}\n")),
    }
}

/// A folder that is here, and the snapshot that it says it is.
fn given_folder(path: &Path, channel: &ChannelId) -> Result<(Arc<dyn Dir>, SnapshotId), Failure> {
    // The peer goes by the path: a link that leads elsewhere by then must not take it to another folder.
    let path = &std::fs::canonicalize(path)
        .map_err(|error| Failure::new(Exit::Usage, format!("--snapshot-path {}: {error}", path.display())))?;
    let folder = OsDir::open(path)?;
    let id = read_metadata(&*folder)?.signable.id().clone();
    if id.channel != *channel {
        let what = format!("{} is a snapshot of channel {}, not of {channel}", path.display(), id.channel);
        return Err(Failure::new(Exit::Usage, what).next("name its channel with -c"));
    }
    Ok((folder, id))
}

/// Follows the file (or folder) for newer configurations: who is removed from the channel meanwhile neither vouches nor sends any more.
fn follow(root: &ChannelSettings, bundles: Bundles, dialling: &Dialling) -> Result<Option<ConfigWatcher>, Failure> {
    let Some(path) = &root.config_block else { return Ok(None) };
    let watch = ConfigWatch::new(ConfigWatchSettings {
        paths: [(dialling.channel.clone(), path.clone())].into(),
        channels: dialling.live.clone(),
        bundles,
        identity: Arc::clone(&dialling.identity),
        clock: Arc::clone(&dialling.clock),
        interval: CONFIG_POLL,
        age_max: None,
    });
    Ok(Some(watch.start()?))
}

/// A landing folder in the peer's own would be advertised as if the peer had made it.
fn refuse_inside_root(land: &Path, config: &Config) -> Result<(), Failure> {
    let Some(root) = config.snapshots_root.as_ref().and_then(|root| root.canonicalize().ok()) else { return Ok(()) };
    let mut place = std::path::absolute(land)?;
    while !place.exists() && place.pop() {}
    if place.canonicalize()?.starts_with(&root) {
        let what = format!("{} lies in the peer's own snapshots folder {}", land.display(), root.display());
        return Err(Failure::new(Exit::Usage, what).next("land elsewhere: what lies there counts as made by this peer"));
    }
    Ok(())
}

/// How progress is shown here.
pub(super) fn style(context: &Context) -> Style {
    match (context.json(), context.global.quiet, io::stderr().is_terminal()) {
        (true, ..) => Style::Json,
        (_, true, _) => Style::Quiet,
        (.., true) => Style::Bar,
        _ => Style::Lines,
    }
}

pub(super) fn as_json(joined: &Joined) -> serde_json::Value {
    json!({
        "event": "result",
        "outcome": match joined.outcome {
            Outcome::Landed => "landed",
            Outcome::AlreadyThere => "already_there",
            Outcome::DryRun => "dry_run",
        },
        "channel": joined.id.channel.as_str(),
        "block_number": joined.id.block_number.0,
        "snapshot_hash": joined.snapshot_hash.to_string(),
        "manifest_hash": joined.manifest_hash.to_string(),
        "organisations": joined.organisations,
        "policy": joined.policy,
        "mode": match joined.mode {
            Mode::Streaming => "streaming",
            Mode::Staged => "staged",
        },
        "receipt": joined.receipt,
        "total_bytes": joined.total_bytes,
        "reused_bytes": joined.reused_bytes,
        "shares": joined.shares,
        "path": joined.path,
        "seconds": joined.elapsed.as_secs_f64(),
        "load_seconds": joined.loaded.map(|loaded| loaded.as_secs_f64()),
    })
}

fn as_text(joined: &Joined, loader: Option<LoaderKind>) -> String {
    let size = format_bytes(joined.total_bytes);
    let orgs: Vec<&str> = joined.organisations.iter().map(String::as_str).collect();
    let orgs = orgs.join(" and ");
    let path = joined.path.display();
    match joined.outcome {
        Outcome::DryRun => format!(
            "{} would be fetched: {size}, vouched for by {orgs}, snapshot hash {}\n{}it would become {path}\n",
            joined.id,
            joined.snapshot_hash,
            rule(joined)
        ),
        Outcome::AlreadyThere => format!(
            "{} is already in place, vouched for by {orgs}, and every file was checked again: {path}\n{}{}",
            joined.id,
            receipt(joined),
            next_step(joined, loader)
        ),
        Outcome::Landed => format!(
            "{} is in place: {path}\n{size} in {:.1} s, vouched for by {orgs}; every chunk, every file's SHA-256, the content and \
             the exact set were checked\n{}{}{}{}",
            joined.id,
            joined.elapsed.as_secs_f64(),
            rule(joined),
            shares(joined),
            receipt(joined),
            next_step(joined, loader)
        ),
    }
}

/// Which rule they satisfy, and what counted before whole files did.
fn rule(joined: &Joined) -> String {
    let staged = match joined.mode {
        Mode::Streaming => "",
        Mode::Staged => "; nobody vouches for its manifest: chunks only told who sent what, whole files counted",
    };
    format!("  they satisfy {}{staged}\n", joined.policy)
}

fn receipt(joined: &Joined) -> String {
    joined.receipt.as_ref().map_or_else(String::new, |path| format!("receipt: {}\n", path.display()))
}

/// A line per source, and one for what an earlier run had fetched.
pub(super) fn shares(joined: &Joined) -> String {
    let mut text = String::new();
    for share in &joined.shares {
        text.push_str(&format!(
            "  {:>10} from {} ({}){}\n",
            format_bytes(share.verified_bytes),
            share.source,
            share.msp_id,
            match share.chunks_rejected {
                0 => String::new(),
                count => format!(", DROPPED: {count} chunk{} failed the proof", plural(count as usize)),
            }
        ));
    }
    if joined.reused_bytes > 0 {
        text.push_str(&format!("  {:>10} from an earlier run, proved again\n", format_bytes(joined.reused_bytes)));
    }
    text
}

fn next_step(joined: &Joined, loader: Option<LoaderKind>) -> String {
    let (id, seconds) = (&joined.id, joined.loaded.unwrap_or_default().as_secs_f64());
    if joined.loaded.is_some() && loader == Some(LoaderKind::Folder) {
        return format!(
            "the peer joined {} in {seconds:.1} s: it lists the channel, joined by block {}, whose hash is the agreed one\nlater blocks and \
             private data come by themselves; blocks and history up to {} never do\n",
            id.channel, id.block_number, id.block_number
        );
    }
    if joined.loaded.is_some() {
        return format!(
            "loaded into the peer's databases, {seconds:.1} s after it was in place\nnext: start the peer; it has {} up to block {}, and \
             fetches later blocks and private data by itself\n",
            id.channel, id.block_number
        );
    }
    format!("next: peer channel joinbysnapshot --snapshotpath {}\n", joined.path.display())
}

/// Whether it is our identity that they mind: whoever said nothing minds nothing.
fn all_refuse(troubles: &[SourceTrouble]) -> bool {
    !troubles.is_empty() && troubles.iter().all(|trouble| trouble.refused)
}

impl From<JoinError> for Failure {
    fn from(error: JoinError) -> Self {
        let exit = match &error {
            JoinError::NoSource { troubles }
            | JoinError::NotDelivered { troubles, .. }
            | JoinError::Withheld { troubles, .. }
                if all_refuse(troubles) =>
            {
                Exit::Refused
            }
            JoinError::NoSource { .. }
            | JoinError::NotDelivered { .. }
            | JoinError::Withheld { .. }
            | JoinError::NoLongerOffered { .. } => Exit::Unreachable,
            JoinError::Agreement { source, troubles, .. } => match &**source {
                AgreementError::Split { .. } => Exit::Verification,
                // Who may not ask learns nothing: that is no verdict on any snapshot.
                AgreementError::NotReached { tallies, .. }
                    if !tallies.iter().any(Tally::has_vouchers) && all_refuse(troubles) =>
                {
                    Exit::Refused
                }
                // Whoever can't be reached may decide it; a liar won't.
                _ if troubles.iter().any(|trouble| !trouble.dropped) => Exit::Unreachable,
                AgreementError::NothingOffered { .. } => Exit::Failed,
                _ => Exit::Verification,
            },
            // A disk that can't be read is no verdict on what lies there.
            JoinError::ExistsDifferently { source, .. } | JoinError::GivenFolder { source } => exit_of(source),
            JoinError::EverySourceDropped { .. }
            | JoinError::ExistsOther { .. }
            | JoinError::GivenOther { .. }
            | JoinError::Proof(_)
            | JoinError::CrossCheck(_)
            | JoinError::ChannelConfig(_)
            | JoinError::ConfigRollback { .. }
            | JoinError::NoLongerAgreed { .. }
            | JoinError::Metadata(_)
            | JoinError::Store(StoreError::NotExactSet(_) | StoreError::Altered { .. }) => Exit::Verification,
            JoinError::Dial(_) => Exit::Usage,
            _ => Exit::Failed,
        };
        if let JoinError::Loading(error) = error {
            return error.into();
        }
        Self::new(exit, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_identity_is_asked_for_only_where_somebody_minds_this_one() {
        let trouble =
            |refused| SourceTrouble { source: "a:1".to_owned(), reason: "no".to_owned(), refused, dropped: false };
        let exit = |refusals: &[bool]| {
            let troubles = refusals.iter().map(|refused| trouble(*refused)).collect();
            Failure::from(JoinError::NoSource { troubles }).exit
        };
        assert_eq!(exit(&[]), Exit::Unreachable);
        assert_eq!(exit(&[true, true]), Exit::Refused);
        assert_eq!(exit(&[true, false]), Exit::Unreachable);
    }
}
