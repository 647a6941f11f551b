//! A server for a test, and models that wait to be told.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use skin_assist::{
    clock::SystemClock,
    config::Config,
    model_server::{Server, ServerOptions},
    wiring,
};
use skin_assist_core::{
    domain::{Findings, ImageFacts, ModelVersion, PhotoBytes, Quality, Route},
    ports::{VisionError, VisionModel},
};
use skin_assist_endpoints::inference::OpenInferenceVision;
use skin_assist_transport::{HttpOptions, ReqwestTransport, Transport};
use tokio::sync::watch;

/// The most bytes of a photo.
pub(crate) const PHOTO_BYTES: usize = 1_000_000;

/// The reference packs, in this process.
pub(crate) fn packs() -> Arc<dyn VisionModel> {
    wiring::vision(&Config::defaults().unwrap()).unwrap()
}

pub(crate) fn transport() -> Arc<dyn Transport> {
    let options = HttpOptions {
        allow_loopback_http: true,
        ..HttpOptions::default()
    };
    Arc::new(ReqwestTransport::for_api(&options).unwrap())
}

/// Models that are served.
pub(crate) struct Served {
    pub(crate) server: Server,
}

impl Served {
    pub(crate) async fn start(vision: Arc<dyn VisionModel>, slots: usize) -> Self {
        let options = ServerOptions {
            listen: ([127, 0, 0, 1], 0).into(),
            slots,
            photo_bytes: PHOTO_BYTES,
        };
        let server = Server::start(vision, Arc::new(SystemClock), options).await.unwrap();
        Self { server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    pub(crate) async fn client(&self) -> OpenInferenceVision {
        OpenInferenceVision::connect(transport(), self.url().parse().unwrap())
            .await
            .unwrap()
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response<Bytes> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        transport().send(request, 10_000_000).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Response<Bytes> {
        self.send("GET", path, &[], "").await
    }

    pub(crate) async fn text(&self, path: &str) -> String {
        String::from_utf8(self.get(path).await.into_body().to_vec()).unwrap()
    }
}

/// Models that begin to look and wait until they are let on. They serve the solitary route alone.
#[derive(Clone)]
pub(crate) struct Gated {
    begun: Arc<watch::Sender<usize>>,
    open: Arc<watch::Sender<bool>>,
    model: Arc<Mutex<ModelVersion>>,
}

impl Default for Gated {
    fn default() -> Self {
        let model = ModelVersion {
            pack: "pack".to_owned(),
            version: "1".to_owned(),
        };
        Self {
            begun: Arc::new(watch::Sender::new(0)),
            open: Arc::new(watch::Sender::new(false)),
            model: Arc::new(Mutex::new(model)),
        }
    }
}

impl Gated {
    pub(crate) fn begun(&self) -> usize {
        *self.begun.borrow()
    }

    pub(crate) async fn until_begun(&self, looks: usize) {
        let mut begun = self.begun.subscribe();
        let all = begun.wait_for(|begun| *begun >= looks);
        tokio::time::timeout(Duration::from_secs(30), all)
            .await
            .unwrap()
            .unwrap();
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    pub(crate) async fn open_after(&self, event: impl Future<Output = ()>) {
        tokio::time::timeout(Duration::from_secs(30), event).await.unwrap();
        self.open();
    }

    pub(crate) fn is_now(&self, model: ModelVersion) {
        *self.model.lock().unwrap() = model;
    }
}

#[async_trait]
impl VisionModel for Gated {
    async fn look(&self, route: Route, _: &PhotoBytes) -> Result<Findings, VisionError> {
        self.begun.send_modify(|begun| *begun += 1);
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
        Ok(Findings {
            route,
            image: ImageFacts {
                width: 40,
                height: 30,
                format: "jpeg".to_owned(),
                quality: Quality {
                    sharpness: 1.0,
                    brightness: 0.5,
                    ..Quality::default()
                },
            },
            regions: Vec::new(),
            ranked: Vec::new(),
            abstention: None,
            abstain_below: 0.0,
            concerns: Vec::new(),
            further_conditions: Vec::new(),
            models: self.versions(route),
        })
    }

    fn versions(&self, route: Route) -> Vec<ModelVersion> {
        match route {
            Route::Solitary => vec![self.model.lock().unwrap().clone()],
            Route::Widespread => Vec::new(),
        }
    }
}
