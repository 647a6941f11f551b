//! The provider: what it says of itself, its keys, and one sign-in.

use std::{sync::Arc, time::Duration};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use ring::{
    digest,
    rand::{SecureRandom as _, SystemRandom},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use skin_assist_core::{phi::Secret, time::Timestamp};
use skin_assist_transport::{Transport, TransportError, is_loopback_host};
use tokio::sync::Mutex;
use url::{Url, form_urlencoded};

use crate::{
    claims::{Claims, Expected},
    error::{Error, TokenRefusal},
    jws::{KeySet, verified},
};

/// For how long what the provider says of itself, and its keys, are good.
const GOOD_FOR: Duration = Duration::from_secs(10 * 60);
/// A provider that failed is left alone for so long.
const LEFT_ALONE: Duration = Duration::from_secs(5);
/// A key that is not known has the keys read once more, at most so often.
const READ_AGAIN: Duration = Duration::from_secs(30);
/// The most bytes of any answer.
const MOST_BYTES: usize = 256 << 10;
/// The most bytes of an ID token.
const LONGEST_TOKEN: usize = 32 << 10;
/// RFC 6749, section 5.2: what a token endpoint says when it refuses.
const REFUSALS: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

/// Whose word counts, and what this client is there.
pub struct Settings {
    /// The issuer, exactly as the provider writes it.
    pub issuer: String,
    /// What the provider knows this client by.
    pub client_id: String,
    /// None for a public client, which has PKCE alone.
    pub client_secret: Option<Secret>,
    /// Where the provider sends people back to.
    pub return_url: Url,
    /// Asked for besides `openid`.
    pub scopes: Vec<String>,
    /// Claims that are needed: where the ID token lacks one, the provider is asked for it (UserInfo).
    pub claims: Vec<String>,
}

/// Why an issuer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IssuerRefused {
    /// Not a URL, or one with a query or a fragment.
    #[error("it is no URL of an issuer")]
    NoUrl,
    /// Plain http to another machine.
    #[error("it is neither https nor this very machine")]
    Plain,
}

/// Whether tokens and secrets may go there: https, or plain http to this very machine.
pub fn is_secure(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.has_host(),
        "http" => is_loopback_host(url),
        _ => false,
    }
}

/// Whether a text may be an issuer (OpenID Connect Discovery 1.0, section 3).
///
/// # Errors
/// [`IssuerRefused`] says why not.
pub fn check_issuer(text: &str) -> Result<Url, IssuerRefused> {
    let url = Url::parse(text).map_err(|_| IssuerRefused::NoUrl)?;
    if !is_secure(&url) {
        return Err(IssuerRefused::Plain);
    }
    let has_more = url.query().is_some() || url.fragment().is_some() || !url.username().is_empty();
    if has_more { Err(IssuerRefused::NoUrl) } else { Ok(url) }
}

/// An address that the provider names.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
struct Endpoint(Url);

impl TryFrom<String> for Endpoint {
    type Error = url::ParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Url::parse(&text).map(Self)
    }
}

/// What a provider says of itself (OpenID Connect Discovery 1.0, section 3), as far as it is used.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: Endpoint,
    token_endpoint: Endpoint,
    jwks_uri: Endpoint,
    userinfo_endpoint: Option<Endpoint>,
    end_session_endpoint: Option<Endpoint>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl Metadata {
    /// Whether what is sent to its addresses is safe on the way.
    fn is_secure(&self) -> bool {
        let needed = [&self.authorization_endpoint, &self.token_endpoint, &self.jwks_uri];
        let optional = [&self.userinfo_endpoint, &self.end_session_endpoint];
        let mut all = needed.into_iter().chain(optional.into_iter().flatten());
        all.all(|endpoint| is_secure(&endpoint.0))
    }
}

/// What has been read of the provider, and when.
#[derive(Default)]
struct Known {
    metadata: Option<(Timestamp, Arc<Metadata>)>,
    keys: Option<(Timestamp, Arc<KeySet>)>,
    read_again: Option<Timestamp>,
    failed: Option<(Timestamp, Error)>,
}

