//! Wiring: from a configuration to the ports. The only place where adapters meet.

#[cfg_attr(not(feature = "aws"), path = "wiring/without_aws.rs")]
pub(crate) mod aws;
mod identity;
mod models;
mod tensors;

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use skin_assist_core::{
    domain::{GatheringWindows, Route},
    photos::MemoryPhotos,
    polling::PolicySettings,
    ports::{
        ChartReader as _, ChatModel, LanguageModel, Photos, RetentionLimits, StateStore, TokenEndpoint, VisionModel,
    },
    synthesis::{Composer, Knowledge, Spending, Synthesizer},
};
use skin_assist_ehr::{EhrClient, EhrConnection, HostPattern, Limits, Profile, QuotaScope};
use skin_assist_endpoints::language::{ChatEndpoint, OpenAiChat};
use skin_assist_models::{
    PackVision, ReloadingVision, VisionOptions, VisionSetupError,
    pack::{self, Pack},
    photo,
    runtime::{Runtime, RuntimeChoice},
};
use skin_assist_store::{OpenError, SqliteStore};
use skin_assist_subscribers::Webhooks;
use skin_assist_transport::{HttpOptions, ReqwestTransport};
use url::Url;

pub use identity::identity_provider;
pub use models::models;

use crate::{
    clock::SystemClock,
    config::{Config, LanguageKind, RuntimeName, StoreName, read_secret, read_state_key},
    driver::{Engine, Observer, Quotas, Telling, Workers},
    failure::{Failure, Hinted as _, WithHint as _},
    telemetry::{Collector, CollectorOptions, ReadMetrics},
};

const MEGA: usize = 1_000_000;
/// How often the folder of model packs is looked at.
const LOOK_FOR_PACKS_EVERY: Duration = Duration::from_secs(5);

/// Opens the state.
pub async fn state(config: &Config) -> Result<Arc<dyn StateStore>, Failure> {
    match config.state.store {
        StoreName::Sqlite => Ok(state_file(config)?),
        StoreName::Dynamodb => aws::state(config).await,
    }
}

/// Opens the state file. Where a change of its key was interrupted, with the new key.
pub fn state_file(config: &Config) -> Result<Arc<SqliteStore>, Failure> {
    let (path, firm_keys) = (config.state_file(), config.firm_keys_file());
    let outcome = match SqliteStore::open_with(&path, &firm_keys, &config.state_key()?) {
        Err(OpenError::WrongKey { .. }) if rotation_under_way(config) => {
            SqliteStore::open_with(&path, &firm_keys, &read_state_key(&next_key_file(config)?)?)
        }
        outcome => outcome,
    };
    outcome.map(Arc::new).map_err(|error| {
        let hint = error.hint();
        Failure::new("the state cannot be used").because(error).with_hint(hint)
    })
}

/// Where the new key is while the state's key is changed.
pub fn next_key_file(config: &Config) -> Result<PathBuf, Failure> {
    let Some(key_file) = config.state_key_file() else {
        return Err(Failure::new("the key of the state file is not in a file").with_hint(
            "put it into a file of its own, name that as state.key_file, and unset SKIN_ASSIST_STATE_KEY: \
             the environment cannot be changed from here",
        ));
    };
    let mut name = key_file.into_os_string();
    name.push(".next");
    Ok(PathBuf::from(name))
}

fn rotation_under_way(config: &Config) -> bool {
    next_key_file(config).is_ok_and(|file| file.exists())
}

/// The profile of the configured EHR.
pub fn profile(config: &Config) -> Result<Profile, Failure> {
    let name = &config.ehr.profile;
    if Path::new(name).extension().is_some_and(|extension| extension == "toml") {
        let path = config.path(name);
        let text = std::fs::read_to_string(&path)
            .failed(|| format!("the EHR profile {} cannot be read", path.display()))
            .hint("check ehr.profile")?;
        return Profile::from_toml(&text)
            .failed(|| format!("the EHR profile {} cannot be used", path.display()))
            .hint("compare it with a shipped profile");
    }
    Profile::shipped(name)
        .failed(|| format!("there is no EHR profile `{name}`"))
        .map_err(|failure| {
            failure.with_hint(format!(
                "shipped are {}; or name a file ending in .toml",
                Profile::shipped_names().join(", ")
            ))
        })
}

