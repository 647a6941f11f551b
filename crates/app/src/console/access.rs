//! Who may do what in the console: roles, tokens, sessions.
//!
//! # Invariants
//! - Nothing is changed for who did not sign in, and nothing of a patient is shown.
//! - A form is taken only from a page of this console: from its own origin, with its session's own secret in it.
//! - Tokens and sessions' names are compared by their digests, and are in no log and no URL.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::body::Bytes;
use http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};
use skin_assist_core::{phi::Secret, time::Timestamp};
use zeroize::Zeroize as _;

use super::openid_connect::{OpenIdConnect, OpenIdConnectOptions};
use crate::{
    commands::Operator,
    failure::{Failure, Hinted as _},
};

/// A session that nobody uses ends.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// However much it is used, it ends.
const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);
/// More at once than a team has: the one that is used least recently ends.
const MOST_SESSIONS: usize = 200;
/// The longest name that somebody may give.
const LONGEST_NAME: usize = 64;

const COOKIE: &str = "skin-assist-session";

/// What the script of an open page puts into what it asks by itself (assets/console.js).
const REFRESH: &str = "skin-assist-refresh";
/// What nobody but that script asks.
const BY_ITSELF: [&str; 2] = ["/live", "/session"];

/// What somebody may do; each may do what those before may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Sees how everything stands, but nothing of a patient.
    Viewer,
    /// Repairs, pauses and resumes; reads drafts, with a reason that is recorded.
    Operator,
    /// Connects practices and changes what is written into their charts.
    Admin,
}

impl Role {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// How people prove who they are.
#[derive(Default)]
pub struct AccessOptions {
    /// The tokens of each role.
    pub tokens: Vec<(Role, Secret)>,
    /// The role of who comes without signing in; none where everybody has to.
    pub everybody: Option<Role>,
    /// Whether the browser may send the session over HTTPS alone: where others than this machine are served.
    pub is_remote: bool,
    /// The identity provider that people sign in with.
    pub openid_connect: Option<OpenIdConnectOptions>,
}

/// Who sent a request.
#[derive(Clone)]
pub(super) struct Person {
    pub(super) role: Role,
    /// The name that they gave; empty for who did not sign in.
    pub(super) name: String,
    /// What their forms have to bring.
    pub(super) form_secret: String,
    /// Whether they may sign out.
    pub(super) is_signed_in: bool,
    /// Whether it is a subscriber, which showed the token of the subscription that it asks about.
    is_subscriber: bool,
}

impl Person {
    pub(super) fn operator(&self) -> Operator {
        let name = if self.name.is_empty() { "nobody" } else { &self.name };
        Operator::of_the_console(name, self.role.as_str())
    }

    /// A subscriber, by its own token.
    pub(super) fn subscriber() -> Self {
        Self {
            role: Role::Viewer,
            name: String::from("subscriber"),
            form_secret: String::new(),
            is_signed_in: false,
            is_subscriber: true,
        }
    }

    /// Whether they may see more of a subscriber's address than where it is.
    pub(super) fn may_see_endpoints(&self) -> bool {
        self.is_subscriber || self.may(Role::Operator)
    }

    pub(super) fn may(&self, role: Role) -> bool {
        self.role >= role
    }
}

struct Session {
    person: Person,
    /// By which the identity provider knows its own session, where it said who this is.
    id_token: Option<Secret>,
    began: Timestamp,
    used: Timestamp,
}

/// Tokens and sessions.
pub(super) struct Access {
    tokens: Vec<(Role, Secret)>,
    everybody: Option<Role>,
    is_remote: bool,
    /// Where people sign in otherwise.
    pub(super) openid_connect: Option<OpenIdConnect>,
    sessions: Mutex<HashMap<[u8; 32], Session>>,
    /// The secret of forms of who did not sign in.
    form_secret: String,
}

pub(super) fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

pub(super) fn random() -> Result<String, Failure> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).failed(|| "the system has no random numbers".to_owned())?;
    Ok(hex::encode(bytes))
}

