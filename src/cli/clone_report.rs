//! How a clone ended, channel by channel: table, JSON, exit code.

use super::{
    catalog::table,
    clone_private::{Missing, amount},
    context::Context,
    exit::{Exit, Failure},
    join,
    join_loader::LoaderKind,
    output,
    stop::Stop,
};
use serde_json::{Value, json};
use snapferry::{
    bootstrap::{Joined, Outcome},
    service::units::format_bytes,
    snapshot::ChannelId,
};

/// How it ended for one channel.
pub(super) enum Ended {
    Cloned(Box<Joined>),
    /// The peer has it.
    Already,
    /// The peer has what an earlier run told it to join.
    Proved,
    /// --dry-run: it would be fetched.
    WouldClone(Box<Joined>),
    /// --dry-run: a snapshot would be requested first.
    WouldRequest,
    Failed(Failure),
    /// The command was stopped before.
    NotBegun,
}

/// All channels until now.
pub(super) struct Report {
    loader: Option<LoaderKind>,
    rows: Vec<(ChannelId, Ended)>,
}

impl Report {
    pub(super) const fn new(loader: Option<LoaderKind>) -> Self {
        Self { loader, rows: Vec::new() }
    }

    /// Takes one more channel; who reads JSON is told at once.
    pub(super) fn add(&mut self, context: &Context, channel: &ChannelId, ended: Ended) -> Result<(), Failure> {
        if context.json() {
            output::print_json(&as_json(channel, &ended, "channel_result"))?;
        }
        self.rows.push((channel.clone(), ended));
        Ok(())
    }

    /// The channels that the peer has now.
    pub(super) fn in_the_peer(&self) -> Vec<ChannelId> {
        let has = |ended: &Ended| match ended {
            Ended::Cloned(joined) => joined.loaded.is_some(),
            Ended::Already | Ended::Proved => true,
            _ => false,
        };
        self.rows.iter().filter(|(_, ended)| has(ended)).map(|(channel, _)| channel.clone()).collect()
    }

    /// The table, before something else is waited for.
    pub(super) fn show(&self, context: &Context) -> Result<(), Failure> {
        if context.json() { Ok(()) } else { output::print(&self.table(&[])) }
    }

    /// Prints all, and ends the command.
    pub(super) fn finish(&self, context: &Context, stop: &Stop, missing: Option<Vec<Missing>>) -> Result<(), Failure> {
        if context.json() {
            output::print_json(&self.result(missing.as_deref()))?;
        } else {
            output::print(&self.table(&missing.unwrap_or_default()))?;
        }
        self.exit(stop)
    }

    /// After the wait for private data; the table was shown before it.
    pub(super) fn finish_waited(
        &self,
        context: &Context,
        stop: &Stop,
        waited: Result<Vec<Missing>, (Failure, Option<Vec<Missing>>)>,
    ) -> Result<(), Failure> {
        let (failure, missing) = match waited {
            Ok(missing) => (None, Some(missing)),
            Err((failure, missing)) => (Some(failure), missing),
        };
        let left = missing.as_ref().map(|missing| missing.iter().map(|missing| missing.transactions).sum());
        match (context.json(), left) {
            (true, _) => output::print_json(&self.result(missing.as_deref()))?,
            (false, Some(0)) if failure.is_none() => {
                output::print("no private data that this peer may have are missing any more\n")?;
            }
            (false, Some(left)) => output::print(&format!("private data of {} are still missing\n", amount(left)))?,
            (false, None) => output::print("which private data are missing isn't known\n")?,
        }
        match failure {
            Some(failure) if !self.is_alarm() => Err(failure),
            _ => self.exit(stop),
        }
    }

    /// Whether verification failed for one: whatever else happened, such a command must not be run again blindly.
    fn is_alarm(&self) -> bool {
        let alarms = |ended: &Ended| matches!(ended, Ended::Failed(failure) if failure.exit == Exit::Verification);
        self.rows.iter().any(|(_, ended)| alarms(ended))
    }

    /// `missing`: `null` if it isn't known.
    fn result(&self, missing: Option<&[Missing]>) -> Value {
        let channels: Vec<Value> = self.rows.iter().map(|(channel, ended)| as_json(channel, ended, "result")).collect();
        json!({ "event": "result", "channels": channels, "missing_private_data": missing })
    }

    fn table(&self, missing: &[Missing]) -> String {
        let row = |(channel, ended): &(ChannelId, Ended)| {
            let missing =
                missing.iter().find(|missing| missing.channel == channel.as_str() && missing.transactions > 0);
            let missing = missing.map(|missing| format!("; private data of {} to come", amount(missing.transactions)));
            vec![channel.to_string(), format!("{}{}", self.words(ended), missing.unwrap_or_default())]
        };
        table(&self.rows.iter().map(row).collect::<Vec<_>>()) + self.next_step()
    }

