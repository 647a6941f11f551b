//! The HTTP edge: serves a [`PracticeEhr`] on loopback, in real time.
//!
//! The API, the token endpoint and the chart page share one port, the photo host has another. Nothing is decided here:
//! a request is read whole, handed over with the time, and the outcome is sent, late or not at all if the EHR says so.
//! There is no login on the chart page, so an address that is not loopback is refused.

use std::{
    io::{self, Write as _},
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, State, connect_info::Connected},
    serve::{IncomingStream, Listener},
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING},
};
use skin_assist_core::time::Timestamp;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::{
    ehr::{PracticeEhr, is_token_path},
    reply::{Host, Outcome, Reply},
    specification::Endpoints,
};

/// The largest request body that is read.
const MAX_BODY_BYTES: usize = 4 << 20;
/// How often due events are applied while nobody asks.
const TICK: Duration = Duration::from_millis(100);
/// How long a shutdown waits for requests that are being answered.
const DRAIN: Duration = Duration::from_secs(3);

/// Where to listen.
#[derive(Debug, Clone, Copy)]
pub struct ServerOptions {
    /// The API, the token endpoint and the chart page; port 0 lets the system choose.
    pub api: SocketAddr,
    /// The photo host; port 0 lets the system choose.
    pub photos: SocketAddr,
}

impl Default for ServerOptions {
    fn default() -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            api: any_port,
            photos: any_port,
        }
    }
}

/// The server could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The chart page has no login.
    #[error("{0} is not a loopback address, and the practice EHR has no login")]
    NotLoopback(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A practice EHR that is being served. Dropping it stops the server at once, without waiting for anybody.
#[derive(Debug)]
pub struct Server {
    endpoints: Endpoints,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// Listens, tells the EHR its addresses, and serves it on the current runtime.
    pub async fn start(ehr: PracticeEhr, options: ServerOptions) -> Result<Self, Error> {
        let (api, api_address) = bind(options.api).await?;
        let (photos, photos_address) = bind(options.photos).await?;
        let endpoints = Endpoints {
            api: format!("http://{api_address}"),
            token: format!("http://{api_address}"),
            photos: format!("http://{photos_address}"),
        };
        ehr.set_endpoints(endpoints.clone());
        let (stop, stopped) = watch::channel(false);
        let tasks = vec![
            serve(api, Edge::new(&ehr, Host::Api), stopped.clone()),
            serve(photos, Edge::new(&ehr, Host::Photos), stopped.clone()),
            tick(ehr, stopped),
        ];
        Ok(Self { endpoints, stop, tasks })
    }

    /// Where the hosts are.
    pub const fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The page on which a person sees what a clinician would.
    pub fn chart_url(&self) -> String {
        format!("{}/chart", self.endpoints.api)
    }

    /// Stops listening, lets the requests that are being answered finish, and returns.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        for task in &mut self.tasks {
            if tokio::time::timeout(DRAIN, &mut *task).await.is_err() {
                task.abort();
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn bind(address: SocketAddr) -> Result<(LoopbackListener, SocketAddr), Error> {
    if !address.ip().is_loopback() {
        return Err(Error::NotLoopback(address));
    }
    let failed = |source| Error::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((LoopbackListener(listener), bound))
}

fn serve(listener: LoopbackListener, edge: Edge, stopped: watch::Receiver<bool>) -> JoinHandle<()> {
    let router = Router::new().fallback(answer).with_state(edge);
    let service = router.into_make_service_with_connect_info::<Link>();
    tokio::spawn(async move {
        let served = axum::serve(listener, service).with_graceful_shutdown(wait_for(stopped));
        if let Err(error) = served.await {
            tracing::error!(%error, "the practice EHR has stopped serving");
        }
    })
}

fn tick(ehr: PracticeEhr, stopped: watch::Receiver<bool>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(TICK);
        let mut stop = std::pin::pin!(wait_for(stopped));
        loop {
            tokio::select! {
                _ = ticks.tick() => ehr.advance(now()),
                () = &mut stop => break,
            }
        }
    })
}

async fn wait_for(mut stopped: watch::Receiver<bool>) {
    // An error means that the server's owner is gone, which is a stop as well.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// The present, in the one place of this crate where it is read.
#[allow(
    clippy::disallowed_methods,
    reason = "the HTTP edge runs in real time; everything behind it is told the time"
)]
fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

