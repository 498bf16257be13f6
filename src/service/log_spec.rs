//! Which log lines are wanted, in Fabric's syntax: `transport=debug:catalog,msp=warn:info`
//! (fabric: common/flogging/loggerlevels.go). A logger is one of our modules; a level holds for what lies below it, too.

use std::{fmt, str::FromStr};

/// How loud a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something failed.
    Error,
    /// Something the operator should look at.
    Warn,
    /// What the service does.
    Info,
    /// For those who look for a fault.
    Debug,
    /// Everything.
    Trace,
}

/// A level for all loggers and levels for some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSpec {
    rest: LogLevel,
    loggers: Vec<(String, LogLevel)>,
}

/// A text that is no specification.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{spec:?} is no logging specification: {part:?} should be LEVEL or LOGGER[,LOGGER]=LEVEL with a level of error, warn, info, debug, trace"
)]
pub struct LogSpecError {
    spec: String,
    part: String,
}

impl LogSpec {
    /// One level for everything.
    #[must_use]
    pub const fn all(level: LogLevel) -> Self {
        Self { rest: level, loggers: Vec::new() }
    }

    /// Parses a specification; `rest` holds for loggers that it doesn't name. Unknown loggers are harmless: Fabric's own
    /// specification may be given to us.
    pub fn parse(text: &str, rest: LogLevel) -> Result<Self, LogSpecError> {
        let mut spec = Self::all(rest);
        for part in text.split(':').map(str::trim).filter(|part| !part.is_empty()) {
            let bad = || LogSpecError { spec: text.chars().take(200).collect(), part: part.chars().take(80).collect() };
            match part.split_once('=') {
                None => spec.rest = part.parse().map_err(|()| bad())?,
                Some((loggers, level)) => {
                    let level = level.parse().map_err(|()| bad())?;
                    for logger in loggers.split(',').map(str::trim) {
                        if logger.is_empty() {
                            return Err(bad());
                        }
                        spec.loggers.push((logger.trim_end_matches('.').to_owned(), level));
                    }
                }
            }
        }
        Ok(spec)
    }

    /// The level of `logger` (dotted, e.g. `transport.asking`): that of its longest named prefix, else that of all others.
    #[must_use]
    pub fn level(&self, logger: &str) -> LogLevel {
        self.named_level(logger).unwrap_or(self.rest)
    }

    /// The level of `logger` if it, or what it lies below, is named.
    #[must_use]
    pub fn named_level(&self, logger: &str) -> Option<LogLevel> {
        let covers =
            |name: &str| logger.strip_prefix(name).is_some_and(|below| below.is_empty() || below.starts_with('.'));
        let named = self.loggers.iter().filter(|(name, _)| covers(name)).max_by_key(|(name, _)| name.len());
        named.map(|(_, level)| *level)
    }

    /// The loudest level that any logger has.
    #[must_use]
    pub fn loudest(&self) -> LogLevel {
        self.loggers.iter().map(|(_, level)| *level).fold(self.rest, LogLevel::max)
    }
}

impl FromStr for LogLevel {
    type Err = ();
    /// Fabric's names; its `fatal`, `panic` and `dpanic` are louder than any of our lines, so they mean `error`.
    fn from_str(text: &str) -> Result<Self, ()> {
        match text.trim().to_ascii_lowercase().as_str() {
            "error" | "fatal" | "panic" | "dpanic" => Ok(Self::Error),
            "warn" | "warning" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => Err(()),
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_named_prefix_decides() {
        let spec = LogSpec::parse("transport=debug:transport.asking,msp=error:info", LogLevel::Warn).unwrap();
        assert_eq!(spec.level("transport.serving"), LogLevel::Debug);
        assert_eq!(spec.level("transport.asking"), LogLevel::Error);
        assert_eq!(spec.level("msp"), LogLevel::Error);
        assert_eq!(spec.level("transporter"), LogLevel::Info);
        assert_eq!(spec.loudest(), LogLevel::Debug);
        assert_eq!(LogSpec::parse("", LogLevel::Warn).unwrap(), LogSpec::all(LogLevel::Warn));
    }

    #[test]
    fn a_wrong_level_is_named() {
        for bad in ["loud", "transport=", "=info", "a=b=c"] {
            let error = LogSpec::parse(bad, LogLevel::Info).unwrap_err();
            assert!(error.to_string().contains(bad), "{error}");
        }
    }
}
