//! Encounters, documents, patients, categories: what a client has to survive.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use skin_assist_core::{
    domain::{
        CategoryCode, DocumentId, DocumentStatus, Encounter, EncounterId, EncounterStatus, PatientId, PractitionerId,
    },
    phi::Phi,
    ports::{ChartReader, Class, DocumentQuery, EhrError, EncounterQuery, FirmSettings, Page, PageLink, Visit},
};
use skin_assist_ehr::{ConnectionError, EhrClient};
use skin_assist_transport::TransportError;

use crate::script::{
    Answer, SERVICE, Script, at, client, client_with, connection, firm, json as reply_json, lost, not_sent, profile,
    profile_with, reply, run, status, token,
};

fn encounter(id: &str) -> Value {
    json!({ "resource": { "resourceType": "Encounter", "id": id, "subject": { "reference": "Patient/7" } } })
}

fn bundle(entries: &[Value]) -> Value {
    json!({ "resourceType": "Bundle", "type": "searchset", "entry": entries })
}

fn linked(entries: &[Value], next: &str) -> Value {
    let mut bundle = bundle(entries);
    bundle["link"] = json!([{ "relation": "self", "url": "x" }, { "relation": "next", "url": next }]);
    bundle
}

fn encounters(answer: Answer) -> Result<Page<Encounter>, EhrError> {
    let (client, _) = client([answer]);
    read_encounters(&client, None)
}

fn read_encounters(client: &EhrClient, page: Option<&PageLink>) -> Result<Page<Encounter>, EhrError> {
    let query = EncounterQuery {
        changed_since: at("2026-01-05T10:00:00.250Z"),
    };
    run(client.encounters(&firm("derm-a"), &token(), &query, page))
}

fn ids(page: &Page<Encounter>) -> Vec<&str> {
    page.items.iter().map(|encounter| encounter.id.as_str()).collect()
}

fn document_query() -> DocumentQuery {
    DocumentQuery::Visit(Visit {
        patient: PatientId::new("7"),
        encounter: EncounterId::new("e|1"),
    })
}

#[test]
fn a_search_carries_what_the_ehr_wants() {
    let (client, script) = client([reply_json(&bundle(&[encounter("1")]))]);
    let page = read_encounters(&client, None).unwrap();
    assert_eq!(ids(&page), ["1"]);
    assert_eq!(page.server_time, Some(at("2026-01-05T10:00:00Z")));
    let request = script.request();
    assert_eq!(request.method(), "GET");
    // Two days back and no time: see the next test.
    assert_eq!(
        request.uri().to_string(),
        format!("{SERVICE}/Encounter?_lastUpdated=gt2026-01-03&_count=50")
    );
    let header = |name: &str| request.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("authorization"), "Bearer the-token");
    assert_eq!(header("x-api-key"), "the-api-key");
    assert_eq!(header("accept"), "application/fhir+json");
    assert!(request.headers()["authorization"].is_sensitive() && request.headers()["x-api-key"].is_sensitive());
}

/// For each zone on earth, and whichever way a server understands `gt` with a day: what changed at the instant is asked
/// for.
#[test]
fn a_day_granular_date_loses_nothing_in_any_time_zone() {
    const HOUR: i64 = 3_600_000;
    for offset in -12..=14 {
        for instant in ["2026-01-05T00:00:00Z", "2026-01-05T11:59:59Z", "2026-01-05T23:59:59Z"] {
            let (client, script) = client([reply_json(&bundle(&[]))]);
            let changed_since = at(instant);
            run(client.encounters(&firm("derm-a"), &token(), &EncounterQuery { changed_since }, None)).unwrap();
            let url = script.urls().remove(0);
            let day = url.split("gt").nth(1).unwrap().split('&').next().unwrap();
            // The strict reading: everything after the end of that day, by the server's own calendar.
            let day_ends = at(&format!("{day}T00:00:00Z")).as_millis() + 24 * HOUR - offset * HOUR;
            assert!(day_ends <= changed_since.as_millis(), "UTC{offset:+} {instant}");
        }
    }
}

