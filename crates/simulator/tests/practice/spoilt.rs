//! Replies that are not what their status says, and what a gateway adds to replies.

use skin_assist_simulator::{CallKind, FailNext, RetryAfter, Spoilt, SpoiltReply};

use super::*;

fn spoil(practice: &Practice, kind: CallKind, form: Spoilt) {
    practice.ehr.set_quirks(|quirks| {
        quirks.spoilt_replies.push(SpoiltReply {
            kind,
            form,
            remaining: 1,
        });
    });
}

fn ask(practice: &Practice, path: &str) -> Response<Bytes> {
    let request = practice.request("GET", path, Bytes::new());
    practice
        .ehr
        .handle(later(100), Host::Api, &request)
        .into_response()
        .unwrap()
}

#[test]
fn an_outcome_may_come_with_200() {
    let practice = Practice::new();
    let encounter = practice.open(morning());
    spoil(&practice, CallKind::Encounter, Spoilt::OutcomeAsBody);
    for is_error in [true, false] {
        spoil(&practice, CallKind::Encounter, Spoilt::OutcomeInBundle { is_error });
    }
    let whole = practice.read(later(100), "Encounter");
    assert_eq!(whole["resourceType"], "OperationOutcome");
    for severity in ["error", "warning"] {
        let bundle = practice.read(later(100), "Encounter");
        assert_eq!(bundle["entry"][0]["resource"]["id"], encounter.as_str());
        let outcome = &bundle["entry"][1];
        assert_eq!(outcome["search"]["mode"], "outcome");
        assert_eq!(outcome["resource"]["issue"][0]["severity"], severity);
    }
    assert_eq!(ids(&practice.read(later(100), "Encounter")).len(), 1, "then it is over");
}

#[test]
fn a_page_of_html_may_come_instead() {
    let practice = Practice::new();
    let (patient, _, _) = visit_with_photo(&practice);
    let search = format!("DocumentReference?patient={patient}");
    for (form, status) in [
        (Spoilt::HtmlPage, StatusCode::OK),
        (Spoilt::HtmlBadGateway, StatusCode::BAD_GATEWAY),
    ] {
        spoil(&practice, CallKind::Document, form);
        let response = ask(&practice, &search);
        assert_eq!(response.status(), status);
        assert!(
            response.headers()["content-type"]
                .to_str()
                .unwrap()
                .starts_with("text/html")
        );
        assert!(response.body().starts_with(b"<!doctype"));
    }
    assert_eq!(
        practice.ehr.report().photos[0].first_listed_at,
        None,
        "nothing was listed"
    );
    assert_eq!(practice.ehr.report().calls.document, 2);
}

#[test]
fn json_may_be_cut_off() {
    let practice = Practice::new();
    practice.open(morning());
    spoil(&practice, CallKind::Encounter, Spoilt::Truncated);
    let response = ask(&practice, "Encounter");
    assert_eq!(response.status(), StatusCode::OK);
    assert!(serde_json::from_slice::<Value>(response.body()).is_err());
}

#[test]
fn a_draft_is_stored_whatever_its_reply_looks_like() {
    let practice = Practice::new();
    let (patient, encounter, document) = visit_with_photo(&practice);
    let draft = composition(&practice, &patient, &encounter, &document);
    spoil(&practice, CallKind::Draft, Spoilt::HtmlBadGateway);
    let response = practice.create(later(120), &draft, None);
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(practice.ehr.report().compositions, 1);
}

#[test]
fn tokens_and_photos_may_be_spoilt_too() {
    let practice = Practice::new();
    let (_, _, document) = visit_with_photo(&practice);
    let url = practice.photo_url(later(61), &document);
    spoil(&practice, CallKind::Photo, Spoilt::HtmlPage);
    assert!(practice.fetch(later(62), &url).body().starts_with(b"<!doctype"));
    assert_eq!(practice.fetch(later(62), &url).headers()["content-type"], "image/jpeg");
    spoil(&practice, CallKind::Token, Spoilt::OutcomeAsBody);
    assert_eq!(token(&practice.ehr, later(62), &practice.credentials), None);
}

#[test]
fn a_429_says_when_to_come_back_in_three_ways() {
    let practice = Practice::new();
    let told = |form: RetryAfter| {
        practice.ehr.set_quirks(|quirks| {
            quirks.retry_after = form;
            quirks.clock_skew_seconds = 60;
        });
        practice.ehr.set_faults(|faults| {
            faults.failures = vec![FailNext {
                kind: CallKind::Encounter,
                status: StatusCode::TOO_MANY_REQUESTS,
                remaining: 1,
            }];
        });
        let response = ask(&practice, "Encounter");
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        let value = response.headers().get("retry-after");
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(told(RetryAfter::Absent), None);
    assert_eq!(told(RetryAfter::Seconds(7)).as_deref(), Some("7"));
    assert_eq!(
        told(RetryAfter::Date(20)).as_deref(),
        Some("Mon, 05 Jan 2026 14:03:00 GMT")
    );
}

#[test]
fn the_quota_is_told_on_request() {
    let practice = Practice::with(Options {
        quota_per_minute: 2,
        ..Options::default()
    });
    assert!(!ask(&practice, "Encounter").headers().contains_key("x-ratelimit-limit"));
    practice.ehr.set_quirks(|quirks| quirks.rate_limit_headers = true);
    let told = |response: &Response<Bytes>| {
        let number = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        (number("x-ratelimit-limit"), number("x-ratelimit-remaining"))
    };
    assert_eq!(told(&ask(&practice, "Encounter")), ("2".to_owned(), "0".to_owned()));
    assert_eq!(ask(&practice, "Encounter").status(), StatusCode::TOO_MANY_REQUESTS);
}
