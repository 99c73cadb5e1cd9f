//! Logs to stderr over a bounded queue that counts what it drops: a slow terminal never slows a request.

use std::io::{self, Write, stderr};
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, reload};

use super::log_lines::{PlainFields, PlainLines};
use super::metrics::{Family, FamilyKind, before_scrape, describe};
use super::telemetry::reports::{BadDsn, ReportSettings, Reports};

/// How many lines may wait for the writer.
const QUEUE_LINES: usize = 16_384;

const DROPPED: &str = "gatewright_log_lines_dropped_total";

/// What this room measures.
pub const FAMILIES: &[Family] = &[Family {
    name: DROPPED,
    kind: FamilyKind::Counter,
    labels: &[],
    help: "Log lines that were not written because standard error took them too slowly.",
}];

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// DEBUG, INFO, WARNING, ERROR, CRITICAL, or a filter such as `info,data_plane=debug`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
    /// Where lines of level error are sent as well.
    pub reports: Option<ReportSettings>,
}

/// The flags that every process has for its logs.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LogArgs {
    /// DEBUG, INFO, WARNING, ERROR, or a filter such as info,access=off [default: INFO].
    #[arg(long, env = "GATEWRIGHT_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// text or json [default: text].
    #[arg(long, env = "GATEWRIGHT_LOG_FORMAT", value_name = "FORMAT", value_parser = log_format)]
    pub log_format: Option<LogFormat>,
}

impl LogArgs {
    /// The flags over the settings of a file; a DSN of the environment counts where the file has none.
    ///
    /// # Errors
    /// [`LogError::Dsn`]
    pub fn over(&self, settings: LogSettings) -> Result<LogSettings, LogError> {
        let reports = match settings.reports {
            Some(reports) => Some(reports),
            None => ReportSettings::of_environment().map_err(LogError::Dsn)?,
        };
        Ok(LogSettings {
            level: self.log_level.clone().unwrap_or(settings.level),
            format: self.log_format.unwrap_or(settings.format),
            reports,
        })
    }
}

/// `text` or `json`.
///
/// # Errors
/// A sentence that names the text and what would be right.
pub fn log_format(text: &str) -> Result<LogFormat, String> {
    match text.to_ascii_lowercase().as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("`{text}` is not one of: text, json")),
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: "INFO".to_owned(), format: LogFormat::Text, reports: None }
    }
}

/// Why logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is neither a word nor a filter.
    #[error(
        "`{value}` is no log level: DEBUG, INFO, WARNING, ERROR, CRITICAL, or a filter such as `info,data_plane=debug` is expected"
    )]
    Level {
        /// What was given.
        value: String,
    },
    /// The place for error reports is none.
    #[error("SENTRY_DSN {0}")]
    Dsn(#[source] BadDsn),
    /// This process has logs already.
    #[error("logs are already set up in this process")]
    Already(#[source] TryInitError),
    /// The subscriber is gone.
    #[error("the log level can no longer be changed")]
    Gone(#[source] reload::Error),
}

/// How long lines gather before the next write, unless there are very many.
const GATHER: Duration = Duration::from_millis(5);
/// What is written at once when there are very many.
const GATHER_BYTES: usize = 64 * 1024;

/// Writes the lines of a busy moment together: one by one, each would cost a system call and wake the writing thread.
struct Gathered<W: Write>(io::BufWriter<W>);

impl<W: Write> Gathered<W> {
    fn new(into: W) -> Self {
        Self(io::BufWriter::with_capacity(GATHER_BYTES, into))
    }
}

impl<W: Write> Write for Gathered<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(line)
    }

    /// Called when no line is waiting. The first one leaves at once; those that come while this sleeps gather.
    fn flush(&mut self) -> io::Result<()> {
        if !self.0.buffer().is_empty() {
            self.0.flush()?;
            std::thread::sleep(GATHER);
        }
        Ok(())
    }
}

/// Keeps the writer alive; dropping it writes out what is queued.
pub struct Logs {
    dropped: ErrorCounter,
    filter: reload::Handle<EnvFilter, Registry>,
    /// What the process started with.
    first: String,
    _worker: WorkerGuard,
}

