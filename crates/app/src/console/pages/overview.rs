//! The overview: whether every practice is served, in five seconds.

use std::collections::{BTreeMap, HashMap};

use axum::response::Response;
use maud::{Markup, html};
use skin_assist_core::{
    domain::{FailingFirm, FirmId, Journey, JourneyState, Subscription, SubscriptionStatus},
    ports::{DetectionLatency, Overview, Standing},
    time::Timestamp,
};

use super::{Answer, Place, View, figure, practice_path, seconds};
use crate::console::{Recent, metrics::Stand, pictures};

/// How long each practice's photos took from filing to draft, of those that have a draft.
fn drafting(journeys: &[Journey]) -> HashMap<FirmId, DetectionLatency> {
    let mut delays: HashMap<FirmId, Vec<u64>> = HashMap::new();
    for journey in journeys {
        if let (Some(filed), Some(drafted)) = (journey.attached_at, journey.delivered_at) {
            let delay = drafted.since(filed).as_millis() as u64;
            delays.entry(journey.firm.clone()).or_default().push(delay);
        }
    }
    let of = |(firm, delays)| (firm, DetectionLatency::of(delays));
    delays.into_iter().map(of).collect()
}

/// Drafts of each of the last 24 hours, the present one last.
fn drafts_by_hour(journeys: &[Journey], now: Timestamp) -> Vec<u64> {
    const HOUR_MS: i64 = 3_600_000;
    let this = now.as_millis().div_euclid(HOUR_MS);
    let mut hours = vec![0; 24];
    for at in journeys.iter().filter_map(|journey| journey.delivered_at) {
        let ago = this - at.as_millis().div_euclid(HOUR_MS);
        if let Some(hour) = usize::try_from(ago)
            .ok()
            .and_then(|ago| hours.iter_mut().rev().nth(ago))
        {
            *hour += 1;
        }
    }
    hours
}

/// The page.
pub(in crate::console) async fn page(view: View) -> Answer {
    let stand = view.console.standing().await?;
    let recent = view.console.recent().await?;
    let content = html! {
        (alarms(&stand))
        (figures(&stand, &recent))
        h2 { "Practices" }
        (practices(&view, &stand.firms, &recent.journeys))
        (cut(&view, &recent, "Draft p50 and p95 are"))
        h2 { "Drafts per hour" }
        (cut(&view, &recent, "These are"))
        (pictures::hours("Drafts", "drafts", &drafts_by_hour(&recent.journeys, view.now), view.now))
        h2 { "Quotas" }
        (quotas(&stand))
    };
    Ok::<Response, _>(view.page(Place::Overview, "Overview", &content))
}

/// Says of which photos figures are, where a day has more than are read.
fn cut(view: &View, recent: &Recent, what: &str) -> Markup {
    html! {
        @if let Some(at) = recent.cut_at {
            p.word.warn { (what) " of the latest " (recent.journeys.len()) " photos, of which the first was found " (view.ago(at)) "." }
        }
    }
}

