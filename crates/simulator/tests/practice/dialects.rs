//! What dialects other than the first one offer.

use skin_assist_simulator::{AttachmentForm, DocumentScope, PageLinks, QuotaWindow, ReferenceForm};

use super::*;

#[test]
fn a_general_server_needs_no_key_and_tells_its_capabilities_to_anybody() {
    let practice = Practice::speaking(Dialect::fhir_r4());
    assert!(practice.credentials.fhir_base.ends_with("/alpha/fhir"));
    let mut request = practice.request("GET", "Encounter", Bytes::new());
    request.headers_mut().remove("x-api-key");
    let answered = |request: &Request<Bytes>| {
        let outcome = practice.ehr.handle(morning(), Host::Api, request);
        outcome.into_response().unwrap().status()
    };
    assert_eq!(answered(&request), StatusCode::OK);
    request.headers_mut().remove("authorization");
    assert_eq!(answered(&request), StatusCode::UNAUTHORIZED);
    *request.uri_mut() = format!("{}/metadata", practice.credentials.fhir_base).parse().unwrap();
    assert_eq!(answered(&request), StatusCode::OK);
}

#[test]
fn the_quota_holds_without_a_key_and_not_for_what_is_open() {
    let practice = Practice::with(Options {
        quota_per_minute: 1,
        dialect: Dialect::fhir_r4(),
        ..Options::default()
    });
    assert_eq!(practice.get(morning(), "Encounter").0, StatusCode::OK);
    assert_eq!(practice.get(morning(), "Encounter").0, StatusCode::TOO_MANY_REQUESTS);
    practice.read(morning(), "metadata");
    practice.read(morning(), ".well-known/smart-configuration");
    let report = practice.ehr.report();
    assert_eq!((report.calls.context, report.refused_429), (2, 1));
}

