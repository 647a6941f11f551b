//! What is told of the running program: logs, structured, on standard error (docs/logging.md); traces and metrics for an
//! OpenTelemetry collector (docs/telemetry.md). Ids and codes only.

mod collector;
mod figures;
mod spans;

use std::io::IsTerminal as _;

use serde_json::{Value, json};
use skin_assist_core::time::Timestamp;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    config::{LogConfig, LogFormat},
    failure::{Failure, Hinted as _, WithHint as _},
};

pub(crate) use collector::{Collector, CollectorOptions, ReadMetrics};

/// An attribute as OpenTelemetry's JSON has it.
fn attribute(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// Nanoseconds since the Unix epoch, as a text: 64-bit numbers are texts in Protobuf's JSON.
fn nanos(at: Timestamp) -> String {
    (i128::from(at.as_millis().max(0)) * 1_000_000).to_string()
}

/// Begins to write logs as configured. At the first call only; later ones change nothing.
pub(crate) fn begin(config: &LogConfig) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&config.level)
        .failed(|| "log.level is not a level or a filter".to_owned())
        .hint("for example \"info\" or \"info,skin_assist_ehr=debug\"")?;
    let registry = tracing_subscriber::registry().with(filter);
    let colours = std::io::stderr().is_terminal();
    let written = match config.format {
        LogFormat::Text => registry
            .with(fmt::layer().with_ansi(colours).with_writer(std::io::stderr))
            .try_init(),
        LogFormat::Json => registry
            .with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr))
            .try_init(),
    };
    // A second begin is a test or an embedding program that has its own subscriber.
    drop(written);
    Ok(())
}
