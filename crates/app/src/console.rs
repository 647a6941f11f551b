//! The console: what a running system shows its operators and their tools, and what they do about it, over HTTP.
//!
//! # Invariants
//! - A page shows the state as a command does, by the same functions: ids, counts, codes, times. What is a patient's is shown to who
//!   may read it and says why, after that was recorded (`access`).
//! - It serves this machine alone, unless an address and tokens or an identity provider are configured. On this machine, only requests
//!   that name it are answered, so that no web page can have a browser ask in its place.
//! - Nothing of a page comes from elsewhere: no script, style or picture of another host, and none in the page itself.
//! - Whatever happens to it, photos go on: an address that is taken is tried again, and said so.

mod access;
mod api;
mod kept;
mod live;
mod local_code;
mod metrics;
mod openid_connect;
mod pages;
mod pictures;
mod subscribers;
mod trail;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::json;
use skin_assist_core::{
    domain::{FirmId, Journey},
    ports::{AuditChain, Kept as Amount, Overview, StateError, StateStore},
    time::{Clock, Timestamp},
};
use skin_assist_ehr::ProbeReport;
use tokio::{
    net::TcpListener,
    sync::{Mutex, watch},
    task::JoinHandle,
};

use crate::{
    config::{Config, RETURN_PATH},
    driver::{Event, Observer},
    failure::Failure,
    silence::{Silence, quieter_than_usual},
};
use access::{Access, Person};
pub use access::{AccessOptions, Role};
use kept::Kept;
pub use local_code::{LocalCode, Running};
use metrics::{Counted, Stand};
pub use openid_connect::OpenIdConnectOptions;
use pages::{Trouble, View};

/// The engine looks after its firms every five seconds. Without the state for so long it is not ready,
const READY_WITHIN: Duration = Duration::from_secs(30);
/// and when it did not even try for so long, something is stuck that only a new start cures.
const ALIVE_WITHIN: Duration = Duration::from_secs(300);

/// How long to wait before an address that is taken is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// How far back the overview tells of photos.
const RECENT: Duration = Duration::from_secs(24 * 60 * 60);

/// For how long it is good how much is kept: whole tables are counted for it.
const AMOUNTS_FOR: Duration = Duration::from_secs(600);

/// For how long it is good which practices are quieter than they should be: whole hours are compared, and five weeks are counted for it.
const SILENCES_FOR: Duration = Duration::from_secs(1800);

/// Where, and to whom.
pub struct ConsoleOptions {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Who may do what.
    pub access: AccessOptions,
    /// For how long an answer of the state is good: who asks more often gets the same again.
    pub standing_for: Duration,
    /// How much one page reads.
    pub bounds: Bounds,
    /// The configuration that the engine runs with.
    pub config: Config,
}

/// How much one page reads at most. Where it is not all, the page says so.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Photos of a day, the latest.
    pub photos: usize,
    /// Entries of a chain of the audit trail that are searched, the latest.
    pub entries: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            photos: 10_000,
            entries: 100_000,
        }
    }
}

/// What the last day brought.
struct Recent {
    /// Its photos, latest first.
    journeys: Vec<Journey>,
    /// Where there are more than a page reads: when the first of these was found.
    cut_at: Option<Timestamp>,
}

/// What is told of a running system.
pub struct Console {
    state: Arc<dyn StateStore>,
    clock: Arc<dyn Clock>,
    config: Arc<Config>,
    counted: Counted,
    began_at: Timestamp,
    access: Access,
    standing_for: Duration,
    bounds: Bounds,
    /// Whether requests have to name this machine.
    only_this_machine: bool,
    /// Under which name people's browsers reach it besides, through a proxy.
    own_host: Option<String>,
    /// Whether an engine runs beside it.
    has_engine: AtomicBool,
    stopping: watch::Sender<bool>,
    /// Grows with everything that happens.
    happened: watch::Sender<u64>,
    stand: Kept<Stand>,
    recent: Kept<Recent>,
    silences: Kept<Vec<Silence>>,
    /// How much is kept, and when that was counted.
    amounts: Kept<(Timestamp, Vec<Amount>)>,
    /// Where the chains of the audit trail end.
    chains: Kept<Vec<AuditChain>>,
    /// What the EHR of each practice did when this console asked it last, and when that was.
    probed: std::sync::Mutex<BTreeMap<FirmId, (Timestamp, Arc<ProbeReport>)>>,
    /// Held while a photo is read and drawn.
    drawing: Mutex<()>,
}

