//! The token endpoint by every method: how the client proves itself, where the endpoint is, refresh tokens.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ::http::Request;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use ring::signature::{ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA384, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::{Value, json};
use skin_assist_core::{
    domain::{Credential, CredentialState, FirmId, IssuedToken},
    phi::Secret,
    ports::{EhrError, TokenEndpoint},
    time::Timestamp,
};
use skin_assist_ehr::{ClientKey, ConnectionError, EhrClient, KeyError, Profile, SigningAlgorithm};

use crate::script::{
    Answer, SERVICE, Script, at, connection, firm, json as reply_json, lost, not_sent, reply, run, status,
};

const ENDPOINT: &str = "https://login.example/realms/a/token";
const RSA: &str = include_str!("keys/rsa.pkcs8.pem");
const RSA_PKCS1: &str = include_str!("keys/rsa.pkcs1.pem");
const EC: &str = include_str!("keys/ec.pkcs8.pem");
const JWT: &str = "grant = \"client-credentials\"\nclient_authentication = \"private-key-jwt\"\n";
const PASSWORD: &str = "grant = \"password\"\nclient_authentication = \"none\"\n";

/// The shipped profile with other rules for tokens.
fn profile(token: &str) -> Profile {
    let text = Profile::shipped_text("modmed-ema").unwrap();
    let (before, after) = text.split_once("[token]\n").unwrap();
    let (_, after) = after.split_once("\n\n").unwrap();
    Profile::from_toml(&format!(
        "{before}[token]\ndefault_lifetime_s = 300\n{token}\n\n{after}"
    ))
    .unwrap()
}

/// A client whose EHR and token endpoint give these answers; `configured` when the operator says where the endpoint is.
fn client(token: &str, configured: bool, answers: impl IntoIterator<Item = Answer>) -> (EhrClient, Arc<Script>) {
    let script = Script::of(answers);
    let mut connection = connection(profile(token));
    if !configured {
        connection.token_url = None;
    }
    let client = EhrClient::new(connection, Arc::clone(&script) as _, Script::of([])).unwrap();
    (client, script)
}

fn credential(secret: &str) -> Credential {
    Credential {
        firm: FirmId::new("derm"),
        client_id: "client & co".into(),
        client_secret: Secret::new(secret.into()),
        key_id: Some("key-1".into()),
        token: None,
        refresh_token: None,
        state: CredentialState::Usable,
    }
}

fn now() -> Timestamp {
    at("2026-01-05T10:00:00Z")
}

fn ask_at(client: &EhrClient, credential: &Credential, now: Timestamp) -> Result<IssuedToken, EhrError> {
    run(client.request_token(&firm("derm-a"), credential, now))
}

fn ask(client: &EhrClient, credential: &Credential) -> Result<IssuedToken, EhrError> {
    ask_at(client, credential, now())
}

fn issued() -> Answer {
    reply_json(&json!({ "access_token": "t", "expires_in": 900 }))
}

fn refused(code: &str) -> Answer {
    reply(400, &[], json!({ "error": code }).to_string())
}

fn form(request: &Request<Bytes>) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(request.body()).into_owned().collect()
}

/// A JWT's header and claims, if the public half of the key says that it is signed.
fn verified(jwt: &str, key: &ClientKey) -> (Value, Value) {
    let (message, signature) = jwt.rsplit_once('.').unwrap();
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
    let jwk = key.jwk_set("key-1")["keys"][0].clone();
    let member = |name: &str| decode(jwk[name].as_str().unwrap());
    let signature = decode(signature);
    match key.algorithm() {
        SigningAlgorithm::Es384 => {
            let point = [&[4], member("x").as_slice(), member("y").as_slice()].concat();
            UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
                .verify(message.as_bytes(), &signature)
                .unwrap();
        }
        SigningAlgorithm::Rs384 => RsaPublicKeyComponents {
            n: member("n"),
            e: member("e"),
        }
        .verify(&RSA_PKCS1_2048_8192_SHA384, message.as_bytes(), &signature)
        .unwrap(),
    }
    let (header, claims) = message.split_once('.').unwrap();
    let read = |part: &str| serde_json::from_slice(&decode(part)).unwrap();
    (read(header), read(claims))
}

