//! A practice's chart in the FHIR server: what the harness files there, which of it is a photo to be answered, and which
//! drafts are there. It asks the server itself, past the gateway, with a client of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::http::{Message, base64, exchange};

/// The category that is a photo of single lesions. The practice's own code, as categories are.
pub(crate) const PHOTO: &str = "photo-lesion";

/// A category that nobody chose.
const LETTER: &str = "referral-letter";

/// `identifier.system` of our drafts.
const DRAFT_SYSTEM: &str = "https://skin-assist.example/fhir/draft";

/// The extension by which a draft names the document that it answers.
const ASSESSED_IMAGE: &str = "https://skin-assist.example/fhir/StructureDefinition/assessed-image";

const FHIR: &str = "application/fhir+json";

/// Where a photo's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the photo server.
    Url,
    /// In the document itself.
    Inline,
    /// In a `Binary` beside it.
    Binary,
}

/// A visit in the chart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Visit {
    patient: String,
    encounter: String,
}

/// A practice's chart.
pub(crate) struct Chart {
    server: SocketAddr,
    tenant: String,
    token: String,
    practitioner: String,
    photo_server: SocketAddr,
    pictures: Vec<Vec<u8>>,
    /// The photos that have to be answered, with their visits.
    expected: BTreeMap<String, Visit>,
}

/// A draft in the chart.
#[derive(Debug)]
pub(crate) struct Draft {
    /// The whole resource.
    pub(crate) resource: Value,
    /// The document that it answers.
    pub(crate) document: String,
}

impl Draft {
    /// `Composition/1`.
    pub(crate) fn reference(&self) -> String {
        let text = |key: &str| self.resource[key].as_str().unwrap_or_default().to_owned();
        format!("{}/{}", text("resourceType"), text("id"))
    }
}

impl Chart {
    /// An empty one for this tenant. Of the pictures, the n-th photo has the n-th.
    pub(crate) fn open(
        server: SocketAddr,
        tenant: &str,
        token: &str,
        photo_server: SocketAddr,
        pictures: Vec<Vec<u8>>,
    ) -> Result<Self, String> {
        let mut chart = Self {
            server,
            tenant: tenant.to_owned(),
            token: token.to_owned(),
            practitioner: String::new(),
            photo_server,
            pictures,
            expected: BTreeMap::new(),
        };
        chart.practitioner = chart.create(&json!({
            "resourceType": "Practitioner", "active": true, "name": [{ "family": "Interop", "given": ["Doctor"] }],
        }))?;
        Ok(chart)
    }

    /// Whose chart it is.
    pub(crate) fn tenant(&self) -> &str {
        &self.tenant
    }

    /// A new patient is here.
    pub(crate) fn begin_visit(&self) -> Result<Visit, String> {
        let patient = self.create(&json!({
            "resourceType": "Patient", "gender": "female", "birthDate": "1970-01-01", "name": [{ "family": "Interop" }],
        }))?;
        let encounter = self.create(&json!({
            "resourceType": "Encounter",
            "status": "in-progress",
            "class": { "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB" },
            "subject": { "reference": format!("Patient/{patient}") },
            "participant": [{
                "type": [{ "coding": [{
                    "system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "PPRF",
                }] }],
                "individual": { "reference": format!("Practitioner/{}", self.practitioner) },
            }],
            "period": { "start": rfc3339(now_s()) },
        }))?;
        Ok(Visit { patient, encounter })
    }

    /// Files a photo that has to be answered.
    pub(crate) fn attach(&mut self, visit: &Visit, place: Place) -> Result<(), String> {
        let number = self.expected.len() % self.pictures.len();
        let data = || base64(&self.pictures[number]);
        let attachment = match place {
            Place::Url => {
                json!({ "contentType": "image/jpeg", "url": format!("http://{}/{number}.jpg", self.photo_server) })
            }
            Place::Inline => json!({ "contentType": "image/jpeg", "data": data() }),
            Place::Binary => {
                let binary = json!({ "resourceType": "Binary", "contentType": "image/jpeg", "data": data() });
                json!({ "contentType": "image/jpeg", "url": format!("Binary/{}", self.create(&binary)?) })
            }
        };
        let id = self.file(visit, PHOTO, now_s(), &attachment)?;
        self.expected.insert(id, visit.clone());
        Ok(())
    }

    /// Files what must be left alone: a letter of today, and a photo from before the practice was connected.
    pub(crate) fn attach_what_is_none_of_our_business(&self, visit: &Visit) -> Result<(), String> {
        let attachment = json!({ "contentType": "image/jpeg", "data": base64(&self.pictures[0]) });
        self.file(visit, LETTER, now_s(), &attachment)?;
        self.file(visit, PHOTO, now_s() - 24 * 3600, &attachment)?;
        Ok(())
    }

    fn file(&self, visit: &Visit, category: &str, date: u64, attachment: &Value) -> Result<String, String> {
        self.create(&json!({
            "resourceType": "DocumentReference",
            "status": "current",
            "category": [{ "coding": [{ "system": "https://clinic.example/categories", "code": category }] }],
            "subject": { "reference": format!("Patient/{}", visit.patient) },
            "date": rfc3339(date),
            "content": [{ "attachment": attachment }],
            "context": { "encounter": [{ "reference": format!("Encounter/{}", visit.encounter) }] },
        }))
    }

