//! Photos: where their bytes are, and the bytes.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use skin_assist_core::{
    domain::{AccessToken, DocumentId, Firm, PhotoBytes},
    phi::Phi,
    ports::{EhrError, PhotoLocation, PhotoRefusal, PhotoSource},
};
use url::Url;

use crate::{
    client::{EhrClient, expected},
    photo_hosts::is_allowed,
    transport::TransportError,
    view,
};

#[async_trait]
impl PhotoSource for EhrClient {
    async fn locate(&self, firm: &Firm, token: &AccessToken, document: &DocumentId) -> Result<PhotoLocation, EhrError> {
        let url = self
            .connection
            .service(firm)?
            .instance("DocumentReference", document.as_str())?;
        let reply = self.get(firm, token, "DocumentReference", &url).await?;
        let resource = expected(&reply, "DocumentReference", document.as_str())?;
        let attachment = view::attachment(resource).ok_or(PhotoRefusal::NoAttachment)?;
        Ok(PhotoLocation {
            url: Phi::new(attachment.url.into_owned()),
            claimed_bytes: attachment.size,
        })
    }

    async fn download(&self, location: &PhotoLocation) -> Result<PhotoBytes, EhrError> {
        let outcome = self.fetch(location).await;
        match &outcome {
            Ok(photo) => tracing::debug!(event = "photo.downloaded", bytes = photo.expose().len()),
            Err(error) => tracing::warn!(event = "photo.not-downloaded", %error),
        }
        outcome
    }
}

impl EhrClient {
    async fn fetch(&self, location: &PhotoLocation) -> Result<PhotoBytes, EhrError> {
        let url = Url::parse(location.url.expose()).map_err(|_| PhotoRefusal::UrlNotAllowed)?;
        let hosts = self
            .connection
            .profile
            .photos
            .hosts
            .iter()
            .chain(&self.connection.photo_hosts);
        if !is_allowed(&url, hosts, self.connection.allow_loopback_http) {
            return Err(PhotoRefusal::UrlNotAllowed.into());
        }
        // Nothing but the URL: it is signed, and neither the token nor the API key are the photo host's business.
        let mut request = Request::new(Bytes::new());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = url.as_str().parse().map_err(|_| PhotoRefusal::UrlNotAllowed)?;
        let reply = match self.photos.send(request, self.connection.limits.photo_bytes).await {
            Ok(reply) => reply,
            Err(TransportError::AddressRefused) => return Err(PhotoRefusal::UrlNotAllowed.into()),
            Err(TransportError::TooLarge { status }) if status.is_success() => {
                return Err(PhotoRefusal::TooManyBytes.into());
            }
            Err(TransportError::TooLarge { status }) => return Err(refused(status)),
            Err(TransportError::NotSent { what } | TransportError::Unknown { what, .. }) => {
                return Err(EhrError::Unavailable { what });
            }
        };
        if !reply.status().is_success() {
            return Err(refused(reply.status()));
        }
        if reply.body().is_empty() {
            return Err(PhotoRefusal::Empty.into());
        }
        Ok(Phi::new(reply.into_body()))
    }
}

/// What a photo host's status means. Its 429 is not the EHR's quota.
fn refused(status: StatusCode) -> EhrError {
    match status.as_u16() {
        // S3: 403 for an expired or wrong signature, 400 for expired temporary credentials.
        400 | 401 | 403 => EhrError::PhotoUrlExpired,
        404 | 410 => EhrError::NotFound {
            status: status.as_u16(),
        },
        408 | 425 | 429 => EhrError::Unavailable {
            what: "the photo host asks to try again later",
        },
        300..400 => PhotoRefusal::UrlNotAllowed.into(),
        400..500 => EhrError::Rejected {
            status: status.as_u16(),
        },
        _ => EhrError::Unavailable {
            what: "the photo host is failing",
        },
    }
}
