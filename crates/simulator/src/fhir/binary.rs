//! `GET Binary/{id}`: a document's bytes, as they are or as a FHIR resource, as the client accepts them.

use http::StatusCode;
use serde_json::json;
use skin_assist_core::time::Timestamp;

use crate::{
    ehr::{PendingPhoto, Prepared},
    photos::RenderedPhoto,
    reply::{self, Refusal},
    state::State,
};

use super::{
    Call,
    answer::{Answer, Element, Gap},
};

impl State {
    pub(crate) fn read_binary(
        &mut self,
        now: Timestamp,
        prefix: &str,
        id: &str,
        call: &Call,
    ) -> Result<Prepared, Refusal> {
        let not_found = || Refusal::not_found(format!("Binary {id} is not known"));
        // Objects of all firms are in one table; another firm's is not there for this one.
        let position = self.firm_position(prefix);
        let index = self.objects.get(id).filter(|(firm, _)| Some(*firm) == position);
        let index = index.map(|(_, index)| *index).ok_or_else(not_found)?;
        let firm = self.firm_mut(prefix).map_err(|_| not_found())?;
        let document = firm.documents.at_mut(index).ok_or_else(not_found)?;
        if document.removed_at.is_some() {
            return Err(not_found());
        }
        document.downloaded_at = document.downloaded_at.or(Some(now));
        let media_type = document.media_type.clone();
        let accept = call.header("accept").unwrap_or("*/*");
        if accept.contains("json") {
            let resource = json!({
                "resourceType": "Binary",
                "id": id,
                "contentType": media_type,
            });
            return Ok(Prepared::Answer(Answer {
                gaps: vec![Gap::new("", Element::Data, document)],
                ..Answer::ok(resource)
            }));
        }
        let fault = document.fault.clone();
        let missing = not_found();
        Ok(Prepared::Photo(PendingPhoto {
            key: document.object.clone(),
            content: document.content.clone(),
            reply: Box::new(move |photo: RenderedPhoto| {
                let bytes = match &fault {
                    Some(fault) => fault.apply(&photo.bytes),
                    None => Some(photo.bytes),
                };
                bytes.map_or_else(
                    || missing.into_response(),
                    |bytes| {
                        let response = reply::body(StatusCode::OK, "application/octet-stream", bytes);
                        reply::with_header(response, http::header::CONTENT_TYPE, &media_type)
                    },
                )
            }),
        }))
    }
}
