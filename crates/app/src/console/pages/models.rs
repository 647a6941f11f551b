//! The model packs, how their answers and the photos change over weeks, and how they agree with what was coded later.

use axum::extract::{Multipart, Query};
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use skin_assist_core::{domain::FirmId, ports::AuditAction};
use skin_assist_evaluation::stability;

use super::{Answer, Place, Trouble, View};
use crate::{
    commands::{
        drift::{self, BASELINE_WEEKS, MeasureOverWeeks, ModelOverWeeks, latest},
        known_firm,
        photos::Because,
        silent_report,
    },
    console::{
        access::{Role, wipe},
        pictures,
    },
    wiring,
};

/// Some 200,000 coded diagnoses.
pub(in crate::console) const MOST_DIAGNOSES_BYTES: usize = 8_000_000;

/// What is asked for.
#[derive(Debug, Deserialize)]
pub(in crate::console) struct Wanted {
    practice: Option<String>,
}

/// The page.
pub(in crate::console) async fn page(view: View, Query(wanted): Query<Wanted>) -> Answer {
    let config = view.console.config.clone();
    let read = tokio::task::spawn_blocking(move || wiring::packs(&config)).await;
    let packs = read.map_err(|_| Trouble::new(StatusCode::INTERNAL_SERVER_ERROR, "the packs cannot be read"))??;
    let firms = view.console.state.firms().await?;
    let practice = wanted.practice.filter(|practice| !practice.is_empty());
    let drift = match &practice {
        Some(practice) => Some(over_weeks(&view, &FirmId::new(practice)).await?),
        None => None,
    };
    let content = html! {
        h2 { "Packs" }
        div.wide tabindex="0" role="region" aria-label="Packs" { table {
            thead { tr { th scope="col" { "Route" } th scope="col" { "Pack" } th scope="col" { "Version" } th.number scope="col" { "Classes" } th scope="col" { "Intended use" } th scope="col" { "Validated on" } } }
            tbody { @for pack in &packs {
                @let manifest = pack.manifest();
                tr {
                    td { (manifest.route) } td { (manifest.id) } td { (manifest.version) } td.number { (manifest.classifier.labels.len()) }
                    td.text { (manifest.intended_use) }
                    td.text { @if manifest.populations.is_empty() { "nobody" } @for group in &manifest.populations { p { (group.name) ", " (group.photos) " photos " (group.result) } } }
                }
            } }
        } }
        h2 { "How findings and photos change over weeks" }
        @if view.person.may(Role::Operator) {
            form.line method="get" action="/models" {
                label { "Practice " select name="practice" { @for firm in &firms { option value=(firm.id) selected[practice.as_deref() == Some(firm.id.as_str())] { (firm.id) } } } }
                button { "Show" }
            }
        } @else { p { "Needs the role operator: results are read for it." } }
        @if let Some(drift) = drift { (drift) }
        h2 { "Agreement of the silent trial" }
        p { "Results beside what clinicians coded later, from a file of their diagnoses (CSV; " code { "docs/silent-trial.md" } " has the form), as " code { "skin-assist silent-report" } " has it. The file is not kept." }
        @if view.person.may(Role::Operator) {
            form.fields method="post" action="/models/agreement" enctype="multipart/form-data" {
                (view.form_secret())
                label { "Of the practice " select name="practice" { @for firm in &firms { option value=(firm.id) { (firm.id) } } } }
                label { "The file of diagnoses" input name="diagnoses" type="file" accept=".csv,text/csv" required; }
                (super::why())
                button { "Compare" }
            }
        } @else { p { "Needs the role operator: results are read for it." } }
    };
    // Still: packs are files, and each look at a practice's results is recorded.
    Ok(view.still_page(Place::Models, "Models", &content))
}

