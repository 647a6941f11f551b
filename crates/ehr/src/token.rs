//! OAuth2: asking for a token.
//!
//! How is a matter of the profile ([`TokenRules`]). A refusal of a refresh token is followed by the credential, once; a
//! refusal of a signed assertion by another one, once, when the endpoint's clock turns out to be another than it was
//! taken for. Nothing else is asked again.

mod assertion;
mod discovery;
mod rules;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use skin_assist_core::{
    domain::{AccessToken, Credential, Firm, FirmId, IssuedToken},
    phi::Secret,
    ports::{EhrError, TokenEndpoint},
    time::Timestamp,
};
use url::{Url, form_urlencoded};

pub use self::rules::{ClientAuthentication, CredentialKind, Grant, SigningAlgorithm, TokenRules};
use self::{
    assertion::{ASSERTION_TYPE, assertion},
    discovery::Found,
};
use skin_assist_transport::TransportError;

use crate::{client::EhrClient, reply, view::View};

/// A token's life is taken as at least this, lest each call be preceded by a refresh.
pub const SHORTEST_TOKEN_LIFE: Duration = Duration::from_secs(30);

/// A token's life is taken as at most this, lest a typing error keep a revoked token in use for years.
pub const LONGEST_TOKEN_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// Clocks that differ by less are taken for the same: an assertion holds for longer.
const SMALLEST_SKEW_MS: i64 = 60_000;

/// A clock that differs by more is not believed: an assertion that holds until next year must not be made.
const LARGEST_SKEW_MS: i64 = 24 * 60 * 60 * 1000;

/// RFC 6749, section 5.2: the client is not who it says, or may not have this grant.
const REFUSALS: [&str; 3] = ["invalid_client", "unauthorized_client", "invalid_grant"];

/// What the client remembers about token endpoints, for all of its clones: none of it has to outlive the process.
#[derive(Debug, Default)]
pub(crate) struct TokenMemory(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    /// Endpoints that were found out, by the service that named them.
    found: HashMap<String, Found>,
    /// By how many milliseconds the clocks of endpoints are ahead of ours, where it is worth a word.
    ahead_ms: HashMap<String, i64>,
    /// Whether the reply that brought a firm's latest token said how long the token lives.
    life_stated: HashMap<FirmId, bool>,
}

impl TokenMemory {
    fn with<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        // Each change is one call on a map: a panic elsewhere leaves nothing half done.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn found(&self, service: &str) -> Option<Found> {
        self.with(|memory| memory.found.get(service).cloned())
    }

    fn keep(&self, service: &str, found: Found) {
        self.with(|memory| memory.found.insert(service.to_owned(), found));
    }

    fn forget(&self, service: &str) {
        self.with(|memory| memory.found.remove(service));
    }

    fn ahead_ms(&self, endpoint: &Url) -> i64 {
        self.with(|memory| memory.ahead_ms.get(endpoint.as_str()).copied())
            .unwrap_or_default()
    }

    /// Whether the reply with the firm's latest token said how long it lives; none where this process asked for none.
    pub(crate) fn life_stated(&self, firm: &FirmId) -> Option<bool> {
        self.with(|memory| memory.life_stated.get(firm).copied())
    }

    fn note_life(&self, firm: &FirmId, stated: bool) {
        self.with(|memory| memory.life_stated.insert(firm.clone(), stated));
    }

    /// Notes what an endpoint's clock shows. Whether that is news.
    fn note_clock(&self, endpoint: &Url, server: Timestamp, now: Timestamp) -> bool {
        let ahead = server.as_millis().saturating_sub(now.as_millis());
        let noted = if (SMALLEST_SKEW_MS..=LARGEST_SKEW_MS).contains(&ahead.saturating_abs()) {
            ahead
        } else {
            0
        };
        let before = self.with(|memory| memory.ahead_ms.insert(endpoint.to_string(), noted));
        (noted - before.unwrap_or_default()).abs() >= SMALLEST_SKEW_MS
    }
}

/// What is shown to the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown<'a> {
    /// The credential itself.
    Proof,
    /// A refresh token that it issued (RFC 6749, section 6).
    RefreshToken(&'a Secret),
}