    fn words(&self, ended: &Ended) -> String {
        match ended {
            Ended::Cloned(joined) if joined.outcome == Outcome::AlreadyThere && joined.loaded.is_none() => {
                format!(
                    "block {}: in {} already, every file was checked again",
                    joined.id.block_number,
                    joined.path.display()
                )
            }
            Ended::Cloned(joined) => {
                let (block, size) = (joined.id.block_number, format_bytes(joined.total_bytes));
                let place = match (joined.loaded, self.loader) {
                    (Some(_), Some(LoaderKind::Ledger)) => "in the peer's databases".to_owned(),
                    (Some(_), _) => "joined by the peer".to_owned(),
                    (None, _) => format!("in {}", joined.path.display()),
                };
                format!("block {block}, {size} in {:.1} s: {place}", joined.elapsed.as_secs_f64())
            }
            Ended::Already => "there already".to_owned(),
            Ended::Proved => "there already, as an earlier run told the peer to: its hash is the agreed one".to_owned(),
            Ended::WouldClone(joined) => {
                format!("block {}, {}: would be fetched", joined.id.block_number, format_bytes(joined.total_bytes))
            }
            Ended::WouldRequest => "a snapshot of now would be requested of the source's peer".to_owned(),
            Ended::Failed(failure) => format!("FAILED: {failure}"),
            Ended::NotBegun => "not begun".to_owned(),
        }
    }

    /// What the operator does with what was cloned just now.
    fn next_step(&self) -> &'static str {
        let cloned = self.rows.iter().any(|(_, ended)| matches!(ended, Ended::Cloned(_)));
        match self.loader.filter(|_| cloned) {
            Some(LoaderKind::Ledger) => {
                "next: start the peer: it fetches later blocks, and private data (--wait-private-data), by itself\n"
            }
            Some(LoaderKind::Folder) => "later blocks and private data come by themselves\n",
            None if cloned => "next: peer channel joinbysnapshot --snapshotpath FOLDER, one after the other\n",
            None => "",
        }
    }

    /// What a script is told: whether all is done, and else whether running it again may help.
    fn exit(&self, stop: &Stop) -> Result<(), Failure> {
        let failed = |row: &(ChannelId, Ended)| match &row.1 {
            Ended::Failed(failure) => Some((failure.exit, format!("{}: {failure}", row.0))),
            _ => None,
        };
        let failures: Vec<(Exit, String)> = self.rows.iter().filter_map(failed).collect();
        if stop.is_stopped() && !self.is_alarm() {
            let what = "stopped; what was fetched is kept: run the same command again to go on";
            return Err(Failure::new(stop.exit(), what));
        }
        let Some((first, _)) = failures.first() else { return Ok(()) };
        let exits = || failures.iter().map(|(exit, _)| *exit);
        let exit = if self.is_alarm() {
            Exit::Verification
        } else if failures.len() < self.rows.len() {
            Exit::Partial
        } else if exits().all(|exit| exit == *first) {
            *first
        } else {
            Exit::Failed
        };
        let texts: Vec<&str> = failures.iter().map(|(_, text)| text.as_str()).collect();
        let what =
            format!("{} of {} channels could not be cloned: {}", failures.len(), self.rows.len(), texts.join("; "));
        Err(Failure::new(exit, what))
    }
}

fn as_json(channel: &ChannelId, ended: &Ended, event: &str) -> Value {
    let mut value = match ended {
        Ended::Cloned(joined) | Ended::WouldClone(joined) => join::as_json(joined),
        Ended::Already => json!({ "outcome": "already_in_the_peer" }),
        Ended::Proved => json!({ "outcome": "already_in_the_peer", "proved": true }),
        Ended::WouldRequest => json!({ "outcome": "would_request_snapshot" }),
        Ended::Failed(failure) => {
            json!({ "outcome": "failed", "reason": failure.to_string(), "exit_code": failure.exit as u8 })
        }
        Ended::NotBegun => json!({ "outcome": "not_begun" }),
    };
    if let Value::Object(fields) = &mut value {
        fields.insert("channel".to_owned(), json!(channel.as_str()));
        // In the list of all, it is none of its own.
        match event {
            "result" => fields.remove("event"),
            event => fields.insert("event".to_owned(), json!(event)),
        };
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_whether_running_it_again_may_help() {
        let exit = |failures: &[Exit], there: bool| {
            let mut report = Report::new(None);
            let failed = failures.iter().map(|exit| Ended::Failed(Failure::new(*exit, "no")));
            let rows = failed.chain(there.then_some(Ended::Already));
            report.rows = rows.map(|ended| ("mychannel".parse().unwrap(), ended)).collect();
            report.exit(&Stop::default()).map_or_else(|failure| failure.exit, |()| Exit::Done)
        };
        assert_eq!(exit(&[], true), Exit::Done);
        assert_eq!(exit(&[Exit::Unreachable], true), Exit::Partial);
        assert_eq!(exit(&[Exit::Unreachable, Exit::Unreachable], false), Exit::Unreachable);
        assert_eq!(exit(&[Exit::Unreachable, Exit::Usage], false), Exit::Failed);
        // Whatever became of the others.
        assert_eq!(exit(&[Exit::Unreachable, Exit::Verification], true), Exit::Verification);
    }

    #[test]
    fn an_alarm_outlives_whatever_ends_the_command() {
        let ended = |exits: &[Exit]| {
            let mut report = Report::new(None);
            let failed = |exit: &Exit| ("mychannel".parse().unwrap(), Ended::Failed(Failure::new(*exit, "no")));
            report.rows = exits.iter().map(failed).collect();
            let stop = Stop::default();
            stop.because(Exit::Partial);
            report.exit(&stop).unwrap_err().exit
        };
        assert_eq!(ended(&[Exit::Unreachable]), Exit::Partial);
        assert_eq!(ended(&[Exit::Verification, Exit::Unreachable]), Exit::Verification);
    }
}
