//! `skin-assist run`.

use std::{process::ExitCode, sync::Arc, time::Duration};

use crate::{
    config::Config,
    driver::stop_signal,
    failure::{Failure, Hinted as _},
    telemetry, wiring,
};

/// How long a stop waits for what was begun; what is not done by then is picked up after its lease.
const DRAIN: Duration = Duration::from_secs(25);

/// Serves the configured EHR until Ctrl-C or SIGTERM.
pub(crate) async fn run(config: &Config) -> Result<ExitCode, Failure> {
    telemetry::begin(&config.log)?;
    let state = wiring::state(config)?;
    let engine = wiring::engine(config, state, Arc::new(|_| {}))?;
    tracing::info!(
        event = "run.started",
        policy = %engine.policy,
        calls_per_minute = engine.quota.calls_per_minute,
        version = env!("CARGO_PKG_VERSION")
    );
    let (stopper, stop) = stop_signal();
    let mut running = std::pin::pin!(engine.run(stop));
    tokio::select! {
        () = &mut running => return Ok(ExitCode::SUCCESS),
        outcome = asked_to_stop() => outcome?,
    }
    tracing::info!(event = "run.stopping");
    stopper.stop();
    tokio::select! {
        () = running => tracing::info!(event = "run.stopped"),
        () = tokio::time::sleep(DRAIN) => tracing::warn!(event = "run.cut-short", "leases will expire and be taken over"),
        outcome = asked_to_stop() => {
            outcome?;
            tracing::warn!(event = "run.cut-short", "leases will expire and be taken over");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits for Ctrl-C or SIGTERM.
pub(super) async fn asked_to_stop() -> Result<(), Failure> {
    let failed = || "signals cannot be received".to_owned();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).failed(failed)?;
        tokio::select! {
            outcome = tokio::signal::ctrl_c() => outcome.failed(failed),
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await.failed(failed)
}
