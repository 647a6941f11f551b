//! `skin-assist serve-models`.

use std::{process::ExitCode, sync::Arc, time::Duration};

use super::run::Signals;
use crate::{
    cli::ServeModelsArguments,
    clock::SystemClock,
    config::Config,
    failure::{Failure, Hinted as _, WithHint as _},
    model_server::{Server, ServerOptions},
    telemetry, wiring,
};

/// How long a stop waits for photos in work.
const DRAIN: Duration = Duration::from_secs(60);

/// Slots for each worker: one photo in its hands, one waiting, two arriving or leaving.
const SLOTS_PER_WORKER: usize = 4;

/// Serves the models until Ctrl-C or SIGTERM.
pub(crate) async fn serve_models(mut config: Config, arguments: ServeModelsArguments) -> Result<ExitCode, Failure> {
    let mut signals = Signals::listen()?;
    telemetry::begin(&config.log)?;
    if let Some(folder) = arguments.models {
        // From the command line: relative to where the command was given, not to the configuration file.
        let folder = std::path::absolute(&folder).failed(|| format!("{} is no folder", folder.display()))?;
        config.models.directory = folder.display().to_string();
    }
    let vision = wiring::vision(&config)?;
    let slots = arguments
        .slots
        .map_or(SLOTS_PER_WORKER * wiring::vision_workers(&config).get(), usize::from);
    let options = ServerOptions {
        listen: arguments.listen,
        slots,
        photo_bytes: config.photos.max_megabytes * 1_000_000,
    };
    let server = Server::start(vision, Arc::new(SystemClock), options)
        .await
        .failed(|| format!("the models cannot be served at {}", arguments.listen))
        .hint("another program may have the port: choose one with --listen")?;
    let address = server.address();
    if !address.ip().is_loopback() {
        tracing::warn!(event = "model-server.open", address = %address);
    }
    tracing::info!(event = "model-server.started", address = %address, slots, version = env!("CARGO_PKG_VERSION"));
    say!("The models are served at http://{address}. Ctrl-C ends it.");
    signals.asked_to_stop().await;
    tracing::info!(event = "model-server.stopping");
    let drained = tokio::select! {
        drained = server.shutdown(DRAIN) => drained,
        () = signals.asked_to_stop() => false,
    };
    if drained {
        tracing::info!(event = "model-server.stopped");
    } else {
        tracing::warn!(event = "model-server.cut-short");
    }
    Ok(ExitCode::SUCCESS)
}
