//! Requests name a host, replies are built here: FHIR JSON, gateway JSON, S3's XML, the chart's HTML.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderName, LOCATION},
};
use serde_json::{Value, json};

/// Which of the EHR's hosts a request was sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Host {
    /// The FHIR API, and the chart page.
    Api,
    /// The OpenID Connect realm.
    Token,
    /// The object store behind the pre-signed URLs.
    Photos,
}

/// What became of a request.
#[derive(Debug)]
pub struct Outcome {
    /// How long the EHR takes, on purpose, before the client sees anything.
    pub after: Duration,
    /// What the client sees.
    pub reply: Reply,
}

/// What the client sees.
#[derive(Debug)]
pub enum Reply {
    /// A response.
    Response(Response<Bytes>),
    /// The request was processed and the connection broke before any of the response arrived.
    Dropped,
}

impl Outcome {
    /// The response, unless the reply was dropped.
    pub fn into_response(self) -> Option<Response<Bytes>> {
        match self.reply {
            Reply::Response(response) => Some(response),
            Reply::Dropped => None,
        }
    }
}

/// A response with this body.
pub(crate) fn body(status: StatusCode, media_type: &'static str, bytes: Bytes) -> Response<Bytes> {
    let mut response = Response::new(bytes);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// The response with one more header; a value that no header can hold is left out.
pub(crate) fn with_header(mut response: Response<Bytes>, name: HeaderName, value: &str) -> Response<Bytes> {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

/// FHIR JSON.
pub(crate) fn fhir(status: StatusCode, value: &Value) -> Response<Bytes> {
    body(
        status,
        "application/fhir+json;charset=UTF-8",
        Bytes::from(value.to_string()),
    )
}

/// Plain JSON, as gateways and token endpoints answer.
pub(crate) fn json(status: StatusCode, value: &Value) -> Response<Bytes> {
    body(status, "application/json", Bytes::from(value.to_string()))
}

/// The API gateway's way of refusing, which is not an `OperationOutcome`.
pub(crate) fn gateway(status: StatusCode, message: &str) -> Response<Bytes> {
    json(status, &json!({ "message": message }))
}

/// HTML for the chart page, with nothing allowed in it from elsewhere.
pub(crate) fn html(status: StatusCode, page: String) -> Response<Bytes> {
    let mut response = body(status, "text/html; charset=utf-8", Bytes::from(page));
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    );
    headers.insert(
        http::header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A redirect.
pub(crate) fn see_other(location: &str) -> Response<Bytes> {
    with_header(
        body(StatusCode::SEE_OTHER, "text/plain", Bytes::new()),
        LOCATION,
        location,
    )
}

/// The object store's error document.
pub(crate) fn object_store_error(status: StatusCode, code: &str, message: &str) -> Response<Bytes> {
    let document = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code>\
         <Message>{message}</Message><RequestId>PRACTICE0000000000</RequestId></Error>"
    );
    body(status, "application/xml", Bytes::from(document))
}

/// A FHIR call refused, with what is wrong: one issue or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) issues: Vec<Issue>,
}

/// One line of an `OperationOutcome`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Issue {
    pub(crate) code: &'static str,
    pub(crate) diagnostics: String,
    pub(crate) expression: Option<String>,
}

impl Refusal {
    fn one(status: StatusCode, code: &'static str, diagnostics: String) -> Self {
        Self {
            status,
            issues: vec![Issue {
                code,
                diagnostics,
                expression: None,
            }],
        }
    }

    /// 400: something mandatory is missing.
    pub(crate) fn missing(what: &str) -> Self {
        Self::one(
            StatusCode::BAD_REQUEST,
            "required",
            format!("the parameter {what} is mandatory"),
        )
    }

    /// 400: a value that cannot be.
    pub(crate) fn bad(diagnostics: impl Into<String>) -> Self {
        Self::one(StatusCode::BAD_REQUEST, "invalid", diagnostics.into())
    }

    /// 404.
    pub(crate) fn not_found(diagnostics: impl Into<String>) -> Self {
        Self::one(StatusCode::NOT_FOUND, "not-found", diagnostics.into())
    }

    /// 405.
    pub(crate) fn method(diagnostics: impl Into<String>) -> Self {
        Self::one(StatusCode::METHOD_NOT_ALLOWED, "not-supported", diagnostics.into())
    }

    /// As a response.
    pub(crate) fn into_response(self) -> Response<Bytes> {
        let status = self.status;
        fhir(status, &self.into_outcome())
    }

    /// As an `OperationOutcome`.
    pub(crate) fn into_outcome(self) -> Value {
        let issues: Vec<Value> = self
            .issues
            .into_iter()
            .map(|issue| {
                let mut value = json!({
                    "severity": "error",
                    "code": issue.code,
                    "diagnostics": issue.diagnostics,
                });
                if let Some(expression) = issue.expression {
                    value["expression"] = json!([expression]);
                }
                value
            })
            .collect();
        json!({ "resourceType": "OperationOutcome", "issue": issues })
    }
}
