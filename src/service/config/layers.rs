//! Lays the sources of configuration over each other: each later one replaces the values of those before it.

use super::{
    ConfigError, SourceSettings,
    keys::{self, Found, KEYS, Key, Kind},
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
};

/// Variables that Kubernetes sets in every container for a Service called `snapferry`.
const KUBERNETES: [&str; 2] = ["SNAPFERRY_SERVICE_", "SNAPFERRY_PORT"];

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The peer's `core.yaml`.
    CoreFile(PathBuf),
    /// A variable of the peer: `CORE_*` or `FABRIC_LOGGING_*`.
    CoreVariable(String),
    /// `snapferry.yaml`.
    File(PathBuf),
    /// A variable `SNAPFERRY_*`.
    Variable(String),
    /// A flag of the command.
    Flag,
}

impl Origin {
    /// Whether the value was made for the peer, not for us.
    #[must_use]
    pub const fn is_of_peer(&self) -> bool {
        matches!(self, Self::CoreFile(_) | Self::CoreVariable(_))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::CoreFile(path) | Self::File(path) => path.display().fmt(f),
            Self::CoreVariable(name) | Self::Variable(name) => f.write_str(name),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// A value as text, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The value; paths are resolved, sources are joined by commas.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
    /// The list behind `sources`.
    pub(super) sources: Vec<SourceSettings>,
}

/// The values found so far, by key (with the channel's name in place of `*`).
#[derive(Debug, Default)]
pub(super) struct Layers {
    settings: BTreeMap<String, Setting>,
    warnings: Vec<String>,
}

impl Layers {
    pub(super) fn finish(self) -> (BTreeMap<String, Setting>, Vec<String>) {
        (self.settings, self.warnings)
    }

    pub(super) fn add_defaults(&mut self) {
        for key in KEYS {
            if let Some(default) = key.default {
                self.insert(key.path.to_owned(), default.to_owned(), Origin::Default);
            }
        }
    }

    /// Takes the few keys of `core.yaml` that we use; all others are the peer's.
    pub(super) fn add_core_file(&mut self, path: &Path, text: &str, base: &Path) -> Result<(), ConfigError> {
        let root = parse(path, text)?;
        for key in KEYS {
            let found = key.core.and_then(|core| core.split('.').try_fold(&root, |node, name| child(node, name)));
            if let Some(value) = found.and_then(scalar).filter(|value| !value.is_empty()) {
                self.set(key, key.path.to_owned(), value, Origin::CoreFile(path.to_owned()), base)?;
            }
        }
        Ok(())
    }

    pub(super) fn add_core_environment(
        &mut self,
        environment: &BTreeMap<String, String>,
        base: &Path,
    ) -> Result<(), ConfigError> {
        let set = |name: &str| environment.get(name).filter(|value| !value.is_empty()).cloned();
        for key in KEYS {
            let name = key.core.map(|core| format!("CORE_{}", core.replace('.', "_").to_uppercase()));
            if let Some((name, value)) = name.and_then(|name| set(&name).map(|value| (name, value))) {
                self.set(key, key.path.to_owned(), value, Origin::CoreVariable(name), base)?;
            }
        }
        if let Some(spec) = set("FABRIC_LOGGING_SPEC") {
            self.insert("logging.spec".to_owned(), spec, Origin::CoreVariable("FABRIC_LOGGING_SPEC".to_owned()));
        }
        // Fabric's other values are layouts of its own console lines; ours has one.
        if set("FABRIC_LOGGING_FORMAT").as_deref() == Some("json") {
            let origin = Origin::CoreVariable("FABRIC_LOGGING_FORMAT".to_owned());
            self.insert("logging.format".to_owned(), "json".to_owned(), origin);
        }
        Ok(())
    }

    pub(super) fn add_own_file(&mut self, path: &Path, text: &str, base: &Path) -> Result<(), ConfigError> {
        let root = parse(path, text)?;
        self.walk(&root, &mut Vec::new(), path, base, &mut BTreeSet::new())
    }

