//! How AWS is reached: one HTTP client for all services, TLS by rustls on ring like everything else here.
//!
//! Region, credentials and endpoints are found as the SDK finds them: the environment, the profile files, the role of
//! the function, container or instance.

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

/// How often a request is sent at most. A connection that went stale in the pool is not worth a failed step; whatever lasts
/// longer is the stages' to try again.
const ATTEMPTS: u32 = 2;

/// A connection to AWS, shared by the adapters of its services.
#[derive(Debug, Clone)]
pub struct Connection {
    pub(crate) config: SdkConfig,
}

fn http_client() -> SharedHttpClient {
    Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https()
}

impl Connection {
    /// As the environment says, where nothing is given here. Nothing is sent, but credentials may be asked for later.
    pub async fn from_environment(region: Option<&str>, endpoint: Option<&str>) -> Self {
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http_client())
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
        if let Some(region) = region {
            loader = loader.region(Region::new(region.to_owned()));
        }
        if let Some(endpoint) = endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        Self {
            config: loader.load().await,
        }
    }

    /// To an emulator at `endpoint`, whatever the environment says: with credentials that are none, and without TLS.
    pub fn to_emulator(endpoint: &str) -> Self {
        let retries = RetryConfig::standard().with_max_attempts(ATTEMPTS);
        Self {
            config: emulator(endpoint, Builder::new().build_http(), retries),
        }
    }
}

impl Connection {
    /// The SDK's own settings: for what an adapter of this crate does not do, such as making a bucket in a test.
    pub const fn sdk(&self) -> &SdkConfig {
        &self.config
    }

    /// Whether all services are at one endpoint that is not AWS.
    pub(crate) fn is_emulator(&self) -> bool {
        self.config.endpoint_url().is_some()
    }
}

/// Settings for an emulator.
pub(crate) fn emulator(endpoint: &str, client: SharedHttpClient, retries: RetryConfig) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(Credentials::from_keys(
            "emulator", "emulator", None,
        )))
        .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
        .http_client(client)
        .retry_config(retries)
        .build()
}
