//! `skin-assist backup` and `skin-assist restore`.

use std::process::ExitCode;

use skin_assist_core::{
    audit::installation,
    ports::{Audit as _, AuditAction},
};
use skin_assist_store::{Contents, CopyError, SqliteStore};

use super::{by_operator, print_json, progress, state_failed};
use crate::{
    cli::{BackupArguments, RestoreArguments},
    config::{Config, StoreName, read_state_key},
    failure::Failure,
    wiring,
};

/// Writes a backup.
pub(crate) async fn backup(config: &Config, arguments: &BackupArguments) -> Result<ExitCode, Failure> {
    is_a_file(config)?;
    let key = match wiring::next_key_file(config) {
        Ok(next) if next.exists() => {
            return Err(Failure::new("a change of the state file's key was interrupted")
                .with_hint("`skin-assist key rotate` finishes it; then back up"));
        }
        _ => config.state_key()?,
    };
    let state = config.state_file();
    if !state.exists() {
        return Err(Failure::new(format!(
            "the state file {} does not exist yet",
            state.display()
        )));
    }
    let store = wiring::state_file(config)?;
    let waiting = progress::waiting("the state is copied and read back");
    let contents = store
        .back_up(&arguments.file, &key)
        .map_err(|error| refused("no backup was made", error))?;
    waiting.finish_and_clear();
    let record = by_operator(&installation(), AuditAction::BackedUp, described(&contents));
    store.record(&record).await.map_err(state_failed)?;
    if arguments.json {
        print_json(&contents)?;
        return Ok(ExitCode::SUCCESS);
    }
    say!(
        "{} was written and read back: {}.",
        arguments.file.display(),
        described(&contents)
    );
    say!(
        "It opens with the state file's key, and what it holds of practices with {} besides. Of that file keep the latest copy alone, apart \
         from the backups.",
        config.firm_keys_file().display()
    );
    Ok(ExitCode::SUCCESS)
}

/// Puts one back.
pub(crate) async fn restore(config: &Config, arguments: &RestoreArguments) -> Result<ExitCode, Failure> {
    is_a_file(config)?;
    let key = config.state_key()?;
    let of_the_backup = match &arguments.key_file {
        Some(file) => read_state_key(file)?,
        None => config.state_key()?,
    };
    let waiting = progress::waiting("the backup is read, put back and read again");
    let contents = SqliteStore::restore(
        &config.state_file(),
        &config.firm_keys_file(),
        &key,
        &arguments.file,
        &of_the_backup,
        arguments.replace,
    )
    .map_err(|error| refused("nothing was put back", error))?;
    waiting.finish_and_clear();
    let record = by_operator(&installation(), AuditAction::Restored, described(&contents));
    let store = wiring::state_file(config)?;
    store.record(&record).await.map_err(state_failed)?;
    if arguments.json {
        print_json(&contents)?;
        return Ok(ExitCode::SUCCESS);
    }
    say!(
        "{} is the state again: {}.",
        arguments.file.display(),
        described(&contents)
    );
    for firm in &contents.shredded {
        say!("`{firm}` was shredded after this backup was made, and is not in it any more.");
    }
    say!(
        "Every practice is paused. What was delivered after the backup was made is not known to it: compare the reference codes in the \
         charts, then `skin-assist firm resume` each."
    );
    Ok(ExitCode::SUCCESS)
}

fn is_a_file(config: &Config) -> Result<(), Failure> {
    match config.state.store {
        StoreName::Sqlite => Ok(()),
        StoreName::Dynamodb => Err(Failure::new("there is no state file: the state is in DynamoDB")
            .with_hint("its tables have point-in-time recovery; see docs/aws.md")),
    }
}

fn described(contents: &Contents) -> String {
    let of = |table: &str| contents.rows.get(table).copied().unwrap_or_default();
    format!(
        "edition {}, {} practices, {} photos, {} results, {} sealed values, each opened",
        contents.edition,
        contents.sealed.len(),
        of("document_watch"),
        of("assist_results"),
        contents.sealed.values().sum::<u64>()
    )
}

fn refused(problem: &str, error: CopyError) -> Failure {
    let hint = error.hint();
    Failure::new(problem).because(error).with_hint(hint)
}
