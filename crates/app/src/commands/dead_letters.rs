//! `skin-assist dead-letters`.

use std::{process::ExitCode, time::Duration};

use serde::Serialize;
use skin_assist_core::{
    domain::{DeadLetter, DeadLetterSubject, FirmId, Stage},
    ports::{AuditAction, StateError, StateStore},
    time::{Clock as _, Timestamp},
};

use super::{Operator, print_json, state_failed, table::table};
use crate::{
    cli::{DeadLettersCommand, JsonFlag, ReplayArguments},
    clock::SystemClock,
    config::Config,
    failure::Failure,
    wiring,
};

/// So many are due at once; the others follow one by one.
const AT_ONCE: usize = 10;

/// About so many calls follow a photo that is put back: its document, its bytes or context, its draft.
const CALLS_EACH: f64 = 3.0;

/// What is put back takes this part of the calls that the EHR allows.
const PART_OF_THE_CALLS: f64 = 0.1;

/// Lists what was given up, and tries it again.
pub(crate) async fn dead_letters(config: &Config, command: DeadLettersCommand) -> Result<ExitCode, Failure> {
    let state = wiring::state(config).await?;
    let letters = state.dead_letters().await.map_err(state_failed)?;
    match command {
        DeadLettersCommand::List(JsonFlag { json: true }) => print_json(&letters)?,
        DeadLettersCommand::List(_) if letters.is_empty() => say!("Nothing was given up."),
        DeadLettersCommand::List(_) => print(&letters),
        DeadLettersCommand::Show { id, json } => {
            let letter = named(&letters, id)?;
            if json.json {
                print_json(letter)?;
            } else {
                show(letter);
            }
        }
        DeadLettersCommand::Replay(arguments) => replay(config, &*state, &letters, &arguments).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn named(letters: &[DeadLetter], id: i64) -> Result<&DeadLetter, Failure> {
    letters.iter().find(|letter| letter.id == id).ok_or_else(|| {
        Failure::new(format!("there is no dead letter {id}"))
            .with_hint("`skin-assist dead-letters list` lists them; one that was put back is no longer there")
    })
}

async fn replay(
    config: &Config,
    state: &dyn StateStore,
    letters: &[DeadLetter],
    arguments: &ReplayArguments,
) -> Result<(), Failure> {
    let chosen: Vec<&DeadLetter> = match arguments.id {
        Some(id) => vec![named(letters, id)?],
        None => letters.iter().take(arguments.limit.unwrap_or(usize::MAX)).collect(),
    };
    let every = match arguments.every {
        Some(seconds) => Duration::from_secs(seconds),
        None => spacing(config, chosen.len())?,
    };
    let now = SystemClock.now();
    let mut replayed = Vec::new();
    for (letter, due_at) in chosen.iter().zip(due_times(now, every)) {
        let put_back = !arguments.dry_run && put_one_back(state, &Operator::of_the_command(), letter, due_at).await?;
        replayed.push(Replayed {
            id: letter.id,
            firm: &letter.firm,
            subject: subject(letter),
            stage: letter.stage,
            due_at,
            put_back,
        });
    }
    if arguments.json.json {
        return print_json(&replayed);
    }
    if arguments.dry_run {
        for one in &replayed {
            let (id, firm, subject) = (one.id, one.firm, &one.subject);
            say!(
                "{id}: {subject} of {firm} would be put back to {}, due at {}",
                one.stage,
                one.due_at
            );
        }
        say!("Nothing was changed. Would be put back: {}.", replayed.len());
    } else {
        say!("Put back: {}.", replayed.iter().filter(|one| one.put_back).count());
    }
    if let Some(last) = replayed.last().filter(|last| last.due_at > now) {
        say!("The last one is due at {}.", last.due_at);
    }
    Ok(())
}

/// What became of a letter, or would.
#[derive(Serialize)]
struct Replayed<'a> {
    id: i64,
    firm: &'a FirmId,
    subject: String,
    stage: Stage,
    due_at: Timestamp,
    put_back: bool,
}

/// How far apart so many are due.
pub(crate) fn spacing(config: &Config, letters: usize) -> Result<Duration, Failure> {
    if letters <= AT_ONCE {
        return Ok(Duration::ZERO);
    }
    let quotas = wiring::quotas(config)?;
    Ok(quotas
        .window
        .mul_f64(CALLS_EACH / PART_OF_THE_CALLS / f64::from(quotas.calls.max(1))))
}

/// Puts a letter back where it failed. Whether it was still there: it may have been retracted, removed or put back meanwhile.
pub(crate) async fn put_one_back(
    state: &dyn StateStore,
    operator: &Operator,
    letter: &DeadLetter,
    due_at: Timestamp,
) -> Result<bool, Failure> {
    let record = operator.entry(&letter.firm, AuditAction::Replayed, subject(letter));
    match state.audited(record).replay(letter.id, due_at).await {
        Ok(()) => Ok(true),
        Err(StateError::NotFound { .. }) => Ok(false),
        Err(error) => Err(state_failed(error)),
    }
}

/// When each of many is due: the first at once, the others one after the other.
pub(crate) fn due_times(now: Timestamp, every: Duration) -> impl Iterator<Item = Timestamp> {
    let spaced = (1..).map(move |place: u32| now + every.saturating_mul(place));
    std::iter::repeat_n(now, AT_ONCE).chain(spaced)
}

fn show(letter: &DeadLetter) {
    let (what, firm, stage) = (subject(letter), &letter.firm, letter.stage);
    say!("Dead letter {}: {what} of {firm}", letter.id);
    say!(
        "  given up at {} in {stage}, after {} attempts",
        letter.at,
        letter.attempts
    );
    say!("  reason: {}", letter.reason);
    say!("  hint: {}", letter.reason.hint());
    say!("  `skin-assist dead-letters replay {}` puts it back there", letter.id);
}

pub(crate) fn subject(letter: &DeadLetter) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_at_once_and_a_thousand_over_hours() {
        let now = Timestamp::from_millis(0);
        let every = Duration::from_millis(7_200);
        let due: Vec<_> = due_times(now, every).take(1_000).collect();
        assert!(due[..AT_ONCE].iter().all(|due| *due == now));
        assert_eq!(due[AT_ONCE], now + every);
        assert!(due[AT_ONCE..].windows(2).all(|pair| pair[1].since(pair[0]) == every));
        assert_eq!(due[999].since(now), every * 990);
        assert!(due_times(now, Duration::ZERO).take(50).all(|due| due == now));
    }
}