impl Console {
    /// A console that has counted nothing yet.
    pub fn new(
        state: Arc<dyn StateStore>,
        clock: Arc<dyn Clock>,
        options: ConsoleOptions,
    ) -> Result<Arc<Self>, Failure> {
        let began_at = clock.now();
        let openid_connect = options.access.openid_connect.as_ref();
        let own_host = openid_connect.and_then(|options| options.console_url.host_str().map(str::to_owned));
        Ok(Arc::new(Self {
            state,
            clock,
            config: Arc::new(options.config),
            counted: Counted::new(),
            began_at,
            access: Access::new(options.access)?,
            standing_for: options.standing_for,
            bounds: options.bounds,
            only_this_machine: options.listen.ip().is_loopback(),
            own_host,
            has_engine: AtomicBool::new(true),
            stopping: watch::Sender::new(false),
            happened: watch::Sender::new(0),
            stand: Kept::new(options.standing_for),
            recent: Kept::new(options.standing_for),
            // Nobody renews these.
            silences: Kept::new(SILENCES_FOR / 2),
            amounts: Kept::new(AMOUNTS_FOR / 2),
            chains: Kept::new(options.standing_for / 2),
            probed: std::sync::Mutex::default(),
            drawing: Mutex::default(),
        }))
    }

    /// What the engine tells its events to.
    pub fn observer(self: &Arc<Self>) -> Observer {
        let console = Arc::clone(self);
        Arc::new(move |event: &Event| {
            console.counted.observe(event);
            if !matches!(event, Event::LookedAfter { .. } | Event::Stepped(_)) {
                console.happened.send_modify(|count| *count += 1);
            }
        })
    }

    /// What this process measures, as OpenMetrics text.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn metrics(&self) -> Result<String, std::fmt::Error> {
        let standing = self.standing().await.ok();
        metrics::text(&self.counted, standing.as_deref(), self.clock.now())
    }

    /// Somebody changed something here: what was read before is not good any more.
    fn changed(&self) {
        self.stand.forget();
        self.chains.forget();
        self.happened.send_modify(|count| *count += 1);
    }

    /// There is no EHR yet, and no engine beside this console.
    pub fn not_configured(&self) {
        self.has_engine.store(false, Ordering::Relaxed);
    }

    /// A stop was asked for: it is not ready any more.
    pub fn stopping(&self) {
        self.stopping.send_replace(true);
    }

    /// Reads anew what pages showed of late, so that none of them waits for it.
    async fn keep_fresh(&self) {
        if self.standing_for.is_zero() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(self.standing_for).await;
            self.stand.renew(&*self.clock, self.read_standing()).await;
            self.recent.renew(&*self.clock, self.read_recent()).await;
        }
    }

    /// How the state stands, at most twice `standing_for` old.
    async fn standing(&self) -> Result<Arc<Stand>, StateError> {
        self.stand.get(&*self.clock, self.read_standing()).await
    }

    async fn read_standing(&self) -> Result<Stand, StateError> {
        let now = self.clock.now();
        let pollers = self.state.pollers(now).await?;
        let pollers: Vec<_> = pollers.into_iter().map(|(_, figures)| figures).collect();
        let firms = Overview::told_by(self.state.overview(now).await?, &pollers);
        let silences = quieter_than_usual(&*self.state, &firms, now);
        let silences = self.silences.get(&*self.clock, silences).await?;
        Ok(Stand {
            silences,
            firms,
            quotas: self.state.quotas().await?,
            pollers,
            subscriptions: self.state.subscriptions().await?,
            given_up: self.state.given_up_notifications().await?,
        })
    }

    /// What the last day brought, at most twice `standing_for` old.
    async fn recent(&self) -> Result<Arc<Recent>, StateError> {
        self.recent.get(&*self.clock, self.read_recent()).await
    }

    async fn read_recent(&self) -> Result<Recent, StateError> {
        let now = self.clock.now();
        let most = self.bounds.photos;
        // One more tells whether there are more.
        let mut journeys = self.state.journeys(None, now - RECENT, most.saturating_add(1)).await?;
        let is_cut = journeys.len() > most;
        journeys.truncate(most);
        let first = journeys.last().map(|journey| journey.detected_at);
        Ok(Recent {
            cut_at: first.filter(|_| is_cut),
            journeys,
        })
    }

    /// Takes note of what the EHR of a practice does.
    fn note_probe(&self, firm: &FirmId, report: ProbeReport) -> Arc<ProbeReport> {
        let report = Arc::new(report);
        let mut probed = self.probed.lock().unwrap_or_else(PoisonError::into_inner);
        probed.insert(firm.clone(), (self.clock.now(), Arc::clone(&report)));
        report
    }

    /// What the EHR of a practice did when it was asked here last.
    fn last_probe(&self, firm: &FirmId) -> Option<(Timestamp, Arc<ProbeReport>)> {
        self.probed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(firm)
            .cloned()
    }

    /// How much is kept, and when it was counted: whole tables are, so that nobody has it done more often than every ten minutes.
    async fn amounts(&self) -> Result<Arc<(Timestamp, Vec<Amount>)>, StateError> {
        let count = async { Ok((self.clock.now(), self.state.kept().await?)) };
        self.amounts.get(&*self.clock, count).await
    }

    /// The chains of the audit trail, at most `standing_for` old: in DynamoDB the whole trail is read for it.
    async fn chains(&self) -> Result<Arc<Vec<AuditChain>>, StateError> {
        self.chains.get(&*self.clock, self.state.audit_chains()).await
    }

    /// Why the system is not ready to find photos; nothing when it is.
    async fn not_ready(&self) -> Vec<&'static str> {
        let mut reasons = Vec::new();
        if *self.stopping.borrow() {
            reasons.push("stopping");
        }
        match self.counted.looked_after().well {
            _ if !self.has_engine.load(Ordering::Relaxed) => reasons.push("not-configured"),
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
        // A new start cures an engine that is stuck, and no configuration.
        !self.has_engine.load(Ordering::Relaxed) || self.clock.now().since(last) <= ALIVE_WITHIN
    }
}