#[test]
fn basic_encodes_id_and_secret_before_it_joins_them() {
    let rules = "grant = \"client-credentials\"\nclient_authentication = \"client-secret-basic\"\nscope = \"a b\"";
    let (client, script) = client(rules, true, [issued()]);
    ask(&client, &credential("s:cret=%ü")).unwrap();
    let request = script.request();
    let header = request.headers()["authorization"].clone();
    assert!(header.is_sensitive());
    let pair = STANDARD
        .decode(header.to_str().unwrap().strip_prefix("Basic ").unwrap())
        .unwrap();
    assert_eq!(String::from_utf8(pair).unwrap(), "client+%26+co:s%3Acret%3D%25%C3%BC");
    assert_eq!(request.body(), "grant_type=client_credentials&scope=a+b");
}

#[test]
fn a_signed_assertion_says_what_smart_asks_for_and_no_more() {
    let (made, pem) = ClientKey::generate().unwrap();
    assert_eq!(made.algorithm(), SigningAlgorithm::Es384);
    for (algorithm, pem) in [
        ("RS384", RSA),
        ("RS384", RSA_PKCS1),
        ("ES384", EC),
        ("ES384", pem.expose()),
    ] {
        let rules = format!("{JWT}signing_algorithm = \"{algorithm}\"\nscope = \"system/DocumentReference.rs\"");
        let (client, script) = client(&rules, true, [issued(), issued()]);
        ask(&client, &credential(pem)).unwrap();
        ask(&client, &credential(pem)).unwrap();
        let key = ClientKey::read(&Secret::new(pem.into())).unwrap();
        let mut ids = Vec::new();
        for request in script.requests() {
            assert!(!request.headers().contains_key("authorization"));
            let form = form(&request);
            let names: Vec<_> = form.keys().map(String::as_str).collect();
            assert_eq!(
                names,
                ["client_assertion", "client_assertion_type", "grant_type", "scope"]
            );
            assert_eq!(form["grant_type"], "client_credentials");
            assert_eq!(form["scope"], "system/DocumentReference.rs");
            assert_eq!(
                form["client_assertion_type"],
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            );
            let (header, claims) = verified(&form["client_assertion"], &key);
            assert_eq!(header, json!({ "alg": algorithm, "kid": "key-1", "typ": "JWT" }));
            let expires = now() + Duration::from_secs(240);
            let id = claims["jti"].as_str().unwrap().to_owned();
            assert_eq!(id.len(), 22);
            assert_eq!(
                claims,
                json!({ "iss": "client & co", "sub": "client & co", "aud": ENDPOINT,
                    "exp": expires.as_millis() / 1000, "jti": id })
            );
            ids.push(id);
        }
        assert_ne!(ids[0], ids[1], "no assertion is made twice");
    }
}

#[test]
fn the_next_assertion_counts_by_the_endpoints_clock() {
    let date = "Mon, 05 Jan 2026 10:20:00 GMT";
    let refusal = || reply(400, &[("date", date)], json!({ "error": "invalid_client" }).to_string());
    let rules = format!("{JWT}signing_algorithm = \"ES384\"");
    let key = ClientKey::read(&Secret::new(EC.into())).unwrap();
    let expiry = |request: &Request<Bytes>| verified(&form(request)["client_assertion"], &key).1["exp"].clone();
    let (ahead, script) = client(&rules, true, [refusal(), refusal(), refusal()]);
    // Once more with the other clock, and then it is the credential.
    assert_eq!(
        ask(&ahead, &credential(EC)).unwrap_err(),
        EhrError::CredentialRefused { status: 400 }
    );
    let requests = script.requests();
    assert_eq!(requests.len(), 2);
    let seconds = |text: &str| json!(at(text).as_millis() / 1000);
    assert_eq!(expiry(&requests[0]), seconds("2026-01-05T10:04:00Z"));
    assert_eq!(expiry(&requests[1]), seconds("2026-01-05T10:24:00Z"));
    // It is remembered, and a minute is no news.
    assert!(ask_at(&ahead, &credential(EC), at("2026-01-05T10:00:50Z")).is_err());
    assert_eq!(script.count(), 3);

    // The same clock, or one that cannot be believed: a refusal is a refusal.
    for date in ["Mon, 05 Jan 2026 10:00:30 GMT", "Tue, 05 Jan 2027 10:00:00 GMT"] {
        let answer = reply(401, &[("date", date)], "");
        let (client, script) = client(&rules, true, [answer]);
        assert!(ask(&client, &credential(EC)).is_err());
        assert_eq!(script.count(), 1, "{date}");
    }
}