#[async_trait]
impl TokenEndpoint for EhrClient {
    async fn request_token(
        &self,
        firm: &Firm,
        credential: &Credential,
        now: Timestamp,
    ) -> Result<IssuedToken, EhrError> {
        let rules = &self.connection.profile.token;
        let endpoint = self.token_endpoint(firm, now).await?;
        if let (Grant::Password, Some(refresh_token)) = (rules.grant, &credential.refresh_token) {
            let shown = Shown::RefreshToken(refresh_token);
            match self.ask(firm, &endpoint, credential, shown, now).await.outcome {
                // It has run out or was revoked, which says nothing about the password.
                Err(EhrError::CredentialRefused { .. } | EhrError::Forbidden | EhrError::Rejected { .. }) => {}
                outcome => return outcome,
            }
        }
        let asked = self.ask(firm, &endpoint, credential, Shown::Proof, now).await;
        let refused = matches!(asked.outcome, Err(EhrError::CredentialRefused { .. }));
        let signed = rules.client_authentication == ClientAuthentication::PrivateKeyJwt;
        if refused && signed && asked.clock_is_news {
            // The assertion may have been over, or too far ahead, by the endpoint's clock; the next one counts by it.
            return self.ask(firm, &endpoint, credential, Shown::Proof, now).await.outcome;
        }
        asked.outcome
    }
}

/// How one request ended.
struct Asked {
    outcome: Result<IssuedToken, EhrError>,
    /// The endpoint's clock is not what it was taken for.
    clock_is_news: bool,
}

impl EhrClient {
    /// One request.
    async fn ask(
        &self,
        firm: &Firm,
        endpoint: &Url,
        credential: &Credential,
        shown: Shown<'_>,
        now: Timestamp,
    ) -> Asked {
        let rules = &self.connection.profile.token;
        let mut clock_is_news = false;
        let request = match self.token_request(firm, endpoint, credential, shown, now) {
            Ok(request) => request,
            Err(error) => {
                tracing::warn!(event = "token.not-issued", firm = %firm.id, %error);
                return Asked {
                    outcome: Err(error),
                    clock_is_news,
                };
            }
        };
        let (status, outcome) = match self.api.send(request, self.connection.limits.token_bytes).await {
            Ok(response) => {
                if let Some(server) = reply::server_time(response.headers()) {
                    clock_is_news = self.token_memory.note_clock(endpoint, server, now);
                }
                let issued = read(&response, rules, shown, now);
                if issued.is_ok() {
                    let body = reply::json(response.body()).unwrap_or_default();
                    let stated = View::of(&body).text("expires_in").is_some();
                    self.token_memory.note_life(&firm.id, stated);
                }
                (Some(response.status()), issued)
            }
            Err(error) => {
                if matches!(error, TransportError::NotSent { .. } | TransportError::AddressRefused) {
                    self.forget_endpoint(firm);
                }
                match reply::status_of(error).filter(|status| !status.is_success()) {
                    Some(status) => (Some(status), Err(failure(status, None))),
                    None => (None, Err(reply::lost(error))),
                }
            }
        };
        if matches!(outcome, Err(EhrError::NotFound { .. })) {
            self.forget_endpoint(firm);
        }
        let status = status.map(|status| status.as_u16());
        let renewed = shown != Shown::Proof;
        match &outcome {
            Ok(_) => tracing::debug!(event = "token.issued", firm = %firm.id, status, renewed),
            Err(error) => tracing::warn!(event = "token.not-issued", firm = %firm.id, status, renewed, %error),
        }
        Asked { outcome, clock_is_news }
    }

    fn token_request(
        &self,
        firm: &Firm,
        endpoint: &Url,
        credential: &Credential,
        shown: Shown<'_>,
        now: Timestamp,
    ) -> Result<Request<Bytes>, EhrError> {
        let rules = &self.connection.profile.token;
        let unsendable = EhrError::Malformed {
            what: "the token request cannot be sent",
        };
        let server_now = Timestamp::from_millis(now.as_millis().saturating_add(self.token_memory.ahead_ms(endpoint)));
        let mut request = Request::new(form(rules, credential, shown, endpoint, server_now)?);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = endpoint.as_str().parse().map_err(|_| unsendable.clone())?;
        let headers = request.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        if rules.client_authentication == ClientAuthentication::ClientSecretBasic {
            headers.insert(header::AUTHORIZATION, basic(credential).ok_or(unsendable.clone())?);
        }
        if let (true, Some(name)) = (rules.api_key, &self.connection.profile.request.api_key_header) {
            let name = HeaderName::try_from(name.as_str()).map_err(|_| unsendable.clone())?;
            let mut key = HeaderValue::from_str(self.connection.api_key(firm)?.expose()).map_err(|_| unsendable)?;
            key.set_sensitive(true);
            headers.insert(name, key);
        }
        Ok(request)
    }
}

