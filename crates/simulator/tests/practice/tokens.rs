//! Ways to a token besides the secret in the body.

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use skin_assist_simulator::{ExpiresIn, PublicKey};

use super::*;

/// An assertion of `client-alpha` that expires four minutes after [`morning`], made once with `openssl dgst -sha384`.
const RSA_ASSERTION: &str = "\
eyJhbGciOiJSUzM4NCIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJjbGllbnQtYWxwaGEiLCJzdWIiOiJjbGllbnQtYWxwaGEiLCJ\
hdWQiOiJodHRwczovL3ByYWN0aWNlLWxvZ2luLmV4YW1wbGUvcmVhbG1zL2VtYS9wcm90b2NvbC9vcGVuaWQtY29ubmVjdC9\
0b2tlbiIsImV4cCI6MTc2NzYyMTg0MCwianRpIjoicnNhLTEifQ.f5lixwJGdczY2Fy6_Ayw2YNtg3U64HAVEUejpjqQg9_L\
o7cn7Kblq3Fk9vQci8KXL0OUjo9sxj1rN2hed_DaQbkmXIl9KG85MMry-H9mwgg9b8RXI1MQHG8jiPVU4V8LF86ndIbT_xE-\
l7guMFWGbGiD-DYO_KCnwoY5vsEwiduuWpvv4pCXV5bqzlB8a990Nb_0ITolP816rZENLaHrrh9KGziQGsToV4OsRiDtJZSR\
X2Da8woqM19W8GMXPDDa4gqCg7aeOXbsOHiIZbBhwWNCfTl-3_Qu7xzoueEIaD0Aj9L3hGi3aEYtq-MM0cSpMp8jtGZVwzPN\
IR2Zd0CbIA";
const RSA_KEY: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAtHtDjq8vT8wYDcS8KUPq\n\
s/tu5QVvt2S/MTJIhET0Z8Kwhs5u6ukHuVueBV6/Pt+hiOsnW8c19kVjNTMuMwWO\n\
ZX0JLLpAk0b2e6Eb+kzqH9in55kP9hiTnvKDx1k5Q90g3vxLFH6p6T+sv6SUlP9I\n\
wU4mgoSHn9QwixYtHImsm/Qu3LoIhiMp3+YGjLEHhRyJD92lZ26MztXD6BeGVFph\n\
gAO53KMoaBehP5PIfhpVbW3CJenyvcbwDhhTnD6MHrNrpma0HMUaTV3D/RMV2ouN\n\
GNRCFXf/1eeJJlXvGpdq0tc9QjsP7dToIXCdshbcDFdu6XLuBkF4GbQrGsFTzhX2\n\
eQIDAQAB\n\
-----END PUBLIC KEY-----";
const ELLIPTIC_KEY: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE+8SX5IKDqkmnKmZJhteMYcWqEnxv9NIp\n\
nmP+KHQQTxCe92UcdPFRNYe39BKf7FkRd+DW+fO1inv/9/XoVUPxm8h+trzBOYZx\n\
2uoChfa6fOQl1u5LIPcW1mXgF+ZMovu7\n\
-----END PUBLIC KEY-----";

/// A client with a key of its own.
struct Signer {
    ehr: PracticeEhr,
    credentials: Credentials,
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl Signer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P384_SHA384_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        let ehr = PracticeEhr::new(Options {
            dialect: Dialect::uscore_r4(),
            ..Options::default()
        });
        let credentials = ehr
            .add_firm(FirmSpec {
                public_key: Some(PublicKey::Es384(pair.public_key().as_ref().to_vec())),
                ..FirmSpec::new("alpha")
            })
            .unwrap();
        Self {
            ehr,
            credentials,
            pair,
            random,
        }
    }

    fn claims(&self, id: &str) -> Value {
        json!({
            "iss": self.credentials.client_id,
            "sub": self.credentials.client_id,
            "aud": self.credentials.token_url,
            "exp": later(300).as_millis() / 1_000,
            "jti": id,
        })
    }

    fn sign(&self, algorithm: &str, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&json!({ "alg": algorithm })), encode(claims));
        let signature = self.pair.sign(&self.random, signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn present(&self, now: Timestamp, assertion: &str) -> (StatusCode, Value) {
        present(&self.ehr, now, assertion)
    }
}

fn present(ehr: &PracticeEhr, now: Timestamp, assertion: &str) -> (StatusCode, Value) {
    let form = [
        ("grant_type", "client_credentials"),
        (
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        ),
        ("client_assertion", assertion),
    ];
    token_response(ehr, now, &form)
}

