//! Signing in and out: with a token, or with the identity provider.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    response::Response,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use maud::{Markup, html};
use skin_assist_core::{audit::installation, phi::Secret, ports::AuditAction};

use super::{Answer, Stay, View, document, safe_next, to, with_next};
use crate::console::{
    Console,
    access::{NotSignedIn, Person, Role, wipe},
    openid_connect::{self, OpenIdConnect, Refusal},
};

/// What went wrong with a sign-in, and what can be done about it.
struct Problem {
    said: String,
    hint: &'static str,
}

impl Problem {
    fn new(said: &str) -> Self {
        Self {
            said: said.to_owned(),
            hint: "",
        }
    }
}

/// Fields of a query or a form.
fn fields(text: &[u8]) -> BTreeMap<String, Secret> {
    let fields = url::form_urlencoded::parse(text).into_owned();
    fields.map(|(name, value)| (name, Secret::new(value))).collect()
}

/// The page that somebody wanted before they were asked who they are.
fn wanted(query: Option<&str>) -> String {
    let fields = fields(query.unwrap_or_default().as_bytes());
    safe_next(fields.get("next").map_or("", Secret::expose))
}

/// Asks who it is.
pub(in crate::console) async fn form(State(console): State<Arc<Console>>, RawQuery(query): RawQuery) -> Response {
    asks(&console, StatusCode::OK, None, &wanted(query.as_deref()))
}

fn asks(console: &Console, status: StatusCode, problem: Option<&Problem>, next: &str) -> Response {
    let content: Markup = html! {
        h1 { "Sign in" }
        @if let Some(problem) = problem {
            div.banner.bad role="alert" {
                p { (problem.said) }
                @if !problem.hint.is_empty() { p { "hint: " (problem.hint) } }
            }
        }
        @if console.access.openid_connect.is_some() {
            p { a href=(with_next("/sign-in/openid-connect", next)) { "Sign in with your identity provider" } }
        }
        @if console.access.takes_tokens() {
            @if console.access.openid_connect.is_some() { h2 { "With a token or code" } }
            form.fields method="post" action="/sign-in" {
                input type="hidden" name="next" value=(next);
                label { "Your name, for the audit trail" input name="name" required maxlength="64" autocomplete="name"; }
                label { "Token or code" input name="token" type="password" required autocomplete="off"; }
                button.main { "Sign in" }
            }
            p.faint {
                "On the machine itself, " code { "skin-assist console" } " prints a code. Elsewhere you need a token of your role: "
                code { "console.token_file" } ", " code { "console.operator_token_file" } " or " code { "console.admin_token_file" } "."
            }
        }
    };
    document(
        status,
        "Sign in",
        &html! { a href="/" { "Overview" } },
        Stay::Still,
        &content,
    )
}

/// Begins a session of who has a token.
pub(in crate::console) async fn sign_in(State(console): State<Arc<Console>>, body: Bytes) -> Response {
    let fields = fields(&body);
    wipe(body);
    let text = |name: &str| fields.get(name).map_or("", Secret::expose);
    let next = safe_next(text("next"));
    let asks = |status, said| asks(&console, status, Some(&Problem::new(said)), &next);
    let (person, cookie) = match console.access.sign_in(text("name"), text("token"), console.clock.now()) {
        Ok(signed_in) => signed_in,
        Err(NotSignedIn::Name) => {
            let said = "a name has up to 64 letters, digits, spaces and . , ' - @ _";
            return asks(StatusCode::UNPROCESSABLE_ENTITY, said);
        }
        Err(NotSignedIn::Token) => {
            tracing::warn!(event = "console.sign-in-refused", reason = "token");
            // Whoever guesses waits.
            tokio::time::sleep(Duration::from_secs(1)).await;
            return asks(StatusCode::UNAUTHORIZED, "nobody has this token or code");
        }
    };
    match recorded(&console, &person).await {
        Ok(()) => with_cookie(to(&next), &cookie),
        Err(said) => asks(StatusCode::SERVICE_UNAVAILABLE, said),
    }
}

/// Whether the session of who asks goes on: what an open page asks by itself.
pub(in crate::console) async fn session(view: View) -> StatusCode {
    if view.person.is_signed_in {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::UNAUTHORIZED
    }
}

/// Writes down who signed in, before they can do anything.
async fn recorded(console: &Console, person: &Person) -> Result<(), &'static str> {
    let entry = person
        .operator()
        .entry(&installation(), AuditAction::SignedIn, person.role.as_str());
    let written = console.state.record(&entry).await;
    written.map_err(|_| "the audit trail cannot be written: nobody is signed in")
}