/// A name as it goes into the audit trail: what people are called, and nothing that could be taken for something else there.
fn name(given: &str) -> Option<String> {
    let given = given.trim();
    let is_fit = |letter: char| letter.is_alphanumeric() || " .,'-@_".contains(letter);
    (!given.is_empty() && given.chars().count() <= LONGEST_NAME && given.chars().all(is_fit)).then(|| given.to_owned())
}

/// Why somebody was not signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotSignedIn {
    Name,
    Token,
}

impl Access {
    pub(super) fn new(options: AccessOptions) -> Result<Self, Failure> {
        Ok(Self {
            tokens: options.tokens,
            everybody: options.everybody,
            is_remote: options.is_remote,
            openid_connect: options.openid_connect.map(OpenIdConnect::new),
            sessions: Mutex::default(),
            form_secret: random()?,
        })
    }

    /// The role that a token gives.
    fn role_of(&self, token: &str) -> Option<Role> {
        let shown = digest(token);
        let fits = |known: &&(Role, Secret)| digest(known.1.expose()) == shown;
        // The highest, where somebody gave one token to two roles.
        self.tokens.iter().filter(fits).map(|known| known.0).max()
    }

    /// Who sent a request, if it may be answered at all. What nobody did does not keep a session.
    pub(super) fn person(&self, headers: &HeaderMap, is_use: bool, now: Timestamp) -> Option<Person> {
        if let Some(token) = bearer(headers) {
            // Whoever shows a token is taken at it alone.
            return Some(Person {
                role: self.role_of(token)?,
                name: String::from("token"),
                form_secret: String::new(),
                is_signed_in: false,
                is_subscriber: false,
            });
        }
        self.session(headers, is_use, now).or_else(|| {
            self.everybody.map(|role| Person {
                role,
                name: String::new(),
                form_secret: self.form_secret.clone(),
                is_signed_in: false,
                is_subscriber: false,
            })
        })
    }

    fn session(&self, headers: &HeaderMap, is_use: bool, now: Timestamp) -> Option<Person> {
        let key = digest(cookie(headers, COOKIE)?);
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| now.since(session.used) < IDLE && now.since(session.began) < LONGEST);
        let session = sessions.get_mut(&key)?;
        if is_use {
            session.used = now;
        }
        Some(session.person.clone())
    }

    /// Whether anybody can sign in with a token.
    pub(super) fn takes_tokens(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// Begins a session of who has a token, and gives the `Set-Cookie` that carries it.
    pub(super) fn sign_in(&self, given: &str, token: &str, now: Timestamp) -> Result<(Person, String), NotSignedIn> {
        let name = name(given).ok_or(NotSignedIn::Name)?;
        let role = self.role_of(token.trim()).ok_or(NotSignedIn::Token)?;
        self.begin(name, role, None, now).map_err(|_| NotSignedIn::Token)
    }

    /// Begins a session of somebody whom the identity provider named.
    pub(super) fn arrive(
        &self,
        name: String,
        role: Role,
        id_token: Secret,
        now: Timestamp,
    ) -> Result<(Person, String), Failure> {
        self.begin(name, role, Some(id_token), now)
    }

    fn begin(
        &self,
        name: String,
        role: Role,
        id_token: Option<Secret>,
        now: Timestamp,
    ) -> Result<(Person, String), Failure> {
        let id = random()?;
        let person = Person {
            role,
            name,
            form_secret: random()?,
            is_signed_in: true,
            is_subscriber: false,
        };
        let is_secure = match (&id_token, &self.openid_connect) {
            (Some(_), Some(openid_connect)) => openid_connect.is_secure(),
            _ => self.is_remote,
        };
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() >= MOST_SESSIONS
            && let Some(oldest) = sessions
                .iter()
                .min_by_key(|(_, session)| session.used)
                .map(|(key, _)| *key)
        {
            sessions.remove(&oldest);
        }
        let session = Session {
            person: person.clone(),
            id_token,
            began: now,
            used: now,
        };
        sessions.insert(digest(&id), session);
        Ok((person, set_cookie(COOKIE, &id, "Strict", LONGEST, is_secure)))
    }

    /// Ends the session of a request, and gives the `Set-Cookie` that forgets it, and by what the identity provider knows its own.
    pub(super) fn sign_out(&self, headers: &HeaderMap) -> (String, Option<Secret>) {
        let ended = cookie(headers, COOKIE).and_then(|id| {
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.remove(&digest(id))
        });
        let forget = set_cookie(COOKIE, "", "Strict", Duration::ZERO, self.is_remote);
        (forget, ended.and_then(|session| session.id_token))
    }
}

