//! A connection whose requests are made to their end while their future is polled for the first time, on a thread that
//! belongs to nobody.
//!
//! Under virtual time the clock moves on as soon as a future waits for anything but the clock. So a request must not be waited
//! for: it has to be over when the store's future is polled, as a transaction on a file is.

use std::sync::{OnceLock, mpsc};

use aws_config::{
    identity::IdentityCache, retry::RetryConfig, stalled_stream_protection::StalledStreamProtectionConfig,
    timeout::TimeoutConfig,
};
use aws_smithy_http_client::Builder;
use aws_smithy_runtime_api::client::{
    http::{
        HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
        http_client_fn,
    },
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::{body::SdkBody, byte_stream::ByteStream};
use tokio::runtime::Runtime;

use crate::connection::{Connection, emulator};

/// Where the requests are made.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("the system has a thread to spare")
    })
}

#[derive(Debug)]
struct InPlace(SharedHttpConnector);

impl HttpConnector for InPlace {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (sender, receiver) = mpsc::channel();
        let connector = self.0.clone();
        runtime().spawn(async move {
            // Nobody waits only when the caller has panicked.
            _ = sender.send(answer(&connector, request).await);
        });
        let ended = |_| ConnectorError::io("the thread of the requests ended".into());
        HttpConnectorFuture::ready(receiver.recv().map_err(ended).and_then(|answer| answer))
    }
}

/// The answer with its body.
async fn answer(connector: &SharedHttpConnector, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let mut response = connector.call(request).await?;
    let body = std::mem::replace(response.body_mut(), SdkBody::empty());
    let bytes = ByteStream::new(body)
        .collect()
        .await
        .map_err(|error| ConnectorError::io(error.into()))?;
    *response.body_mut() = SdkBody::from(bytes.into_bytes());
    Ok(response)
}

fn in_place(client: SharedHttpClient) -> SharedHttpClient {
    http_client_fn(
        move |settings: &HttpConnectorSettings, components: &RuntimeComponents| {
            SharedHttpConnector::new(InPlace(client.http_connector(settings, components)))
        },
    )
}

impl Connection {
    /// To an emulator at `endpoint`, in place.
    pub fn in_place_to_emulator(endpoint: &str) -> Self {
        let client = in_place(Builder::new().build_http());
        let config = emulator(endpoint, client, RetryConfig::disabled());
        // Nothing that would wait for a clock other than the run's.
        let mut config = config.into_builder();
        config.set_sleep_impl(None);
        let config = config
            .identity_cache(IdentityCache::no_cache())
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build();
        Self { config }
    }
}
