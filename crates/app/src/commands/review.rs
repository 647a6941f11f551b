//! `skin-assist review`: results that are kept back, for EHRs that cannot hold drafts, and for practices in silent mode.

use std::process::ExitCode;

use serde::Serialize;
use skin_assist_core::{
    domain::{AssessmentId, AssistResult, Delivery, EncounterId, FirmId, Reason, ReferenceCode, Route},
    ports::{AuditAction, StateStore},
    time::Timestamp,
};

use super::{by_operator, draft::print_note, known_firm, photos::Because, print_json, state_failed, table::table};
use crate::{
    cli::{JsonFlag, ReviewCommand},
    config::Config,
    failure::Failure,
    wiring,
};

/// A result that is kept back: ids and codes.
#[derive(Debug, Serialize)]
struct Entry {
    firm: FirmId,
    assessment: AssessmentId,
    encounter: EncounterId,
    route: Route,
    reference_code: ReferenceCode,
    assessed_at: Timestamp,
    reason: Reason,
}

/// A result that is kept back, as a clinician reads it.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    reference_code: ReferenceCode,
    title: &'a str,
    sections: &'a [skin_assist_core::domain::NoteSection],
}

/// Lists results that are kept back, or shows one.
pub(crate) async fn review(config: &Config, command: ReviewCommand) -> Result<ExitCode, Failure> {
    let state = wiring::state(config).await?;
    match command {
        ReviewCommand::List {
            firm,
            json: JsonFlag { json },
        } => {
            let firm = known_firm(&*state, &firm).await?.id;
            let results = state.firm_results(&firm).await.map_err(state_failed)?;
            let entries: Vec<Entry> = results.into_iter().filter_map(entry).collect();
            if json {
                print_json(&entries)?;
            } else if entries.is_empty() {
                say!("No result of `{firm}` is kept back.");
            } else {
                print(&entries);
            }
        }
        ReviewCommand::Show {
            firm,
            assessment,
            why,
            json: JsonFlag { json },
        } => {
            let because = Because::given(&why)?;
            let firm = known_firm(&*state, &firm).await?.id;
            show(&*state, &firm, &assessment, &because, json).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn entry(result: AssistResult) -> Option<Entry> {
    let Delivery::Withheld { reason, .. } = result.delivery else {
        return None;
    };
    Some(Entry {
        reference_code: result.assessment.reference_code(),
        firm: result.assessment.firm,
        assessment: result.assessment.id,
        encounter: result.assessment.encounter,
        route: result.assessment.route,
        assessed_at: result.assessed_at,
        reason,
    })
}

fn print(entries: &[Entry]) {
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            [
                entry.assessment.to_string(),
                entry.encounter.to_string(),
                entry.route.to_string(),
                entry.reference_code.to_string(),
                entry.assessed_at.to_string(),
                entry.reason.to_string(),
            ]
        })
        .collect();
    let heading = [
        "ASSESSMENT",
        "ENCOUNTER",
        "ROUTE",
        "REFERENCE CODE",
        "ASSESSED",
        "REASON",
    ];
    super::print(&table(heading, &rows));
}

/// Prints a result's text, after it was noted in the audit trail that it is read, and why.
async fn show(
    state: &dyn StateStore,
    firm: &FirmId,
    assessment: &str,
    because: &Because,
    json: bool,
) -> Result<(), Failure> {
    let results = state.firm_results(firm).await.map_err(state_failed)?;
    let is_it = |result: &&AssistResult| {
        let known = [
            result.assessment.id.as_str().to_owned(),
            result.assessment.reference_code().to_string(),
        ];
        matches!(result.delivery, Delivery::Withheld { .. }) && known.iter().any(|known| known == assessment)
    };
    let result = results.iter().find(is_it).ok_or_else(|| {
        Failure::new(format!("no result `{assessment}` of `{firm}` is kept back"))
            .with_hint("`skin-assist review list` lists them, by assessment and reference code")
    })?;
    let note = result.note.expose();
    let subject = because.subject(result.assessment.id.as_str());
    let record = by_operator(firm, AuditAction::ResultRead, subject);
    state.record(&record).await.map_err(state_failed)?;
    if json {
        return print_json(&Shown {
            reference_code: result.assessment.reference_code(),
            title: &note.title,
            sections: &note.sections,
        });
    }
    print_note(note);
    Ok(())
}