/// Connects to the configured EHR. Nothing is sent yet.
pub fn ehr(config: &Config) -> Result<Arc<EhrClient>, Failure> {
    let url = |key: &str, text: &str| {
        if text.is_empty() {
            let problem = format!("{key} is not configured");
            return Err(Failure::new(problem).with_hint("set it in skin-assist.toml; see `skin-assist config default`"));
        }
        Url::parse(text).failed(|| format!("{key} is not a URL"))
    };
    let hosts = config.ehr.photo_hosts.iter().map(|host| HostPattern::parse(host));
    let connection = EhrConnection {
        profile: profile(config)?,
        base_url: url("ehr.base_url", &config.ehr.base_url)?,
        token_url: match config.ehr.token_url.as_str() {
            "" => None,
            text => Some(url("ehr.token_url", text)?),
        },
        api_key: config.api_key()?,
        further_api_keys: config.further_api_keys()?,
        photo_hosts: hosts
            .collect::<Result<_, _>>()
            .failed(|| "ehr.photo_hosts has an entry that is no host".to_owned())?,
        allow_loopback_http: config.ehr.allow_loopback_http,
        limits: Limits {
            photo_bytes: config.photos.max_megabytes * MEGA,
            ..Limits::default()
        },
    };
    let options = HttpOptions {
        allow_loopback_http: config.ehr.allow_loopback_http,
        private_ca: config.certificates("ehr.ca_file", &config.ehr.ca_file)?,
        identity: config.ehr_identity()?,
        ..HttpOptions::default()
    };
    let transports = ReqwestTransport::for_api(&options)
        .and_then(|api| Ok((api, ReqwestTransport::for_photos(&options)?)))
        .failed(|| "HTTP cannot be set up".to_owned())
        .hint("check ehr.ca_file, ehr.client_certificate_file and ehr.client_key_file: each is PEM")?;
    EhrClient::new(connection, Arc::new(transports.0), Arc::new(transports.1))
        .map(Arc::new)
        .map_err(|error| {
            let hint = error.hint();
            Failure::new("the connection to the EHR cannot be used")
                .because(error)
                .with_hint(hint)
        })
}

/// Where tokens are asked for: `ehr`, and in front of it, where there is AWS, the secrets that credentials may name.
pub async fn token_endpoint(config: &Config, ehr: Arc<EhrClient>) -> Arc<dyn TokenEndpoint> {
    match config.state.store {
        StoreName::Sqlite => ehr,
        // Boxed: the SDK's futures are large.
        StoreName::Dynamodb => Box::pin(aws::token_endpoint(config, ehr)).await,
    }
}

/// The quotas that calls count against.
pub fn quotas(config: &Config) -> Result<Quotas, Failure> {
    let profile = profile(config)?;
    let configured = config.ehr.calls_per_minute;
    let (calls, window) = if configured > 0 {
        (configured, Duration::from_secs(60))
    } else {
        (profile.quota.calls, profile.quota.window())
    };
    Ok(Quotas {
        name: profile.name,
        calls,
        window,
        each_firm: profile.quota.scope == QuotaScope::Firm,
    })
}

/// The inference runtime.
pub fn runtime(config: &Config) -> Result<Runtime, Failure> {
    let choice = match config.models.runtime {
        RuntimeName::Auto => RuntimeChoice::Auto,
        RuntimeName::Rten => RuntimeChoice::Rten,
        RuntimeName::OnnxRuntime => RuntimeChoice::OnnxRuntime(config.path(&config.models.onnx_runtime_library)),
    };
    Runtime::open(&choice).map_err(|error| {
        let hint = error.hint();
        Failure::new("the inference runtime cannot be used")
            .because(error)
            .with_hint(hint)
    })
}

