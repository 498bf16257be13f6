//! `clone`: a new peer of our own organisation gets all channels that another one has.
//!
//! Decides the order: channels one after the other, each as a `join` does it, and none stands in another's way. Which channels, and by
//! which configuration: [`super::clone_channels`]; from which snapshot: [`super::clone_snapshot`]; what follows by itself:
//! [`super::clone_private`].

use super::{
    args::{ConfigFlags, TrustArgs},
    channel::{self, NetworkArgs},
    clone_channels::Channels,
    clone_private::{PrivateData, WRONG_FOLDER},
    clone_report::{Ended, Report},
    clone_snapshot::{Snapshot, SnapshotAgeArgs},
    clone_source::{SourcePeer, SourcePeerArgs},
    context::Context,
    exit::{Exit, Failure},
    join::{Wanted, landing_folder, settle, style},
    join_loader::{LoaderArgs, LoaderKind},
    stop::Stop,
    transfer_view::{self, Style},
};
use clap::Args;
use serde_json::json;
use snapferry::{
    bootstrap::{JoinError, JoinRequest, Outcome, join, was_told},
    service::{
        LogLevel,
        config::{Config, Loaded},
        units::parse_duration,
    },
    snapshot::ChannelId,
};
use std::{
    io::{self, Write as _},
    path::PathBuf,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

/// Joins all channels of another peer of our own organisation, or those named
///
/// A peer of our own organisation is believed by itself here, whatever trust: says, and nobody else is: a source of another organisation
/// is refused (`snapferry join` takes several). Of each channel the newest snapshot is taken; it is fetched, proved and put into the peer
/// as by `snapferry join`. The new peer keeps its own identity: nothing of the other's MSP folder or private data is copied. Private data
/// follow by Fabric's own reconciler once the peer runs; --wait-private-data waits for them.
///
/// Which channels there are, and each one's configuration block, are asked of --source-peer-address if that is given: it is known by the
/// CA of its TLS certificate, which is what they are believed by. Else channels and blocks are those of -c, --config-block and channels: in
/// the configuration.
///
/// A channel that fails stops none of the others. The same command goes on: channels that are there already are passed over. Exits with 6
/// if only some could be cloned, and with 3 if verification failed for one.
#[derive(Debug, Args)]
pub(crate) struct CloneCommand {
    /// Channels, separated by commas [default: all of the source's peer; else all in channels: or in --config-block]
    #[arg(short, long, value_name = "CHANNEL", value_delimiter = ',', alias = "channelID", short_alias = 'C')]
    channel_id: Vec<ChannelId>,
    #[command(flatten)]
    network: NetworkArgs,
    /// Landing folder: snapshots become DIR/CHANNEL/N, work under way lies in DIR/.snapferry [default with --loader: peer.landing.dir]
    #[arg(long, value_name = "DIR")]
    land: Option<PathBuf>,
    #[command(flatten)]
    loader: LoaderArgs,
    #[command(flatten)]
    source_peer: SourcePeerArgs,
    #[command(flatten)]
    age: SnapshotAgeArgs,
    /// Takes a snapshot below the floor, too: older than the configuration block, than what this peer once had, or than trust.minBlock
    #[arg(long)]
    allow_older: bool,
    /// Then wait until no private data that this peer may have is missing; it must be started meanwhile, and may run. Its files in --ledger
    /// are only read
    #[arg(long, requires = "ledger")]
    wait_private_data: bool,
    /// Give up after this time, with what was fetched saved (exit code 6); e.g. 30m
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    deadline: Option<Duration>,
    #[command(flatten)]
    flags: ConfigFlags,
}

/// What all channels are cloned with.
struct Means<'a> {
    context: &'a Context,
    config: &'a Config,
    channels: Channels<'a>,
    source_peer: Option<&'a SourcePeer>,
    stop: &'a Stop,
}