/// A practice's results beside the coded diagnoses of a file. Nothing is kept but that the results were read, and why.
pub(in crate::console) async fn agreement(view: View, form: Multipart) -> Answer {
    let (fields, file) = view.fields_and_file(Role::Operator, form, "diagnoses").await?;
    let because = Because::of(fields.text("reason"), fields.text("ticket"))?;
    let state = &*view.console.state;
    let firm = known_firm(state, fields.text("practice")).await?.id;
    let unreadable = |_| Trouble::new(StatusCode::UNPROCESSABLE_ENTITY, "the file of diagnoses is no text");
    let diagnoses = std::str::from_utf8(&file).map_err(unreadable)?;
    let subject = because.subject(silent_report::READ_FOR);
    let entry = view.person.operator().entry(&firm, AuditAction::ResultRead, subject);
    let report = silent_report::report(state, &firm, diagnoses, &entry).await;
    wipe(file);
    let content = html! {
        p { a href="/models" { "Back" } " - it is recorded that you read all results: " (because.said) "." }
        div.wide tabindex="0" role="region" aria-label="Report" { pre { (silent_report::page(&report?)) } }
    };
    Ok(view.answer_page(Place::Models, &format!("Agreement at {firm}"), &content))
}

async fn over_weeks(view: &View, firm: &FirmId) -> Result<Markup, Trouble> {
    view.needs(Role::Operator)?;
    let entry = view
        .person
        .operator()
        .entry(firm, AuditAction::ResultRead, drift::READ_FOR);
    let drift = drift::read(&*view.console.state, firm, &entry).await?;
    Ok(html! {
        @if drift.models.is_empty() { p { "No result yet." } } @else {
            p {
                "Bars reach from the tenth to the ninetieth of a hundred photos, the line in them is the median. The population stability index (PSI) compares a week with the first "
                (BASELINE_WEEKS) " that have results of this version of the model: below " (stability::SOME) " it is stable, from " (stability::MUCH)
                " on much has changed (Siddiqi 2006). Where the index is below what chance makes of so few photos in 19 of 20 weeks (Yurdakul and Naranjo 2020), it says nothing."
            }
        }
        @for model in &drift.models {
            h3 { (model.route) ", " (model.model) }
            (results(model))
            @for measured in &model.measures { (pictures::weeks(measured)) (table(&model.model, measured)) }
        }
    })
}

/// How often the models said nothing, or with concerns.
fn results(model: &ModelOverWeeks) -> Markup {
    let percent = |part: u64, of: u64| format!("{:.0} %", part as f64 * 100.0 / of.max(1) as f64);
    html! {
        div.wide tabindex="0" role="region" aria-label=(format!("Results of {} by week", model.model)) { table {
            thead { tr { th scope="col" { "Week from" } th.number scope="col" { "Results" } th.number scope="col" { "Without a finding" } th.number scope="col" { "With concerns" } } }
            tbody { @for week in latest(&model.weeks) {
                tr {
                    th scope="row" { (week.from) } td.number { (week.results) }
                    td.number { (percent(week.without_a_finding, week.results)) } td.number { (percent(week.with_concerns, week.results)) }
                }
            } }
        } }
    }
}

/// What the picture shows, in figures.
fn table(model: &str, measured: &MeasureOverWeeks) -> Markup {
    let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
    html! {
        div.wide tabindex="0" role="region" aria-label=(format!("{} by week, {model}", measured.measure.display())) { table {
            thead { tr {
                th scope="col" { "Week from" } th.number scope="col" { "Photos" } th.number scope="col" { "10th of 100" } th.number scope="col" { "Median" } th.number scope="col" { "90th of 100" }
                th.number scope="col" { "PSI" } th.number scope="col" { "By chance below" } th scope="col" { "Says" }
            } }
            tbody { @for week in latest(&measured.weeks) {
                tr {
                    th scope="row" { (week.from) } td.number { (week.photos) }
                    td.number { (shown(Some(week.p10))) } td.number { (shown(Some(week.median))) } td.number { (shown(Some(week.p90))) }
                    td.number { (shown(week.stability.map(|stability| stability.index))) } td.number { (shown(week.stability.map(|stability| stability.by_chance))) }
                    td { (week.word()) }
                }
            } }
        } }
    }
}
