//! Tokens, keys, quota, paths.

use super::*;

#[test]
fn a_token_is_issued_for_the_right_secret_only() {
    let practice = Practice::new();
    let credentials = &practice.credentials;
    let with = |client: &str, secret: &str| {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("client_secret", secret),
        ];
        token_response(&practice.ehr, morning(), &form)
    };
    let (status, reply) = with(&credentials.client_id, &credentials.client_secret);
    assert_eq!(status, StatusCode::OK);
    assert_eq!(reply["expires_in"], 900);
    assert_eq!(reply["token_type"], "Bearer");
    let (status, reply) = with(&credentials.client_id, "wrong");
    assert_eq!(
        (status, &reply["error"]),
        (StatusCode::UNAUTHORIZED, &json!("invalid_client"))
    );
    let (status, reply) = token_response(&practice.ehr, morning(), &[("grant_type", "password")]);
    assert_eq!(
        (status, &reply["error"]),
        (StatusCode::BAD_REQUEST, &json!("unsupported_grant_type"))
    );
    practice.ehr.revoke_secret("alpha").unwrap();
    let (status, _) = with(&credentials.client_id, &credentials.client_secret);
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let renewed = practice.ehr.rotate_secret("alpha").unwrap();
    assert_ne!(renewed.client_secret, credentials.client_secret);
    assert!(token(&practice.ehr, morning(), &renewed).is_some());
}

#[test]
fn a_token_is_good_for_its_firm_until_it_expires_or_is_revoked() {
    let practice = Practice::new();
    let other = practice.ehr.add_firm(FirmSpec::new("beta")).unwrap();
    assert_eq!(practice.get(later(899), "Encounter").0, StatusCode::OK);
    let elsewhere = format!("{}/Encounter", other.fhir_base);
    assert_eq!(practice.get(later(0), &elsewhere).0, StatusCode::FORBIDDEN);
    assert_eq!(practice.get(later(900), "Encounter").0, StatusCode::UNAUTHORIZED);
    practice.ehr.revoke_tokens("alpha");
    assert_eq!(practice.get(later(1), "Encounter").0, StatusCode::UNAUTHORIZED);
}

#[test]
fn an_api_key_is_needed_besides_the_token() {
    let practice = Practice::new();
    let mut request = practice.request("GET", "Encounter", Bytes::new());
    request.headers_mut().remove("x-api-key");
    let outcome = practice.ehr.handle(morning(), Host::Api, &request);
    assert_eq!(outcome.into_response().unwrap().status(), StatusCode::FORBIDDEN);
}

#[test]
fn the_quota_is_per_key_and_slides_over_all_firms() {
    let mut practice = Practice::with(Options {
        quota_per_minute: 3,
        ..Options::default()
    });
    let other = practice.ehr.add_firm(FirmSpec::new("beta")).unwrap();
    let own_key = practice
        .ehr
        .add_firm(FirmSpec {
            api_key: Some("another".to_owned()),
            ..FirmSpec::new("gamma")
        })
        .unwrap();
    assert_eq!(practice.get(later(0), "Encounter").0, StatusCode::OK);
    assert_eq!(practice.get(later(20), "Nonsense").0, StatusCode::NOT_FOUND);
    practice.token = token(&practice.ehr, later(20), &other).unwrap();
    practice.credentials = other;
    assert_eq!(practice.get(later(40), "Encounter").0, StatusCode::OK);
    assert_eq!(practice.get(later(59), "Encounter").0, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(practice.get(later(60), "Encounter").0, StatusCode::OK);
    practice.token = token(&practice.ehr, later(60), &own_key).unwrap();
    practice.credentials = own_key;
    assert_eq!(practice.get(later(60), "Encounter").0, StatusCode::OK);
    let report = practice.ehr.report();
    assert_eq!(report.refused_429, 1);
    assert_eq!(report.calls.encounter, 4);
    assert_eq!(report.calls.context, 1);
    assert_eq!(report.token_calls, 3);
    assert_eq!(report.max_calls_in_window, 4);
}

#[test]
fn what_is_not_offered_is_not_there() {
    let practice = Practice::new();
    for path in [
        "Observation",
        "Composition/1",
        "Encounter/5001",
        "Patient",
        "ValueSet/other",
    ] {
        let (status, reply) = practice.get(morning(), path);
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(reply["resourceType"], "OperationOutcome");
    }
    assert_eq!(practice.get(morning(), "Composition").0, StatusCode::METHOD_NOT_ALLOWED);
}

#[test]
fn context_is_read_by_id() {
    let practice = Practice::new();
    practice.open(morning());
    let (_, patient) = practice.get(morning(), "Patient/30001");
    assert!(patient["birthDate"].is_string() && patient["gender"].is_string());
    let (_, categories) = practice.get(morning(), "ValueSet/document-category");
    assert_eq!(categories["expansion"]["contains"][0]["code"], "PHOTO-LESION");
    assert_eq!(categories["compose"]["include"][0]["concept"][1]["code"], "PHOTO-RASH");
    let (_, practitioner) = practice.get(morning(), "Practitioner/201");
    assert_eq!(practitioner["resourceType"], "Practitioner");
    let (_, metadata) = practice.get(morning(), "metadata");
    assert_eq!(metadata["resourceType"], "CapabilityStatement");
    let base = &practice.credentials.api_base;
    let (status, _) = practice.get(morning(), &format!("{base}/fhir/v2/metadata"));
    assert_eq!(status, StatusCode::OK);
    assert_eq!(practice.ehr.report().calls.context, 5);
}