/// Whether a request names this machine, as a person's browser and a tool here do, or the console's own name. A page of somebody's
/// whose host name was made to lead here names that host.
fn names_this_machine(request: &Request, own_host: Option<&str>) -> bool {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(named) = named else { return false };
    let host = named.rsplit_once(':').map_or(named, |(host, port)| {
        if port.bytes().all(|digit| digit.is_ascii_digit()) {
            host
        } else {
            named
        }
    });
    matches!(host, "localhost" | "127.0.0.1" | "[::1]") || own_host.is_some_and(|own| own.eq_ignore_ascii_case(host))
}

/// What is answered whoever asks: health, for load balancers, which have no token; what a sign-in needs.
const PUBLIC: [&str; 7] = [
    "/healthz",
    "/readyz",
    "/sign-in",
    "/sign-in/openid-connect",
    RETURN_PATH,
    "/assets/console.css",
    "/assets/console.js",
];

/// No script, style, picture or form of anywhere else; no frame around a page; no address of a page told to others.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Lets through who may ask, and says so in every answer what a browser may do with it.
async fn guard(State(console): State<Arc<Console>>, request: Request, next: Next) -> Response {
    let mut response = answer(console, request, next).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn answer(console: Arc<Console>, mut request: Request, next: Next) -> Response {
    if console.only_this_machine && !names_this_machine(&request, console.own_host.as_deref()) {
        let said = "this address answers only to this machine's own names\n";
        return text(StatusCode::MISDIRECTED_REQUEST, said);
    }
    if !request.method().is_safe() && !access::is_of_this_origin(request.headers()) {
        return text(StatusCode::FORBIDDEN, "a form of another site is not taken\n");
    }
    let now = console.clock.now();
    let path = request.uri().path();
    let is_use = access::is_use(path, request.headers());
    let mut person = console.access.person(request.headers(), is_use, now);
    if person.is_none() {
        person = subscriber(&console, path, request.headers()).await;
    }
    let Some(person) = person else {
        if PUBLIC.contains(&path) {
            return next.run(request).await;
        }
        return refused(&request);
    };
    request.extensions_mut().insert(person.clone());
    let mut response = next.run(request).await;
    match response.extensions_mut().remove::<Arc<Trouble>>() {
        Some(trouble) => View { console, person, now }.trouble(&trouble),
        None => response,
    }
}

/// A subscriber that shows the token of the subscription that it asks about. It may see that one, as a viewer does.
async fn subscriber(console: &Console, path: &str, headers: &HeaderMap) -> Option<Person> {
    let (named, digest) = (subscribers::named_in(path)?, access::token_digest(headers)?);
    let subscription = console.state.subscription(&named).await.ok()??;
    (subscription.token_digest == digest).then(Person::subscriber)
}

/// Nobody is known to have asked: a person is led to the sign-in, a tool is told what is missing.
fn refused(request: &Request) -> Response {
    let accepts = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    if request.method() == Method::GET && accepts.is_some_and(|accepts| accepts.contains("text/html")) {
        let wanted = request.uri().path_and_query().map_or("/", |wanted| wanted.as_str());
        return pages::to(&pages::with_next("/sign-in", wanted));
    }
    let said = "a token is needed: Authorization: Bearer, from console.token_file\n";
    let mut refused = text(StatusCode::UNAUTHORIZED, said);
    let scheme = HeaderValue::from_static("Bearer realm=\"skin-assist\"");
    refused.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    refused
}

impl IntoResponse for Trouble {
    /// The guard makes a page of it, for whoever asked.
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

fn text(status: StatusCode, said: &str) -> Response {
    reply(status, "text/plain; charset=utf-8", said.to_owned())
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
    match console.metrics().await {
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

fn router(console: Arc<Console>) -> Router {
    use pages::{connect, models, overview, photos, practice, queues, sign_in, subscriptions, trust};
    let style = async || {
        reply(
            StatusCode::OK,
            "text/css; charset=utf-8",
            include_str!("console/assets/console.css").to_owned(),
        )
    };
    let script = async || {
        reply(
            StatusCode::OK,
            "text/javascript; charset=utf-8",
            include_str!("console/assets/console.js").to_owned(),
        )
    };
    let permission = post(practice::permit).layer(DefaultBodyLimit::max(practice::MOST_DOCUMENT_BYTES));
    let agreement = post(models::agreement).layer(DefaultBodyLimit::max(models::MOST_DIAGNOSES_BYTES));
    Router::new()
        .route("/", get(overview::page))
        .route("/practices/{practice}", get(practice::page))
        .route("/practices/{practice}/connected", get(connect::connected))
        .route("/practices/{practice}/status", post(practice::set_status))
        .route("/practices/{practice}/mode", post(practice::set_mode))
        .route("/practices/{practice}/permission", permission)
        .route("/practices/{practice}/credential", post(practice::replace_credential))
        .route("/practices/{practice}/probe", post(practice::ask))
        .route(
            "/practices/{practice}/categories",
            get(practice::categories_page).post(practice::set_categories),
        )
        .route("/photos", get(photos::list))
        .route("/photos/{practice}/{document}", get(photos::page))
        .route("/photos/{practice}/{document}/read", post(photos::read))
        .route("/queues", get(queues::page))
        .route("/dead-letters/replay", post(queues::replay))
        .route("/uncertain/resolve", post(queues::resolve))
        .route("/retractions/acknowledge", post(queues::acknowledge))
        .route("/subscriptions", get(subscriptions::page))
        .route("/subscriptions/change", post(subscriptions::change))
        .route("/subscriptions/replay", post(subscriptions::replay))
        .route("/trust", get(trust::page))
        .route("/trust/verify", post(trust::verify))
        .route("/trust/entries", get(trust::entries))
        .route("/models", get(models::page))
        .route("/models/agreement", agreement)
        .route("/connect", get(connect::page).post(connect::connect))
        .route("/sign-in", get(sign_in::form).post(sign_in::sign_in))
        .route("/sign-in/openid-connect", get(sign_in::leave))
        .route(RETURN_PATH, get(sign_in::return_from_provider))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/live", get(live::stream))
        .route("/session", get(sign_in::session))
        .route("/api/v1/openapi.json", get(api::description))
        .route("/api/v1/practices", get(api::practices))
        .route("/api/v1/practices/{practice}", get(api::practice))
        .route("/api/v1/practices/{practice}/events", get(subscribers::events))
        .route("/api/v1/subscriptions", get(subscribers::list))
        .route(
            "/api/v1/subscriptions/{subscription}/events",
            get(subscribers::cloud_events),
        )
        .route("/fhir/Subscription/{subscription}", get(subscribers::fhir_subscription))
        .route(
            "/fhir/Subscription/{subscription}/$status",
            get(subscribers::fhir_status),
        )
        .route(
            "/fhir/Subscription/{subscription}/$events",
            get(subscribers::fhir_events),
        )
        .route("/api/v1/photos", get(api::photos))
        .route("/api/v1/queue", get(api::queue))
        .route("/api/v1/dead-letters", get(api::dead_letters))
        .route("/api/v1/uncertain", get(api::uncertain))
        .route("/api/v1/retractions", get(api::retractions))
        .route("/api/v1/quotas", get(api::quotas))
        .route("/assets/console.css", get(style))
        .route("/assets/console.js", get(script))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(async || Trouble::not_found("page"))
        .layer(middleware::from_fn_with_state(Arc::clone(&console), guard))
        .with_state(console)
}

/// A console that is being served. Dropping it ends that at once.
pub struct Serving {
    address: watch::Receiver<Option<SocketAddr>>,
    task: JoinHandle<()>,
}

impl Serving {
    /// Serves on the current runtime, as soon as the address can be had. It is `announced` then.
    pub fn start(
        console: Arc<Console>,
        listen: SocketAddr,
        announced: impl FnOnce(SocketAddr) + Send + 'static,
    ) -> Self {
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
                announced(address);
                had.send_replace(Some(address));
            }
            let router = router(Arc::clone(&console));
            tokio::select! {
                served = axum::serve(listener, router).into_future() => if let Err(error) = served {
                    tracing::error!(event = "console.failed", %error);
                },
                () = console.keep_fresh() => {}
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