/// Sends somebody to the identity provider.
pub(in crate::console) async fn leave(State(console): State<Arc<Console>>, RawQuery(query): RawQuery) -> Response {
    let next = wanted(query.as_deref());
    let Some(openid_connect) = &console.access.openid_connect else {
        return to("/sign-in");
    };
    match openid_connect.leave(&next, console.clock.now()).await {
        Ok((url, cookie)) => with_cookie(to(url.as_str()), &cookie),
        Err(refusal) => refused(&console, openid_connect, refusal),
    }
}

/// Begins a session of whom the identity provider sends back.
pub(in crate::console) async fn return_from_provider(
    State(console): State<Arc<Console>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let Some(openid_connect) = &console.access.openid_connect else {
        return to("/sign-in");
    };
    let now = console.clock.now();
    let mut fields = fields(query.unwrap_or_default().as_bytes());
    let answer = openid_connect::Answer {
        state: fields.remove("state").unwrap_or_default(),
        code: fields.remove("code"),
        issuer: fields.remove("iss"),
        error: fields.remove("error"),
    };
    let arrival = match openid_connect.arrive(&answer, &headers, now).await {
        Ok(arrival) => arrival,
        Err(refusal) => return refused(&console, openid_connect, refusal),
    };
    let unavailable = |said| {
        asks(
            &console,
            StatusCode::SERVICE_UNAVAILABLE,
            Some(&Problem::new(said)),
            "/",
        )
    };
    let begun = console.access.arrive(arrival.name, arrival.role, arrival.id_token, now);
    let Ok((person, cookie)) = begun else {
        return unavailable("the system has no random numbers");
    };
    if let Err(said) = recorded(&console, &person).await {
        return unavailable(said);
    }
    let content = html! {
        h1 { "Signed in" }
        p { "You are " (person.name) ", " (person.role) ". " a href=(arrival.next) { "Go on" } }
    };
    let page = leads_on("Signed in", &content, &arrival.next);
    with_cookie(with_cookie(page, &cookie), &openid_connect.forget())
}

/// A page that leads to another by itself. A redirect would not do: the browser counts it as the other site's, and a session's cookie is
/// sent by this console's own pages alone; nor may a form lead elsewhere.
fn leads_on(title: &str, content: &Markup, next: &str) -> Response {
    let head = html! { a href="/" { "Overview" } };
    let mut page = document(StatusCode::OK, title, &head, Stay::Still, content);
    if let Ok(refresh) = HeaderValue::from_str(&format!("0; url={next}")) {
        page.headers_mut().insert(header::REFRESH, refresh);
    }
    page
}

/// Tells somebody why they did not get in. They can begin again at once.
fn refused(console: &Console, openid_connect: &OpenIdConnect, refusal: Refusal) -> Response {
    tracing::warn!(event = "console.sign-in-refused", reason = refusal.code());
    let status = match refusal {
        Refusal::Denied | Refusal::NoRole => StatusCode::FORBIDDEN,
        Refusal::NotExpected | Refusal::NoCode => StatusCode::BAD_REQUEST,
        Refusal::Fault(_) | Refusal::Provider(_) => StatusCode::BAD_GATEWAY,
    };
    let problem = Problem {
        said: refusal.said(),
        hint: refusal.hint(),
    };
    let page = asks(console, status, Some(&problem), "/");
    match refusal {
        // What another attempt in this browser waits with stays.
        Refusal::NotExpected => page,
        _ => with_cookie(page, &openid_connect.forget()),
    }
}

/// Ends a session, at the identity provider, too, where that is where it comes from and it has a place for that.
pub(in crate::console) async fn sign_out(view: View, headers: HeaderMap, body: Bytes) -> Answer {
    view.fields(Role::Viewer, body)?;
    let (cookie, id_token) = view.console.access.sign_out(&headers);
    let mut elsewhere = None;
    if let (Some(id_token), Some(openid_connect)) = (&id_token, &view.console.access.openid_connect) {
        elsewhere = openid_connect.end_session(id_token, view.now).await;
    }
    let Some(url) = elsewhere else {
        return Ok(with_cookie(to("/"), &cookie));
    };
    let content = html! {
        h1 { "Signed out" }
        p { "You are signed out here. " a href=(url) { "Sign out at your identity provider" } }
    };
    Ok(with_cookie(leads_on("Signed out", &content, url.as_str()), &cookie))
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}
