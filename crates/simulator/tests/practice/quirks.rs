//! What searches and records do in spite of what the EHR documents.

use skin_assist_simulator::{LastUpdatedForm, NextLink, PagingSession, ReferenceForm, Totals};

use super::*;

/// A general EHR with this many visits, one each second.
fn with_visits(count: u64) -> Practice {
    let practice = Practice::speaking(Dialect::fhir_r4());
    for second in 0..count {
        practice.open(later(second));
    }
    practice
}

#[test]
fn a_change_is_seen_late_and_until_then_the_record_is_as_it_was() {
    let practice = Practice::new();
    let (patient, encounter, document) = visit_with_photo(&practice);
    practice
        .ehr
        .set_quirks(|quirks| quirks.visibility_delay = Duration::from_mins(2));
    assert_eq!(ids(&practice.read(later(119), "Encounter")), [""; 0]);
    assert_eq!(ids(&practice.read(later(120), "Encounter")), [encounter.as_str()]);
    practice.ehr.finish_encounter(later(200), "alpha", &encounter).unwrap();
    let status = |second: u64| practice.read(later(second), "Encounter")["entry"][0]["resource"]["status"].clone();
    assert_eq!((status(319), status(320)), (json!("in-progress"), json!("finished")));
    let documents = |second: u64| practice.read(later(second), &format!("DocumentReference?patient={patient}"));
    assert_eq!(ids(&documents(179)), [""; 0]);
    assert_eq!(ids(&documents(180)), [document.as_str()]);
    practice.ehr.retract_document(later(300), "alpha", &document).unwrap();
    let status = |second: u64| documents(second)["entry"][0]["resource"]["status"].clone();
    assert_eq!(
        (status(419), status(420)),
        (json!("current"), json!("entered-in-error"))
    );
}

