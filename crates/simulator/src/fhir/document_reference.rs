//! `GET DocumentReference` for one patient, and `GET DocumentReference/{id}`.
//!
//! A search entry is SUBSETTED: it says what kind of document there is and not where its bytes are. Reading one document
//! gives a pre-signed URL that is good for a few minutes.

use http::StatusCode;
use serde_json::{Value, json};
use skin_assist_core::time::Timestamp;

use crate::{
    ehr::{PendingPhoto, Prepared},
    photos::RenderedPhoto,
    reply::{self, Refusal},
    specification::EncounterSearchGranularity,
    state::{Document, Firm, State},
};

use super::{
    bundle::{on_page, searchset},
    category_coding, category_system,
    parameters::Parameters,
    referenced_id,
};

/// The most entries on a page.
const MAX_COUNT: usize = 10;

impl State {
    pub(crate) fn search_documents(
        &mut self,
        now: Timestamp,
        prefix: &str,
        parameters: &Parameters,
        exact_totals: bool,
    ) -> Result<Value, Refusal> {
        parameters.only(&[
            "_count",
            "page",
            "patient",
            "encounter",
            "category",
            "date",
            "type",
            "description",
            "identifier",
        ])?;
        let base = self.fhir_base(prefix);
        let patient = parameters.one("patient")?.ok_or_else(|| Refusal::missing("patient"))?;
        let patient = referenced_id(&base, "Patient", patient).unwrap_or_default();
        let encounter = parameters
            .one("encounter")?
            .map(|reference| referenced_id(&base, "Encounter", reference).unwrap_or_default());
        let category_system = category_system(&base);
        let category = parameters.one("category")?.map(|token| {
            match token.split_once('|') {
                Some((system, code)) if system == category_system => code,
                // A system that is not the value set's matches nothing, as no code is empty.
                Some(_) => "",
                None => token,
            }
        });
        let dates = parameters.dates("date", EncounterSearchGranularity::Day)?;
        let media_type = parameters.one("type")?;
        let description = parameters.one("description")?.map(str::to_lowercase);
        let file_name = parameters.one("identifier")?.map(|identifier| {
            identifier
                .split_once('|')
                .filter(|(system, _)| *system == "filename")
                .map_or("", |(_, name)| name)
        });
        let page = parameters.page(MAX_COUNT)?;
        let Some(firm) = self.firm(prefix) else {
            return Err(Refusal::not_found("no such firm"));
        };
        let of_patient = firm.documents_by_patient.get(&patient);
        let matches: Vec<usize> = of_patient
            .into_iter()
            .flatten()
            .copied()
            .filter(|index| {
                firm.documents.at(*index).is_some_and(|document| {
                    encounter.as_ref().is_none_or(|id| document.encounter == *id)
                        && category.is_none_or(|code| document.category == code)
                        && dates.iter().all(|date| date.holds(document.attached_at))
                        && media_type.is_none_or(|media_type| document.media_type == media_type)
                        && description
                            .as_ref()
                            .is_none_or(|start| document.description.to_lowercase().starts_with(start))
                        && file_name.is_none_or(|name| document.file_name() == name)
                })
            })
            .collect();
        let listed = on_page(&matches, page);
        let entries = listed
            .iter()
            .filter_map(|index| firm.documents.at(*index))
            .map(|document| {
                let mut resource = self.document_resource(firm, document);
                resource["meta"]["tag"] = json!([{
                    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
                    "code": "SUBSETTED",
                    "display": "Resource encoded in summary mode",
                }]);
                (self.reference(prefix, "DocumentReference", &document.id), resource)
            })
            .collect();
        let bundle = searchset(
            &format!("{base}/DocumentReference"),
            parameters,
            page,
            matches.len(),
            exact_totals,
            entries,
        );
        if let Ok(firm) = self.firm_mut(prefix) {
            for index in listed {
                if let Some(document) = firm.documents.at_mut(index) {
                    document.first_listed_at = document.first_listed_at.or(Some(now));
                }
            }
        }
        Ok(bundle)
    }

    pub(crate) fn read_document(&mut self, now: Timestamp, prefix: &str, id: &str) -> Result<Prepared, Refusal> {
        let not_found = || Refusal::not_found(format!("DocumentReference {id} is not known"));
        let firm = self.firm_mut(prefix).map_err(|_| not_found())?;
        let document = firm.documents.get_mut(id).ok_or_else(not_found)?;
        document.read_at = document.read_at.or(Some(now));
        let firm = self.firm(prefix).ok_or_else(not_found)?;
        let document = firm.documents.get(id).ok_or_else(not_found)?;
        let mut resource = self.document_resource(firm, document);
        resource["content"] = json!([{
            "attachment": {
                "contentType": document.media_type,
                "url": self.presign(now, &document.object),
                "title": document.file_name(),
                "creation": document.attached_at,
            },
        }]);
        // The size is the picture's true one, so the picture is made now; the client fetches it next in any case.
        let fault = document.fault.clone();
        Ok(Prepared::Photo(PendingPhoto {
            key: document.object.clone(),
            content: document.content.clone(),
            reply: Box::new(move |photo: RenderedPhoto| {
                let bytes = match &fault {
                    Some(fault) => fault.apply(&photo.bytes),
                    None => Some(photo.bytes),
                };
                if let Some(bytes) = bytes {
                    resource["content"][0]["attachment"]["size"] = json!(bytes.len());
                }
                reply::fhir(StatusCode::OK, &resource)
            }),
        }))
    }

    /// What search and read have in common.
    fn document_resource(&self, firm: &Firm, document: &Document) -> Value {
        let prefix = &firm.spec.prefix;
        let base = self.fhir_base(prefix);
        let category: Vec<Value> = firm
            .spec
            .categories
            .iter()
            .filter(|category| category.code == document.category)
            .map(|category| json!({ "coding": [category_coding(&base, category)] }))
            .collect();
        json!({
            "resourceType": "DocumentReference",
            "id": document.id,
            "meta": { "lastUpdated": document.attached_at },
            "identifier": [{ "system": "filename", "value": document.file_name() }],
            "status": "current",
            "type": { "text": document.media_type },
            "category": category,
            "subject": { "reference": self.reference(prefix, "Patient", &document.patient) },
            "date": document.attached_at,
            "description": document.description,
            "context": {
                "encounter": [{
                    "reference": self.reference(prefix, "Encounter", &document.encounter),
                }],
            },
        })
    }
}
