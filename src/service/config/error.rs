//! What can be wrong with a configuration. All of it is the operator's to mend.

use std::{io, path::PathBuf};

/// A configuration that can't be used; exit code 2.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file that should be there can't be read.
    #[error("can't read the configuration {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that isn't YAML, or no mapping of keys.
    #[error("{path} is no configuration: {reason}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser says, with line and column.
        reason: String,
    },
    /// A key that doesn't exist.
    #[error("unknown key {key:?} in {origin}{}", hint.as_ref().map_or_else(String::new, |hint| format!("; did you mean {hint:?}?")))]
    UnknownKey {
        /// The key as written.
        key: String,
        /// Where.
        origin: String,
        /// The nearest known key.
        hint: Option<String>,
    },
    /// The same key twice (case and `_` don't count).
    #[error("key {key:?} is given twice in {origin}")]
    DuplicateKey {
        /// The key.
        key: String,
        /// Where.
        origin: String,
    },
    /// A key of a feature that this version doesn't have: ignoring it would promise what isn't done.
    #[error("key {key:?} in {origin} is not supported by this version; take it out")]
    NotSupported {
        /// The key.
        key: String,
        /// Where.
        origin: String,
    },
    /// A value that isn't of its key's type.
    #[error("{key} = {value:?} (from {origin}) is wrong: {reason}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// Where it comes from.
        origin: String,
        /// What it should be.
        reason: String,
    },
    /// A key that a command needs has no value.
    #[error("{key} is not set: {hint}")]
    Missing {
        /// The key.
        key: &'static str,
        /// How to set it.
        hint: &'static str,
    },
}