fn fresh<T>(known: Option<&(Timestamp, Arc<T>)>, now: Timestamp) -> Option<Arc<T>> {
    let (at, value) = known?;
    (now.since(*at) < GOOD_FOR).then(|| Arc::clone(value))
}

/// One sign-in that was begun.
pub struct Attempt {
    state: Secret,
    nonce: Secret,
    verifier: Secret,
}

impl Attempt {
    /// By which the answer is known again.
    pub const fn state(&self) -> &Secret {
        &self.state
    }
}

/// Somebody whom the provider knows.
pub struct Identity {
    /// What it says of them.
    pub claims: Claims,
    /// The ID token, by which the provider knows the session when it is to be ended.
    pub token: Secret,
}

#[derive(Deserialize)]
struct Issued {
    id_token: Option<String>,
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
}

/// An OpenID provider, as one of its clients uses it.
pub struct Provider {
    settings: Settings,
    transport: Arc<dyn Transport>,
    known: Mutex<Known>,
}

fn random() -> Result<Secret, Error> {
    let mut bytes = [0_u8; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::NoRandomNumbers)?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes)))
}

impl Provider {
    /// A provider that nothing is known of yet. The transport sets limits of time.
    pub fn new(settings: Settings, transport: Arc<dyn Transport>) -> Self {
        Self {
            settings,
            transport,
            known: Mutex::default(),
        }
    }

    /// Whether it answers, and as it should. Nothing is shown to it.
    ///
    /// # Errors
    /// [`Error`] says what is wrong.
    pub async fn check(&self, now: Timestamp) -> Result<(), Error> {
        self.metadata(now).await?;
        self.keys(now, false).await.map(drop)
    }

