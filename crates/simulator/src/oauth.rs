//! The token endpoints: `client_credentials` at the realm, the older `password` at the firm's own address.
//!
//! Tokens are opaque here (the real ones are RS256 JWTs; a client has no business reading them). A token is good for the
//! firm it was issued to and no other, until it expires or is revoked. The realm issues no refresh token; the firm's own
//! endpoint issues one that is used again unchanged.

mod assertion;
mod key;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde_json::{Value, json};
use skin_assist_core::time::Timestamp;

use crate::{
    dialect::{ClientAuthentication, Grant},
    quirks::ExpiresIn,
    reply,
    specification::Endpoints,
    state::{Firm, State},
};

pub use key::{KeyError, PublicKey};

/// An access token that was issued.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    /// The firm's URL prefix.
    pub(crate) firm: String,
    pub(crate) expires_at: Timestamp,
}

/// Why no token was issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refused {
    status: StatusCode,
    code: &'static str,
    description: &'static str,
}

impl Refused {
    const fn request(description: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "invalid_request",
            description,
        }
    }

    const fn client(status: StatusCode, description: &'static str) -> Self {
        Self {
            status,
            code: "invalid_client",
            description,
        }
    }

    fn into_response(self) -> Response<Bytes> {
        reply::json(
            self.status,
            &json!({ "error": self.code, "error_description": self.description }),
        )
    }
}

const UNKNOWN_CLIENT: Refused =
    Refused::client(StatusCode::UNAUTHORIZED, "Invalid client or Invalid client credentials");
const UNSUPPORTED_GRANT: Refused = Refused {
    status: StatusCode::BAD_REQUEST,
    code: "unsupported_grant_type",
    description: "Unsupported grant_type",
};

/// The fields of the request's body.
struct Form<'request>(&'request Request<Bytes>);

impl<'request> Form<'request> {
    fn of(request: &'request Request<Bytes>) -> Result<Self, Refused> {
        if request.method() != Method::POST {
            return Err(Refused {
                status: StatusCode::METHOD_NOT_ALLOWED,
                ..Refused::request("the token endpoint takes POST")
            });
        }
        let is_form = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
        if !is_form {
            return Err(Refused::request("the body is to be application/x-www-form-urlencoded"));
        }
        Ok(Self(request))
    }

    fn field(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.0.body())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    fn grant(&self) -> Result<String, Refused> {
        let missing = Refused::request("Missing form parameter: grant_type");
        self.field("grant_type").ok_or(missing)
    }

    /// Id and secret from the header, each of them form-encoded before they were joined (RFC 6749, 2.3.1).
    fn basic(&self) -> Option<(String, String)> {
        let header = self.0.headers().get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, encoded) = header.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let joined = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (id, secret) = joined.split_once(':')?;
        let decoded = |text: &str| {
            let pair = url::form_urlencoded::parse(text.as_bytes()).next();
            pair.map(|(name, _)| name.into_owned()).unwrap_or_default()
        };
        Some((decoded(id), decoded(secret)))
    }
}

impl State {
    /// The realm's token endpoint.
    pub(crate) fn token_url(&self) -> String {
        format!("{}{}", self.options.endpoints.token, Endpoints::TOKEN_PATH)
    }

    pub(crate) fn token_endpoint(&mut self, now: Timestamp, request: &Request<Bytes>) -> Response<Bytes> {
        if request.uri().path() != Endpoints::TOKEN_PATH {
            return reply::json(StatusCode::NOT_FOUND, &json!({ "error": "not_found" }));
        }
        match self.client_credentials(now, request) {
            Ok(firm) => self.issue(now, &firm, None),
            Err(refused) => refused.into_response(),
        }
    }

    /// The firm that the client proves to be of.
    fn client_credentials(&mut self, now: Timestamp, request: &Request<Bytes>) -> Result<String, Refused> {
        let form = Form::of(request)?;
        let offered = self.options.dialect.token.grants.contains(&Grant::ClientCredentials);
        if form.grant()? != "client_credentials" || !offered {
            return Err(UNSUPPORTED_GRANT);
        }
        let (assertion, basic, secret) = (
            form.field("client_assertion"),
            form.basic(),
            form.field("client_secret"),
        );
        let means = [assertion.is_some(), basic.is_some(), secret.is_some()];
        if means.iter().filter(|given| **given).count() > 1 {
            return Err(Refused::request("one way of authentication is to be used"));
        }
        let accepted = |means| self.options.dialect.token.authentications.contains(&means);
        let by_secret = |means, id: &str, secret: &str| {
            let knows = |firm: &&Firm| !firm.secret_revoked && firm.client_id == id && firm.client_secret == secret;
            let firm = self.firms.iter().find(knows).filter(|_| accepted(means));
            firm.map(|firm| firm.spec.prefix.clone()).ok_or(UNKNOWN_CLIENT)
        };
        match (assertion, basic) {
            (Some(assertion), _) if accepted(ClientAuthentication::PrivateKeyJwt) => {
                let kind = form.field("client_assertion_type").unwrap_or_default();
                self.client_of_assertion(now, &kind, &assertion)
            }
            (Some(_), _) => Err(UNKNOWN_CLIENT),
            (None, Some((id, secret))) => by_secret(ClientAuthentication::SecretBasic, &id, &secret),
            (None, None) => {
                let (id, secret) = (form.field("client_id"), secret);
                by_secret(
                    ClientAuthentication::SecretPost,
                    &id.unwrap_or_default(),
                    &secret.unwrap_or_default(),
                )
            }
        }
    }

