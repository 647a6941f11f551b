//! One practice: its day as a picture, its settings, and what its EHR says when it is asked.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    body::Bytes,
    extract::{Multipart, Path},
};
use http::StatusCode;
use maud::{Markup, html};
use skin_assist_core::{
    domain::{CategoryCode, CategoryUse, DocumentCategory, FailingFirm, Firm, FirmId, FirmStatus, JourneyState, Mode},
    ports::{Overview, Standing},
};
use skin_assist_ehr::{ProbeReport, Verdict};

use super::{Answer, Place, Trouble, View, figure, practice_path, seconds, to, unreadable};
use crate::{
    commands::{categories, firm, known_firm, probe},
    console::{
        access::Role,
        pictures::{self, PhotoOfDay},
    },
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// No shorter time is drawn.
const SHORTEST: Duration = Duration::from_secs(5 * 60);
/// Photos of the day that are drawn.
const MOST_PHOTOS: usize = 1000;
/// More is no intended-use document.
pub(in crate::console) const MOST_DOCUMENT_BYTES: usize = 20_000_000;

/// The page.
pub(in crate::console) async fn page(view: View, Path(id): Path<String>) -> Answer {
    let practice = overview_of(&view, &id).await?;
    let day = day(&view, &practice.firm).await?;
    let id = &practice.firm.id;
    let content = html! {
        p { a href="/" { "All practices" } }
        @if let Some(reason) = practice.credential_refused.as_ref() {
            div.banner.bad role="alert" { p { "Its credential is refused: " (reason) ". " (reason.hint()) } }
        }
        @if let Standing::Failing(FailingFirm { since, reason, .. }) = practice.standing() {
            div.banner.bad role="alert" { p { "It has not been read since " (since) ": " (reason) ". " (reason.hint()) } }
        }
        @if practice.firm.categories.is_empty() {
            div.banner { p { "No document category is chosen yet: no photo is looked for. Choose them below." } }
        }
        dl.figures {
            (figure("Standing", practice.standing().as_str(), ""))
            (figure("Mode", practice.firm.mode, ""))
            (figure("Visits under watch", practice.watched_encounters, ""))
            (figure("Photos found, 24 h", practice.detection.photos, ""))
            (figure("Found, p50 and p95", seconds(practice.detection.p50_ms), &seconds(practice.detection.p95_ms)))
            (figure("Drafts written", practice.delivered, "in all"))
            (figure("Kept back", practice.withheld, "in all"))
        }
        h2 { "Its day" }
        (day)
        p { a href=(format!("/photos?practice={}", super::segment(id))) { "Its photos" } " - "
            a href=(format!("/trust/entries?practice={}", super::segment(id))) { "Its audit trail" } }
        (settings(&view, &practice.firm))
        @if let Some((at, report)) = view.console.last_probe(id) {
            h2 { "What its EHR does" }
            p { "As it was asked here " (view.ago(at)) "." }
            (said(&report))
        }
    };
    Ok(view.page(Place::Overview, id.as_str(), &content))
}

async fn overview_of(view: &View, id: &str) -> Result<Overview, Trouble> {
    // As it is now: whoever changed it wants to see that.
    let found = view.console.state.firm_overview(&FirmId::new(id), view.now).await?;
    let found = found.ok_or_else(|| Trouble::not_found("practice"))?;
    // What polls of it come to is told every few seconds.
    let told = Overview::told_by(vec![found], &view.console.standing().await?.pollers).pop();
    told.ok_or_else(|| Trouble::not_found("practice"))
}

async fn day(view: &View, firm: &Firm) -> Result<Markup, Trouble> {
    // Of one that was connected today, as far back as there is something.
    let from = (view.now - DAY).max(firm.connected_at).min(view.now - SHORTEST);
    let firm = &firm.id;
    let journeys = view.console.state.journeys(Some(firm), from, MOST_PHOTOS).await?;
    let watches = view.console.state.watch_list(firm, from).await?;
    let mut visits: Vec<_> = watches.iter().map(|watched| &watched.watch).collect();
    visits.sort_by_key(|watch| watch.first_seen_at);
    let looks: Vec<_> = visits
        .iter()
        .filter_map(|watch| watch.looked_at)
        .filter(|at| *at > from)
        .collect();
    let photos: Vec<PhotoOfDay> = journeys
        .iter()
        .map(|journey| PhotoOfDay {
            filed: journey.attached_at,
            found: journey.detected_at,
            drafted: journey.delivered_at,
            is_lost: matches!(journey.state, JourneyState::DeadLetter | JourneyState::Uncertain),
        })
        .collect();
    let visits: Vec<_> = visits
        .into_iter()
        .map(|watch| (watch.first_seen_at, watch.expires_at.min(view.now)))
        .collect();
    Ok(html! {
        (pictures::day(&visits, &looks, &photos, from, view.now))
        @if photos.len() == MOST_PHOTOS { p.word.warn { "The latest " (MOST_PHOTOS) " photos alone are drawn." } }
    })
}

fn settings(view: &View, firm: &Firm) -> Markup {
    let path = practice_path(&firm.id);
    let is_active = firm.status == FirmStatus::Active;
    html! {
        h2 { "Settings" }
        p {
            "Connected " (view.ago(firm.connected_at)) ", as " code { (firm.url_prefix) } " in the EHR's addresses. EHR profile: " (view.console.config.ehr.profile) "."
        }
        p {
            @if is_active { (view.button(Role::Operator, &format!("{path}/status"), &[("to", "paused")], "Pause")) }
            @else { (view.button(Role::Operator, &format!("{path}/status"), &[("to", "active")], "Resume")) }
            " " (view.button(Role::Operator, &format!("{path}/probe"), &[], "Ask its EHR what it does"))
        }
        h3 { "Mode" }
        p {
            @match &firm.intended_use {
                Some(record) => {
                    "Drafts were permitted by " (record.recorded_by) " " (view.ago(record.recorded_at))
                    ", by the document with SHA-256 " code { (record.document_sha256) } "."
                }
                None => "No document permits drafts yet: results are kept back."
            }
        }
        @if view.person.may(Role::Admin) {
            p {
                @if firm.mode != Mode::Silent { (view.button(Role::Admin, &format!("{path}/mode"), &[("mode", "silent")], "Silent: keep results back")) " " }
                @if firm.mode != Mode::Off { (view.button(Role::Admin, &format!("{path}/mode"), &[("mode", "off")], "Off: nothing runs")) }
            }
            form.fields method="post" action=(format!("{path}/permission")) enctype="multipart/form-data" {
                (view.form_secret())
                label { "The document that permits drafts" input name="document" type="file" required; }
                label { "Who records it" input name="recorded_by" required maxlength="100" value=(view.person.name); }
                button { "Write drafts from now on" }
            }
            h3 { "Credential" }
            (super::connect::credential_form(view, &format!("{path}/credential"), None))
        }
        h3 id="categories" { "Categories" }
        (category_table(&firm.categories))
        @if view.person.may(Role::Operator) {
            p { a href=(format!("{path}/categories")) { "Choose from what its EHR lists" } }
        }
    }
}

fn category_table(chosen: &BTreeMap<CategoryCode, CategoryUse>) -> Markup {
    html! {
        @if !chosen.is_empty() {
            div.wide tabindex="0" role="region" aria-label="Chosen categories" { table {
                thead { tr { th scope="col" { "Category" } th scope="col" { "Use" } } }
                tbody { @for (code, used) in chosen { tr { td { (code) } td { (categories::word(*used)) } } } }
            } }
        }
    }
}

/// Pauses or resumes.
pub(in crate::console) async fn set_status(view: View, Path(id): Path<String>, body: Bytes) -> Answer {
    let fields = view.fields(Role::Operator, body)?;
    let status = match fields.text("to") {
        "paused" => FirmStatus::Paused,
        "active" => FirmStatus::Active,
        _ => return Err(unreadable()),
    };
    firm::set_status(&*view.console.state, &view.person.operator(), &id, status).await?;
    view.console.changed();
    Ok(to(&practice_path(&id)))
}

/// Silent or off.
pub(in crate::console) async fn set_mode(view: View, Path(id): Path<String>, body: Bytes) -> Answer {
    let fields = view.fields(Role::Admin, body)?;
    let mode = match fields.text("mode") {
        "silent" => Mode::Silent,
        "off" => Mode::Off,
        _ => return Err(unreadable()),
    };
    firm::set_mode(&*view.console.state, &view.person.operator(), &id, mode, None).await?;
    view.console.changed();
    Ok(to(&practice_path(&id)))
}

/// Drafts, by a document that permits them. The document itself is not kept: its hash is.
pub(in crate::console) async fn permit(view: View, Path(id): Path<String>, form: Multipart) -> Answer {
    let (fields, document) = view.fields_and_file(Role::Admin, form, "document").await?;
    let recorded_by = fields.text("recorded_by").to_owned();
    if document.is_empty() || recorded_by.is_empty() {
        return Err(Trouble::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "drafts need the document that permits them and who records it",
        ));
    }
    let permission = firm::permission(&document, recorded_by);
    firm::set_mode(
        &*view.console.state,
        &view.person.operator(),
        &id,
        Mode::Draft,
        Some(permission),
    )
    .await?;
    view.console.changed();
    Ok(to(&practice_path(&id)))
}

