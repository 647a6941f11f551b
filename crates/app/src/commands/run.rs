//! `skin-assist run`.

use std::{process::ExitCode, sync::Arc, time::Duration};

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

use skin_assist_core::{
    audit::installation,
    ports::{AuditAction, AuditRecord},
    time::Clock as _,
};

use super::{operator, retention, state_failed};
use crate::{
    clock::SystemClock,
    config::Config,
    driver::stop_signal,
    failure::{Failure, Hinted as _},
    telemetry, wiring,
};

/// How long a stop waits for what was begun: as long as a draft's lease, so that none is cut off in its post. What is not
/// done by then is picked up after its lease.
const DRAIN: Duration = Duration::from_secs(30);

/// Serves the configured EHR until Ctrl-C or SIGTERM.
pub(crate) async fn run(config: &Config) -> Result<ExitCode, Failure> {
    // From here on a signal is a request to stop, not the end.
    let mut signals = Signals::listen()?;
    telemetry::begin(&config.log)?;
    let state = wiring::state(config).await?;
    let engine = wiring::engine(config, Arc::clone(&state), Arc::new(|_| {})).await?;
    let started = AuditRecord {
        at: SystemClock.now(),
        firm: installation(),
        actor: operator(),
        action: AuditAction::Started,
        subject: format!(
            "version {} configuration {}",
            env!("CARGO_PKG_VERSION"),
            config.surroundings.digest
        ),
    };
    state.record(&started).await.map_err(state_failed)?;
    tracing::info!(
        event = "run.started",
        policy = %engine.policy,
        calls = engine.quotas.calls,
        window_s = engine.quotas.window.as_secs(),
        version = env!("CARGO_PKG_VERSION")
    );
    let (stopper, stop) = stop_signal();
    let mut running = std::pin::pin!(engine.run(stop));
    tokio::select! {
        () = &mut running => return Ok(ExitCode::SUCCESS),
        () = retention::keep(&*state, wiring::retention(config)) => {}
        () = signals.asked_to_stop() => {}
    }
    tracing::info!(event = "run.stopping");
    stopper.stop();
    tokio::select! {
        () = running => tracing::info!(event = "run.stopped"),
        () = tokio::time::sleep(DRAIN) => tracing::warn!(event = "run.cut-short", "leases will expire and be taken over"),
        () = signals.asked_to_stop() => {
            tracing::warn!(event = "run.cut-short", "leases will expire and be taken over");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Ctrl-C and SIGTERM, listened to from its making on.
pub(super) struct Signals {
    #[cfg(unix)]
    interrupt: Signal,
    #[cfg(unix)]
    terminate: Signal,
}

impl Signals {
    #[cfg(unix)]
    pub(super) fn listen() -> Result<Self, Failure> {
        let failed = || "signals cannot be received".to_owned();
        let interrupt = signal(SignalKind::interrupt()).failed(failed)?;
        Ok(Self {
            interrupt,
            terminate: signal(SignalKind::terminate()).failed(failed)?,
        })
    }

    #[cfg(unix)]
    pub(super) async fn asked_to_stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    #[cfg(not(unix))]
    pub(super) fn listen() -> Result<Self, Failure> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    pub(super) async fn asked_to_stop(&mut self) {
        // Without a console there is no Ctrl-C to wait for.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