/// A cookie that scripts cannot read. `same_site` says with whose requests it is sent: `Strict`, with those of this site's own pages;
/// `Lax`, besides where another site leads here.
pub(super) fn set_cookie(name: &str, value: &str, same_site: &str, lives: Duration, is_secure: bool) -> String {
    let seconds = lives.as_secs();
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; HttpOnly; SameSite={same_site}; Max-Age={seconds}{secure}")
}

/// The SHA-256 of the token that a request shows, in hexadecimal.
pub(super) fn token_digest(headers: &HeaderMap) -> Option<String> {
    Some(hex::encode(digest(bearer(headers)?)))
}

/// The token that a request shows.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.strip_prefix("Bearer ")
}

/// A cookie of a request.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter();
    let mut pairs = cookies
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// Whether somebody did this, and not an open page by itself.
pub(super) fn is_use(path: &str, headers: &HeaderMap) -> bool {
    !headers.contains_key(REFRESH) && !BY_ITSELF.contains(&path)
}

/// Whether a browser says that a page of this very origin sent the request. What is not a browser says nothing.
pub(super) fn is_of_this_origin(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    match (text("origin"), text("host")) {
        (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, named)| named == host),
        (Some(_), None) => false,
        (None, _) => true,
    }
}

/// Wipes what a form was sent as: a credential or a token may be in it. What came in one piece is nobody else's.
pub(super) fn wipe(body: Bytes) {
    if let Ok(mut body) = body.try_into_mut() {
        body.as_mut().zeroize();
    }
}

/// What a form brought.
pub(super) struct Fields(BTreeMap<String, Secret>);

