//! A connection whose requests are made to their end while their future is polled for the first time, on a thread that
//! belongs to nobody.
//!
//! Under virtual time the clock moves on as soon as a future waits for anything but the clock. So a request must not be waited
//! for: it has to be over when the store's future is polled, as a transaction on a file is.

use std::{
    fmt,
    sync::{Arc, OnceLock, mpsc},
};

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

/// Told of each request to DynamoDB that was answered: the operation, such as `UpdateItem`, and the bodies of request and
/// answer. The answer says what capacity was consumed, by table and index.
pub type Meter = Arc<dyn Fn(&str, &[u8], &[u8]) + Send + Sync>;

struct InPlace {
    connector: SharedHttpConnector,
    meter: Option<Meter>,
}

impl fmt::Debug for InPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("InPlace")
    }
}

/// The operation that a request to DynamoDB asks for.
fn operation(request: &HttpRequest) -> Option<String> {
    let target = request.headers().get("x-amz-target")?;
    Some(target.strip_prefix("DynamoDB_20120810.")?.to_owned())
}

/// Has the answer say what the request consumed. An emulator does not check the signature, which this breaks.
fn ask_for_capacity(request: &mut HttpRequest) -> Option<()> {
    let body = request.body().bytes()?;
    let rest = body.strip_prefix(b"{")?;
    let separator: &[u8] = if rest == b"}" { b"" } else { b"," };
    let asked = [br#"{"ReturnConsumedCapacity":"INDEXES""#, separator, rest].concat();
    request.headers_mut().insert("content-length", asked.len().to_string());
    *request.body_mut() = SdkBody::from(asked);
    Some(())
}

impl HttpConnector for InPlace {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let metered = self.meter.clone().zip(operation(&request));
        if metered.is_some() {
            ask_for_capacity(&mut request);
        }
        let asked = metered
            .is_some()
            .then(|| request.body().bytes().unwrap_or_default().to_vec());
        let (sender, receiver) = mpsc::channel();
        let connector = self.connector.clone();
        runtime().spawn(async move {
            // Nobody waits only when the caller has panicked.
            _ = sender.send(answer(&connector, request).await);
        });
        let ended = |_| ConnectorError::io("the thread of the requests ended".into());
        let answer = receiver.recv().map_err(ended).and_then(|answer| answer);
        if let (Some((meter, operation)), Ok(answer)) = (metered, &answer) {
            meter(
                &operation,
                &asked.unwrap_or_default(),
                answer.body().bytes().unwrap_or_default(),
            );
        }
        HttpConnectorFuture::ready(answer)
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

fn in_place(client: SharedHttpClient, meter: Option<Meter>) -> SharedHttpClient {
    http_client_fn(
        move |settings: &HttpConnectorSettings, components: &RuntimeComponents| {
            SharedHttpConnector::new(InPlace {
                connector: client.http_connector(settings, components),
                meter: meter.clone(),
            })
        },
    )
}

impl Connection {
    /// To an emulator at `endpoint`, in place.
    pub fn in_place_to_emulator(endpoint: &str) -> Self {
        Self::in_place(endpoint, None)
    }

    /// The same, and each request to DynamoDB is told to `meter`.
    pub fn metered_to_emulator(endpoint: &str, meter: Meter) -> Self {
        Self::in_place(endpoint, Some(meter))
    }

    fn in_place(endpoint: &str, meter: Option<Meter>) -> Self {
        let client = in_place(Builder::new().build_http(), meter);
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
