//! `POST Composition`.

use skin_assist_simulator::{Placement, Region};

use super::*;

#[test]
fn a_good_one_is_stored_and_belongs_to_its_photo() {
    let practice = Practice::new();
    let (patient, encounter, document) = visit_with_photo(&practice);
    let draft = composition(&practice, &patient, &encounter, &document);
    let response = practice.post(later(120), &draft).into_response().unwrap();
    let base = &practice.credentials.fhir_base;
    assert_eq!(response.headers()["location"], format!("{base}/Composition/700001"));
    let (status, stored) = answer(&response);
    assert_eq!((status, &stored["id"]), (StatusCode::CREATED, &json!("700001")));
    assert_eq!(stored["extension"], draft["extension"], "unknown elements are kept");
    let report = practice.ehr.report();
    let drafts = &report.photos[0].drafts;
    assert_eq!(drafts.len(), 1);
    assert_eq!(drafts[0].reference, "Composition/700001");
    assert_eq!(drafts[0].posted_at, later(120));
    assert_eq!(drafts[0].identifier.as_deref(), Some("alpha-file|139977"));
    assert_eq!(drafts[0].placement, Placement::VisitNote);
    let region = Region {
        x: 0.25,
        y: 0.5,
        width: 0.125,
        height: 0.25,
    };
    assert_eq!(drafts[0].regions, [region]);
    assert_eq!((report.missing().count(), report.duplicates()), (0, 0));
}

#[test]
fn a_double_post_is_not_hidden() {
    let practice = Practice::new();
    let (patient, encounter, document) = visit_with_photo(&practice);
    let draft = composition(&practice, &patient, &encounter, &document);
    practice.post(later(120), &draft);
    practice.post(later(121), &draft);
    let report = practice.ehr.report();
    assert_eq!(report.photos[0].drafts.len(), 2);
    assert_eq!((report.duplicates(), report.compositions), (1, 2));
}

#[test]
fn after_the_visit_it_becomes_a_chart_note() {
    let practice = Practice::new();
    let (patient, encounter, document) = visit_with_photo(&practice);
    let mut draft = composition(&practice, &patient, &encounter, &document);
    practice.ehr.finish_encounter(later(90), "alpha", &encounter).unwrap();
    practice.post(later(120), &draft);
    draft.as_object_mut().unwrap().remove("encounter");
    practice.post(later(121), &draft);
    let report = practice.ehr.report();
    let places: Vec<Placement> = report.photos[0].drafts.iter().map(|draft| draft.placement).collect();
    assert_eq!(places, [Placement::ChartNote, Placement::ChartNote]);
}

#[test]
fn a_draft_that_names_no_photo_is_reported_apart() {
    let practice = Practice::new();
    let (patient, encounter, _) = visit_with_photo(&practice);
    let draft = composition(&practice, &patient, &encounter, "file|1");
    practice.post(later(120), &draft);
    let report = practice.ehr.report();
    assert_eq!(report.unmatched_drafts.len(), 1);
    assert_eq!(report.missing().count(), 1);
}

#[test]
fn what_is_missing_is_named_and_what_is_wrong_is_refused() {
    let practice = Practice::new();
    let (patient, encounter, document) = visit_with_photo(&practice);
    let good = composition(&practice, &patient, &encounter, &document);
    let other = practice.open(later(61));
    let missing = StatusCode::BAD_REQUEST;
    let invalid = StatusCode::UNPROCESSABLE_ENTITY;
    let cases: Vec<(&str, Value, StatusCode)> = vec![
        ("/resourceType", json!("Bundle"), missing),
        ("/status", json!("final"), invalid),
        ("/status", Value::Null, missing),
        ("/type/coding/0/code", json!("11506-3"), invalid),
        ("/type", Value::Null, missing),
        ("/category/0/coding/0/code", json!("LP29684-5"), invalid),
        ("/category", Value::Null, missing),
        ("/subject/reference", json!("Patient/1"), invalid),
        ("/subject", Value::Null, missing),
        ("/encounter/reference", json!("Encounter/1"), invalid),
        ("/encounter/reference", json!(format!("Encounter/{other}")), invalid),
        ("/date", json!("today"), invalid),
        ("/date", Value::Null, missing),
        ("/author/0/reference", json!("Device/1"), invalid),
        ("/author", json!([]), missing),
        ("/title", Value::Null, missing),
        ("/section/1", Value::Null, missing),
        ("/section/0/code/text", Value::Null, missing),
        ("/section/0/code/text", json!("  "), invalid),
    ];
    for (pointer, value, expected) in cases {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        let (status, reply) = answer(&practice.post(later(120), &bad).into_response().unwrap());
        assert_eq!(status, expected, "{pointer}: {reply}");
        assert_eq!(reply["resourceType"], "OperationOutcome");
    }
    let odd = practice.request("POST", "Composition", Bytes::from_static(b"[1"));
    let response = practice.ehr.handle(later(120), Host::Api, &odd).into_response();
    assert_eq!(response.unwrap().status(), StatusCode::BAD_REQUEST);
    assert_eq!(practice.ehr.report().compositions, 0);
    assert_eq!(practice.ehr.report().calls.draft, 20);
}

#[test]
fn text_belongs_in_the_sections_code() {
    let practice = Practice::new();
    let (patient, encounter, document) = visit_with_photo(&practice);
    let mut draft = composition(&practice, &patient, &encounter, &document);
    let section = draft.pointer_mut("/section/0").unwrap();
    section["code"].as_object_mut().unwrap().remove("text");
    section["text"] = json!({ "status": "generated", "div": "<div>lost</div>" });
    let response = practice.post(later(120), &draft).into_response().unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

#[test]
fn odd_metadata_does_no_harm() {
    let practice = Practice::new();
    let (patient, encounter, document) = visit_with_photo(&practice);
    let mut draft = composition(&practice, &patient, &encounter, &document);
    draft["meta"] = json!("odd");
    draft["id"] = json!(["odd"]);
    let response = practice.post(later(120), &draft).into_response().unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
}
