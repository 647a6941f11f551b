//! Connecting a practice, step by step: EHR, credential, what the EHR does, categories; it is silent then.

use axum::body::Bytes;
use maud::{Markup, html};
use skin_assist_core::{domain::NewCredential, phi::Secret};
use skin_assist_ehr::{CredentialKind, Profile};

use super::{Answer, Place, Trouble, View, practice_path, to};
use crate::{
    commands::{credential, firm},
    console::access::{Fields, Role},
    wiring,
};

/// The page.
pub(in crate::console) async fn page(view: View) -> Answer {
    let config = &view.console.config;
    let ehr = wiring::ehr(config);
    let content = html! {
        ol.way {
            li {
                h2 { "1. The EHR" }
                p { "Profile " strong { (config.ehr.profile) } ", at " @if config.ehr.base_url.is_empty() { strong.bad { "no address" } } @else { code { (config.ehr.base_url) } } "." }
                @match &ehr {
                    Ok(_) => p.word.good { "The connection is configured." },
                    Err(failure) => {
                        div.banner.bad role="alert" { pre { (failure.report()) } }
                        p { "The EHR is configured in the file that " code { "run" } " was started with. Shipped profiles: " (Profile::shipped_names().join(", ")) "." }
                    }
                }
            }
            li {
                h2 { "2. The practice and its credential" }
                @if ehr.is_err() { p.faint { "When the EHR is configured." } }
                @else if view.person.may(Role::Admin) { (credential_form(&view, "/connect", Some(()))) }
                @else { p { "Connecting needs the role admin; you are " (view.person.role) ". " a href="/sign-in" { "Sign in" } "." } }
            }
            li.todo { h2 { "3. What its EHR does" } p { "It is asked, and compared with the profile. Nothing in the EHR is changed." } }
            li.todo { h2 { "4. Categories" } p { "Which documents are photos of single lesions, and which of rashes." } }
            li.todo { h2 { "5. Silent" } p { "Everything runs and nothing is written, until a document that permits drafts is recorded on the practice's page." } }
        }
    };
    Ok(view.still_page(Place::Connect, "Connect a practice", &content))
}

/// The fields of a credential of the kind that the EHR takes; with `practice`, those of the practice before them.
pub(super) fn credential_form(view: &View, action: &str, practice: Option<()>) -> Markup {
    let kind = wiring::profile(&view.console.config).map(|profile| profile.token.credential_kind());
    let names = view
        .console
        .config
        .further_api_keys()
        .map(|keys| keys.into_keys().collect::<Vec<_>>());
    html! {
        form.fields method="post" action=(action) autocomplete="off" {
            (view.form_secret())
            @if practice.is_some() {
                label { "Its name here" input name="id" required maxlength="64" placeholder="elm-street"; }
                label { "Its part of the EHR's addresses" input name="url_prefix" required maxlength="200"; }
                @if let Ok(names) = &names && !names.is_empty() {
                    label { "API key" select name="api_key" {
                        option value="" { "the first one" }
                        @for name in names { option value=(name) { (name) } }
                    } }
                }
            }
            @match kind {
                Ok(CredentialKind::ClientSecret) => {
                    label { "Client id" input name="client_id" required; }
                    label { "Client secret" input name="secret" type="password" required autocomplete="new-password"; }
                }
                Ok(CredentialKind::PrivateKey(_)) => {
                    label { "Client id" input name="client_id" required; }
                    label { "Private key, as PEM" textarea name="secret" required rows="6" spellcheck="false" {} }
                    label { "The key's id (kid)" input name="key_id" required; }
                }
                Ok(CredentialKind::Password) => {
                    label { "User name" input name="client_id" required; }
                    label { "Password" input name="secret" type="password" required autocomplete="new-password"; }
                }
                Err(failure) => pre { (failure.report()) }
            }
            button.main { @if practice.is_some() { "Connect" } @else { "Replace the credential" } }
        }
    }
}

/// The credential of a form, if it is of the kind that the EHR takes.
pub(super) fn credential(view: &View, fields: &Fields) -> Result<NewCredential, Trouble> {
    let key_id = fields.text("key_id");
    Ok(credential::checked(
        &view.console.config,
        fields.text("client_id").to_owned(),
        Secret::new(fields.text("secret").to_owned()),
        (!key_id.is_empty()).then(|| key_id.to_owned()),
    )?)
}

/// Connects the practice, in silent mode, and goes on with what its EHR does.
pub(in crate::console) async fn connect(view: View, body: Bytes) -> Answer {
    let fields = view.fields(Role::Admin, body)?;
    let credential = credential(&view, &fields)?;
    let api_key = Some(fields.text("api_key"))
        .filter(|name| !name.is_empty())
        .map(str::to_owned);
    let prefix = fields.text("url_prefix").to_owned();
    let firm = firm::new_firm(&view.console.config, fields.text("id"), prefix, api_key, None)?;
    firm::connect(&*view.console.state, &view.person.operator(), &firm, &credential).await?;
    view.console.changed();
    Ok(to(&format!("{}/connected", practice_path(&firm.id))))
}

/// What comes after a practice was connected.
pub(in crate::console) async fn connected(view: View, axum::extract::Path(id): axum::extract::Path<String>) -> Answer {
    let firm = crate::commands::known_firm(&*view.console.state, &id).await?;
    let path = practice_path(&firm.id);
    let content = html! {
        ol.way {
            li { h2 { "1. The EHR" } p.word.good { "Done." } }
            li { h2 { "2. The practice and its credential" } p.word.good { (firm.id) " is connected, in silent mode." } }
            li { h2 { "3. What its EHR does" } (view.button(Role::Operator, &format!("{path}/probe"), &[], "Ask its EHR what it does")) }
            li { h2 { "4. Categories" } p { a href=(format!("{path}/categories")) { "Choose from what its EHR lists" } } }
            li { h2 { "5. Silent" } p { "From then on photos are found and assessed. " a href=(path) { "See the practice" } "." } }
        }
    };
    Ok(view.still_page(Place::Connect, &format!("{} is connected", firm.id), &content))
}
