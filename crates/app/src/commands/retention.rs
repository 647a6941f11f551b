//! `skin-assist retention`: for how long what is finished is kept.

use std::{process::ExitCode, time::Duration};

use serde_json::json;
use skin_assist_core::{
    domain::WATCH_LIFE,
    ports::{RetentionLimits, StateStore},
    time::Clock as _,
};

use super::{print_json, state_failed, table::table};
use crate::{
    cli::{JsonFlag, RetentionCommand},
    clock::SystemClock,
    config::Config,
    failure::Failure,
    wiring,
};

const DAY: Duration = Duration::from_secs(86_400);

/// What has to be said where the store keeps everything.
const NOT_ENFORCED: &str = "NOT ENFORCED: results and audit entries in DynamoDB stay until they are removed there";

/// Shows the limits, or removes what is past them.
pub(crate) async fn retention(config: &Config, command: RetentionCommand) -> Result<ExitCode, Failure> {
    let state = wiring::state(config).await?;
    let limits = wiring::retention(config);
    match command {
        RetentionCommand::Show(JsonFlag { json }) => show(&*state, &limits, json).await?,
        RetentionCommand::Apply => {
            let removed = state.remove_expired(&limits, SystemClock.now()).await;
            match removed.map_err(state_failed)? {
                Some(removed) => say!(
                    "Removed {} results and {} entries of the audit trail.",
                    removed.results,
                    removed.audit_entries
                ),
                None => return Err(Failure::new(NOT_ENFORCED)),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(state: &dyn StateStore, limits: &RetentionLimits, json: bool) -> Result<(), Failure> {
    let kept = state.kept().await.map_err(state_failed)?;
    let days = |limit: Option<Duration>| limit.map(|limit| limit.as_secs() / DAY.as_secs());
    if json {
        return print_json(&json!({
            "limits": {
                "photos_minutes": 10,
                "watch_hours": WATCH_LIFE.as_secs() / 3600,
                "results_days": days(limits.results),
                "audit_days": days(limits.audit),
            },
            "kept": kept,
        }));
    }
    let shown = |limit: Option<u64>| limit.map_or_else(|| "for ever".to_owned(), |days| format!("{days} days"));
    let of = |what: &str| kept.iter().find(|kept| kept.what == what);
    let row = |what: &str, limit: String, by: &str, stored: &str| {
        let figures = of(stored);
        [
            what.to_owned(),
            limit,
            by.to_owned(),
            figures.map_or_else(|| "-".to_owned(), |kept| kept.number.to_string()),
            figures
                .and_then(|kept| kept.oldest)
                .map_or_else(|| "-".to_owned(), |oldest| oldest.to_string()),
        ]
    };
    let watch = format!("{} hours", WATCH_LIFE.as_secs() / 3600);
    let rows = [
        row("photos, in memory alone", "10 minutes".to_owned(), "fixed", ""),
        row(
            "watch on a visit, after its last change",
            watch,
            "fixed",
            "encounters under watch",
        ),
        row(
            "findings, for a second attempt",
            "24 hours".to_owned(),
            "fixed",
            "findings",
        ),
        row(
            "results",
            shown(days(limits.results)),
            "retention.results_days",
            "results",
        ),
        row("dead letters", "until replayed".to_owned(), "-", "dead letters"),
        row(
            "audit trail",
            shown(days(limits.audit)),
            "retention.audit_days",
            "audit entries",
        ),
    ];
    super::print(&table(["WHAT", "KEPT", "LIMIT", "NOW", "OLDEST"], &rows));
    if kept.is_empty() {
        say!("{NOT_ENFORCED}.");
    }
    Ok(())
}

/// Removes what is past its time now and once a day, for ever. What cannot be removed now is removed a day later.
pub(super) async fn keep(state: &dyn StateStore, limits: RetentionLimits) {
    loop {
        match state.remove_expired(&limits, SystemClock.now()).await {
            Ok(Some(removed)) if removed.results + removed.audit_entries > 0 => tracing::info!(
                event = "retention.removed",
                results = removed.results,
                audit_entries = removed.audit_entries
            ),
            Ok(Some(_)) => {}
            Ok(None) => tracing::warn!(event = "retention.not-enforced"),
            Err(error) => tracing::warn!(event = "retention.failed", error = %error),
        }
        SystemClock.sleep_until(SystemClock.now() + DAY).await;
    }
}