impl CloneCommand {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let mut flags = self.flags.by_key();
        flags.extend(self.loader.by_key());
        let Loaded { config, .. } = context.configure(flags, LogLevel::Warn)?;
        if self.flags.min_orgs.is_some_and(|count| count > 1) {
            let what = "a clone believes our own organisation alone, not --min-orgs of them";
            return Err(Failure::new(Exit::Usage, what).next("`snapferry join` takes a rule"));
        }
        // One thread drives QUIC; proofs, hashing and the disk have their own.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ended = runtime.block_on(self.clone_all(context, &config));
        // Disk work that was told to stop may still read: the process doesn't wait for it.
        runtime.shutdown_background();
        ended
    }

    /// Who looks into the wrong folder sees nothing missing.
    fn refuse_vain_wait(&self) -> Result<(), Failure> {
        let is_made = self.loader.kind() == Some(LoaderKind::Ledger);
        match self.loader.ledger().filter(|path| self.wait_private_data && !is_made && !path.is_dir()) {
            Some(path) => {
                Err(Failure::new(Exit::Usage, format!("--ledger: {} is no folder", path.display())).next(WRONG_FOLDER))
            }
            None => Ok(()),
        }
    }

    async fn clone_all(&self, context: &Context, config: &Config) -> Result<(), Failure> {
        self.refuse_vain_wait()?;
        let stop = Stop::default();
        let mut stopped = pin!(stop.wait(self.deadline));
        let identity = Arc::new(channel::identity(config)?.0);
        let preparing = async {
            let source_peer = self.source_peer.connect(&self.loader, &identity, config).await?;
            let channels = Channels { network: &self.network, config, identity: &identity };
            let list = channels.list(&self.channel_id, source_peer.as_ref())?;
            let there = channels.in_the_peer(&self.loader).await?;
            Ok::<_, Failure>((source_peer, channels, list, there))
        };
        let (source_peer, channels, list, there) = until(stopped.as_mut(), &stop, preparing).await?;
        let means = Means { context, config, channels, source_peer: source_peer.as_ref(), stop: &stop };
        let mut report = Report::new(self.loader.kind());
        for (number, channel) in list.iter().enumerate() {
            let ended = if stop.is_stopped() {
                Ended::NotBegun
            } else if there.has(channel) && !self.is_open(channel, config) {
                Ended::Already
            } else {
                begin(context, channel, number + 1, list.len());
                match self.one(&means, channel, there.has(channel), stopped.as_mut()).await {
                    Ok(ended) => ended,
                    Err(failure) if failure.exit == Exit::Done => Ended::Proved,
                    Err(failure) => Ended::Failed(failure),
                }
            };
            report.add(context, channel, ended)?;
        }
        let private = PrivateData::of(self.loader.ledger(), report.in_the_peer())?;
        let waits = self.wait_private_data && private.has_channels();
        if !waits || stop.is_stopped() || context.global.dry_run {
            return report.finish(context, &stop, private.missing_now());
        }
        // What is to be done before the wait can end is said before it begins.
        report.show(context)?;
        let waited = private.wait(context, stopped, &stop).await;
        report.finish_waited(context, &stop, waited)
    }

    /// Whether an earlier run told the peer to join, and nobody knows what became of it.
    fn is_open(&self, channel: &ChannelId, config: &Config) -> bool {
        let is_told = || -> Result<bool, Failure> {
            let land = landing_folder(self.land.as_deref(), &self.loader, config)?;
            Ok(was_told(&*land, channel, &self.loader.connection(config)?.address)?)
        };
        self.loader.kind() == Some(LoaderKind::Folder) && is_told().unwrap_or(false)
    }

    /// One channel, as a join of the newest snapshot that our organisation has. If it `is_there`, only what the peer was told is looked at.
    async fn one(
        &self,
        means: &Means<'_>,
        channel: &ChannelId,
        is_there: bool,
        mut stopped: Pin<&mut (impl Future<Output = ()> + Send)>,
    ) -> Result<Ended, Failure> {
        let Means { context, config, channels, source_peer, stop } = means;
        let preparing = async {
            let (root, given) = channels.configuration(channel, *source_peer).await?;
            let trust = TrustArgs { allow_older: self.allow_older, ..TrustArgs::default() };
            let wanted = Wanted {
                given: &given,
                root: &root,
                network: &self.network,
                trust: &trust,
                own_organisation: true,
                serve: None,
            };
            let (request, watcher) =
                wanted.request(context, config, |_| landing_folder(self.land.as_deref(), &self.loader, config))?;
            let request = JoinRequest { sources: channel::sources(config, &self.network)?, ..request };
            let loader = self.loader.loader(context, config, &request)?;
            let snapshot = match is_there {
                true => Snapshot::Offered,
                false => self.age.newest(context, &request, *source_peer).await?,
            };
            Ok((JoinRequest { loader, ..request }, watcher, snapshot))
        };
        let (request, _watcher, snapshot) = until(stopped.as_mut(), stop, preparing).await?;
        if snapshot == Snapshot::WouldBeRequested {
            return Ok(Ended::WouldRequest);
        }
        let observer = transfer_view::observer(style(context), "  ");
        match join(&request, &observer, stopped).await {
            Ok(joined) if joined.outcome == Outcome::DryRun => Ok(Ended::WouldClone(Box::new(joined))),
            Ok(joined) => {
                // A channel that is there is passed over by the next one anyway.
                settle(&request, &joined);
                Ok(Ended::Cloned(Box::new(joined)))
            }
            Err(JoinError::Stopped) => Err(Failure::new(stop.exit(), JoinError::Stopped)),
            Err(error) => Err(error.into()),
        }
    }
}

/// That work's result, unless the command is stopped first.
async fn until<T>(
    stopped: Pin<&mut (impl Future<Output = ()> + Send)>,
    stop: &Stop,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        () = stopped => Err(Failure::new(stop.exit(), JoinError::Stopped)),
        done = work => done,
    }
}

/// Which channel the lines or events to come are about.
fn begin(context: &Context, channel: &ChannelId, number: usize, of: usize) {
    // A line that is lost is no failure; a closed pipe ends the command where the result is written.
    let _ = match style(context) {
        Style::Quiet => Ok(()),
        Style::Json => {
            writeln!(
                io::stdout(),
                "{}",
                json!({ "event": "channel", "channel": channel.as_str(), "number": number, "of": of })
            )
        }
        Style::Bar | Style::Lines => writeln!(io::stderr(), "{channel} ({number} of {of})"),
    };
}
