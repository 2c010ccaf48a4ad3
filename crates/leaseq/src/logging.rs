//! Logs: on standard error, each message with an `id` that stays the same between versions.

use std::io;

use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

/// Which messages are written unless this environment variable says otherwise.
const FILTER_VARIABLE: &str = "LEASEQ_LOG";
/// rustls tells every alert, without an id and where requestors are served: failed handshakes are counted instead.
const DEFAULT: &str = "info,rustls=off";

/// Begins to log.
pub fn start(format: LogFormat) {
    let filter =
        EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    // Only a logger that is there already makes this fail, and then that one goes on.
    let _ = match format {
        LogFormat::Text => builder.with_target(false).with_ansi(false).try_init(),
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_target(false)
            .try_init(),
    };
}
