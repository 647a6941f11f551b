//! Tells subscribers over HTTP.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use skin_assist_core::{
    domain::{Notice, Subscription, SubscriptionFormat},
    ports::{NotTold, Subscribers},
    time::Timestamp,
};
use skin_assist_transport::{Transport, TransportError, retry_after};

use crate::{cloud_events, fhir, signature::sign};

/// Of an answer nothing is wanted but its head.
const MOST_ANSWER_BYTES: usize = 64 * 1024;

/// Subscribers behind HTTP.
pub struct Webhooks {
    transport: Arc<dyn Transport>,
}

impl Webhooks {
    /// Over this transport, which knows where it may go.
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport }
    }
}

/// The id of a notice: an event's is the same however often it is told.
fn id(subscription: &Subscription, notice: &Notice, now: Timestamp) -> String {
    match notice {
        Notice::Event(notification) => format!("{}-{}", subscription.id, notification.number),
        Notice::Handshake => format!("{}-handshake-{}", subscription.id, now.as_millis()),
        Notice::Heartbeat => format!("{}-heartbeat-{}", subscription.id, now.as_millis()),
    }
}

fn request(subscription: &Subscription, notice: &Notice, now: Timestamp) -> Option<Request<Bytes>> {
    let (media_type, body) = match subscription.format {
        SubscriptionFormat::FhirR4Backport => (fhir::MEDIA_TYPE, fhir::body(subscription, notice, now)),
        SubscriptionFormat::CloudEvents => (cloud_events::MEDIA_TYPE, cloud_events::body(subscription, notice, now)),
    };
    let body = Bytes::from(body.to_string());
    let (id, timestamp) = (id(subscription, notice, now), now.as_millis().div_euclid(1000));
    let signature = sign(&subscription.signing_key, &id, timestamp, &body).ok()?;
    Request::post(&subscription.endpoint)
        .header(header::CONTENT_TYPE, media_type)
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp.to_string())
        .header("webhook-signature", signature)
        .body(body)
        .ok()
}

#[async_trait]
impl Subscribers for Webhooks {
    async fn tell(&self, subscription: &Subscription, notice: &Notice, now: Timestamp) -> Result<(), NotTold> {
        let request = request(subscription, notice, now).ok_or(NotTold::NoAnswer {
            what: "the request cannot be made of what is recorded",
        })?;
        let (status, headers) = match self.transport.send(request, MOST_ANSWER_BYTES).await {
            Ok(response) => (response.status(), response.headers().clone()),
            // It answered, and at length.
            Err(TransportError::TooLarge { status }) => (status, HeaderMap::new()),
            Err(TransportError::AddressRefused) => return Err(NotTold::AddressRefused),
            Err(TransportError::NotSent { what } | TransportError::Unknown { what, .. }) => {
                return Err(NotTold::NoAnswer { what });
            }
        };
        match status {
            status if status.is_success() => Ok(()),
            StatusCode::GONE => Err(NotTold::Gone),
            status => Err(NotTold::Refused {
                status: status.as_u16(),
                retry_after: retry_after(&headers),
            }),
        }
    }
}
