//! A token endpoint that answers with any bytes, where it is found, and what of its answers is believed.

use std::sync::LazyLock;

use bytes::Bytes;
use futures::executor::block_on;
use http::{HeaderValue, Request};
use skin_assist_core::{
    domain::{Credential, CredentialState, FirmId},
    phi::Secret,
    ports::TokenEndpoint as _,
};
use skin_assist_ehr::{EhrClient, LONGEST_TOKEN_LIFE, Profile, SHORTEST_TOKEN_LIFE};

use crate::{
    fhir::{connection, firm, now},
    replies::Replies,
};

/// Of each way that needs no signature: by secret to a known address, by secret to one that is found out, by password.
static PROFILES: LazyLock<[Profile; 3]> = LazyLock::new(|| {
    let text = |name| Profile::shipped_text(name).expect("shipped");
    let by_password = text("modmed-ema")
        .replacen("\"client-credentials\"", "\"password\"", 1)
        .replacen("\"client-secret-post\"", "\"none\"", 1);
    [text("modmed-ema"), text("fhir-r4"), &by_password].map(|text| Profile::from_toml(text).expect("a profile"))
});

/// The secret never goes over a connection that anybody can read.
fn over_tls(request: &Request<Bytes>) {
    assert_eq!(request.uri().scheme_str(), Some("https"));
    assert!(request.uri().host().is_some_and(|host| !host.is_empty()));
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    assert!(
        !authority.unwrap_or_default().contains('@'),
        "a password in the address"
    );
}

/// Any replies: of the service that says where its endpoint is, and of the endpoint. The first byte chooses the profile.
pub fn any_reply(input: &[u8]) {
    let [profile, replies @ ..] = input else { return };
    let profile = PROFILES[usize::from(*profile) % PROFILES.len()].clone();
    let (firm, nothing) = (firm(), Replies::of(b"", |_| panic!("no photo is asked for")));
    let client = EhrClient::new(connection(profile), Replies::of(replies, over_tls), nothing);
    let client = client.expect("the connection can be used");
    let mut credential = Credential {
        firm: FirmId::new("a"),
        client_id: "client".to_owned(),
        client_secret: Secret::new("hush-hush".to_owned()),
        key_id: None,
        token: None,
        refresh_token: None,
        state: CredentialState::Usable,
    };
    // As the stage does: what was issued is used for the next one.
    for _ in 0..3 {
        match block_on(client.request_token(&firm, &credential, now())) {
            Ok(issued) => {
                let secret = issued.access.secret.expose();
                assert!(
                    !secret.is_empty() && HeaderValue::from_str(secret).is_ok(),
                    "a token that cannot be sent"
                );
                let life = issued.access.expires_at.since(now());
                assert!((SHORTEST_TOKEN_LIFE..=LONGEST_TOKEN_LIFE).contains(&life), "{life:?}");
                assert!(
                    !format!("{issued:?}").contains(secret) || secret.len() < 16,
                    "a token shows itself"
                );
                credential.token = Some(issued.access);
                credential.refresh_token = issued.refresh_token;
            }
            Err(error) => {
                let words = format!("{error} {error:?}");
                assert!(
                    !words.contains("hush-hush") && words.len() < 400,
                    "an error quotes the reply"
                );
            }
        }
    }
}
