//! `skin-assist retractions`.

use std::process::ExitCode;

use serde_json::json;
use skin_assist_core::{
    domain::AssessmentId,
    ports::{AuditAction, RetractedDraft, StateStore},
    time::Clock as _,
};

use super::{Operator, known_firm, print_changed, print_json, state_failed, table::table};
use crate::{
    cli::{JsonFlag, RetractionsCommand},
    clock::SystemClock,
    config::Config,
    failure::Failure,
    wiring,
};

/// Lists drafts whose photo was retracted after they were posted, and takes note of them.
pub(crate) async fn retractions(config: &Config, command: RetractionsCommand) -> Result<ExitCode, Failure> {
    let state = wiring::state(config).await?;
    match command {
        RetractionsCommand::List(JsonFlag { json }) => {
            let drafts = state.retracted_drafts().await.map_err(state_failed)?;
            if json {
                print_json(&drafts)?;
            } else if drafts.is_empty() {
                say!("No draft stands whose photo was retracted.");
            } else {
                print(&drafts);
            }
        }
        RetractionsCommand::Acknowledge { firm, assessment, json } => {
            acknowledge(&*state, &Operator::of_the_command(), &firm, &assessment).await?;
            let document = json!({ "firm": firm, "assessment": assessment });
            print_changed(json, &document, &format!("Took note of {assessment}."))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes note that a draft stands whose photo was retracted.
pub(crate) async fn acknowledge(
    state: &dyn StateStore,
    operator: &Operator,
    firm: &str,
    assessment: &str,
) -> Result<(), Failure> {
    let firm = known_firm(state, firm).await?.id;
    state
        .audited(operator.entry(&firm, AuditAction::RetractionAcknowledged, assessment))
        .acknowledge_retraction(&firm, &AssessmentId::new(assessment), SystemClock.now())
        .await
        .map_err(state_failed)
}

pub(super) fn print(drafts: &[RetractedDraft]) {
    let rows: Vec<_> = drafts
        .iter()
        .map(|draft| {
            [
                draft.firm.to_string(),
                draft.assessment.to_string(),
                draft.reference_code.to_string(),
                draft
                    .reference
                    .as_ref()
                    .map_or_else(|| "uncertain".to_owned(), ToString::to_string),
                draft.document.to_string(),
                draft.noticed_at.to_string(),
            ]
        })
        .collect();
    super::print(&table(
        ["PRACTICE", "ASSESSMENT", "REFERENCE CODE", "DRAFT", "PHOTO", "NOTICED"],
        &rows,
    ));
    say!("Tell the practice to take the draft out of the chart, then `skin-assist retractions acknowledge`.");
}