#[test]
fn an_instant_granular_date_is_asked_as_it_is() {
    let script = Script::of([reply_json(&bundle(&[]))]);
    let profile = profile_with(
        "granularity = \"day\", prefix = \"gt\"",
        "granularity = \"instant\", prefix = \"ge\"",
    );
    read_encounters(&client_with(profile, &script, &Script::of([])), None).unwrap();
    assert_eq!(
        script.urls(),
        [format!(
            "{SERVICE}/Encounter?_lastUpdated=ge2026-01-05T10%3A00%3A00.250Z&_count=50"
        )]
    );
}

#[test]
fn everything_in_an_encounter_is_optional_but_id_and_patient() {
    let full = json!({ "resource": {
        "resourceType": "Encounter", "id": 4711, "status": "in-progress", "unknown": [{ "deep": {} }],
        "meta": { "lastUpdated": "2026-01-05T04:00:00.5-05:00" },
        "subject": { "reference": "https://ehr.example/base/firm/derm-a/ema/fhir/v2/Patient/p%7C7/_history/2" },
        "participant": [
            { "individual": { "reference": "Practitioner/1" }, "type": [{ "coding": [{ "code": "ADM" }] }] },
            { "individual": { "reference": "PractitionerRole/3" }, "type": [{ "coding": [{ "code": "PPRF" }] }] },
            { "individual": { "reference": "Practitioner/2" }, "type": [{ "coding": [{}, { "code": "pprf" }] }] },
        ],
    } });
    let broken = [
        json!({ "resource": { "resourceType": "Encounter", "id": "no-patient" } }),
        json!({ "resource": { "resourceType": "Encounter", "subject": { "reference": "Patient/7" } } }),
        json!({ "resource": { "resourceType": "Encounter", "id": "g", "subject": { "reference": "Group/7" } } }),
        json!({ "resource": { "resourceType": "Encounter", "id": "\u{7}", "subject": { "reference": "Patient/7" } } }),
        json!({ "resource": { "resourceType": "Patient", "id": "7" } }),
        json!({ "resource": null }),
        json!("what?"),
    ];
    let odd = json!({ "resource": {
        "resourceType": "Encounter", "id": "odd", "subject": { "reference": "Patient/7" }, "status": "dreaming",
        "participant": "nobody", "meta": { "lastUpdated": "yesterday" },
    } });
    let mut entries = vec![full, odd];
    entries.extend(broken);
    let page = encounters(reply_json(&bundle(&entries))).unwrap();
    assert_eq!(page.unreadable, 7);
    assert_eq!(
        page.items,
        [
            Encounter {
                id: EncounterId::new("4711"),
                patient: PatientId::new("p|7"),
                practitioner: Some(PractitionerId::new("2")),
                status: EncounterStatus::Open,
                last_updated: Some(at("2026-01-05T09:00:00.5Z")),
            },
            Encounter {
                id: EncounterId::new("odd"),
                patient: PatientId::new("7"),
                practitioner: None,
                status: EncounterStatus::Open,
                last_updated: None,
            },
        ]
    );
}

#[test]
fn statuses_mean_open_finished_or_cancelled() {
    for (code, expected) in [
        ("planned", EncounterStatus::Planned),
        ("arrived", EncounterStatus::Open),
        ("triaged", EncounterStatus::Open),
        ("in-progress", EncounterStatus::Open),
        ("onleave", EncounterStatus::Open),
        ("unknown", EncounterStatus::Open),
        ("finished", EncounterStatus::Finished),
        ("cancelled", EncounterStatus::Cancelled),
        ("entered-in-error", EncounterStatus::Cancelled),
    ] {
        let mut entry = encounter("1");
        entry["resource"]["status"] = json!(code);
        let page = encounters(reply_json(&bundle(&[entry]))).unwrap();
        assert_eq!(page.items[0].status, expected, "{code}");
    }
}

#[test]
fn next_links_are_followed_until_a_page_has_no_entries() {
    let next = format!("{SERVICE}/Encounter?_lastUpdated=gt2026-01-03&_count=50&page=");
    // Totals are of the page, and the last page links on to an empty one, which links on as well.
    let mut first = linked(&[encounter("1")], &format!("{next}2"));
    first["total"] = json!(1);
    let mut second = linked(&[encounter("2")], "?_count=50&page=3");
    second["total"] = json!(0);
    let third = linked(&[], &format!("{next}4"));
    let (client, script) = client([reply_json(&first), reply_json(&second), reply_json(&third)]);
    let mut seen = Vec::new();
    let mut link = None;
    loop {
        let page = read_encounters(&client, link.as_ref()).unwrap();
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        link = page.next;
        if link.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["1", "2"]);
    let urls = script.urls();
    assert_eq!(urls[1], format!("{next}2"));
    assert_eq!(urls[2], format!("{SERVICE}/Encounter?_count=50&page=3"));
    assert_eq!(urls.len(), 3);
}