#[test]
fn a_key_that_does_not_fit_is_refused_before_anything_is_sent() {
    for (algorithm, pem, what) in [
        ("RS384", EC, "its private key is not one for the profile's algorithm"),
        ("ES384", RSA, "its private key is not one for the profile's algorithm"),
        ("ES384", "s3cret", "its private key cannot be read"),
        (
            "ES384",
            include_str!("keys/ec.sec1.pem"),
            "its private key cannot be read",
        ),
    ] {
        let (client, script) = client(&format!("{JWT}signing_algorithm = \"{algorithm}\""), true, []);
        let error = ask(&client, &credential(pem)).unwrap_err();
        assert_eq!(error, EhrError::CredentialUnusable { what });
        assert_eq!(script.count(), 0);
    }
    let nameless = Credential {
        key_id: None,
        ..credential(EC)
    };
    let (client, _) = client(&format!("{JWT}signing_algorithm = \"ES384\""), true, []);
    let what = "its key has no id";
    assert_eq!(
        ask(&client, &nameless).unwrap_err(),
        EhrError::CredentialUnusable { what }
    );
}

#[test]
fn keys_of_other_forms_are_named() {
    let read = |text: &str| ClientKey::read(&Secret::new(text.into())).map(|key| key.algorithm());
    for (text, expected) in [
        (RSA, Ok(SigningAlgorithm::Rs384)),
        (RSA_PKCS1, Ok(SigningAlgorithm::Rs384)),
        (EC, Ok(SigningAlgorithm::Es384)),
        (include_str!("keys/ec.sec1.pem"), Err(KeyError::Sec1)),
        (include_str!("keys/ec.encrypted.pem"), Err(KeyError::Encrypted)),
        (include_str!("keys/ec.public.pem"), Err(KeyError::Public)),
        (include_str!("keys/p256.pkcs8.pem"), Err(KeyError::Unusable)),
        ("", Err(KeyError::NotPem)),
        ("a secret", Err(KeyError::NotPem)),
        ("-----BEGIN PRIVATE KEY-----", Err(KeyError::NotPem)),
        (
            "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----",
            Err(KeyError::NotPem),
        ),
        (
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
            Err(KeyError::Unusable),
        ),
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
    assert!(KeyError::Sec1.hint().contains("openssl pkcs8 -topk8 -nocrypt"));
}

#[test]
fn the_public_half_has_nothing_of_the_private_one() {
    for pem in [RSA, EC] {
        let key = ClientKey::read(&Secret::new(pem.into())).unwrap();
        let set = key.jwk_set(&key.thumbprint());
        let jwk = set["keys"][0].as_object().unwrap();
        let names: Vec<_> = jwk.keys().map(String::as_str).collect();
        match key.algorithm() {
            SigningAlgorithm::Rs384 => assert_eq!(names, ["alg", "e", "key_ops", "kid", "kty", "n"]),
            SigningAlgorithm::Es384 => assert_eq!(names, ["alg", "crv", "key_ops", "kid", "kty", "x", "y"]),
        }
        assert_eq!(key.thumbprint().len(), 43);
    }
}

fn password_reply(refresh_token: Option<&str>) -> Answer {
    reply_json(&json!({ "access_token": "t", "expires_in": "600", "refresh_token": refresh_token }))
}

fn with_refresh_token() -> Credential {
    Credential {
        refresh_token: Some(Secret::new("r+1".into())),
        ..credential("pass&word")
    }
}

#[test]
fn the_password_grant_at_the_firms_own_endpoint() {
    let rules = format!("{PASSWORD}api_key = true\nurl = \"{{base}}/firm/{{firm}}/ema/ws/oauth2/grant\"");
    let (client, script) = client(&rules, false, [password_reply(Some("r+1"))]);
    let issued = ask(&client, &credential("pass&word")).unwrap();
    assert_eq!(issued.refresh_token, Some(Secret::new("r+1".into())));
    assert_eq!(issued.access.expires_at, now() + Duration::from_secs(600));
    let request = script.request();
    assert_eq!(
        request.uri().to_string(),
        "https://ehr.example/base/firm/derm-a/ema/ws/oauth2/grant"
    );
    assert_eq!(request.headers()["x-api-key"], "the-api-key");
    assert_eq!(
        request.body(),
        "grant_type=password&username=client+%26+co&password=pass%26word"
    );
}

#[test]
fn a_refresh_token_is_used_first_and_kept_until_a_new_one_comes() {
    let (client, script) = client(PASSWORD, true, [password_reply(None), password_reply(Some("r2"))]);
    for expected in ["r+1", "r2"] {
        let issued = ask(&client, &with_refresh_token()).unwrap();
        assert_eq!(issued.refresh_token, Some(Secret::new(expected.into())));
    }
    for request in script.requests() {
        assert_eq!(request.body(), "grant_type=refresh_token&refresh_token=r%2B1");
    }
}

#[test]
fn a_refused_refresh_token_is_followed_by_the_password_once() {
    let (taken, script) = client(PASSWORD, true, [refused("invalid_grant"), password_reply(None)]);
    assert_eq!(ask(&taken, &with_refresh_token()).unwrap().refresh_token, None);
    assert_eq!(form(&script.requests()[1])["grant_type"], "password");

    let (neither, script) = client(PASSWORD, true, [refused("invalid_grant"), refused("invalid_grant")]);
    assert_eq!(
        ask(&neither, &with_refresh_token()).unwrap_err(),
        EhrError::CredentialRefused { status: 400 }
    );
    assert_eq!(script.count(), 2);

    // An outage says nothing about the token: the password is not sent about for it.
    for answer in [status(503), lost(), not_sent()] {
        let (client, script) = client(PASSWORD, true, [answer]);
        assert!(matches!(
            ask(&client, &with_refresh_token()),
            Err(EhrError::Unavailable { .. })
        ));
        assert_eq!(script.count(), 1);
    }
}

#[test]
fn a_refresh_token_is_nothing_to_a_client_that_can_prove_itself() {
    let rules = "grant = \"client-credentials\"\nclient_authentication = \"client-secret-post\"";
    let (client, script) = client(rules, true, [password_reply(Some("r2"))]);
    assert_eq!(ask(&client, &with_refresh_token()).unwrap().refresh_token, None);
    assert_eq!(form(&script.request())["grant_type"], "client_credentials");
}

const DISCOVERY: &str =
    "grant = \"client-credentials\"\nclient_authentication = \"client-secret-post\"\ndiscovery = true";

fn configuration(endpoint: &str) -> Answer {
    reply_json(&json!({ "token_endpoint": endpoint, "token_endpoint_auth_methods_supported": ["private_key_jwt"] }))
}

#[test]
fn the_endpoint_is_found_out_once_an_hour() {
    let (client, script) = client(
        DISCOVERY,
        false,
        [
            configuration(ENDPOINT),
            issued(),
            issued(),
            configuration(ENDPOINT),
            issued(),
        ],
    );
    for time in ["2026-01-05T10:00:00Z", "2026-01-05T10:59:59Z", "2026-01-05T11:00:00Z"] {
        ask_at(&client, &credential("s"), at(time)).unwrap();
    }
    let discovery = format!("{SERVICE}/.well-known/smart-configuration");
    assert_eq!(script.urls(), [&discovery, ENDPOINT, ENDPOINT, &discovery, ENDPOINT]);
    let first = &script.requests()[0];
    assert_eq!(first.method(), "GET");
    let names: Vec<_> = first.headers().keys().map(::http::HeaderName::as_str).collect();
    assert_eq!(names, ["accept"], "neither token nor API key");
}

#[test]
fn each_service_has_its_own_endpoint() {
    let answers = [
        configuration(ENDPOINT),
        issued(),
        configuration("https://login.example/b"),
        issued(),
    ];
    let (client, script) = client(DISCOVERY, false, answers);
    for prefix in ["derm-a", "derm-b"] {
        run(client.request_token(&firm(prefix), &credential("s"), now())).unwrap();
    }
    assert_eq!(script.urls()[3], "https://login.example/b");
}

#[test]
fn an_endpoint_that_is_gone_is_found_out_again() {
    for gone in [status(404), status(410), not_sent()] {
        let again = "https://login.example/moved";
        let (client, script) = client(
            DISCOVERY,
            false,
            [configuration(ENDPOINT), gone, configuration(again), issued()],
        );
        ask(&client, &credential("s")).unwrap_err();
        ask(&client, &credential("s")).unwrap();
        assert_eq!(script.urls()[3], again);
    }
    // A failure is not an absence.
    let (client, script) = client(DISCOVERY, false, [configuration(ENDPOINT), status(503), issued()]);
    ask(&client, &credential("s")).unwrap_err();
    ask(&client, &credential("s")).unwrap();
    assert_eq!(script.urls()[2], ENDPOINT);
}

#[test]
fn an_endpoint_that_nothing_may_be_sent_to_is_not_believed() {
    for endpoint in [
        "http://login.example/token",
        "http://127.0.0.1/token",
        "https://user:secret@login.example/token",
        "https://login.example/token#a",
        "ftp://login.example/token",
        "https://169.254.169.254/token",
        "https://0x0a000001/token",
        "https://[::ffff:10.0.0.1]/token",
        "https://localhost/token",
        "/token",
        "",
    ] {
        let (client, script) = client(DISCOVERY, false, [configuration(endpoint)]);
        assert!(
            matches!(ask(&client, &credential("s")), Err(EhrError::Malformed { .. })),
            "{endpoint}"
        );
        assert_eq!(script.count(), 1);
    }
}

#[test]
fn what_the_smart_configuration_may_answer() {
    for (answer, expected) in [
        // Not about a credential, which was not shown, and not about the quota.
        (
            status(401),
            EhrError::Malformed {
                what: "its SMART configuration is not public",
            },
        ),
        (
            status(403),
            EhrError::Malformed {
                what: "its SMART configuration is not public",
            },
        ),
        (
            status(429),
            EhrError::Unavailable {
                what: "it asks to slow down before it says where tokens are issued (429)",
            },
        ),
        (status(404), EhrError::NotFound { status: 404 }),
        (
            reply(200, &[], "<html>"),
            EhrError::Malformed {
                what: "it is HTML or XML, not JSON",
            },
        ),
        (
            reply_json(&json!({ "issuer": "https://login.example" })),
            EhrError::Malformed {
                what: "its SMART configuration names no token endpoint",
            },
        ),
        (
            lost(),
            EhrError::Unavailable {
                what: "the connection broke",
            },
        ),
    ] {
        let (client, _) = client(DISCOVERY, false, [answer]);
        assert_eq!(ask(&client, &credential("s")).unwrap_err(), expected);
    }
}

#[test]
fn the_operators_word_goes_first_and_without_any_nothing_is_connected() {
    for further in ["discovery = true", "url = \"https://elsewhere.example/token\""] {
        let rules =
            format!("grant = \"client-credentials\"\nclient_authentication = \"client-secret-post\"\n{further}");
        let (client, script) = client(&rules, true, [issued()]);
        ask(&client, &credential("s")).unwrap();
        assert_eq!(script.urls(), [ENDPOINT]);
    }
    let mut nowhere = connection(profile(
        "grant = \"client-credentials\"\nclient_authentication = \"client-secret-post\"",
    ));
    nowhere.token_url = None;
    let error = EhrClient::new(nowhere, Script::of([]), Script::of([])).unwrap_err();
    assert_eq!(error, ConnectionError::TokenUrlMissing);
    assert!(error.hint().contains("ehr.token_url"));

    let mut plain = connection(profile(&format!("{PASSWORD}url = \"{{base}}/token\"")));
    plain.token_url = None;
    plain.base_url = "http://ehr.example/base".parse().unwrap();
    assert!(matches!(
        EhrClient::new(plain, Script::of([]), Script::of([])),
        Err(ConnectionError::Url { .. })
    ));
}
