//! This program was built without what is on AWS.

use std::{collections::BTreeMap, sync::Arc};

use skin_assist_core::{
    domain::{FirmId, Route},
    ports::{ChatModel, StateStore, TokenEndpoint, VisionModel},
};

use crate::{config::Config, failure::Failure};

/// Refused. Asynchronous as its counterpart is.
#[allow(clippy::unused_async)]
pub(crate) async fn shred(config: &Config, _firm: &FirmId, _actor: &str) -> Result<(), Failure> {
    state(config).await.map(drop)
}

/// Refused. Asynchronous as its counterpart is.
#[allow(clippy::unused_async)]
pub(super) async fn state(_config: &Config) -> Result<Arc<dyn StateStore>, Failure> {
    Err(Failure::new("this program was built without DynamoDB")
        .with_hint("build it with `--features aws`, or set state.store = \"sqlite\""))
}

/// As it is.
#[allow(clippy::unused_async)]
pub(super) async fn token_endpoint(_config: &Config, endpoint: Arc<dyn TokenEndpoint>) -> Arc<dyn TokenEndpoint> {
    endpoint
}

/// Refused. Asynchronous as its counterpart is.
#[allow(clippy::unused_async)]
pub(super) async fn chat(_config: &Config) -> Result<Arc<dyn ChatModel>, Failure> {
    Err(Failure::new("this program was built without Bedrock")
        .with_hint("build it with `--features aws`, or set another language.kind"))
}

/// Refused. Asynchronous as its counterpart is.
#[allow(clippy::unused_async)]
pub(super) async fn vision(
    _config: &Config,
    _endpoints: BTreeMap<Route, String>,
) -> Result<Arc<dyn VisionModel>, Failure> {
    Err(Failure::new("this program was built without SageMaker")
        .with_hint("build it with `--features aws`, or name no endpoint in the section models"))
}
