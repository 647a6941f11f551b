//! The token endpoint: `client_credentials` with the secret in the body (`client_secret_post`).
//!
//! Tokens are opaque here (the real ones are RS256 JWTs; a client has no business reading them). A token is good for the
//! firm it was issued to and no other, until it expires or is revoked. No refresh token is issued.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use serde_json::json;
use skin_assist_core::time::Timestamp;

use crate::{reply, specification::Endpoints, state::State};

/// An access token that was issued.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    /// The firm's URL prefix.
    pub(crate) firm: String,
    pub(crate) expires_at: Timestamp,
}

fn error(status: StatusCode, code: &str, description: &str) -> Response<Bytes> {
    reply::json(status, &json!({ "error": code, "error_description": description }))
}

impl State {
    pub(crate) fn token_endpoint(&mut self, now: Timestamp, request: &Request<Bytes>) -> Response<Bytes> {
        if request.uri().path() != Endpoints::TOKEN_PATH {
            return reply::json(StatusCode::NOT_FOUND, &json!({ "error": "not_found" }));
        }
        if request.method() != Method::POST {
            return error(
                StatusCode::METHOD_NOT_ALLOWED,
                "invalid_request",
                "the token endpoint takes POST",
            );
        }
        let is_form = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
        if !is_form {
            return error(
                StatusCode::BAD_REQUEST,
                "invalid_request",
                "the body is to be application/x-www-form-urlencoded",
            );
        }
        let field = |name: &str| {
            url::form_urlencoded::parse(request.body())
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.into_owned())
        };
        match field("grant_type").as_deref() {
            None => {
                return error(
                    StatusCode::BAD_REQUEST,
                    "invalid_request",
                    "Missing form parameter: grant_type",
                );
            }
            Some("client_credentials") => {}
            Some(_) => {
                return error(
                    StatusCode::BAD_REQUEST,
                    "unsupported_grant_type",
                    "Unsupported grant_type",
                );
            }
        }
        let (client, secret) = (field("client_id"), field("client_secret"));
        let firm = self.firms.iter().find(|firm| {
            !firm.secret_revoked
                && client.as_deref() == Some(firm.client_id.as_str())
                && secret.as_deref() == Some(firm.client_secret.as_str())
        });
        let Some(firm) = firm.map(|firm| firm.spec.prefix.clone()) else {
            return error(
                StatusCode::UNAUTHORIZED,
                "invalid_client",
                "Invalid client or Invalid client credentials",
            );
        };
        self.tokens_issued += 1;
        let bytes = self.derive(&["access token", &firm, &self.tokens_issued.to_string()]);
        let access_token = hex::encode(bytes);
        self.tokens.retain(|_, token| token.expires_at > now);
        self.tokens.insert(
            access_token.clone(),
            Token {
                firm,
                expires_at: now + self.options.token_lifetime,
            },
        );
        reply::with_header(
            reply::json(
                StatusCode::OK,
                &json!({
                    "access_token": access_token,
                    "expires_in": self.options.token_lifetime.as_secs(),
                    "refresh_expires_in": 0,
                    "token_type": "Bearer",
                    "not-before-policy": 0,
                    "scope": "",
                }),
            ),
            http::header::CACHE_CONTROL,
            "no-store",
        )
    }
}
