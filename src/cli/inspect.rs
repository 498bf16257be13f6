//! `inspect DIR`: what is in this snapshot folder? With `--ledger`: in this peer's ledger?

use super::{
    context::Context,
    exit::{Exit, Failure},
    inspect_ledger, output,
    progress::Progress,
    verify::folder_bytes,
};
use clap::Args;
use snapferry::{
    disk::OsDir,
    service::{LogLevel, units::format_bytes},
    snapshot::{ChannelId, CollectionDefinition, Inspection, inspect_folder_with},
};
use std::{fmt::Write as _, path::PathBuf};

/// Shows what a snapshot folder holds: hashes, keys per namespace and collection, collection configurations
///
/// Hashes are shown as the metadata state them; `snapferry verify` says whether they are right. With --ledger it shows a channel of a
/// stopped peer instead: height, hashes, the snapshot that it came from, keys per namespace and collection, missing private data.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The folder, e.g. completed/mychannel/83
    #[arg(required_unless_present = "ledger", conflicts_with = "ledger")]
    dir: Option<PathBuf>,
    /// A stopped peer's databases, or a copy: ledgersData in its peer.fileSystemPath. Nothing is changed there
    #[arg(long, value_name = "DIR", requires = "channel_id")]
    ledger: Option<PathBuf>,
    /// The channel, with --ledger
    #[arg(short, long, value_name = "CHANNEL", alias = "channelID", short_alias = 'C', requires = "ledger")]
    channel_id: Option<ChannelId>,
}

impl Inspect {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        context.start_logging(None, LogLevel::Warn);
        let dir = match (&self.dir, &self.ledger, &self.channel_id) {
            (_, Some(ledgers), Some(channel)) => return inspect_ledger::run(ledgers, channel, context),
            (Some(dir), ..) => OsDir::open(dir)?,
            _ => return Err(Failure::new(Exit::Usage, "name a folder, or --ledger DIR -c CHANNEL")),
        };
        let mut progress = Progress::start(context, "reading", folder_bytes(dir.as_ref())?);
        let inspection = inspect_folder_with(dir.as_ref(), &mut |bytes| progress.add(bytes));
        progress.finish();
        let inspection = inspection?;
        if context.json() { output::print_json(&inspection) } else { output::print(&text(&inspection)) }
    }
}

fn text(inspection: &Inspection) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        // Writing to a String can't fail.
        let _ = writeln!(out, "{text}");
    };
    let or_none = |text: &str| if text.is_empty() { "(none)".to_owned() } else { text.to_owned() };
    line(format!("channel              {}", inspection.channel));
    line(format!("last block           {}", inspection.block_number));
    line(format!("last block hash      {}", inspection.last_block_hash));
    line(format!("previous block hash  {}", or_none(&inspection.previous_block_hash)));
    line(format!("commit hash          {}", or_none(&inspection.last_block_commit_hash)));
    line(format!("snapshot hash        {}", inspection.snapshot_hash));
    line(format!("state database       {}", inspection.state_db_type));
    line(format!("transaction ids      {}", inspection.transaction_ids));
    line("files".to_owned());
    for file in &inspection.files {
        line(format!("  {:<28} {:>10}  {}", file.name, format_bytes(file.bytes), file.sha256));
    }
    line("public state".to_owned());
    for namespace in &inspection.public_state {
        let name = if namespace.namespace.is_empty() { "(channel configuration)" } else { &namespace.namespace };
        line(format!("  {name:<40} {:>10} keys {:>10}", namespace.keys, format_bytes(namespace.bytes)));
    }
    if !inspection.private_state_hashes.is_empty() {
        line("hashes of private state".to_owned());
    }
    for state in &inspection.private_state_hashes {
        let name = format!("{} {}", state.namespace, state.collection);
        line(format!("  {name:<40} {:>10} keys {:>10}", state.keys, format_bytes(state.bytes)));
    }
    if !inspection.collection_config_history.is_empty() {
        line("collection configurations".to_owned());
    }
    for entry in &inspection.collection_config_history {
        line(format!("  {} at block {}", entry.chaincode, entry.block_number));
        for collection in &entry.collections {
            line(format!("    {}", definition(collection)));
        }
    }
    out
}

fn definition(collection: &CollectionDefinition) -> String {
    let CollectionDefinition { name, members, block_to_live, .. } = collection;
    let life = if *block_to_live == 0 { "for ever".to_owned() } else { format!("{block_to_live} blocks") };
    format!("{name}: {}, kept {life}", members.join(", "))
}