/// RFC 6749, section 2.3.1: id and secret are form-encoded each, and only then joined.
fn basic(credential: &Credential) -> Option<HeaderValue> {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = Secret::new(format!(
        "{}:{}",
        encoded(&credential.client_id),
        encoded(credential.client_secret.expose())
    ));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair.expose()))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn form(
    rules: &TokenRules,
    credential: &Credential,
    shown: Shown<'_>,
    endpoint: &Url,
    server_now: Timestamp,
) -> Result<Bytes, EhrError> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    if let Shown::RefreshToken(token) = shown {
        // The scope is the first token's, and is not asked for again.
        form.append_pair("grant_type", "refresh_token")
            .append_pair("refresh_token", token.expose());
        return Ok(form.finish().into());
    }
    match rules.grant {
        Grant::ClientCredentials => form.append_pair("grant_type", "client_credentials"),
        Grant::Password => form
            .append_pair("grant_type", "password")
            .append_pair("username", &credential.client_id)
            .append_pair("password", credential.client_secret.expose()),
    };
    match (rules.client_authentication, rules.signing_algorithm) {
        (ClientAuthentication::ClientSecretPost, _) => {
            form.append_pair("client_id", &credential.client_id)
                .append_pair("client_secret", credential.client_secret.expose());
        }
        (ClientAuthentication::PrivateKeyJwt, Some(algorithm)) => {
            let assertion = assertion(credential, algorithm, endpoint, server_now)?;
            form.append_pair("client_assertion_type", ASSERTION_TYPE)
                .append_pair("client_assertion", assertion.expose());
        }
        // In the header, or none at all. A profile without the algorithm is refused when it is read.
        (
            ClientAuthentication::ClientSecretBasic | ClientAuthentication::None | ClientAuthentication::PrivateKeyJwt,
            _,
        ) => {}
    }
    if let Some(scope) = &rules.scope {
        form.append_pair("scope", scope);
    }
    Ok(form.finish().into())
}

fn read(
    response: &Response<Bytes>,
    rules: &TokenRules,
    shown: Shown<'_>,
    now: Timestamp,
) -> Result<IssuedToken, EhrError> {
    let body = reply::json(response.body());
    if !response.status().is_success() {
        let code = body.as_ref().ok().and_then(|body| View::of(body).text("error"));
        return Err(failure(response.status(), code.as_deref()));
    }
    let body = body?;
    let view = View::of(&body);
    // Some servers refuse with a 200.
    if let Some(code) = view.text("error") {
        return Err(failure(StatusCode::BAD_REQUEST, Some(&code)));
    }
    let token = view.text("access_token").filter(|token| !token.is_empty());
    let token = token.ok_or(EhrError::Malformed {
        what: "the token endpoint's reply has no access token",
    })?;
    if HeaderValue::from_str(&token).is_err() {
        return Err(EhrError::Malformed {
            what: "the access token cannot be sent in a header",
        });
    }
    if view
        .text("token_type")
        .is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer"))
    {
        return Err(EhrError::Malformed {
            what: "the access token is not a bearer token",
        });
    }
    let access = AccessToken {
        secret: Secret::new(token.into_owned()),
        issued_at: now,
        expires_at: now + life(view.text("expires_in").as_deref(), rules),
    };
    let issued = view.text("refresh_token").filter(|token| !token.is_empty());
    let refresh_token = match (rules.grant, issued, shown) {
        // A client that can prove itself at any time needs none (RFC 6749, section 4.4.3).
        (Grant::ClientCredentials, ..) | (Grant::Password, None, Shown::Proof) => None,
        (Grant::Password, Some(issued), _) => Some(Secret::new(issued.into_owned())),
        // Reused unchanged, unless a new one comes (section 6).
        (Grant::Password, None, Shown::RefreshToken(used)) => Some(used.clone()),
    };
    Ok(IssuedToken { access, refresh_token })
}

/// A token's life: as the server says within reason, the profile's default where it says nothing that is a number.
fn life(expires_in: Option<&str>, rules: &TokenRules) -> Duration {
    let seconds = expires_in
        .and_then(|text| text.trim().parse::<f64>().ok())
        .filter(|seconds| !seconds.is_nan());
    let seconds = seconds.unwrap_or_else(|| f64::from(rules.default_lifetime_s));
    Duration::from_secs_f64(seconds.clamp(SHORTEST_TOKEN_LIFE.as_secs_f64(), LONGEST_TOKEN_LIFE.as_secs_f64()))
}

/// What a token endpoint's status means. Its 429 is not the EHR's quota.
fn failure(status: StatusCode, code: Option<&str>) -> EhrError {
    let refused = code.is_some_and(|code| REFUSALS.contains(&code));
    match status.as_u16() {
        400 | 401 | 403 if code == Some("invalid_scope") => EhrError::ScopeRefused {
            status: status.as_u16(),
        },
        400 | 401 | 403 if refused => EhrError::CredentialRefused {
            status: status.as_u16(),
        },
        // 401 has no other meaning here, whatever the body says or does not.
        401 => EhrError::CredentialRefused { status: 401 },
        429 => EhrError::Unavailable {
            what: "the token endpoint asks to slow down (429)",
        },
        _ => reply::failure(status, &HeaderMap::new()),
    }
}
