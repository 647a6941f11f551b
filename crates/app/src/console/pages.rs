//! The pages: what they share, and where they are.
//!
//! A page is made anew for each request from the state, by the same functions as the commands; nothing is kept between two.

pub(super) mod connect;
pub(super) mod models;
pub(super) mod overview;
pub(super) mod photos;
pub(super) mod practice;
pub(super) mod queues;
pub(super) mod sign_in;
pub(super) mod subscriptions;
pub(super) mod trust;

use std::{collections::BTreeMap, fmt::Display, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{FromRef, FromRequestParts, Multipart},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header, request::Parts};
use maud::{DOCTYPE, Markup, html};
use skin_assist_core::{ports::StateError, time::Timestamp};
use url::{Position, Url};

use super::{
    Console,
    access::{Fields, Person, Role, wipe},
};
use crate::{commands::photos::REASONS, failure::Failure};

/// Pages with longer addresses are not gone on to.
const LONGEST_NEXT: usize = 1_000;

/// Why a page cannot be shown, or a change was not made.
pub(super) struct Trouble {
    status: StatusCode,
    failure: Failure,
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            failure,
        }
    }
}

impl From<StateError> for Trouble {
    fn from(error: StateError) -> Self {
        let status = match error {
            StateError::NotFound { .. } => StatusCode::NOT_FOUND,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        let failure = Failure::new("the state cannot be read")
            .because(error)
            .with_hint("reload; if it stays so, check the disk and the state file with `skin-assist doctor`");
        Self { status, failure }
    }
}

impl Trouble {
    pub(super) fn new(status: StatusCode, said: impl Into<String>) -> Self {
        Self {
            status,
            failure: Failure::new(said),
        }
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no such {what}"))
    }

    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    /// What went wrong, in a sentence.
    pub(super) fn said(&self) -> String {
        self.failure.to_string()
    }

    pub(super) fn hint(mut self, hint: &str) -> Self {
        self.failure = self.failure.with_hint(hint);
        self
    }
}

/// An answer, or why there is none. What went wrong becomes a page by [`View::trouble`].
pub(super) type Answer = Result<Response, Trouble>;

/// A request of somebody: what every page needs.
pub(super) struct View {
    pub(super) console: Arc<Console>,
    pub(super) person: Person,
    pub(super) now: Timestamp,
}

impl<S> FromRequestParts<S> for View
where
    Arc<Console>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = StatusCode;

    /// Behind the guard alone, which says who it is.
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let console = Arc::<Console>::from_ref(state);
        let person = parts
            .extensions
            .get::<Person>()
            .cloned()
            .ok_or(StatusCode::UNAUTHORIZED)?;
        let now = console.clock.now();
        Ok(Self { console, person, now })
    }
}

/// The parts of the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Overview,
    Photos,
    Queues,
    Subscriptions,
    Trust,
    Models,
    Connect,
    Elsewhere,
}

const PLACES: [(Place, &str, &str); 7] = [
    (Place::Overview, "/", "Overview"),
    (Place::Photos, "/photos", "Photos"),
    (Place::Queues, "/queues", "Queues"),
    (Place::Subscriptions, "/subscriptions", "Subscriptions"),
    (Place::Trust, "/trust", "Trust"),
    (Place::Models, "/models", "Models"),
    (Place::Connect, "/connect", "Connect"),
];

impl View {
    /// Refuses who may not.
    pub(super) fn needs(&self, role: Role) -> Result<(), Trouble> {
        if self.person.may(role) {
            return Ok(());
        }
        let said = format!("this needs the role {role}; you are {}", self.person.role);
        Err(Trouble::new(StatusCode::FORBIDDEN, said).hint(
            "sign in with a token of that role, with the code that `skin-assist console` prints, or after the identity \
                 provider gave you that role",
        ))
    }

    /// The fields of a form that somebody of a role sent.
    pub(super) fn fields(&self, role: Role, body: Bytes) -> Result<Fields, Trouble> {
        let of = || Fields::of(&body, &self.person).map_err(|said| Trouble::new(StatusCode::FORBIDDEN, said));
        let fields = self.needs(role).and_then(|()| of());
        wipe(body);
        fields
    }

