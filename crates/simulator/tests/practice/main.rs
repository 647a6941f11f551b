//! The practice EHR, asked the way a client asks it: requests and the time in, outcomes out.

#![allow(
    clippy::unwrap_used,
    reason = "this is all test; a helper may fail the test it helps"
)]

mod access;
mod chart;
mod composition;
mod dialects;
mod documents;
mod drafts;
mod encounters;
mod events;
mod faults;
mod quirks;
mod script;
mod spoilt;
mod tokens;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use skin_assist_core::time::Timestamp;
use skin_assist_simulator::{
    ClientAuthentication, Credentials, Dialect, EncounterSpec, EncounterStatus, FirmSpec, Host, Options, Outcome,
    PhotoSpec, PracticeEhr, picture::Condition,
};
use url::Url;

/// A morning in January, Eastern.
fn morning() -> Timestamp {
    Timestamp::parse_rfc3339("2026-01-05T09:00:00-05:00").unwrap()
}

fn later(seconds: u64) -> Timestamp {
    morning() + Duration::from_secs(seconds)
}

/// One firm, a token, and shorthand for calls.
struct Practice {
    ehr: PracticeEhr,
    credentials: Credentials,
    token: String,
}

impl Practice {
    fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        let ehr = PracticeEhr::new(options);
        let credentials = ehr.add_firm(FirmSpec::new("alpha")).unwrap();
        let token = token(&ehr, morning(), &credentials).unwrap();
        Self {
            ehr,
            credentials,
            token,
        }
    }

    /// A practice whose EHR speaks this dialect.
    fn speaking(dialect: Dialect) -> Self {
        Self::with(Options {
            dialect,
            ..Options::default()
        })
    }

    /// An authorised request on the FHIR base.
    fn request(&self, method: &str, path: &str, body: Bytes) -> Request<Bytes> {
        let uri = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("{}/{path}", self.credentials.fhir_base)
        };
        Request::builder()
            .method(method)
            .uri(uri)
            .header("authorization", format!("Bearer {}", self.token))
            .header("x-api-key", &self.credentials.api_key)
            .header("content-type", "application/fhir+json")
            .body(body)
            .unwrap()
    }

    fn get(&self, now: Timestamp, path: &str) -> (StatusCode, Value) {
        let request = self.request("GET", path, Bytes::new());
        answer(&self.ehr.handle(now, Host::Api, &request).into_response().unwrap())
    }

    fn post(&self, now: Timestamp, composition: &Value) -> Outcome {
        let body = Bytes::from(composition.to_string());
        let request = self.request("POST", "Composition", body);
        self.ehr.handle(now, Host::Api, &request)
    }

    /// A good reply's body.
    fn read(&self, now: Timestamp, path: &str) -> Value {
        let (status, body) = self.get(now, path);
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    /// Posts a resource where its type says, with one more header if there is one to add.
    fn create(&self, now: Timestamp, resource: &Value, header: Option<(&str, &str)>) -> Response<Bytes> {
        let path = resource["resourceType"].as_str().unwrap();
        let mut request = self.request("POST", path, Bytes::from(resource.to_string()));
        if let Some((name, value)) = header {
            let name = http::HeaderName::try_from(name).unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        self.ehr.handle(now, Host::Api, &request).into_response().unwrap()
    }

    fn open(&self, now: Timestamp) -> String {
        let firm = &self.credentials.firm;
        self.ehr.open_encounter(now, firm, EncounterSpec::default()).unwrap()
    }

    fn attach(&self, now: Timestamp, encounter: &str) -> String {
        let photo = PhotoSpec::synthetic("PHOTO-LESION", 7, Some(Condition::Melanoma));
        self.ehr
            .attach_photo(now, &self.credentials.firm, encounter, photo)
            .unwrap()
    }

    /// The pre-signed URL of a document.
    fn photo_url(&self, now: Timestamp, document: &str) -> String {
        let (status, resource) = self.get(now, &format!("DocumentReference/{document}"));
        assert_eq!(status, StatusCode::OK);
        resource["content"][0]["attachment"]["url"].as_str().unwrap().to_owned()
    }

    fn fetch(&self, now: Timestamp, url: &str) -> Response<Bytes> {
        let host = self.ehr.host_of(&Url::parse(url).unwrap());
        assert_eq!(host, Some(Host::Photos));
        let request = Request::get(url).body(Bytes::new()).unwrap();
        self.ehr.handle(now, Host::Photos, &request).into_response().unwrap()
    }
}

fn answer(response: &Response<Bytes>) -> (StatusCode, Value) {
    (response.status(), serde_json::from_slice(response.body()).unwrap())
}

/// The ids on a page.
fn ids(bundle: &Value) -> Vec<&str> {
    bundle["entry"].as_array().map_or_else(Vec::new, |entries| {
        entries
            .iter()
            .map(|entry| entry["resource"]["id"].as_str().unwrap())
            .collect()
    })
}

/// Where a page's `next` link leads.
fn next(bundle: &Value) -> Option<&str> {
    bundle["link"]
        .as_array()?
        .iter()
        .find(|link| link["relation"] == "next")?["url"]
        .as_str()
}

fn token_response(ehr: &PracticeEhr, now: Timestamp, form: &[(&str, &str)]) -> (StatusCode, Value) {
    token_response_with(ehr, now, form, None)
}

/// As above, with id and secret in the header.
fn token_response_with(
    ehr: &PracticeEhr,
    now: Timestamp,
    form: &[(&str, &str)],
    basic: Option<(&str, &str)>,
) -> (StatusCode, Value) {
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let mut request = Request::post("/realms/ema/protocol/openid-connect/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Bytes::from(body))
        .unwrap();
    if let Some((id, secret)) = basic {
        let encoded = STANDARD.encode(format!("{id}:{secret}"));
        let value = format!("Basic {encoded}").parse().unwrap();
        request.headers_mut().insert("authorization", value);
    }
    answer(&ehr.handle(now, Host::Token, &request).into_response().unwrap())
}

fn token(ehr: &PracticeEhr, now: Timestamp, credentials: &Credentials) -> Option<String> {
    let accepted = ehr.dialect().token.authentications;
    if !accepted.contains(&ClientAuthentication::SecretPost) {
        let basic = (credentials.client_id.as_str(), credentials.client_secret.as_str());
        let (_, reply) = token_response_with(ehr, now, &[("grant_type", "client_credentials")], Some(basic));
        return reply["access_token"].as_str().map(str::to_owned);
    }
    let (_, reply) = token_response(
        ehr,
        now,
        &[
            ("grant_type", "client_credentials"),
            ("client_id", &credentials.client_id),
            ("client_secret", &credentials.client_secret),
        ],
    );
    reply["access_token"].as_str().map(str::to_owned)
}

/// A Composition that the EHR takes.
fn composition(practice: &Practice, patient: &str, encounter: &str, document: &str) -> Value {
    let base = &practice.credentials.fhir_base;
    let section = |code: &str, text: &str| {
        json!({
            "code": { "coding": [{ "system": "http://loinc.org", "code": code }], "text": text },
        })
    };
    json!({
        "resourceType": "Composition",
        "meta": { "security": [{
            "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
            "code": "AIAST",
        }] },
        "identifier": {
            "system": "https://skin-assist.example/fhir/draft",
            "value": format!("alpha-{document}"),
        },
        "extension": [{
            "url": "https://skin-assist.example/fhir/StructureDefinition/assessed-image",
            "extension": [
                { "url": "document", "valueString": document },
                { "url": "region", "extension": [
                    { "url": "x", "valueDecimal": 0.25 },
                    { "url": "y", "valueDecimal": 0.5 },
                    { "url": "width", "valueDecimal": 0.125 },
                    { "url": "height", "valueDecimal": 0.25 },
                ] },
            ],
        }],
        "status": "preliminary",
        "type": { "coding": [{ "system": "http://loinc.org", "code": "11488-4" }] },
        "category": [{ "coding": [{ "system": "http://loinc.org", "code": "LP173421-1" }] }],
        "subject": { "reference": format!("{base}/Patient/{patient}") },
        "encounter": { "reference": format!("{base}/Encounter/{encounter}") },
        "date": "2026-01-05T09:00:00Z",
        "author": [{ "reference": format!("{base}/Practitioner/201") }],
        "title": "Skin image assessment",
        "section": [
            section("18776-5", "AI-generated draft, not reviewed by a clinician.\n\nFindings:\n- <b>one</b>"),
            section("69730-0", "Please review before signing."),
        ],
    })
}

/// A clinical note that the EHR takes.
fn note(patient: &str, encounter: &str, document: &str) -> Value {
    json!({
        "resourceType": "DocumentReference",
        "identifier": [{
            "system": "https://skin-assist.example/fhir/draft",
            "value": format!("alpha-{document}"),
        }],
        "extension": [{
            "url": "https://skin-assist.example/fhir/StructureDefinition/assessed-image",
            "extension": [{ "url": "document", "valueString": document }],
        }],
        "status": "current",
        "docStatus": "preliminary",
        "type": { "coding": [{ "system": "http://loinc.org", "code": "11488-4" }] },
        "subject": { "reference": format!("Patient/{patient}") },
        "author": [{ "reference": "Practitioner/201" }],
        "context": { "encounter": [{ "reference": format!("Encounter/{encounter}") }] },
        "content": [{ "attachment": {
            "contentType": "text/plain",
            "data": STANDARD.encode("AI-generated draft, not reviewed by a clinician.\n\n<b>one</b>"),
        } }],
    })
}

/// A visit with one photo: patient, encounter, document.
fn visit_with_photo(practice: &Practice) -> (String, String, String) {
    let encounter = practice.open(morning());
    let document = practice.attach(later(60), &encounter);
    ("30001".to_owned(), encounter, document)
}