fn unusable(error: pack::Error) -> Failure {
    let hint = error.hint();
    Failure::new("a model pack cannot be used")
        .because(error)
        .with_hint(hint)
}

/// The model packs: those of the configured folder, or the built-in reference packs.
pub fn packs(config: &Config) -> Result<Vec<Pack>, Failure> {
    if config.models.directory.is_empty() {
        return Route::ALL
            .into_iter()
            .map(Pack::reference)
            .collect::<Result<_, _>>()
            .map_err(unusable);
    }
    let folders = pack_folders(&config.path(&config.models.directory))?;
    folders
        .iter()
        .map(|folder| Pack::from_directory(folder))
        .collect::<Result<_, _>>()
        .map_err(unusable)
}

/// The folders of packs in the configured folder; at least one.
fn pack_folders(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let folders = pack::find(folder)
        .failed(|| format!("the folder of model packs {} cannot be read", folder.display()))
        .hint("check models.directory")?;
    if folders.is_empty() {
        return Err(Failure::new(format!("there is no model pack in {}", folder.display()))
            .with_hint("a pack is a folder with a pack.toml"));
    }
    Ok(folders)
}

/// How many photos are looked at simultaneously.
pub(crate) fn vision_workers(config: &Config) -> NonZeroUsize {
    NonZeroUsize::new(config.models.workers).unwrap_or(VisionOptions::default().workers)
}

/// What a photo may be.
pub(crate) const fn photo_limits(config: &Config) -> photo::Limits {
    photo::Limits {
        max_pixels: config.photos.max_megapixels * MEGA as u64,
    }
}

/// How packs are run.
fn vision_options(config: &Config) -> VisionOptions {
    VisionOptions {
        workers: vision_workers(config),
        limits: photo_limits(config),
        ..VisionOptions::default()
    }
}

/// The vision models, loaded and tried. Those of a folder are taken up anew when it changes.
pub fn vision(config: &Config) -> Result<Arc<dyn VisionModel>, Failure> {
    let options = vision_options(config);
    let runtime = runtime(config)?;
    let vision: Result<Arc<dyn VisionModel>, _> = if config.models.directory.is_empty() {
        PackVision::new(&runtime, &packs(config)?, options).map(|vision| Arc::new(vision) as _)
    } else {
        let folder = config.path(&config.models.directory);
        // For its errors, which name the key of the configuration.
        pack_folders(&folder)?;
        ReloadingVision::new(runtime, folder, options, LOOK_FOR_PACKS_EVERY).map(|vision| Arc::new(vision) as _)
    };
    vision.map_err(|error| match error {
        VisionSetupError::Pack(error) => unusable(error),
        error => {
            let hint = error.hint();
            Failure::new("the vision models cannot be put to work")
                .because(error)
                .with_hint(hint)
        }
    })
}

/// Conditions, next steps, and what of a chart bears on them.
pub fn knowledge() -> Result<Knowledge, Failure> {
    Knowledge::shipped().failed(|| "the knowledge file cannot be used".to_owned())
}

/// The deterministic composer.
pub fn composer() -> Result<Arc<Composer>, Failure> {
    Ok(Arc::new(Composer::new(knowledge()?)))
}

/// Who puts findings into words. Nothing is asked yet.
pub async fn language(config: &Config) -> Result<Arc<dyn LanguageModel>, Failure> {
    let chat = match config.language.kind {
        LanguageKind::None => return Ok(composer()?),
        LanguageKind::OpenAi => openai(config)?,
        LanguageKind::Bedrock => aws::chat(config).await?,
    };
    let language = &config.language;
    // Checked to be amounts that are not negative.
    let micros = |amount: f64| (amount * 1e6).round() as u64;
    let spending = Spending {
        input_micros_per_million: micros(language.input_price),
        output_micros_per_million: micros(language.output_price),
        daily_budget_micros: (language.budget_per_firm_and_day > 0.0).then(|| micros(language.budget_per_firm_and_day)),
    };
    Ok(Arc::new(Synthesizer::new(chat, Composer::new(knowledge()?), spending)))
}

