//! What a running system tells its operators and their tools, over HTTP: health, readiness, metrics.
//!
//! # Invariants
//! - It only reads the state, and only what `status` shows: ids, counts, codes, times. Nothing of a patient.
//! - It serves this machine alone, unless an address and a token are configured. On this machine, only requests that name it
//!   are answered, so that no web page can have a browser ask in its place.
//! - Whatever happens to it, photos go on: an address that is taken is tried again, and said so.

mod metrics;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use skin_assist_core::{
    phi::Secret,
    ports::{StateError, StateStore},
    time::{Clock, Timestamp},
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::driver::{Event, Observer};
use metrics::{Counted, Stand};

/// The engine looks after its firms every five seconds. Without the state for so long it is not ready,
const READY_WITHIN: Duration = Duration::from_secs(30);
/// and when it did not even try for so long, something is stuck that only a new start cures.
const ALIVE_WITHIN: Duration = Duration::from_secs(300);

/// How long to wait before an address that is taken is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// Where, and to whom.
pub struct ConsoleOptions {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// What callers have to show; none where only this machine is served.
    pub token: Option<Secret>,
    /// For how long an answer of the state is good: who asks more often gets the same again.
    pub standing_for: Duration,
}

/// What is told of a running system.
pub struct Console {
    state: Arc<dyn StateStore>,
    clock: Arc<dyn Clock>,
    counted: Counted,
    began_at: Timestamp,
    token: Option<Secret>,
    standing_for: Duration,
    /// Whether requests have to name this machine.
    only_this_machine: bool,
    stopping: watch::Sender<bool>,
    last: Mutex<Option<(Timestamp, Arc<Stand>)>>,
}

impl Console {
    /// A console that has counted nothing yet.
    pub fn new(state: Arc<dyn StateStore>, clock: Arc<dyn Clock>, options: &ConsoleOptions) -> Arc<Self> {
        let began_at = clock.now();
        Arc::new(Self {
            state,
            clock,
            counted: Counted::new(),
            began_at,
            token: options.token.clone(),
            standing_for: options.standing_for,
            only_this_machine: options.listen.ip().is_loopback(),
            stopping: watch::Sender::new(false),
            last: Mutex::default(),
        })
    }

    /// What the engine tells its events to.
    pub fn observer(self: &Arc<Self>) -> Observer {
        let console = Arc::clone(self);
        Arc::new(move |event: &Event| console.counted.observe(event))
    }

    /// A stop was asked for: it is not ready any more.
    pub fn stopping(&self) {
        self.stopping.send_replace(true);
    }

    /// How the state stands, at most `standing_for` old.
    async fn standing(&self) -> Result<Arc<Stand>, StateError> {
        let now = self.clock.now();
        let known = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, standing)) = known
            && now.since(at) < self.standing_for
        {
            return Ok(standing);
        }
        let standing = Arc::new(Stand {
            firms: self.state.overview(now).await?,
            quotas: self.state.quotas().await?,
            pollers: self
                .state
                .pollers(now)
                .await?
                .into_iter()
                .map(|(_, figures)| figures)
                .collect(),
        });
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, Arc::clone(&standing)));
        Ok(standing)
    }

    /// Why the system is not ready to find photos; nothing when it is.
    async fn not_ready(&self) -> Vec<&'static str> {
        let mut reasons = Vec::new();
        if *self.stopping.borrow() {
            reasons.push("stopping");
        }
        match self.counted.looked_after().well {
            None => reasons.push("starting"),
            Some(at) if self.clock.now().since(at) > READY_WITHIN => reasons.push("engine-idle"),
            Some(_) => {}
        }
        if self.standing().await.is_err() {
            reasons.push("state-unavailable");
        }
        reasons
    }

    fn is_alive(&self) -> bool {
        let last = self.counted.looked_after().last.unwrap_or(self.began_at);
        self.clock.now().since(last) <= ALIVE_WITHIN
    }

    /// Whether a request may be answered. Health and readiness are for load balancers, which have no token.
    fn may(&self, request: &Request) -> Result<(), StatusCode> {
        if self.only_this_machine && !names_this_machine(request) {
            return Err(StatusCode::MISDIRECTED_REQUEST);
        }
        let Some(token) = &self.token else { return Ok(()) };
        if matches!(request.uri().path(), "/healthz" | "/readyz") {
            return Ok(());
        }
        let shown = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        match shown {
            Some(shown) if is_same(shown.as_bytes(), token.expose().as_bytes()) => Ok(()),
            _ => Err(StatusCode::UNAUTHORIZED),
        }
    }
}

