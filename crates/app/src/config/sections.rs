//! The sections of a configuration. Their keys are documented in the default file.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::Deserialize;
use skin_assist_core::{domain::Route, polling::PolicyName};

/// Section `state`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateConfig {
    /// Where the state is.
    pub store: StoreName,
    /// The state file.
    pub file: String,
    /// The file with its key.
    pub key_file: String,
    /// The file with the practices' own keys; empty for one beside the state's key.
    pub firm_keys: String,
}

/// Names of stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreName {
    /// One encrypted file.
    Sqlite,
    /// DynamoDB.
    Dynamodb,
}

/// Section `aws`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsConfig {
    /// The region; empty for what the environment says.
    pub region: String,
    /// Another endpoint for all services; empty for AWS itself or what the environment says.
    pub endpoint: String,
    /// How the names of the tables begin.
    pub table_prefix: String,
    /// The bucket of photos.
    pub photo_bucket: String,
    /// The key of photos.
    pub key_id: String,
    /// The secret with the API key.
    pub api_key_secret: String,
    /// The secret that the keys of practices are wrapped under.
    pub firm_keys_secret: String,
    /// Firms of a shard.
    pub shard_size: usize,
    /// How long a sweep begins new calls, in seconds.
    pub sweep_seconds: u64,
}

/// Section `ehr`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EhrConfig {
    /// Name of a shipped profile, or a profile file.
    pub profile: String,
    /// `{base}` of the profile's URLs.
    pub base_url: String,
    /// The token endpoint.
    pub token_url: String,
    /// The file with the API key.
    pub api_key_file: String,
    /// Further API keys, each as `NAME=FILE`.
    pub further_api_key_files: Vec<String>,
    /// Hosts of photos, beside the profile's.
    pub photo_hosts: Vec<String>,
    /// Calls a minute for all firms; 0 for the profile's.
    pub calls_per_minute: u32,
    /// Plain http to this machine.
    pub allow_loopback_http: bool,
    /// Certificates of a private authority that the EHR's may be of.
    pub ca_file: String,
    /// The certificate that this client shows to the EHR.
    pub client_certificate_file: String,
    /// Its private key.
    pub client_key_file: String,
}

/// Section `polling`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollingConfig {
    /// Which policy.
    pub policy: PolicyName,
    /// What a call costs at least.
    pub least_price: f64,
    /// For how many days encounters past their watch are looked at once more.
    pub reconcile_days: u64,
}

/// Section `assessments`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssessmentsConfig {
    /// How long further photos are waited for on the solitary route, in seconds.
    pub solitary_window_seconds: u64,
    /// The same on the widespread route.
    pub widespread_window_seconds: u64,
}

/// Section `photos`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhotosConfig {
    /// Most bytes of a photo, in megabytes.
    pub max_megabytes: usize,
    /// Most pixels of a photo, in megapixels.
    pub max_megapixels: u64,
    /// Most bytes of photos in memory, in megabytes.
    pub memory_megabytes: usize,
}

/// Section `models`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelsConfig {
    /// Folder of model packs; empty for the built-in ones.
    pub directory: String,
    /// Which runtime.
    pub runtime: RuntimeName,
    /// The ONNX Runtime library.
    pub onnx_runtime_library: String,
    /// Photos at once; 0 for the number of cores.
    pub workers: usize,
    /// The address of a model server; empty for none.
    pub remote_url: String,
    /// The address of a server that runs the packs' models; empty for none.
    pub tensor_url: String,
    /// The SageMaker endpoint of the solitary route; empty for none.
    pub sagemaker_solitary: String,
    /// The SageMaker endpoint of the widespread route; empty for none.
    pub sagemaker_widespread: String,
    /// How long a model server may take for a photo.
    pub remote_timeout_seconds: u64,
}

