//! A FHIR reply before the photos in it are there.
//!
//! Photos are rendered outside of the practice's lock, so a reply that holds a photo's size or its bytes is made with
//! gaps and the gaps are filled afterwards.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    Response, StatusCode,
    header::{ETAG, LOCATION},
};
use serde_json::{Value, json};

use crate::{faults::PhotoFault, photos::PhotoCache, reply, specification::PhotoContent, state::Document};

/// A FHIR reply with gaps.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) resource: Value,
    pub(crate) location: Option<String>,
    /// The version, as it goes into `ETag`.
    pub(crate) version: Option<usize>,
    pub(crate) gaps: Vec<Gap>,
}

/// A place that a photo's size or bytes go to.
#[derive(Debug)]
pub(crate) struct Gap {
    /// JSON pointer of the object that gets the element.
    pub(crate) pointer: String,
    element: Element,
    key: String,
    content: PhotoContent,
    fault: Option<PhotoFault>,
}

/// What is filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    /// `size`.
    Size,
    /// `size` and `data`.
    SizeAndData,
    /// `data`.
    Data,
}

impl Gap {
    pub(crate) fn new(pointer: &str, element: Element, document: &Document) -> Self {
        Self {
            pointer: pointer.to_owned(),
            element,
            key: document.object.clone(),
            content: document.content.clone(),
            fault: document.fault.clone(),
        }
    }

    fn fill(&self, resource: &mut Value, photos: &PhotoCache) {
        let bytes = photos.get(&self.key, &self.content).bytes;
        let bytes = match &self.fault {
            Some(fault) => fault.apply(&bytes),
            None => Some(bytes),
        };
        let (Some(bytes), Some(place)) = (bytes, resource.pointer_mut(&self.pointer)) else {
            return;
        };
        if self.element != Element::Data {
            place["size"] = json!(bytes.len());
        }
        if self.element != Element::Size {
            place["data"] = json!(STANDARD.encode(&bytes));
        }
    }
}

impl Answer {
    /// 200 without gaps.
    pub(crate) fn ok(resource: Value) -> Self {
        Self {
            status: StatusCode::OK,
            resource,
            location: None,
            version: None,
            gaps: Vec::new(),
        }
    }

    /// Fills the gaps. This renders the photos, where they are not at hand.
    pub(crate) fn into_response(mut self, photos: &PhotoCache) -> Response<Bytes> {
        for gap in &self.gaps {
            gap.fill(&mut self.resource, photos);
        }
        let response = reply::fhir(self.status, &self.resource);
        let response = match &self.location {
            Some(location) => reply::with_header(response, LOCATION, location),
            None => response,
        };
        match self.version {
            Some(version) => reply::with_header(response, ETAG, &format!("W/\"{version}\"")),
            None => response,
        }
    }
}