    pub(super) fn add_own_environment(
        &mut self,
        environment: &BTreeMap<String, String>,
        base: &Path,
    ) -> Result<(), ConfigError> {
        for (name, value) in environment {
            let Some(tail) = name.strip_prefix("SNAPFERRY_") else { continue };
            if value.is_empty() || KUBERNETES.iter().any(|prefix| name.starts_with(prefix)) {
                continue;
            }
            match keys::find_variable(tail) {
                Some((key, path)) => self.set(key, path, value.clone(), Origin::Variable(name.clone()), base)?,
                None => self.warnings.push(format!("variable {name} names no key of ours and is ignored")),
            }
        }
        Ok(())
    }

    pub(super) fn add_flags(&mut self, flags: &[(&str, String)], base: &Path) -> Result<(), ConfigError> {
        for (path, value) in flags {
            let written: Vec<String> = path.split('.').map(str::to_owned).collect();
            if let Found::Key(key) = keys::find(&written) {
                self.set(key, (*path).to_owned(), value.clone(), Origin::Flag, base)?;
            }
        }
        Ok(())
    }

    /// Takes a file's keys one by one; recursion is bounded by the parser's own limit on depth.
    fn walk(
        &mut self,
        node: &Value,
        written: &mut Vec<String>,
        file: &Path,
        base: &Path,
        seen: &mut BTreeSet<String>,
    ) -> Result<(), ConfigError> {
        let Value::Object(entries) = node else { return Ok(()) };
        for (name, value) in entries {
            written.push(name.clone());
            let (key, origin) = (written.join("."), file.display().to_string());
            if !seen.insert(keys::folded(&key)) {
                return Err(ConfigError::DuplicateKey { key, origin });
            }
            match keys::find(written) {
                Found::Unknown(hint) => return Err(ConfigError::UnknownKey { key, origin, hint }),
                Found::Key(known) if known.kind == Kind::NotSupported => {
                    return Err(ConfigError::NotSupported { key, origin });
                }
                Found::Key(known) if known.kind == Kind::Sources && value.is_array() => {
                    let sources = sources_from_list(value, &key, &origin)?;
                    self.insert_sources(sources, Origin::File(file.to_owned()));
                }
                Found::Key(known) if known.kind == Kind::MspFolders && value.is_object() => {
                    let folders = msp_folders(value, &key, &origin)?;
                    self.set(known, canonical(known, written), folders, Origin::File(file.to_owned()), base)?;
                }
                Found::Key(known) => {
                    let wrong = |reason: &str| ConfigError::Value {
                        key: key.clone(),
                        value: shortened(value),
                        origin: origin.clone(),
                        reason: reason.to_owned(),
                    };
                    let text = match value {
                        Value::Null => String::new(),
                        _ => scalar(value).ok_or_else(|| wrong("it should be a single value"))?,
                    };
                    if !text.is_empty() {
                        self.set(known, canonical(known, written), text, Origin::File(file.to_owned()), base)?;
                    }
                }
                Found::Section if value.is_object() => self.walk(value, written, file, base, seen)?,
                Found::Section if value.is_null() => {}
                Found::Section => {
                    let reason = "it is a section: keys should follow, indented".to_owned();
                    return Err(ConfigError::Value { key, value: shortened(value), origin, reason });
                }
            }
            written.pop();
        }
        Ok(())
    }

