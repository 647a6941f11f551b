//! `skin-assist serve-models`: the vision stage as a model server, for the Open Inference Protocol v2
//! (`open_inference`) and for SageMaker, whose container contract it keeps (`sage_maker`).
//!
//! # Invariants
//! - No more photos are held than there are slots: who finds none free is told when to come again, and nothing
//!   of the photo is kept. Health, metadata and metrics need no slot.
//! - Photos and findings live in memory, and nothing of them is in a log line, a metric or an error.
//! - An error is the caller's mistake, the photo's fault or ours, and the status says which ([`skin_assist_core::wire`]).
//! - Asked to stop, it is not ready any more, takes no new connection, and answers what it has begun.
//!
//! There is no login here: the address is this machine's unless another is asked for, and then the network has to see to
//! who reaches it.

mod metrics;
mod open_inference;
mod sage_maker;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, extract::State};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use skin_assist_core::{
    domain::{Findings, Route},
    phi::Phi,
    ports::{PhotoRefusal, VisionError, VisionModel},
    time::Clock,
    wire::{self, DescribedModel, Description, SentError},
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, SemaphorePermit, watch},
    task::JoinHandle,
};

use metrics::Metrics;

/// How long a photo's bytes may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(30);
/// How long a look may take: what SageMaker waits for a container.
const LOOK: Duration = Duration::from_secs(60);
/// When somebody who found no slot may come again, in seconds.
const COME_AGAIN_S: u64 = 1;
/// How much, and for how long, is read of a request that is answered without it.
const MOST_DISCARDED_BYTES: usize = 64 << 20;
const DISCARDING: Duration = Duration::from_secs(10);
/// What a request may have around the photo itself.
const AROUND_THE_PHOTO: usize = 64 << 10;

/// How models are served.
#[derive(Debug, Clone, Copy)]
pub struct ServerOptions {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Photos held at a time: in work, waiting, or arriving.
    pub slots: usize,
    /// Most bytes of a photo.
    pub photo_bytes: usize,
}

/// A request whose body may not have been read yet.
struct Incoming {
    head: Parts,
    body: Option<Body>,
}

impl Incoming {
    fn text(&self, name: &HeaderName) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }
}

/// Reads what is still coming and keeps nothing of it: who is in the midst of sending a photo would not hear the answer.
async fn discard(body: Body) {
    let mut left = MOST_DISCARDED_BYTES;
    let mut chunks = body.into_data_stream();
    let all = async {
        while let Some(Ok(chunk)) = chunks.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                break;
            }
        }
    };
    // Whoever takes longer is cut off.
    _ = tokio::time::timeout(DISCARDING, all).await;
}

/// The server itself: a value that takes requests.
pub(crate) struct ModelServer {
    vision: Arc<dyn VisionModel>,
    clock: Arc<dyn Clock>,
    slots: Semaphore,
    options: ServerOptions,
    metrics: Metrics,
    is_stopping: AtomicBool,
}

impl ModelServer {
    fn new(vision: Arc<dyn VisionModel>, clock: Arc<dyn Clock>, options: ServerOptions) -> Self {
        Self {
            vision,
            clock,
            slots: Semaphore::new(options.slots),
            options,
            metrics: Metrics::new(),
            is_stopping: AtomicBool::new(false),
        }
    }

    /// The models as they are now: packs may be replaced under way.
    fn description(&self) -> Description {
        let of = |route: Route| {
            let models = self.vision.versions(route);
            models.into_iter().map(move |model| DescribedModel {
                route,
                pack: model.pack,
                version: model.version,
            })
        };
        Description {
            models: Route::ALL.into_iter().flat_map(of).collect(),
        }
    }

    fn is_ready(&self) -> bool {
        !self.is_stopping.load(Ordering::Relaxed) && !self.description().models.is_empty()
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let mut incoming = Incoming { head, body: Some(body) };
        let answer = self.route(&mut incoming).await;
        if let Some(body) = incoming.body {
            discard(body).await;
        }
        answer.unwrap_or_else(error)
    }

    async fn route(&self, incoming: &mut Incoming) -> Result<Response<Body>, SentError> {
        let path = incoming.head.uri.path().to_owned();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let method = incoming.head.method.clone();
        match (&method, segments.as_slice()) {
            (&Method::GET, ["ping"]) => Ok(health(self.is_ready())),
            (&Method::POST, ["invocations"]) => sage_maker::invocations(self, incoming).await,
            (&Method::GET, ["metrics"]) => metrics(self.metrics.text(&self.description(), &self.options, &self.slots)),
            (_, ["v2", rest @ ..]) => open_inference::answer(self, rest, incoming).await,
            (_, ["ping" | "invocations" | "metrics"]) => {
                Err(wire::refused(405, "the method is not one of this address"))
            }
            _ => Err(wire::refused(404, "there is nothing here")),
        }
    }