#[test]
fn metadata_states_the_dialect() {
    let resources = |practice: &Practice| {
        let statement = practice.read(morning(), "metadata");
        let resources = statement["rest"][0]["resource"].as_array().unwrap().clone();
        let find = move |name: &str| resources.iter().find(|resource| resource["type"] == name).cloned();
        (statement, find)
    };
    let practice = Practice::speaking(Dialect::fhir_r4());
    let (statement, find) = resources(&practice);
    assert_eq!(statement["rest"][0]["interaction"][0]["code"], "batch");
    let composition = find("Composition").unwrap();
    assert_eq!(composition["conditionalCreate"], true);
    let names = |resource: &Value| -> Vec<String> {
        let parameters = resource["searchParam"].as_array().unwrap().iter();
        parameters
            .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert!(names(&find("DocumentReference").unwrap()).contains(&"_lastUpdated".to_owned()));
    let (_, find) = resources(&Practice::speaking(Dialect::uscore_r4()));
    assert!(find("Composition").is_none());
    let documents = find("DocumentReference").unwrap();
    assert_eq!(documents["interaction"][2]["code"], "create");
    assert!(!names(&documents).contains(&"_lastUpdated".to_owned()));
    practice
        .ehr
        .set_quirks(|quirks| quirks.claimed = Some(Dialect::modmed_ema()));
    let (_, find) = resources(&practice);
    assert_eq!(find("Composition").unwrap()["conditionalCreate"], false, "a lie");
}

#[test]
fn encounters_are_searched_by_instant_sorted_and_read() {
    let practice = Practice::speaking(Dialect::fhir_r4());
    for second in 0..3 {
        practice.open(later(second));
    }
    practice.ehr.touch_encounter(later(10), "alpha", "5001").unwrap();
    let search = |query: &str| practice.read(later(20), &format!("Encounter?{query}"));
    assert_eq!(ids(&search("_sort=_lastUpdated")), ["5002", "5003", "5001"]);
    assert_eq!(ids(&search("_sort=-date")), ["5003", "5002", "5001"]);
    let since = format!("_lastUpdated=ge{}&_lastUpdated=lt{}", later(2), later(10));
    assert_eq!(ids(&search(&since)), ["5003"]);
    assert_eq!(ids(&search("_id=5001,5003")), ["5001", "5003"]);
    assert_eq!(ids(&search("status=finished,cancelled")), [""; 0]);
    let page = search("_count=2");
    assert_eq!((page["total"].as_u64(), ids(&page).len()), (Some(3), 2));
    let last = practice.read(later(20), next(&page).unwrap());
    assert_eq!((ids(&last), next(&last)), (vec!["5003"], None));
    let encounter = practice.read(later(20), "Encounter/5001");
    assert_eq!(encounter["meta"]["versionId"], "2");
    assert_eq!(encounter["subject"]["reference"], "Patient/30001");
}

#[test]
fn documents_are_searched_by_lists_of_encounters_and_system_wide() {
    let practice = Practice::speaking(Dialect::fhir_r4());
    let first = practice.open(morning());
    let second = practice.open(morning());
    let third = practice.open(morning());
    let photos: Vec<String> = [&first, &second, &third]
        .iter()
        .zip([60, 70, 80])
        .map(|(encounter, second)| practice.attach(later(second), encounter))
        .collect();
    let search = |query: &str| practice.read(later(100), &format!("DocumentReference?{query}"));
    assert_eq!(ids(&search(&format!("encounter={first},{second}"))), photos[..2]);
    assert_eq!(
        ids(&search(&format!("encounter=Encounter/{first},Encounter/{third}"))).len(),
        2
    );
    let base = &practice.credentials.fhir_base;
    assert_eq!(
        ids(&search(&format!("encounter={base}/Encounter/{third},{first}"))).len(),
        2
    );
    let since = format!("_lastUpdated=gt{}&_sort=-_lastUpdated", later(60));
    assert_eq!(ids(&search(&since)), [photos[2].as_str(), &photos[1]]);
    assert_eq!(ids(&search("status=current&_count=1000")).len(), 3);
    assert_eq!(practice.ehr.report().photos[2].first_listed_at, Some(later(100)));
}

#[test]
fn a_scope_is_demanded_where_the_dialect_does() {
    let practice = Practice::speaking(Dialect::uscore_r4());
    let (patient, encounter, document) = visit_with_photo(&practice);
    let search = |practice: &Practice, query: &str| practice.get(later(70), &format!("DocumentReference?{query}"));
    assert_eq!(
        search(&practice, &format!("encounter={encounter}")).0,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        search(&practice, "_lastUpdated=gt2026-01-01").0,
        StatusCode::BAD_REQUEST
    );
    let (_, bundle) = search(&practice, &format!("patient={patient}&encounter={encounter}"));
    assert_eq!(ids(&bundle), [document.as_str()]);
    assert!(bundle.get("total").is_none());
    assert_eq!(practice.get(later(70), "Composition").0, StatusCode::NOT_FOUND);
    let mut looser = Dialect::uscore_r4();
    looser.documents.scope = DocumentScope::PatientOrEncounter;
    let practice = Practice::speaking(looser);
    let (_, encounter, document) = visit_with_photo(&practice);
    let (_, bundle) = search(&practice, &format!("encounter={encounter}"));
    assert_eq!(ids(&bundle), [document.as_str()]);
}

#[test]
fn a_batch_is_one_call_and_its_entries_fail_alone() {
    let practice = Practice::speaking(Dialect::fhir_r4());
    let (patient, encounter, document) = visit_with_photo(&practice);
    let batch = |urls: &[&str]| {
        let entries: Vec<Value> = urls
            .iter()
            .map(|url| json!({ "request": { "method": "GET", "url": url } }))
            .collect();
        let bundle = json!({ "resourceType": "Bundle", "type": "batch", "entry": entries });
        let request = practice.request("POST", "", Bytes::from(bundle.to_string()));
        answer(
            &practice
                .ehr
                .handle(later(70), Host::Api, &request)
                .into_response()
                .unwrap(),
        )
    };
    let (status, reply) = batch(&[
        &format!("DocumentReference?patient={patient}"),
        "DocumentReference?_count=0",
        &format!("/DocumentReference?encounter={encounter}"),
    ]);
    assert_eq!((status, &reply["type"]), (StatusCode::OK, &json!("batch-response")));
    assert_eq!(ids(&reply["entry"][0]["resource"]), [document.as_str()]);
    assert_eq!(reply["entry"][0]["response"]["status"], "200 OK");
    assert_eq!(reply["entry"][1]["response"]["status"], "400 Bad Request");
    assert_eq!(
        reply["entry"][1]["response"]["outcome"]["resourceType"],
        "OperationOutcome"
    );
    assert_eq!(ids(&reply["entry"][2]["resource"]), [document.as_str()]);
    let (_, mixed) = batch(&["Patient/30001", "DocumentReference/file%7C139977", "Immunization"]);
    assert_eq!(mixed["entry"][0]["resource"]["resourceType"], "Patient");
    let attachment = &mixed["entry"][1]["resource"]["content"][0]["attachment"];
    assert!(attachment["size"].as_u64() > Some(0));
    assert_eq!(mixed["entry"][2]["response"]["status"], "404 Not Found");
    let calls = practice.ehr.report().calls;
    assert_eq!((calls.document, calls.context, calls.total()), (1, 1, 2));
    let odd = practice.request("POST", "", Bytes::from_static(b"{}"));
    let refused = practice.ehr.handle(later(70), Host::Api, &odd).into_response().unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    let without = Practice::speaking(Dialect::uscore_r4());
    let refused = without.request("POST", "", Bytes::from_static(b"{}"));
    let refused = without.ehr.handle(later(70), Host::Api, &refused).into_response();
    assert_eq!(refused.unwrap().status(), StatusCode::NOT_FOUND);
}

#[test]
fn bytes_are_in_a_binary_in_both_forms() {
    for form in [AttachmentForm::RelativeBinary, AttachmentForm::AbsoluteBinary] {
        let practice = Practice::speaking(Dialect {
            attachments: form,
            ..Dialect::fhir_r4()
        });
        let (_, _, document) = visit_with_photo(&practice);
        let resource = practice.read(later(70), &format!("DocumentReference/{document}"));
        let url = resource["content"][0]["attachment"]["url"].as_str().unwrap();
        assert_eq!(url.starts_with("http"), form == AttachmentForm::AbsoluteBinary);
        let get = |accept: &str| {
            let mut request = practice.request("GET", url, Bytes::new());
            request.headers_mut().insert("accept", accept.parse().unwrap());
            practice
                .ehr
                .handle(later(80), Host::Api, &request)
                .into_response()
                .unwrap()
        };
        let raw = get("image/jpeg");
        assert_eq!(raw.headers()["content-type"], "image/jpeg");
        assert_eq!(resource["content"][0]["attachment"]["size"], raw.body().len());
        let (_, binary) = answer(&get("application/fhir+json"));
        assert_eq!(binary["resourceType"], "Binary");
        assert_eq!(
            STANDARD.decode(binary["data"].as_str().unwrap()).unwrap(),
            raw.body().to_vec()
        );
        let report = practice.ehr.report();
        assert_eq!((report.calls.read, report.photo_requests), (3, 0));
        assert_eq!(report.photos[0].photo_downloaded_at, Some(later(80)));
        assert_eq!(practice.get(later(80), "Binary/unknown").0, StatusCode::NOT_FOUND);
    }
}

#[test]
fn another_firms_binary_is_not_there() {
    let practice = Practice::speaking(Dialect::fhir_r4());
    let (_, _, document) = visit_with_photo(&practice);
    let resource = practice.read(later(70), &format!("DocumentReference/{document}"));
    let path = resource["content"][0]["attachment"]["url"].as_str().unwrap();
    let other = practice.ehr.add_firm(FirmSpec::new("beta")).unwrap();
    let elsewhere = Practice {
        ehr: practice.ehr.clone(),
        token: token(&practice.ehr, morning(), &other).unwrap(),
        credentials: other,
    };
    assert_eq!(elsewhere.get(later(80), path).0, StatusCode::NOT_FOUND);
}

#[test]
fn bytes_may_be_in_the_document_itself() {
    let practice = Practice::speaking(Dialect {
        attachments: AttachmentForm::Inline,
        ..Dialect::fhir_r4()
    });
    let (patient, _, document) = visit_with_photo(&practice);
    let read = practice.read(later(70), &format!("DocumentReference/{document}"));
    let found = practice.read(later(71), &format!("DocumentReference?patient={patient}"));
    let attachment = &read["content"][0]["attachment"];
    assert!(attachment.get("url").is_none());
    let bytes = STANDARD.decode(attachment["data"].as_str().unwrap()).unwrap();
    assert_eq!(
        (bytes[..2].to_vec(), &attachment["size"]),
        (vec![0xFF, 0xD8], &json!(bytes.len()))
    );
    let listed = &found["entry"][0]["resource"]["content"][0]["attachment"];
    assert_eq!(listed["data"], attachment["data"]);
    assert_eq!(practice.ehr.report().photos[0].photo_downloaded_at, Some(later(70)));
}

#[test]
fn references_are_read_and_written_in_every_form() {
    for (form, expected) in [
        (ReferenceForm::Relative, "Patient/30001"),
        (ReferenceForm::Versioned, "Patient/30001/_history/3"),
        (
            ReferenceForm::Absolute,
            "https://practice-ehr.example/alpha/fhir/Patient/30001",
        ),
    ] {
        let practice = Practice::speaking(Dialect {
            references: form,
            ..Dialect::fhir_r4()
        });
        visit_with_photo(&practice);
        let bundle = practice.read(later(70), "Encounter");
        assert_eq!(bundle["entry"][0]["resource"]["subject"]["reference"], expected);
        let found = practice.read(later(70), &format!("DocumentReference?patient={expected}"));
        assert_eq!(ids(&found).len(), 1, "{expected}");
    }
}

#[test]
fn a_next_link_may_be_a_cursor() {
    for (form, start) in [
        (PageLinks::Cursor, "/alpha/fhir/Encounter?_cursor="),
        (PageLinks::RootCursor, "/alpha/fhir?_cursor="),
    ] {
        let practice = Practice::speaking(Dialect {
            page_links: form,
            ..Dialect::fhir_r4()
        });
        for _ in 0..3 {
            practice.open(morning());
        }
        let first = practice.read(later(1), "Encounter?_count=2&status=in-progress");
        let link = next(&first).unwrap();
        assert!(link.contains(start) && !link.contains("status"), "{link}");
        let second = practice.read(later(1), link);
        assert_eq!((ids(&second), next(&second)), (vec!["5003"], None));
        assert_eq!(practice.ehr.report().calls.encounter, 2);
        assert_ne!(practice.get(later(1), "Encounter?_cursor=nonsense").0, StatusCode::OK);
    }
}

#[test]
fn a_quota_may_be_of_the_full_hour() {
    let practice = Practice::with(Options {
        quota_per_minute: 1,
        dialect: Dialect {
            quota_window: QuotaWindow::Fixed(Duration::from_hours(1)),
            ..Dialect::modmed_ema()
        },
        token_lifetime: Duration::from_hours(2),
        ..Options::default()
    });
    let statuses = [0, 3_599, 3_600].map(|second| practice.get(later(second), "Encounter").0);
    assert_eq!(
        statuses,
        [StatusCode::OK, StatusCode::TOO_MANY_REQUESTS, StatusCode::OK]
    );
}

#[test]
fn there_are_binaries_only_where_documents_point_to_them() {
    let practice = Practice::new();
    let (_, _, document) = visit_with_photo(&practice);
    let url = practice.photo_url(later(70), &document);
    let object = url.split('?').next().unwrap().rsplit('/').next().unwrap();
    assert_eq!(
        practice.get(later(70), &format!("Binary/{object}")).0,
        StatusCode::NOT_FOUND
    );
}
