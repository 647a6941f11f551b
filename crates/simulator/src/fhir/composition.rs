//! `POST Composition`: an inbound transcription.
//!
//! There is no search, no read, no conditional create and no deduplication: what is posted twice is there twice. Elements
//! that the EHR does not know are kept as they came.

use bytes::Bytes;
use http::{Request, StatusCode, header::CONTENT_TYPE};
use serde_json::{Map, Value, json};
use skin_assist_core::time::Timestamp;

use crate::{
    calendar,
    ehr::Prepared,
    reply::{self, Issue, Refusal},
    report::{Placement, Region},
    specification::EncounterStatus,
    state::{DraftImage, Firm, State, StoredComposition},
};

use super::referenced_id;

const LOINC: &str = "http://loinc.org";
/// LOINC "Plan of treatment (narrative)": the section that holds the body.
pub(crate) const BODY_SECTION: &str = "18776-5";
/// LOINC "Instructions": the section that holds the notes for the transcriptionist.
pub(crate) const NOTES_SECTION: &str = "69730-0";
const IMAGE_EXTENSION: &str = "https://skin-assist.example/fhir/StructureDefinition/assessed-image";

impl State {
    pub(crate) fn create_composition(
        &mut self,
        now: Timestamp,
        prefix: &str,
        request: &Request<Bytes>,
    ) -> Result<Prepared, Refusal> {
        let media_type = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if !["application/fhir+json", "application/json"]
            .iter()
            .any(|known| media_type.starts_with(known))
        {
            return Err(Refusal {
                status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
                ..Refusal::bad("the body is to be application/fhir+json")
            });
        }
        let mut resource: Value = serde_json::from_slice(request.body())
            .map_err(|error| Refusal::bad(format!("the body is not JSON: {error}")))?;
        let base = self.fhir_base(prefix);
        let firm = self.firm(prefix).ok_or_else(|| Refusal::not_found("no such firm"))?;
        let links = validate(&base, firm, &resource)?;
        let number = firm.compositions.len() + 1;
        let id = format!("{}", 700_000 + number);
        let placement = links
            .encounter
            .as_deref()
            .and_then(|encounter| firm.encounters.get(encounter))
            .map_or(Placement::ChartNote, |encounter| match encounter.status {
                EncounterStatus::Finished | EncounterStatus::Cancelled => Placement::ChartNote,
                _ => Placement::VisitNote,
            });
        resource["id"] = json!(id);
        if !resource["meta"].is_object() {
            resource["meta"] = json!({});
        }
        resource["meta"]["lastUpdated"] = json!(now);
        let composition = StoredComposition {
            id: id.clone(),
            posted_at: now,
            identifier: identifier(&resource),
            placement,
            encounter: links.encounter,
            images: images(&resource),
            resource: resource.clone(),
        };
        let location = self.reference(prefix, "Composition", &id);
        if let Ok(firm) = self.firm_mut(prefix) {
            firm.compositions.push(composition);
        }
        if self.faults.take_dropped_reply() {
            return Ok(Prepared::Dropped);
        }
        Ok(Prepared::Response(reply::with_header(
            reply::fhir(StatusCode::CREATED, &resource),
            http::header::LOCATION,
            &location,
        )))
    }
}

/// What a Composition refers to.
struct Links {
    encounter: Option<String>,
}

/// Collects everything that is wrong, so that a client's author sees it at once.
#[derive(Default)]
struct Findings {
    missing: Vec<Issue>,
    invalid: Vec<Issue>,
}

impl Findings {
    fn missing(&mut self, element: &str) {
        self.missing.push(Issue {
            code: "required",
            diagnostics: format!("{element} is required"),
            expression: Some(element.to_owned()),
        });
    }

    fn invalid(&mut self, element: &str, why: &str) {
        self.invalid.push(Issue {
            code: "value",
            diagnostics: format!("{element} {why}"),
            expression: Some(element.to_owned()),
        });
    }

    /// The text at this element, or a finding.
    fn text<'value>(&mut self, element: &str, value: Option<&'value Value>) -> Option<&'value str> {
        match value {
            None | Some(Value::Null) => self.missing(element),
            Some(Value::String(text)) if !text.trim().is_empty() => return Some(text),
            Some(_) => self.invalid(element, "is to be text"),
        }
        None
    }

    /// 400 when something is missing, 422 when a value is refused.
    fn into_result(self) -> Result<(), Refusal> {
        let status = match (self.missing.is_empty(), self.invalid.is_empty()) {
            (true, true) => return Ok(()),
            (false, _) => StatusCode::BAD_REQUEST,
            (true, false) => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let mut issues = self.missing;
        issues.extend(self.invalid);
        Err(Refusal { status, issues })
    }
}

fn validate(base: &str, firm: &Firm, resource: &Value) -> Result<Links, Refusal> {
    if resource["resourceType"] != "Composition" {
        return Err(Refusal::bad("the resourceType is to be Composition"));
    }
    let mut findings = Findings::default();
    if let Some(status) = findings.text("Composition.status", resource.get("status"))
        && status != "preliminary"
    {
        findings.invalid("Composition.status", "is to be preliminary");
    }
    require_coding(&mut findings, "Composition.type", resource.get("type"), "11488-4");
    let category = resource.get("category").and_then(|category| category.get(0));
    require_coding(&mut findings, "Composition.category", category, "LP173421-1");
    findings.text("Composition.title", resource.get("title"));
    if let Some(date) = findings.text("Composition.date", resource.get("date")) {
        let is_date = Timestamp::parse_rfc3339(date).is_ok() || calendar::parse_day(date).is_some();
        if !is_date {
            findings.invalid("Composition.date", "is not a dateTime");
        }
    }
    let patient = subject(&mut findings, base, firm, resource);
    author(&mut findings, base, firm, resource);
    let encounter = encounter(&mut findings, base, firm, resource, patient.as_deref());
    sections(&mut findings, resource);
    findings.into_result()?;
    Ok(Links { encounter })
}