/// Compares digests, so that the time it takes tells nothing of the token.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    Sha256::digest(one) == Sha256::digest(other)
}

/// Whether a request names this machine, as a person's browser and a tool here do. A page of somebody's whose host name was made
/// to lead here names that host.
fn names_this_machine(request: &Request) -> bool {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(named) = named else { return false };
    let host = named.rsplit_once(':').map_or(named, |(host, port)| {
        if port.bytes().all(|digit| digit.is_ascii_digit()) {
            host
        } else {
            named
        }
    });
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

async fn guard(State(console): State<Arc<Console>>, request: Request, next: Next) -> Response {
    let mut response = match console.may(&request) {
        Ok(()) => next.run(request).await,
        Err(status) => {
            let said = match status {
                StatusCode::UNAUTHORIZED => "a token is needed: Authorization: Bearer, from console.token_file\n",
                _ => "this address answers only to this machine's own names\n",
            };
            let mut refused = reply(status, "text/plain; charset=utf-8", said.to_owned());
            if status == StatusCode::UNAUTHORIZED {
                let scheme = HeaderValue::from_static("Bearer realm=\"skin-assist\"");
                refused.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
            }
            refused
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn reply(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

async fn healthz(State(console): State<Arc<Console>>) -> Response {
    if console.is_alive() {
        reply(StatusCode::OK, "application/json", json!({"alive": true}).to_string())
    } else {
        let said = json!({"alive": false, "reasons": ["engine-stuck"]});
        reply(StatusCode::SERVICE_UNAVAILABLE, "application/json", said.to_string())
    }
}

async fn readyz(State(console): State<Arc<Console>>) -> Response {
    let reasons = console.not_ready().await;
    let status = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let said = json!({"ready": reasons.is_empty(), "reasons": reasons});
    reply(status, "application/json", said.to_string())
}

async fn metrics(State(console): State<Arc<Console>>) -> Response {
    let standing = console.standing().await.ok();
    match metrics::text(&console.counted, standing.as_deref()) {
        Ok(text) => reply(
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            text,
        ),
        Err(_) => reply(
            StatusCode::INTERNAL_SERVER_ERROR,
            "text/plain; charset=utf-8",
            "the metrics cannot be written\n".to_owned(),
        ),
    }
}

/// A console that is being served. Dropping it ends that at once.
pub struct Serving {
    address: watch::Receiver<Option<SocketAddr>>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Serves on the current runtime, as soon as the address can be had.
    pub fn start(console: Arc<Console>, listen: SocketAddr) -> Self {
        let (had, address) = watch::channel(None);
        let task = tokio::spawn(async move {
            let mut is_told = false;
            let listener = loop {
                match TcpListener::bind(listen).await {
                    Ok(listener) => break listener,
                    Err(error) => {
                        if !is_told {
                            tracing::warn!(event = "console.address-taken", address = %listen, %error);
                            is_told = true;
                        }
                        tokio::time::sleep(TRY_AGAIN).await;
                    }
                }
            };
            if let Ok(address) = listener.local_addr() {
                tracing::info!(event = "console.started", %address);
                had.send_replace(Some(address));
            }
            let router = Router::new()
                .route("/healthz", get(healthz))
                .route("/readyz", get(readyz))
                .route("/metrics", get(metrics))
                .fallback(async || {
                    reply(
                        StatusCode::NOT_FOUND,
                        "text/plain; charset=utf-8",
                        "there is nothing here\n".to_owned(),
                    )
                })
                .layer(middleware::from_fn_with_state(Arc::clone(&console), guard))
                .with_state(console);
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(event = "console.failed", %error);
            }
        });
        Self { address, task }
    }

    /// Where it is, once it is.
    pub async fn address(&mut self) -> Option<SocketAddr> {
        self.address
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|address| *address)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}
