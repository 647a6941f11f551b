//! Reading replies: what a status means, JSON within limits, an OperationOutcome where an answer should be, the server's
//! clock.
//!
//! Nothing that a server says in an error is kept, quoted or logged: servers quote patients.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use serde_json::Value;
use skin_assist_core::{ports::EhrError, time::Timestamp};
use skin_assist_transport::{TransportError, date_millis, retry_after};

use crate::view::View;

/// A reply with a JSON body.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) server_time: Option<Timestamp>,
    pub(crate) body: Value,
}

/// What the absence of a reply means to whoever reads: nothing was changed, so it may be tried again.
pub(crate) fn lost(error: TransportError) -> EhrError {
    match error {
        TransportError::AddressRefused => EhrError::Unavailable {
            what: "the host's address is not allowed",
        },
        TransportError::NotSent { what } | TransportError::Unknown { what, .. } => EhrError::Unavailable { what },
        TransportError::TooLarge { .. } => EhrError::Malformed {
            what: "it is larger than allowed",
        },
    }
}

/// The status of a reply of which nothing else arrived, if it says enough.
pub(crate) fn status_of(error: TransportError) -> Option<StatusCode> {
    match error {
        TransportError::Unknown { status, .. } => status,
        TransportError::TooLarge { status } => Some(status),
        _ => None,
    }
}

/// What a status that is not a success means.
pub(crate) fn failure(status: StatusCode, headers: &HeaderMap) -> EhrError {
    match status.as_u16() {
        401 => EhrError::Unauthorized,
        403 => EhrError::Forbidden,
        404 | 410 => EhrError::NotFound {
            status: status.as_u16(),
        },
        429 => EhrError::OverQuota {
            retry_after: retry_after(headers),
        },
        408 => EhrError::Unavailable {
            what: "it took too long (408)",
        },
        400..500 => EhrError::Rejected {
            status: status.as_u16(),
        },
        502 => EhrError::Unavailable {
            what: "its gateway has no answer (502)",
        },
        503 => EhrError::Unavailable {
            what: "it is out of service for now (503)",
        },
        504 => EhrError::Unavailable {
            what: "its gateway waited too long (504)",
        },
        500 | 501 | 505.. => EhrError::Unavailable {
            what: "it failed (5xx)",
        },
        300..400 => EhrError::Malformed {
            what: "it redirects, which is not followed",
        },
        _ => EhrError::Malformed {
            what: "its status is not one of a final reply",
        },
    }
}

/// Reads the answer to a GET that asks for one resource.
pub(crate) fn read(response: &Response<Bytes>) -> Result<Reply, EhrError> {
    if !response.status().is_success() {
        return Err(failure(response.status(), response.headers()));
    }
    let body = json(response.body())?;
    let view = View::of(&body);
    if view.get("resourceType").is("OperationOutcome") {
        let what = "an OperationOutcome in place of the answer";
        return Err(outcome_error(view).unwrap_or(EhrError::Malformed { what }));
    }
    Ok(Reply {
        server_time: server_time(response.headers()),
        body,
    })
}

/// How deep JSON may be nested: a FHIR resource is a dozen deep.
const DEEPEST_JSON: usize = 100;

/// How many values JSON may have: ten times what the largest pages do. A value in memory is up to a hundred times as large as
/// in its text, so that the limit on bytes alone bounds nothing.
const MOST_JSON_VALUES: usize = 200_000;

/// Refuses JSON that would need more memory, or more stack, than an answer is worth, before any of it is read. Whether it is JSON
/// at all is not asked here.
fn within_limits(text: &[u8]) -> Result<(), EhrError> {
    let (mut depth, mut values) = (0_usize, 1_usize);
    let (mut in_string, mut is_escaped) = (false, false);
    for byte in text {
        if in_string {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                values += 1;
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
        if depth > DEEPEST_JSON {
            return Err(EhrError::Malformed {
                what: "its JSON is nested too deeply",
            });
        }
        if values > MOST_JSON_VALUES {
            return Err(EhrError::Malformed {
                what: "its JSON has more values than allowed",
            });
        }
    }
    Ok(())
}

/// JSON, as deep and with as many values as an answer may be.
pub(crate) fn json(body: &[u8]) -> Result<Value, EhrError> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let first = body.iter().copied().find(|byte| !byte.is_ascii_whitespace());
    within_limits(body)?;
    serde_json::from_slice(body).map_err(|error| {
        let what = match first {
            None => "it is empty",
            Some(b'<') => "it is HTML or XML, not JSON",
            Some(_) if error.is_eof() => "its JSON is cut off",
            Some(_) => "it is not JSON",
        };
        EhrError::Malformed { what }
    })
}

/// The error that an OperationOutcome stands for; none when it only informs.
pub(crate) fn outcome_error(outcome: View<'_>) -> Option<EhrError> {
    let serious = |issue: &View<'_>| issue.get("severity").is("error") || issue.get("severity").is("fatal");
    let issue = outcome.each("issue").find(serious)?;
    Some(match issue.text("code").as_deref() {
        Some("login" | "expired" | "unknown-user") => EhrError::Unauthorized,
        Some("forbidden" | "security" | "suppressed") => EhrError::Forbidden,
        Some("not-found" | "deleted") => EhrError::NotFound { status: 404 },
        Some("throttled") => EhrError::OverQuota { retry_after: None },
        Some("transient" | "timeout" | "lock-error" | "no-store" | "exception" | "incomplete") => {
            EhrError::Unavailable {
                what: "it reports a failure of its own",
            }
        }
        _ => EhrError::Malformed {
            what: "an OperationOutcome in place of the answer",
        },
    })
}

/// The server's clock, from `Date`.
pub(crate) fn server_time(headers: &HeaderMap) -> Option<Timestamp> {
    date_millis(headers).map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_json_is_named() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let many = |values: usize| format!("[{}1]", "1,".repeat(values - 2));
        let quoted = format!("[\"\\\"{}\"]", "[{,".repeat(MOST_JSON_VALUES));
        for sound in [nested(DEEPEST_JSON), many(MOST_JSON_VALUES), quoted] {
            assert!(json(sound.as_bytes()).is_ok());
        }
        for (body, expected) in [
            (&b"<html><body>Service unavailable"[..], "it is HTML or XML, not JSON"),
            (b"", "it is empty"),
            (b" \n", "it is empty"),
            (b"{\"resourceType\":\"Bundle\",\"entry\":[{", "its JSON is cut off"),
            (b"nothing", "it is not JSON"),
            (nested(DEEPEST_JSON + 1).as_bytes(), "its JSON is nested too deeply"),
            ("{\"a\":".repeat(1_000_000).as_bytes(), "its JSON is nested too deeply"),
            (
                many(MOST_JSON_VALUES + 1).as_bytes(),
                "its JSON has more values than allowed",
            ),
            (
                "[{\"\":0},".repeat(MOST_JSON_VALUES).as_bytes(),
                "its JSON is nested too deeply",
            ),
            (
                "{\"\":0},".repeat(MOST_JSON_VALUES).as_bytes(),
                "its JSON has more values than allowed",
            ),
        ] {
            assert_eq!(json(body), Err(EhrError::Malformed { what: expected }));
        }
        assert_eq!(json(b"\xef\xbb\xbf{}"), Ok(Value::Object(serde_json::Map::new())));
    }
}
