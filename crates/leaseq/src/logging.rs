//! Logs: on standard error or in the journal, each with an `id` that stays the same between versions (`docs/messages.md`).

use std::io;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt};

use crate::cli::{LogFormat, LogLevel};

/// Which logs are written, where the command line does not say it.
pub const FILTER_VARIABLE: &str = "LEASEQ_LOG";
/// Put before a value's name to make a field of the journal, so that no log can pass for one of systemd's own fields.
const JOURNAL_PREFIX: &str = "LEASEQ";

type Output = Box<dyn Layer<Registry> + Send + Sync>;

/// Begins to log.
pub fn start(format: LogFormat, level: Option<LogLevel>) {
    let (output, fault) = match output(format) {
        Ok(output) => (output, None),
        Err(error) => (text(), Some(error)),
    };
    let output = output.with_filter(filter(level));
    // Only a logger that is there already makes this fail, and then that one goes on.
    let _ = tracing_subscriber::registry().with(output).try_init();
    if let Some(error) = fault {
        tracing::warn!(id = "log-journald-missing", %error, "the journal cannot be written to: logs go to standard error");
    }
}

fn output(format: LogFormat) -> io::Result<Output> {
    Ok(match format {
        LogFormat::Text => text(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_target(false)
            .with_writer(io::stderr)
            .boxed(),
        LogFormat::Journald => tracing_journald::layer()?
            .with_field_prefix(Some(JOURNAL_PREFIX.to_owned()))
            .with_priority_mappings(priorities())
            .with_syslog_identifier("leaseq".to_owned())
            .boxed(),
    })
}

fn text() -> Output {
    fmt::layer()
        .with_target(false)
        .with_ansi(false)
        .with_writer(io::stderr)
        .boxed()
}

/// As syslog's levels are called.
fn priorities() -> tracing_journald::PriorityMappings {
    use tracing_journald::{Priority, PriorityMappings};
    PriorityMappings {
        error: Priority::Error,
        warn: Priority::Warning,
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
    }
}

/// The command line has the first word, then the environment.
fn filter(level: Option<LogLevel>) -> EnvFilter {
    // rustls tells every alert, without an id and where requestors are served: failed handshakes are counted instead.
    let of_level = |level| EnvFilter::new(format!("{level},rustls=off"));
    match level {
        Some(LogLevel::Error) => of_level("error"),
        Some(LogLevel::Warn) => of_level("warn"),
        Some(LogLevel::Info) => of_level("info"),
        Some(LogLevel::Debug) => of_level("debug"),
        Some(LogLevel::Trace) => of_level("trace"),
        None => EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| of_level("info")),
    }
}
