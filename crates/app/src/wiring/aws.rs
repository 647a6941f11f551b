//! What is on AWS.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use skin_assist_aws::{
    bedrock::BedrockChat,
    connection::Connection,
    dynamodb::{DynamoStore, FirmKeys},
    sagemaker::SageMakerVision,
    secrets::{Secrets, VaultedTokenEndpoint},
};
use skin_assist_core::{
    domain::{FirmId, Route},
    ports::{ChatModel, StateStore, TokenEndpoint, VisionModel},
    time::Clock as _,
};

use crate::{
    clock::SystemClock,
    config::Config,
    failure::{Failure, Hinted as _},
};

/// As the SDK finds region, endpoint and credentials, where the configuration says nothing.
async fn connection(config: &Config) -> Connection {
    let given = |text| Some(text).filter(|text: &&str| !text.is_empty());
    Connection::from_environment(given(&config.aws.region), given(&config.aws.endpoint)).await
}

/// The keys of practices in a state in DynamoDB: what they are wrapped under is asked for, they are not yet.
pub(crate) async fn firm_keys(config: &Config, connection: &Connection) -> Result<Arc<FirmKeys>, Failure> {
    let secret = match config.aws.firm_keys_secret.as_str() {
        "" => config.state_key_text()?,
        arn => {
            let secret = Secrets::new(connection, Arc::new(SystemClock)).firm_keys(arn).await;
            secret.failed(|| "what the keys of practices are wrapped under cannot be had".to_owned())?
        }
    };
    Ok(FirmKeys::new(&secret, Arc::new(SystemClock)))
}

async fn store(config: &Config) -> Result<Arc<DynamoStore>, Failure> {
    let connection = connection(config).await;
    let keys = firm_keys(config, &connection).await?;
    Ok(Arc::new(DynamoStore::new(&connection, &config.aws.table_prefix, keys)))
}

/// The state in DynamoDB. Nothing is asked of it yet.
pub(super) async fn state(config: &Config) -> Result<Arc<dyn StateStore>, Failure> {
    Ok(store(config).await?)
}

/// Destroys a firm's key and removes the firm.
pub(crate) async fn shred(config: &Config, firm: &FirmId, actor: &str) -> Result<(), Failure> {
    let shredded = store(config).await?.shred_firm(firm, actor, SystemClock.now()).await;
    shredded.failed(|| format!("`{firm}` was not shredded"))
}

/// `endpoint`, and in front of it Secrets Manager: a credential may name a secret there in the place of a proof.
pub(super) async fn token_endpoint(config: &Config, endpoint: Arc<dyn TokenEndpoint>) -> Arc<dyn TokenEndpoint> {
    let secrets = Secrets::new(&connection(config).await, Arc::new(SystemClock));
    Arc::new(VaultedTokenEndpoint::new(endpoint, Arc::new(secrets)))
}

/// The language model on Bedrock. Nothing is asked of it yet.
pub(super) async fn chat(config: &Config) -> Result<Arc<dyn ChatModel>, Failure> {
    let language = &config.language;
    let timeout = Duration::from_secs(language.timeout_seconds);
    let connection = connection(config).await;
    Ok(Arc::new(BedrockChat::new(&connection, language.model.clone(), timeout)))
}

/// Models behind SageMaker endpoints, which are asked for their models.
pub(super) async fn vision(
    config: &Config,
    endpoints: BTreeMap<Route, String>,
) -> Result<Arc<dyn VisionModel>, Failure> {
    let connection = connection(config).await;
    let vision = SageMakerVision::connect(&connection, endpoints).await;
    vision.map(|vision| Arc::new(vision) as _).map_err(|error| {
        let hint = error.hint();
        Failure::new("the SageMaker endpoints cannot be used")
            .because(error)
            .with_hint(hint)
    })
}