    /// The fields of a form that brings a file, and that file.
    pub(super) async fn fields_and_file(
        &self,
        role: Role,
        mut form: Multipart,
        file: &str,
    ) -> Result<(Fields, Bytes), Trouble> {
        self.needs(role)?;
        let (mut texts, mut brought) = (BTreeMap::new(), Bytes::new());
        while let Some(field) = form.next_field().await.map_err(|_| unreadable())? {
            match field.name().map(str::to_owned) {
                Some(name) if name == file => brought = field.bytes().await.map_err(|_| unreadable())?,
                Some(name) => {
                    let value = field.text().await.map_err(|_| unreadable())?;
                    texts.insert(name, value);
                }
                None => {}
            }
        }
        let fields = Fields::new(texts, &self.person).map_err(|said| Trouble::new(StatusCode::FORBIDDEN, said))?;
        Ok((fields, brought))
    }

    /// A page that is read anew when something happens.
    pub(super) fn page(&self, place: Place, title: &str, content: &Markup) -> Response {
        self.page_of(StatusCode::OK, place, title, Stay::Live, content)
    }

    /// A page that stays as it is while somebody reads it: reading it anew would cost much, or be recorded.
    pub(super) fn still_page(&self, place: Place, title: &str, content: &Markup) -> Response {
        self.page_of(StatusCode::OK, place, title, Stay::Still, content)
    }

    /// The answer to a form.
    pub(super) fn answer_page(&self, place: Place, title: &str, content: &Markup) -> Response {
        self.page_of(StatusCode::OK, place, title, Stay::Answer, content)
    }

    fn page_of(&self, status: StatusCode, place: Place, title: &str, stay: Stay, content: &Markup) -> Response {
        let content = html! { h1 { (title) } (content) };
        document(status, title, &self.head(place), stay, &content)
    }

    fn head(&self, place: Place) -> Markup {
        html! {
            nav aria-label="Parts of the console" { ul {
                @for (part, path, name) in PLACES {
                    li { a href=(path) aria-current=[(part == place).then_some("page")] { (name) } }
                }
            } }
            div.person {
                @if self.person.is_signed_in {
                    span { (self.person.name) ", " (self.person.role) }
                    form.line method="post" action="/sign-out" { (self.form_secret()) button { "Sign out" } }
                } @else {
                    span { (self.person.role) }
                    a href="/sign-in" { "Sign in" }
                }
            }
        }
    }

    /// What every form has to bring.
    pub(super) fn form_secret(&self) -> Markup {
        html! { input type="hidden" name="form" value=(self.person.form_secret); }
    }

    /// A form of one button, for who may.
    pub(super) fn button(&self, role: Role, action: &str, fields: &[(&str, &str)], label: &str) -> Markup {
        html! {
            @if self.person.may(role) {
                form.line method="post" action=(action) {
                    (self.form_secret())
                    @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
                    button { (label) }
                }
            }
        }
    }

    /// What went wrong, as a page.
    pub(super) fn trouble(&self, trouble: &Trouble) -> Response {
        let content = html! {
            div.banner.bad role="alert" { pre { (trouble.failure.report()) } }
            p { a href="/" { "Back to the overview" } }
        };
        self.page_of(
            trouble.status,
            Place::Elsewhere,
            "This did not work",
            Stay::Answer,
            &content,
        )
    }

    /// How long ago, with the time itself for who wants it.
    pub(super) fn ago(&self, at: Timestamp) -> Markup {
        let said = if at > self.now {
            format!("in {}", lasting(at.since(self.now)))
        } else {
            format!("{} ago", lasting(self.now.since(at)))
        };
        html! { time datetime=(at) title=(at) { (said) } }
    }
}

/// What becomes of a page while somebody reads it, by assets/console.js.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stay {
    /// It is read anew when something happens.
    Live,
    /// It stays as it is.
    Still,
    /// It stays as it is, and has no address that leads to it again.
    Answer,
}

/// The document around everything.
pub(super) fn document(status: StatusCode, title: &str, head: &Markup, stay: Stay, content: &Markup) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " - Skin Assist" }
                link rel="stylesheet" href="/assets/console.css";
                link rel="icon" href="data:,";
                script src="/assets/console.js" defer {}
            }
            body {
                a.skip href="#content" { "To the content" }
                header { strong { "Skin Assist" } (head) }
                main id="content" tabindex="-1" data-live[stay == Stay::Live] data-answer[stay == Stay::Answer] { (content) }
            }
        }
    };
    let mut response = Response::new(Body::from(page.into_string()));
    *response.status_mut() = status;
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, html);
    response
}