#[test]
fn each_change_may_have_a_delay_of_its_own() {
    let practice = with_visits(30);
    practice.ehr.set_quirks(|quirks| {
        quirks.visibility_delay = Duration::from_mins(2);
        quirks.visibility_is_uneven = true;
    });
    let seen = |second: u64| {
        let found = practice.read(later(second), "Encounter?_count=50");
        ids(&found).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let early = seen(60);
    assert!(!early.is_empty() && early.len() < 30, "{early:?}");
    let in_order = seen(150);
    assert_eq!(in_order.len(), 30, "none later than the delay");
    assert_ne!(early, in_order[..early.len()], "what changed later is seen earlier");
    let again = seen(61);
    assert!(early.iter().all(|id| again.contains(id)), "what was seen is seen");
}

#[test]
fn what_arrives_between_two_pages_shifts_them() {
    let practice = with_visits(4);
    practice.ehr.set_quirks(|quirks| quirks.newest_first = true);
    let first = practice.read(later(10), "Encounter?_count=2");
    assert_eq!(ids(&first), ["5004", "5003"]);
    practice.open(later(11));
    let second = practice.read(later(12), next(&first).unwrap());
    assert_eq!(ids(&second), ["5003", "5002"], "one comes twice");
    practice.ehr.touch_encounter(later(13), "alpha", "5001").unwrap();
    let third = practice.read(later(14), next(&second).unwrap());
    assert_eq!(
        ids(&third),
        ["5002"],
        "and one, which has moved to the front, not at all"
    );
}

#[test]
fn equal_times_have_an_order_that_stays() {
    let practice = Practice::speaking(Dialect::fhir_r4());
    for _ in 0..12 {
        practice.open(morning());
    }
    let all = practice.read(later(1), "Encounter?_sort=_lastUpdated");
    let mut paged = Vec::new();
    for page in 1..=4 {
        let bundle = practice.read(later(1), &format!("Encounter?_sort=_lastUpdated&_count=3&page={page}"));
        paged.extend(ids(&bundle).into_iter().map(str::to_owned));
    }
    assert_eq!(paged, ids(&all));
    assert!(!paged.is_sorted(), "it is not the order of making");
}

#[test]
fn last_updated_may_be_coarse_or_missing() {
    let practice = with_visits(1);
    let told = |form: LastUpdatedForm| {
        practice.ehr.set_quirks(|quirks| quirks.last_updated = form);
        let bundle = practice.read(later(1), "Encounter");
        bundle["entry"][0]["resource"]["meta"].get("lastUpdated").cloned()
    };
    assert_eq!(told(LastUpdatedForm::Exact), Some(json!("2026-01-05T14:00:00.000Z")));
    assert_eq!(told(LastUpdatedForm::Day), Some(json!("2026-01-05")));
    assert_eq!(told(LastUpdatedForm::Missing), None);
}

#[test]
fn days_may_be_anywhere_and_all_that_counts() {
    let practice = Practice::new();
    // The middle of the first hour of the sixth of January, Eastern.
    practice.open(later(15 * 3_600 + 1_800));
    let found = |practice: &Practice, query: &str| {
        let now = later(800);
        ids(&practice.read(now, &format!("Encounter?_lastUpdated={query}"))).len()
    };
    assert_eq!(found(&practice, "gt2026-01-05"), 1);
    practice.ehr.set_quirks(|quirks| quirks.day_offset_minutes = Some(-480));
    assert_eq!(found(&practice, "gt2026-01-05"), 0, "Pacific, it is the fifth");
    let practice = with_visits(1);
    assert_eq!(found(&practice, &format!("ge{}", later(1))), 0);
    practice.ehr.set_quirks(|quirks| quirks.compares_days_only = true);
    assert_eq!(found(&practice, &format!("ge{}", later(1))), 1);
    assert_eq!(
        found(&practice, &format!("gt{}", morning() - Duration::from_secs(60))),
        0
    );
}

#[test]
fn totals_and_ends_vary() {
    let practice = with_visits(4);
    let total = |totals: Totals| {
        practice.ehr.set_quirks(|quirks| quirks.totals = Some(totals));
        practice.read(later(10), "Encounter?_count=2")["total"].as_u64()
    };
    assert_eq!(total(Totals::PageLocal), Some(2));
    assert_eq!(total(Totals::True), Some(4));
    assert_eq!(total(Totals::Absent), None);
    let links_on = || next(&practice.read(later(10), "Encounter?_count=2&page=2")).is_some();
    assert!(!links_on());
    practice.ehr.set_quirks(|quirks| quirks.links_past_the_end = Some(true));
    assert!(links_on());
}

#[test]
fn references_change_their_form_while_it_runs() {
    let practice = with_visits(1);
    let subject = |form: ReferenceForm| {
        practice.ehr.set_quirks(|quirks| quirks.references = Some(form));
        practice.read(later(1), "Encounter")["entry"][0]["resource"]["subject"]["reference"].clone()
    };
    let base = &practice.credentials.fhir_base;
    assert_eq!(subject(ReferenceForm::Absolute), format!("{base}/Patient/30001"));
    assert_eq!(subject(ReferenceForm::Versioned), "Patient/30001/_history/3");
}

#[test]
fn next_may_lead_astray() {
    let practice = with_visits(3);
    practice.ehr.add_firm(FirmSpec::new("beta")).unwrap();
    let follow = |form: NextLink, path: &str| {
        practice.ehr.set_quirks(|quirks| quirks.next_link = form);
        let bundle = practice.read(later(10), path);
        (
            ids(&bundle).into_iter().map(str::to_owned).collect::<Vec<_>>(),
            next(&bundle).map(str::to_owned),
        )
    };
    let (_, elsewhere) = follow(NextLink::OtherHost, "Encounter?_count=2");
    assert!(
        elsewhere
            .unwrap()
            .starts_with(&format!("{}/alpha/fhir/Encounter?", NextLink::ELSEWHERE))
    );
    let (_, other) = follow(NextLink::OtherFirm, "Encounter?_count=2");
    assert!(other.unwrap().contains("/beta/fhir/Encounter?"));
    let (_, second) = follow(NextLink::Cyclic, "Encounter?_count=2");
    let (_, first) = follow(NextLink::Cyclic, &second.unwrap());
    assert!(first.unwrap().contains("page=1"));
    let mut url = "Encounter?_count=2".to_owned();
    let mut seen = Vec::new();
    for _ in 0..5 {
        let (ids, next) = follow(NextLink::NeverEnding, &url);
        seen.push(ids.len());
        url = next.unwrap();
    }
    assert_eq!(seen, [2, 1, 2, 1, 2]);
    assert!(url.contains("page=6"));
}

#[test]
fn a_page_can_be_asked_for_while_its_session_lasts() {
    for status in [StatusCode::GONE, StatusCode::BAD_REQUEST] {
        let practice = with_visits(3);
        practice.ehr.set_quirks(|quirks| {
            quirks.paging_session = Some(PagingSession {
                lifetime: Duration::from_secs(30),
                status,
            });
        });
        let first = practice.read(later(10), "Encounter?_count=2");
        let link = next(&first).unwrap();
        assert_eq!(practice.get(later(40), link).0, StatusCode::OK);
        let (refused, outcome) = practice.get(later(41), link);
        assert_eq!(
            (refused, &outcome["resourceType"]),
            (status, &json!("OperationOutcome"))
        );
    }
}

#[test]
fn odd_ids_go_all_the_way() {
    let practice = Practice::speaking(Dialect::fhir_r4());
    practice.ehr.set_quirks(|quirks| quirks.odd_ids = true);
    let encounter = practice.open(morning());
    let document = practice.attach(later(60), &encounter);
    assert_eq!(encounter, "\u{fc}|5001 +%");
    let found = practice.read(later(70), "Encounter");
    let subject = found["entry"][0]["resource"]["subject"]["reference"].as_str().unwrap();
    assert_eq!(subject, "Patient/%C3%BC%7C30001%20%2B%25");
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("encounter", &encounter)
        .append_pair("patient", subject)
        .finish();
    let documents = practice.read(later(70), &format!("DocumentReference?{query}"));
    assert_eq!(ids(&documents), [document.as_str()]);
    let address = documents["entry"][0]["fullUrl"].as_str().unwrap();
    assert_eq!(practice.read(later(70), address)["id"], document.as_str());
}

#[test]
fn parameters_may_be_ignored_in_silence() {
    let practice = with_visits(2);
    let document = practice.attach(later(60), "5002");
    let draft = note("30002", "5002", &document);
    practice.create(later(61), &draft, None);
    let found = |path: &str| ids(&practice.read(later(70), path)).len();
    let paths = [
        ("encounter", "DocumentReference?encounter=5001", 0, 2),
        ("patient", "Encounter?patient=30001", 1, 2),
        ("identifier", "DocumentReference?identifier=unknown", 0, 2),
        ("category", "DocumentReference?category=CONSENT", 0, 2),
        ("_lastUpdated", "Encounter?_lastUpdated=gt2027-01-01", 0, 2),
    ];
    for (parameter, path, heeded, ignored) in paths {
        practice.ehr.set_quirks(|quirks| quirks.ignored_parameters.clear());
        assert_eq!(found(path), heeded, "{path}");
        practice
            .ehr
            .set_quirks(|quirks| quirks.ignored_parameters = [parameter].into());
        assert_eq!(found(path), ignored, "{path}");
    }
}

#[test]
fn the_ehrs_clock_may_be_minutes_off() {
    let practice = with_visits(1);
    practice.ehr.set_quirks(|quirks| quirks.clock_skew_seconds = -300);
    let request = practice.request("GET", "Encounter", Bytes::new());
    let response = practice
        .ehr
        .handle(later(10), Host::Api, &request)
        .into_response()
        .unwrap();
    assert_eq!(response.headers()["date"], "Mon, 05 Jan 2026 13:55:10 GMT");
    let (_, bundle) = answer(&response);
    let resource = &bundle["entry"][0]["resource"];
    assert_eq!(resource["meta"]["lastUpdated"], "2026-01-05T13:55:00.000Z");
    assert_eq!(resource["period"]["start"], "2026-01-05T13:55:00.000Z");
    let found = |query: &str| ids(&practice.read(later(10), &format!("Encounter?_lastUpdated={query}"))).len();
    assert_eq!(found("ge2026-01-05T13:55:00.000Z"), 1);
    assert_eq!(found("gt2026-01-05T13:55:00.000Z"), 0, "it compares what it writes");
}

#[test]
fn a_proxy_may_post_twice() {
    let practice = Practice::speaking(Dialect::fhir_r4());
    let (patient, encounter, document) = visit_with_photo(&practice);
    let draft = note(&patient, &encounter, &document);
    practice.ehr.set_quirks(|quirks| quirks.duplicate_posts = 2);
    let condition = "identifier=alpha-file%5C%7C139977";
    let guarded = practice.create(later(120), &draft, Some(("if-none-exist", condition)));
    assert_eq!(guarded.status(), StatusCode::CREATED);
    assert_eq!(
        practice.ehr.report().duplicates(),
        0,
        "the condition holds the second time"
    );
    practice.create(later(121), &draft, None);
    assert_eq!(practice.ehr.report().compositions, 3);
    practice.create(later(122), &draft, None);
    assert_eq!(practice.ehr.report().compositions, 4);
}

#[test]
fn a_draft_may_be_found_late() {
    let practice = Practice::speaking(Dialect::fhir_r4());
    let (patient, encounter, document) = visit_with_photo(&practice);
    practice
        .ehr
        .set_quirks(|quirks| quirks.draft_visibility_delay = Duration::from_secs(30));
    let draft = note(&patient, &encounter, &document);
    practice.create(later(120), &draft, None);
    let query = "DocumentReference?identifier=alpha-file%5C%7C139977";
    let found = |second: u64| ids(&practice.read(later(second), query)).len();
    assert_eq!((found(149), found(150)), (0, 1));
}
