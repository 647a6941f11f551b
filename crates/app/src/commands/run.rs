//! `skin-assist run`.

use std::{future::Future, net::SocketAddr, pin::pin, process::ExitCode, sync::Arc, time::Duration};

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

use futures::{FutureExt as _, future::join};
use skin_assist_core::{
    audit::installation,
    ports::{AuditAction, StateStore},
};

use super::{Operator, retention, state_failed};
use crate::{
    clock::SystemClock,
    config::{Config, StoreName, read_secret},
    console::{AccessOptions, Bounds, Console, ConsoleOptions, LocalCode, Role, Serving},
    driver::{Event, Observer, stop_signal},
    failure::{Failure, Hinted as _},
    telemetry::{self, Collector, ReadMetrics},
    wiring,
};

/// How long a stop waits for what was begun: as long as a draft's lease, so that none is cut off in its post. What is not
/// done by then is picked up after its lease.
const DRAIN: Duration = Duration::from_secs(30);

/// How long a collector is told at the end.
const LAST_WORDS: Duration = Duration::from_secs(3);

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
    if let (true, Some(console)) = (config.ehr.base_url.is_empty(), &console) {
        until_configured(console, &mut signals).await;
        return Ok(ExitCode::SUCCESS);
    }
    let shown: Observer = console.as_ref().map_or_else(
        || -> Observer { Arc::new(|_| {}) },
        |configured| configured.console.observer(),
    );
    let measuring = console.as_ref().map(|configured| Arc::clone(&configured.console));
    let read_metrics: ReadMetrics = Box::new(move || {
        let measuring = measuring.clone();
        async move { measuring?.metrics().await.ok() }.boxed()
    });
    let collector = wiring::collector(config, read_metrics)?.map(Arc::new);
    let observer: Observer = match collector.clone() {
        Some(collector) => Arc::new(move |event: &Event| {
            collector.observe(event);
            shown(event);
        }),
        None => shown,
    };
    let engine = wiring::engine(config, Arc::clone(&state), Arc::clone(&observer)).await?;
    let telling = wiring::telling(config, Arc::clone(&state), observer)?;
    let what = format!(
        "version {} configuration {}",
        env!("CARGO_PKG_VERSION"),
        config.surroundings.digest
    );
    let started = Operator::of_the_command().entry(&installation(), AuditAction::Started, what);
    state.record(&started).await.map_err(state_failed)?;
    tracing::info!(
        event = "run.started",
        policy = %engine.policy,
        calls = engine.quotas.calls,
        window_s = engine.quotas.window.as_secs(),
        version = env!("CARGO_PKG_VERSION")
    );
    // Served until this function returns.
    let _serving = console.as_ref().map(Configured::serve);
    let (stopper, stop) = stop_signal();
    let mut running = pin!(join(engine.run(stop.clone()), telling.run(stop)));
    tokio::select! {
        _ = &mut running => return Ok(ExitCode::SUCCESS),
        () = retention::keep(&*state, wiring::retention(config)) => {}
        () = keep_telling(collector.as_deref()) => {}
        () = signals.asked_to_stop() => {}
    }
    tracing::info!(event = "run.stopping");
    if let Some(configured) = &console {
        configured.console.stopping();
    }
    stopper.stop();
    if is_drained(running.map(drop), signals.asked_to_stop(), DRAIN).await {
        tracing::info!(event = "run.stopped");
    } else {
        tracing::warn!(event = "run.cut-short", "leases will expire and be taken over");
    }
    if let Some(collector) = &collector {
        // What is not told by then is not told.
        drop(tokio::time::timeout(LAST_WORDS, collector.tell()).await);
    }
    Ok(ExitCode::SUCCESS)
}

/// Before an EHR is configured there is nothing to run: the console alone is served, whose page Connect says what the configuration lacks.
async fn until_configured(console: &Configured, signals: &mut Signals) {
    console.console.not_configured();
    let _serving = console.serve();
    let hint =
        "open the console's page Connect, which says what to write into the configuration; then start `run` anew";
    tracing::warn!(event = "run.not-configured", hint);
    signals.asked_to_stop().await;
    tracing::info!(event = "run.stopped");
}

/// Tells the collector, for ever.
async fn keep_telling(collector: Option<&Collector>) {
    match collector {
        Some(collector) => collector.keep_telling().await,
        None => std::future::pending().await,
    }
}

/// A console, where it is to be, and the code of who is on this machine.
struct Configured {
    console: Arc<Console>,
    listen: SocketAddr,
    local_code: Option<Arc<LocalCode>>,
}

impl Configured {
    fn serve(&self) -> Serving {
        let local_code = self.local_code.clone();
        Serving::start(Arc::clone(&self.console), self.listen, move |address| {
            if let Some(Err(failure)) = local_code.map(|code| code.announce(address)) {
                tracing::warn!(event = "console.no-code", error = %failure);
            }
        })
    }
}

/// The console, where one is configured.
fn console(config: &Config, state: &Arc<dyn StateStore>) -> Result<Option<Configured>, Failure> {
    let Some(listen) = config.console.address() else {
        return Ok(None);
    };
    let is_local = listen.ip().is_loopback();
    let section = &config.console;
    let files = [
        (Role::Viewer, &section.token_file, "the console's token"),
        (
            Role::Operator,
            &section.operator_token_file,
            "the console's token of operators",
        ),
        (Role::Admin, &section.admin_token_file, "the console's token of admins"),
    ];
    let mut tokens = Vec::new();
    for (role, file, what) in files.into_iter().filter(|(_, file, _)| !file.is_empty()) {
        tokens.push((role, read_secret(&config.path(file), what)?));
    }
    let local_code = (is_local && config.state.store == StoreName::Sqlite)
        .then(|| LocalCode::new(&config.state_file()).map(Arc::new))
        .transpose()?;
    let openid_connect = wiring::identity_provider(config)?;
    let is_open = is_local && section.token_file.is_empty() && openid_connect.is_none();
    let access = AccessOptions {
        everybody: is_open.then_some(Role::Viewer),
        tokens: tokens
            .into_iter()
            .chain(local_code.iter().map(|code| (Role::Admin, code.secret())))
            .collect(),
        is_remote: !is_local,
        openid_connect,
    };
    let options = ConsoleOptions {
        listen,
        access,
        standing_for: match config.state.store {
            StoreName::Sqlite => STANDING_FOR,
            StoreName::Dynamodb => STANDING_FOR_WHERE_READS_COST,
        },
        bounds: Bounds::default(),
        config: config.clone(),
    };
    let console = Console::new(Arc::clone(state), Arc::new(SystemClock), options)?;
    Ok(Some(Configured {
        console,
        listen,
        local_code,
    }))
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
