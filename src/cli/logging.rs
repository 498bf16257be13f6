//! Log lines on standard error, in Fabric's two forms: console
//! (`2025-03-01 14:51:34.803 UTC 0001 INFO [transport] fetch -> message key=value`) and JSON with Fabric's five keys
//! (`level`, `ts`, `name`, `caller`, `msg`; fabric: common/flogging).

use serde_json::{Map, Value, json};
use snapferry::service::{
    LogLevel, LogSpec,
    clock::{fabric_time, wall_time},
    config::LogFormat,
};
use std::{
    fmt::{Debug, Write as _},
    io::Write,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

/// Starts logging for the rest of the process; a second call changes nothing.
pub(crate) fn start(spec: LogSpec, format: LogFormat) {
    let layer = FabricLayer::new(spec, format, wall_time, std::io::stderr());
    // Fails only if logging was started already.
    let _ = tracing_subscriber::registry().with(layer).try_init();
}

struct FabricLayer<W> {
    spec: LogSpec,
    format: LogFormat,
    clock: fn() -> SystemTime,
    /// Number of the next line, as in Fabric's console form.
    sequence: AtomicU64,
    out: Mutex<W>,
}

impl<W: Write> FabricLayer<W> {
    const fn new(spec: LogSpec, format: LogFormat, clock: fn() -> SystemTime, out: W) -> Self {
        Self { spec, format, clock, sequence: AtomicU64::new(1), out: Mutex::new(out) }
    }

    fn console(&self, event: &Event<'_>, function: &str, fields: &Fields) -> String {
        let metadata = event.metadata();
        let logger = logger(metadata.target());
        let (layer, rest) = logger.split_once('.').unwrap_or((&logger, &logger));
        let function = if function.is_empty() { rest } else { function };
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        // Fabric cuts levels to four letters.
        let level = match *metadata.level() {
            Level::ERROR => "ERRO",
            Level::WARN => "WARN",
            Level::INFO => "INFO",
            Level::DEBUG | Level::TRACE => "DEBU",
        };
        let time = fabric_time((self.clock)());
        let mut line = format!("{time} {sequence:04x} {level} [{layer}] {function} -> {}", one_line(&fields.message));
        for (name, value) in &fields.rest {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let plain = !text.is_empty() && text.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '"');
            // Writing to a String can't fail.
            let _ = if plain { write!(line, " {name}={text}") } else { write!(line, " {name}={text:?}") };
        }
        line
    }

    fn json(&self, event: &Event<'_>, fields: Fields) -> String {
        let metadata = event.metadata();
        let since = (self.clock)().duration_since(UNIX_EPOCH).unwrap_or_default();
        let caller = format!("{}:{}", metadata.file().unwrap_or("?"), metadata.line().unwrap_or(0));
        let mut object = Map::new();
        object.insert("level".to_owned(), json!(metadata.level().as_str().to_lowercase()));
        object.insert("ts".to_owned(), json!(since.as_secs_f64()));
        object.insert("name".to_owned(), json!(logger(metadata.target())));
        object.insert("caller".to_owned(), json!(caller.trim_start_matches("src/")));
        object.insert("msg".to_owned(), json!(fields.message));
        for (name, value) in fields.rest {
            // A field may not pass for one of the five.
            let name = if object.contains_key(&name) { format!("{name}_") } else { name };
            object.insert(name, value);
        }
        Value::Object(object).to_string()
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>, W: Write + Send + 'static> Layer<S> for FabricLayer<W> {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let logger = logger(metadata.target());
        let level = if metadata.target().starts_with("snapferry") {
            self.spec.level(&logger)
        } else {
            // Libraries talk only when asked by name, or when something is wrong.
            self.spec.named_level(&logger).unwrap_or_else(|| self.spec.level(&logger).min(LogLevel::Warn))
        };
        *metadata.level() <= tracing_level(level)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(tracing_level(self.spec.loudest())))
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut line = match self.format {
            LogFormat::Console => self.console(event, context.lookup_current().map_or("", |span| span.name()), &fields),
            LogFormat::Json => self.json(event, fields),
        };
        line.push('\n');
        // Nobody is left to be told if the log can't be written.
        let _ = self.out.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
    }
}

/// `snapferry::transport::asking` is logger `transport.asking`.
fn logger(target: &str) -> String {
    target.strip_prefix("snapferry::").unwrap_or(target).replace("::", ".")
}

const fn tracing_level(level: LogLevel) -> Level {
    match level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    }
}

/// A message can't end its line early and so forge another one.
fn one_line(message: &str) -> String {
    message.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// An event's message and its other fields, in the order in which they were written.
#[derive(Default)]
struct Fields {
    message: String,
    rest: Vec<(String, Value)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => self.message = value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            name => self.rest.push((name.to_owned(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, json!(format!("{value:?}")));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, json!(value));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, json!(value));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, json!(value));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, json!(value));
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, json!(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Arc, time::Duration};

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(spec: &str, format: LogFormat, say: impl FnOnce()) -> String {
        let sink = Sink::default();
        let clock = || UNIX_EPOCH + Duration::from_millis(1_740_840_694_803);
        let layer = FabricLayer::new(LogSpec::parse(spec, LogLevel::Info).unwrap(), format, clock, sink.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), say);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn console_lines_have_fabrics_form() {
        let text = logged("info", LogFormat::Console, || {
            let span = tracing::info_span!(target: "snapferry::transport", "fetch");
            let _entered = span.enter();
            tracing::info!(target: "snapferry::transport::asking", chunk = 7_u64, peer = "a b", "chunk came");
            tracing::debug!(target: "snapferry::transport::asking", "too quiet");
        });
        assert_eq!(
            text,
            "2025-03-01 14:51:34.803 UTC 0001 INFO [transport] fetch -> chunk came chunk=7 peer=\"a b\"\n"
        );
    }

    /// R7: the log.
    #[test]
    fn a_message_cannot_forge_a_line() {
        let text = logged("info", LogFormat::Console, || {
            tracing::warn!(target: "snapferry::msp", reason = "x\ny", "bad\nname");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("[msp] msp -> bad\\nname reason=\"x\\ny\""), "{text}");
    }

    #[test]
    fn json_lines_have_fabrics_keys() {
        let text = logged("info", LogFormat::Json, || {
            tracing::error!(target: "snapferry::catalog::local", block = 83_u64, name = "forged", "refused");
        });
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&value["level"], &value["name"]), (&json!("error"), &json!("catalog.local")));
        assert_eq!((&value["ts"], &value["msg"]), (&json!(1_740_840_694.803), &json!("refused")));
        assert_eq!((&value["block"], &value["name_"]), (&json!(83), &json!("forged")));
        assert!(value["caller"].as_str().unwrap().starts_with("cli/logging.rs:"), "{text}");
    }

    #[test]
    fn levels_follow_the_specification_and_libraries_are_quiet() {
        let text = logged("transport=debug:quinn=info:debug", LogFormat::Console, || {
            tracing::debug!(target: "snapferry::transport", "one");
            tracing::trace!(target: "snapferry::transport", "no");
            tracing::info!(target: "quinn_proto::connection", "no");
            tracing::warn!(target: "quinn_proto::connection", "two");
            tracing::info!(target: "quinn", "three");
        });
        assert_eq!(
            text.lines().filter_map(|line| line.rsplit(' ').next()).collect::<Vec<_>>(),
            ["one", "two", "three"]
        );
    }
}
