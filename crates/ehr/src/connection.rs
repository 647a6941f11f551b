//! What connects the client to one EHR: a profile, addresses, the API key, limits.

use std::collections::BTreeMap;

use http::HeaderValue;
use skin_assist_core::{domain::Firm, phi::Secret, ports::EhrError};
use skin_assist_transport::is_loopback_host;
use url::Url;

use crate::{
    photo_hosts::HostPattern,
    profile::Profile,
    urls::{self, ServiceRoot},
};

/// What connects the client to one EHR, for all of its firms.
#[derive(Debug, Clone)]
pub struct EhrConnection {
    /// What is different about this EHR.
    pub profile: Profile,
    /// `{base}` of the profile's URLs.
    pub base_url: Url,
    /// The OAuth2 token endpoint, where it is not the profile's or the EHR's own word that counts.
    pub token_url: Option<Url>,
    /// The vendor's key; empty where the profile has no header for it.
    pub api_key: Secret,
    /// Further keys by the names that firms have them under.
    pub further_api_keys: BTreeMap<String, Secret>,
    /// Hosts that photos may come from, beside the profile's.
    pub photo_hosts: Vec<HostPattern>,
    /// Whether plain http may go to this very machine: for a practice EHR.
    pub allow_loopback_http: bool,
    /// How much is read at most.
    pub limits: Limits,
}

/// How much is read at most, in bytes. Reading stops there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A reply of the EHR: a page, a document, a value set.
    pub reply_bytes: usize,
    /// A reply of the token endpoint.
    pub token_bytes: usize,
    /// A photo.
    pub photo_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            reply_bytes: 8 << 20,
            token_bytes: 64 << 10,
            photo_bytes: 30 << 20,
        }
    }
}

/// The connection cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// A URL that nothing may be sent to.
    #[error("{which} cannot be used: {problem}")]
    Url {
        /// Which one.
        which: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Nothing says where the token endpoint is.
    #[error("the token endpoint is not known")]
    TokenUrlMissing,
    /// The profile has a header for an API key and there is none.
    #[error("this EHR needs an API key")]
    ApiKeyMissing,
    /// The key has characters that no header takes.
    #[error("the API key cannot be sent: it has a line break or another control character")]
    ApiKeyUnsendable,
}

impl ConnectionError {
    /// What a person can do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Url { .. } => "check ehr.base_url and ehr.token_url, and the profile's token.url",
            Self::TokenUrlMissing => "set ehr.token_url, or give the profile token.url or token.discovery = true",
            Self::ApiKeyMissing | Self::ApiKeyUnsendable => "check ehr.api_key_file, or SKIN_ASSIST_EHR_API_KEY",
        }
    }
}

/// Refuses a URL that nothing may be sent to.
pub(crate) fn check_url(which: &'static str, url: &Url, allow_loopback_http: bool) -> Result<(), ConnectionError> {
    let refuse = |problem| Err(ConnectionError::Url { which, problem });
    match url.scheme() {
        "https" => {}
        "http" if allow_loopback_http && is_loopback_host(url) => {}
        "http" => {
            return refuse("only https is allowed, or http to this very machine where that is switched on");
        }
        _ => return refuse("only https is allowed"),
    }
    if url.host_str().is_none_or(str::is_empty) {
        return refuse("it has no host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("it has a user name or a password in it");
    }
    if url.fragment().is_some() {
        return refuse("it has a fragment (#…)");
    }
    Ok(())
}

impl EhrConnection {
    pub(crate) fn check(&self) -> Result<(), ConnectionError> {
        check_url("the EHR's base URL", &self.base_url, self.allow_loopback_http)?;
        let of_the_profile = self.profile_token_url("firm").map_err(|_| ConnectionError::Url {
            which: "the profile's token URL",
            problem: "it is not a URL",
        })?;
        match (&self.token_url, &of_the_profile) {
            (Some(url), _) => check_url("the token URL", url, self.allow_loopback_http)?,
            (None, Some(url)) => check_url("the profile's token URL", url, self.allow_loopback_http)?,
            (None, None) if self.profile.token.discovery => {}
            (None, None) => return Err(ConnectionError::TokenUrlMissing),
        }
        if self.base_url.query().is_some() {
            return Err(ConnectionError::Url {
                which: "the EHR's base URL",
                problem: "it has a query (?…)",
            });
        }
        if self.profile.request.api_key_header.is_some() {
            if self.api_key.is_empty() {
                return Err(ConnectionError::ApiKeyMissing);
            }
            let mut keys = std::iter::once(&self.api_key).chain(self.further_api_keys.values());
            if keys.any(|key| HeaderValue::from_str(key.expose()).is_err()) {
                return Err(ConnectionError::ApiKeyUnsendable);
            }
        }
        Ok(())
    }

    /// The key that a firm's calls carry.
    pub(crate) fn api_key(&self, firm: &Firm) -> Result<&Secret, EhrError> {
        match &firm.api_key {
            None => Ok(&self.api_key),
            Some(name) => self.further_api_keys.get(name).ok_or(EhrError::Malformed {
                what: "the firm's API key is not configured",
            }),
        }
    }

    /// The token endpoint of a firm as the profile has it, if it has one.
    pub(crate) fn profile_token_url(&self, url_prefix: &str) -> Result<Option<Url>, EhrError> {
        let malformed = EhrError::Malformed {
            what: "the firm's URL prefix cannot be a part of a URL",
        };
        let Some(template) = &self.profile.token.url else {
            return Ok(None);
        };
        let prefix = urls::encode_segment(url_prefix).ok_or(malformed.clone())?;
        let base = self.base_url.as_str().trim_end_matches('/');
        let text = template.replace("{base}", base).replace("{firm}", &prefix);
        Url::parse(&text).map(Some).map_err(|_| malformed)
    }

    /// A firm's FHIR service.
    pub(crate) fn service(&self, firm: &Firm) -> Result<ServiceRoot, EhrError> {
        // A prefix may be several segments ("clinic-a/fhir").
        let segments: Option<Vec<String>> = firm.url_prefix.split('/').map(urls::encode_segment).collect();
        let prefix = segments.map(|segments| segments.join("/")).ok_or(EhrError::Malformed {
            what: "the firm's URL prefix cannot be a part of a URL",
        })?;
        let base = self.base_url.as_str().trim_end_matches('/');
        let text = self
            .profile
            .urls
            .service
            .replace("{base}", base)
            .replace("{firm}", &prefix);
        ServiceRoot::parse(&text).ok_or(EhrError::Malformed {
            what: "the firm's URL prefix cannot be a part of a URL",
        })
    }
}