/// A credential in the place of the one that there is.
pub(in crate::console) async fn replace_credential(view: View, Path(id): Path<String>, body: Bytes) -> Answer {
    let fields = view.fields(Role::Admin, body)?;
    let state = &*view.console.state;
    let firm = known_firm(state, &id).await?;
    let credential = super::connect::credential(&view, &fields)?;
    let record = view.person.operator();
    let record = record.entry(
        &firm.id,
        skin_assist_core::ports::AuditAction::FirmChanged,
        "credential",
    );
    state.audited(record).replace_credential(&firm.id, &credential).await?;
    view.console.changed();
    Ok(to(&practice_path(&id)))
}

/// Asks the EHR, and shows what it said.
pub(in crate::console) async fn ask(view: View, Path(id): Path<String>, body: Bytes) -> Answer {
    view.fields(Role::Operator, body)?;
    let firm = known_firm(&*view.console.state, &id).await?;
    let report = probe::ask(
        &view.console.config,
        &view.console.state,
        &view.person.operator(),
        &firm,
    )
    .await?;
    let report = view.console.note_probe(&firm.id, report);
    let content = html! {
        p { a href=(practice_path(&firm.id)) { "Back to " (firm.id) } }
        (said(&report))
        @if firm.categories.is_empty() {
            p { a href=(format!("{}/categories", practice_path(&firm.id))) { "Next: choose its categories" } }
        }
    };
    Ok(view.answer_page(Place::Overview, &format!("What the EHR of {} does", firm.id), &content))
}

