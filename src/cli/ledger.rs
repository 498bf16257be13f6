//! `ledger get | scan`: single keys of a stopped peer's state.

use super::{
    context::Context,
    exit::{Exit, Failure},
    output,
};
use clap::{Args, Subcommand};
use serde::Serialize;
use snapferry::{
    disk::OsDir,
    ledger::{LedgerView, StateValue},
    service::LogLevel,
    snapshot::ChannelId,
};
use std::{
    io::{self, BufWriter, Write as _},
    path::PathBuf,
};

/// Looks up keys in the state of a stopped peer, without a peer; nothing is changed
///
/// Keys and values are printed as they are if they are printable text, else as 0x and hexadecimal digits. Hashes of private data are in the
/// namespace CHAINCODE$$hCOLLECTION, private data in CHAINCODE$$pCOLLECTION.
#[derive(Debug, Args)]
pub(crate) struct LedgerCommand {
    #[command(subcommand)]
    command: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// Shows the value of one key
    Get {
        #[command(flatten)]
        place: Place,
        /// The key
        key: String,
    },
    /// Shows the keys of a range, their versions (block and transaction) and values, ascending by the bytes of the keys
    Scan {
        #[command(flatten)]
        place: Place,
        /// The first key; left out: the namespace's first
        key: Option<String>,
        /// The key before which the range ends; left out: the namespace's last is in it
        end: Option<String>,
    },
}

/// Which part of which state.
#[derive(Debug, Args)]
struct Place {
    /// A stopped peer's databases, or a copy: ledgersData in its peer.fileSystemPath
    #[arg(long, value_name = "DIR")]
    ledger: PathBuf,
    /// Channel
    #[arg(short, long, value_name = "CHANNEL", alias = "channelID", short_alias = 'C')]
    channel_id: ChannelId,
    /// Keys are given as hexadecimal digits
    #[arg(long)]
    hex: bool,
    /// The chaincode; "" holds the channel's configuration
    namespace: String,
}

impl Place {
    fn open(&self) -> Result<LedgerView, Failure> {
        Ok(LedgerView::open(OsDir::open(&self.ledger)?, &self.channel_id)?)
    }

    fn key(&self, key: &str) -> Result<Vec<u8>, Failure> {
        if !self.hex {
            return Ok(key.as_bytes().to_vec());
        }
        hex::decode(key)
            .map_err(|error| Failure::new(Exit::Usage, format!("{key:?} are no hexadecimal digits: {error}")))
    }
}

impl LedgerCommand {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        context.start_logging(None, LogLevel::Warn);
        match &self.command {
            Which::Get { place, key } => get(place, key, context),
            Which::Scan { place, key, end } => scan(place, key.as_deref(), end.as_deref(), context),
        }
    }
}

fn get(place: &Place, key: &str, context: &Context) -> Result<(), Failure> {
    let view = place.open()?;
    let found = view.get(&place.namespace, &place.key(key)?)?;
    view.finish()?;
    let Some(found) = found else {
        return Err(Failure::new(Exit::Failed, format!("{key:?} has no value in namespace {:?}", place.namespace)));
    };
    if context.json() {
        output::print_json(&Line::of(&found))
    } else {
        output::print(&format!("{}\n", readable(&found.value)))
    }
}

fn scan(place: &Place, start: Option<&str>, end: Option<&str>, context: &Context) -> Result<(), Failure> {
    let view = place.open()?;
    let start = start.map_or_else(|| Ok(Vec::new()), |key| place.key(key))?;
    let end = end.map(|key| place.key(key)).transpose()?;
    let mut out = BufWriter::new(io::stdout().lock());
    view.scan(&place.namespace, &start, end.as_deref(), &mut |found| -> Result<(), Failure> {
        if context.json() {
            serde_json::to_writer(&mut out, &Line::of(&found)).map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            let StateValue { key, value, version, .. } = &found;
            let (block, transaction) = (version.block_number, version.tx_number);
            writeln!(out, "{}\t{block}:{transaction}\t{}", readable(key), readable(value))?;
        }
        Ok(())
    })?;
    out.flush()?;
    Ok(view.finish()?)
}

/// One key in JSON: text where the bytes are UTF-8, else hexadecimal digits.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    key: Key<'a>,
    #[serde(flatten)]
    value: Value<'a>,
    block_number: u64,
    tx_number: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    metadata_hex: String,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Key<'a> {
    Key(&'a str),
    KeyHex(String),
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Value<'a> {
    Value(&'a str),
    ValueHex(String),
}

impl<'a> Line<'a> {
    fn of(found: &'a StateValue) -> Self {
        Self {
            key: str::from_utf8(&found.key).map_or_else(|_| Key::KeyHex(hex::encode(&found.key)), Key::Key),
            value: str::from_utf8(&found.value)
                .map_or_else(|_| Value::ValueHex(hex::encode(&found.value)), Value::Value),
            block_number: found.version.block_number.0,
            tx_number: found.version.tx_number,
            metadata_hex: hex::encode(&found.metadata),
        }
    }
}

/// Text that a terminal can be trusted with, else hexadecimal digits.
fn readable(bytes: &[u8]) -> String {
    match str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => format!("0x{}", hex::encode(bytes)),
    }
}
