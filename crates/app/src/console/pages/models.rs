//! The model packs, and how their answers and the photos change over weeks.

use std::collections::BTreeMap;

use axum::extract::Query;
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use skin_assist_core::{
    domain::{AssistResult, FirmId, Route},
    ports::AuditAction,
};

use super::{Answer, Place, Trouble, View};
use crate::{console::access::Role, wiring};

const WEEK_MS: i64 = 7 * 24 * 3_600_000;
/// Weeks are counted from a Monday, 1970-01-05.
const MONDAY_MS: i64 = 4 * 24 * 3_600_000;
/// How many weeks are shown.
const WEEKS: usize = 12;

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
        Some(practice) => Some(drift(&view, &FirmId::new(practice)).await?),
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
        p { code { "skin-assist silent-report" } " compares results with what clinicians coded later, from a file of their diagnoses." }
    };
    Ok(view.page(Place::Models, "Models", content))
}

/// Figures of a week and route.
#[derive(Default)]
struct Week {
    results: u64,
    abstained: u64,
    doubtful: u64,
    tops: Vec<f32>,
    sharpness: Vec<f32>,
    brightness: Vec<f32>,
}

fn median(values: &mut [f32]) -> Option<f32> {
    values.sort_by(f32::total_cmp);
    values.get(values.len() / 2).copied()
}

/// By route and week, the latest weeks.
fn weeks(results: &[AssistResult]) -> BTreeMap<(Route, i64), Week> {
    let mut weeks: BTreeMap<(Route, i64), Week> = BTreeMap::new();
    for result in results {
        let number = (result.assessed_at.as_millis() - MONDAY_MS).div_euclid(WEEK_MS);
        let week = weeks.entry((result.assessment.route, number)).or_default();
        let findings = result.findings.expose();
        week.results += 1;
        week.abstained += u64::from(findings.abstention.is_some());
        week.doubtful += u64::from(!findings.concerns.is_empty());
        week.tops.extend(findings.ranked.first().map(|class| class.probability));
        week.sharpness.push(findings.image.quality.sharpness);
        week.brightness.push(findings.image.quality.brightness);
    }
    weeks
}

async fn drift(view: &View, firm: &FirmId) -> Result<Markup, Trouble> {
    view.needs(Role::Operator)?;
    let entry = view
        .person
        .operator()
        .entry(firm, AuditAction::ResultRead, "all, for figures of weeks");
    view.console.state.record(&entry).await?;
    let results = view.console.state.firm_results(firm).await?;
    let mut weeks: Vec<_> = weeks(&results).into_iter().collect();
    weeks.sort_by_key(|((route, number), _)| (*route, std::cmp::Reverse(*number)));
    let percent = |part: u64, of: u64| format!("{:.0} %", part as f64 * 100.0 / of.max(1) as f64);
    let shown =
        |value: Option<f32>, digits: usize| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"));
    Ok(html! {
        @if weeks.is_empty() { p { "No result yet." } } @else {
            div.wide tabindex="0" role="region" aria-label="Figures of weeks" { table {
                thead { tr {
                    th scope="col" { "Route" } th scope="col" { "Week from" } th.number scope="col" { "Results" } th.number scope="col" { "Without a finding" } th.number scope="col" { "With concerns" }
                    th.number scope="col" { "Median probability of the first" } th.number scope="col" { "Median sharpness" } th.number scope="col" { "Median brightness" }
                } }
                tbody { @for route in Route::ALL { @for ((_, number), week) in weeks.iter_mut().filter(|((of, _), _)| *of == route).take(WEEKS) {
                    @let from = skin_assist_core::time::Timestamp::from_millis(number.wrapping_mul(WEEK_MS) + MONDAY_MS);
                    tr {
                        td { (route) } td { (from.date_plus_days(0)) } td.number { (week.results) } td.number { (percent(week.abstained, week.results)) }
                        td.number { (percent(week.doubtful, week.results)) } td.number { (shown(median(&mut week.tops), 2)) }
                        td.number { (shown(median(&mut week.sharpness), 0)) } td.number { (shown(median(&mut week.brightness), 2)) }
                    }
                } } }
            } }
        }
    })
}
