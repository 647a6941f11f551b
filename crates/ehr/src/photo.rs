//! Photos: where their bytes are, and the bytes.
//!
//! The token goes to the firm's own service and nowhere else: a `Binary` of that very service is read with it, every other
//! URL is a photo host's, which is told nothing but the URL and has to be one of those that are allowed.

use async_trait::async_trait;
use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use skin_assist_core::{
    domain::{AccessToken, DocumentId, Firm, PhotoBytes},
    phi::Phi,
    ports::{EhrError, PhotoLocation, PhotoRefusal, PhotoSource},
};
use skin_assist_transport::TransportError;
use url::Url;

use crate::{
    client::{EhrClient, expected},
    photo_hosts::is_allowed,
    profile::BinaryAccept,
    reply,
    view::{self, Attachment, View},
};

/// How often a photo host may send on to another place.
const MOST_REDIRECTS: usize = 3;

/// What a resource may hold around the bytes of a photo.
const AROUND_A_PHOTO: usize = 64 << 10;

/// FHIR's base64Binary, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[async_trait]
impl PhotoSource for EhrClient {
    async fn locate(&self, firm: &Firm, token: &AccessToken, document: &DocumentId) -> Result<PhotoLocation, EhrError> {
        let service = self.connection.service(firm)?;
        let url = service.instance("DocumentReference", document.as_str())?;
        let limit = self.connection.limits.reply_bytes + self.base64_bytes();
        let reply = self
            .get_with_photo(firm, token, "DocumentReference", &url, None, limit)
            .await?;
        let reply = reply::read(&reply)?;
        let resource = expected(&reply, "DocumentReference", document.as_str())?;
        self.note_site(&firm.id, document, resource);
        match view::attachment(resource).ok_or(PhotoRefusal::NoAttachment)? {
            Attachment::Data(data) => Ok(PhotoLocation::Inline(self.decode(&data)?)),
            Attachment::Url { url, size } => Ok(match service.binary_id(&url) {
                Some(id) => PhotoLocation::Binary { id },
                None => PhotoLocation::Url {
                    url: Phi::new(url.into_owned()),
                    claimed_bytes: size,
                },
            }),
        }
    }

    async fn read_binary(&self, firm: &Firm, token: &AccessToken, id: &str) -> Result<PhotoBytes, EhrError> {
        let url = self.connection.service(firm)?.instance("Binary", id)?;
        let accept = match self.connection.profile.photos.binary_accept {
            BinaryAccept::Raw => Some(HeaderValue::from_static("image/*, application/octet-stream;q=0.5")),
            BinaryAccept::FhirJson => None,
        };
        let limit = AROUND_A_PHOTO + self.base64_bytes();
        let reply = self.get_with_photo(firm, token, "Binary", &url, accept, limit).await?;
        self.bytes_of_binary(reply, id)
    }

    async fn download(&self, url: &Phi<String>) -> Result<PhotoBytes, EhrError> {
        let outcome = self.fetch(url).await;
        match &outcome {
            Ok(photo) => tracing::debug!(event = "photo.downloaded", bytes = photo.expose().len()),
            Err(error) => tracing::warn!(event = "photo.not-downloaded", %error),
        }
        outcome
    }
}

impl EhrClient {
    /// How long the largest photo is in base64, with a line break after every 76 characters (RFC 2045).
    fn base64_bytes(&self) -> usize {
        let characters = self.connection.limits.photo_bytes.div_ceil(3) * 4;
        characters + characters.div_ceil(76) * 2
    }

    /// One GET of a resource that may have a photo in it, of at most so many bytes.
    async fn get_with_photo(
        &self,
        firm: &Firm,
        token: &AccessToken,
        resource: &'static str,
        url: &Url,
        accept: Option<HeaderValue>,
        limit: usize,
    ) -> Result<Response<Bytes>, EhrError> {
        let further: Vec<_> = accept.map(|accept| (header::ACCEPT, accept)).into_iter().collect();
        let request = self.request(firm, Method::GET, url, token, &further, Bytes::new())?;
        let (status, outcome) = match self.api.send(request, limit).await {
            Ok(reply) if reply.status().is_success() => (Some(reply.status()), Ok(reply)),
            Ok(reply) => (
                Some(reply.status()),
                Err(reply::failure(reply.status(), reply.headers())),
            ),
            Err(TransportError::TooLarge { status }) if status.is_success() => {
                (Some(status), Err(PhotoRefusal::TooManyBytes.into()))
            }
            Err(error) => match reply::status_of(error).filter(|status| !status.is_success()) {
                Some(status) => (Some(status), Err(reply::failure(status, &http::HeaderMap::new()))),
                None => (None, Err(reply::lost(error))),
            },
        };
        let status = status.map(|status| status.as_u16());
        match &outcome {
            Ok(_) => tracing::debug!(event = "ehr.read", firm = %firm.id, resource, status),
            Err(error) => tracing::warn!(event = "ehr.read-failed", firm = %firm.id, resource, status, %error),
        }
        outcome
    }

