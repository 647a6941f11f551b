//! Traces and metrics for an OpenTelemetry collector: OTLP over HTTP, JSON bodies.
//! <https://opentelemetry.io/docs/specs/otlp/>
//!
//! What cannot be told is kept for a while and then given up: telemetry never holds up a photo. Nothing of a patient is in it: ids,
//! words and reason codes of this software, and times, as in logs and metrics.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, StatusCode, header};
use serde_json::{Value, json};
use skin_assist_core::time::{Clock, Timestamp};
use skin_assist_transport::{Transport, retry_after};
use url::Url;

use super::{attribute, figures, nanos, spans};
use crate::driver::Event;

/// As many spans wait at most; of more the oldest are given up. About an hour of a busy installation.
const MOST_WAITING: usize = 20_000;

/// As many spans are told at once at most.
const MOST_AT_ONCE: usize = 512;

/// Of an answer hardly anything is wanted.
const MOST_ANSWER_BYTES: usize = 64 * 1024;

/// Where telemetry goes.
pub(crate) struct CollectorOptions {
    /// The base of the collector's addresses: `v1/traces` and `v1/metrics` are below it.
    pub(crate) endpoint: Url,
    /// Sent with each request: what the collector wants to know its clients by.
    pub(crate) headers: HeaderMap,
    /// How often it is told.
    pub(crate) every: Duration,
    /// Which process this is.
    pub(crate) instance: String,
}

/// Reads the metrics of this process, as `/metrics` has them.
pub(crate) type ReadMetrics = Box<dyn Fn() -> BoxFuture<'static, Option<String>> + Send + Sync>;

/// Tells a collector.
pub(crate) struct Collector {
    options: CollectorOptions,
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    metrics: ReadMetrics,
    began: Timestamp,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    spans: VecDeque<Value>,
    given_up: u64,
    /// Nothing is sent before: the collector asked for it.
    rests_until: Timestamp,
    is_failing: bool,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Taken,
    /// It may be taken later.
    NotNow(Option<Duration>),
    /// It never will.
    Refused(StatusCode),
}

/// Spans on their way. What is in it at its end waits again, first: also where a stop ended the attempt in the middle.
struct Batch<'a> {
    collector: &'a Collector,
    spans: Vec<Value>,
}

impl<'a> Batch<'a> {
    fn of(collector: &'a Collector) -> Self {
        let mut waiting = collector.waiting();
        let some = waiting.spans.len().min(MOST_AT_ONCE);
        let spans = waiting.spans.drain(..some).collect();
        Self { collector, spans }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let mut waiting = self.collector.waiting();
        for span in self.spans.drain(..).rev() {
            waiting.spans.push_front(span);
        }
    }
}

