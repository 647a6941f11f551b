//! `skin-assist uncertain`.

use std::{collections::BTreeSet, process::ExitCode};

use serde::Serialize;
use serde_json::json;
use skin_assist_core::{
    domain::{AssessmentId, Delivery, DocumentId, DraftReference, EncounterId, FirmId, Reason, ReferenceCode},
    ports::{AuditAction, StateStore, UncertainResolution},
    time::{Clock as _, Timestamp},
};

use super::{Operator, known_firm, print_changed, print_json, state_failed, table::table};
use crate::{
    cli::{Found, JsonFlag, UncertainCommand},
    clock::SystemClock,
    config::Config,
    failure::Failure,
    wiring,
};

/// An uncertain draft, as an operator needs it to look into the chart.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    pub(crate) firm: FirmId,
    pub(crate) assessment: AssessmentId,
    pub(crate) encounter: EncounterId,
    pub(crate) documents: BTreeSet<DocumentId>,
    pub(crate) reference_code: ReferenceCode,
    pub(crate) since: Timestamp,
    pub(crate) reason: Reason,
}

/// Lists drafts that may or may not be in a chart, and resolves them.
pub(crate) async fn uncertain(config: &Config, command: UncertainCommand) -> Result<ExitCode, Failure> {
    let state = wiring::state(config).await?;
    match command {
        UncertainCommand::List(JsonFlag { json }) => {
            let entries = entries(&*state).await?;
            if json {
                print_json(&entries)?;
            } else if entries.is_empty() {
                say!("No draft is uncertain.");
            } else {
                print(&entries);
            }
        }
        UncertainCommand::Resolve {
            firm,
            assessment,
            found,
            json,
        } => {
            let resolution = match found {
                Found {
                    delivered: Some(reference),
                    ..
                } => UncertainResolution::Delivered(found_in_the_chart(reference)),
                Found { post_again: true, .. } => UncertainResolution::PostAgain,
                Found { .. } => UncertainResolution::Discard,
            };
            resolve(&*state, &Operator::of_the_command(), &firm, &assessment, &resolution).await?;
            let word = match &resolution {
                UncertainResolution::Delivered(_) => "delivered",
                UncertainResolution::PostAgain => "post-again",
                UncertainResolution::Discard => "discard",
            };
            let document = json!({ "firm": firm, "assessment": assessment, "resolution": word });
            print_changed(json, &document, &format!("Resolved {assessment}."))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A draft that somebody found in the chart. They may name a version that somebody changed since it was written: nothing is added
/// to it.
pub(crate) fn found_in_the_chart(reference: String) -> DraftReference {
    DraftReference(DraftReference(reference).resource().to_owned())
}

/// Ends an uncertainty.
pub(crate) async fn resolve(
    state: &dyn StateStore,
    operator: &Operator,
    firm: &str,
    assessment: &str,
    resolution: &UncertainResolution,
) -> Result<(), Failure> {
    let firm = known_firm(state, firm).await?.id;
    state
        .audited(operator.entry(&firm, AuditAction::UncertainResolved, assessment))
        .resolve(&firm, &AssessmentId::new(assessment), resolution, SystemClock.now())
        .await
        .map_err(state_failed)
}

pub(crate) async fn entries(state: &dyn StateStore) -> Result<Vec<Entry>, Failure> {
    let results = state.uncertain().await.map_err(state_failed)?;
    let entries = results.into_iter().filter_map(|result| {
        let Delivery::Uncertain { reason, at } = result.delivery else {
            return None;
        };
        Some(Entry {
            reference_code: result.assessment.reference_code(),
            firm: result.assessment.firm,
            assessment: result.assessment.id,
            encounter: result.assessment.encounter,
            documents: result.assessment.documents,
            since: at,
            reason,
        })
    });
    Ok(entries.collect())
}

pub(super) fn print(entries: &[Entry]) {
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            [
                entry.firm.to_string(),
                entry.assessment.to_string(),
                entry.encounter.to_string(),
                entry.reference_code.to_string(),
                entry.since.to_string(),
                entry.reason.to_string(),
                entry.reason.hint().to_owned(),
            ]
        })
        .collect();
    super::print(&table(
        [
            "PRACTICE",
            "ASSESSMENT",
            "ENCOUNTER",
            "REFERENCE CODE",
            "SINCE",
            "REASON",
            "HINT",
        ],
        &rows,
    ));
}
