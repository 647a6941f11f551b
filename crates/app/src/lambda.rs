//! The functions as AWS Lambda runs them: `_HANDLER` says which one this is, the environment configures it as it configures the
//! program, and the runtime brings events.
//!
//! # When it fails
//! What cannot be configured is no crash at the start, which the platform would repeat without a name: each event is answered with
//! `ConfigurationInvalid` as long as that lasts, and the log says what is wrong. The models are loaded by the function that needs them and by no other.

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::FutureExt as _;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde_json::Value;
use skin_assist_aws::{
    connection::Connection,
    dynamodb::{DynamoStore, FirmKeys, schema},
    photos::{S3Photos, object_name},
    secrets::Secrets,
};
use skin_assist_core::{
    domain::{Findings, ModelVersion, PhotoBytes, Route},
    phi::Secret,
    ports::{VisionError, VisionModel},
    time::Timestamp,
};
use tokio::sync::OnceCell;

use crate::{
    clock::SystemClock,
    config::{self, Config, LogConfig, LogFormat, StoreName},
    driver::{Observer, SweepMemory},
    failure::{Failure, Hinted as _},
    functions::{EventKeys, FunctionError, FunctionName, Functions},
    telemetry, wiring,
};

/// Says which function this is.
const HANDLER: &str = "_HANDLER";

impl From<FunctionError> for Diagnostic {
    fn from(error: FunctionError) -> Self {
        Self {
            error_type: error.name().to_owned(),
            error_message: error.to_string(),
        }
    }
}

/// Stands where no function may look at photos.
struct NoModels;

#[async_trait]
impl VisionModel for NoModels {
    async fn look(&self, _: Route, _: &PhotoBytes) -> Result<Findings, VisionError> {
        Err(VisionError::Unavailable {
            what: "this function has no models",
        })
    }

    fn versions(&self, _: Route) -> Vec<ModelVersion> {
        Vec::new()
    }
}

/// Serves events until the platform ends the process.
pub async fn serve() -> ExitCode {
    let wired = OnceCell::new();
    let handler = service_fn(async |event: LambdaEvent<Value>| {
        // Asked again with the next event while it fails: a secret may have got its value since.
        let (functions, function): &(Functions, FunctionName) = wired.get_or_try_init(|| configured().boxed()).await?;
        let deadline = i64::try_from(event.context.deadline).unwrap_or(i64::MAX);
        // Boxed: the layout of all functions at once is more than the compiler looks into.
        let turn = functions.invoke(*function, &event.payload, Timestamp::from_millis(deadline));
        turn.boxed().await
    });
    match lambda_runtime::run(handler).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(event = "function.runtime-failed", error = %error);
            ExitCode::FAILURE
        }
    }
}

async fn configured() -> Result<(Functions, FunctionName), FunctionError> {
    wire().await.map_err(|failure| {
        // What is wrong may be the very configuration of the log.
        if let Ok(defaults) = Config::defaults() {
            _ = telemetry::begin(&LogConfig {
                format: LogFormat::Json,
                ..defaults.log
            });
        }
        tracing::error!(event = "function.not-configured", problem = %failure.report());
        FunctionError::ConfigurationInvalid
    })
}

async fn wire() -> Result<(Functions, FunctionName), Failure> {
    let environment = config::environment();
    let mut config = Config::read(None::<&Path>, &environment)?;
    telemetry::begin(&config.log)?;
    let handler = environment.get(HANDLER).cloned().unwrap_or_default();
    let function: FunctionName = handler
        .parse()
        .map_err(|error: FunctionError| Failure::new(format!("the handler is `{handler}`")).because(error))?;
    if config.state.store != StoreName::Dynamodb {
        return Err(Failure::new("a function keeps its state in DynamoDB").with_hint("set SKIN_ASSIST_STATE__STORE"));
    }
    let connection = Connection::from_environment(None, None).await;
    if config.aws.api_key_secret.is_empty() {
        return Err(Failure::new("no secret holds the API key").with_hint("set SKIN_ASSIST_AWS__API_KEY_SECRET"));
    }
    config.surroundings.api_key = Some(if function.calls_the_ehr() {
        let secrets = Secrets::new(&connection, Arc::new(SystemClock));
        let key = secrets.api_key(&config.aws.api_key_secret).await;
        key.failed(|| "the EHR's API key cannot be had".to_owned())?
    } else {
        // It may not read the key, and calls nobody.
        Secret::new("none".to_owned())
    });
    let keys = if function.opens_what_is_sealed() {
        wiring::aws::firm_keys(&config, &connection).await?
    } else {
        // It may not read them, and reads nothing that is sealed.
        FirmKeys::new(&Secret::default(), Arc::new(SystemClock))
    };
    let store = Arc::new(DynamoStore::new(&connection, &config.aws.table_prefix, keys));
    let vision: Arc<dyn VisionModel> = match function {
        FunctionName::Infer => wiring::models(&config).await?,
        _ => Arc::new(NoModels),
    };
    let photos = Arc::new(S3Photos::new(&connection, &config.aws.photo_bucket, &config.aws.key_id));
    let language = match function {
        FunctionName::Infer => wiring::language(&config).await?,
        _ => wiring::composer()?,
    };
    let observer: Observer = Arc::new(|_| {});
    let vision = std::future::ready(Ok(vision));
    let engine = wiring::engine_with(&config, store.clone(), photos, language, vision, observer).await?;
    let functions = Functions {
        engine,
        proposals: store,
        keys: EventKeys {
            firm: schema::PART,
            item: schema::ITEM,
            result_prefix: schema::RESULT_PREFIX,
            photo: object_name,
        },
        shard_size: config.aws.shard_size,
        sweep_for: Duration::from_secs(config.aws.sweep_seconds),
        memory: SweepMemory::default(),
        retention: wiring::retention(&config),
    };
    Ok((functions, function))
}
