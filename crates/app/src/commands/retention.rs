//! `skin-assist retention`: for how long what is finished is kept.

use std::process::ExitCode;

use serde_json::json;
use skin_assist_core::{
    domain::{EVENT_LIFE, WATCH_LIFE},
    ports::{RetentionLimits, StateStore},
    time::Clock as _,
};

use super::{print_json, state_failed, table::table};
use crate::{
    cli::{JsonFlag, RetentionCommand},
    clock::SystemClock,
    config::Config,
    failure::Failure,
    retention::{DAY, NOT_COUNTED, PHOTOS_MINUTES, VISITS_DAYS, days, kept_rows, remove_expired},
    wiring,
};

/// Shows the limits, or removes what is past them.
pub(crate) async fn retention(config: &Config, command: RetentionCommand) -> Result<ExitCode, Failure> {
    let state = wiring::state(config).await?;
    match command {
        RetentionCommand::Show(JsonFlag { json }) => show(config, &*state, json).await?,
        RetentionCommand::Apply(JsonFlag { json }) => {
            let limits = wiring::retention(config);
            let removed = remove_expired(&*state, &SystemClock, &limits, None).await;
            let removed = removed.map_err(state_failed)?;
            if json {
                print_json(&removed)?;
            } else {
                say!(
                    "Removed {} results and {} entries of the audit trail; and of {} retracted photos without a result what was known of their \
                     patients.",
                    removed.results,
                    removed.audit_entries,
                    removed.photos
                );
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(config: &Config, state: &dyn StateStore, json: bool) -> Result<(), Failure> {
    let kept = state.kept().await.map_err(state_failed)?;
    if json {
        let limits = wiring::retention(config);
        return print_json(&json!({
            "limits": {
                "photos_minutes": PHOTOS_MINUTES,
                "watch_hours": WATCH_LIFE.as_secs() / 3600,
                "visits_days": VISITS_DAYS,
                "events_days": days(Some(EVENT_LIFE)),
                "results_days": days(limits.results),
                "audit_days": days(limits.audit),
            },
            "kept": kept,
        }));
    }
    let or_none = |figure: Option<String>| figure.unwrap_or_else(|| "-".to_owned());
    let rows: Vec<_> = kept_rows(config, &kept)
        .into_iter()
        .map(|row| {
            let oldest = row.figures.and_then(|kept| kept.oldest);
            [
                row.what.to_owned(),
                row.life,
                row.limit.to_owned(),
                or_none(row.figures.map(|kept| kept.number.to_string())),
                or_none(oldest.map(|oldest| oldest.to_string())),
            ]
        })
        .collect();
    super::print(&table(["WHAT", "KEPT", "LIMIT", "NOW", "OLDEST"], &rows));
    if kept.is_empty() {
        say!("{NOT_COUNTED}");
    }
    Ok(())
}

/// Removes what is past its time now and once a day, for ever. What cannot be removed now is removed a day later.
pub(super) async fn keep(state: &dyn StateStore, limits: RetentionLimits) {
    loop {
        if let Err(error) = remove_expired(state, &SystemClock, &limits, None).await {
            tracing::warn!(event = "retention.failed", error = %error);
        }
        SystemClock.sleep_until(SystemClock.now() + DAY).await;
    }
}