    /// Begins a sign-in: where to send the person, and what to keep until they come back.
    ///
    /// # Errors
    /// Where the provider does not say where that is.
    pub async fn begin(&self, now: Timestamp) -> Result<(Url, Attempt), Error> {
        let metadata = self.metadata(now).await?;
        let attempt = Attempt {
            state: random()?,
            nonce: random()?,
            verifier: random()?,
        };
        let challenge = digest::digest(&digest::SHA256, attempt.verifier.expose().as_bytes());
        let scopes = self.settings.scopes.iter().map(String::as_str);
        let scope: Vec<&str> = std::iter::once("openid")
            .chain(scopes.filter(|scope| *scope != "openid"))
            .collect();
        let mut url = metadata.authorization_endpoint.0.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", self.settings.return_url.as_str())
            .append_pair("scope", &scope.join(" "))
            .append_pair("state", attempt.state.expose())
            .append_pair("nonce", attempt.nonce.expose())
            .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(challenge))
            .append_pair("code_challenge_method", "S256");
        Ok((url, attempt))
    }

    /// Finishes a sign-in with the code that the person brought, and the issuer that came with it (RFC 9207).
    ///
    /// # Errors
    /// [`Error`] says why nobody is known to have signed in.
    pub async fn finish(
        &self,
        attempt: Attempt,
        code: &Secret,
        issuer: Option<&str>,
        now: Timestamp,
    ) -> Result<Identity, Error> {
        let metadata = self.metadata(now).await?;
        match issuer {
            Some(issuer) if issuer == self.settings.issuer => {}
            None if !metadata.authorization_response_iss_parameter_supported => {}
            _ => return Err(TokenRefusal::Issuer.into()),
        }
        let issued = self.issued(&metadata, &attempt, code).await?;
        let what = "it issued no ID token";
        let token = Secret::new(issued.id_token.ok_or(Error::Malformed { what })?);
        let access_token = issued.access_token.map(Secret::new);
        let mut claims = self.claims(&token, &attempt, now).await?;
        let is_lacking = self.settings.claims.iter().any(|claim| !claims.has(claim));
        if let (true, Some(endpoint), Some(access_token)) = (is_lacking, &metadata.userinfo_endpoint, access_token) {
            let further = self.user_info(&endpoint.0, &access_token).await?;
            // Section 5.3.2: of another person it must not be used.
            if further.get("sub").and_then(Value::as_str) != Some(claims.subject()) {
                let what = "what it tells of the person is of another one";
                return Err(Error::Malformed { what });
            }
            claims.extend(further);
        }
        Ok(Identity { claims, token })
    }

    /// Where to send a person to end their session at the provider, if it has such a place (OpenID Connect RP-Initiated Logout 1.0).
    pub async fn end_session(&self, token: &Secret, back: &Url, now: Timestamp) -> Option<Url> {
        let mut url = self.metadata(now).await.ok()?.end_session_endpoint.clone()?.0;
        url.query_pairs_mut()
            .append_pair("id_token_hint", token.expose())
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("post_logout_redirect_uri", back.as_str());
        Some(url)
    }

    /// The claims of an ID token. One that names a key that is not known has the keys read again, once.
    async fn claims(&self, token: &Secret, attempt: &Attempt, now: Timestamp) -> Result<Claims, Error> {
        let token = token.expose();
        if token.len() > LONGEST_TOKEN {
            return Err(TokenRefusal::Malformed.into());
        }
        let claims = match verified(token, &*self.keys(now, false).await?) {
            Err(TokenRefusal::UnknownKey) => verified(token, &*self.keys(now, true).await?)?,
            outcome => outcome?,
        };
        let expected = Expected {
            issuer: &self.settings.issuer,
            client_id: &self.settings.client_id,
            nonce: attempt.nonce.expose(),
        };
        Ok(Claims::checked(claims, &expected, now)?)
    }

    async fn metadata(&self, now: Timestamp) -> Result<Arc<Metadata>, Error> {
        let mut known = self.known.lock().await;
        if let Some(metadata) = fresh(known.metadata.as_ref(), now) {
            return Ok(metadata);
        }
        let found = self.kept_apart(&mut known, now, self.discovered()).await?;
        known.metadata = Some((now, Arc::clone(&found)));
        Ok(found)
    }

    /// The keys; read again where they are `stale` by what somebody shows, and were not read again a moment ago.
    async fn keys(&self, now: Timestamp, are_stale: bool) -> Result<Arc<KeySet>, Error> {
        let metadata = self.metadata(now).await?;
        let mut known = self.known.lock().await;
        let may_read_again = known.read_again.is_none_or(|at| now.since(at) >= READ_AGAIN);
        if let Some(keys) = fresh(known.keys.as_ref(), now)
            && !(are_stale && may_read_again)
        {
            return Ok(keys);
        }
        if are_stale {
            known.read_again = Some(now);
        }
        let read = async { self.get(&metadata.jwks_uri.0, None).await.map(Arc::new) };
        let keys = self.kept_apart(&mut known, now, read).await?;
        known.keys = Some((now, Arc::clone(&keys)));
        Ok(keys)
    }

    /// Asks, unless the provider failed a moment ago.
    async fn kept_apart<T>(
        &self,
        known: &mut Known,
        now: Timestamp,
        asked: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if let Some((at, error)) = known.failed
            && now.since(at) < LEFT_ALONE
        {
            return Err(error);
        }
        let outcome = asked.await;
        known.failed = outcome.as_ref().err().map(|error| (now, *error));
        outcome
    }

    /// OpenID Connect Discovery 1.0, section 4: the issuer's own path goes before the well-known one.
    async fn discovered(&self) -> Result<Arc<Metadata>, Error> {
        let issuer = self.settings.issuer.trim_end_matches('/');
        let what = "the issuer is no URL";
        let url = Url::parse(&format!("{issuer}/.well-known/openid-configuration"));
        let metadata: Metadata = self.get(&url.map_err(|_| Error::Malformed { what })?, None).await?;
        if metadata.issuer != self.settings.issuer {
            let what = "it calls itself otherwise than openid_connect.issuer";
            return Err(Error::Malformed { what });
        }
        if !metadata.is_secure() {
            let what = "one of its addresses is neither https nor this very machine";
            return Err(Error::Malformed { what });
        }
        Ok(Arc::new(metadata))
    }

    async fn issued(&self, metadata: &Metadata, attempt: &Attempt, code: &Secret) -> Result<Issued, Error> {
        let request = self.token_request(metadata, attempt, code)?;
        let response = self.send(request).await?;
        let status = response.status();
        if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
            let said = serde_json::from_slice::<Refusal>(response.body()).map(|refusal| refusal.error);
            let known = |said: String| REFUSALS.into_iter().find(|known| *known == said);
            let code = said.ok().and_then(known).unwrap_or("without a reason that is known");
            return Err(Error::Refused { code });
        }
        read(&response)
    }

    fn token_request(&self, metadata: &Metadata, attempt: &Attempt, code: &Secret) -> Result<Request<Bytes>, Error> {
        let settings = &self.settings;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code.expose())
            .append_pair("redirect_uri", settings.return_url.as_str())
            .append_pair("code_verifier", attempt.verifier.expose());
        let mut authorization = None;
        match &settings.client_secret {
            Some(secret) if takes_basic(metadata) => {
                let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
                let pair = Secret::new(format!("{}:{}", encoded(&settings.client_id), encoded(secret.expose())));
                authorization = Some(format!("Basic {}", STANDARD.encode(pair.expose())));
            }
            Some(secret) => {
                form.append_pair("client_id", &settings.client_id)
                    .append_pair("client_secret", secret.expose());
            }
            None => {
                form.append_pair("client_id", &settings.client_id);
            }
        }
        let mut request = request(&metadata.token_endpoint.0, authorization.as_deref())?;
        *request.method_mut() = Method::POST;
        let content_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(header::CONTENT_TYPE, content_type);
        *request.body_mut() = Bytes::from(form.finish());
        Ok(request)
    }

    async fn user_info(&self, endpoint: &Url, access_token: &Secret) -> Result<Map<String, Value>, Error> {
        self.get(endpoint, Some(&format!("Bearer {}", access_token.expose())))
            .await
    }

    async fn get<T: DeserializeOwned>(&self, url: &Url, authorization: Option<&str>) -> Result<T, Error> {
        read(&self.send(request(url, authorization)?).await?)
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
        let sent = self.transport.send(request, MOST_BYTES).await;
        sent.map_err(|error| match error {
            TransportError::NotSent { what } | TransportError::Unknown { what, .. } => Error::Unavailable { what },
            TransportError::AddressRefused => Error::Unavailable {
                what: "its address is not allowed",
            },
            TransportError::TooLarge { .. } => Error::Malformed {
                what: "it is larger than allowed",
            },
        })
    }
}