impl ModelsConfig {
    /// The SageMaker endpoints that are configured.
    pub fn sagemaker_endpoints(&self) -> BTreeMap<Route, String> {
        let named = [
            (Route::Solitary, &self.sagemaker_solitary),
            (Route::Widespread, &self.sagemaker_widespread),
        ];
        let given = named.into_iter().filter(|(_, name)| !name.is_empty());
        given.map(|(route, name)| (route, name.clone())).collect()
    }
}

/// Names of inference runtimes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeName {
    /// ONNX Runtime where found, else rten.
    Auto,
    /// rten.
    Rten,
    /// ONNX Runtime.
    OnnxRuntime,
}

/// Section `language`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanguageConfig {
    /// Who puts findings into words.
    pub kind: LanguageKind,
    /// The model.
    pub model: String,
    /// The endpoint.
    pub url: String,
    /// The file with its key.
    pub api_key_file: String,
    /// The header that the key goes into; empty for a bearer token.
    pub api_key_header: String,
    /// Plain http to this machine.
    pub allow_loopback_http: bool,
    /// How long an answer is waited for, in seconds.
    pub timeout_seconds: u64,
    /// The price of a million input tokens.
    pub input_price: f64,
    /// The price of a million output tokens.
    pub output_price: f64,
    /// What a firm may spend in a day; 0 for no limit.
    pub budget_per_firm_and_day: f64,
}

/// Kinds of language models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LanguageKind {
    /// The composer.
    None,
    /// An OpenAI-compatible endpoint.
    OpenAi,
    /// Amazon Bedrock.
    Bedrock,
}

/// Section `workers`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkersConfig {
    /// Polls in flight.
    pub poll: usize,
    /// Downloads in flight.
    pub download: usize,
    /// Drafts in flight.
    pub write_back: usize,
}

/// Section `subscriptions`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionsConfig {
    /// Plain http to this machine.
    pub allow_loopback_http: bool,
    /// Subscribers in private networks.
    pub allow_private_addresses: bool,
    /// After how many hours of failures a notification is given up.
    pub give_up_hours: u64,
}

/// Section `retention`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionConfig {
    /// Results, in days; 0 for ever.
    pub results_days: u64,
    /// Entries of the audit trail, in days; 0 for ever.
    pub audit_days: u64,
}

/// Section `console`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleConfig {
    /// An address and a port; empty for none.
    pub listen: String,
    /// The file with the token of who may look.
    pub token_file: String,
    /// The file with the token of who may repair.
    pub operator_token_file: String,
    /// The file with the token of who may connect practices and change what is written.
    pub admin_token_file: String,
}

impl ConsoleConfig {
    /// Where to listen, if anywhere.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listen.parse().ok()
    }
}

/// Section `openid_connect`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenIdConnectConfig {
    /// The provider; empty for none.
    pub issuer: String,
    /// What it knows the console by.
    pub client_id: String,
    /// The file with the client's secret; empty for a public client.
    pub client_secret_file: String,
    /// Certificates of a private authority.
    pub ca_file: String,
    /// Under which address browsers reach the console.
    pub console_url: String,
    /// Asked for besides `openid`.
    pub scopes: Vec<String>,
    /// The claim with what somebody is.
    pub role_claim: String,
    /// Its values that make somebody a viewer,
    pub viewers: Vec<String>,
    /// an operator,
    pub operators: Vec<String>,
    /// an admin.
    pub admins: Vec<String>,
    /// The claim that people are named by.
    pub name_claim: String,
}

/// Section `log`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// How.
    pub format: LogFormat,
    /// How much.
    pub level: String,
}

/// Section `telemetry`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    /// The base of an OpenTelemetry collector's addresses; empty for none.
    pub otlp_endpoint: String,
    /// The file with the headers that it wants.
    pub otlp_headers_file: String,
    /// How often it is told, in seconds.
    pub otlp_every_seconds: u64,
    /// Plain http to this machine.
    pub allow_loopback_http: bool,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines, one JSON object a line.
    Json,
}
