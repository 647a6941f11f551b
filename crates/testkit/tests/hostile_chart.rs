//! The red team's texts in every place of a chart that is read for a patient's context: file names, reasons, histories, medications,
//! earlier results. What comes through are this software's own words, and of the photo's and the visit's text known words alone.

#![allow(clippy::unwrap_used, reason = "a test ends when something is not as it should be")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::executor::block_on;
use http::{Request, Response};
use serde_json::{Value, json};
use skin_assist_core::{
    domain::{
        AccessToken, DocumentId, EncounterId, Firm, FirmId, FirmStatus, Mode, PatientFacts, PatientId, PriorResult,
    },
    phi::Secret,
    ports::{ContextPart, ContextSubject, PatientContext as _},
    time::Timestamp,
};
use skin_assist_ehr::{EhrClient, EhrConnection, Limits, Profile};
use skin_assist_testkit::redteam::{CANARY, RedTeam, attacks};
use skin_assist_transport::{Transport, TransportError};

/// A chart in which this text stands wherever somebody may write.
struct Chart {
    text: String,
}

impl Chart {
    fn resource(&self, kind: &str) -> Value {
        let text = &self.text;
        let subject = json!({ "reference": "Patient/7" });
        let concept = |system: &str, code: &str| json!({ "text": text, "coding": [{ "system": system, "code": code, "display": text }] });
        let snomed = "http://snomed.info/sct";
        match kind {
            "DocumentReference" => json!({ "resourceType": kind, "id": "file|7",
                "content": [{ "attachment": { "title": format!("left forearm {text}") } }] }),
            "Encounter" => json!({ "resourceType": kind, "id": "e|1", "subject": subject,
                "reasonCode": [{ "text": text, "coding": [{ "display": text }] }] }),
            "Condition" => json!({ "resourceType": kind, "subject": subject,
                "code": concept("http://hl7.org/fhir/sid/icd-10-cm", "Z85.820") }),
            "MedicationStatement" => json!({ "resourceType": kind, "subject": subject,
                "medicationCodeableConcept": { "text": format!("hydrochlorothiazide 25 mg, {text}") } }),
            _ => {
                json!({ "resourceType": "Observation", "subject": subject, "status": "final", "note": [{ "text": text }],
                "valueCodeableConcept": concept(snomed, "400096001"), "bodySite": concept(snomed, "14975008") })
            }
        }
    }
}

#[async_trait]
impl Transport for Chart {
    async fn send(&self, request: Request<Bytes>, _limit_bytes: usize) -> Result<Response<Bytes>, TransportError> {
        let path = request.uri().path().rsplit("/v2/").next().unwrap_or_default();
        let body = match path.split_once('/') {
            Some((kind, _)) => self.resource(kind),
            None => json!({ "resourceType": "Bundle", "entry": [{ "resource": self.resource(path) }] }),
        };
        Ok(Response::new(Bytes::from(body.to_string())))
    }
}

/// All that is read of such a patient.
fn read(text: &str) -> PatientFacts {
    let chart = Arc::new(Chart { text: text.to_owned() });
    let connection = EhrConnection {
        profile: Profile::shipped("modmed-ema").unwrap(),
        base_url: "https://ehr.example/base/".parse().unwrap(),
        token_url: Some("https://login.example/token".parse().unwrap()),
        api_key: Secret::new("the-api-key".into()),
        further_api_keys: BTreeMap::new(),
        photo_hosts: vec![],
        allow_loopback_http: false,
        limits: Limits::default(),
    };
    let client = EhrClient::new(connection, Arc::clone(&chart) as _, chart).unwrap();
    let now = Timestamp::from_millis(1_767_600_000_000);
    let firm = Firm {
        id: FirmId::new("derm"),
        url_prefix: "derm-a".into(),
        status: FirmStatus::Active,
        mode: Mode::Draft,
        intended_use: None,
        categories: BTreeMap::new(),
        api_key: None,
        connected_at: now,
        photos_since: now,
    };
    let token = AccessToken {
        secret: Secret::new("the-token".into()),
        issued_at: now,
        expires_at: now,
    };
    let subject = ContextSubject {
        patient: &PatientId::new("7"),
        encounter: &EncounterId::new("e|1"),
        document: &DocumentId::new("file|7"),
    };
    let parts = [
        ContextPart::Document,
        ContextPart::Visit,
        ContextPart::Problems,
        ContextPart::MedicationStatements,
        ContextPart::PriorResults,
    ];
    parts.into_iter().fold(PatientFacts::default(), |facts, part| {
        let read = block_on(client.read_context(&firm, &token, &subject, part));
        facts.with(read.unwrap().into_exposed())
    })
}

/// "Left" and "right" are known words, also in a result that says something is left out.
fn without_sides(facts: &PatientFacts) -> Vec<PriorResult> {
    let results = facts.prior_results.clone().unwrap();
    let without_side = |result| PriorResult {
        laterality: None,
        ..result
    };
    results.into_iter().map(without_side).collect()
}

#[test]
fn no_text_of_a_chart_is_more_than_known_words() {
    let team = RedTeam::new();
    let mut texts: BTreeSet<String> = attacks().into_iter().map(|attack| attack.chart_text).collect();
    texts.insert(CANARY.join(" "));
    assert!(texts.len() > 100, "{} texts", texts.len());
    let harmless = read("");
    for text in &texts {
        let facts = read(text);
        // The chart's words change nothing but the text that is told apart, and a site that they name.
        assert_eq!(facts.history, harmless.history, "{text}");
        assert_eq!(facts.medications.as_ref().unwrap().len(), 1, "{text}");
        assert_eq!(without_sides(&facts), without_sides(&harmless), "{text}");
        assert_eq!(facts.site, harmless.site, "{text}");
        let prompt = team.prompt(facts);
        assert!(prompt.contains("left forearm"), "it is the prompt");
        if text.contains(' ') {
            assert!(!prompt.contains(text.as_str()), "{text}");
        }
        for canary in CANARY {
            assert!(!prompt.contains(canary), "{canary}");
        }
        assert_eq!(prompt.matches("<<<").count(), prompt.matches(">>>").count(), "{text}");
    }
}
