//! What is on AWS.

use std::sync::Arc;

use skin_assist_aws::{connection::Connection, dynamodb::DynamoStore};
use skin_assist_core::ports::StateStore;

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