    /// A slot, and with it the body; or why not.
    async fn take(&self, incoming: &mut Incoming) -> Result<(SemaphorePermit<'_>, Bytes), SentError> {
        let Ok(slot) = self.slots.try_acquire() else {
            self.metrics.turned_away();
            return Err(wire::sent(&VisionError::Busy {
                retry_after: Some(Duration::from_secs(COME_AGAIN_S)),
            }));
        };
        let too_large = || wire::sent(&PhotoRefusal::TooManyBytes.into());
        let limit = self.options.photo_bytes + AROUND_THE_PHOTO;
        let said = incoming
            .text(&header::CONTENT_LENGTH)
            .and_then(|length| length.parse().ok());
        if said.is_some_and(|length: usize| length > limit) {
            return Err(too_large());
        }
        let body = axum::body::to_bytes(incoming.body.take().unwrap_or_default(), limit);
        match tokio::time::timeout(ARRIVAL, body).await {
            Ok(Ok(body)) => Ok((slot, body)),
            // Too large all the same, or broken off; then nobody hears it.
            Ok(Err(_)) => Err(too_large()),
            Err(_) => Err(wire::refused(408, "the body took too long to arrive")),
        }
    }

    /// Looks at a photo.
    async fn look(&self, route: Route, photo: Bytes) -> Result<Findings, SentError> {
        let began = self.clock.now();
        let outcome = if photo.len() > self.options.photo_bytes {
            Err(PhotoRefusal::TooManyBytes.into())
        } else {
            let photo = Phi::new(photo);
            let look = self.vision.look(route, &photo);
            tokio::time::timeout(LOOK, look).await.unwrap_or({
                Err(VisionError::Unavailable {
                    what: "the models took too long",
                })
            })
        };
        self.metrics.looked(route, &outcome, self.clock.now().since(began));
        outcome.map_err(|error| wire::sent(&error))
    }
}

/// Health as an empty body and a status.
fn health(is_well: bool) -> Response<Body> {
    let status = if is_well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    reply(status, "text/plain", Bytes::new())
}

fn reply(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

fn json(value: &impl serde::Serialize) -> Result<Response<Body>, SentError> {
    let body = serde_json::to_vec(value).map_err(|_| wire::refused(500, "the answer cannot be written"))?;
    Ok(reply(StatusCode::OK, "application/json", body.into()))
}

fn metrics(text: Result<String, std::fmt::Error>) -> Result<Response<Body>, SentError> {
    let text = text.map_err(|_| wire::refused(500, "the metrics cannot be written"))?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(reply(StatusCode::OK, content_type, text.into()))
}

fn error(error: SentError) -> Response<Body> {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = reply(status, "application/json", error.body.into());
    if let Some(seconds) = error.retry_after_s {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// Models that are being served. Dropping it stops the server at once.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Listens and serves on the current runtime.
    pub async fn start(
        vision: Arc<dyn VisionModel>,
        clock: Arc<dyn Clock>,
        options: ServerOptions,
    ) -> Result<Self, io::Error> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let server = Arc::new(ModelServer::new(vision, clock, options));
        let (stop, mut stopped) = watch::channel(false);
        let router = Router::new()
            .fallback(async |State(server): State<Arc<ModelServer>>, request: Request<Body>| {
                server.answer(request).await
            })
            .with_state(Arc::clone(&server));
        let task = tokio::spawn(async move {
            let until = async move {
                // An error means that the owner is gone, which is a stop as well.
                _ = stopped.wait_for(|stopped| *stopped).await;
                server.is_stopping.store(true, Ordering::Relaxed);
            };
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(until).await {
                tracing::error!(%error, "the models are not served any more");
            }
        });
        Ok(Self { address, stop, task })
    }

    /// Where it is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new connection, answers what was begun, and returns; after `patience` it returns all the same. Whether all was
    /// answered.
    pub async fn shutdown(mut self, patience: Duration) -> bool {
        self.stop.send_replace(true);
        let is_drained = tokio::time::timeout(patience, &mut self.task).await.is_ok();
        self.task.abort();
        is_drained
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}
