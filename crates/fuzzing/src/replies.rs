//! A server that answers with any bytes: a transport whose replies are cut out of a fuzz input.
//!
//! An input is replies with the byte 0xFF between them, which no JSON has. Of a reply, the first byte chooses the status (or
//! that there is no reply), the rest of its first line is the value of every header that the readers look at, and the rest is
//! the body.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use skin_assist_transport::{Transport, TransportError};

/// Between replies.
const BETWEEN: u8 = 0xFF;

/// What a reply's first byte chooses from: `0` is 200, `1` is 201 and so on, modulo their number.
const STATUSES: [u16; 20] = [
    200, 201, 204, 302, 307, 400, 401, 403, 404, 408, 410, 412, 422, 429, 500, 502, 503, 504, 304, 206,
];

/// And three ways in which there is no reply.
const LOST: usize = 3;

/// The headers that the readers look at.
const HEADERS: [HeaderName; 5] = [
    header::DATE,
    header::ETAG,
    header::LOCATION,
    header::RETRY_AFTER,
    HeaderName::from_static("inference-header-content-length"),
];

/// What is asserted of each request.
pub(crate) type Check = fn(&Request<Bytes>);

/// Replies in their order, and then none.
pub(crate) struct Replies {
    left: Mutex<VecDeque<Vec<u8>>>,
    check: Check,
}

impl Replies {
    /// The replies of an input, to requests of which `check` is true.
    pub(crate) fn of(input: &[u8], check: Check) -> Arc<Self> {
        let left = input.split(|byte| *byte == BETWEEN).map(<[u8]>::to_vec).collect();
        Arc::new(Self {
            left: Mutex::new(left),
            check,
        })
    }

    /// One reply that is the rest of the input, whatever bytes it has.
    pub(crate) fn whole(input: &[u8], check: Check) -> Arc<Self> {
        Arc::new(Self {
            left: Mutex::new(VecDeque::from([input.to_vec()])),
            check,
        })
    }
}

#[async_trait]
impl Transport for Replies {
    async fn send(&self, request: Request<Bytes>, limit_bytes: usize) -> Result<Response<Bytes>, TransportError> {
        (self.check)(&request);
        let what = "the script is over";
        let reply = self.left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let reply = reply.ok_or(TransportError::NotSent { what })?;
        let Some((first, rest)) = reply.split_first() else {
            return Err(TransportError::NotSent { what });
        };
        let choice = usize::from(first.wrapping_sub(b'0')) % (STATUSES.len() + LOST);
        let status = StatusCode::OK;
        let Some(chosen) = STATUSES.get(choice) else {
            return Err(match choice - STATUSES.len() {
                0 => TransportError::Unknown { what, status: None },
                1 => TransportError::AddressRefused,
                _ => TransportError::TooLarge { status },
            });
        };
        let status = StatusCode::from_u16(*chosen).unwrap_or(status);
        let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let (line, body) = rest.split_at(end);
        let body = body.get(1..).unwrap_or_default();
        if body.len() > limit_bytes {
            return Err(TransportError::TooLarge { status });
        }
        let mut response = Response::new(Bytes::copy_from_slice(body));
        *response.status_mut() = status;
        if let Ok(value) = HeaderValue::from_bytes(line) {
            for name in HEADERS {
                response.headers_mut().insert(name, value.clone());
            }
        }
        Ok(response)
    }
}
