//! `skin-assist dead-letters`.

use std::process::ExitCode;

use skin_assist_core::{
    domain::{DeadLetter, DeadLetterSubject},
    ports::AuditAction,
    time::Clock as _,
};

use super::{by_operator, print_json, state_failed, table::table};
use crate::{
    cli::{DeadLettersCommand, JsonFlag},
    clock::SystemClock,
    config::Config,
    failure::Failure,
    wiring,
};

/// Lists what was given up, and tries it again.
pub(crate) async fn dead_letters(config: &Config, command: DeadLettersCommand) -> Result<ExitCode, Failure> {
    let state = wiring::state(config).await?;
    let letters = state.dead_letters().await.map_err(state_failed)?;
    match command {
        DeadLettersCommand::List(JsonFlag { json: true }) => print_json(&letters)?,
        DeadLettersCommand::List(_) if letters.is_empty() => say!("Nothing was given up."),
        DeadLettersCommand::List(_) => print(&letters),
        DeadLettersCommand::Replay { id, .. } => {
            let chosen: Vec<_> = letters
                .iter()
                .filter(|letter| id.is_none_or(|id| letter.id == id))
                .collect();
            if let (Some(id), true) = (id, chosen.is_empty()) {
                return Err(Failure::new(format!("there is no dead letter {id}"))
                    .with_hint("`skin-assist dead-letters list` lists them"));
            }
            for letter in &chosen {
                let record = by_operator(&letter.firm, AuditAction::Replayed, subject(letter));
                let outcome = state.audited(record).replay(letter.id, SystemClock.now()).await;
                outcome.map_err(state_failed)?;
            }
            say!("Put back: {}.", chosen.len());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn subject(letter: &DeadLetter) -> String {
    match &letter.subject {
        DeadLetterSubject::Document(document) => format!("document {document}"),
        DeadLetterSubject::Result(assessment) => format!("result {assessment}"),
    }
}

pub(super) fn print(letters: &[DeadLetter]) {
    let rows: Vec<_> = letters
        .iter()
        .map(|letter| {
            [
                letter.id.to_string(),
                letter.firm.to_string(),
                subject(letter),
                letter.stage.to_string(),
                letter.at.to_string(),
                letter.attempts.to_string(),
                letter.reason.to_string(),
                letter.reason.hint().to_owned(),
            ]
        })
        .collect();
    super::print(&table(
        ["ID", "PRACTICE", "WHAT", "STAGE", "WHEN", "ATTEMPTS", "REASON", "HINT"],
        &rows,
    ));
}