/// What needs somebody, most urgent first; or that nothing does.
fn alarms(stand: &Stand) -> Markup {
    let sum = |of: fn(&Overview) -> u64| -> u64 { stand.firms.iter().map(of).sum() };
    let (letters, uncertain, retracted) = (
        sum(|firm| firm.dead_letters),
        sum(|firm| firm.uncertain),
        sum(|firm| firm.retracted),
    );
    let stopped = stand.firms.iter().filter_map(|firm| match firm.standing() {
        Standing::Stopped(reason) => Some((&firm.firm.id, reason)),
        _ => None,
    });
    let stopped: Vec<_> = stopped.collect();
    let failing = stand.firms.iter().filter_map(|firm| match firm.standing() {
        Standing::Failing(failing) => Some(failing),
        _ => None,
    });
    let failing: Vec<_> = failing.collect();
    let blind: Vec<_> = stand.firms.iter().filter(|firm| firm.sees_nothing()).collect();
    let hosts: Vec<_> = stand.pollers.iter().flat_map(|poller| &poller.resting_hosts).collect();
    let is_unserved = |subscription: &&Subscription| subscription.status == SubscriptionStatus::Error;
    let unserved = stand.subscriptions.iter().filter(is_unserved).count();
    let nobody_polls = stand.pollers.is_empty() && !stand.firms.is_empty();
    let is_quiet = letters + uncertain + retracted == 0
        && stopped.is_empty()
        && failing.is_empty()
        && blind.is_empty()
        && hosts.is_empty()
        && unserved == 0
        && !nobody_polls;
    html! {
        section aria-label="Alarms" {
            @for (firm, reason) in &stopped {
                div.banner.bad role="alert" { p { a href=(practice_path(firm)) { (firm) } " stands still: " (reason) ". " (reason.hint()) } }
            }
            @for FailingFirm { firm, since, reason } in &failing {
                div.banner.bad role="alert" {
                    p { a href=(practice_path(firm)) { (firm) } " has not been read since " (since) ": " (reason) ". " (reason.hint()) }
                }
            }
            @for firm in &blind {
                div.banner { p { a href=(practice_path(&firm.firm.id)) { (firm.firm.id) } " is served, and nothing is seen: no category of its documents is chosen." } }
            }
            @if nobody_polls {
                div.banner.bad role="alert" { p { "Nobody polls: no running process has said that it does." } }
            }
            @if retracted > 0 {
                div.banner.bad role="alert" { p { a href="/queues#retractions" { (retracted) " drafts stand whose photo was retracted" } ". Tell the practice." } }
            }
            @if uncertain > 0 {
                div.banner { p { a href="/queues#uncertain" { (uncertain) " drafts may or may not be in a chart" } ". Somebody has to look." } }
            }
            @if letters > 0 {
                div.banner { p { a href="/queues#dead-letters" { (letters) " items were given up" } "." } }
            }
            @if unserved > 0 {
                div.banner { p { a href="/subscriptions" { (unserved) " subscribers are told no more" } ": resume what they subscribed to when they are back." } }
            }
            @for host in &hosts {
                div.banner { p { "The EHR host " (host.host) " is left alone until " (host.until) ": " (host.failures) " calls failed since its last answer." } }
            }
            @for silence in &*stand.silences {
                div.banner { p { a href=(practice_path(&silence.firm)) { (silence.firm) } " " (silence) "." } }
            }
            @if is_quiet && stand.silences.is_empty() && !stand.firms.is_empty() {
                div.banner.good { p { "Nothing needs you." } }
            }
            @if stand.firms.is_empty() {
                div.banner { p { "No practice is connected yet. " a href="/connect" { "Connect one" } "." } }
            }
        }
    }
}

fn figures(stand: &Stand, recent: &Recent) -> Markup {
    let served = stand
        .firms
        .iter()
        .filter(|firm| firm.standing() == Standing::Served)
        .count();
    let watched: u64 = stand.firms.iter().map(|firm| firm.watched_encounters).sum();
    let waiting: u64 = stand
        .firms
        .iter()
        .map(|firm| firm.waiting_download + firm.waiting_inference + firm.waiting_delivery)
        .sum();
    let drafts = recent
        .journeys
        .iter()
        .filter(|journey| journey.state == JourneyState::Delivered)
        .count();
    let (more, of_which) = match recent.cut_at {
        Some(_) => ("and more", format!("of the latest {} photos", recent.journeys.len())),
        None => ("", String::new()),
    };
    html! {
        dl.figures {
            (figure("Practices served", served, &format!("of {}", stand.firms.len())))
            (figure("Visits under watch", watched, ""))
            (figure("Photos, 24 h", recent.journeys.len(), more))
            (figure("Drafts written, 24 h", drafts, &of_which))
            (figure("On their way", waiting, ""))
        }
    }
}

