//! What the running program tells an OpenTelemetry collector.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

#[path = "support/process.rs"]
mod process;
#[path = "support/telemetry.rs"]
mod told;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::IntoResponse as _,
};
use process::{Installation, Served};
use serde_json::Value;

/// A collector: what it was told, each request with its path. The first one it puts off.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Value)>>>);

impl Collector {
    #[allow(clippy::unused_async, reason = "axum's handlers are")]
    async fn take(
        State(collector): State<Self>,
        uri: Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> axum::response::Response {
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["x-collector-key"], "the key");
        let mut taken = collector.0.lock().unwrap();
        let is_first = taken.is_empty();
        taken.push((uri.path().to_owned(), serde_json::from_slice(&body).unwrap()));
        if is_first {
            return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")]).into_response();
        }
        "{}".into_response()
    }

    fn start(self, served: &Served) -> String {
        served.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let service = Router::new().fallback(Self::take).with_state(self);
            tokio::spawn(async move { axum::serve(listener, service).await });
            format!("http://{address}/otlp")
        })
    }

    /// What lies below `resource…/scope…` of the requests to a path, the first of all left out.
    fn told(&self, path: &str, outer: &str, inner: &str, what: &str) -> Vec<Value> {
        let taken = self.0.lock().unwrap();
        let of_path = taken.iter().skip(1).filter(|(to, _)| to == path);
        let items = of_path.flat_map(|(_, body)| {
            let attributes = body[outer][0]["resource"]["attributes"].to_string();
            assert!(attributes.contains("service.instance.id"), "{attributes}");
            body[outer][0][inner][0][what].as_array().unwrap().clone()
        });
        items.collect()
    }

    fn spans(&self) -> Vec<Value> {
        self.told("/otlp/v1/traces", "resourceSpans", "scopeSpans", "spans")
    }
}

#[test]
fn each_photo_is_one_trace_from_its_filing_to_its_draft() {
    let (served, installation) = told::two_photos();
    let collector = Collector::default();
    let endpoint = collector.clone().start(&served);
    std::fs::write(installation.path("headers"), "X-Collector-Key: the key\n").unwrap();
    told::tell(&installation, &endpoint, "otlp_headers_file = \"headers\"");
    let running = installation.start();
    let is_whole = |span: &&Value| span["name"] == "photo";
    for _ in 0..900 {
        if collector.spans().iter().filter(is_whole).count() >= 2 {
            break;
        }
        served.sleep(Duration::from_millis(100));
    }
    assert_eq!(running.terminate(), Some(0));

    let mut traces: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for span in collector.spans() {
        traces
            .entry(span["traceId"].as_str().unwrap().to_owned())
            .or_default()
            .push(span);
    }
    assert_eq!(traces.len(), 2, "{traces:?}");
    for spans in traces.values() {
        let names: BTreeSet<_> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
        let all = ["download-photo", "find", "infer", "photo", "write-back"];
        assert!(all.iter().all(|name| names.contains(name)), "{names:?}");
        let whole = spans.iter().find(is_whole).unwrap();
        let nanos = |span: &Value, field: &str| span[field].as_str().unwrap().parse::<u64>().unwrap();
        for span in spans.iter().filter(|span| !is_whole(span)) {
            assert_eq!(span["parentSpanId"], whole["spanId"]);
            assert!(nanos(span, "startTimeUnixNano") >= nanos(whole, "startTimeUnixNano"));
            assert!(nanos(span, "endTimeUnixNano") <= nanos(whole, "endTimeUnixNano"));
        }
        let outcome = whole["attributes"].as_array().unwrap().iter();
        let outcome = outcome
            .clone()
            .find(|attribute| attribute["key"] == "skin_assist.outcome");
        assert_eq!(outcome.unwrap()["value"]["stringValue"], "delivered");
    }
    let metrics = collector.told("/otlp/v1/metrics", "resourceMetrics", "scopeMetrics", "metrics");
    let detected = metrics
        .iter()
        .rfind(|metric| metric["name"] == "skin_assist_photos_detected")
        .unwrap();
    assert_eq!(detected["sum"]["dataPoints"][0]["asDouble"], 2.0);
    let waits = metrics
        .iter()
        .rfind(|metric| metric["name"] == "skin_assist_photo_to_draft_seconds");
    assert_eq!(waits.unwrap()["histogram"]["dataPoints"].as_array().unwrap().len(), 2);
    let log = installation.log();
    assert!(
        log.contains("telemetry.unavailable"),
        "the first request was put off:\n{log}"
    );
    assert!(!log.contains("the key"), "{log}");
}

#[test]
fn a_collector_is_told_over_tls_or_on_this_machine() {
    let installation = Installation::new();
    let check = |section: &str| {
        let config = format!("[state]\nkey_file = \"state.key\"\n[telemetry]\n{section}\n");
        std::fs::write(&installation.config, config).unwrap();
        let checked = installation.output(&["config", "check"]);
        String::from_utf8(checked.stderr).unwrap()
    };
    let no_address = "telemetry.otlp_endpoint is no address of a collector";
    for endpoint in [
        "collector",
        "http://collector.example:4318",
        "http://127.0.0.1:4318",
        "https://me:pass@collector.example",
    ] {
        let said = check(&format!("otlp_endpoint = \"{endpoint}\""));
        assert!(
            said.contains(no_address) && said.contains("hint: "),
            "{endpoint}: {said}"
        );
        assert!(!said.contains("me:pass"), "{said}");
    }
    for sound in [
        "otlp_endpoint = \"https://collector.example:4318\"",
        "otlp_endpoint = \"http://127.0.0.1:4318\"\nallow_loopback_http = true",
    ] {
        assert!(!check(sound).contains(no_address), "{sound}");
    }
    let seldom = check("otlp_every_seconds = 301");
    assert!(
        seldom.contains("telemetry.otlp_every_seconds is out of range"),
        "{seldom}"
    );
}
