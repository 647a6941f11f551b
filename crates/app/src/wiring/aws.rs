//! What is on AWS.

use std::{collections::BTreeMap, sync::Arc};

use skin_assist_aws::{connection::Connection, dynamodb::DynamoStore, sagemaker::SageMakerVision};
use skin_assist_core::{
    domain::Route,
    ports::{StateStore, VisionModel},
};

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
