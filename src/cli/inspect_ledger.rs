//! `inspect --ledger DIR -c CHANNEL`: what is in this peer's ledger?

use super::{context::Context, exit::Failure, output};
use snapferry::{
    disk::OsDir,
    ledger::{LedgerInspection, LedgerView},
    service::units::format_bytes,
    snapshot::ChannelId,
};
use std::{fmt::Write as _, path::Path};

/// Reads the channel's databases through and prints what they hold.
pub(super) fn run(ledgers: &Path, channel: &ChannelId, context: &Context) -> Result<(), Failure> {
    let view = LedgerView::open(OsDir::open(ledgers)?, channel)?;
    let inspection = LedgerInspection::read(&view)?;
    view.finish()?;
    if context.json() { output::print_json(&inspection) } else { output::print(&text(&inspection)) }
}

fn text(ledger: &LedgerInspection) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        // Writing to a String can't fail.
        let _ = writeln!(out, "{text}");
    };
    let or_none = |text: &str| if text.is_empty() { "(none)".to_owned() } else { text.to_owned() };
    line(format!("channel              {}", ledger.channel));
    line(format!("status               {}", ledger.status));
    line(format!("height               {}", ledger.height));
    line(format!("current block hash   {}", or_none(&ledger.current_block_hash)));
    line(format!("previous block hash  {}", or_none(&ledger.previous_block_hash)));
    if let Some(boot) = &ledger.boot_snapshot {
        line(format!("from a snapshot at   block {}", boot.block_number));
        line(format!("  last block hash    {}", boot.last_block_hash));
        line(format!("  snapshot hash      {}", boot.snapshot_hash));
    }
    let Some(state) = &ledger.state else {
        line("state                (not in this folder: the peer keeps it in CouchDB)".to_owned());
        return out + &missing(ledger);
    };
    line(format!(
        "state up to block    {}",
        ledger.state_block.map_or_else(|| "(none)".to_owned(), |block| block.to_string())
    ));
    for (kind, title) in
        [("public", "public state"), ("hashes", "hashes of private state"), ("private", "private state")]
    {
        let mut of_kind = state.iter().filter(|namespace| namespace.kind == kind).peekable();
        if of_kind.peek().is_some() {
            line(title.to_owned());
        }
        for namespace in of_kind {
            let name = match (&namespace.collection, namespace.namespace.as_str()) {
                (Some(collection), name) => format!("{name} {collection}"),
                (None, "") => "(channel configuration)".to_owned(),
                (None, name) => name.to_owned(),
            };
            line(format!("  {name:<40} {:>10} keys {:>10}", namespace.keys, format_bytes(namespace.bytes)));
        }
    }
    out + &missing(ledger)
}

fn missing(ledger: &LedgerInspection) -> String {
    let mut out = String::new();
    if !ledger.missing_private_data.is_empty() {
        out += "missing private data, in transactions\n";
    }
    for collection in &ledger.missing_private_data {
        let name = format!("{} {}", collection.namespace, collection.collection);
        let (eligible, ineligible) = (collection.eligible_transactions, collection.ineligible_transactions);
        let _ = writeln!(out, "  {name:<40} {eligible:>10} to come {ineligible:>10} not for this organisation");
    }
    out
}
