//! Where photos are looked at: in this process, by a model server, or by SageMaker endpoints.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use skin_assist_core::{
    domain::{Findings, ModelVersion, PhotoBytes, Route},
    ports::{VisionError, VisionModel},
};
use skin_assist_endpoints::inference::{self, OpenInferenceVision, tensors::TensorServer};
use skin_assist_transport::{HttpOptions, ReqwestTransport};
use url::Url;

use super::{aws, tensors, vision};
use crate::{
    config::Config,
    failure::{Failure, Hinted as _, WithHint as _},
};

/// Some routes here, the others there.
struct RoutedVision {
    there: Arc<dyn VisionModel>,
    routes: Vec<Route>,
    here: Arc<dyn VisionModel>,
}

impl RoutedVision {
    fn of(&self, route: Route) -> &dyn VisionModel {
        if self.routes.contains(&route) {
            &*self.there
        } else {
            &*self.here
        }
    }
}

#[async_trait]
impl VisionModel for RoutedVision {
    async fn look(&self, route: Route, photo: &PhotoBytes) -> Result<Findings, VisionError> {
        self.of(route).look(route, photo).await
    }

    fn versions(&self, route: Route) -> Vec<ModelVersion> {
        self.of(route).versions(route)
    }
}

/// The vision models, wherever they are: loaded and tried, or asked which they are.
pub async fn models(config: &Config) -> Result<Arc<dyn VisionModel>, Failure> {
    if !config.models.remote_url.is_empty() {
        return Ok(Arc::new(remote(config).await?));
    }
    if !config.models.tensor_url.is_empty() {
        let connected = TensorServer::connect(transport(config)?, url("tensor_url", &config.models.tensor_url)?).await;
        return Ok(Arc::new(tensors::vision(config, connected.map_err(unusable)?).await?));
    }
    let endpoints = config.models.sagemaker_endpoints();
    let routes: Vec<Route> = endpoints.keys().copied().collect();
    if routes.is_empty() {
        return vision(config);
    }
    // Boxed: the SDK's futures are large.
    let there = Box::pin(aws::vision(config, endpoints)).await?;
    if routes.len() == Route::ALL.len() {
        return Ok(there);
    }
    let here = vision(config)?;
    Ok(Arc::new(RoutedVision { there, routes, here }))
}

/// The models of a model server.
async fn remote(config: &Config) -> Result<OpenInferenceVision, Failure> {
    let url = url("remote_url", &config.models.remote_url)?;
    OpenInferenceVision::connect(transport(config)?, url)
        .await
        .map_err(unusable)
}

fn unusable(error: inference::Error) -> Failure {
    let hint = error.hint();
    Failure::new("the model server cannot be used")
        .because(error)
        .with_hint(hint)
}

fn url(key: &str, text: &str) -> Result<Url, Failure> {
    Url::parse(text)
        .failed(|| format!("models.{key} is not a URL"))
        .hint("it is like https://models.example.com")
}

fn transport(config: &Config) -> Result<Arc<ReqwestTransport>, Failure> {
    let patience = Duration::from_secs(config.models.remote_timeout_seconds);
    let options = HttpOptions {
        read_timeout: patience,
        total_timeout: patience,
        // What goes to this very machine crosses no network.
        allow_loopback_http: true,
        ..HttpOptions::default()
    };
    let transport = ReqwestTransport::for_api(&options).failed(|| "HTTP cannot be set up".to_owned())?;
    Ok(Arc::new(transport))
}