#[derive(Debug, Clone)]
struct Edge {
    ehr: PracticeEhr,
    host: Host,
}

impl Edge {
    fn new(ehr: &PracticeEhr, host: Host) -> Self {
        Self { ehr: ehr.clone(), host }
    }

    fn host_of(&self, path: &str) -> Host {
        if self.host == Host::Api && is_token_path(path) {
            Host::Token
        } else {
            self.host
        }
    }
}

async fn answer(
    State(edge): State<Edge>,
    ConnectInfo(link): ConnectInfo<Link>,
    request: Request<Body>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY_BYTES).await else {
        return empty(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let request = Request::from_parts(parts, body);
    let compresses = edge.host == Host::Api && accepts_gzip(&request) && edge.ehr.quirks().gzip;
    // A photo may have to be rendered, which takes too long for a thread that serves connections.
    let outcome = tokio::task::spawn_blocking(move || {
        let host = edge.host_of(request.uri().path());
        edge.ehr.handle(now(), host, &request)
    })
    .await;
    let Ok(Outcome { after, reply }) = outcome else {
        return empty(StatusCode::INTERNAL_SERVER_ERROR);
    };
    if !after.is_zero() {
        tokio::time::sleep(after).await;
    }
    match reply {
        Reply::Response(response) if compresses => compressed(response).map(Body::from),
        Reply::Response(response) => response.map(Body::from),
        Reply::Dropped => {
            link.cut();
            empty(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

fn accepts_gzip(request: &Request<Bytes>) -> bool {
    let accepted = request.headers().get(ACCEPT_ENCODING);
    accepted.is_some_and(|value| value.to_str().is_ok_and(|value| value.contains("gzip")))
}

/// The response with its body compressed; as it is when that cannot be done.
fn compressed(response: Response<Bytes>) -> Response<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(response.body()).and_then(|()| encoder.finish());
    let Ok(bytes) = written else { return response };
    let mut response = response.map(|_| Bytes::from(bytes));
    let gzip = HeaderValue::from_static("gzip");
    response.headers_mut().insert(CONTENT_ENCODING, gzip);
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// A connection's other end of the wire cutter.
#[derive(Debug, Clone, Default)]
struct Link {
    is_cut: Arc<AtomicBool>,
}

impl Link {
    /// Nothing more is written to the connection; the server closes it.
    fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
    }

    fn check(&self) -> io::Result<()> {
        if self.is_cut.load(Ordering::Acquire) {
            Err(io::Error::from(io::ErrorKind::ConnectionAborted))
        } else {
            Ok(())
        }
    }
}

impl Connected<IncomingStream<'_, LoopbackListener>> for Link {
    fn connect_info(stream: IncomingStream<'_, LoopbackListener>) -> Self {
        stream.remote_addr().clone()
    }
}

struct LoopbackListener(TcpListener);

impl Listener for LoopbackListener {
    type Io = Connection;
    type Addr = Link;

    async fn accept(&mut self) -> (Connection, Link) {
        loop {
            match self.0.accept().await {
                Ok((stream, _)) => {
                    let link = Link::default();
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY was refused");
                    }
                    let connection = Connection {
                        stream,
                        link: link.clone(),
                    };
                    return (connection, link);
                }
                Err(error) => {
                    // Out of descriptors, or a client that gave up: neither ends the server.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Link> {
        Ok(Link::default())
    }
}

/// A TCP connection whose wire can be cut before a reply is written.
struct Connection {
    stream: TcpStream,
    link: Link,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.link.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.link.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
