//! What every command is handed: the shared flags and the environment.

use super::{
    args::{Global, OutputForm},
    exit::{Exit, Failure},
    logging,
};
use snapferry::service::{
    LogLevel, LogSpec,
    config::{Config, Inputs, Loaded, LogFormat, load},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

const FALLBACK_DIR: &str = "/etc/hyperledger/fabric";

/// Shared flags and environment.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) global: Global,
    pub(crate) environment: BTreeMap<String, String>,
}

impl Context {
    pub(crate) const fn new(global: Global, environment: BTreeMap<String, String>) -> Self {
        Self { global, environment }
    }

    /// Whether JSON is wanted.
    pub(crate) fn json(&self) -> bool {
        self.global.output == OutputForm::Json
    }

    /// Loads the configuration under the given flags, starts logging at `level` unless the operator wants another one,
    /// and logs what the configuration warns of.
    pub(crate) fn configure(&self, mut flags: Vec<(&'static str, String)>, level: LogLevel) -> Result<Loaded, Failure> {
        let here = std::env::current_dir()
            .map_err(|error| Failure::new(Exit::Failed, format!("the working folder is gone: {error}")))?;
        flags.extend(self.global.state_dir.as_ref().map(|dir| ("stateDir", dir.display().to_string())));
        let loaded = load(&Inputs {
            flags,
            environment: self.environment.clone(),
            file: self.global.config.clone(),
            working_dir: here,
            fallback_dir: PathBuf::from(FALLBACK_DIR),
        })?;
        self.start_logging(Some(&loaded.config), level);
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        Ok(loaded)
    }

    /// Starts logging. Commands that need no configuration look at the environment only, so that a broken file can't
    /// stop them; a specification there that can't be read is ignored, as it may be meant for the peer.
    pub(crate) fn start_logging(&self, config: Option<&Config>, level: LogLevel) {
        let level = match (self.global.quiet, self.global.verbose) {
            (true, _) => LogLevel::Error,
            (false, 0) => level,
            (false, 1) => level.max(LogLevel::Info),
            (false, 2) => LogLevel::Debug,
            (false, _) => LogLevel::Trace,
        };
        let variable = |name: &str| self.environment.get(name).filter(|value| !value.is_empty());
        let from_environment = || {
            let text = variable("SNAPFERRY_LOGGING_SPEC").or_else(|| variable("FABRIC_LOGGING_SPEC"))?;
            LogSpec::parse(text, level).ok()
        };
        let flag = self.global.quiet || self.global.verbose > 0;
        let configured = match config {
            _ if flag => None,
            Some(config) => config.log_spec.clone(),
            None => from_environment(),
        };
        let format = config.map_or_else(
            || {
                let text = variable("SNAPFERRY_LOGGING_FORMAT").or_else(|| variable("FABRIC_LOGGING_FORMAT"));
                if text.is_some_and(|text| text == "json") { LogFormat::Json } else { LogFormat::Console }
            },
            |config| config.log_format,
        );
        logging::start(configured.unwrap_or_else(|| LogSpec::all(level)), format);
    }

    /// A path as the operator would type it back.
    pub(crate) fn shown(path: &Path) -> String {
        path.display().to_string()
    }
}