impl Collector {
    pub(crate) fn new(
        options: CollectorOptions,
        transport: Arc<dyn Transport>,
        clock: Arc<dyn Clock>,
        metrics: ReadMetrics,
    ) -> Self {
        Self {
            options,
            transport,
            began: clock.now(),
            clock,
            metrics,
            waiting: Mutex::default(),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what happened.
    pub(crate) fn observe(&self, event: &Event) {
        let Event::Stepped(stepped) = event else { return };
        let mut waiting = self.waiting();
        waiting.spans.extend(spans::of_step(stepped));
        while waiting.spans.len() > MOST_WAITING {
            waiting.spans.pop_front();
            waiting.given_up += 1;
        }
    }

    /// Tells what there is, again and again.
    pub(crate) async fn keep_telling(&self) {
        loop {
            self.clock.sleep_until(self.clock.now() + self.options.every).await;
            self.tell().await;
        }
    }

    /// Tells what there is: all spans that wait, and how the metrics stand.
    pub(crate) async fn tell(&self) {
        if self.clock.now() < self.waiting().rests_until {
            return;
        }
        let given_up = std::mem::take(&mut self.waiting().given_up);
        if given_up > 0 {
            tracing::warn!(event = "telemetry.given-up", spans = given_up);
        }
        loop {
            let mut batch = Batch::of(self);
            if batch.spans.is_empty() {
                break;
            }
            let told = self
                .post("v1/traces", "resourceSpans", "scopeSpans", "spans", &batch.spans)
                .await;
            if !matches!(told, Told::NotNow(_)) {
                batch.spans.clear();
            }
            drop(batch);
            if self.is_over(told) {
                return;
            }
        }
        let now = self.clock.now();
        let text = (self.metrics)().await;
        let metrics = text.and_then(|text| figures::metrics(&text, &nanos(self.began), &nanos(now)));
        if let Some(metrics) = metrics {
            let told = self
                .post("v1/metrics", "resourceMetrics", "scopeMetrics", "metrics", &metrics)
                .await;
            self.is_over(told);
        }
    }

    /// Takes note of an answer, and whether nothing more is to be sent for now. It is said once that the collector does not answer, and once that
    /// it does again.
    fn is_over(&self, told: Told) -> bool {
        let mut waiting = self.waiting();
        let was_failing = std::mem::replace(&mut waiting.is_failing, told != Told::Taken);
        match told {
            Told::Taken if was_failing => tracing::info!(event = "telemetry.taken-again"),
            Told::NotNow(_) if !was_failing => tracing::warn!(event = "telemetry.unavailable"),
            Told::Refused(status) if !was_failing => tracing::warn!(
                event = "telemetry.refused",
                status = status.as_u16(),
                hint = "look at telemetry.otlp_endpoint and telemetry.otlp_headers_file; what is refused is not sent again"
            ),
            _ => {}
        }
        if let Told::NotNow(Some(after)) = told {
            waiting.rests_until = self.clock.now() + after;
        }
        matches!(told, Told::NotNow(_))
    }

    async fn post(&self, path: &str, outer: &str, inner: &str, what: &str, items: &[Value]) -> Told {
        let body = json!({outer: [{
            "resource": {"attributes": [
                attribute("service.name", "skin-assist"),
                attribute("service.version", env!("CARGO_PKG_VERSION")),
                attribute("service.instance.id", &self.options.instance),
            ]},
            inner: [{"scope": {"name": "skin-assist", "version": env!("CARGO_PKG_VERSION")}, what: items}],
        }]});
        let mut url = self.options.endpoint.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{path}"));
        let request = Request::post(url.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Bytes::from(body.to_string()));
        let Ok(mut request) = request else {
            return Told::Refused(StatusCode::BAD_REQUEST);
        };
        request.headers_mut().extend(self.options.headers.clone());
        let Ok(answer) = self.transport.send(request, MOST_ANSWER_BYTES).await else {
            return Told::NotNow(None);
        };
        match answer.status() {
            status if status.is_success() => {
                let rejected = serde_json::from_slice::<Value>(answer.body()).ok();
                let rejected = rejected.and_then(|body| body.get("partialSuccess").cloned());
                if rejected.is_some_and(|rejected| rejected.as_object().is_some_and(|fields| !fields.is_empty())) {
                    tracing::warn!(event = "telemetry.partly-refused");
                }
                Told::Taken
            }
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Told::NotNow(retry_after(answer.headers())),
            status => Told::Refused(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use futures::FutureExt as _;
    use http::Response;
    use skin_assist_core::{
        domain::{DocumentId, FirmId, Stage},
        time::VirtualClock,
    };
    use skin_assist_transport::TransportError;

    use super::*;
    use crate::driver::{Outcome, Stepped, SteppedPhoto};

    /// A collector that does not answer until it is let.
    #[derive(Default)]
    struct Slow {
        answers: AtomicBool,
        bodies: Mutex<Vec<Bytes>>,
    }

    #[async_trait]
    impl Transport for Slow {
        async fn send(&self, request: Request<Bytes>, _limit: usize) -> Result<Response<Bytes>, TransportError> {
            if !self.answers.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            self.bodies.lock().unwrap().push(request.into_body());
            Ok(Response::new(Bytes::from_static(b"{}")))
        }
    }

    #[test]
    fn what_a_stop_cuts_off_is_told_with_the_last_words() {
        let at = Timestamp::from_millis(1_000);
        let slow = Arc::new(Slow::default());
        let options = CollectorOptions {
            endpoint: Url::parse("https://collector.example/").unwrap(),
            headers: HeaderMap::new(),
            every: Duration::from_secs(1),
            instance: "one".to_owned(),
        };
        let transport = Arc::clone(&slow) as Arc<dyn Transport>;
        let metrics: ReadMetrics = Box::new(|| async { None }.boxed());
        let collector = Collector::new(options, transport, Arc::new(VirtualClock::new(at)), metrics);
        let photo = SteppedPhoto {
            document: DocumentId::new("file|1"),
            filed_at: None,
            detected_at: at,
        };
        let stepped = Stepped {
            firm: FirmId::new("oak"),
            photos: vec![photo],
            stage: Stage::Infer,
            outcome: Outcome::Done,
            reason: None,
            began_at: at,
            ended_at: at,
        };
        collector.observe(&Event::Stepped(Box::new(stepped)));
        assert!(collector.tell().now_or_never().is_none(), "under way, and cut off");
        slow.answers.store(true, Ordering::Relaxed);
        collector.tell().now_or_never().unwrap();
        collector.tell().now_or_never().unwrap();
        let bodies = slow.bodies.lock().unwrap();
        assert_eq!(bodies.len(), 1, "told once");
        assert!(String::from_utf8_lossy(&bodies[0]).contains("\"name\":\"infer\""));
    }
}
