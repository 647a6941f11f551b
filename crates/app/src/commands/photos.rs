//! `skin-assist photos` and `skin-assist queue`: photos and their ways, and what waits or is worked on.

use std::process::ExitCode;

use skin_assist_core::{
    domain::{DeadLetterSubject, Journey},
    ports::StateStore,
    time::{Clock as _, Timestamp},
};

use super::{known_firm, print_json, state_failed, table::table};
use crate::{
    cli::{PhotosArguments, QueueArguments},
    clock::SystemClock,
    config::Config,
    failure::Failure,
    wiring,
};

/// Lists the latest photos: ids, times and states. What the models saw is a patient's, and not in it.
pub(crate) async fn photos(config: &Config, arguments: PhotosArguments) -> Result<ExitCode, Failure> {
    let state = wiring::state(config).await?;
    let mut journeys = latest(&*state, arguments.firm.as_deref(), arguments.limit).await?;
    for journey in &mut journeys {
        journey.top_finding = None;
    }
    if arguments.json {
        print_json(&journeys)?;
        return Ok(ExitCode::SUCCESS);
    }
    let seconds = |from: Option<Timestamp>, to: Option<Timestamp>| match (from, to) {
        (Some(from), Some(to)) => format!("{:.1} s", to.since(from).as_secs_f64()),
        _ => "-".to_owned(),
    };
    let rows: Vec<_> = journeys
        .iter()
        .map(|journey| {
            [
                journey.document.to_string(),
                journey.firm.to_string(),
                journey.route.to_string(),
                journey.state.as_str().to_owned(),
                journey.detected_at.to_string(),
                seconds(journey.attached_at, Some(journey.detected_at)),
                seconds(Some(journey.detected_at), journey.delivered_at),
            ]
        })
        .collect();
    let heading = [
        "PHOTO",
        "PRACTICE",
        "ROUTE",
        "STATE",
        "FOUND",
        "FILED TO FOUND",
        "FOUND TO DRAFT",
    ];
    super::print(&table(heading, &rows));
    Ok(ExitCode::SUCCESS)
}

async fn latest(state: &dyn StateStore, firm: Option<&str>, limit: usize) -> Result<Vec<Journey>, Failure> {
    let firm = match firm {
        Some(firm) => Some(known_firm(state, firm).await?.id),
        None => None,
    };
    state
        .journeys(firm.as_ref(), Timestamp::ALWAYS, limit)
        .await
        .map_err(state_failed)
}

/// Lists what waits for a step of the pipeline, or is worked on.
pub(crate) async fn queue(config: &Config, arguments: QueueArguments) -> Result<ExitCode, Failure> {
    let state = wiring::state(config).await?;
    let queued = state.queued(arguments.limit).await.map_err(state_failed)?;
    if arguments.json {
        print_json(&queued)?;
        return Ok(ExitCode::SUCCESS);
    }
    if queued.is_empty() {
        say!("Nothing waits.");
        return Ok(ExitCode::SUCCESS);
    }
    let now = SystemClock.now();
    let rows: Vec<_> = queued
        .iter()
        .map(|item| {
            [
                match &item.subject {
                    DeadLetterSubject::Document(document) => format!("photo {document}"),
                    DeadLetterSubject::Result(assessment) => format!("result {assessment}"),
                },
                item.firm.to_string(),
                item.stage.to_string(),
                if item.available_at > now {
                    format!("in {:.0} s", item.available_at.since(now).as_secs_f64())
                } else {
                    format!("due for {:.0} s", now.since(item.available_at).as_secs_f64())
                },
                item.attempts.to_string(),
                item.fence.to_string(),
            ]
        })
        .collect();
    let heading = [
        "WHAT",
        "PRACTICE",
        "STEP",
        "DUE, OR ITS LEASE ENDS",
        "ATTEMPTS",
        "FENCE",
    ];
    super::print(&table(heading, &rows));
    Ok(ExitCode::SUCCESS)
}