/// Whether a secret goes into a header rather than the form. A provider that does not say takes that (OpenID Connect Discovery 1.0,
/// section 3).
fn takes_basic(metadata: &Metadata) -> bool {
    let listed = metadata.token_endpoint_auth_methods_supported.as_ref();
    listed.is_none_or(|listed| listed.iter().any(|method| method == "client_secret_basic"))
}

fn request(url: &Url, authorization: Option<&str>) -> Result<Request<Bytes>, Error> {
    let what = "one of its addresses cannot be asked";
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = url.as_str().parse().map_err(|_| Error::Malformed { what })?;
    let headers = request.headers_mut();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(authorization) = authorization {
        let what = "what it issued, or the client's secret, cannot be sent";
        let mut value = HeaderValue::from_str(authorization).map_err(|_| Error::Malformed { what })?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    Ok(request)
}

fn read<T: DeserializeOwned>(response: &Response<Bytes>) -> Result<T, Error> {
    match response.status() {
        StatusCode::OK => serde_json::from_slice(response.body()).map_err(|_| Error::Malformed {
            what: "it is not JSON as OpenID Connect has it",
        }),
        StatusCode::TOO_MANY_REQUESTS => Err(Error::Unavailable {
            what: "it asks to slow down (429)",
        }),
        status if status.is_server_error() => Err(Error::Unavailable {
            what: "it failed (5xx)",
        }),
        status if status.is_redirection() => Err(Error::Malformed {
            what: "it redirects, which is not followed",
        }),
        _ => Err(Error::Malformed {
            what: "its status is not one of an answer",
        }),
    }
}
