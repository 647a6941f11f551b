//! What is on AWS.

use std::{sync::Arc, time::Duration};

use skin_assist_aws::{bedrock::BedrockChat, connection::Connection, dynamodb::DynamoStore};
use skin_assist_core::ports::{ChatModel, StateStore};

use crate::{config::Config, failure::Failure};

/// As the SDK finds region, endpoint and credentials, where the configuration says nothing.
async fn connection(config: &Config) -> Connection {
    let given = |text| Some(text).filter(|text: &&str| !text.is_empty());
    Connection::from_environment(given(&config.aws.region), given(&config.aws.endpoint)).await
}

/// The state in DynamoDB. Nothing is asked of it yet.
pub(super) async fn state(config: &Config) -> Result<Arc<dyn StateStore>, Failure> {
    let connection = connection(config).await;
    Ok(Arc::new(DynamoStore::new(&connection, &config.aws.table_prefix)))
}

/// The language model on Bedrock. Nothing is asked of it yet.
pub(super) async fn chat(config: &Config) -> Result<Arc<dyn ChatModel>, Failure> {
    let language = &config.language;
    let timeout = Duration::from_secs(language.timeout_seconds);
    let connection = connection(config).await;
    Ok(Arc::new(BedrockChat::new(&connection, language.model.clone(), timeout)))
}
