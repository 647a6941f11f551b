//! Signing in and out.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{body::Bytes, extract::State, response::Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use maud::{Markup, html};
use skin_assist_core::{audit::installation, ports::AuditAction};

use super::{Answer, View, document, to};
use crate::console::{
    Console,
    access::{NotSignedIn, Role},
};

/// Asks who it is.
pub(in crate::console) async fn form() -> Response {
    asks(StatusCode::OK, None)
}

fn asks(status: StatusCode, problem: Option<&str>) -> Response {
    let content: Markup = html! {
        h1 { "Sign in" }
        @if let Some(problem) = problem { div.banner.bad role="alert" { p { (problem) } } }
        form.fields method="post" action="/sign-in" {
            label { "Your name, for the audit trail" input name="name" required maxlength="64" autocomplete="name"; }
            label { "Token or code" input name="token" type="password" required autocomplete="off"; }
            button.main { "Sign in" }
        }
        p.faint {
            "On the machine itself, " code { "skin-assist console" } " prints a code. Elsewhere you need a token of your role: "
            code { "console.token_file" } ", " code { "console.operator_token_file" } " or " code { "console.admin_token_file" } "."
        }
    };
    document(status, "Sign in", &html! { a href="/" { "Overview" } }, false, &content)
}

/// Begins a session.
pub(in crate::console) async fn sign_in(State(console): State<Arc<Console>>, body: Bytes) -> Response {
    let fields: BTreeMap<String, String> = url::form_urlencoded::parse(&body).into_owned().collect();
    let text = |name: &str| fields.get(name).map_or("", String::as_str);
    let now = console.clock.now();
    let (person, cookie) = match console.access.sign_in(text("name"), text("token"), now) {
        Ok(signed_in) => signed_in,
        Err(NotSignedIn::Name) => {
            let said = "a name has up to 64 letters, digits, spaces and . , ' - @ _";
            return asks(StatusCode::UNPROCESSABLE_ENTITY, Some(said));
        }
        Err(NotSignedIn::Token) => {
            tracing::warn!(event = "console.sign-in-refused");
            // Whoever guesses waits.
            tokio::time::sleep(Duration::from_secs(1)).await;
            return asks(StatusCode::UNAUTHORIZED, Some("nobody has this token or code"));
        }
    };
    let entry = person
        .operator()
        .entry(&installation(), AuditAction::SignedIn, person.role.as_str());
    if console.state.record(&entry).await.is_err() {
        return asks(
            StatusCode::SERVICE_UNAVAILABLE,
            Some("the audit trail cannot be written: nobody is signed in"),
        );
    }
    with_cookie(to("/"), &cookie)
}

/// Ends a session.
pub(in crate::console) async fn sign_out(view: View, headers: HeaderMap, body: Bytes) -> Answer {
    view.fields(Role::Viewer, body)?;
    Ok(with_cookie(to("/"), &view.console.access.sign_out(&headers)))
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}
