//! Drafts where an EHR takes more than a transcription.

use skin_assist_simulator::{AuthorRule, DraftTarget, ResultSpec, Review};

use super::*;

const SYSTEM: &str = "https://skin-assist.example/fhir/draft";

/// A Composition as a general server takes it, without author.
fn plain_composition(patient: &str, encounter: &str, document: &str) -> Value {
    json!({
        "resourceType": "Composition",
        "identifier": { "system": SYSTEM, "value": format!("alpha-{document}") },
        "extension": [{
            "url": "https://skin-assist.example/fhir/StructureDefinition/assessed-image",
            "extension": [{ "url": "document", "valueString": document }],
        }],
        "status": "preliminary",
        "type": { "coding": [{ "system": "http://loinc.org", "code": "11488-4" }] },
        "subject": { "reference": format!("Patient/{patient}") },
        "encounter": { "reference": format!("Encounter/{encounter}") },
        "date": "2026-01-05T09:00:00Z",
        "title": "Skin image assessment",
        "section": [{ "title": "Plan", "text": {
            "status": "generated",
            "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">One</div>",
        } }],
    })
}

#[test]
fn a_note_is_reported_as_a_draft_and_listed_as_a_document() {
    let practice = Practice::speaking(Dialect::uscore_r4());
    let (patient, encounter, document) = visit_with_photo(&practice);
    let posted = practice.create(later(120), &note(&patient, &encounter, &document), None);
    assert_eq!(posted.status(), StatusCode::CREATED);
    let base = &practice.credentials.fhir_base;
    assert_eq!(
        posted.headers()["location"],
        format!("{base}/DocumentReference/note%7C1")
    );
    let report = practice.ehr.report();
    assert_eq!(
        (report.photos.len(), report.other_documents.len(), report.compositions),
        (1, 0, 1)
    );
    let drafts = &report.photos[0].drafts;
    assert_eq!(
        (drafts.len(), drafts[0].reference.as_str()),
        (1, "DocumentReference/note|1")
    );
    assert_eq!(drafts[0].identifier.as_deref(), Some("alpha-file|139977"));
    let all = practice.read(later(130), &format!("DocumentReference?patient={patient}"));
    assert_eq!(ids(&all), [document.as_str(), "note|1"]);
    let query = format!("DocumentReference?patient={patient}&identifier={SYSTEM}%7Calpha-file%7C139977");
    assert_eq!(ids(&practice.read(later(130), &query)), ["note|1"]);
    let read = practice.read(later(130), "DocumentReference/note%7C1");
    assert!(read["content"][0]["attachment"]["data"].is_string());
    let request = Request::get("/chart/alpha/5001").body(Bytes::new()).unwrap();
    let chart = practice
        .ehr
        .handle(later(131), Host::Api, &request)
        .into_response()
        .unwrap();
    let chart = String::from_utf8(chart.body().to_vec()).unwrap();
    assert!(
        chart.contains("&lt;b&gt;one&lt;/b&gt;"),
        "a note's text is shown, escaped"
    );
}

#[test]
fn a_note_is_checked() {
    let practice = Practice::speaking(Dialect::uscore_r4());
    let (patient, encounter, document) = visit_with_photo(&practice);
    let good = note(&patient, &encounter, &document);
    let bad: Vec<(&str, Value)> = vec![
        ("/status", json!("superseded")),
        ("/docStatus", json!("final")),
        ("/docStatus", Value::Null),
        ("/type/coding/0/system", json!("http://example.org")),
        ("/subject/reference", json!("Patient/1")),
        ("/context/encounter", json!([])),
        ("/context/encounter/0/reference", json!("Encounter/1")),
        ("/content/0/attachment/contentType", json!("application/pdf")),
        ("/content/0/attachment/data", json!("not base64!")),
        ("/content/0/attachment/data", Value::Null),
        ("/author/0/reference", json!("Patient/30001")),
        ("/author", json!([])),
    ];
    for (pointer, value) in bad {
        let mut resource = good.clone();
        *resource.pointer_mut(pointer).unwrap() = value;
        let response = practice.create(later(120), &resource, None);
        assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY, "{pointer}");
    }
    for media_type in ["text/html; charset=utf-8", "application/xhtml+xml"] {
        let mut resource = good.clone();
        resource["content"][0]["attachment"]["contentType"] = json!(media_type);
        assert_eq!(
            practice.create(later(120), &resource, None).status(),
            StatusCode::CREATED
        );
    }
}

