//! What is checked of a draft, whatever resource it is: everything that is wrong is collected, so that a client's author
//! sees it at once.

use http::StatusCode;
use serde_json::{Map, Value};
use skin_assist_core::time::Timestamp;

use crate::{
    dialect::AuthorRule,
    reply::{Issue, Refusal},
    report::Region,
    state::{DraftImage, Firm},
};

use super::referenced_id;

const LOINC: &str = "http://loinc.org";
const IMAGE_EXTENSION: &str = "https://skin-assist.example/fhir/StructureDefinition/assessed-image";

/// What a draft refers to.
#[derive(Debug)]
pub(crate) struct Links {
    pub(crate) patient: String,
    pub(crate) encounter: Option<String>,
}

/// Everything that is wrong with a draft.
#[derive(Debug)]
pub(crate) struct Findings {
    resource: &'static str,
    missing: Vec<Issue>,
    invalid: Vec<Issue>,
}

impl Findings {
    pub(crate) fn new(resource: &'static str) -> Self {
        Self {
            resource,
            missing: Vec::new(),
            invalid: Vec::new(),
        }
    }

    fn issue(&self, code: &'static str, element: &str, why: &str) -> Issue {
        let element = format!("{}.{element}", self.resource);
        Issue {
            code,
            diagnostics: format!("{element} {why}"),
            expression: Some(element),
        }
    }

    pub(crate) fn missing(&mut self, element: &str) {
        self.missing.push(self.issue("required", element, "is required"));
    }

    pub(crate) fn invalid(&mut self, element: &str, why: &str) {
        self.invalid.push(self.issue("value", element, why));
    }

    /// The text at this element, or a finding.
    pub(crate) fn text<'value>(&mut self, element: &str, value: Option<&'value Value>) -> Option<&'value str> {
        match value {
            None | Some(Value::Null) => self.missing(element),
            Some(Value::String(text)) if !text.trim().is_empty() => return Some(text),
            Some(_) => self.invalid(element, "is to be text"),
        }
        None
    }

    /// A code that is one of these.
    pub(crate) fn code(&mut self, element: &str, value: Option<&Value>, taken: &[&str]) {
        if let Some(code) = self.text(element, value)
            && !taken.contains(&code)
        {
            self.invalid(element, &format!("is to be {}", taken.join(" or ")));
        }
    }

    /// A CodeableConcept with this LOINC code, or with any.
    pub(crate) fn loinc(&mut self, element: &str, concept: Option<&Value>, code: Option<&str>) {
        let codings = concept.and_then(|concept| concept.get("coding"));
        let Some(codings) = codings.and_then(Value::as_array) else {
            self.missing(element);
            return;
        };
        let good = |coding: &Value| match code {
            Some(code) => is_loinc(coding, code),
            None => coding["system"] == LOINC && coding["code"].as_str().is_some_and(|code| !code.is_empty()),
        };
        if !codings.iter().any(good) {
            self.invalid(element, &format!("is to be LOINC {}", code.unwrap_or_default()));
        }
    }

    pub(crate) fn subject(&mut self, base: &str, firm: &Firm, resource: &Value) -> Option<String> {
        let reference = self.text("subject", resource.pointer("/subject/reference"))?;
        let id = referenced_id(base, "Patient", reference).filter(|id| firm.patients.get(id).is_some());
        if id.is_none() {
            self.invalid("subject", "is no patient of this firm");
        }
        id
    }

    pub(crate) fn author(&mut self, rule: AuthorRule, base: &str, firm: &Firm, resource: &Value) {
        let stated = resource.pointer("/author/0/reference");
        if stated.is_none() && rule == AuthorRule::Optional {
            return;
        }
        let Some(reference) = self.text("author", stated) else {
            return;
        };
        let practitioner = referenced_id(base, "Practitioner", reference);
        let known = practitioner.is_some_and(|id| firm.practitioner_name(&id).is_some());
        let is_device = || match reference.strip_prefix('#') {
            Some(id) => contains_device(resource, id),
            None => referenced_id(base, "Device", reference).is_some() && reference.contains("Device/"),
        };
        if !known && (rule == AuthorRule::Practitioner || !is_device()) {
            self.invalid("author", "is no Practitioner of this firm");
        }
    }

    /// What is contained is of these types. A Provenance among it is the only one of its id, about the resource that it is in, by
    /// somebody who is known, from photos of this firm.
    pub(crate) fn contained(&mut self, taken: &[&str], base: &str, firm: &Firm, resource: &Value) {
        let mut contained = resource["contained"].as_array().into_iter().flatten();
        if !contained.all(|inner| taken.iter().any(|kind| inner["resourceType"] == *kind)) {
            self.invalid("contained", "has a resource of a type that is not taken");
        }
        let ids: Vec<&Value> = provenances(resource).map(|provenance| &provenance["id"]).collect();
        for (place, provenance) in provenances(resource).enumerate() {
            if ids[..place].contains(&&provenance["id"]) {
                self.invalid("contained", "has a second Provenance of this id");
            }
            self.provenance(base, firm, resource, provenance);
        }
    }

    fn provenance(&mut self, base: &str, firm: &Firm, resource: &Value, provenance: &Value) {
        if provenance.pointer("/target/0/reference").and_then(Value::as_str) != Some("#") {
            self.invalid("contained.target", "is not what it is contained in");
        }
        let recorded = self.text("contained.recorded", provenance.get("recorded"));
        if recorded.is_some_and(|recorded| Timestamp::parse_rfc3339(recorded).is_err()) {
            self.invalid("contained.recorded", "is not an instant");
        }
        let who = self.text("contained.agent.who", provenance.pointer("/agent/0/who/reference"));
        if let Some(who) = who {
            let is_device = who.strip_prefix('#').is_some_and(|id| contains_device(resource, id));
            let practitioner = referenced_id(base, "Practitioner", who);
            let is_known = practitioner.is_some_and(|id| firm.practitioner_name(&id).is_some());
            if !is_device && !is_known {
                self.invalid("contained.agent.who", "is nobody who is known");
            }
        }
        if !sources(base, provenance).all(|source| firm.documents.get(&source).is_some()) {
            self.invalid("contained.entity", "has a source that is no document of this firm");
        }
    }

    /// The encounter at this pointer, which has to be the patient's.
    pub(crate) fn encounter(
        &mut self,
        element: &str,
        base: &str,
        firm: &Firm,
        stated: Option<&Value>,
        patient: Option<&str>,
    ) -> Option<String> {
        let stated = stated.filter(|value| !value.is_null())?;
        let reference = self.text(element, stated.get("reference"))?;
        let found = referenced_id(base, "Encounter", reference)
            .and_then(|id| firm.encounters.get(&id))
            .filter(|encounter| encounter.removed_at.is_none());
        match found {
            None => self.invalid(element, "is no encounter of this firm"),
            Some(encounter) if patient.is_some_and(|patient| patient != encounter.patient) => {
                self.invalid(element, "belongs to another patient");
            }
            Some(encounter) => return Some(encounter.id.clone()),
        }
        None
    }

    /// 400 when something is missing, 422 when a value is refused.
    pub(crate) fn into_result(self) -> Result<(), Refusal> {
        let status = if self.missing.is_empty() {
            StatusCode::UNPROCESSABLE_ENTITY
        } else {
            StatusCode::BAD_REQUEST
        };
        self.refused_with(status)
    }

    /// This status when anything is wrong.
    pub(crate) fn refused_with(self, status: StatusCode) -> Result<(), Refusal> {
        let mut issues = self.missing;
        issues.extend(self.invalid);
        if issues.is_empty() {
            Ok(())
        } else {
            Err(Refusal { status, issues })
        }
    }
}