fn practices(view: &View, firms: &[Overview], journeys: &[Journey]) -> Markup {
    let drafting = drafting(journeys);
    html! {
        div.wide tabindex="0" role="region" aria-label="Practices" {
            table {
                thead { tr {
                    th scope="col" { "Practice" } th scope="col" { "Standing" } th scope="col" { "Mode" } th scope="col" { "Read up to" }
                    th.number scope="col" { "Watched" } th.number scope="col" { "Found p50" } th.number scope="col" { "p95" }
                    th.number scope="col" { "Draft p50" } th.number scope="col" { "p95" } th.number scope="col" { "On the way" }
                    th.number scope="col" { "Attention" }
                } }
                tbody {
                    @for firm in firms {
                        @let attention = firm.uncertain + firm.dead_letters + firm.retracted;
                        tr {
                            th scope="row" { a href=(practice_path(&firm.firm.id)) { (firm.firm.id) } }
                            td { (standing(firm.standing())) }
                            td { (firm.firm.mode) }
                            td { @match firm.cursor { Some(cursor) => (view.ago(cursor.0)), None => "never" } }
                            td.number { (firm.watched_encounters) }
                            @if firm.detection.photos > 0 {
                                td.number { (seconds(firm.detection.p50_ms)) } td.number { (seconds(firm.detection.p95_ms)) }
                            } @else { td.number { "-" } td.number { "-" } }
                            @match drafting.get(&firm.firm.id) {
                                Some(times) => {
                                    td.number title=(format!("of {} drafts", times.photos)) { (seconds(times.p50_ms)) }
                                    td.number { (seconds(times.p95_ms)) }
                                }
                                None => { td.number { "-" } td.number { "-" } }
                            }
                            td.number { (firm.waiting_download + firm.waiting_inference + firm.waiting_delivery) }
                            td.number { @if attention > 0 { span.word.warn { (attention) } } @else { "0" } }
                        }
                    }
                }
            }
        }
    }
}

/// How a practice stands, as a word that is not told by colour alone.
pub(super) fn standing(standing: Standing<'_>) -> Markup {
    let class = match standing {
        Standing::Served => "word good",
        Standing::Paused | Standing::Off => "word warn",
        Standing::Stopped(_) | Standing::Failing(_) => "word bad",
    };
    html! { span class=(class) { (standing.as_str()) } }
}

fn quotas(stand: &Stand) -> Markup {
    let mut prices: BTreeMap<&str, f64> = BTreeMap::new();
    for (quota, price) in stand.pollers.iter().flat_map(|poller| &poller.prices) {
        let known = prices.entry(quota.as_str()).or_default();
        *known = known.max(*price);
    }
    html! {
        @if stand.quotas.is_empty() { p { "No call was made yet." } }
        @for quota in &stand.quotas {
            @let granted: u64 = quota.granted.values().sum();
            h3 { (quota.name) }
            p {
                label { "Rate in use " meter min="0" max="1" low="0.7" optimum="1" value=(quota.bucket.share) {} " " (format!("{:.0} %", quota.bucket.share * 100.0)) }
                ", " (format!("{:.1}", quota.bucket.tokens.max(0.0))) " calls at hand, " (granted) " granted so far, "
                @if quota.refused > 0 { span.word.warn { (quota.refused) " refused by the EHR" } } @else { "none refused by the EHR" }
                @if let Some(price) = prices.get(quota.name.as_str()) { ", the price of a call " (format!("{price:.4}")) }
                "."
            }
            div.wide tabindex="0" role="region" aria-label=(format!("Calls of {}", quota.name)) {
                table {
                    thead { tr { th scope="col" { "Calls for" } th.number scope="col" { "Granted" } th.number scope="col" { "Share" } } }
                    tbody { @for (kind, calls) in &quota.granted {
                        tr { td { (kind) } td.number { (calls) } td.number { (format!("{:.0} %", *calls as f64 * 100.0 / granted.max(1) as f64)) } }
                    } }
                }
            }
        }
    }
}