    fn create(&self, resource: &Value) -> Result<String, String> {
        let kind = resource["resourceType"].as_str().unwrap_or_default();
        let reply = self.ask("POST", kind, Some(resource))?;
        let id = reply.json()["id"].as_str().map(str::to_owned);
        id.filter(|_| reply.status() == 201)
            .ok_or_else(|| format!("a {kind} was not taken: {}", reply.told()))
    }

    /// Any request in this chart.
    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Message, String> {
        let request = Message::request(method, &format!("/{}/{path}", self.tenant))
            .with("authorization", &format!("Bearer {}", self.token))
            .with("accept", FHIR);
        let request = match body {
            Some(body) => request.with_json(FHIR, body),
            None => request,
        };
        exchange(self.server, &request)
    }

    /// How many photos have to be answered.
    pub(crate) fn expected(&self) -> usize {
        self.expected.len()
    }

    /// All drafts of ours, of whichever kind.
    pub(crate) fn drafts(&self) -> Result<Vec<Draft>, String> {
        let mut found = Vec::new();
        for kind in ["Composition", "DocumentReference"] {
            let reply = self.ask("GET", &format!("{kind}?_count=1000"), None)?;
            let bundle = reply.json();
            if reply.status() != 200 || bundle["link"].to_string().contains("\"next\"") {
                return Err(format!("not all {kind}s are told: {}", reply.told()));
            }
            for entry in list(&bundle["entry"]) {
                let resource = &entry["resource"];
                if identifiers(resource).any(|identifier| identifier["system"] == DRAFT_SYSTEM) {
                    found.push(Draft {
                        document: document_of(resource).ok_or("a draft that names no document")?,
                        resource: resource.clone(),
                    });
                }
            }
        }
        Ok(found)
    }

    /// How many photos have a draft, and what is wrong with that; nothing but a lack of drafts gets better by waiting.
    pub(crate) fn answered(&self) -> Result<usize, String> {
        let mut answered = BTreeSet::new();
        for draft in self.drafts()? {
            let (kind, document) = (draft.reference(), &draft.document);
            let Some(visit) = self.expected.get(document) else {
                return Err(format!(
                    "{}: {kind} answers {document}, which had to be left alone",
                    self.tenant
                ));
            };
            let context = &draft.resource["context"]["encounter"][0];
            let encounter = [&draft.resource["encounter"], context].map(|place| place["reference"].clone());
            if draft.resource["subject"]["reference"] != format!("Patient/{}", visit.patient)
                || !encounter.contains(&json!(format!("Encounter/{}", visit.encounter)))
            {
                return Err(format!("{}: {kind} is in the wrong chart", self.tenant));
            }
            let status = [&draft.resource["status"], &draft.resource["docStatus"]];
            if !status.contains(&&json!("preliminary")) {
                return Err(format!("{}: {kind} is not preliminary", self.tenant));
            }
            if !answered.insert(draft.document) {
                return Err(format!("{}: a photo has two drafts, one is {kind}", self.tenant));
            }
        }
        Ok(answered.len())
    }

    /// What `$validate` finds wrong with a resource.
    pub(crate) fn validate(&self, resource: &Value) -> Result<Vec<String>, String> {
        let kind = resource["resourceType"].as_str().unwrap_or_default();
        let reply = self.ask("POST", &format!("{kind}/$validate"), Some(resource))?;
        let outcome = reply.json();
        if reply.status() != 200 || outcome["resourceType"] != "OperationOutcome" {
            return Err(format!("$validate does not answer: {}", reply.told()));
        }
        let issues = list(&outcome["issue"]);
        let wrong = issues.filter(|issue| matches!(issue["severity"].as_str(), Some("error" | "fatal")));
        Ok(wrong.map(Value::to_string).collect())
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A Composition has one identifier, a DocumentReference a list of them.
fn identifiers(resource: &Value) -> impl Iterator<Item = &Value> {
    let identifier = &resource["identifier"];
    list(identifier).chain(identifier.is_object().then_some(identifier))
}

fn document_of(draft: &Value) -> Option<String> {
    let image = list(&draft["extension"]).find(|extension| extension["url"] == ASSESSED_IMAGE)?;
    let document = list(&image["extension"]).find(|part| part["url"] == "document")?;
    document["valueString"].as_str().map(str::to_owned)
}

/// Seconds since 1970.
fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// A FHIR instant in UTC, from seconds since 1970. Days to date by Howard Hinnant's `civil_from_days`.
fn rfc3339(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_as_fhir_writes_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }

    #[test]
    fn a_draft_is_known_by_its_identifier_and_names_its_document() {
        let draft = json!({
            "identifier": { "system": DRAFT_SYSTEM },
            "extension": [{ "url": ASSESSED_IMAGE, "extension": [{ "url": "document", "valueString": "a" }] }],
        });
        assert_eq!(document_of(&draft).as_deref(), Some("a"));
        assert_eq!(identifiers(&draft).count(), 1);
        assert_eq!(identifiers(&json!({ "identifier": [{}, {}] })).count(), 2);
    }
}