pub(crate) fn is_loinc(coding: &Value, code: &str) -> bool {
    coding["system"] == LOINC && coding["code"] == code
}

fn provenances(resource: &Value) -> impl Iterator<Item = &Value> {
    let contained = resource["contained"].as_array().into_iter().flatten();
    contained.filter(|contained| contained["resourceType"] == "Provenance")
}

/// The documents that a Provenance names as sources; empty names for what is none of this EHR's.
fn sources<'value>(base: &'value str, provenance: &'value Value) -> impl Iterator<Item = String> + 'value {
    let entities = provenance["entity"].as_array().into_iter().flatten();
    entities.filter(|entity| entity["role"] == "source").map(move |entity| {
        let stated = entity.pointer("/what/reference").and_then(Value::as_str);
        let id = stated.and_then(|stated| referenced_id(base, "DocumentReference", stated));
        id.unwrap_or_default()
    })
}

/// The documents that the draft's Provenance says it comes from; none where it brings none.
pub(crate) fn provenance_sources(base: &str, resource: &Value) -> Option<Vec<String>> {
    let provenance = provenances(resource).next()?;
    Some(sources(base, provenance).collect())
}

fn contains_device(resource: &Value, id: &str) -> bool {
    let contained = resource["contained"].as_array().into_iter().flatten();
    let mut devices = contained.filter(|contained| contained["resourceType"] == "Device");
    devices.any(|device| device["id"] == id)
}

/// Every identifier, whether there is one (as on a Composition) or a list: system and value.
pub(crate) fn identifiers(resource: &Value) -> impl Iterator<Item = (&str, &str)> {
    let stated = &resource["identifier"];
    let list = stated.as_array().map_or(std::slice::from_ref(stated), Vec::as_slice);
    list.iter().filter_map(|identifier| {
        let system = identifier["system"].as_str().unwrap_or_default();
        Some((system, identifier["value"].as_str()?))
    })
}

/// The photos that the draft says it was made from.
pub(crate) fn images(resource: &Value) -> Vec<DraftImage> {
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
