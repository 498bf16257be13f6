//! `catalog bans | unban`: who isn't asked any more because it lied, and forgiving it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value, json};
use snapferry::{
    bootstrap::Records,
    catalog::Ban,
    service::{LogLevel, config::Loaded},
};

use super::{
    args::ConfigFlags,
    catalog::{short, table},
    channel,
    context::Context,
    exit::{Exit, Failure},
    output,
};

/// Fewest digits that name an identity: as many as the list shows.
const PREFIX_MIN: usize = 8;

#[derive(Debug, Args)]
pub(super) struct BansCommand {
    #[command(flatten)]
    flags: ConfigFlags,
}

#[derive(Debug, Args)]
pub(super) struct UnbanCommand {
    /// The identity's id, or its first digits (at least 8), as `catalog bans` shows it
    #[arg(value_name = "IDENTITY")]
    identity: String,
    #[command(flatten)]
    flags: ConfigFlags,
}

impl BansCommand {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let now = (channel::wall_clock())();
        let bans = match records(context, &self.flags)? {
            Some(records) => records.bans(now)?,
            None => Vec::new(),
        };
        if context.json() {
            return output::print_json(&json!({ "bans": bans.iter().map(as_json).collect::<Vec<_>>() }));
        }
        if bans.is_empty() {
            return output::print("Nobody is banned.\n");
        }
        let head = ["IDENTITY", "ORGANISATION", "STILL BANNED FOR", "WHAT IT DID"].map(str::to_owned).to_vec();
        let row = |ban: &Ban| {
            let left = left(ban.until().duration_since(now).unwrap_or_default());
            vec![short(&ban.identity_id), ban.msp_id.to_string(), left, ban.reason.clone()]
        };
        let rows: Vec<Vec<String>> = [head].into_iter().chain(bans.iter().map(row)).collect();
        output::print(&table(&rows))
    }
}

impl UnbanCommand {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let prefix = self.identity.to_lowercase();
        if prefix.len() < PREFIX_MIN || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let what = format!("{} is no identity: at least {PREFIX_MIN} hexadecimal digits are", self.identity);
            return Err(Failure::new(Exit::Usage, what).next("see `snapferry catalog bans`"));
        }
        let records = records(context, &self.flags)?;
        let bans =
            records.as_ref().map(|records| records.bans((channel::wall_clock())())).transpose()?.unwrap_or_default();
        let named: Vec<&Ban> = bans.iter().filter(|ban| ban.identity_id.to_string().starts_with(&prefix)).collect();
        let (Some(records), [ban]) = (records, named.as_slice()) else {
            let what = match named.len() {
                0 => format!("no banned identity begins with {prefix}"),
                count => format!("{count} banned identities begin with {prefix}: give more digits"),
            };
            return Err(Failure::new(Exit::Usage, what).next("see `snapferry catalog bans`"));
        };
        if !context.global.dry_run {
            records.unban(&ban.identity_id)?;
        }
        if context.json() {
            return output::print_json(&json!({ "unbanned": as_json(ban), "dryRun": context.global.dry_run }));
        }
        let would = if context.global.dry_run { "would be asked" } else { "is asked" };
        output::print(&format!("{} of {} {would} again by the next join.\n", ban.identity_id, ban.msp_id))
    }
}

/// Those of the state folder, if there is one: nothing is made just to look.
fn records(context: &Context, flags: &ConfigFlags) -> Result<Option<Records>, Failure> {
    let Loaded { config, .. } = context.configure(flags.by_key(), LogLevel::Warn)?;
    let state = channel::state_dir(context, &config)?;
    if !state.is_dir() {
        return Ok(None);
    }
    Ok(Some(Records::open(&*channel::folder(&state, 0o700)?)?))
}

fn left(time: Duration) -> String {
    let minutes = time.as_secs().div_ceil(60);
    if minutes < 60 { format!("{minutes} min") } else { format!("{} h {} min", minutes / 60, minutes % 60) }
}

fn as_json(ban: &Ban) -> Value {
    let unix = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    json!({
        "identityId": ban.identity_id.to_string(),
        "mspId": ban.msp_id.to_string(),
        "reason": ban.reason,
        "sinceUnixS": unix(ban.since),
        "untilUnixS": unix(ban.until()),
    })
}
