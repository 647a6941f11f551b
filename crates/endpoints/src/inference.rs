//! Vision models behind a model server that speaks the Open Inference Protocol v2: photo bytes there, findings back.
//!
//! The server is `skin-assist serve-models`, or one that does as docs/remote-models.md says: each model takes a tensor
//! `photo` and answers `findings`, and its metadata name its route.
//!
//! # Invariants
//! - A photo is sent once for each look: trying again is the stage's business.
//! - The models are known before the first look, and again after an answer that names others; findings say themselves which
//!   models looked.
//! - Neither URLs nor errors say anything of a photo; what the server answers is never quoted.

pub mod protocol;
pub mod tensors;

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::Value;
use skin_assist_core::{
    domain::{Findings, ModelVersion, PhotoBytes, Route},
    ports::{VisionError, VisionModel},
    wire::{self, KnownModels, MOST_FINDINGS_BYTES},
};
use skin_assist_transport::{Transport, TransportError};
use url::Url;

use protocol::{HEADER_LENGTH, Tensor};

/// The input of a model that looks at photos.
pub const PHOTO: &str = "photo";
/// Its output: findings as JSON.
pub const FINDINGS: &str = "findings";
/// The parameter of a model's metadata that names its route.
pub const ROUTE_PARAMETER: &str = "route";

/// What metadata may have at most.
const MOST_METADATA_BYTES: usize = 1 << 20;
/// More models are not asked for their route.
const MOST_MODELS: usize = 64;

/// The model server cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The address is none that requests can go to.
    #[error("the model server's address is not an http or https URL without a query")]
    Address,
    /// It does not answer.
    #[error("the model server does not answer")]
    Unreachable(#[source] TransportError),
    /// It answers otherwise than the protocol says.
    #[error("the model server does not say which models it has ({status}): {what}")]
    Answer {
        /// The HTTP status.
        status: u16,
        /// What is wrong, in our words.
        what: &'static str,
    },
    /// No model names a route.
    #[error("no model of the model server says which route it serves")]
    NoModel,
    /// Two models name the same route.
    #[error("two models of the model server serve the route {0}")]
    TwoModels(Route),
}

impl Error {
    /// What a person can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Address => "the address is like https://models.example.com, without a query",
            Self::Unreachable(_) => {
                "check the address, and that the server runs there; plain http is for this machine only"
            }
            Self::Answer { .. } | Self::NoModel => {
                "the server has to be `skin-assist serve-models`, or one that does as docs/remote-models.md says"
            }
            Self::TwoModels(_) => "serve one pack for each route",
        }
    }
}

/// Vision by a model server.
pub struct OpenInferenceVision {
    transport: Arc<dyn Transport>,
    base: Url,
    /// The name of the model of each route.
    names: Mutex<Vec<(Route, String)>>,
    known: KnownModels,
}

impl std::fmt::Debug for OpenInferenceVision {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("OpenInferenceVision")
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct IndexEntry {
    name: String,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    versions: Vec<String>,
    #[serde(default)]
    parameters: serde_json::Map<String, Value>,
}

impl OpenInferenceVision {
    /// Asks the server at `base` for its models.
    pub async fn connect(transport: Arc<dyn Transport>, base: Url) -> Result<Self, Error> {
        check_address(&base)?;
        let vision = Self {
            transport,
            base,
            names: Mutex::default(),
            known: KnownModels::default(),
        };
        vision.ask_for_models().await?;
        Ok(vision)
    }

    /// The routes that are served, each with its models.
    pub fn served(&self) -> Vec<(Route, Vec<ModelVersion>)> {
        let served = Route::ALL.map(|route| (route, self.known.of(route)));
        served.into_iter().filter(|(_, models)| !models.is_empty()).collect()
    }

    async fn ask_for_models(&self) -> Result<(), Error> {
        let index: Vec<IndexEntry> = self.ask(Method::POST, &["v2", "repository", "index"]).await?;
        let mut found: Vec<(Route, String, ModelVersion)> = Vec::new();
        for entry in index.into_iter().take(MOST_MODELS) {
            let metadata: Metadata = self.ask(Method::GET, &["v2", "models", &entry.name]).await?;
            let route = metadata.parameters.get(ROUTE_PARAMETER).and_then(Value::as_str);
            let Some(route) = Route::ALL.into_iter().find(|known| Some(known.as_str()) == route) else {
                continue;
            };
            let Some(version) = metadata.versions.into_iter().next_back() else {
                continue;
            };
            if found.iter().any(|(of, ..)| *of == route) {
                return Err(Error::TwoModels(route));
            }
            let version = ModelVersion {
                pack: entry.name.clone(),
                version,
            };
            found.push((route, entry.name, version));
        }
        if found.is_empty() {
            return Err(Error::NoModel);
        }
        for (route, _, version) in &found {
            self.known.note(*route, std::slice::from_ref(version));
        }
        let names = found.into_iter().map(|(route, name, _)| (route, name)).collect();
        // Nothing that can panic runs under the lock.
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
        Ok(())
    }