fn openai(config: &Config) -> Result<Arc<dyn ChatModel>, Failure> {
    let language = &config.language;
    let key_file = &language.api_key_file;
    let header = &language.api_key_header;
    let endpoint = ChatEndpoint {
        base_url: Url::parse(&language.url)
            .failed(|| "language.url is not a URL".to_owned())
            .hint("it is what stands before /chat/completions, such as https://models.example.com/v1")?,
        model: language.model.clone(),
        api_key: match key_file.as_str() {
            "" => None,
            file => Some(read_secret(&config.path(file), "the key of the language model")?),
        },
        api_key_header: match header.as_str() {
            "" => None,
            name => Some(HeaderName::try_from(name).failed(|| "language.api_key_header is no header".to_owned())?),
        },
        allow_loopback_http: language.allow_loopback_http,
    };
    let timeout = Duration::from_secs(language.timeout_seconds);
    let options = HttpOptions {
        connect_timeout: HttpOptions::default().connect_timeout.min(timeout),
        read_timeout: timeout,
        total_timeout: timeout,
        allow_loopback_http: language.allow_loopback_http,
        ..HttpOptions::default()
    };
    let transport = ReqwestTransport::for_api(&options).failed(|| "HTTP cannot be set up".to_owned())?;
    let chat = OpenAiChat::new(endpoint, Arc::new(transport))
        .failed(|| "the language model cannot be used".to_owned())
        .hint("check the section language of the configuration")?;
    Ok(Arc::new(chat))
}

/// How long a collector may take for an answer.
const COLLECTOR_PATIENCE: Duration = Duration::from_secs(10);

/// For how long one exchange with a subscriber may take.
const SUBSCRIBER_PATIENCE: Duration = Duration::from_secs(10);

/// What tells subscribers.
pub fn telling(config: &Config, state: Arc<dyn StateStore>, observer: Observer) -> Result<Telling, Failure> {
    let rules = &config.subscriptions;
    let options = HttpOptions {
        connect_timeout: SUBSCRIBER_PATIENCE / 2,
        read_timeout: SUBSCRIBER_PATIENCE,
        total_timeout: SUBSCRIBER_PATIENCE,
        allow_loopback_http: rules.allow_loopback_http,
        ..HttpOptions::default()
    };
    let transport = if rules.allow_private_addresses {
        ReqwestTransport::for_api(&options)
    } else {
        ReqwestTransport::for_photos(&options)
    };
    let transport = transport.failed(|| "HTTP cannot be set up".to_owned())?;
    Ok(Telling {
        clock: Arc::new(SystemClock),
        state,
        subscribers: Arc::new(Webhooks::new(Arc::new(transport))),
        give_up_after: Duration::from_secs(rules.give_up_hours * 3600),
        observer,
    })
}

/// Who tells an OpenTelemetry collector, where one is configured.
pub(crate) fn collector(config: &Config, metrics: ReadMetrics) -> Result<Option<Collector>, Failure> {
    let section = &config.telemetry;
    if section.otlp_endpoint.is_empty() {
        return Ok(None);
    }
    let endpoint = Url::parse(&section.otlp_endpoint).failed(|| "telemetry.otlp_endpoint is not a URL".to_owned())?;
    let options = HttpOptions {
        connect_timeout: COLLECTOR_PATIENCE / 2,
        read_timeout: COLLECTOR_PATIENCE,
        total_timeout: COLLECTOR_PATIENCE,
        allow_loopback_http: section.allow_loopback_http,
        ..HttpOptions::default()
    };
    let transport = ReqwestTransport::for_api(&options).failed(|| "HTTP cannot be set up".to_owned())?;
    let mut instance = [0_u8; 8];
    getrandom::fill(&mut instance).failed(|| "the system has no random numbers".to_owned())?;
    let options = CollectorOptions {
        endpoint,
        headers: collector_headers(config)?,
        every: Duration::from_secs(section.otlp_every_seconds),
        instance: hex::encode(instance),
    };
    Ok(Some(Collector::new(
        options,
        Arc::new(transport),
        Arc::new(SystemClock),
        metrics,
    )))
}

