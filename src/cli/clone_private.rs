//! Private data that a cloned peer doesn't have yet: how much is still to come, and the wait for it.
//!
//! Fabric's own reconciler fetches it once the peer runs. The peer's files are read while it works with them: nothing is locked or written
//! ([`LiveLedgers`]). What only other organisations may have never comes, and isn't counted.

use super::{
    context::Context,
    exit::Failure,
    join::style,
    stop::Stop,
    transfer_view::{Style, plural},
};
use serde::Serialize;
use serde_json::json;
use snapferry::{
    disk::OsDir,
    ledger::{LedgerError, LiveLedgers, MissingCollection},
    snapshot::ChannelId,
};
use std::{
    io::{self, Write as _},
    path::Path,
    pin::Pin,
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How often the peer's files are looked at: the reconciler works every minute unless told otherwise (fabric:
/// peer.gossip.pvtData.reconcileSleepInterval).
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// What is still missing is said at most so often, if it is news, ...
const SAY_NEWS_EVERY: Duration = Duration::from_secs(10);
/// ... and at least so often.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// Looks in a row that may fail: a peer that starts writes its files anew.
const FAILURES_MAX: u32 = 15;

/// Where a peer that has the channel keeps it.
pub(super) const WRONG_FOLDER: &str =
    "--wait-private-data reads the peer's own files: name the ledgersData in its peer.fileSystemPath";

/// What a channel lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Missing {
    pub(super) channel: String,
    /// Whose private data the peer may have, and doesn't.
    pub(super) transactions: u64,
    pub(super) collections: Vec<MissingCollection>,
}

/// Channels in a peer's databases.
pub(super) struct PrivateData {
    ledgers: Option<LiveLedgers>,
    channels: Vec<ChannelId>,
}

impl PrivateData {
    /// Of those channels in the databases in `ledger`; nothing is known without.
    pub(super) fn of(ledger: Option<&Path>, channels: Vec<ChannelId>) -> Result<Self, Failure> {
        let ledgers = match ledger.filter(|path| path.is_dir()) {
            Some(path) => Some(LiveLedgers::new(OsDir::open(&std::path::absolute(path)?)?)),
            None => None,
        };
        Ok(Self { ledgers, channels })
    }

    /// Whether there is anything to wait for.
    pub(super) const fn has_channels(&self) -> bool {
        !self.channels.is_empty()
    }

    /// What is missing at this moment; `None` if that isn't known.
    pub(super) fn missing_now(&self) -> Option<Vec<Missing>> {
        self.ledgers.as_ref()?;
        let looked = self.look();
        looked.inspect_err(|error| tracing::warn!(%error, "which private data are missing couldn't be read")).ok()
    }

    /// Waits until nothing is missing; what was missing last, and whether the wait was stopped.
    pub(super) async fn wait(
        &self,
        context: &Context,
        mut stopped: Pin<&mut (impl Future<Output = ()> + Send)>,
        stop: &Stop,
    ) -> Result<Vec<Missing>, (Failure, Option<Vec<Missing>>)> {
        let (mut failures, mut said, mut last) = (0, None, None);
        loop {
            match self.look() {
                Ok(missing) => {
                    failures = 0;
                    let transactions: u64 = missing.iter().map(|missing| missing.transactions).sum();
                    if transactions == 0 {
                        return Ok(missing);
                    }
                    say(context, &missing, transactions, &mut said);
                    last = Some(missing);
                }
                Err(error @ (LedgerError::NoChannel { .. } | LedgerError::NoStore { .. })) => {
                    return Err((Failure::from(error).next(WRONG_FOLDER), last));
                }
                Err(error) => {
                    failures += 1;
                    if failures > FAILURES_MAX {
                        return Err((error.into(), last));
                    }
                    tracing::info!(%error, "the peer's files can't be read now");
                }
            }
            tokio::select! {
                biased;
                () = &mut stopped => {
                    let what = "no longer waiting for private data: the peer goes on fetching them as long as it runs";
                    return Err((Failure::new(stop.exit(), what).next("the same command waits again"), last));
                }
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }

    fn look(&self) -> Result<Vec<Missing>, LedgerError> {
        let Some(ledgers) = &self.ledgers else { return Ok(Vec::new()) };
        let of = |channel: &ChannelId| {
            let mut collections = ledgers.missing_private_data(channel)?;
            collections.retain(|collection| collection.eligible_transactions > 0);
            let transactions = collections.iter().map(|collection| collection.eligible_transactions).sum();
            Ok(Missing { channel: channel.to_string(), transactions, collections })
        };
        self.channels.iter().map(of).collect()
    }
}

/// What is still missing, if it is news or was long not said.
fn say(context: &Context, missing: &[Missing], transactions: u64, said: &mut Option<(Instant, u64)>) {
    let is_news = said.is_none_or(|(_, before)| before != transactions);
    let due = if is_news { SAY_NEWS_EVERY } else { SAY_EVERY };
    if said.is_some_and(|(at, _)| at.elapsed() < due) {
        return;
    }
    *said = Some((Instant::now(), transactions));
    let hint = match is_news {
        true => "",
        false => {
            "; none came for a minute: where the peer's log says `Failed to reconcile pvtdata`, nobody has them whole"
        }
    };
    // A line that is lost is no failure.
    let _ = match style(context) {
        Style::Quiet => Ok(()),
        Style::Json => writeln!(io::stdout(), "{}", json!({ "event": "private_data", "channels": missing })),
        Style::Bar | Style::Lines => {
            let of_channel = |missing: &Missing| {
                let collection = |collection: &MissingCollection| {
                    let MissingCollection { namespace, collection, eligible_transactions, .. } = collection;
                    format!("{namespace} {collection} {eligible_transactions}")
                };
                let collections: Vec<_> = missing.collections.iter().map(collection).collect();
                format!("{} ({})", missing.channel, collections.join(", "))
            };
            let incomplete = missing.iter().filter(|missing| missing.transactions > 0);
            let channels: Vec<_> = incomplete.map(of_channel).collect();
            let count = amount(transactions);
            writeln!(
                io::stderr(),
                "waiting for private data of {count}, which come as the peer runs: {}{hint}",
                channels.join("; ")
            )
        }
    };
}

/// `1 transaction`.
pub(super) fn amount(transactions: u64) -> String {
    format!("{transactions} transaction{}", plural(usize::try_from(transactions).unwrap_or(usize::MAX)))
}