    async fn ask<T: serde::de::DeserializeOwned>(&self, method: Method, path: &[&str]) -> Result<T, Error> {
        let request = self.request(method, path, Bytes::new()).ok_or(Error::Address)?;
        let reply = self.transport.send(request, MOST_METADATA_BYTES).await;
        let reply = reply.map_err(Error::Unreachable)?;
        let status = reply.status().as_u16();
        if reply.status() != StatusCode::OK {
            let what = "it refuses the question";
            return Err(Error::Answer { status, what });
        }
        serde_json::from_slice(reply.body()).map_err(|_| Error::Answer {
            status,
            what: "its answer is not of the protocol",
        })
    }

    fn request(&self, method: Method, path: &[&str], body: Bytes) -> Option<Request<Bytes>> {
        request(&self.base, method, path, body)
    }

    async fn ask_to_look(&self, name: &str, photo: &PhotoBytes) -> Result<Response<Bytes>, VisionError> {
        let (body, length) = protocol::write_request(&[Tensor::single(PHOTO, photo.expose())], &[FINDINGS]);
        let request = self.request(Method::POST, &["v2", "models", name, "infer"], body);
        let mut request = request.ok_or(VisionError::EndpointMissing {
            what: "its name makes no address",
        })?;
        let headers = request.headers_mut();
        headers.insert(HEADER_LENGTH, length.into());
        headers.insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/octet-stream"),
        );
        self.transport
            .send(request, MOST_FINDINGS_BYTES + MOST_METADATA_BYTES)
            .await
            .map_err(|error| not_answered(&error))
    }
}

/// Whether paths can be put behind it.
fn check_address(base: &Url) -> Result<(), Error> {
    let is_web = matches!(base.scheme(), "http" | "https");
    if is_web && !base.cannot_be_a_base() && base.query().is_none() {
        Ok(())
    } else {
        Err(Error::Address)
    }
}

/// A request to a place below `base`. A name is one segment, whatever it has in it.
fn request(base: &Url, method: Method, path: &[&str], body: Bytes) -> Option<Request<Bytes>> {
    let mut url = base.clone();
    url.path_segments_mut().ok()?.pop_if_empty().extend(path);
    Request::builder().method(method).uri(url.as_str()).body(body).ok()
}

fn not_answered(error: &TransportError) -> VisionError {
    match error {
        TransportError::NotSent { what } | TransportError::Unknown { what, .. } => VisionError::Unavailable { what },
        TransportError::AddressRefused => VisionError::EndpointDenied {
            what: "its address is not allowed",
        },
        TransportError::TooLarge { status: StatusCode::OK } => VisionError::Model {
            what: "its findings are larger than allowed",
        },
        TransportError::TooLarge { .. } => VisionError::Unavailable {
            what: "the model server fails at length",
        },
    }
}

/// What a reply says: findings, or why there are none.
fn read(route: Route, reply: &Response<Bytes>) -> Result<Findings, VisionError> {
    let text = |name: &str| reply.headers().get(name).and_then(|value| value.to_str().ok());
    if reply.status() != StatusCode::OK {
        let retry_after_s = text(header::RETRY_AFTER.as_str()).and_then(|text| text.trim().parse().ok());
        return Err(wire::understood(reply.status().as_u16(), reply.body(), retry_after_s));
    }
    let no_answer = |_| VisionError::Model {
        what: "its answer is not of the protocol",
    };
    let outputs = protocol::read_response(text(HEADER_LENGTH), reply.body()).map_err(no_answer)?;
    let output = outputs.iter().find(|output| output.name == FINDINGS);
    let output = output.ok_or(VisionError::Model {
        what: "its answer has no findings",
    })?;
    wire::findings(route, &output.to_single().map_err(no_answer)?)
}

#[async_trait]
impl VisionModel for OpenInferenceVision {
    async fn look(&self, route: Route, photo: &PhotoBytes) -> Result<Findings, VisionError> {
        let name = {
            let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
            names.iter().find(|(of, _)| *of == route).map(|(_, name)| name.clone())
        };
        let name = name.ok_or(VisionError::EndpointMissing {
            what: "the model server has no model of this route",
        })?;
        let outcome = read(route, &self.ask_to_look(&name, photo).await?);
        match &outcome {
            Ok(findings) => {
                if self.known.note(route, &findings.models) {
                    tracing::info!(event = "models.replaced", route = %route);
                }
            }
            Err(VisionError::EndpointMissing { .. }) => {
                // A pack of another name may have taken its place: the next attempt finds it.
                if let Err(error) = self.ask_for_models().await {
                    tracing::warn!(event = "models.not-described", route = %route, error = %error);
                }
            }
            Err(_) => {}
        }
        outcome
    }

    fn versions(&self, route: Route) -> Vec<ModelVersion> {
        self.known.of(route)
    }
}