fn collector_headers(config: &Config) -> Result<HeaderMap, Failure> {
    let file = &config.telemetry.otlp_headers_file;
    let mut headers = HeaderMap::new();
    if file.is_empty() {
        return Ok(headers);
    }
    let text = read_secret(&config.path(file), "the headers for the collector")?;
    for (number, line) in text
        .expose()
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let header = line.split_once(':').and_then(|(name, value)| {
            let mut value = HeaderValue::from_str(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::from_bytes(name.trim().as_bytes()).ok()?, value))
        });
        let Some((name, value)) = header else {
            // The line itself may be a secret.
            let problem = format!(
                "line {} of the file telemetry.otlp_headers_file is no header",
                number + 1
            );
            return Err(Failure::new(problem).with_hint("write one \"Name: value\" on each line"));
        };
        headers.append(name, value);
    }
    Ok(headers)
}

/// For how long what is finished is kept.
pub(crate) fn retention(config: &Config) -> RetentionLimits {
    let days = |days: u64| (days > 0).then(|| Duration::from_secs(days * 86_400));
    RetentionLimits {
        results: days(config.retention.results_days),
        audit: days(config.retention.audit_days),
    }
}

/// What the polling policy has to know. The EHR's searches are those of its one profile, which all firms have.
fn polling(config: &Config, ehr: &EhrClient) -> PolicySettings {
    PolicySettings {
        searches: ehr.document_searches(),
        least_price: config.polling.least_price,
        reconcile_within: Duration::from_secs(config.polling.reconcile_days * 86_400),
        pace: 1.0,
        without: None,
    }
}

/// The whole engine, with photos in memory.
pub async fn engine(config: &Config, state: Arc<dyn StateStore>, observer: Observer) -> Result<Engine, Failure> {
    let photos = MemoryPhotos::new(config.photos.memory_megabytes * MEGA, Arc::new(SystemClock));
    let language = language(config).await?;
    engine_with(config, state, Arc::new(photos), language, models(config), observer).await
}

/// The whole engine, with photos and models given. The models are loaded last: what is wrong besides is said at once.
pub async fn engine_with(
    config: &Config,
    state: Arc<dyn StateStore>,
    photos: Arc<dyn Photos>,
    language: Arc<dyn LanguageModel>,
    vision: impl Future<Output = Result<Arc<dyn VisionModel>, Failure>>,
    observer: Observer,
) -> Result<Engine, Failure> {
    let ehr = Arc::new(ehr(config)?.as_ref().clone().with_circuits(Arc::new(SystemClock)));
    Ok(Engine {
        clock: Arc::new(SystemClock),
        state,
        photos,
        token_endpoint: token_endpoint(config, Arc::clone(&ehr)).await,
        ehr: ehr.clone(),
        language,
        quotas: quotas(config)?,
        policy: config.polling.policy,
        settings: polling(config, &ehr),
        windows: GatheringWindows {
            solitary: Duration::from_secs(config.assessments.solitary_window_seconds),
            widespread: Duration::from_secs(config.assessments.widespread_window_seconds),
        },
        workers: Workers {
            poll: config.workers.poll,
            download: config.workers.download,
            // While one photo is at the models, the next one's context is read.
            infer: 2 * vision_workers(config).get(),
            write_back: config.workers.write_back,
        },
        vision: vision.await?,
        observer,
    })
}
