//! What the operator types: one file per command. Decides names, flags, output and exit codes; the work is the library's.

mod admin;
mod args;
mod bench;
mod catalog;
mod catalog_bans;
mod catalog_list;
mod catalog_show;
mod channel;
mod clone;
mod clone_channels;
mod clone_private;
mod clone_report;
mod clone_snapshot;
mod clone_source;
mod completion;
mod config;
mod config_check;
mod context;
mod exit;
mod grant;
mod inspect;
mod inspect_ledger;
mod join;
mod join_loader;
mod ledger;
mod logging;
mod man;
mod output;
mod peer;
mod progress;
mod quickstart;
mod sample;
mod serve;
mod snapshot;
mod snapshot_cancel;
mod snapshot_delete;
mod snapshot_list;
mod snapshot_making;
mod snapshot_pending;
mod snapshot_repair;
mod snapshot_show;
mod snapshot_sign;
mod snapshot_submit;
mod snapshot_waiting;
mod stop;
mod transfer_view;
mod verify;
mod verify_audit;
mod verify_files;
mod verify_policy;

use clap::{Parser, Subcommand, error::ErrorKind};
use context::Context;
use exit::{Exit, Failure};
use std::{
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
};

/// Moves Hyperledger Fabric ledger snapshots between peers: chunked, resumable, proved.
#[derive(Debug, Parser)]
#[command(name = "snapferry", version, arg_required_else_help = true, propagate_version = true, after_help = Exit::table())]
struct Cli {
    #[command(flatten)]
    global: args::Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Quickstart(quickstart::Quickstart),
    Serve(serve::Serve),
    Join(join::Join),
    Clone(clone::CloneCommand),
    Catalog(catalog::CatalogCommand),
    Snapshot(snapshot::SnapshotCommand),
    Grant(grant::Grant),
    Verify(verify::Verify),
    Inspect(inspect::Inspect),
    Ledger(ledger::LedgerCommand),
    Sample(sample::Sample),
    Bench(bench::Bench),
    Config(config::ConfigCommand),
    Completion(completion::Completion),
    Man(man::Man),
}

impl Command {
    fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Quickstart(command) => command.run(context),
            Self::Serve(command) => command.run(context),
            Self::Join(command) => command.run(context),
            Self::Clone(command) => command.run(context),
            Self::Catalog(command) => command.run(context),
            Self::Snapshot(command) => command.run(context),
            Self::Grant(command) => command.run(context),
            Self::Verify(command) => command.run(context),
            Self::Inspect(command) => command.run(context),
            Self::Ledger(command) => command.run(context),
            Self::Sample(command) => command.run(context),
            Self::Bench(command) => command.run(context),
            Self::Config(command) => command.run(context),
            Self::Completion(command) => command.run(),
            Self::Man(command) => command.run(context),
        }
    }
}

/// Runs a command line to its end.
pub(crate) fn run(
    args: impl Iterator<Item = OsString>,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> ExitCode {
    let Cli { global, command } = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, everything else is wrong usage; clap names the nearest command or flag.
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // Nobody is left to be told if this fails.
            let _ = error.print();
            return if asked { Exit::Done.into() } else { Exit::Usage.into() };
        }
    };
    // Names and values that aren't UTF-8 are none of ours.
    let text = environment.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    match command.run(&Context::new(global, text.collect())) {
        Ok(()) => Exit::Done.into(),
        Err(failure) if failure.exit == Exit::Done => Exit::Done.into(),
        Err(failure) => {
            let _ = writeln!(io::stderr(), "{}", output::printable(&format!("snapferry: {failure}")));
            failure.exit.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn fabrics_spellings_are_understood() {
        for args in [
            ["snapferry", "verify", "d", "--channelID", "ch1", "--blockNumber", "7"],
            ["snapferry", "verify", "d", "-C", "ch1", "-b", "7"],
            ["snapferry", "verify", "d", "--channel-id", "ch1", "--block-number", "7"],
        ] {
            let cli = Cli::try_parse_from(args).unwrap();
            let Command::Verify(verify) = cli.command else { panic!("{args:?}") };
            assert_eq!(verify.expected.channel_id.unwrap().as_str(), "ch1");
            assert_eq!(verify.expected.block_number.unwrap().0, 7);
        }
        Cli::try_parse_from(["snapferry", "config", "show", "--mspConfigPath", "d"]).unwrap();
    }
}
