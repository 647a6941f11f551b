//! `skin-assist status`.

use std::process::ExitCode;

use serde_json::json;
use skin_assist_core::{
    domain::{FirmStatus, Mode},
    ports::Operations as _,
    time::Clock as _,
};

use super::{print_json, state_failed, table::table};
use crate::{clock::SystemClock, config::Config, failure::Failure, wiring};

/// Shows how each practice stands, and what needs attention.
pub(crate) async fn status(config: &Config, json: bool) -> Result<ExitCode, Failure> {
    let state = wiring::state(config)?;
    let overview = state.overview(SystemClock.now()).await.map_err(state_failed)?;
    let dead_letters = state.dead_letters().await.map_err(state_failed)?;
    let uncertain = super::uncertain::entries(&state).await?;
    let retracted = state.retracted_drafts().await.map_err(state_failed)?;
    if json {
        print_json(&json!({
            "firms": overview, "dead_letters": dead_letters, "uncertain": uncertain, "retracted": retracted,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<_> = overview
        .iter()
        .map(|firm| {
            let standing = match (&firm.credential_refused, firm.firm.status) {
                (_, FirmStatus::Paused) => "paused".to_owned(),
                (Some(reason), FirmStatus::Active) => format!("STOPPED: {reason}"),
                (None, FirmStatus::Active) => "served".to_owned(),
            };
            [
                firm.firm.id.to_string(),
                standing,
                if firm.firm.mode == Mode::Draft {
                    "draft"
                } else {
                    "silent"
                }
                .to_owned(),
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
    for firm in &overview {
        if let Some(reason) = &firm.credential_refused {
            say!("\n{} stands still: {reason}\n  hint: {}", firm.firm.id, reason.hint());
        }
    }
    if !uncertain.is_empty() {
        say!("\nUncertain drafts:");
        super::uncertain::print(&uncertain);
    }
    if !retracted.is_empty() {
        say!("\nDrafts whose photo was retracted:");
        super::retractions::print(&retracted);
    }
    if !dead_letters.is_empty() {
        say!("\nDead letters:");
        super::dead_letters::print(&dead_letters);
    }
    Ok(ExitCode::SUCCESS)
}