#[test]
fn a_signed_assertion_is_good_once() {
    let signer = Signer::new();
    let assertion = signer.sign("ES384", &signer.claims("1"));
    let (status, reply) = signer.present(morning(), &assertion);
    assert_eq!(status, StatusCode::OK, "{reply}");
    let (status, reply) = signer.present(later(1), &assertion);
    assert_eq!(
        (status, &reply["error"]),
        (StatusCode::BAD_REQUEST, &json!("invalid_client"))
    );
    let fresh = signer.sign("ES384", &signer.claims("2"));
    assert_eq!(signer.present(later(1), &fresh).0, StatusCode::OK);
}

#[test]
fn an_assertion_is_checked_claim_by_claim() {
    let signer = Signer::new();
    let refused = |algorithm: &str, claims: &Value, now: Timestamp| {
        let (status, reply) = signer.present(now, &signer.sign(algorithm, claims));
        assert_eq!(
            (status, &reply["error"]),
            (StatusCode::BAD_REQUEST, &json!("invalid_client")),
            "{claims}"
        );
    };
    let seconds = |seconds: u64| json!(later(seconds).as_millis() / 1_000);
    let cases = [
        ("iss", json!("somebody")),
        ("sub", json!("somebody")),
        ("aud", json!(signer.credentials.fhir_base)),
        ("exp", seconds(331)),
        ("exp", Value::Null),
        ("nbf", seconds(31)),
        ("jti", json!("")),
    ];
    for (claim, value) in cases {
        let mut claims = signer.claims("1");
        claims[claim] = value;
        refused("ES384", &claims, morning());
    }
    refused("RS384", &signer.claims("1"), morning());
    refused("none", &signer.claims("1"), morning());
    refused("ES384", &signer.claims("1"), later(331));
    let mut forged = signer.sign("ES384", &signer.claims("1"));
    forged.truncate(forged.rfind('.').unwrap() + 1);
    forged.push_str(&URL_SAFE_NO_PAD.encode([0; 96]));
    assert_eq!(signer.present(morning(), &forged).0, StatusCode::BAD_REQUEST);
    assert_eq!(signer.present(morning(), "no token at all").0, StatusCode::BAD_REQUEST);
    let (status, _) = signer.present(later(30), &signer.sign("ES384", &signer.claims("1")));
    assert_eq!(status, StatusCode::OK, "none of the refusals used the id up");
}

#[test]
fn clocks_that_are_apart_are_felt() {
    let signer = Signer::new();
    signer.ehr.set_quirks(|quirks| quirks.clock_skew_seconds = 600);
    let assertion = signer.sign("ES384", &signer.claims("1"));
    assert_eq!(signer.present(morning(), &assertion).0, StatusCode::BAD_REQUEST);
}

#[test]
fn an_rsa_key_is_registered_as_pem() {
    let ehr = PracticeEhr::new(Options {
        dialect: Dialect::fhir_r4(),
        ..Options::default()
    });
    ehr.add_firm(FirmSpec {
        public_key: Some(PublicKey::from_pem(RSA_KEY).unwrap()),
        ..FirmSpec::new("alpha")
    })
    .unwrap();
    let (status, reply) = present(&ehr, later(60), RSA_ASSERTION);
    assert_eq!(status, StatusCode::OK, "{reply}");
    let elliptic = PublicKey::from_pem(ELLIPTIC_KEY).unwrap();
    assert!(matches!(elliptic, PublicKey::Es384(point) if point.len() == 97));
    let cut: String = RSA_KEY.chars().filter(|character| *character != 'A').collect();
    assert!(PublicKey::from_pem(&cut).is_err() && PublicKey::from_pem("").is_err());
}

