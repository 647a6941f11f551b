//! OAuth2: asking for a token.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use skin_assist_core::{
    domain::{AccessToken, Credential, Firm},
    phi::Secret,
    ports::{EhrError, TokenEndpoint},
    time::Timestamp,
};
use url::form_urlencoded;

use crate::{
    client::EhrClient,
    profile::{ClientAuthentication, Grant, TokenRules},
    reply,
    view::View,
};

/// A token's life is taken as at least this, lest each call be preceded by a refresh.
pub const SHORTEST_TOKEN_LIFE: Duration = Duration::from_secs(30);

/// A token's life is taken as at most this, lest a typing error keep a revoked token in use for years.
pub const LONGEST_TOKEN_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// RFC 6749, section 5.2: the client is not who it says, or may not have this grant.
const REFUSALS: [&str; 3] = ["invalid_client", "unauthorized_client", "invalid_grant"];

#[async_trait]
impl TokenEndpoint for EhrClient {
    async fn request_token(
        &self,
        firm: &Firm,
        credential: &Credential,
        now: Timestamp,
    ) -> Result<AccessToken, EhrError> {
        let rules = &self.connection.profile.token;
        let mut request = Request::new(form(rules, credential));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self
            .connection
            .token_url
            .as_str()
            .parse()
            .map_err(|_| EhrError::Malformed {
                what: "the token URL cannot be sent",
            })?;
        let headers = request.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let (status, outcome) = match self.api.send(request, self.connection.limits.token_bytes).await {
            Ok(response) => (Some(response.status()), read(&response, rules, now)),
            Err(error) => match reply::status_of(error).filter(|status| !status.is_success()) {
                Some(status) => (Some(status), Err(failure(status, None))),
                None => (None, Err(reply::lost(error))),
            },
        };
        let status = status.map(|status| status.as_u16());
        match &outcome {
            Ok(_) => tracing::debug!(event = "token.issued", firm = %firm.id, status),
            Err(error) => tracing::warn!(event = "token.not-issued", firm = %firm.id, status, %error),
        }
        outcome
    }
}

fn form(rules: &TokenRules, credential: &Credential) -> Bytes {
    let mut form = form_urlencoded::Serializer::new(String::new());
    match rules.grant {
        Grant::ClientCredentials => form.append_pair("grant_type", "client_credentials"),
    };
    match rules.client_authentication {
        ClientAuthentication::ClientSecretPost => form
            .append_pair("client_id", &credential.client_id)
            .append_pair("client_secret", credential.client_secret.expose()),
    };
    if let Some(scope) = &rules.scope {
        form.append_pair("scope", scope);
    }
    form.finish().into()
}

fn read(response: &Response<Bytes>, rules: &TokenRules, now: Timestamp) -> Result<AccessToken, EhrError> {
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
    Ok(AccessToken {
        secret: Secret::new(token.into_owned()),
        issued_at: now,
        expires_at: now + life(view.text("expires_in").as_deref(), rules),
    })
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