#[test]
fn a_page_of_which_nothing_is_readable_is_not_the_last() {
    let page = encounters(reply_json(&linked(&[json!({})], "?page=2"))).unwrap();
    assert_eq!((page.unreadable, page.next.is_some()), (1, true));
}

#[test]
fn a_next_link_to_another_host_or_firm_is_refused() {
    for (link, what) in [
        (
            "https://evil.example/base/firm/derm-a/ema/fhir/v2/Encounter",
            "the next page is on another host",
        ),
        (
            "http://ehr.example/base/firm/derm-a/ema/fhir/v2/Encounter",
            "the next page is on another host",
        ),
        (
            "https://ehr.example/base/firm/derm-b/ema/fhir/v2/Encounter",
            "the next page is another firm's",
        ),
    ] {
        let refused = encounters(reply_json(&linked(&[encounter("1")], link)));
        assert_eq!(refused.unwrap_err(), EhrError::Malformed { what }, "{link}");
        // Nor is it followed when it comes from the caller.
        let (client, script) = client([]);
        let refused = read_encounters(&client, Some(&Phi::new(link.into())));
        assert_eq!(refused.unwrap_err(), EhrError::Malformed { what }, "{link}");
        assert_eq!(script.count(), 0);
    }
}

#[test]
fn a_next_link_to_the_same_page_is_refused() {
    let link = format!("{SERVICE}/Encounter?_lastUpdated=gt2026-01-03&_count=50");
    let what = "the next page is the same page again";
    assert_eq!(
        encounters(reply_json(&linked(&[encounter("1")], &link))).unwrap_err(),
        EhrError::Malformed { what }
    );
}

#[test]
fn statuses_of_failures() {
    let cases = [
        (401, EhrError::Unauthorized),
        (403, EhrError::Forbidden),
        (404, EhrError::NotFound { status: 404 }),
        (410, EhrError::NotFound { status: 410 }),
        (429, EhrError::OverQuota { retry_after: None }),
        (400, EhrError::Rejected { status: 400 }),
        (422, EhrError::Rejected { status: 422 }),
    ];
    for (code, expected) in cases {
        let error = encounters(status(code)).unwrap_err();
        assert_eq!(error, expected);
        assert!(!error.to_string().contains("Roe"));
    }
    for code in [408, 500, 502, 503, 504, 599] {
        assert!(
            matches!(encounters(status(code)), Err(EhrError::Unavailable { .. })),
            "{code}"
        );
    }
    for code in [301, 302, 307, 304] {
        assert!(
            matches!(encounters(status(code)), Err(EhrError::Malformed { .. })),
            "{code}"
        );
    }
    for answer in [lost(), not_sent()] {
        assert_eq!(encounters(answer).unwrap_err().class(), Class::Transient(None));
    }
}

#[test]
fn the_status_counts_when_the_rest_of_the_reply_was_lost() {
    let status = Some(::http::StatusCode::UNAUTHORIZED);
    let broken = Err(TransportError::Unknown {
        what: "the connection broke",
        status,
    });
    assert_eq!(encounters(broken).unwrap_err(), EhrError::Unauthorized);
    let large = Err(TransportError::TooLarge {
        status: ::http::StatusCode::NOT_FOUND,
    });
    assert_eq!(encounters(large).unwrap_err(), EhrError::NotFound { status: 404 });
    let large = Err(TransportError::TooLarge {
        status: ::http::StatusCode::OK,
    });
    assert_eq!(
        encounters(large).unwrap_err(),
        EhrError::Malformed {
            what: "it is larger than allowed"
        }
    );
}

