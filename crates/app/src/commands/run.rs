//! `skin-assist run`.

use std::{future::Future, pin::pin, process::ExitCode, sync::Arc, time::Duration};

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
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
    let engine = wiring::engine(config, state, Arc::new(|_| {})).await?;
    tracing::info!(
        event = "run.started",
        policy = %engine.policy,
        calls = engine.quotas.calls,
        window_s = engine.quotas.window.as_secs(),
        version = env!("CARGO_PKG_VERSION")
    );
    let (stopper, stop) = stop_signal();
    let mut running = pin!(engine.run(stop));
    tokio::select! {
        () = &mut running => return Ok(ExitCode::SUCCESS),
        () = signals.asked_to_stop() => {}
    }
    tracing::info!(event = "run.stopping");
    stopper.stop();
    if is_drained(running, signals.asked_to_stop(), DRAIN).await {
        tracing::info!(event = "run.stopped");
    } else {
        tracing::warn!(event = "run.cut-short", "leases will expire and be taken over");
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits until `running` is over, but not past `deadline` and not after somebody asked again. Whether it is over.
async fn is_drained(
    running: impl Future<Output = ()>,
    asked_again: impl Future<Output = ()>,
    deadline: Duration,
) -> bool {
    tokio::select! {
        biased;
        () = running => true,
        () = tokio::time::sleep(deadline) => false,
        () = asked_again => false,
    }
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

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const NEVER: Duration = Duration::from_secs(3600);
    const SOON: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_stop_waits_for_what_was_begun_until_the_deadline_or_a_second_signal() {
        let work = || tokio::time::sleep(SOON);
        assert!(is_drained(work(), pending(), NEVER).await, "what was begun is finished");
        assert!(!is_drained(pending(), pending(), SOON).await, "not past the deadline");
        assert!(
            !is_drained(pending(), ready(()), NEVER).await,
            "nor against a second signal"
        );
        assert!(is_drained(ready(()), ready(()), Duration::ZERO).await);
    }
}
