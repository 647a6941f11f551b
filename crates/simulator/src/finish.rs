//! The last touch on every reply: the clock's header, the gateway's headers, and what a quirk spoils.

use bytes::Bytes;
use http::{
    HeaderName, Response, StatusCode,
    header::{DATE, RETRY_AFTER},
};
use serde_json::{Value, json};
use skin_assist_core::time::Timestamp;
use std::time::Duration;

use crate::{
    calendar,
    quirks::{RetryAfter, Spoilt},
    reply,
    state::State,
};

/// What a reply gets when it is ready. Made while the practice is locked, applied afterwards.
#[derive(Debug)]
pub(crate) struct Finish {
    date: String,
    retry_after: Option<String>,
    /// The quota, and what is left of it.
    pub(crate) rate_limit: Option<(u32, u32)>,
    pub(crate) spoilt: Option<Spoilt>,
    quoted: Option<String>,
}

impl State {
    /// What every reply made now gets.
    pub(crate) fn finish(&self, now: Timestamp) -> Finish {
        let clock = self.shown(now);
        Finish {
            date: calendar::http_date(clock),
            retry_after: match self.quirks.retry_after {
                RetryAfter::Absent => None,
                RetryAfter::Seconds(seconds) => Some(seconds.to_string()),
                RetryAfter::Date(seconds) => Some(calendar::http_date(clock + Duration::from_secs(seconds))),
            },
            rate_limit: None,
            spoilt: None,
            quoted: self.quirks.quoted.clone(),
        }
    }
}

impl Finish {
    pub(crate) fn apply(self, response: Response<Bytes>) -> Response<Bytes> {
        let is_spoilt = self.spoilt.is_some();
        let mut response = match self.spoilt {
            Some(spoilt) if response.status().is_success() => spoil(spoilt, response),
            _ => response,
        };
        if let Some(quoted) = &self.quoted
            && (is_spoilt || !response.status().is_success())
        {
            response = quoting(response, quoted);
        }
        if response.status() == StatusCode::TOO_MANY_REQUESTS
            && let Some(retry_after) = &self.retry_after
        {
            response = reply::with_header(response, RETRY_AFTER, retry_after);
        }
        if let Some((limit, remaining)) = self.rate_limit {
            let limit_name = HeaderName::from_static("x-ratelimit-limit");
            let remaining_name = HeaderName::from_static("x-ratelimit-remaining");
            response = reply::with_header(response, limit_name, &limit.to_string());
            response = reply::with_header(response, remaining_name, &remaining.to_string());
        }
        reply::with_header(response, DATE, &self.date)
    }
}

fn outcome(severity: &str) -> Value {
    json!({
        "resourceType": "OperationOutcome",
        "issue": [{
            "severity": severity,
            "code": "processing",
            "diagnostics": "the record server did not answer in time",
        }],
    })
}

/// The reply with this text in it, whatever it is.
fn quoting(response: Response<Bytes>, quoted: &str) -> Response<Bytes> {
    response.map(|body| match serde_json::from_slice::<Value>(&body) {
        Ok(Value::Object(mut fields)) => {
            fields.insert("quoted".to_owned(), json!(quoted));
            Bytes::from(Value::Object(fields).to_string())
        }
        _ => Bytes::from([&body, quoted.as_bytes()].concat()),
    })
}

fn page(status: StatusCode) -> Response<Bytes> {
    let text = "<!doctype html><html><head><title>Something went wrong</title></head>\
                <body><h1>Something went wrong</h1><p>Please try again later.</body></html>";
    reply::body(status, "text/html; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

fn spoil(form: Spoilt, response: Response<Bytes>) -> Response<Bytes> {
    match form {
        Spoilt::OutcomeAsBody => reply::fhir(StatusCode::OK, &outcome("error")),
        Spoilt::OutcomeInBundle { is_error } => {
            with_outcome(&response, if is_error { "error" } else { "warning" }).unwrap_or(response)
        }
        Spoilt::HtmlPage => page(StatusCode::OK),
        Spoilt::HtmlBadGateway => page(StatusCode::BAD_GATEWAY),
        Spoilt::Truncated => response.map(|body| body.slice(..body.len() / 2)),
    }
}

/// The Bundle with an outcome as its last entry; nothing when it is no Bundle.
fn with_outcome(response: &Response<Bytes>, severity: &str) -> Option<Response<Bytes>> {
    let mut bundle: Value = serde_json::from_slice(response.body()).ok()?;
    if bundle["resourceType"] != "Bundle" {
        return None;
    }
    let entry = json!({ "resource": outcome(severity), "search": { "mode": "outcome" } });
    match bundle["entry"].as_array_mut() {
        Some(entries) => entries.push(entry),
        None => bundle["entry"] = json!([entry]),
    }
    Some(reply::fhir(response.status(), &bundle))
}
