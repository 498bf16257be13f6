//! Who downloads a snapshot, in words, and the wait of a deletion for them.

use super::{
    catalog::short,
    context::Context,
    exit::{Exit, Failure},
    snapshot::Service,
    stop::Stop,
    transfer_view::{duration, plural},
};
use serde_json::{Value, json};
use snapferry::{
    catalog::{HeldLease, PendingDeletion},
    service::control::Shown,
    snapshot::SnapshotId,
};
use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How often the service is asked how far the downloads are.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// Who is waited for is said at least so often.
const SAY_EVERY: Duration = Duration::from_secs(30);

/// Waits until the snapshot is deleted. Stopped, it leaves the deletion as it is.
pub(super) fn wait(context: &Context, service: &Service, id: &SnapshotId) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = Stop::default();
        let mut stopped = std::pin::pin!(stop.wait(None));
        let mut told = Told::default();
        loop {
            let shown = service.show(id).map_err(|failure| {
                failure.next("the deletion is kept, and goes on when the service runs; `snapferry snapshot show` says how far it is")
            })?;
            if shown.known.entry.only_metadata_available {
                return Ok(());
            }
            if shown.deletion.is_none() {
                let given_up = format!("snapshot {id} isn't deleted: its folder was changed or replaced meanwhile");
                return Err(Failure::new(Exit::Failed, given_up).next("the service's log says more; give the command again if it is still meant"));
            }
            told.say(context, &shown);
            tokio::select! {
                biased;
                () = &mut stopped => {
                    let waits = format!("no longer waiting; snapshot {id} will be deleted once nobody downloads it any more");
                    return Err(Failure::new(stop.exit(), waits)
                        .next("`snapferry snapshot show` says who does; `snapferry snapshot delete --force` gives them ten minutes"));
                }
                () = sleep(ASK_EVERY) => {}
            }
        }
    })
}

/// What was said last, and when.
#[derive(Default)]
struct Told {
    who: BTreeSet<String>,
    forced: bool,
    at: Option<Instant>,
}

impl Told {
    /// On standard error, when it is news.
    fn say(&mut self, context: &Context, shown: &Shown) {
        let who: BTreeSet<String> = shown.leases.iter().map(name).collect();
        let forced = shown.deletion.is_some_and(|deletion| deletion.forced_in.is_some());
        let recent = self.at.is_some_and(|at| at.elapsed() < SAY_EVERY);
        if context.global.quiet || (recent && self.who == who && self.forced == forced) {
            return;
        }
        *self = Self { who, forced, at: Some(Instant::now()) };
        let names: Vec<&str> = self.who.iter().map(String::as_str).collect();
        let (count, names) = (names.len(), names.join(", "));
        let most = shown
            .deletion
            .and_then(|deletion| deletion.forced_in)
            .map(|left| format!(", for {} at most", duration(left)));
        let line = format!("waiting for {count} download{}: {names}{}", plural(count), most.unwrap_or_default());
        let _ = writeln!(io::stderr(), "{line}"); // a lost line is no failure
    }
}

fn name(lease: &HeldLease) -> String {
    format!("{} (identity {})", lease.holder.msp_id, short(&lease.holder.identity_id))
}

/// A line of `snapshot show`.
pub(super) fn download(lease: &HeldLease) -> String {
    let (held, left) = (duration(lease.held), duration(lease.left));
    format!("{}: for {held}; its lease ends in {left} unless it is renewed", name(lease))
}

/// Another one.
pub(super) fn deletion(deletion: PendingDeletion, downloads: usize) -> String {
    let since = duration(deletion.waiting);
    match deletion.forced_in {
        _ if downloads == 0 => format!("commanded {since} ago, about to be done"),
        Some(left) => {
            format!("commanded {since} ago, done when the downloads are through, in {} at most", duration(left))
        }
        None => format!("commanded {since} ago, done when the downloads are through"),
    }
}

pub(super) fn lease_json(lease: &HeldLease) -> Value {
    json!({
        "organisation": lease.holder.msp_id.as_str(),
        "identity_id": lease.holder.identity_id.to_string(),
        "held_seconds": lease.held.as_secs(),
        "left_seconds": lease.left.as_secs(),
    })
}

pub(super) fn deletion_json(deletion: PendingDeletion) -> Value {
    json!({
        "waiting_seconds": deletion.waiting.as_secs(),
        "forced_in_seconds": deletion.forced_in.map(|left| left.as_secs()),
    })
}