/// What every form has that has a patient's data read: why.
pub(super) fn why() -> Markup {
    html! {
        label { "Because " select name="reason" required { @for (reason, said) in REASONS { option value=(reason) { (said) } } } }
        label { "Ticket " input name="ticket" maxlength="32" pattern="[A-Za-z0-9\\-]*" size="12"; }
    }
}

/// A form that is none of this console's.
pub(super) fn unreadable() -> Trouble {
    Trouble::new(StatusCode::UNPROCESSABLE_ENTITY, "this form cannot be read").hint("reload the page and try again")
}

/// Sends the browser to a page of this console.
pub(super) fn to(path: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    if let Ok(path) = HeaderValue::from_str(path) {
        response.headers_mut().insert(header::LOCATION, path);
    }
    response
}

/// An address that leads on to a page, once it has done its own.
pub(super) fn with_next(path: &str, next: &str) -> String {
    match safe_next(next).as_str() {
        "/" => path.to_owned(),
        next => format!("{path}?next={}", segment(next)),
    }
}

/// Where to go on after a sign-in: a page of this console, whatever was asked for; the overview where that is none.
pub(super) fn safe_next(asked: &str) -> String {
    // Browsers take a backslash for a slash, leave line ends out, and two slashes begin a host.
    let is_plain = asked.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let is_path = asked.starts_with('/') && !asked.starts_with("//") && asked.len() <= LONGEST_NEXT;
    let here = || {
        let console = Url::parse("http://console.invalid").ok()?;
        let url = console
            .join(asked)
            .ok()
            .filter(|url| url.origin() == console.origin())?;
        let path = url.path();
        // A path may begin with two slashes after `..` was taken out of it.
        let leads_away = path.starts_with("//") || path.starts_with("/sign-in") || path.starts_with("/sign-out");
        (!leads_away).then(|| url[Position::BeforePath..Position::AfterQuery].to_owned())
    };
    (is_plain && is_path)
        .then(here)
        .flatten()
        .unwrap_or_else(|| "/".to_owned())
}

/// A time span as people say it.
pub(super) fn lasting(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", span.as_secs_f64()),
        10..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Text as a part of a path.
pub(super) fn segment(text: impl Display) -> String {
    url::form_urlencoded::byte_serialize(text.to_string().as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

/// The address of a photo's page.
pub(super) fn photo_path(firm: impl Display, document: impl Display) -> String {
    format!("/photos/{}/{}", segment(firm), segment(document))
}

/// The address of a practice's page.
pub(super) fn practice_path(firm: impl Display) -> String {
    format!("/practices/{}", segment(firm))
}

/// A number that something is about.
pub(super) fn figure(name: &str, value: impl Display, more: &str) -> Markup {
    html! { div { dt { (name) } dd { (value) @if !more.is_empty() { " " small { (more) } } } } }
}

/// Seconds of milliseconds, as people read them.
pub(super) fn seconds(millis: u64) -> String {
    format!("{:.1} s", millis as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_leads_to_pages_of_this_console_alone() {
        for page in [
            "/",
            "/photos",
            "/photos?practice=elm&limit=5",
            "/practices/a%2Fb",
            "/trust/entries?text=%22",
        ] {
            assert_eq!(safe_next(page), page);
        }
        for elsewhere in [
            "",
            "photos",
            "https://elsewhere.example",
            "//elsewhere.example",
            "/\\elsewhere.example",
            "\\\\elsewhere.example",
            "/\t/elsewhere.example",
            "/\n/elsewhere.example",
            "/.//elsewhere.example",
            "/x/..//elsewhere.example",
            "/%2e//elsewhere.example",
            "javascript:alert(1)",
            "/sign-in?next=/",
            "/sign-out",
            "/x\r\nSet-Cookie: a=b",
        ] {
            assert_eq!(safe_next(elsewhere), "/", "{elsewhere}");
        }
        assert_eq!(
            with_next("/sign-in", "/photos?a=b&c"),
            "/sign-in?next=%2Fphotos%3Fa%3Db%26c"
        );
    }

    #[test]
    fn ids_of_others_are_one_segment_of_a_path() {
        assert_eq!(photo_path("elm", "a/b ?c#\u{e4}"), "/photos/elm/a%2Fb%20%3Fc%23%C3%A4");
        let said = [5, 99, 600, 90_000, 900_000].map(|seconds| lasting(Duration::from_secs(seconds)));
        assert_eq!(said, ["5.0 s", "99 s", "10 min", "25 h", "10 days"]);
    }
}
