//! Signing in with an identity provider: who was sent there and is expected back, and what somebody whom it named may do here.
//!
//! # Invariants
//! - Who comes back is taken once, soon, and in the browser that was sent: a cookie and `state` have to be of the same attempt.
//! - Who has no role by the configuration does not get in; a role is what the provider said at the sign-in, until the session ends.
//! - People are named by a claim that nobody else can be named by: with its name and a colon before it, which no name that is given with a
//!   token can have.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use http::HeaderMap;
use skin_assist_core::{phi::Secret, time::Timestamp};
use skin_assist_identity::{Attempt, Claims, Error, Provider};
use url::Url;

use super::{
    access::{Role, cookie, digest, random, set_cookie},
    pages::safe_next,
};

/// For so long somebody may be at the provider.
const PATIENCE: Duration = Duration::from_secs(10 * 60);
/// More at once are not expected back: the one that left first is forgotten.
const MOST_ATTEMPTS: usize = 10_000;
/// The longest name that is taken of a claim.
const LONGEST_NAME: usize = 255;

const COOKIE: &str = "skin-assist-sign-in";

/// Errors of an authorization endpoint that are worth telling from others (RFC 6749, section 4.1.2.1; OpenID Connect Core 1.0, section 3.1.2.6).
const FAULTS: [&str; 7] = [
    "invalid_request",
    "unauthorized_client",
    "unsupported_response_type",
    "invalid_scope",
    "server_error",
    "temporarily_unavailable",
    "login_required",
];

/// How people sign in with an identity provider.
pub struct OpenIdConnectOptions {
    /// The provider.
    pub provider: Provider,
    /// Under which address browsers reach the console.
    pub console_url: Url,
    /// The claim with what somebody is.
    pub role_claim: String,
    /// Its values that give a role.
    pub roles: Vec<(String, Role)>,
    /// The claim that people are named by.
    pub name_claim: String,
}

/// Somebody who was sent to the provider.
struct Expected {
    attempt: Attempt,
    /// The digest of their browser's cookie.
    browser: [u8; 32],
    next: String,
    left: Timestamp,
}

/// Signing in with the provider.
pub(super) struct OpenIdConnect {
    options: OpenIdConnectOptions,
    /// By the digest of their `state`.
    expected: Mutex<HashMap<[u8; 32], Expected>>,
}

/// What the browser brought from the provider.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) state: Secret,
    pub(super) code: Option<Secret>,
    pub(super) issuer: Option<Secret>,
    pub(super) error: Option<Secret>,
}

/// Somebody who came back, and may enter.
pub(super) struct Arrival {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) id_token: Secret,
    /// The page that they wanted.
    pub(super) next: String,
}

/// Why somebody did not get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nobody is expected back so: another browser, too late, or a second time.
    NotExpected,
    /// They, or the provider, said no.
    Denied,
    /// The provider could not do what it was asked for.
    Fault(&'static str),
    /// It has no code for us.
    NoCode,
    /// They have no role.
    NoRole,
    /// What came of asking the provider.
    Provider(Error),
}

impl Refusal {
    /// A stable code, for logs.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::NotExpected => "not-expected",
            Self::Denied => "denied",
            Self::Fault(_) => "provider-fault",
            Self::NoCode => "no-code",
            Self::NoRole => "no-role",
            Self::Provider(error) => error.code(),
        }
    }

    /// What happened, for who tried.
    pub(super) fn said(self) -> String {
        match self {
            Self::NotExpected => "this sign-in is over, was begun in another browser, or was used already".to_owned(),
            Self::Denied => "the identity provider did not let you in (access_denied)".to_owned(),
            Self::Fault(code) => format!("the identity provider cannot sign you in ({code})"),
            Self::NoCode => "the identity provider sent neither a code nor an error".to_owned(),
            Self::NoRole => "the identity provider knows you, and you have no role here".to_owned(),
            Self::Provider(error) => error.to_string(),
        }
    }

    /// What a person can do about it.
    pub(super) const fn hint(self) -> &'static str {
        match self {
            Self::NotExpected => {
                "begin again; it has to be finished within ten minutes, in the same browser, with cookies"
            }
            Self::Denied => {
                "begin again and agree, or ask who runs the identity provider to let you use this application"
            }
            Self::Fault(_) | Self::NoCode => {
                "tell who runs the identity provider; what is registered there has to be as docs/sign-in.md says"
            }
            Self::NoRole => {
                "ask for a group or role that openid_connect.viewers, operators or admins lists, then sign in again"
            }
            Self::Provider(error) => error.hint(),
        }
    }
}

