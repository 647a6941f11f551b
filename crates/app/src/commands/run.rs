//! `skin-assist run`.

use std::{future::Future, net::SocketAddr, pin::pin, process::ExitCode, sync::Arc, time::Duration};

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

use skin_assist_core::{
    audit::installation,
    ports::{AuditAction, AuditRecord, StateStore},
    time::Clock as _,
};

use super::{operator, retention, state_failed};
use crate::{
    clock::SystemClock,
    config::{Config, StoreName, read_secret},
    console::{Console, ConsoleOptions, Serving},
    driver::{Observer, stop_signal},
    failure::{Failure, Hinted as _},
    telemetry, wiring,
};

/// How long a stop waits for what was begun: as long as a draft's lease, so that none is cut off in its post. What is not
/// done by then is picked up after its lease.
const DRAIN: Duration = Duration::from_secs(30);

/// For how long what the console read of the state is good.
const STANDING_FOR: Duration = Duration::from_secs(5);
const STANDING_FOR_WHERE_READS_COST: Duration = Duration::from_secs(60);

/// Serves the configured EHR until Ctrl-C or SIGTERM.
pub(crate) async fn run(config: &Config) -> Result<ExitCode, Failure> {
    // From here on a signal is a request to stop, not the end.
    let mut signals = Signals::listen()?;
    telemetry::begin(&config.log)?;
    let state = wiring::state(config).await?;
    let console = console(config, &state)?;
    let observer: Observer = console
        .as_ref()
        .map_or_else(|| -> Observer { Arc::new(|_| {}) }, |(console, _)| console.observer());
    let engine = wiring::engine(config, Arc::clone(&state), observer).await?;
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
    // Served until this function returns.
    let _serving = console
        .as_ref()
        .map(|(console, listen)| Serving::start(Arc::clone(console), *listen));
    let (stopper, stop) = stop_signal();
    let mut running = pin!(engine.run(stop));
    tokio::select! {
        () = &mut running => return Ok(ExitCode::SUCCESS),
        () = retention::keep(&*state, wiring::retention(config)) => {}
        () = signals.asked_to_stop() => {}
    }
    tracing::info!(event = "run.stopping");
    if let Some((console, _)) = &console {
        console.stopping();
    }
    stopper.stop();
    if is_drained(running, signals.asked_to_stop(), DRAIN).await {
        tracing::info!(event = "run.stopped");
    } else {
        tracing::warn!(event = "run.cut-short", "leases will expire and be taken over");
    }
    Ok(ExitCode::SUCCESS)
}

/// The console and its address, where one is configured.
fn console(config: &Config, state: &Arc<dyn StateStore>) -> Result<Option<(Arc<Console>, SocketAddr)>, Failure> {
    let Some(listen) = config.console.address() else {
        return Ok(None);
    };
    let file = &config.console.token_file;
    let token = (!file.is_empty())
        .then(|| read_secret(&config.path(file), "the console's token"))
        .transpose()?;
    let options = ConsoleOptions {
        listen,
        token,
        standing_for: match config.state.store {
            StoreName::Sqlite => STANDING_FOR,
            StoreName::Dynamodb => STANDING_FOR_WHERE_READS_COST,
        },
    };
    let console = Console::new(Arc::clone(state), Arc::new(SystemClock), &options);
    Ok(Some((console, listen)))
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
