//! The client's transport, led straight into a practice EHR: no sockets, and the time is the clock's.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use skin_assist_core::time::{Clock, Timestamp};
use skin_assist_simulator::{Host, PracticeEhr, Reply};
use skin_assist_transport::{Transport, TransportError};

/// A [`Transport`] to the hosts of a [`PracticeEhr`]. Other hosts do not exist.
///
/// It does what an HTTP server and a network would: it adds `Date`, takes the EHR's delays, loses the replies that the
/// EHR drops, and holds a photo host to being told nothing but a URL.
#[derive(Clone)]
pub struct PracticeTransport {
    ehr: PracticeEhr,
    clock: Arc<dyn Clock>,
}

impl PracticeTransport {
    /// A transport to this EHR under this clock.
    pub fn new(ehr: PracticeEhr, clock: Arc<dyn Clock>) -> Self {
        Self { ehr, clock }
    }
}

#[async_trait]
impl Transport for PracticeTransport {
    /// # Panics
    /// When a request to the photo host carries the token or the API key.
    async fn send(&self, request: Request<Bytes>, limit_bytes: usize) -> Result<Response<Bytes>, TransportError> {
        let url = url::Url::parse(&request.uri().to_string());
        let Some(host) = url.ok().and_then(|url| self.ehr.host_of(&url)) else {
            return Err(TransportError::NotSent {
                what: "there is no such host",
            });
        };
        if host == Host::Photos {
            assert!(
                request.headers().is_empty(),
                "the photo host is told nothing but the URL"
            );
        }
        let outcome = self.ehr.handle(self.clock.now(), host, &request);
        if !outcome.after.is_zero() {
            self.clock.sleep_until(self.clock.now() + outcome.after).await;
        }
        let Reply::Response(mut response) = outcome.reply else {
            return Err(TransportError::Unknown {
                what: "the connection broke",
                status: None,
            });
        };
        if response.body().len() > limit_bytes {
            return Err(TransportError::TooLarge {
                status: response.status(),
            });
        }
        if let Some(date) = http_date(self.clock.now()) {
            response.headers_mut().entry(header::DATE).or_insert(date);
        }
        Ok(response)
    }
}

/// As HTTP writes dates: whole seconds, GMT.
fn http_date(now: Timestamp) -> Option<HeaderValue> {
    let now = jiff::Timestamp::from_millisecond(now.as_millis()).ok()?;
    HeaderValue::try_from(now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()).ok()
}