impl OpenIdConnect {
    pub(super) fn new(options: OpenIdConnectOptions) -> Self {
        Self {
            options,
            expected: Mutex::default(),
        }
    }

    /// Whether browsers reach the console over HTTPS, so that its cookies may go over nothing else.
    pub(super) fn is_secure(&self) -> bool {
        self.options.console_url.scheme() == "https"
    }

    /// Sends somebody to the provider who wants to see a page: where to, and the `Set-Cookie` by which their browser is known again.
    pub(super) async fn leave(&self, next: &str, now: Timestamp) -> Result<(Url, String), Refusal> {
        let (url, attempt) = self.options.provider.begin(now).await.map_err(Refusal::Provider)?;
        let browser = random().map_err(|_| Refusal::Provider(Error::NoRandomNumbers))?;
        let mut all = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, expected| now.since(expected.left) < PATIENCE);
        if all.len() >= MOST_ATTEMPTS
            && let Some(first) = all
                .iter()
                .min_by_key(|(_, expected)| expected.left)
                .map(|(key, _)| *key)
        {
            all.remove(&first);
        }
        let expected = Expected {
            browser: digest(&browser),
            next: safe_next(next),
            left: now,
            attempt,
        };
        all.insert(digest(expected.attempt.state().expose()), expected);
        // Another site leads back here, so that it has to be sent then, too.
        Ok((url, set_cookie(COOKIE, &browser, "Lax", PATIENCE, self.is_secure())))
    }

    /// Takes somebody who came back.
    pub(super) async fn arrive(
        &self,
        answer: &Answer,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Arrival, Refusal> {
        let Expected {
            attempt,
            browser,
            next,
            left,
        } = self
            .expected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&digest(answer.state.expose()))
            .ok_or(Refusal::NotExpected)?;
        let is_same_browser = cookie(headers, COOKIE).is_some_and(|shown| digest(shown) == browser);
        if !is_same_browser || now.since(left) >= PATIENCE {
            return Err(Refusal::NotExpected);
        }
        if let Some(error) = &answer.error {
            let known = FAULTS.into_iter().find(|known| *known == error.expose());
            return Err(if error.expose() == "access_denied" {
                Refusal::Denied
            } else {
                Refusal::Fault(known.unwrap_or("for a reason of its own"))
            });
        }
        let code = answer.code.as_ref().ok_or(Refusal::NoCode)?;
        let provider = &self.options.provider;
        let identity = provider
            .finish(attempt, code, answer.issuer.as_ref().map(Secret::expose), now)
            .await
            .map_err(Refusal::Provider)?;
        let role = self.role(&identity.claims).ok_or(Refusal::NoRole)?;
        Ok(Arrival {
            name: self.name(&identity.claims),
            role,
            id_token: identity.token,
            next,
        })
    }

    /// Where to send somebody who signed out here, to sign out there, too.
    pub(super) async fn end_session(&self, id_token: &Secret, now: Timestamp) -> Option<Url> {
        let back = &self.options.console_url;
        self.options.provider.end_session(id_token, back, now).await
    }

    /// The `Set-Cookie` that forgets who was sent away.
    pub(super) fn forget(&self) -> String {
        set_cookie(COOKIE, "", "Lax", Duration::ZERO, self.is_secure())
    }

    /// The highest role that somebody has.
    fn role(&self, claims: &Claims) -> Option<Role> {
        let values = claims.values(&self.options.role_claim);
        let has = |(value, _): &&(String, Role)| values.contains(&value.as_str());
        self.options.roles.iter().filter(has).map(|(_, role)| *role).max()
    }

    /// As the audit trail names somebody: by the claim that is configured, where they have it and, for an address, it is not said to be
    /// anybody's; by their subject otherwise.
    fn name(&self, claims: &Claims) -> String {
        let claim = self.options.name_claim.as_str();
        let is_fit = |name: &&str| {
            let length = name.chars().count();
            (1..=LONGEST_NAME).contains(&length) && !name.chars().any(char::is_control)
        };
        let is_unverified = claim == "email" && claims.denies("email_verified");
        match claims.text(claim).filter(is_fit) {
            Some(name) if !is_unverified => format!("{claim}:{name}"),
            _ => format!("sub:{}", claims.subject()),
        }
    }
}
