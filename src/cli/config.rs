//! `config init | check | show`.

use super::{
    args::ConfigFlags,
    config_check,
    context::Context,
    exit::{Exit, Failure},
    output,
};
use clap::{Args, Subcommand};
use serde_json::{Map, json};
use snapferry::{
    disk::{Access, OsDir},
    service::{
        LogLevel,
        config::{FILE_NAME, SAMPLE, Setting},
    },
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Writes, checks and shows the configuration
#[derive(Debug, Args)]
pub(crate) struct ConfigCommand {
    #[command(subcommand)]
    command: Which,
}

#[derive(Debug, Subcommand)]
enum Which {
    /// Writes a commented configuration file; never over an existing one
    Init {
        /// The file
        #[arg(default_value = FILE_NAME)]
        file: PathBuf,
    },
    /// Checks the configuration and the files that it names: exits with 2 and the reasons if it can't be used
    Check {
        #[command(flatten)]
        flags: ConfigFlags,
    },
    /// Shows every value that is in force
    Show {
        /// Also from where
        #[arg(long)]
        origin: bool,
        #[command(flatten)]
        flags: ConfigFlags,
    },
}

impl ConfigCommand {
    pub(super) fn run(&self, context: &Context) -> Result<(), Failure> {
        match &self.command {
            Which::Init { .. } if context.global.dry_run => output::print(SAMPLE),
            Which::Init { file } => init(file),
            Which::Check { flags } => {
                let loaded = context.configure(flags.by_key(), LogLevel::Warn)?;
                config_check::run(context, &loaded)
            }
            Which::Show { origin, flags } => {
                let loaded = context.configure(flags.by_key(), LogLevel::Warn)?;
                if context.json() {
                    let entries = loaded.settings.iter().map(|(key, setting)| (key.clone(), as_json(setting, *origin)));
                    return output::print_json(&entries.collect::<Map<_, _>>());
                }
                let lines = loaded.settings.iter().map(|(key, Setting { value, origin: from, .. })| match origin {
                    true => format!("{key}: {value}    # {from}\n"),
                    false => format!("{key}: {value}\n"),
                });
                output::print(&lines.collect::<String>())
            }
        }
    }
}

fn as_json(setting: &Setting, origin: bool) -> serde_json::Value {
    if origin { json!({"value": setting.value, "origin": setting.origin.to_string()}) } else { json!(setting.value) }
}

fn init(file: &Path) -> Result<(), Failure> {
    let name = file.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Failure::new(Exit::Usage, format!("{} names no file", Context::shown(file))))?;
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let dir = OsDir::open(parent)?;
    let created = dir.open_file(name, Access::CreateNew).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::new(Exit::Failed, format!("{} is there already", Context::shown(file)))
                .next("nothing was changed; move it away or name another file")
        }
        _ => error.into(),
    })?;
    created.write_all_at(SAMPLE.as_bytes(), 0)?;
    created.sync()?;
    dir.sync_dir()?;
    output::print(&format!("wrote {}; edit it, then `snapferry config check`\n", Context::shown(file)))
}
