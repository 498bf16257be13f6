//! What the operator configured: `snapferry.yaml`, `SNAPFERRY_*`, and beside a peer its `core.yaml` and `CORE_*`.
//!
//! Precedence: flag > `SNAPFERRY_*` > `snapferry.yaml` > `CORE_*` > `core.yaml` > default. Decides where values come from
//! and that they are well formed; what they mean is decided by those who use them. Reads files, changes none.

mod error;
mod keys;
mod layers;
mod lookup;
mod settings;

pub use error::ConfigError;
pub use layers::{Origin, Setting};
pub use settings::{
    ChannelSettings, Config, Identity, IdentitySettings, Limits, LogFormat, NameCheck, PeerSettings, SourceSettings,
};

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The commented file that `config init` writes; also the documentation of every key.
pub const SAMPLE: &str = include_str!("../../../assets/snapferry.yaml");

/// Name of our configuration file.
pub const FILE_NAME: &str = "snapferry.yaml";

/// Everything that configuration is read from, handed in, so that tests need no process environment.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Values of flags by key, e.g. `("trust.minOrgs", "2")`. Relative paths count from `working_dir`.
    pub flags: Vec<(&'static str, String)>,
    /// The environment; `CORE_*`, `FABRIC_*`, `SNAPFERRY_*`, `HOME` and `XDG_STATE_HOME` are looked at.
    pub environment: BTreeMap<String, String>,
    /// `--config FILE`.
    pub file: Option<PathBuf>,
    /// Where the process was started.
    pub working_dir: PathBuf,
    /// The last place to look in; `/etc/hyperledger/fabric` but for tests.
    pub fallback_dir: PathBuf,
}

/// A configuration, and how it came to be.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The typed values.
    pub config: Config,
    /// Every value that is set or has a default, by key, with its origin (`config show --origin`).
    pub settings: BTreeMap<String, Setting>,
    /// What the operator should know: unknown variables, a borrowed identity.
    pub warnings: Vec<String>,
    /// The `snapferry.yaml` that was read.
    pub file: Option<PathBuf>,
}

/// Reads and merges all sources of configuration.
///
/// # Errors
/// A file that can't be read or isn't YAML, an unknown key (the nearest is named), a key of a feature that this version
/// doesn't have, a value that isn't of its key's type.
pub fn load(inputs: &Inputs) -> Result<Loaded, ConfigError> {
    let file = lookup::own_file(inputs)?;
    let core = lookup::core_file(inputs)?;
    let mut layers = layers::Layers::default();
    layers.add_defaults();
    let core_dir = folder(core.as_ref().map(|(path, _)| path.as_path()), inputs);
    if let Some((path, text)) = &core {
        layers.add_core_file(path, text, &core_dir)?;
    }
    layers.add_core_environment(&inputs.environment, &core_dir)?;
    let own_dir = folder(file.as_ref().map(|(path, _)| path.as_path()), inputs);
    if let Some((path, text)) = &file {
        layers.add_own_file(path, text, &own_dir)?;
    }
    layers.add_own_environment(&inputs.environment, &own_dir)?;
    layers.add_flags(&inputs.flags, &inputs.working_dir)?;
    let (settings, mut warnings) = layers.finish();
    let config = Config::from_settings(&settings)?;
    if let Some(origin) = settings.get("identity.mspConfigPath").map(|setting| &setting.origin)
        && origin.is_of_peer()
    {
        warnings.push(format!(
            "the peer's own identity is used (identity.mspConfigPath from {origin}): give snapferry an enrolment of its \
             own, so that it can be revoked alone"
        ));
    }
    Ok(Loaded { config, settings, warnings, file: file.map(|(path, _)| path) })
}

/// The folder of one-shot commands' state if nothing is configured: `$XDG_STATE_HOME/snapferry`, else
/// `$HOME/.local/state/snapferry`; `None` without either.
#[must_use]
pub fn user_state_dir(environment: &BTreeMap<String, String>) -> Option<PathBuf> {
    let set = |name: &str| environment.get(name).filter(|value| !value.is_empty()).map(Path::new);
    let state = set("XDG_STATE_HOME").map(Path::to_path_buf);
    state.or_else(|| set("HOME").map(|home| home.join(".local/state"))).map(|state| state.join("snapferry"))
}

fn folder(file: Option<&Path>, inputs: &Inputs) -> PathBuf {
    file.and_then(Path::parent).map_or_else(|| inputs.working_dir.clone(), |parent| inputs.working_dir.join(parent))
}

#[cfg(test)]
mod tests;
