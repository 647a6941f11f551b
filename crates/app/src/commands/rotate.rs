//! `skin-assist key rotate`: the key of the state file is changed.
//!
//! # What is where when it stops
//! The new key is on disk (`KEY.next`) before anything is encrypted with it, and the old one stays in its place until the new one has opened
//! the file and read all of it. Until then whichever of the two opens the state is the right one, and every command tries both. The same
//! command again finishes what was begun.

use std::{fs, io, path::Path, process::ExitCode};

use serde_json::json;
use skin_assist_core::{
    audit::installation,
    phi::Secret,
    ports::{Audit as _, AuditAction},
};
use skin_assist_store::{RotationError, SqliteStore, replace, sync_folder};

use super::{
    by_operator,
    key::{random, write_secret},
    print_changed, progress, state_failed,
};
use crate::{
    cli::JsonFlag,
    config::{Config, StoreName, read_secret, read_state_key},
    failure::{Failure, Hinted as _, WithHint as _},
    wiring,
};

/// How many old keys may lie beside the key: one a day for years.
const OLD_KEYS: u32 = 10_000;

const BEGUN_BEFORE: &str = "A change of the key was begun before; it is finished now. ";

/// Changes the key.
pub(crate) async fn rotate(config: &Config, json: JsonFlag) -> Result<ExitCode, Failure> {
    if config.state.store != StoreName::Sqlite {
        return Err(Failure::new("there is no state file: the state is in DynamoDB")
            .with_hint("its keys are rotated by AWS; see docs/aws.md"));
    }
    let next = wiring::next_key_file(config)?;
    let Some(key_file) = config.state_key_file() else {
        return Err(Failure::new("the key of the state file is not in a file"));
    };
    let state = config.state_file();
    if !state.exists() {
        return Err(
            Failure::new(format!("the state file {} does not exist yet", state.display()))
                .with_hint("a key that nothing was encrypted with is replaced by `skin-assist key generate`"),
        );
    }
    let old = config.state_key()?;
    let begun_before = next.exists();
    if !begun_before {
        write_secret(&next, random()?.to_text().expose())?;
        sync_folder(&next).failed(|| format!("the folder of {} cannot be written", next.display()))?;
    }
    let new = read_state_key(&next)?;
    if new.to_text().expose() == old.to_text().expose() {
        // It was in its place already when the change before this one stopped.
        take_over(&next, &key_file)?;
        note(config).await?;
        let document = json!({ "key_file": key_file, "old_key_file": null, "begun_before": true });
        let line = format!("{BEGUN_BEFORE}The new key is in {}.", key_file.display());
        print_changed(json, &document, &line)?;
        return Ok(ExitCode::SUCCESS);
    }
    let waiting = progress::waiting("the state file is encrypted anew and read back");
    SqliteStore::rotate_key(&state, &config.firm_keys_file(), &old, &new).map_err(refused)?;
    waiting.finish_and_clear();
    let kept = keep(&key_file)?;
    take_over(&next, &key_file)?;
    note(config).await?;
    let before = if begun_before { BEGUN_BEFORE } else { "" };
    let line = format!(
        "{before}The state file has a new key, in {}. The old one is in {kept}: backups from before need it; destroy it when those are gone. Keep a \
         copy of the new key, and of {}, apart from the state file and its backups.",
        key_file.display(),
        config.firm_keys_file().display()
    );
    let document = json!({ "key_file": key_file, "old_key_file": kept, "begun_before": begun_before });
    print_changed(json, &document, &line)?;
    Ok(ExitCode::SUCCESS)
}

/// In the audit trail, by the new key.
async fn note(config: &Config) -> Result<(), Failure> {
    let record = by_operator(&installation(), AuditAction::KeyChanged, "the state file's key");
    let store = wiring::state_file(config)?;
    store.record(&record).await.map_err(state_failed)
}

fn refused(error: RotationError) -> Failure {
    let hint = error.hint();
    Failure::new("the key was not changed, or not to the end")
        .because(error)
        .with_hint(hint)
}

/// Keeps the old key under a name of its own beside the key. One that an interrupted change kept already is not kept twice.
fn keep(key_file: &Path) -> Result<String, Failure> {
    let old = read_secret(key_file, "the key of the state file")?;
    for number in 1..=OLD_KEYS {
        let mut name = key_file.as_os_str().to_owned();
        name.push(format!(".old-{number}"));
        let kept = Path::new(&name);
        if kept.exists() {
            if read_secret(kept, "an old key")?.expose() != old.expose() {
                continue;
            }
        } else {
            write_secret(kept, old.expose())?;
        }
        return Ok(kept.display().to_string());
    }
    Err(Failure::new("there are too many old keys").with_hint("destroy those whose backups are gone"))
}

/// Puts the new key into the key's place, then removes the file that it was in.
fn take_over(next: &Path, key_file: &Path) -> Result<(), Failure> {
    let new: Secret = read_secret(next, "the new key")?;
    let moved = (|| -> io::Result<()> {
        replace(key_file, format!("{}\n", new.expose()).as_bytes())?;
        fs::remove_file(next)?;
        sync_folder(key_file)
    })();
    moved
        .failed(|| format!("the new key cannot be put into {}", key_file.display()))
        .hint("run the command again; until then every command finds the new key beside it")
}