impl Fields {
    /// The fields of a form that a page of this console sent for this person; an error otherwise.
    pub(super) fn of(body: &[u8], person: &Person) -> Result<Self, &'static str> {
        Self::new(url::form_urlencoded::parse(body).into_owned().collect(), person)
    }

    /// The same of fields that were read already.
    pub(super) fn new(fields: BTreeMap<String, String>, person: &Person) -> Result<Self, &'static str> {
        let fields = fields.into_iter().map(|(name, value)| (name, Secret::new(value)));
        let fields = Self(fields.collect());
        if person.form_secret.is_empty() || digest(fields.text("form")) != digest(&person.form_secret) {
            return Err("this form is not of your session: reload the page and try again");
        }
        Ok(fields)
    }

    /// A field without the space around it; empty where there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |value| value.expose().trim())
    }

    /// The fields whose names begin so, by the rest of their names.
    pub(super) fn beginning<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let rest = move |(name, value): (&'a String, &'a Secret)| Some((name.strip_prefix(prefix)?, value.expose()));
        self.0.iter().filter_map(rest)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn access() -> Access {
        let secret = |text: &str| Secret::new(text.to_owned());
        Access::new(AccessOptions {
            tokens: vec![(Role::Viewer, secret("view")), (Role::Admin, secret("rule"))],
            ..AccessOptions::default()
        })
        .unwrap()
    }

    fn with(name: http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_session_lives_as_long_as_it_is_used_and_no_longer_than_half_a_day() {
        let access = access();
        let start = Timestamp::from_millis(1_000_000);
        assert!(
            access.person(&HeaderMap::new(), true, start).is_none(),
            "nobody is taken without proof"
        );
        assert_eq!(access.sign_in("Ada", "wrong", start).err(), Some(NotSignedIn::Token));
        assert_eq!(access.sign_in("<b>", "rule", start).err(), Some(NotSignedIn::Name));
        let (person, cookie) = access.sign_in(" Ada Roe ", "rule", start).unwrap();
        assert_eq!((person.name.as_str(), person.role), ("Ada Roe", Role::Admin));
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"));
        let sent = with(header::COOKIE, cookie.split(';').next().unwrap());
        let mut now = start;
        while now.since(start) + IDLE / 2 < LONGEST {
            now = now + IDLE / 2;
            assert!(access.person(&sent, true, now).is_some(), "at {now}");
        }
        assert!(
            access.person(&sent, true, now + IDLE / 2).is_none(),
            "half a day has passed"
        );
        let (_, cookie) = access.sign_in("Ada", "rule", start).unwrap();
        let sent = with(header::COOKIE, cookie.split(';').next().unwrap());
        assert!(access.person(&sent, true, start + IDLE).is_none(), "nobody used it");
        let (_, cookie) = access.sign_in("Ada", "rule", start).unwrap();
        let sent = with(header::COOKIE, cookie.split(';').next().unwrap());
        assert!(access.sign_out(&sent).0.contains("Max-Age=0"));
        assert!(access.person(&sent, true, start).is_none(), "it was ended");
    }

    #[test]
    fn a_token_gives_its_role_and_nothing_else_does() {
        let access = access();
        let role = |value: &str| {
            let person = access.person(&with(header::AUTHORIZATION, value), true, Timestamp::ALWAYS);
            person.map(|person| person.role)
        };
        assert_eq!(role("Bearer view"), Some(Role::Viewer));
        assert_eq!(role("Bearer rule"), Some(Role::Admin));
        assert_eq!(
            (role("Bearer "), role("Basic view"), role("Bearer viewer")),
            (None, None, None)
        );
        let token = access
            .person(&with(header::AUTHORIZATION, "Bearer rule"), true, Timestamp::ALWAYS)
            .unwrap();
        assert!(
            Fields::of(b"form=", &token).is_err(),
            "a token is no session: no form is its own"
        );
    }

    #[test]
    fn a_form_is_taken_from_its_own_session_alone() {
        let access = access();
        let (ada, _) = access.sign_in("Ada", "rule", Timestamp::ALWAYS).unwrap();
        let (eve, _) = access.sign_in("Eve", "view", Timestamp::ALWAYS).unwrap();
        let body = format!("form={}&use.x=+solitary&use.y=ignored", ada.form_secret);
        let fields = Fields::of(body.as_bytes(), &ada).ok().unwrap();
        assert_eq!(fields.text("use.x"), "solitary");
        assert_eq!(fields.beginning("use.").count(), 2);
        assert!(Fields::of(body.as_bytes(), &eve).is_err());
        assert!(Fields::of(b"use.x=solitary", &ada).is_err());
    }

    #[test]
    fn a_page_of_elsewhere_sends_no_form() {
        assert!(is_of_this_origin(&HeaderMap::new()), "no browser");
        for (site, taken) in [
            ("same-origin", true),
            ("none", true),
            ("same-site", false),
            ("cross-site", false),
        ] {
            let headers = with(http::HeaderName::from_static("sec-fetch-site"), site);
            assert_eq!(is_of_this_origin(&headers), taken, "{site}");
        }
        let mut headers = with(header::ORIGIN, "http://127.0.0.1:8470");
        assert!(!is_of_this_origin(&headers), "to nobody knows whom");
        headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:8470"));
        assert!(is_of_this_origin(&headers));
        headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:9999"));
        assert!(!is_of_this_origin(&headers));
    }
}
