//! `DocumentReference` and the photo host.

use skin_assist_simulator::DocumentSpec;

use super::*;

#[test]
fn a_search_names_the_patient_and_lists_subsetted_entries() {
    let practice = Practice::new();
    let (patient, encounter, document) = visit_with_photo(&practice);
    let (status, reply) = practice.get(later(70), &format!("DocumentReference?encounter={encounter}"));
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(reply["issue"][0]["code"], "required");
    let (_, bundle) = practice.get(
        later(70),
        &format!("DocumentReference?patient={patient}&encounter={encounter}"),
    );
    let entry = &bundle["entry"][0];
    let resource = &entry["resource"];
    assert_eq!(resource["id"], document.as_str());
    assert!(
        entry["fullUrl"]
            .as_str()
            .unwrap()
            .ends_with("/DocumentReference/file%7C139977")
    );
    assert_eq!(resource["meta"]["tag"][0]["code"], "SUBSETTED");
    assert_eq!(resource["type"]["text"], "image/jpeg");
    assert_eq!(resource["category"][0]["coding"][0]["code"], "PHOTO-LESION");
    assert!(resource.get("content").is_none());
    assert_eq!(
        practice.get(later(70), "DocumentReference?patient=1&_count=11").0,
        StatusCode::BAD_REQUEST
    );
    let (_, of_nobody) = practice.get(later(70), "DocumentReference?patient=unknown");
    assert_eq!(of_nobody["total"], 0);
}

#[test]
fn documents_come_ten_to_a_page_and_are_filtered() {
    let practice = Practice::new();
    let encounter = practice.open(morning());
    for second in 0..11 {
        practice.attach(later(second), &encounter);
    }
    practice
        .ehr
        .attach_document(later(20), "alpha", &encounter, DocumentSpec::pdf("CONSENT", "Consent"))
        .unwrap();
    let count = |query: &str| {
        let (status, bundle) = practice.get(later(30), &format!("DocumentReference?patient=30001{query}"));
        assert_eq!(status, StatusCode::OK, "{query}");
        bundle["entry"].as_array().map_or(0, Vec::len)
    };
    assert_eq!(count(""), 10);
    assert_eq!(count("&page=2"), 2);
    assert_eq!(count("&page=3"), 0);
    assert_eq!(count("&category=CONSENT"), 1);
    assert_eq!(count("&type=application/pdf"), 1);
    assert_eq!(count("&encounter=9"), 0);
    assert_eq!(count("&date=eq2026-01-05&category=CONSENT"), 1);
    assert_eq!(count("&date=gt2026-01-05"), 0);
    assert_eq!(count("&description=cons"), 1);
    assert_eq!(count("&identifier=filename%7Cconsent-139988.pdf"), 1);
}

#[test]
fn reading_gives_a_url_that_works_for_five_minutes() {
    let practice = Practice::new();
    let (_, _, document) = visit_with_photo(&practice);
    let (_, resource) = practice.get(later(100), "DocumentReference/file%7C139977");
    let attachment = &resource["content"][0]["attachment"];
    let url = practice.photo_url(later(100), &document);
    assert_eq!(attachment["url"], url.as_str());
    assert!(url.contains("X-Amz-Expires=300"));
    let photo = practice.fetch(later(400), &url);
    assert_eq!(photo.status(), StatusCode::OK);
    assert_eq!(photo.headers()["content-type"], "image/jpeg");
    assert_eq!(attachment["size"], photo.body().len());
    assert_eq!(photo.body()[..2], [0xFF, 0xD8]);
    let refused = |response: Response<Bytes>, status: StatusCode, code: &str| {
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["content-type"], "application/xml");
        assert!(std::str::from_utf8(response.body()).unwrap().contains(code));
    };
    refused(practice.fetch(later(401), &url), StatusCode::FORBIDDEN, "expired");
    let longer = url.replace("X-Amz-Expires=300", "X-Amz-Expires=900");
    refused(
        practice.fetch(later(400), &longer),
        StatusCode::FORBIDDEN,
        "SignatureDoesNotMatch",
    );
    let unsigned = url.split('?').next().unwrap();
    refused(
        practice.fetch(later(400), unsigned),
        StatusCode::FORBIDDEN,
        "AccessDenied",
    );
    let with_token = Request::get(&url)
        .header("authorization", "Bearer token")
        .body(Bytes::new())
        .unwrap();
    let response = practice.ehr.handle(later(101), Host::Photos, &with_token);
    refused(
        response.into_response().unwrap(),
        StatusCode::BAD_REQUEST,
        "InvalidArgument",
    );
}

#[test]
fn the_report_follows_a_photo() {
    let practice = Practice::new();
    let (patient, _, document) = visit_with_photo(&practice);
    let photo = |practice: &Practice| practice.ehr.report().photos[0].clone();
    assert_eq!(photo(&practice).first_listed_at, None);
    for second in [70, 80] {
        practice.get(later(second), &format!("DocumentReference?patient={patient}"));
    }
    let url = practice.photo_url(later(90), &document);
    practice.fetch(later(95), &url);
    let seen = photo(&practice);
    assert_eq!(seen.condition.as_deref(), Some("melanoma"));
    assert_eq!(seen.attached_at, later(60));
    assert_eq!(seen.first_listed_at, Some(later(70)));
    assert_eq!(seen.read_at, Some(later(90)));
    assert_eq!(seen.photo_downloaded_at, Some(later(95)));
    let report = practice.ehr.report();
    assert_eq!(
        (report.calls.document, report.calls.read, report.photo_requests),
        (2, 1, 1)
    );
    let report = serde_json::to_value(report).unwrap();
    assert_eq!(report["photos"][0]["attached_at"], "2026-01-05T14:01:00.000Z");
    assert!(!practice.ehr.true_lesions("alpha", &document).unwrap().is_empty());
}

#[test]
fn firms_share_ids_and_nothing_else() {
    let practice = Practice::new();
    let other = practice.ehr.add_firm(FirmSpec::new("beta")).unwrap();
    let (patient, _, _) = visit_with_photo(&practice);
    practice
        .ehr
        .open_encounter(morning(), "beta", EncounterSpec::default())
        .unwrap();
    let elsewhere = Practice {
        ehr: practice.ehr.clone(),
        token: token(&practice.ehr, morning(), &other).unwrap(),
        credentials: other,
    };
    let (_, bundle) = elsewhere.get(later(70), &format!("DocumentReference?patient={patient}"));
    assert_eq!(bundle["total"], 0);
    let (status, _) = elsewhere.get(later(70), "DocumentReference/file%7C139977");
    assert_eq!(status, StatusCode::NOT_FOUND);
}
