//! `bench`: what a transfer costs on this machine, beside raw QUIC and one core's hashing, measured in the same rounds.
//!
//! Everything runs as it does for operators: real `serve` and `join` processes on loopback, a landing on the disk, every
//! check. Each process is measured by the kernel ([`child`]).

mod child;
mod one_core;
mod raw_quinn;
mod report;
mod stage;
mod transfer;

use super::{context::Context, exit::Failure, output, stop::Stop};
use child::Program;
use clap::{Args, Subcommand, ValueEnum};
use report::{Report, Round};
use snapferry::{
    service::{
        LogLevel,
        units::{format_bytes, parse_bytes},
    },
    transport::endpoint::Tuning,
};
use stage::Stage;
use std::{
    io::{self, Write as _},
    path::PathBuf,
};

/// Measures a transfer on loopback: MB/s, CPU and memory of each side, beside raw QUIC and the hashes
///
/// Writes a sample into a temporary folder, serves it by one to four processes of two organisations, joins as a third one's
/// peer, and removes everything again. Raw QUIC with the same settings, SHA-256, BLAKE3 and zstd are measured in the same rounds, in turn: on a
/// busy machine only the ratios mean something.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Bench {
    #[command(subcommand)]
    part: Option<Part>,
    /// How many sources
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=4))]
    sources: u8,
    /// About so much data
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = parse_bytes)]
    size: u64,
    /// Also loads it into the databases of a stopped peer: from the folder that has landed, and while it comes
    #[arg(long)]
    load: bool,
    /// What is in it
    #[arg(long, value_enum, value_name = "KIND", default_value = "sample")]
    data: Data,
    /// How often everything is measured; medians are shown
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Largest UDP payload that path MTU discovery tries [default: limits.mtu's]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1200..=6400))]
    mtu: Option<u16>,
    /// The disk to measure: a folder in it [default: TMPDIR]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// What the sample's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Data {
    /// JSON, as chaincodes store it: shrinks to a quarter
    Sample,
    /// Random bytes: nothing can be compressed
    Random,
}

/// The yardstick's two ends, started by `bench` itself.
#[derive(Debug, Subcommand)]
enum Part {
    #[command(hide = true)]
    RawSend(raw_quinn::Send),
    #[command(hide = true)]
    RawReceive(raw_quinn::Receive),
}

impl Bench {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        context.start_logging(None, LogLevel::Warn);
        match &self.part {
            Some(Part::RawSend(part)) => return part.run(),
            Some(Part::RawReceive(part)) => return part.run(),
            None => {}
        }
        let parent = self.dir.clone().unwrap_or_else(std::env::temp_dir);
        let parent = std::path::absolute(parent)?;
        if context.global.dry_run {
            let (size, rounds) = (format_bytes(self.size), self.rounds);
            return output::print(&format!(
                "would write a sample of {size} below {} and join it {rounds} times from {} sources on loopback\n",
                parent.display(),
                self.sources
            ));
        }
        let stage = Stage::new(&parent, usize::from(self.sources), self.size, self.load)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = Stop::default();
        let measured = runtime.block_on(async {
            tokio::select! {
                biased;
                // The children end with what is dropped here.
                () = stop.wait(None) => Err(Failure::new(stop.exit(), "stopped; nothing is left behind")),
                measured = self.measure(context, &stage) => measured,
            }
        });
        drop(stage);
        runtime.shutdown_background(); // one core may still be hashing
        let report = measured?;
        if context.json() { output::print_json(&report.json()) } else { output::print(&report.table()) }
    }

    async fn measure(&self, context: &Context, stage: &Stage) -> Result<Report, Failure> {
        let say = |text: &str| {
            if !context.global.quiet && !context.json() {
                // Progress only.
                let _ = writeln!(io::stderr(), "{text}");
            }
        };
        let program = Program::new(stage.path().to_owned(), self.mtu)?;
        say(&format!("writing a sample of {}", format_bytes(self.size)));
        let sample = stage.write_sample(&program, self.size, self.data).await?;
        say(&format!("{} sources look at it", self.sources));
        let publish = transfer::publish(&program, stage).await?;
        let mut rounds = Vec::new();
        for round in 1..=self.rounds {
            say(&format!("round {round} of {}: raw quinn, the transfer, one core", self.rounds));
            let raw = raw_quinn::run(&program, stage, sample.bytes, self.mtu).await?;
            let transfer = transfer::run(&program, stage, sample.bytes, self.load).await?;
            let folder = sample.folder.clone();
            let one_core = tokio::task::spawn_blocking(move || one_core::measure(&folder)).await;
            let one_core = one_core.map_err(io::Error::other)??;
            rounds.push(Round { raw, transfer, one_core });
        }
        let data = match self.data {
            Data::Sample => "sample",
            Data::Random => "random",
        };
        let mtu = self.mtu.unwrap_or_else(|| Tuning::default().mtu_upper_bound);
        Ok(Report { data, mtu, sample, publish, rounds })
    }
}
