//! What a DocumentReference has to be to be taken as a draft: a clinical note with its text in the attachment.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use serde_json::Value;

use crate::{dialect::DraftRules, reply::Refusal, state::Firm};

use super::validation::{Findings, Links};

/// The media types that a note's text may have.
const MEDIA_TYPES: [&str; 3] = ["text/plain", "text/html", "application/xhtml+xml"];

/// Everything that is wrong is 422.
pub(crate) fn validate(rules: &DraftRules, base: &str, firm: &Firm, resource: &Value) -> Result<Links, Refusal> {
    let mut findings = Findings::new("DocumentReference");
    findings.code("status", resource.get("status"), &["current"]);
    findings.code("docStatus", resource.get("docStatus"), &rules.statuses);
    findings.loinc("type", resource.get("type"), None);
    let patient = findings.subject(base, firm, resource);
    findings.author(rules.author, base, firm, resource);
    findings.contained(&rules.contained, base, firm, resource);
    let stated = resource.pointer("/context/encounter/0");
    if stated.is_none() {
        findings.missing("context.encounter");
    }
    let encounter = findings.encounter("context.encounter", base, firm, stated, patient.as_deref());
    let element = "content[0].attachment.contentType";
    if let Some(stated) = findings.text(element, resource.pointer("/content/0/attachment/contentType"))
        && !MEDIA_TYPES.contains(&media_type(stated).as_str())
    {
        findings.invalid(element, &format!("is to be {}", MEDIA_TYPES.join(" or ")));
    }
    let element = "content[0].attachment.data";
    let data = findings.text(element, resource.pointer("/content/0/attachment/data"));
    if data.is_some() && text(resource).is_none_or(|(_, text)| text.trim().is_empty()) {
        findings.invalid(element, "is not text in base64");
    }
    findings.refused_with(StatusCode::UNPROCESSABLE_ENTITY)?;
    Ok(Links {
        // A missing patient is a finding, so there is one here.
        patient: patient.unwrap_or_default(),
        encounter,
    })
}

/// Without its parameters, in lower case.
fn media_type(stated: &str) -> String {
    stated.split(';').next().unwrap_or_default().trim().to_lowercase()
}

/// A note's text, and whether it is markup.
pub(crate) fn text(resource: &Value) -> Option<(bool, String)> {
    let attachment = resource.pointer("/content/0/attachment")?;
    let data = STANDARD.decode(attachment["data"].as_str()?).ok()?;
    let is_markup = media_type(attachment["contentType"].as_str()?) != "text/plain";
    Some((is_markup, String::from_utf8(data).ok()?))
}