#[test]
fn only_the_accepted_means_are_taken() {
    let mut dialect = Dialect::uscore_r4();
    dialect.token.authentications = vec![ClientAuthentication::SecretBasic];
    let practice = Practice::speaking(dialect);
    let (id, secret) = (&practice.credentials.client_id, &practice.credentials.client_secret);
    let grant = ("grant_type", "client_credentials");
    let posted = [grant, ("client_id", id.as_str()), ("client_secret", secret.as_str())];
    let (status, reply) = token_response(&practice.ehr, morning(), &posted);
    assert_eq!(
        (status, &reply["error"]),
        (StatusCode::UNAUTHORIZED, &json!("invalid_client"))
    );
    let basic = Some((id.as_str(), secret.as_str()));
    assert_eq!(
        token_response_with(&practice.ehr, morning(), &[grant], basic).0,
        StatusCode::OK
    );
    let wrong = Some((id.as_str(), "wrong"));
    let (status, _) = token_response_with(&practice.ehr, morning(), &[grant], wrong);
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let (_, reply) = token_response_with(&practice.ehr, morning(), &posted, basic);
    assert_eq!(reply["error"], "invalid_request", "two means at once");
    let modmed = Practice::new();
    let (id, secret) = (&modmed.credentials.client_id, &modmed.credentials.client_secret);
    let (status, _) = token_response_with(&modmed.ehr, morning(), &[grant], Some((id, secret)));
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[test]
fn discovery_is_open_where_it_is_offered() {
    let practice = Practice::speaking(Dialect::uscore_r4());
    let url = format!("{}/.well-known/smart-configuration", practice.credentials.fhir_base);
    let request = Request::get(&url).body(Bytes::new()).unwrap();
    let (status, found) = answer(
        &practice
            .ehr
            .handle(morning(), Host::Api, &request)
            .into_response()
            .unwrap(),
    );
    assert_eq!(status, StatusCode::OK);
    assert_eq!(found["token_endpoint"], practice.credentials.token_url);
    assert_eq!(
        found["token_endpoint_auth_methods_supported"],
        json!(["client_secret_post", "client_secret_basic", "private_key_jwt"])
    );
    assert_eq!(
        found["token_endpoint_auth_signing_alg_values_supported"],
        json!(["RS384", "ES384"])
    );
    assert_eq!(found["grant_types_supported"], json!(["client_credentials"]));
    assert_eq!(practice.ehr.report().calls.context, 1);
    assert_eq!(practice.ehr.report().max_calls_in_window, 0);
    let modmed = Practice::new();
    assert_eq!(
        modmed.get(morning(), ".well-known/smart-configuration").0,
        StatusCode::NOT_FOUND
    );
}

#[test]
fn a_user_gets_a_token_and_a_refresh_token_that_stays() {
    let ehr = PracticeEhr::new(Options::default());
    let credentials = ehr
        .add_firm(FirmSpec {
            user: Some(("robot".to_owned(), "pass word".to_owned())),
            ..FirmSpec::new("alpha")
        })
        .unwrap();
    assert!(
        credentials
            .legacy_token_url
            .ends_with("/firm/alpha/ema/ws/oauth2/grant")
    );
    let ask = |now: Timestamp, form: &[(&str, &str)]| {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = Request::post(&credentials.legacy_token_url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Bytes::from(body))
            .unwrap();
        answer(&ehr.handle(now, Host::Api, &request).into_response().unwrap())
    };
    let login = |password: &str| {
        let form = [
            ("grant_type", "password"),
            ("username", "robot"),
            ("password", password),
        ];
        ask(morning(), &form)
    };
    let (status, reply) = login("wrong");
    assert_eq!(
        (status, &reply["error"]),
        (StatusCode::UNAUTHORIZED, &json!("invalid_grant"))
    );
    let (status, first) = login("pass word");
    assert_eq!(status, StatusCode::OK);
    let refresh = first["refresh_token"].as_str().unwrap();
    let renew = |token: &str| ask(later(800), &[("grant_type", "refresh_token"), ("refresh_token", token)]);
    let (_, second) = renew(refresh);
    assert_eq!(second["refresh_token"], refresh);
    assert_ne!(second["access_token"], first["access_token"]);
    assert_eq!(renew("another").0, StatusCode::UNAUTHORIZED);
    let practice = Practice {
        ehr: ehr.clone(),
        token: second["access_token"].as_str().unwrap().to_owned(),
        credentials: credentials.clone(),
    };
    assert_eq!(practice.get(later(1_000), "Encounter").0, StatusCode::OK);
    assert_eq!(ehr.report().token_calls, 4);
    let nobody = Practice::new();
    let request = nobody.request("POST", &nobody.credentials.legacy_token_url, Bytes::new());
    let response = nobody.ehr.handle(morning(), Host::Api, &request).into_response();
    assert_eq!(response.unwrap().status(), StatusCode::BAD_REQUEST);
}

#[test]
fn how_long_a_token_lives_may_be_told_badly() {
    let practice = Practice::new();
    let told = |form: ExpiresIn| {
        practice.ehr.set_quirks(|quirks| quirks.expires_in = form);
        let credentials = &practice.credentials;
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", credentials.client_id.as_str()),
            ("client_secret", credentials.client_secret.as_str()),
        ];
        token_response(&practice.ehr, morning(), &form)
            .1
            .get("expires_in")
            .cloned()
    };
    assert_eq!(told(ExpiresIn::Number), Some(json!(900)));
    assert_eq!(told(ExpiresIn::Text), Some(json!("900")));
    assert_eq!(told(ExpiresIn::Absent), None);
}

#[test]
fn a_token_may_be_revoked_between_two_pages() {
    let practice = Practice::new();
    for _ in 0..3 {
        practice.open(morning());
    }
    practice.ehr.set_quirks(|quirks| quirks.revoke_token_after = Some(1));
    let first = practice.read(later(1), "Encounter?_count=2");
    assert_eq!(
        practice.get(later(2), next(&first).unwrap()).0,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(practice.get(later(3), "Encounter").0, StatusCode::UNAUTHORIZED);
    let renewed = Practice {
        token: token(&practice.ehr, later(4), &practice.credentials).unwrap(),
        ..practice
    };
    assert_eq!(renewed.get(later(5), next(&first).unwrap()).0, StatusCode::OK);
}