fn require_coding(findings: &mut Findings, element: &str, concept: Option<&Value>, code: &str) {
    let Some(codings) = concept
        .and_then(|concept| concept.get("coding"))
        .and_then(Value::as_array)
    else {
        findings.missing(element);
        return;
    };
    if !codings.iter().any(|coding| is_loinc(coding, code)) {
        findings.invalid(element, &format!("is to be LOINC {code}"));
    }
}

fn is_loinc(coding: &Value, code: &str) -> bool {
    coding["system"] == LOINC && coding["code"] == code
}

fn subject(findings: &mut Findings, base: &str, firm: &Firm, resource: &Value) -> Option<String> {
    let element = "Composition.subject";
    let reference = findings.text(element, resource.pointer("/subject/reference"))?;
    let id = referenced_id(base, "Patient", reference).filter(|id| firm.patients.get(id).is_some());
    if id.is_none() {
        findings.invalid(element, "is no patient of this firm");
    }
    id
}

fn author(findings: &mut Findings, base: &str, firm: &Firm, resource: &Value) {
    let element = "Composition.author";
    if let Some(reference) = findings.text(element, resource.pointer("/author/0/reference")) {
        let known =
            referenced_id(base, "Practitioner", reference).is_some_and(|id| firm.practitioner_name(&id).is_some());
        if !known {
            findings.invalid(element, "is no Practitioner of this firm");
        }
    }
}

fn encounter(
    findings: &mut Findings,
    base: &str,
    firm: &Firm,
    resource: &Value,
    patient: Option<&str>,
) -> Option<String> {
    let element = "Composition.encounter";
    let stated = resource.get("encounter").filter(|value| !value.is_null())?;
    let reference = findings.text(element, stated.get("reference"))?;
    let found = referenced_id(base, "Encounter", reference).and_then(|id| firm.encounters.get(&id));
    match found {
        None => findings.invalid(element, "is no encounter of this firm"),
        Some(encounter) if patient.is_some_and(|patient| patient != encounter.patient) => {
            findings.invalid(element, "belongs to another patient");
        }
        Some(encounter) => return Some(encounter.id.clone()),
    }
    None
}

fn sections(findings: &mut Findings, resource: &Value) {
    let element = "Composition.section";
    let sections = resource["section"].as_array().map_or(&[][..], Vec::as_slice);
    for code in [BODY_SECTION, NOTES_SECTION] {
        let Some(section) = sections.iter().find(|section| has_code(section, code)) else {
            findings.missing(&format!("{element}[{code}]"));
            continue;
        };
        findings.text(&format!("{element}[{code}].code.text"), section.pointer("/code/text"));
    }
    if sections.len() > 2 {
        findings.invalid(element, "has more than the two sections that are taken");
    }
}

fn has_code(section: &Value, code: &str) -> bool {
    section
        .pointer("/code/coding")
        .and_then(Value::as_array)
        .is_some_and(|codings| codings.iter().any(|coding| is_loinc(coding, code)))
}

/// The text of the section with this code, as the chart shows it.
pub(crate) fn section_text<'value>(resource: &'value Value, code: &str) -> Option<&'value str> {
    section(resource, code)?.pointer("/code/text")?.as_str()
}

/// The XHTML of the section with this code; not what the vendor reads, kept and shown for what it is.
pub(crate) fn section_markup<'value>(resource: &'value Value, code: &str) -> Option<&'value str> {
    section(resource, code)?.pointer("/text/div")?.as_str()
}

fn section<'value>(resource: &'value Value, code: &str) -> Option<&'value Value> {
    resource["section"]
        .as_array()?
        .iter()
        .find(|section| has_code(section, code))
}

/// `identifier` is a single one on a Composition (R4); a list is read too.
fn identifier(resource: &Value) -> Option<String> {
    let value = resource
        .pointer("/identifier/value")
        .or_else(|| resource.pointer("/identifier/0/value"))?;
    value.as_str().map(str::to_owned)
}

/// The photos that the draft says it was made from.
fn images(resource: &Value) -> Vec<DraftImage> {
    let is_image = |extension: &&Value| extension["url"] == IMAGE_EXTENSION;
    parts(resource)
        .filter(is_image)
        .filter_map(|image| {
            let document = parts(image).find(|part| part["url"] == "document")?;
            let regions = parts(image).filter(|part| part["url"] == "region");
            Some(DraftImage {
                document: document["valueString"].as_str()?.to_owned(),
                regions: regions.filter_map(region).collect(),
            })
        })
        .collect()
}

fn parts(value: &Value) -> impl Iterator<Item = &Value> {
    value.get("extension").and_then(Value::as_array).into_iter().flatten()
}

fn region(extension: &Value) -> Option<Region> {
    let numbers: Map<String, Value> = parts(extension)
        .filter_map(|part| Some((part["url"].as_str()?.to_owned(), part["valueDecimal"].clone())))
        .collect();
    let number = |name: &str| numbers.get(name)?.as_f64().map(|number| number.clamp(0.0, 1.0));
    Some(Region {
        x: number("x")?,
        y: number("y")?,
        width: number("width")?,
        height: number("height")?,
    })
}