fn said(report: &ProbeReport) -> Markup {
    html! {
        @if report.fits() {
            div.banner.good { p { "Nothing contradicts the profile " (report.profile) ". " (report.calls) " calls were made; nothing was changed." } }
        } @else {
            div.banner.bad role="alert" {
                p { "The EHR is not as the profile " (report.profile) " says:" }
                ul { @for difference in &report.differences { li { (probe::line(difference)) } } }
                p { code { "skin-assist probe --profile-out FILE" } " writes a profile with what differs put right." }
            }
        }
        div.wide tabindex="0" role="region" aria-label="Findings" { table {
            thead { tr { th scope="col" { "Verdict" } th scope="col" { "What" } th scope="col" { "Seen" } } }
            tbody { @for finding in &report.findings {
                @let (class, word) = match finding.verdict {
                    Verdict::Well => ("word good", "as it should be"),
                    Verdict::Differs => ("word bad", "differs"),
                    Verdict::Offered => ("word", "offered, not used"),
                    Verdict::Notice => ("word warn", "worth knowing"),
                    Verdict::NotKnown => ("word faint", "not known"),
                };
                tr { td { span class=(class) { (word) } } td { (finding.code.as_str()) } td.text { (finding.seen) } }
            } }
        } }
    }
}

/// The practice's categories as its EHR lists them, to choose from.
pub(in crate::console) async fn categories_page(view: View, Path(id): Path<String>) -> Answer {
    view.needs(Role::Operator)?;
    let firm = known_firm(&*view.console.state, &id).await?;
    let listed = categories::from_ehr(&view.console.config, &view.console.state, &firm).await?;
    let is_listed = listed.is_some();
    let listed = listed.unwrap_or_else(|| {
        let known = firm.categories.keys().map(|code| DocumentCategory {
            code: code.clone(),
            display: String::new(),
        });
        known.collect()
    });
    let path = practice_path(&firm.id);
    let uses = [CategoryUse::Ignored, CategoryUse::Solitary, CategoryUse::Widespread];
    let content = html! {
        p { a href=(path) { "Back to " (firm.id) } }
        @if !is_listed { div.banner { p { "This EHR does not list its categories. Those that were chosen are below; add others with " code { "skin-assist categories set --unchecked" } "." } } }
        p { "Solitary: single lesions, which a detector finds. Widespread: rashes, judged as a whole. Documents of other categories are not looked at." }
        form method="post" action=(format!("{path}/categories")) {
            (view.form_secret())
            div.wide tabindex="0" role="region" aria-label="Categories" { table {
                thead { tr { th scope="col" { "Category" } th scope="col" { "Code" } th scope="col" { "Use" } } }
                tbody { @for category in &listed {
                    @let chosen = firm.categories.get(&category.code).copied().unwrap_or(CategoryUse::Ignored);
                    tr {
                        td { (category.display) } td { code { (category.code) } }
                        td { select name=(format!("use.{}", category.code)) aria-label=(format!("Use of {} {}", category.display, category.code)) {
                            @for used in uses {
                                option value=(categories::word(used)) selected[used == chosen] { (categories::word(used)) }
                            }
                        } }
                    }
                } }
            } }
            p { button.main { "Save" } }
        }
    };
    Ok(view.still_page(Place::Overview, &format!("Categories of {}", firm.id), &content))
}

/// Saves what was chosen.
pub(in crate::console) async fn set_categories(view: View, Path(id): Path<String>, body: Bytes) -> Answer {
    let fields = view.fields(Role::Operator, body)?;
    let firm = known_firm(&*view.console.state, &id).await?;
    let uses: Vec<String> = fields
        .beginning("use.")
        .map(|(code, used)| format!("{code}={used}"))
        .collect();
    categories::set(&*view.console.state, &view.person.operator(), &firm, &uses, None).await?;
    view.console.changed();
    Ok(to(&practice_path(&id)))
}
