//! The object store behind the pre-signed URLs.
//!
//! A URL is good for one object, for as long as it says, and for `GET`. The store knows nothing of the API's tokens: a
//! request that brings an `Authorization` header besides the signature is refused, as S3 refuses it.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::AUTHORIZATION};
use skin_assist_core::time::Timestamp;

use crate::{
    calendar,
    ehr::{PendingPhoto, Prepared},
    photos::RenderedPhoto,
    reply::{self, object_store_error},
    state::State,
};

fn signed_text(object: &str, date: &str, expires: &str) -> String {
    format!("GET\n/photos/{object}\n{date}\n{expires}")
}

impl State {
    /// A URL for this object, good from now on.
    pub(crate) fn presign(&self, now: Timestamp, object: &str) -> String {
        let date = calendar::amazon_date(now);
        let expires = self.options.photo_url_lifetime.as_secs().to_string();
        let signature = self.sign(&signed_text(object, &date, &expires));
        let day = date.get(..8).unwrap_or_default();
        format!(
            "{}/photos/{object}?X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=PRACTICE%2F{day}%2Fus-east-1%2Fs3%2Faws4_request\
             &X-Amz-Date={date}&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host\
             &X-Amz-Signature={signature}",
            self.options.endpoints.photos
        )
    }

    pub(crate) fn photo_host(&mut self, now: Timestamp, request: &Request<Bytes>) -> Prepared {
        match self.find_object(now, request) {
            Ok((firm, document)) => self.hand_out(now, firm, document),
            Err(refusal) => Prepared::Response(*refusal),
        }
    }

    fn find_object(&self, now: Timestamp, request: &Request<Bytes>) -> Result<(usize, usize), Box<Response<Bytes>>> {
        let denied = |message| {
            Err(Box::new(object_store_error(
                StatusCode::FORBIDDEN,
                "AccessDenied",
                message,
            )))
        };
        if request.headers().contains_key(AUTHORIZATION) {
            return Err(Box::new(object_store_error(
                StatusCode::BAD_REQUEST,
                "InvalidArgument",
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, \
                 Signature query string parameter or the Authorization header should be specified",
            )));
        }
        let parameter = |name: &str| {
            url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
        };
        let Some(object) = request.uri().path().strip_prefix("/photos/") else {
            return denied("Access Denied");
        };
        let (Some(date), Some(expires), Some(signature)) = (
            parameter("X-Amz-Date"),
            parameter("X-Amz-Expires"),
            parameter("X-Amz-Signature"),
        ) else {
            return denied("Access Denied");
        };
        let method_is_signed = request.method() == Method::GET;
        if !method_is_signed || self.sign(&signed_text(object, &date, &expires)) != signature {
            return Err(Box::new(object_store_error(
                StatusCode::FORBIDDEN,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided",
            )));
        }
        let lifetime = expires.parse().map(std::time::Duration::from_secs);
        let (Some(signed_at), Ok(lifetime)) = (calendar::parse_amazon_date(&date), lifetime) else {
            return denied("Access Denied");
        };
        if now > signed_at + lifetime {
            return denied("Request has expired");
        }
        self.objects.get(object).copied().ok_or_else(|| Box::new(no_such_key()))
    }

    fn hand_out(&mut self, now: Timestamp, firm: usize, index: usize) -> Prepared {
        let document = self.firms.get_mut(firm).and_then(|firm| firm.documents.at_mut(index));
        let Some(document) = document else {
            return Prepared::Response(no_such_key());
        };
        document.downloaded_at = document.downloaded_at.or(Some(now));
        let (fault, media_type) = (document.fault.clone(), document.media_type.clone());
        Prepared::Photo(PendingPhoto {
            key: document.object.clone(),
            content: document.content.clone(),
            reply: Box::new(move |photo: RenderedPhoto| {
                let bytes = match &fault {
                    Some(fault) => fault.apply(&photo.bytes),
                    None => Some(photo.bytes),
                };
                bytes.map_or_else(no_such_key, |bytes| object(&media_type, bytes))
            }),
        })
    }
}

/// An object as the store hands it out.
pub(crate) fn object(media_type: &str, bytes: Bytes) -> Response<Bytes> {
    let response = reply::body(StatusCode::OK, "application/octet-stream", bytes);
    let response = reply::with_header(response, http::header::CONTENT_TYPE, media_type);
    reply::with_header(response, http::header::ACCEPT_RANGES, "bytes")
}

fn no_such_key() -> Response<Bytes> {
    object_store_error(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist.")
}