#[test]
fn authors_are_as_the_dialect_has_them() {
    let mut dialect = Dialect::fhir_r4();
    let attempt = |rule: AuthorRule, author: Value, dialect: &mut Dialect| {
        dialect.drafts.author = rule;
        let practice = Practice::speaking(dialect.clone());
        let (patient, encounter, document) = visit_with_photo(&practice);
        let mut draft = plain_composition(&patient, &encounter, &document);
        draft["contained"] = json!([{ "resourceType": "Device", "id": "skin-assist" }]);
        draft["author"] = author;
        practice.create(later(120), &draft, None).status()
    };
    let by = |reference: &str| json!([{ "reference": reference }]);
    let forced = AuthorRule::Practitioner;
    let either = AuthorRule::PractitionerOrDevice;
    for (rule, author, expected) in [
        (forced, by("Practitioner/201"), StatusCode::CREATED),
        (forced, by("#skin-assist"), StatusCode::UNPROCESSABLE_ENTITY),
        (either, by("#skin-assist"), StatusCode::CREATED),
        (either, by("Device/7"), StatusCode::CREATED),
        (either, by("#nobody"), StatusCode::UNPROCESSABLE_ENTITY),
        (either, json!([]), StatusCode::BAD_REQUEST),
        (AuthorRule::Optional, json!([]), StatusCode::CREATED),
        (
            AuthorRule::Optional,
            by("Practitioner/1"),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
    ] {
        assert_eq!(
            attempt(rule, author.clone(), &mut dialect),
            expected,
            "{rule:?} {author}"
        );
    }
}

#[test]
fn a_composition_can_be_found_again() {
    let practice = Practice::speaking(Dialect::fhir_r4());
    let (patient, encounter, document) = visit_with_photo(&practice);
    let draft = plain_composition(&patient, &encounter, &document);
    let find = |value: &str| practice.read(later(130), &format!("Composition?identifier={SYSTEM}%7C{value}"));
    assert_eq!(ids(&find("alpha-file%7C139977")), [""; 0]);
    practice.create(later(120), &draft, None);
    assert_eq!(ids(&find("alpha-file%7C139977")), ["700001"]);
    assert_eq!(ids(&find("another")), [""; 0]);
    let read = practice.read(later(130), "Composition/700001");
    assert_eq!(read["identifier"], draft["identifier"]);
    assert_eq!(read["meta"]["lastUpdated"], later(120).to_string());
    let mut empty = draft;
    empty["section"] = json!([]);
    assert_eq!(
        practice.create(later(121), &empty, None).status(),
        StatusCode::BAD_REQUEST
    );
}

#[test]
fn a_conditional_create_makes_one_and_finds_it_afterwards() {
    let practice = Practice::speaking(Dialect::fhir_r4());
    let (patient, encounter, document) = visit_with_photo(&practice);
    for draft in [
        plain_composition(&patient, &encounter, &document),
        note(&patient, &encounter, &document),
    ] {
        let condition = format!("identifier={SYSTEM}%7Calpha-file%7C139977");
        let post = |condition: Option<&str>| {
            let header = condition.map(|condition| ("if-none-exist", condition));
            practice.create(later(120), &draft, header)
        };
        assert_eq!(post(Some(&condition)).status(), StatusCode::CREATED);
        let again = post(Some(&condition));
        assert_eq!(again.status(), StatusCode::OK);
        assert_eq!(answer(&again).1["resourceType"], draft["resourceType"]);
        assert_eq!(post(None).status(), StatusCode::CREATED);
        assert_eq!(post(Some(&condition)).status(), StatusCode::PRECONDITION_FAILED);
    }
    assert_eq!(practice.ehr.report().compositions, 4);
    let heedless = Practice::speaking(Dialect::uscore_r4());
    let (patient, encounter, document) = visit_with_photo(&heedless);
    let draft = note(&patient, &encounter, &document);
    for _ in 0..2 {
        let condition = format!("identifier={SYSTEM}%7Calpha-file%7C139977");
        let posted = heedless.create(later(120), &draft, Some(("if-none-exist", &condition)));
        assert_eq!(posted.status(), StatusCode::CREATED, "the header is ignored in silence");
    }
}

#[test]
fn an_ehr_may_take_no_draft_or_final_ones_only() {
    let mut dialect = Dialect::fhir_r4();
    dialect.drafts.targets.clear();
    let practice = Practice::speaking(dialect.clone());
    let (patient, encounter, document) = visit_with_photo(&practice);
    let draft = plain_composition(&patient, &encounter, &document);
    assert_eq!(
        practice.create(later(120), &draft, None).status(),
        StatusCode::NOT_FOUND
    );
    let clinical = note(&patient, &encounter, &document);
    let refused = practice.create(later(120), &clinical, None);
    assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
    dialect.drafts.targets = vec![DraftTarget::Composition];
    dialect.drafts.statuses = vec!["final"];
    let practice = Practice::speaking(dialect);
    visit_with_photo(&practice);
    let refused = practice.create(later(120), &draft, None);
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let mut signed = draft;
    signed["status"] = json!("final");
    assert_eq!(practice.create(later(120), &signed, None).status(), StatusCode::CREATED);
}

#[test]
fn a_draft_is_changed_in_the_version_that_is_named_and_in_no_other() {
    let practice = Practice::speaking(Dialect::fhir_r4());
    let (patient, encounter, document) = visit_with_photo(&practice);
    let draft = plain_composition(&patient, &encounter, &document);
    let created = practice.create(later(120), &draft, None);
    assert_eq!(created.headers()["etag"], "W/\"1\"");
    let mut read = practice.read(later(121), "Composition/700001");
    read["title"] = json!("Changed");
    let put = |version: Option<&str>, resource: &Value| {
        let mut request = practice.request("PUT", "Composition/700001", Bytes::from(resource.to_string()));
        if let Some(version) = version {
            request.headers_mut().insert("if-match", version.parse().unwrap());
        }
        practice
            .ehr
            .handle(later(130), Host::Api, &request)
            .into_response()
            .unwrap()
    };
    assert_eq!(put(None, &read).status(), StatusCode::BAD_REQUEST);
    assert_eq!(put(Some("W/\"2\""), &read).status(), StatusCode::PRECONDITION_FAILED);
    let mut other = read.clone();
    other["id"] = json!("700002");
    assert_eq!(put(Some("W/\"1\""), &other).status(), StatusCode::BAD_REQUEST);
    let mut invalid = read.clone();
    invalid["status"] = json!("draft");
    assert!(put(Some("W/\"1\""), &invalid).status().is_client_error());
    let changed = put(Some("W/\"1\""), &read);
    assert_eq!(
        (changed.status(), &changed.headers()["etag"]),
        (StatusCode::OK, &"W/\"2\"".parse().unwrap())
    );
    assert_eq!(
        put(Some("W/\"1\""), &read).status(),
        StatusCode::PRECONDITION_FAILED,
        "once"
    );
    let stored = practice.read(later(140), "Composition/700001");
    assert_eq!(
        (&stored["title"], &stored["meta"]["versionId"]),
        (&json!("Changed"), &json!("2"))
    );
    // A clinician's review makes a version of its own.
    for (review, element, value) in [
        (Review::Edit, "title", json!("Edited by the clinician")),
        (Review::Sign, "status", json!("final")),
    ] {
        assert!(
            practice
                .ehr
                .review_draft(later(150), "alpha", "Composition/700001", review)
        );
        assert_eq!(
            practice.ehr.draft("alpha", "Composition/700001").unwrap()[element],
            value
        );
    }
    assert_eq!(put(Some("W/\"2\""), &read).status(), StatusCode::PRECONDITION_FAILED);
    assert!(
        practice
            .ehr
            .review_draft(later(160), "alpha", "Composition/700001", Review::Remove)
    );
    assert_eq!(put(Some("W/\"4\""), &read).status(), StatusCode::NOT_FOUND);
    assert_eq!(practice.ehr.report().compositions, 0);
    // Where drafts cannot be changed there is no such call.
    let practice = Practice::new();
    let request = practice.request("PUT", "Composition/700001", Bytes::from(read.to_string()));
    let refused = practice.ehr.handle(later(130), Host::Api, &request).into_response();
    assert!(refused.unwrap().status().is_client_error());
}

#[test]
fn earlier_results_are_the_patients_and_of_the_laboratory() {
    let practice = Practice::speaking(Dialect::fhir_r4());
    for (patient, finding) in [("30001", "372244006"), ("30002", "400096001")] {
        let result = ResultSpec {
            patient: patient.to_owned(),
            finding: finding.to_owned(),
            site: "14975008".to_owned(),
            text: "Final diagnosis.".to_owned(),
        };
        practice.ehr.file_result(later(60), "alpha", result).unwrap();
    }
    let found = practice.read(later(61), "Observation?patient=30001&category=laboratory&_count=100");
    assert_eq!(ids(&found), ["result-1"]);
    let result = &found["entry"][0]["resource"];
    assert_eq!(result["valueCodeableConcept"]["coding"][0]["code"], "372244006");
    assert_eq!(result["subject"]["reference"], "Patient/30001");
    let none = practice.read(later(61), "Observation?patient=30001&category=vital-signs");
    assert!(ids(&none).is_empty());
    assert_eq!(practice.get(later(61), "Observation").0, StatusCode::BAD_REQUEST);
    let without = Practice::new();
    assert_eq!(
        without.get(later(61), "Observation?patient=30001").0,
        StatusCode::NOT_FOUND
    );
}
