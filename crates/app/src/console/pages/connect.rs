//! Connecting a practice, step by step: EHR, credential, what the EHR does, categories; it is silent then.

use axum::{body::Bytes, extract::Query};
use maud::{Markup, html};
use serde::Deserialize;
use skin_assist_core::{domain::NewCredential, phi::Secret};
use skin_assist_ehr::{CredentialKind, Profile};

use super::{Answer, Place, Trouble, View, practice_path, to};
use crate::{
    commands::{credential, firm},
    config::Config,
    console::access::{Fields, Role},
    failure::Failure,
    wiring,
};

/// How an EHR is reached, as somebody tries it out before it is written into the configuration: no secrets.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::console) struct Tried {
    profile: String,
    base_url: String,
    token_url: String,
    api_key_file: String,
    photo_hosts: String,
}

impl Tried {
    /// The section of the configuration that says so.
    fn section(&self) -> String {
        let hosts = toml::Value::from(self.hosts()).to_string();
        let text = |text: &str| toml::Value::from(text).to_string();
        let lines = [
            ("profile", text(&self.profile), true),
            ("base_url", text(&self.base_url), true),
            ("token_url", text(&self.token_url), !self.token_url.is_empty()),
            ("api_key_file", text(&self.api_key_file), !self.api_key_file.is_empty()),
            ("photo_hosts", hosts, !self.hosts().is_empty()),
        ];
        let lines = lines.iter().filter(|(.., is_needed)| *is_needed);
        let lines: Vec<_> = lines.map(|(key, value, _)| format!("{key} = {value}\n")).collect();
        format!("[ehr]\n{}", lines.concat())
    }

    fn hosts(&self) -> Vec<String> {
        let hosts = self.photo_hosts.split([',', ' ']).filter(|host| !host.is_empty());
        hosts.map(str::to_owned).collect()
    }

    /// What a configuration would lack with it; nothing when it could be used.
    fn problem(&self, config: &Config) -> Option<Failure> {
        let mut config = config.clone();
        config.ehr.profile.clone_from(&self.profile);
        config.ehr.base_url.clone_from(&self.base_url);
        config.ehr.token_url.clone_from(&self.token_url);
        config.ehr.api_key_file.clone_from(&self.api_key_file);
        config.ehr.photo_hosts = self.hosts();
        wiring::ehr(&config).err()
    }
}

/// The section of the configuration about the EHR, as a form: it is written into the file by who may write there.
fn ehr_form(view: &View, tried: &Tried) -> Markup {
    let config = &view.console.config;
    let file = config.surroundings.file.as_ref();
    let file = file.map_or_else(|| "skin-assist.toml".to_owned(), |file| file.display().to_string());
    html! {
        form.fields method="get" action="/connect" {
            label { "Profile" select name="profile" {
                @for name in Profile::shipped_names() { option value=(name) selected[tried.profile == name] { (name) } }
            } }
            label { "Address of its FHIR service" input name="base_url" type="url" required value=(tried.base_url); }
            label { "Address of its token endpoint, where it does not say so itself" input name="token_url" type="url" value=(tried.token_url); }
            label { "File with the vendor's API key, where it wants one" input name="api_key_file" value=(tried.api_key_file); }
            label { "Hosts of photos, beside the profile's" input name="photo_hosts" value=(tried.photo_hosts); }
            button.main { "Try" }
        }
        @if !tried.base_url.is_empty() {
            @match tried.problem(config) {
                Some(failure) => div.banner.bad role="alert" { pre { (failure.report()) } },
                None => p.word.good { "It can be used." },
            }
            p { "Write this into " code { (file) } ", in the place of its section " code { "[ehr]" } ", and start " code { "run" } " anew:" }
            pre tabindex="0" { (tried.section()) }
        }
    }
}

/// The page.
pub(in crate::console) async fn page(view: View, Query(tried): Query<Tried>) -> Answer {
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
                        @if view.person.may(Role::Admin) { (ehr_form(&view, &tried)) }
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