    /// The bytes of a `Binary`, however it was answered: as they are, or as a resource with `data` whatever was asked for.
    fn bytes_of_binary(&self, reply: Response<Bytes>, id: &str) -> Result<PhotoBytes, EhrError> {
        let body = reply.body();
        let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        let first = text.iter().copied().find(|byte| !byte.is_ascii_whitespace());
        if first == Some(b'{') {
            // No image format begins so.
            let reply = reply::read(&reply)?;
            let resource: View<'_> = expected(&reply, "Binary", id)?;
            return self.decode(&resource.text("data").ok_or(PhotoRefusal::Empty)?);
        }
        if is_page(&reply) {
            return Err(EhrError::Malformed {
                what: "a web page in place of the photo",
            });
        }
        if body.is_empty() {
            return Err(PhotoRefusal::Empty.into());
        }
        if body.len() > self.connection.limits.photo_bytes {
            return Err(PhotoRefusal::TooManyBytes.into());
        }
        Ok(Phi::new(reply.into_body()))
    }

    /// Bytes from base64; how many they will be is known, and limited, before any are made.
    fn decode(&self, text: &str) -> Result<PhotoBytes, EhrError> {
        let counts = |byte: &u8| !byte.is_ascii_whitespace() && *byte != b'=';
        let characters = text.bytes().filter(counts).count();
        if characters / 4 * 3 + characters % 4 * 3 / 4 > self.connection.limits.photo_bytes {
            return Err(PhotoRefusal::TooManyBytes.into());
        }
        let compact: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let bytes = BASE64.decode(compact).map_err(|_| PhotoRefusal::Broken)?;
        if bytes.is_empty() {
            return Err(PhotoRefusal::Empty.into());
        }
        Ok(Phi::new(bytes.into()))
    }

    /// Follows a photo's URL to its bytes.
    async fn fetch(&self, url: &Phi<String>) -> Result<PhotoBytes, EhrError> {
        let mut url = Url::parse(url.expose()).map_err(|_| PhotoRefusal::UrlNotAllowed)?;
        url.set_fragment(None);
        let mut seen = Vec::new();
        while seen.len() <= MOST_REDIRECTS {
            let reply = self.fetch_once(&url).await?;
            let Some(next) = redirect(&url, &reply)? else {
                return photo_of(reply);
            };
            seen.push(std::mem::replace(&mut url, next));
            if seen.contains(&url) {
                break;
            }
        }
        Err(PhotoRefusal::UrlNotAllowed.into())
    }

    /// One GET, if this URL may be fetched: a redirect's is checked like the first.
    async fn fetch_once(&self, url: &Url) -> Result<Response<Bytes>, EhrError> {
        let hosts = self
            .connection
            .profile
            .photos
            .hosts
            .iter()
            .chain(&self.connection.photo_hosts);
        if !is_allowed(url, hosts, self.connection.allow_loopback_http) {
            return Err(PhotoRefusal::UrlNotAllowed.into());
        }
        // Nothing but the URL: it is signed, and neither the token nor the API key are the photo host's business.
        let mut request = Request::new(Bytes::new());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = url.as_str().parse().map_err(|_| PhotoRefusal::UrlNotAllowed)?;
        match self.photos.send(request, self.connection.limits.photo_bytes).await {
            Ok(reply) => Ok(reply),
            Err(TransportError::AddressRefused) => Err(PhotoRefusal::UrlNotAllowed.into()),
            Err(TransportError::TooLarge { status }) if status.is_success() => Err(PhotoRefusal::TooManyBytes.into()),
            Err(TransportError::TooLarge { status }) => Err(refused(status)),
            Err(TransportError::NotSent { what } | TransportError::Unknown { what, .. }) => {
                Err(EhrError::Unavailable { what })
            }
        }
    }
}

fn photo_of(reply: Response<Bytes>) -> Result<PhotoBytes, EhrError> {
    if !reply.status().is_success() {
        return Err(refused(reply.status()));
    }
    if reply.body().is_empty() {
        return Err(PhotoRefusal::Empty.into());
    }
    Ok(Phi::new(reply.into_body()))
}

/// Whether the reply says that it is a web page: a gateway's, or one to log in.
fn is_page(reply: &Response<Bytes>) -> bool {
    let media_type = reply.headers().get(header::CONTENT_TYPE);
    media_type
        .and_then(|media_type| media_type.to_str().ok())
        .is_some_and(|media_type| {
            let media_type = media_type.trim_start().to_ascii_lowercase();
            media_type.starts_with("text/html") || media_type.starts_with("application/xhtml")
        })
}

/// Where a reply sends on to (RFC 9110, section 15.4), if it does. Never from https to http.
fn redirect(from: &Url, reply: &Response<Bytes>) -> Result<Option<Url>, PhotoRefusal> {
    if !matches!(reply.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let location = reply.headers().get(header::LOCATION);
    let mut next = location
        .and_then(|location| location.to_str().ok())
        .and_then(|location| from.join(location).ok())
        .ok_or(PhotoRefusal::UrlNotAllowed)?;
    next.set_fragment(None);
    if from.scheme() == "https" && next.scheme() != "https" {
        return Err(PhotoRefusal::UrlNotAllowed);
    }
    Ok(Some(next))
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
