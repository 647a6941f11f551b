//! An OpenID provider that answers with any bytes, and who is believed to have signed in: nobody.

use bytes::Bytes;
use futures::executor::block_on;
use http::Request;
use skin_assist_core::phi::Secret;
use skin_assist_identity::{Provider, Settings, is_secure};
use url::Url;

use crate::{fhir::now, replies::Replies};

/// What must not be seen by anybody but the provider.
const SECRET: &str = "hush-hush";

/// What the person brought.
const CODE: &str = "the-code-that-was-brought";

const ISSUER: &str = "https://login.example";

/// Codes, secrets and tokens go over TLS or to this very machine, and never in an address.
fn safely(request: &Request<Bytes>) {
    let url = Url::parse(&request.uri().to_string()).expect("a request has a whole URL");
    assert!(is_secure(&url), "in plain to another machine");
    for secret in [SECRET, CODE] {
        assert!(!url.as_str().contains(secret), "a secret in an address");
    }
}

/// Any replies: what the provider says of itself, the tokens that it issues, its keys, what it says of the person. The first byte chooses what
/// the client is: with a secret or without, with claims that it lacks or without. Whatever they are, nobody has signed in: the number that
/// the token has to repeat is a new one each time, and no bytes know it.
pub fn any_reply(input: &[u8]) {
    let [kind, replies @ ..] = input else { return };
    // A provider that knows them already learns nothing.
    let knows = |secret: &str| replies.windows(secret.len()).any(|bytes| bytes == secret.as_bytes());
    if knows(SECRET) || knows(CODE) {
        return;
    }
    let settings = Settings {
        issuer: ISSUER.to_owned(),
        client_id: "client".to_owned(),
        client_secret: (kind & 1 == 0).then(|| Secret::new(SECRET.to_owned())),
        return_url: Url::parse("https://console.example/sign-in/return").expect("a URL"),
        scopes: vec!["profile".to_owned()],
        claims: if kind & 2 == 0 {
            Vec::new()
        } else {
            vec!["groups".to_owned()]
        },
    };
    let provider = Provider::new(settings, Replies::of(replies, safely));
    let words = |error: skin_assist_identity::Error| {
        let words = format!("{error} {error:?}");
        assert!(
            !words.contains(SECRET) && !words.contains(CODE),
            "an error tells a secret"
        );
        assert!(words.len() < 400, "an error quotes the reply");
    };
    for _ in 0..2 {
        let attempt = match block_on(provider.begin(now())) {
            Ok((url, attempt)) => {
                assert!(is_secure(&url) && url.query_pairs().any(|(key, _)| key == "code_challenge"));
                attempt
            }
            Err(error) => {
                words(error);
                continue;
            }
        };
        let code = Secret::new(CODE.to_owned());
        match block_on(provider.finish(attempt, &code, Some(ISSUER), now())) {
            Ok(_) => panic!("somebody has signed in without knowing the number"),
            Err(error) => words(error),
        }
        let token = Secret::new("token".to_owned());
        let back = Url::parse("https://console.example/").expect("a URL");
        if let Some(url) = block_on(provider.end_session(&token, &back, now())) {
            assert!(is_secure(&url), "a person is sent there with their token");
        }
    }
}
