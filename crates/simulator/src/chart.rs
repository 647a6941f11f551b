//! The chart page: what a clinician would see, for a person who watches the demonstration.
//!
//! Server-rendered HTML without a login (the HTTP edge listens on loopback only) and without any host but its own. All
//! text is escaped, a draft's markup is rebuilt from a short list of tags, and the content security policy lets nothing
//! else run. What the pictures really show is not told unless `?truth=1` asks for it. Looking at a chart counts as
//! nothing: it is no API call, and a photo seen here has not been downloaded.

mod page;
mod text;

use std::borrow::Cow;

use bytes::Bytes;
use http::{
    Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL},
};

use crate::{
    ehr::{PendingPhoto, Prepared},
    photo_host::object,
    photos::RenderedPhoto,
    reply,
    state::State,
};

const STYLE: &str = include_str!("chart/style.css");
const REFRESH: &str = include_str!("chart/refresh.js");

/// Answers `/`, `/chart` and everything below it.
pub(crate) fn respond(state: &State, request: &Request<Bytes>) -> Prepared {
    if request.method() != Method::GET {
        let refusal = page::problem(StatusCode::METHOD_NOT_ALLOWED, "Only GET is answered here.");
        return Prepared::Response(reply::with_header(refusal, ALLOW, "GET"));
    }
    let segments: Vec<Cow<'_, str>> = request
        .uri()
        .path()
        .trim_matches('/')
        .split('/')
        .map(|segment| percent_encoding::percent_decode_str(segment).decode_utf8_lossy())
        .collect();
    let words: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    let response = match words.as_slice() {
        [""] => reply::see_other("/chart"),
        ["chart"] => page::index(state),
        ["chart", "style.css"] => asset("text/css; charset=utf-8", STYLE),
        ["chart", "refresh.js"] => asset("text/javascript; charset=utf-8", REFRESH),
        ["chart", "photo", firm, document] => return photo(state, firm, document),
        ["chart", firm, encounter] => {
            let truth = request.uri().query() == Some("truth=1");
            page::visit(state, firm, encounter, truth)
                .unwrap_or_else(|| page::problem(StatusCode::NOT_FOUND, "There is no such visit in this practice."))
        }
        _ => page::problem(StatusCode::NOT_FOUND, "There is nothing at this address."),
    };
    Prepared::Response(response)
}

fn asset(media_type: &'static str, text: &'static str) -> Response<Bytes> {
    let response = reply::body(StatusCode::OK, media_type, Bytes::from_static(text.as_bytes()));
    reply::with_header(response, CACHE_CONTROL, "no-cache")
}

fn photo(state: &State, firm: &str, document: &str) -> Prepared {
    let found = state
        .firm(firm)
        .and_then(|firm| firm.documents.get(document))
        .filter(|document| document.is_photo);
    let Some(document) = found else {
        return Prepared::Response(page::problem(
            StatusCode::NOT_FOUND,
            "There is no such photo in this practice.",
        ));
    };
    let media_type = document.media_type.clone();
    let fault = document.fault.clone();
    Prepared::Photo(PendingPhoto {
        key: document.object.clone(),
        content: document.content.clone(),
        reply: Box::new(move |photo: RenderedPhoto| {
            let bytes = match &fault {
                Some(fault) => fault.apply(&photo.bytes),
                None => Some(photo.bytes),
            };
            let Some(bytes) = bytes else {
                return page::problem(StatusCode::NOT_FOUND, "The photo's file is gone.");
            };
            // A practice that starts anew uses the same addresses for other pictures, so the browser asks again.
            reply::with_header(object(&media_type, bytes), CACHE_CONTROL, "private, max-age=600")
        }),
    })
}
