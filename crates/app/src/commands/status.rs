//! `skin-assist status`.

use std::process::ExitCode;

use serde_json::json;
use skin_assist_core::{
    domain::{FailingFirm, PollerFigures, PollerId, SubscriptionStatus},
    ports::{Overview, QuotaFigures, Standing},
    time::Clock as _,
};

use super::{print_json, state_failed, table::table};
use crate::{clock::SystemClock, config::Config, failure::Failure, silence::quieter_than_usual, wiring};

/// Shows how each practice stands, and what needs attention.
pub(crate) async fn status(config: &Config, json: bool) -> Result<ExitCode, Failure> {
    let state = wiring::state(config).await?;
    let overview = state.overview(SystemClock.now()).await.map_err(state_failed)?;
    let dead_letters = state.dead_letters().await.map_err(state_failed)?;
    let uncertain = super::uncertain::entries(&*state).await?;
    let retracted = state.retracted_drafts().await.map_err(state_failed)?;
    let subscriptions = state.subscriptions().await.map_err(state_failed)?;
    let now = SystemClock.now();
    let quotas = state.quotas().await.map_err(state_failed)?;
    let pollers: Vec<_> = state.pollers(now).await.map_err(state_failed)?;
    let overview = Overview::told_by(overview, pollers.iter().map(|(_, figures)| figures));
    let quiet = quieter_than_usual(&*state, &overview, now)
        .await
        .map_err(state_failed)?;
    if json {
        print_json(&json!({
            "firms": overview, "quiet": quiet, "dead_letters": dead_letters, "uncertain": uncertain, "retracted": retracted,
            "quotas": quotas, "pollers": pollers.iter().map(|(_, figures)| figures).collect::<Vec<_>>(), "subscriptions": subscriptions,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<_> = overview
        .iter()
        .map(|firm| {
            let standing = match firm.standing() {
                Standing::Stopped(reason) => format!("STOPPED: {reason}"),
                Standing::Failing(failing) => format!("FAILING: {}", failing.reason),
                other => other.as_str().to_owned(),
            };
            [
                firm.firm.id.to_string(),
                standing,
                firm.firm.mode.to_string(),
                firm.cursor
                    .map_or_else(|| "never".to_owned(), |cursor| cursor.0.to_string()),
                firm.watched_encounters.to_string(),
                format!(
                    "{}/{}/{}",
                    firm.waiting_download, firm.waiting_inference, firm.waiting_delivery
                ),
                (firm.delivered + firm.withheld).to_string(),
                firm.uncertain.to_string(),
                firm.dead_letters.to_string(),
            ]
        })
        .collect();
    let heading = [
        "PRACTICE",
        "STANDING",
        "MODE",
        "READ UP TO",
        "WATCHED",
        "WAITING (download/models/draft)",
        "DONE",
        "UNCERTAIN",
        "DEAD LETTERS",
    ];
    super::print(&table(heading, &rows));
    print_polling(&overview, &quotas, &pollers);
    for firm in &overview {
        if let Some(reason) = &firm.credential_refused {
            say!("\n{} stands still: {reason}\n  hint: {}", firm.firm.id, reason.hint());
        }
        if let Standing::Failing(FailingFirm { since, reason, .. }) = firm.standing() {
            let hint = reason.hint();
            say!(
                "\n{} has not been read since {since}: {reason}\n  hint: {hint}",
                firm.firm.id
            );
        }
        if firm.sees_nothing() {
            say!(
                "\n{id} is served, and nothing is seen: no category of its documents is chosen\n  hint: `skin-assist categories list {id}`",
                id = firm.firm.id
            );
        }
    }
    for silence in &quiet {
        say!(
            "\n{} {silence}\n  hint: ask the practice whether it photographs, and into which categories; `skin-assist probe`",
            silence.firm
        );
    }
    if !uncertain.is_empty() {
        say!("\nUncertain drafts:");
        super::uncertain::print(&uncertain);
    }
    if !retracted.is_empty() {
        say!("\nDrafts whose photo was retracted:");
        super::retractions::print(&retracted);
    }
    let in_error: Vec<_> = subscriptions
        .into_iter()
        .filter(|subscription| subscription.status == SubscriptionStatus::Error)
        .collect();
    if !in_error.is_empty() {
        say!("\nSubscribers that are told no more (`skin-assist subscription show`, then `resume`):");
        super::subscription::print(&in_error);
    }
    if !dead_letters.is_empty() {
        say!("\nDead letters:");
        super::dead_letters::print(&dead_letters);
    }
    Ok(ExitCode::SUCCESS)
}

/// How soon photos are found, and what polling costs.
fn print_polling(overview: &[Overview], quotas: &[QuotaFigures], pollers: &[(PollerId, PollerFigures)]) {
    let seconds = |millis: u64| format!("{:.1} s", millis as f64 / 1000.0);
    let rows: Vec<_> = overview
        .iter()
        .filter(|firm| firm.detection.photos > 0)
        .map(|firm| {
            let found = firm.detection;
            [
                firm.firm.id.to_string(),
                found.photos.to_string(),
                seconds(found.p50_ms),
                seconds(found.p95_ms),
            ]
        })
        .collect();
    if !rows.is_empty() {
        say!("\nFrom filing to finding, in the last 24 hours by the documents' own times:");
        super::print(&table(["PRACTICE", "PHOTOS", "HALF WITHIN", "95 % WITHIN"], &rows));
    }
    for quota in quotas {
        let calls: Vec<_> = quota
            .granted
            .iter()
            .map(|(kind, calls)| format!("{calls} {kind}"))
            .collect();
        let (share, refused) = (quota.bucket.share * 100.0, quota.refused);
        say!(
            "\nQuota {}: {share:.0} % of the rate in use, {:.1} calls at hand at the last one, {refused} refused by the EHR\n  calls granted so far: {}",
            quota.name,
            quota.bucket.tokens,
            calls.join(", ")
        );
    }
    for (_, figures) in pollers {
        let prices: Vec<_> = figures
            .prices
            .iter()
            .map(|(quota, price)| format!("{quota} {price:.4}"))
            .collect();
        say!(
            "A poller holds {} practices with {} encounters; the price of a call: {}",
            figures.firms,
            figures.encounters,
            if prices.is_empty() {
                "-".to_owned()
            } else {
                prices.join(", ")
            }
        );
        for resting in &figures.resting_hosts {
            say!(
                "The EHR host {} is left alone until {}: {} calls to it failed since its last answer",
                resting.host,
                resting.until,
                resting.failures
            );
        }
    }
}
