//! Where the token endpoint is: configured, a matter of the profile, or found out from the EHR itself.
//!
//! What is found out is kept for an hour, and forgotten sooner when the endpoint is not there any more. Finding out is one
//! request without token or API key, which is not paid for by a grant: one in an hour for each service, and as often as the
//! engine asks again, with growing pauses, while it fails.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use skin_assist_core::{domain::Firm, ports::EhrError, time::Timestamp};
use skin_assist_transport::{is_loopback_host, is_public};
use url::{Host, Url};

use super::TokenRules;
use crate::{client::EhrClient, connection::check_url, reply, urls::ServiceRoot, view::View};

/// How long an endpoint is believed to be where it was found.
const BELIEVED_FOR: Duration = Duration::from_secs(60 * 60);

/// An endpoint that was found out.
#[derive(Debug, Clone)]
pub(super) struct Found {
    endpoint: Url,
    at: Timestamp,
}

impl EhrClient {
    /// The token endpoint of a firm. The operator's word goes before the profile's, and the profile's before the EHR's.
    pub(super) async fn token_endpoint(&self, firm: &Firm, now: Timestamp) -> Result<Url, EhrError> {
        if let Some(url) = &self.connection.token_url {
            return Ok(url.clone());
        }
        if let Some(url) = self.connection.profile_token_url(&firm.url_prefix)? {
            return Ok(url);
        }
        let service = self.connection.service(firm)?;
        let known = self.token_memory.found(service.as_str());
        if let Some(found) = known.filter(|found| found.at <= now && now < found.at + BELIEVED_FOR) {
            return Ok(found.endpoint);
        }
        let outcome = self.discover(firm, &service).await;
        match &outcome {
            Ok(endpoint) => {
                tracing::debug!(event = "token.endpoint-found", firm = %firm.id, host = endpoint.host_str());
                let found = Found {
                    endpoint: endpoint.clone(),
                    at: now,
                };
                self.token_memory.keep(service.as_str(), found);
            }
            Err(error) => tracing::warn!(event = "token.endpoint-not-found", firm = %firm.id, %error),
        }
        outcome
    }

    /// Forgets where the endpoint of this firm was found.
    pub(super) fn forget_endpoint(&self, firm: &Firm) {
        if let Ok(service) = self.connection.service(firm) {
            self.token_memory.forget(service.as_str());
        }
    }

    /// Reads `{service}/.well-known/smart-configuration` (SMART App Launch 2.2, section 5.1.1, "Using .well-known").
    async fn discover(&self, firm: &Firm, service: &ServiceRoot) -> Result<Url, EhrError> {
        let url = service.collection(".well-known/smart-configuration");
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = url.as_str().parse().map_err(|_| EhrError::Malformed {
            what: "the address of its SMART configuration cannot be sent",
        })?;
        let accept = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::ACCEPT, accept);
        let reply = self.api.send(request, self.connection.limits.token_bytes).await;
        let reply = reply.map_err(reply::lost)?;
        if !reply.status().is_success() {
            return Err(match reply::failure(reply.status(), reply.headers()) {
                // No token was shown and no grant was taken: these would be believed to be about those.
                EhrError::Unauthorized | EhrError::Forbidden => EhrError::Malformed {
                    what: "its SMART configuration is not public",
                },
                EhrError::OverQuota { .. } => EhrError::Unavailable {
                    what: "it asks to slow down before it says where tokens are issued (429)",
                },
                error => error,
            });
        }
        let body = reply::json(reply.body())?;
        let configuration = View::of(&body);
        let endpoint = configuration.text("token_endpoint").ok_or(EhrError::Malformed {
            what: "its SMART configuration names no token endpoint",
        })?;
        let endpoint = Url::parse(&endpoint)
            .ok()
            .filter(|url| check_url("", url, self.connection.allow_loopback_http).is_ok())
            .filter(|url| self.connection.allow_loopback_http || url.host() == service.root().host() || !is_inside(url))
            .ok_or(EhrError::Malformed {
                what: "its SMART configuration names a token endpoint that nothing may be sent to",
            })?;
        warn_of_method(firm, &self.connection.profile.token, configuration);
        Ok(endpoint)
    }
}

/// Whether the URL names an address of a private network, or this machine: an EHR that is elsewhere must not send the credential there.
fn is_inside(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => !is_public(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => !is_public(IpAddr::V6(address)),
        Some(Host::Domain(_)) | None => is_loopback_host(url),
    }
}

/// A list that lacks the profile's method is worth a word and no more: such lists are often wrong.
fn warn_of_method(firm: &Firm, rules: &TokenRules, configuration: View<'_>) {
    let own = rules.client_authentication.registered_name();
    let mut listed = configuration.each("token_endpoint_auth_methods_supported").peekable();
    if listed.peek().is_some() && !listed.any(|method| method.is(own)) {
        tracing::warn!(event = "token.method-not-listed", firm = %firm.id, method = own);
    }
}
