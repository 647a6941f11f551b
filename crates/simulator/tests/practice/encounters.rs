//! `GET Encounter`.

use skin_assist_simulator::EncounterSearchGranularity;

use super::*;

#[test]
fn an_encounter_says_who_when_and_by_whom() {
    let practice = Practice::new();
    let id = practice.open(morning());
    practice.ehr.finish_encounter(later(90), "alpha", &id).unwrap();
    let (_, bundle) = practice.get(later(100), "Encounter");
    let encounter = &bundle["entry"][0]["resource"];
    let base = &practice.credentials.fhir_base;
    assert_eq!(encounter["status"], "finished");
    assert_eq!(encounter["meta"]["lastUpdated"], "2026-01-05T14:01:30.000Z");
    assert_eq!(encounter["subject"]["reference"], format!("{base}/Patient/30001"));
    assert_eq!(encounter["participant"][0]["type"][0]["coding"][0]["code"], "PPRF");
    assert_eq!(
        encounter["participant"][0]["individual"]["reference"],
        format!("{base}/Practitioner/201")
    );
    assert_eq!(encounter["period"]["end"], "2026-01-05T14:01:30.000Z");
}

#[test]
fn pages_have_local_totals_and_full_ones_link_on() {
    let practice = Practice::new();
    for number in 0..4 {
        practice.open(later(number));
    }
    let (_, first) = practice.get(later(9), "Encounter?_count=2&status=in-progress");
    assert_eq!((ids(&first), &first["total"]), (vec!["5001", "5002"], &json!(2)));
    let (_, second) = practice.get(later(9), next(&first).unwrap());
    assert_eq!(ids(&second), ["5003", "5004"]);
    let (_, third) = practice.get(later(9), next(&second).unwrap());
    assert_eq!((ids(&third), &third["total"]), (vec![], &json!(0)));
    assert_eq!(next(&third), None);

    let mut request = practice.request("GET", "Encounter?_count=2&page=2", Bytes::new());
    let flag = "Pagination_optimization_disabled".parse().unwrap();
    request.headers_mut().insert("content-flag", flag);
    let outcome = practice.ehr.handle(later(9), Host::Api, &request);
    let (_, exact) = answer(&outcome.into_response().unwrap());
    assert_eq!((&exact["total"], next(&exact)), (&json!(4), None));
}

#[test]
fn last_updated_is_searched_by_eastern_day() {
    let practice = Practice::new();
    let first = practice.open(morning());
    let second = practice.open(later(15 * 3_600 + 60));
    let search = |query: &str| {
        let (status, bundle) = practice.get(later(890), &format!("Encounter?_lastUpdated={query}"));
        assert_eq!(status, StatusCode::OK);
        ids(&bundle).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(search("gt2026-01-04"), [first.clone(), second.clone()]);
    assert_eq!(search("gt2026-01-05"), [second]);
    assert_eq!(search("le2026-01-05"), [first]);
}

#[test]
fn undocumented_searches_are_refused() {
    let practice = Practice::new();
    for query in [
        "_count=51",
        "_sort=_lastUpdated",
        "_lastUpdated=ge2026-01-05",
        "_lastUpdated=gt2026-01-05T09:00:00Z",
        "status=unheard-of",
        "page=0",
    ] {
        let (status, _) = practice.get(morning(), &format!("Encounter?{query}"));
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
    }
}

#[test]
fn instants_can_be_searched_where_the_ehr_takes_them() {
    let practice = Practice::with(Options {
        encounter_search: EncounterSearchGranularity::Instant,
        ..Options::default()
    });
    let first = practice.open(morning());
    practice.open(later(10));
    let (_, bundle) = practice.get(later(20), &format!("Encounter?_lastUpdated=gt{}", later(5)));
    assert_eq!(ids(&bundle), ["5002"]);
    practice.ehr.touch_encounter(later(30), "alpha", &first).unwrap();
    let (_, bundle) = practice.get(later(40), &format!("Encounter?_lastUpdated=gt{}", later(10)));
    assert_eq!(ids(&bundle), [first.as_str()]);
}
