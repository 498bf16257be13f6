//! Runs a scenario on the simulated network and shows what happened: `cargo run --example netsim -- --scenario FILE --seed N`.
//!
//! The same file and seed give the same run, datagram by datagram. Without a file the seed draws the scenario, as the test suite's
//! swarm does.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a tool of the test suite"
)]

#[path = "../../tests/common/sim/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests")]
mod sim;

mod buckets;
mod svg;
mod terminal;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use clap::Parser;
use sim::{draw::draw, run::run, scenario::Scenario};

/// Runs a scenario on a simulated network and draws what happened
#[derive(Debug, Parser)]
struct Args {
    /// The scenario (YAML; see examples/scenarios). Without it the seed draws one
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    /// Decides every chance
    #[arg(long, default_value_t = 1, env = "NETSIM_SEED")]
    seed: u64,
    /// Also draws the timeline as an SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Prints the scenario as a file, and runs nothing
    #[arg(long)]
    print: bool,
    /// Every event, not only the picture
    #[arg(short, long)]
    verbose: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let scenario = match args.scenario.as_ref().map(read).transpose() {
        Ok(scenario) => scenario.unwrap_or_else(|| draw(args.seed)),
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    if args.print {
        print!("{}", serde_saphyr::to_string(&scenario).unwrap());
        return ExitCode::SUCCESS;
    }
    let (began, report) = (Instant::now(), run(&scenario, args.seed));
    print!("{}", terminal::timeline(&report, began.elapsed(), args.verbose));
    if let Some(path) = &args.svg {
        if let Err(error) = std::fs::write(path, svg::timeline(&report)) {
            eprintln!("error: {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
        println!("timeline  {}", path.display());
    }
    match report.broken() {
        Ok(()) => ExitCode::SUCCESS,
        Err(broken) => {
            println!("\nBROKEN: {broken}");
            ExitCode::FAILURE
        }
    }
}

fn read(path: &PathBuf) -> Result<Scenario, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_saphyr::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}
