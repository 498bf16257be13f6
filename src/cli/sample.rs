//! `sample DIR`: a synthetic snapshot.

use super::{
    context::Context,
    exit::{Exit, Failure},
    output,
    progress::Progress,
};
use clap::Args;
use serde_json::json;
use snapferry::{
    disk::OsDir,
    msp::{ChannelConfig, MspId},
    service::{LogLevel, builtin, load_channel_config, units},
    snapshot::{SampleNumbers, SampleSpec, WriteError, write_sample_with},
};
use std::path::PathBuf;

/// What is written if nothing is asked for: a snapshot of about 0.3 MB.
const SMALL: SampleNumbers = SampleNumbers { keys: 1000, value_bytes: 200, private_hashes: 250, tx_ids: 200 };

/// Writes a valid synthetic snapshot: the same flags give the same bytes
///
/// DIR becomes the snapshot folder. Its channel and configuration are those of --config-block.
#[derive(Debug, Args)]
pub(crate) struct Sample {
    /// The folder; made if missing, refused if anything is in it
    dir: PathBuf,
    /// About this size, e.g. 1GiB, 256MiB, 10MB; chooses the numbers that aren't given
    #[arg(long, value_parser = units::parse_bytes)]
    size: Option<u64>,
    /// Keys of the public state
    #[arg(long, value_name = "N")]
    keys: Option<u64>,
    /// Bytes of each value
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=VALUE_BYTES_MAX))]
    value_bytes: Option<u32>,
    /// Hashes of private state
    #[arg(long, value_name = "N")]
    private_hashes: Option<u64>,
    /// Private data expire (blockToLive), and some 1250 of them were written by each block
    #[arg(long)]
    expiring: bool,
    /// Transaction ids; every channel has one at least
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    txids: Option<u64>,
    /// Another seed gives other bytes
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Random values instead of JSON-like ones
    #[arg(long)]
    incompressible: bool,
    /// Configuration block of the channel, or a folder of them [default: the recorded channel mychannel, built in]
    #[arg(long, value_name = "FILE")]
    config_block: Option<PathBuf>,
}

/// Longest value: a real peer's messages end at 100 MiB.
const VALUE_BYTES_MAX: i64 = 64 << 20;

impl Sample {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        context.start_logging(None, LogLevel::Warn);
        let spec = self.spec()?;
        let SampleNumbers { keys, value_bytes, private_hashes, tx_ids } = spec.numbers;
        if context.global.dry_run {
            return output::print(&format!(
                "would write {}: channel {}, {keys} keys of {value_bytes} bytes, {private_hashes} private hashes, \
                 {tx_ids} transaction ids\n",
                Context::shown(&self.dir),
                spec.channel
            ));
        }
        let dir = OsDir::create(&self.dir, 0o700)?;
        if !dir.list()?.is_empty() {
            let what = format!("{} isn't empty", Context::shown(&self.dir));
            return Err(Failure::new(Exit::Usage, what).next("name an empty folder, or a new one"));
        }
        let mut progress = Progress::start(context, "writing", spec.numbers.record_bytes());
        let written = write_sample_with(dir.as_ref(), &spec, &mut |bytes| progress.add(bytes));
        progress.finish();
        let (metadata, manifest) = written.map_err(|error| match error {
            WriteError::Disk(error) => error.into(),
            error => Failure::new(Exit::Failed, error),
        })?;
        let (id, bytes) = (manifest.id(), manifest.total_bytes());
        if context.json() {
            return output::print_json(&json!({
                "channel": id.channel.as_str(),
                "block_number": id.block_number.0,
                "snapshot_hash": metadata.signable.hash().to_string(),
                "manifest_hash": manifest.hash().to_string(),
                "bytes": bytes,
                "public_keys": keys,
                "private_hashes": private_hashes,
                "transaction_ids": tx_ids,
            }));
        }
        output::print(&format!(
            "wrote snapshot {id} to {}: {}, {keys} keys of {value_bytes} bytes, {private_hashes} private hashes, \
             {tx_ids} transaction ids\nTo serve it, put it where a peer would: ROOT/completed/{id}\n",
            Context::shown(&self.dir),
            units::format_bytes(bytes),
        ))
    }

    fn spec(&self) -> Result<SampleSpec, Failure> {
        let config = match &self.config_block {
            Some(path) => load_channel_config(path, None).map_err(|error| Failure::new(Exit::Usage, error))?,
            None => ChannelConfig::from_block(builtin::CONFIG_BLOCK)
                .map_err(|error| Failure::new(Exit::Failed, format!("the built-in configuration: {error}")))?,
        };
        let chosen = self.size.map_or(SMALL, |size| SampleNumbers::for_size(size, !self.incompressible));
        Ok(SampleSpec {
            config_block: config.block_number(),
            channel: config.channel().clone(),
            channel_config: config.config_envelope_bytes().to_vec(),
            collection_members: config.orgs().keys().map(MspId::to_string).collect(),
            numbers: SampleNumbers {
                keys: self.keys.unwrap_or(chosen.keys),
                value_bytes: self.value_bytes.unwrap_or(chosen.value_bytes),
                private_hashes: self.private_hashes.unwrap_or(chosen.private_hashes),
                tx_ids: self.txids.unwrap_or(chosen.tx_ids).max(1),
            },
            seed: self.seed,
            expiring: self.expiring,
            compressible: !self.incompressible,
        })
    }
}