    /// The firm whose own token endpoint has this path.
    pub(crate) fn legacy_token_firm(&self, path: &str) -> Option<String> {
        let dialect = &self.options.dialect;
        let prefixes = self.firms.iter().map(|firm| &firm.spec.prefix);
        let mut found = prefixes.filter(|prefix| dialect.legacy_token_path(prefix) == path);
        found
            .next()
            .filter(|_| dialect.token.grants.contains(&Grant::Password))
            .cloned()
    }

    /// The firm's own token endpoint: a user's name and password, or the refresh token.
    pub(crate) fn legacy_token_endpoint(
        &mut self,
        now: Timestamp,
        prefix: &str,
        request: &Request<Bytes>,
    ) -> Response<Bytes> {
        let refresh_token = hex::encode(self.derive(&["refresh token", prefix]));
        let checked = Form::of(request).and_then(|form| {
            let refused = Refused {
                code: "invalid_grant",
                ..UNKNOWN_CLIENT
            };
            let firm = self.firm(prefix).filter(|firm| !firm.secret_revoked).ok_or(refused)?;
            let user = firm.spec.user.as_ref().ok_or(refused)?;
            let is_good = match form.grant()?.as_str() {
                "password" => {
                    form.field("username").as_ref() == Some(&user.0) && form.field("password").as_ref() == Some(&user.1)
                }
                "refresh_token" => form.field("refresh_token").as_ref() == Some(&refresh_token),
                _ => return Err(UNSUPPORTED_GRANT),
            };
            if is_good { Ok(()) } else { Err(refused) }
        });
        match checked {
            Ok(()) => self.issue(now, prefix, Some(&refresh_token)),
            Err(refused) => refused.into_response(),
        }
    }

    /// A new access token for this firm.
    fn issue(&mut self, now: Timestamp, firm: &str, refresh_token: Option<&str>) -> Response<Bytes> {
        self.tokens_issued += 1;
        let bytes = self.derive(&["access token", firm, &self.tokens_issued.to_string()]);
        let access_token = hex::encode(bytes);
        let lifetime = self.options.token_lifetime;
        self.tokens.retain(|_, token| token.expires_at > now);
        self.tokens.insert(
            access_token.clone(),
            Token {
                firm: firm.to_owned(),
                expires_at: now + lifetime,
            },
        );
        let mut body = json!({
            "access_token": access_token,
            "refresh_expires_in": 0,
            "token_type": "Bearer",
            "not-before-policy": 0,
            "scope": "",
        });
        match self.quirks.expires_in {
            ExpiresIn::Number => body["expires_in"] = json!(lifetime.as_secs()),
            ExpiresIn::Text => body["expires_in"] = json!(lifetime.as_secs().to_string()),
            ExpiresIn::Absent => {}
        }
        if let Some(refresh_token) = refresh_token {
            body["refresh_token"] = json!(refresh_token);
        }
        reply::with_header(
            reply::json(StatusCode::OK, &body),
            http::header::CACHE_CONTROL,
            "no-store",
        )
    }

    /// `{service}/.well-known/smart-configuration`.
    pub(crate) fn smart_configuration(&self) -> Response<Bytes> {
        let dialect = self.quirks.claimed.as_ref().unwrap_or(&self.options.dialect);
        let names =
            |accepted: &[ClientAuthentication]| -> Vec<&str> { accepted.iter().map(|means| means.name()).collect() };
        let accepted = &dialect.token.authentications;
        let mut configuration = json!({
            "token_endpoint": self.token_url(),
            "token_endpoint_auth_methods_supported": names(accepted),
            "grant_types_supported": ["client_credentials"],
            "scopes_supported": ["system/*.rs", "system/DocumentReference.c", "system/Composition.c"],
            "capabilities": ["client-confidential-symmetric", "permission-v2"],
        });
        if accepted.contains(&ClientAuthentication::PrivateKeyJwt) {
            configuration["token_endpoint_auth_signing_alg_values_supported"] = json!(["RS384", "ES384"]);
            if let Some(capabilities) = configuration["capabilities"].as_array_mut() {
                capabilities.push(Value::from("client-confidential-asymmetric"));
            }
        }
        reply::json(StatusCode::OK, &configuration)
    }
}