impl Logs {
    /// Sets up logging for the process.
    ///
    /// # Errors
    /// [`LogError`] when the level is unknown or logs were set up before.
    pub fn init(settings: &LogSettings) -> Result<Self, LogError> {
        let (writer, worker) = NonBlockingBuilder::default()
            .buffered_lines_limit(QUEUE_LINES)
            .lossy(true)
            .thread_name("logs")
            .finish(Gathered::new(stderr()));
        let dropped = writer.error_counter();
        let (filter, handle) = reload::Layer::new(parse_level(&settings.level)?);
        let lines = tracing_subscriber::fmt::layer().with_writer(writer);
        let lines = match settings.format {
            LogFormat::Text => lines.with_ansi(false).event_format(PlainLines).fmt_fields(PlainFields).boxed(),
            LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
        };
        let reports = settings.reports.as_ref().map(Reports::start).transpose().map_err(LogError::Dsn)?;
        tracing_subscriber::registry().with(filter).with(lines).with(reports).try_init().map_err(LogError::Already)?;
        export_drops(dropped.clone());
        Ok(Self { dropped, filter: handle, first: settings.level.clone(), _worker: worker })
    }

    /// Changes what is logged while the process runs; an empty text is what it started with.
    ///
    /// # Errors
    /// [`LogError::Level`] when the level is unknown.
    pub fn set_level(&self, level: &str) -> Result<(), LogError> {
        let level = if level.is_empty() { &self.first } else { level };
        self.filter.reload(parse_level(level)?).map_err(LogError::Gone)
    }

    /// How many lines were dropped because the queue was full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        u64::try_from(self.dropped.dropped_lines()).unwrap_or(u64::MAX)
    }
}

/// Counts dropped lines for whoever scrapes.
fn export_drops(dropped: ErrorCounter) {
    before_scrape(move || {
        describe(FAMILIES);
        let lines = u64::try_from(dropped.dropped_lines()).unwrap_or(u64::MAX);
        metrics::counter!(DROPPED).absolute(lines);
    });
}

/// A level word of Python's `logging` or of ours, else a filter.
///
/// # Errors
/// [`LogError::Level`] when it is neither.
pub fn parse_level(level: &str) -> Result<EnvFilter, LogError> {
    // The libraries' own debug lines would bury ours.
    let quiet = "hyper=info,hyper_util=info,h2=info,tower=info,tonic=info,sqlx=info,rustls=info";
    let directives = match level.trim().to_ascii_uppercase().as_str() {
        "TRACE" => format!("trace,{quiet}"),
        "DEBUG" => format!("debug,{quiet}"),
        "INFO" => "info".to_owned(),
        "WARNING" | "WARN" => "warn".to_owned(),
        "ERROR" | "CRITICAL" => "error".to_owned(),
        _ => level.trim().to_owned(),
    };
    let known = directives.contains('=') || !directives.eq_ignore_ascii_case(level.trim()) || is_level(&directives);
    let bad = || LogError::Level { value: level.chars().take(64).collect() };
    EnvFilter::try_new(&directives).ok().filter(|_| known).ok_or_else(bad)
}

/// Whether a bare word is a level: a filter takes any other bare word for a target, which hides typing errors.
fn is_level(text: &str) -> bool {
    ["trace", "debug", "info", "warn", "error", "off"].iter().any(|level| text.eq_ignore_ascii_case(level))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn levels_of_both_worlds_are_understood() {
        for (word, filter) in [
            ("INFO", "info"),
            ("warning", "warn"),
            ("CRITICAL", "error"),
            ("info,data_plane=debug", "data_plane=debug,info"),
        ] {
            assert_eq!(parse_level(word).unwrap().to_string(), filter, "{word}");
        }
        assert!(parse_level("DEBUG").unwrap().to_string().contains("hyper=info"));
        for bad in ["LOUD", "", "a=b=c", "info,x=loud"] {
            let message = parse_level(bad).unwrap_err().to_string();
            assert!(message.contains("WARNING") && message.contains(bad), "{message}");
        }
    }
}