    fn set(&mut self, key: &Key, path: String, value: String, origin: Origin, base: &Path) -> Result<(), ConfigError> {
        match key.kind {
            Kind::NotSupported => Err(ConfigError::NotSupported { key: path, origin: origin.to_string() }),
            Kind::Path => {
                self.insert(path, base.join(value).display().to_string(), origin);
                Ok(())
            }
            Kind::Sources => {
                let addresses = value.split(',').map(str::trim).filter(|address| !address.is_empty());
                let sources = addresses.map(SourceSettings::new).collect();
                self.insert_sources(sources, origin);
                Ok(())
            }
            Kind::MspFolders => {
                let resolved = value.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(|entry| {
                    // Without a folder it stays as it is: whoever reads the value says what is wrong with it.
                    entry.split_once('=').map_or_else(
                        || entry.to_owned(),
                        |(id, folder)| format!("{}={}", id.trim(), base.join(folder.trim()).display()),
                    )
                });
                self.insert(path, resolved.collect::<Vec<_>>().join(","), origin);
                Ok(())
            }
            Kind::Text
            | Kind::Address
            | Kind::Bytes(..)
            | Kind::Duration(..)
            | Kind::Count(..)
            | Kind::Choice(_)
            | Kind::Flag => {
                self.insert(path, value, origin);
                Ok(())
            }
        }
    }

    fn insert(&mut self, path: String, value: String, origin: Origin) {
        self.settings.insert(path, Setting { value, origin, sources: Vec::new() });
    }

    fn insert_sources(&mut self, sources: Vec<SourceSettings>, origin: Origin) {
        let value = sources.iter().map(|source| source.address.as_str()).collect::<Vec<_>>().join(",");
        self.settings.insert("sources".to_owned(), Setting { value, origin, sources });
    }
}

fn parse(path: &Path, text: &str) -> Result<Value, ConfigError> {
    let only_comments = text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    if only_comments {
        return Ok(Value::Null);
    }
    let syntax = |reason: String| ConfigError::Syntax { path: path.to_owned(), reason };
    let root: Value = serde_saphyr::from_str(text).map_err(|error| syntax(error.to_string()))?;
    if root.is_object() || root.is_null() {
        Ok(root)
    } else {
        Err(syntax("it should hold keys, not a value".to_owned()))
    }
}

fn child<'a>(node: &'a Value, name: &str) -> Option<&'a Value> {
    let wanted = keys::folded(name);
    node.as_object()?.iter().find(|(key, _)| keys::folded(key) == wanted).map(|(_, value)| value)
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The key's own spelling, with the channel's name as written.
fn canonical(key: &Key, written: &[String]) -> String {
    let segments = key.path.split('.').zip(written);
    segments.map(|(known, name)| if known == "*" { name } else { known }).collect::<Vec<_>>().join(".")
}

fn sources_from_list(list: &Value, key: &str, origin: &str) -> Result<Vec<SourceSettings>, ConfigError> {
    let wrong = |key: String, value: &Value, reason: String| ConfigError::Value {
        key,
        value: shortened(value),
        origin: origin.to_owned(),
        reason,
    };
    let mut sources = Vec::new();
    for (index, entry) in list.as_array().into_iter().flatten().enumerate() {
        let at = format!("{key}[{index}]");
        let mut source = SourceSettings::new("");
        match entry {
            Value::String(address) => source.address.clone_from(address),
            Value::Object(fields) => {
                for (name, value) in fields {
                    let text = scalar(value).ok_or_else(|| {
                        wrong(format!("{at}.{name}"), value, "it should be a single value".to_owned())
                    })?;
                    source.set(name, &text).map_err(|reason| wrong(format!("{at}.{name}"), value, reason))?;
                }
            }
            _ => return Err(wrong(at, entry, "it should be HOST:PORT or have an address".to_owned())),
        }
        sources.push(source);
    }
    Ok(sources)
}

/// `ID=DIR,...` of a mapping.
fn msp_folders(mapping: &Value, key: &str, origin: &str) -> Result<String, ConfigError> {
    let entry = |(id, folder): (&String, &Value)| {
        let wrong = || ConfigError::Value {
            key: format!("{key}.{id}"),
            value: shortened(folder),
            origin: origin.to_owned(),
            reason: "it should be the MSP folder of that organisation".to_owned(),
        };
        scalar(folder).filter(|folder| !folder.contains(',')).map(|folder| format!("{id}={folder}")).ok_or_else(wrong)
    };
    let entries: Result<Vec<String>, ConfigError> = mapping.as_object().into_iter().flatten().map(entry).collect();
    Ok(entries?.join(","))
}

fn shortened(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}