#[test]
fn retry_after_is_read_in_seconds_and_as_a_date_of_the_servers_clock() {
    // The server's clock is years off, which does not matter.
    let date = ("date", "Mon, 05 Jan 2015 10:00:00 GMT");
    for (value, seconds) in [("7", 7), ("Mon, 05 Jan 2015 10:00:20 GMT", 20)] {
        let refused = encounters(reply(429, &[date, ("retry-after", value)], ""));
        let retry_after = Some(Duration::from_secs(seconds));
        assert_eq!(refused.unwrap_err(), EhrError::OverQuota { retry_after });
    }
}

#[test]
fn what_is_not_a_bundle_is_not_believed() {
    let date = ("date", "Mon, 05 Jan 2026 10:00:00 GMT");
    let whole = bundle(&[encounter("1")]).to_string();
    for (body, what) in [
        (
            "<!doctype html><title>Maintenance</title>",
            "it is HTML or XML, not JSON",
        ),
        (&whole[..whole.len() - 5], "its JSON is cut off"),
        ("", "it is empty"),
        ("[]", "it is not a Bundle"),
        (r#"{"resourceType":"Encounter","id":"1"}"#, "it is not a Bundle"),
    ] {
        let refused = encounters(reply(200, &[date], body.to_owned()));
        assert_eq!(refused.unwrap_err(), EhrError::Malformed { what });
    }
}

#[test]
fn an_operation_outcome_inside_a_200_is_an_error() {
    let outcome = |severity: &str, code: &str| {
        json!({ "resourceType": "OperationOutcome", "issue": [
            { "severity": "information", "code": "informational" },
            { "severity": severity, "code": code, "diagnostics": "patient Jane Roe" } ] })
    };
    let instead = EhrError::Malformed {
        what: "an OperationOutcome in place of the answer",
    };
    for (code, expected) in [
        ("processing", instead.clone()),
        ("throttled", EhrError::OverQuota { retry_after: None }),
        ("login", EhrError::Unauthorized),
        ("forbidden", EhrError::Forbidden),
        (
            "exception",
            EhrError::Unavailable {
                what: "it reports a failure of its own",
            },
        ),
    ] {
        assert_eq!(encounters(reply_json(&outcome("error", code))).unwrap_err(), expected);
        let among = bundle(&[encounter("1"), json!({ "resource": outcome("fatal", code) })]);
        assert_eq!(encounters(reply_json(&among)).unwrap_err(), expected);
    }
    // A warning beside the entries is no error; alone in place of an answer it is.
    let warned = json!({ "resource": outcome("warning", "processing"), "search": { "mode": "outcome" } });
    let page = encounters(reply_json(&bundle(&[encounter("1"), warned]))).unwrap();
    assert_eq!((ids(&page), page.unreadable), (vec!["1"], 0));
    assert_eq!(
        encounters(reply_json(&outcome("warning", "processing"))).unwrap_err(),
        instead
    );
}

#[test]
fn two_firms_have_their_own_addresses() {
    let (client, script) = client([reply_json(&bundle(&[])), reply_json(&bundle(&[]))]);
    let query = EncounterQuery {
        changed_since: at("2026-01-05T10:00:00Z"),
    };
    run(client.encounters(&firm("derm-b"), &token(), &query, None)).unwrap();
    run(client.encounters(&firm("a/b?c"), &token(), &query, None)).unwrap();
    let urls = script.urls();
    assert!(
        urls[0].starts_with("https://ehr.example/base/firm/derm-b/ema/fhir/v2/Encounter?"),
        "{}",
        urls[0]
    );
    assert!(
        urls[1].starts_with("https://ehr.example/base/firm/a/b%3Fc/ema/fhir/v2/Encounter?"),
        "{}",
        urls[1]
    );
    for prefix in ["", ".."] {
        let refused = run(client.encounters(&firm(prefix), &token(), &query, None));
        assert!(matches!(refused, Err(EhrError::Malformed { .. })));
    }
}

#[test]
fn documents_as_subsetted_entries_show_them() {
    let entries = [
        json!({ "resource": {
            "resourceType": "DocumentReference", "id": "file|139977", "status": "current",
            "meta": { "tag": [{ "code": "SUBSETTED" }] },
            "category": [{ "coding": [{ "code": "12", "system": "x" }] }, { "coding": [{ "code": 13 }] }],
            "type": { "text": "image/jpeg" }, "subject": { "reference": "Patient/7" }, "date": "2026-01-05T09:59:00Z",
        } }),
        json!({ "resource": { "resourceType": "DocumentReference", "id": "2", "status": "superseded",
            "type": { "text": "Clinical photo" }, "date": "2026-01-05" } }),
        json!({ "resource": { "resourceType": "DocumentReference", "id": "3", "status": "entered-in-error",
            "context": { "encounter": [{ "reference": "Encounter/9" }, { "reference": "Encounter/e%7C1" }] } } }),
        json!({ "resource": { "resourceType": "DocumentReference", "id": "4", "docStatus": "entered-in-error",
            "category": { "coding": { "code": "lone" } } } }),
        // The server ignores what it was asked: another patient's, another encounter's.
        json!({ "resource": { "resourceType": "DocumentReference", "id": "5",
            "subject": { "reference": "Patient/8" } } }),
        json!({ "resource": { "resourceType": "DocumentReference", "id": "6",
            "context": { "encounter": [{ "reference": "Encounter/9" }] } } }),
        json!({ "resource": { "resourceType": "DocumentReference" } }),
    ];
    let (client, script) = client([reply_json(&bundle(&entries))]);
    let page = run(client.documents(&firm("derm-a"), &token(), &document_query(), None)).unwrap();
    assert_eq!(
        script.urls(),
        [format!(
            "{SERVICE}/DocumentReference?patient=7&encounter=e%7C1&_count=10"
        )]
    );
    assert_eq!(page.unreadable, 3);
    let seen: Vec<_> = page
        .items
        .iter()
        .map(|document| (document.id.as_str(), document.status))
        .collect();
    assert_eq!(
        seen,
        [
            ("file|139977", DocumentStatus::Current),
            ("2", DocumentStatus::Superseded),
            ("3", DocumentStatus::EnteredInError),
            ("4", DocumentStatus::EnteredInError),
        ]
    );
    let first = &page.items[0];
    assert_eq!(first.id, DocumentId::new("file|139977"));
    assert_eq!(first.categories, [CategoryCode::new("12"), CategoryCode::new("13")]);
    assert_eq!(first.content_type.as_deref(), Some("image/jpeg"));
    assert_eq!(first.attached_at, Some(at("2026-01-05T09:59:00Z")));
    assert_eq!((&page.items[1].content_type, page.items[1].attached_at), (&None, None));
    assert_eq!(page.items[3].categories, [CategoryCode::new("lone")]);
}

#[test]
fn documents_with_attachments_show_their_type_where_the_profile_says_so() {
    let entry = json!({ "resource": { "resourceType": "DocumentReference", "id": "1", "type": { "text": "image/png" },
        "content": [{ "attachment": { "contentType": "IMAGE/JPEG" } }] } });
    for (carry, expected) in [("false", "image/png"), ("true", "image/jpeg")] {
        let script = Script::of([reply_json(&bundle(std::slice::from_ref(&entry)))]);
        let profile = profile_with(
            "entries_carry_attachment = false",
            &format!("entries_carry_attachment = {carry}"),
        );
        let client = client_with(profile, &script, &Script::of([]));
        let page = run(client.documents(&firm("derm-a"), &token(), &document_query(), None)).unwrap();
        assert_eq!(page.items[0].content_type.as_deref(), Some(expected));
    }
}

#[test]
fn document_pages_stay_with_documents() {
    let entry = json!({ "resource": { "resourceType": "DocumentReference", "id": "1" } });
    let (client, script) = client([
        reply_json(&linked(&[entry], "DocumentReference?patient=7&page=2")),
        reply_json(&bundle(&[])),
    ]);
    let page = run(client.documents(&firm("derm-a"), &token(), &document_query(), None)).unwrap();
    run(client.documents(&firm("derm-a"), &token(), &document_query(), page.next.as_ref())).unwrap();
    assert_eq!(
        script.urls()[1],
        format!("{SERVICE}/DocumentReference?patient=7&page=2")
    );
}

#[test]
fn categories_come_from_the_value_set() {
    let set = json!({ "resourceType": "ValueSet", "id": "document-category",
        "compose": { "include": [{ "concept": [{ "code": "12", "display": "Lesion photo" }] }] } });
    let (client, script) = client([reply_json(&set), reply_json(&json!({ "resourceType": "Patient" }))]);
    let found = run(client.categories(&firm("derm-a"), &token())).unwrap().unwrap();
    assert_eq!(script.urls(), [format!("{SERVICE}/ValueSet/document-category")]);
    assert_eq!(
        (found[0].code.as_str(), found[0].display.as_str()),
        ("12", "Lesion photo")
    );
    assert!(run(client.categories(&firm("derm-a"), &token())).is_err());
}

#[test]
fn a_connection_that_cannot_work_is_refused_at_once() {
    let refuse = |change: &dyn Fn(&mut skin_assist_ehr::EhrConnection)| {
        let mut connection = connection(profile());
        change(&mut connection);
        let script = Script::of([]);
        EhrClient::new(connection, script.clone(), script).map(|_| ())
    };
    assert_eq!(refuse(&|_| {}), Ok(()));
    for url in [
        "http://ehr.example",
        "ftp://ehr.example",
        "https://u:p@ehr.example",
        "https://ehr.example/?a",
        "https://ehr.example/#a",
    ] {
        let refused = refuse(&|connection| connection.base_url = url.parse().unwrap());
        assert!(matches!(refused, Err(ConnectionError::Url { .. })), "{url}");
    }
    let loopback = |allowed| {
        move |connection: &mut skin_assist_ehr::EhrConnection| {
            connection.token_url = Some("http://127.0.0.1:4711/token".parse().unwrap());
            connection.allow_loopback_http = allowed;
        }
    };
    assert!(refuse(&loopback(false)).is_err());
    assert_eq!(refuse(&loopback(true)), Ok(()));
    let key = |key: &str| {
        let key = key.to_owned();
        move |connection: &mut skin_assist_ehr::EhrConnection| {
            connection.api_key = skin_assist_core::phi::Secret::new(key.clone());
        }
    };
    assert_eq!(refuse(&key("")), Err(ConnectionError::ApiKeyMissing));
    assert_eq!(refuse(&key("a\nb")), Err(ConnectionError::ApiKeyUnsendable));
}

#[test]
fn debug_shows_no_secret() {
    let (client, _) = client([]);
    let text = format!("{client:?} {:?}", client.connection());
    assert!(!text.contains("the-api-key"), "{text}");
}

fn any_json() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "resourceType",
        "id",
        "subject",
        "reference",
        "status",
        "meta",
        "lastUpdated",
        "participant",
        "type",
        "coding",
        "code",
        "individual",
        "category",
        "content",
        "attachment",
        "url",
        "context",
        "encounter",
        "issue",
        "severity",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-zA-Z|/#:%0-9-]{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "Encounter",
            "Patient/7",
            "Bundle",
            "OperationOutcome",
            "2026-01-05T10:00:00Z",
            "error"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|pairs| {
                Value::Object(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    /// Whatever stands in an entry, the sound one beside it is read and the odd one is read or counted.
    #[test]
    fn one_odd_entry_does_not_lose_the_page(odd in any_json()) {
        let entry = json!({ "resource": odd });
        let is_outcome = entry["resource"]["resourceType"] == "OperationOutcome";
        match encounters(reply_json(&bundle(&[encounter("sound"), entry]))) {
            Ok(page) => {
                prop_assert_eq!(page.items[0].id.as_str(), "sound");
                prop_assert!(is_outcome || page.items.len() + page.unreadable == 2);
            }
            Err(_) => prop_assert!(is_outcome),
        }
    }
}

/// A search by patient brings all of the patient's documents: those of this visit are picked out, those that name no
/// visit count when they are dated, and one that says neither may be years old.
#[test]
fn documents_of_a_visit_are_picked_out_of_the_patients() {
    let profile = profile_with("search = \"patient-and-encounter\"", "search = \"patient\"");
    let document = |id: &str, date: Option<&str>, encounter: Option<&str>| {
        let mut document = json!({ "resourceType": "DocumentReference", "id": id,
            "subject": { "reference": "Patient/7" } });
        if let Some(date) = date {
            document["date"] = json!(date);
        }
        if let Some(encounter) = encounter {
            document["context"] = json!({ "encounter": [{ "reference": format!("Encounter/{encounter}") }] });
        }
        document
    };
    let entry = |document: &Value| json!({ "resource": document });
    let dated = Some("2026-01-05T09:00:00Z");
    let found = [
        document("of-this-visit", None, Some("e%7C1")),
        document("of-another", dated, Some("e2")),
        document("of-none", dated, None),
        document("of-none-undated", None, None),
    ];
    let script = Script::of([reply_json(&bundle(&found.each_ref().map(entry)))]);
    let client = client_with(profile, &script, &Script::of([]));
    let page = run(client.documents(&firm("derm-a"), &token(), &document_query(), None)).unwrap();
    assert_eq!(
        script.urls(),
        [format!("{SERVICE}/DocumentReference?patient=7&_count=10")]
    );
    let ids: Vec<_> = page.items.iter().map(|document| document.id.as_str()).collect();
    assert_eq!(ids, ["of-this-visit", "of-none"]);
    assert_eq!(page.unreadable, 0);
}

/// Some EHRs number their pages and link to none: the search is made again with the next number until a page is empty.
#[test]
fn pages_are_numbered_where_the_profile_says_so() {
    let profile = profile_with("next = \"link\"", "next = \"number\"\nparameter = \"page\"");
    let script = Script::of([
        reply_json(&bundle(&[encounter("e1"), encounter("e2")])),
        reply_json(&bundle(&[encounter("e3")])),
        reply_json(&bundle(&[])),
    ]);
    let client = client_with(profile, &script, &Script::of([]));
    let query = EncounterQuery {
        changed_since: at("2026-01-05T10:00:00Z"),
    };
    let (mut found, mut page) = (Vec::new(), None);
    loop {
        let reply = run(client.encounters(&firm("derm-a"), &token(), &query, page.as_ref())).unwrap();
        found.extend(ids(&reply).into_iter().map(str::to_owned));
        page = reply.next;
        if page.is_none() {
            break;
        }
    }
    assert_eq!(found, ["e1", "e2", "e3"]);
    let pages: Vec<_> = script
        .urls()
        .iter()
        .map(|url| url.split_once("&page=").map(|(_, number)| number.to_owned()))
        .collect();
    assert_eq!(pages, [None, Some("2".to_owned()), Some("3".to_owned())]);
}

/// A search of a batch that failed, or has further pages, leaves its visit unanswered: it is asked for alone.
#[test]
fn a_batch_answers_for_each_visit_or_leaves_it_unanswered() {
    let profile = profile_with("searches_in_batch = 0", "searches_in_batch = 4");
    let document = |id: &str, visit: &str| {
        json!({ "resource": { "resourceType": "DocumentReference", "id": id, "subject": { "reference": "Patient/7" },
            "context": { "encounter": [{ "reference": format!("Encounter/{visit}") }] } } })
    };
    let visit = |id: &str| Visit {
        patient: PatientId::new("7"),
        encounter: EncounterId::new(id),
    };
    let answer = |status: &str, resource: Value| json!({ "response": { "status": status }, "resource": resource });
    let outcome =
        json!({ "resourceType": "OperationOutcome", "issue": [{ "severity": "error", "code": "exception" }] });
    let next = format!("{SERVICE}/DocumentReference?page=2");
    let answers = json!({ "resourceType": "Bundle", "type": "batch-response", "entry": [
        answer("200 OK", bundle(&[document("d1", "e1")])),
        answer("500", outcome),
        answer("200", linked(&[document("d3", "e3")], &next)),
        answer("200", bundle(&[])),
    ] });
    let cut = json!({ "resourceType": "Bundle", "type": "batch-response", "entry": [] });
    let script = Script::of([reply_json(&answers), reply_json(&cut)]);
    let client = client_with(profile, &script, &Script::of([]));
    let query = DocumentQuery::Visits(["e1", "e|2", "e3", "e4"].map(visit).to_vec());
    assert_eq!(client.document_searches().visits_in_one_call, 4);
    let page = run(client.documents(&firm("derm-a"), &token(), &query, None)).unwrap();
    let found: Vec<_> = page.items.iter().map(|document| document.id.as_str()).collect();
    let unanswered: Vec<_> = page.unanswered.iter().map(EncounterId::as_str).collect();
    assert_eq!((found, unanswered), (vec!["d1"], vec!["e|2", "e3"]));
    assert!(run(client.documents(&firm("derm-a"), &token(), &query, None)).is_err());
    assert_eq!(script.urls()[0], SERVICE);
}
