//! The token endpoint.

use std::time::Duration;

use serde_json::{Value, json};
use skin_assist_core::{
    domain::{AccessToken, Credential, CredentialState, FirmId},
    phi::Secret,
    ports::{EhrError, TokenEndpoint},
};
use skin_assist_ehr::{LONGEST_TOKEN_LIFE, SHORTEST_TOKEN_LIFE};

use crate::script::{
    Answer, Script, at, client, client_with, firm, json as reply_json, lost, not_sent, profile_with, reply, run,
};

fn credential() -> Credential {
    Credential {
        firm: FirmId::new("derm"),
        client_id: "client & co".into(),
        client_secret: Secret::new("s&cret=%".into()),
        key_id: None,
        token: None,
        refresh_token: None,
        state: CredentialState::Usable,
    }
}

fn ask(answer: Answer) -> Result<AccessToken, EhrError> {
    let (client, _) = client([answer]);
    run(client.request_token(&firm("derm-a"), &credential(), at("2026-01-05T10:00:00Z"))).map(|token| token.access)
}

fn life(expires_in: &Value) -> Duration {
    let token = ask(reply_json(&json!({ "access_token": "t", "expires_in": expires_in }))).unwrap();
    token.expires_at.since(token.issued_at)
}

#[test]
fn client_credentials_go_in_the_body() {
    let (client, script) = client([reply_json(
        &json!({ "access_token": "t", "token_type": "bearer", "expires_in": 900 }),
    )]);
    let now = at("2026-01-05T10:00:00Z");
    let issued = run(client.request_token(&firm("derm-a"), &credential(), now)).unwrap();
    assert_eq!(issued.refresh_token, None);
    let token = issued.access;
    assert_eq!((token.secret.expose(), token.issued_at), ("t", now));
    assert_eq!(token.expires_at, now + Duration::from_secs(900));
    let request = script.request();
    assert_eq!(
        (request.method().as_str(), request.uri().to_string().as_str()),
        ("POST", "https://login.example/realms/a/token")
    );
    assert_eq!(request.headers()["content-type"], "application/x-www-form-urlencoded");
    // The key is for the EHR and not for the realm.
    assert!(!request.headers().contains_key("x-api-key"));
    assert_eq!(
        request.body(),
        "grant_type=client_credentials&client_id=client+%26+co&client_secret=s%26cret%3D%25"
    );
}

#[test]
fn a_scope_is_asked_for_where_the_profile_has_one() {
    let script = Script::of([reply_json(&json!({ "access_token": "t" }))]);
    let profile = profile_with("default_lifetime_s", "scope = \"system/*.read\"\ndefault_lifetime_s");
    let client = client_with(profile, &script, &Script::of([]));
    run(client.request_token(&firm("derm-a"), &credential(), at("2026-01-05T10:00:00Z"))).unwrap();
    assert!(script.request().body().ends_with(b"&scope=system%2F*.read"));
}

#[test]
fn a_life_that_is_missing_or_absurd() {
    assert_eq!(life(&json!(null)), Duration::from_secs(300));
    assert_eq!(life(&json!("soon")), Duration::from_secs(300));
    assert_eq!(life(&json!("600")), Duration::from_secs(600));
    assert_eq!(life(&json!(899.5)), Duration::from_millis(899_500));
    assert_eq!(life(&json!(0)), SHORTEST_TOKEN_LIFE);
    assert_eq!(life(&json!(-1)), SHORTEST_TOKEN_LIFE);
    assert_eq!(life(&json!(1e300)), LONGEST_TOKEN_LIFE);
}

#[test]
fn refusals_failures_and_nonsense() {
    let oauth = |status: u16, code: &str| reply(status, &[], json!({ "error": code }).to_string());
    for (answer, expected) in [
        (
            oauth(401, "invalid_client"),
            EhrError::CredentialRefused { status: 401 },
        ),
        (
            oauth(400, "invalid_client"),
            EhrError::CredentialRefused { status: 400 },
        ),
        (
            oauth(400, "unauthorized_client"),
            EhrError::CredentialRefused { status: 400 },
        ),
        (oauth(400, "invalid_grant"), EhrError::CredentialRefused { status: 400 }),
        (
            oauth(403, "unauthorized_client"),
            EhrError::CredentialRefused { status: 403 },
        ),
        (
            oauth(200, "invalid_client"),
            EhrError::CredentialRefused { status: 400 },
        ),
        (reply(401, &[], "<html>"), EhrError::CredentialRefused { status: 401 }),
        (oauth(400, "invalid_scope"), EhrError::ScopeRefused { status: 400 }),
        (oauth(400, "invalid_request"), EhrError::Rejected { status: 400 }),
        (reply(404, &[], ""), EhrError::NotFound { status: 404 }),
        // Not the EHR's quota.
        (
            reply(429, &[("retry-after", "5")], ""),
            EhrError::Unavailable {
                what: "the token endpoint asks to slow down (429)",
            },
        ),
        (
            reply(503, &[], "<html>"),
            EhrError::Unavailable {
                what: "it is out of service for now (503)",
            },
        ),
        (
            lost(),
            EhrError::Unavailable {
                what: "the connection broke",
            },
        ),
        (
            not_sent(),
            EhrError::Unavailable {
                what: "the connection was refused",
            },
        ),
        (
            reply(200, &[], "<html>"),
            EhrError::Malformed {
                what: "it is HTML or XML, not JSON",
            },
        ),
        (
            reply_json(&json!({})),
            EhrError::Malformed {
                what: "the token endpoint's reply has no access token",
            },
        ),
        (
            reply_json(&json!({ "access_token": "" })),
            EhrError::Malformed {
                what: "the token endpoint's reply has no access token",
            },
        ),
        (
            reply_json(&json!({ "access_token": "a\nb" })),
            EhrError::Malformed {
                what: "the access token cannot be sent in a header",
            },
        ),
        (
            reply_json(&json!({ "access_token": "a", "token_type": "mac" })),
            EhrError::Malformed {
                what: "the access token is not a bearer token",
            },
        ),
    ] {
        assert_eq!(ask(answer).unwrap_err(), expected);
    }
}
