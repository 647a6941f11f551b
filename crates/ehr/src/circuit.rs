//! A circuit breaker in front of the network, one circuit for each host.
//!
//! While a host's circuit is open nothing is sent to it: what is refused here was certainly not seen by the server
//! ([`TransportError::NotSent`]), so that a draft is not taken for posted. The states are [`skin_assist_core::circuit`].

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use skin_assist_core::{
    circuit::{Change, Circuits, Outcome, PATIENCE, Permit},
    time::{Clock, Timestamp},
};
use skin_assist_transport::{NotOnTrial, Transport, TransportError};
use url::Url;

/// The circuits of an EHR's hosts, and the time they go by.
#[derive(Clone)]
pub(crate) struct Breaker {
    pub(crate) circuits: Arc<Circuits>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Breaker {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            circuits: Arc::default(),
            clock,
        }
    }
}

/// What a host is called among the circuits.
pub(crate) fn name(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

/// A transport that leaves hosts alone that fail again and again.
pub(crate) struct GuardedTransport {
    pub(crate) inner: Arc<dyn Transport>,
    pub(crate) breaker: Breaker,
}

#[async_trait]
impl Transport for GuardedTransport {
    async fn send(&self, request: Request<Bytes>, limit_bytes: usize) -> Result<Response<Bytes>, TransportError> {
        let url = Url::parse(&request.uri().to_string()).ok();
        let Some(host) = url.as_ref().and_then(name) else {
            // Not a URL: the network's business to refuse.
            return self.inner.send(request, limit_bytes).await;
        };
        let may_probe = request.extensions().get::<NotOnTrial>().is_none();
        let began = self.breaker.clock.now();
        let permit = self
            .breaker
            .circuits
            .ask(&host, may_probe, began)
            .map_err(|_| TransportError::NotSent {
                what: "its host failed again and again and is left alone for a while",
            })?;
        if permit == Permit::Probe {
            tracing::info!(event = "circuit.half-open", host);
        }
        let mut under_way = UnderWay {
            breaker: &self.breaker,
            host,
            permit,
            began,
            is_over: false,
        };
        let outcome = self.inner.send(request, limit_bytes).await;
        let status = match &outcome {
            Ok(reply) => Some(reply.status()),
            Err(TransportError::TooLarge { status }) => Some(*status),
            Err(_) => None,
        };
        under_way.end(if status.is_some_and(|status| !status.is_server_error()) {
            Outcome::Answered
        } else {
            Outcome::Failed
        });
        outcome
    }
}

/// A request on its way. One that is given up (a step's time is over) did not get an answer in the time that there was.
struct UnderWay<'a> {
    breaker: &'a Breaker,
    host: String,
    permit: Permit,
    began: Timestamp,
    is_over: bool,
}

impl UnderWay<'_> {
    fn end(&mut self, outcome: Outcome) {
        self.is_over = true;
        let now = self.breaker.clock.now();
        let host = &self.host;
        match self.breaker.circuits.ended(host, self.permit, outcome, now) {
            Some(Change::Opened { until, failures }) => {
                tracing::error!(event = "circuit.opened", host, failures, %until);
            }
            Some(Change::StaysOpen { until }) => tracing::warn!(event = "circuit.stays-open", host, %until),
            Some(Change::Closed) => tracing::info!(event = "circuit.closed", host),
            None => {}
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let waited = self.breaker.clock.now().since(self.began);
            self.end(if waited >= PATIENCE {
                Outcome::Failed
            } else {
                Outcome::NotKnown
            });
        }
    }
}
