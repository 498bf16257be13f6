//! `completion SHELL`.

use super::{Cli, exit::Failure, output};
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

/// Prints completions for a shell
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "snapferry", &mut script);
        output::print_bytes(&script)
    }
}
