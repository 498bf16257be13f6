//! `man DIR`.

use super::{Cli, context::Context, exit::Failure, output};
use clap::{Args, Command, CommandFactory as _};
use snapferry::disk::{OsDir, write_durably};
use std::path::PathBuf;

/// Writes a manual page for every command
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Where to; made if missing
    dir: PathBuf,
}

impl Man {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        let mut root = Cli::command();
        root.build();
        let mut pages = Vec::new();
        collect(&root, &mut pages)?;
        if !context.global.dry_run {
            let dir = OsDir::create(&self.dir, 0o755)?;
            for (name, page) in &pages {
                write_durably(dir.as_ref(), name, page)?;
            }
        }
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        output::print(&format!("{}\n", names.join("\n")))
    }
}

/// Pages of a command and those below it; clap's own `help` has none.
fn collect(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> Result<(), Failure> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone()).title(name.as_str()).render(&mut page)?;
    pages.push((format!("{name}.1"), page));
    let mut below = command.get_subcommands().filter(|command| command.get_name() != "help" && !command.is_hide_set());
    below.try_for_each(|command| collect(command, pages))
}
