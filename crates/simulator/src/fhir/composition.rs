//! What a Composition has to be to be taken as a draft, and where its text is.
//!
//! As an inbound transcription, or as any FHIR R4 server takes one.

use serde_json::Value;
use skin_assist_core::time::Timestamp;

use crate::{calendar, dialect::DraftRules, reply::Refusal, state::Firm};

use super::validation::{Findings, Links, is_loinc};

/// LOINC "Plan of treatment (narrative)": the section that holds the body.
pub(crate) const BODY_SECTION: &str = "18776-5";
/// LOINC "Instructions": the section that holds the notes for the transcriptionist.
pub(crate) const NOTES_SECTION: &str = "69730-0";

pub(crate) fn validate(rules: &DraftRules, base: &str, firm: &Firm, resource: &Value) -> Result<Links, Refusal> {
    let mut findings = Findings::new("Composition");
    findings.code("status", resource.get("status"), &rules.statuses);
    findings.loinc("type", resource.get("type"), rules.transcription.then_some("11488-4"));
    if rules.transcription {
        let category = resource.get("category").and_then(|category| category.get(0));
        findings.loinc("category", category, Some("LP173421-1"));
    }
    findings.text("title", resource.get("title"));
    if let Some(date) = findings.text("date", resource.get("date")) {
        let is_date = Timestamp::parse_rfc3339(date).is_ok() || calendar::parse_day(date).is_some();
        if !is_date {
            findings.invalid("date", "is not a dateTime");
        }
    }
    let patient = findings.subject(base, firm, resource);
    findings.author(rules.author, base, firm, resource);
    findings.contained(&rules.contained, base, firm, resource);
    let encounter = findings.encounter("encounter", base, firm, resource.get("encounter"), patient.as_deref());
    if rules.transcription {
        transcribed_sections(&mut findings, resource);
    } else {
        narrative_sections(&mut findings, resource);
    }
    findings.into_result()?;
    Ok(Links {
        // A missing patient is a finding, so there is one here.
        patient: patient.unwrap_or_default(),
        encounter,
    })
}

fn sections(resource: &Value) -> &[Value] {
    resource["section"].as_array().map_or(&[][..], Vec::as_slice)
}

fn transcribed_sections(findings: &mut Findings, resource: &Value) {
    let sections = sections(resource);
    for code in [BODY_SECTION, NOTES_SECTION] {
        let Some(section) = sections.iter().find(|section| has_code(section, code)) else {
            findings.missing(&format!("section[{code}]"));
            continue;
        };
        findings.text(&format!("section[{code}].code.text"), section.pointer("/code/text"));
    }
    if sections.len() > 2 {
        findings.invalid("section", "has more than the two sections that are taken");
    }
}

/// FHIR's invariant cmp-1: a section has text, entries or sections; and a draft has something to read.
fn narrative_sections(findings: &mut Findings, resource: &Value) {
    let sections = sections(resource);
    if sections.is_empty() {
        findings.missing("section");
    }
    for (index, section) in sections.iter().enumerate() {
        let is_xhtml = |div: &str| div.starts_with("<div") && div.trim_end().ends_with("</div>");
        match section.pointer("/text/div").and_then(Value::as_str) {
            Some(div) if is_xhtml(div) => {}
            Some(_) => findings.invalid(&format!("section[{index}].text.div"), "is not an XHTML div"),
            None => findings.missing(&format!("section[{index}].text.div")),
        }
    }
}

fn has_code(section: &Value, code: &str) -> bool {
    section
        .pointer("/code/coding")
        .and_then(Value::as_array)
        .is_some_and(|codings| codings.iter().any(|coding| is_loinc(coding, code)))
}

/// The texts of the sections with this code, as the chart shows them: of a draft that another was added to there are several.
pub(crate) fn section_texts<'value>(resource: &'value Value, code: &str) -> impl Iterator<Item = &'value str> {
    with_code(resource, code).filter_map(|section| section.pointer("/code/text")?.as_str())
}

/// Their XHTML; not what the vendor reads, kept and shown for what it is.
pub(crate) fn section_markups<'value>(resource: &'value Value, code: &str) -> impl Iterator<Item = &'value str> {
    with_code(resource, code).filter_map(|section| section.pointer("/text/div")?.as_str())
}

fn with_code<'value>(resource: &'value Value, code: &str) -> impl Iterator<Item = &'value Value> {
    sections(resource).iter().filter(move |section| has_code(section, code))
}
