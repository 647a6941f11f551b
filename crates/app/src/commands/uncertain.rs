//! `skin-assist uncertain`.

use std::{collections::BTreeSet, process::ExitCode};

use serde::Serialize;
use skin_assist_core::{
    domain::{AssessmentId, Delivery, DocumentId, DraftReference, EncounterId, FirmId, Reason, ReferenceCode},
    ports::{AuditAction, StateStore, UncertainResolution},
    time::{Clock as _, Timestamp},
};

use super::{by_operator, known_firm, print_json, state_failed, table::table};
use crate::{
    cli::{Found, JsonFlag, UncertainCommand},
    clock::SystemClock,
    config::Config,
    failure::Failure,
    wiring,
};

/// An uncertain draft, as an operator needs it to look into the chart.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    firm: FirmId,
    assessment: AssessmentId,
    encounter: EncounterId,
    documents: BTreeSet<DocumentId>,
    reference_code: ReferenceCode,
    since: Timestamp,
    reason: Reason,
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
        } => {
            let firm = known_firm(&*state, &firm).await?.id;
            let resolution = match found {
                Found {
                    delivered: Some(reference),
                    ..
                } => {
                    // Whoever looked may name a version that somebody changed since it was written: nothing is added to it.
                    let named = DraftReference(reference);
                    UncertainResolution::Delivered(DraftReference(named.resource().to_owned()))
                }
                Found { post_again: true, .. } => UncertainResolution::PostAgain,
                Found { .. } => UncertainResolution::Discard,
            };
            let id = AssessmentId::new(&assessment);
            state
                .audited(by_operator(&firm, AuditAction::UncertainResolved, &assessment))
                .resolve(&firm, &id, &resolution, SystemClock.now())
                .await
                .map_err(state_failed)?;
            say!("Resolved {assessment}.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn entries(state: &dyn StateStore) -> Result<Vec<Entry>, Failure> {
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
