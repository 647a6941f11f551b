//! The audit trail, what is kept for how long, keys, versions.

use axum::{body::Bytes, extract::Query};
use indicatif::ProgressBar;
use maud::{Markup, html};
use serde::Deserialize;
use skin_assist_core::{
    audit::{AuditEntry, installation},
    domain::FirmId,
    ports::Kept,
};

use super::{Answer, Place, View};
use crate::{
    commands::audit,
    config::StoreName,
    console::{access::Role, trail},
    retention::{NOT_COUNTED, kept_rows},
};

/// Entries that one page lists.
const LISTED: usize = 200;

/// The page.
pub(in crate::console) async fn page(view: View) -> Answer {
    let console = &view.console;
    let chains = console.chains().await?;
    let amounts = console.amounts().await?;
    let (counted_at, kept) = &*amounts;
    let content = html! {
        h2 { "Audit trail" }
        p { "A chain of hashes for each practice, and one for the installation. " (view.button(Role::Operator, "/trust/verify", &[], "Check all chains")) }
        div.wide tabindex="0" role="region" aria-label="Chains" { table {
            thead { tr { th scope="col" { "Chain" } th.number scope="col" { "Ends with" } th scope="col" { "Its hash: keep it elsewhere, as an anchor" } } }
            tbody { @for chain in &*chains {
                tr {
                    td { a href=(format!("/trust/entries?practice={}", super::segment(&chain.head.firm))) { (chain.head.firm) } }
                    td.number { (chain.head.number) } td { code { (chain.head.hash) } }
                }
            } }
        } }
        h2 { "What is kept" }
        (kept_table(&view, kept))
        p.faint { @if kept.is_empty() { (NOT_COUNTED) } @else { "Counted " (view.ago(*counted_at)) "." } }
        h2 { "Keys" }
        @match console.config.state.store {
            StoreName::Sqlite => p { "The state file is encrypted as a whole, and what comes from each practice's EHR with a key of its own besides. "
                code { "skin-assist key rotate" } " changes the state's key, " code { "skin-assist firm remove --shred" } " destroys a practice's." },
            StoreName::Dynamodb => p { "Tables and photos are encrypted by AWS with the customer-managed key of the deployment; it is rotated there." },
        }
        h2 { "Versions" }
        dl.figures {
            (super::figure("Skin Assist", env!("CARGO_PKG_VERSION"), ""))
            (super::figure("Configuration, SHA-256", console.config.surroundings.digest.chars().take(12).collect::<String>(), "its first digits"))
            (super::figure("This process runs for", super::lasting(view.now.since(console.began_at)), ""))
        }
    };
    Ok(view.still_page(Place::Trust, "Trust", &content))
}

fn kept_table(view: &View, kept: &[Kept]) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="What is kept" { table {
            thead { tr { th scope="col" { "What" } th scope="col" { "Kept" } th.number scope="col" { "Now" } th scope="col" { "Oldest" } } }
            tbody { @for row in kept_rows(&view.console.config, kept) {
                tr {
                    td { (row.what) } td { (row.life) }
                    td.number { @match row.figures { Some(figures) => (figures.number), None => "-" } }
                    td { @match row.figures.and_then(|figures| figures.oldest) { Some(oldest) => (view.ago(oldest)), None => "-" } }
                }
            } }
        } }
    }
}

/// Checks every chain from its beginning.
pub(in crate::console) async fn verify(view: View, body: Bytes) -> Answer {
    view.fields(Role::Operator, body)?;
    let reports = audit::verify(&*view.console.state, &[], &ProgressBar::hidden()).await?;
    let is_whole = reports.iter().all(|report| report.faults.is_empty());
    let content = html! {
        @if is_whole { div.banner.good { p { "Every chain is whole." } } } @else { div.banner.bad role="alert" { p { "A chain was touched." } } }
        div.wide tabindex="0" role="region" aria-label="Chains" { table {
            thead { tr { th scope="col" { "Chain" } th.number scope="col" { "Entries" } th.number scope="col" { "Removed up to" } th.number scope="col" { "Ends with" } th scope="col" { "State" } } }
            tbody { @for report in &reports { tr {
                td { (report.firm) } td.number { (report.entries) } td.number { (report.removed) } td.number { (report.head.number) }
                td.text { @if report.faults.is_empty() { span.word.good { "whole" } } @for fault in &report.faults { p.word.bad { (fault) } } }
            } } }
        } }
        p.faint { "Without an anchor a missing end is not found: " code { "skin-assist audit verify --anchor FILE" } "." }
        p { a href="/trust" { "Back" } }
    };
    Ok(view.answer_page(Place::Trust, "The chains were checked", &content))
}

/// What is asked for.
#[derive(Debug, Deserialize)]
pub(in crate::console) struct Wanted {
    practice: Option<String>,
    text: Option<String>,
}

/// The latest entries of a chain that fit.
pub(in crate::console) async fn entries(view: View, Query(wanted): Query<Wanted>) -> Answer {
    view.needs(Role::Operator)?;
    let state = &*view.console.state;
    let firm = wanted
        .practice
        .filter(|practice| !practice.is_empty())
        .map_or_else(installation, FirmId::new);
    let text = wanted.text.unwrap_or_default();
    let fits = |entry: &AuditEntry| {
        [entry.actor.as_str(), entry.action.as_str(), entry.said()]
            .iter()
            .any(|part| part.contains(text.trim()))
    };
    let chains = view.console.chains().await?;
    let found = match chains.iter().find(|chain| chain.head.firm == firm) {
        Some(chain) => Some(trail::latest(state, chain, view.console.bounds.entries, LISTED, fits).await?),
        None => None,
    };
    let latest = found.as_ref().map(|found| &found.entries);
    let latest: Vec<_> = latest.into_iter().flatten().rev().collect();
    let looked_from = found.as_ref().and_then(|found| found.looked_from);
    let content = html! {
        form.line method="get" action="/trust/entries" role="search" {
            label { "Chain " select name="practice" { @for chain in &*chains {
                option value=(chain.head.firm) selected[chain.head.firm == firm] { (chain.head.firm) }
            } } }
            label { "With " input name="text" value=(text) placeholder="who, what or an id"; }
            button { "Show" }
        }
        @if latest.is_empty() { p { "No entry." } } @else {
            div.wide tabindex="0" role="region" aria-label="Entries" { table {
                thead { tr { th.number scope="col" { "No." } th scope="col" { "When" } th scope="col" { "Who" } th scope="col" { "What" } th scope="col" { "To what" } } }
                tbody { @for entry in &latest { tr {
                    td.number { (entry.number) } td { (entry.at) } td { (entry.actor) } td { (entry.action) } td.text { (entry.said()) }
                } } }
            } }
        }
        @if let Some(number) = looked_from {
            p.word.warn { "Those before number " (number) " were not looked at." }
        }
        p.faint { "The latest " (LISTED) " that fit, as of now. " code { "skin-assist audit export" } " writes all." }
    };
    Ok(view.still_page(Place::Trust, &format!("Audit trail of {firm}"), &content))
}
