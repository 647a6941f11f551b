//! The draft as a clinical note: a DocumentReference with the text as its attachment (US Core, Clinical Notes).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::Value;
use skin_assist_core::{domain::Draft, ports::EhrError};

use super::{
    AI_ASSERTED, CodeableConcept, Coding, Extension, IDENTIFIER_SYSTEM, Identifier, Meta, Reference, References,
    assessed_image, instructions, text,
};
use crate::{
    narrative::{self, Block},
    profile::{DraftContent, DraftRules},
};

pub(super) fn document_reference(
    draft: &Draft,
    rules: &DraftRules,
    service: &str,
) -> Result<DocumentReference, EhrError> {
    let references = References {
        form: rules.references,
        service,
    };
    let (contained, author) = references.author(draft, rules)?;
    let note = draft.note.expose();
    let title = Block::paragraph(&note.title).text().to_owned();
    let mut blocks = text(draft, rules);
    blocks.push(Block::heading("Instructions"));
    blocks.extend(instructions(draft));
    let (content_type, content) = match rules.content.unwrap_or(DraftContent::Plain) {
        DraftContent::Plain => ("text/plain; charset=utf-8", narrative::plain(&blocks)),
        DraftContent::Xhtml => ("application/xhtml+xml", narrative::page(&title, &blocks)),
    };
    let date = draft.date.to_string();
    Ok(DocumentReference {
        resource_type: "DocumentReference",
        meta: AI_ASSERTED,
        contained,
        extension: note.regions.iter().map(assessed_image).collect(),
        identifier: [Identifier {
            system: IDENTIFIER_SYSTEM,
            value: draft.reference_code.to_string(),
        }],
        status: "current",
        doc_status: rules.status.as_str(),
        kind: CodeableConcept::loinc("11488-4", "Consult note"),
        category: [CodeableConcept {
            coding: [Coding {
                system: "http://hl7.org/fhir/us/core/CodeSystem/us-core-documentreference-category",
                code: "clinical-note",
                display: "Clinical Note",
            }],
            text: None,
        }],
        subject: references.to("Patient", draft.patient.as_str())?,
        date: date.clone(),
        author,
        description: title.clone(),
        content: [Content {
            attachment: Attachment {
                content_type,
                data: STANDARD.encode(content),
                title,
                creation: date,
            },
        }],
        context: references
            .encounter(draft)?
            .map(|encounter| Context { encounter: [encounter] }),
    })
}

/// FHIR R4 `DocumentReference`, as far as a draft needs it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DocumentReference {
    resource_type: &'static str,
    meta: Meta,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    contained: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    extension: Vec<Extension>,
    identifier: [Identifier; 1],
    status: &'static str,
    doc_status: &'static str,
    #[serde(rename = "type")]
    kind: CodeableConcept,
    category: [CodeableConcept; 1],
    subject: Reference,
    date: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    author: Vec<Reference>,
    description: String,
    content: [Content; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Context>,
}

#[derive(Debug, Serialize)]
struct Content {
    attachment: Attachment,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Attachment {
    content_type: &'static str,
    data: String,
    title: String,
    creation: String,
}

#[derive(Debug, Serialize)]
struct Context {
    encounter: [Reference; 1],
}
