//! `skin-assist firm`.

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use serde_json::json;
use sha2::{Digest as _, Sha256};
use skin_assist_core::{
    domain::{Firm, FirmId, FirmStatus, IntendedUseRecord, Mode, NewCredential},
    ports::{AuditAction, AuditRecord, StateStore},
    time::Clock as _,
};

use super::{
    Operator, backfill::Backfill, by_operator, firm_id, known_firm, print_changed, print_json, state_failed,
    table::table,
};
use crate::{
    cli::{FirmCommand, JsonFlag, ModeArgument, ProbeArguments},
    clock::SystemClock,
    config::{Config, StoreName},
    failure::{Failure, Hinted as _, WithHint as _},
    wiring,
};

/// Connects and manages practices.
pub(crate) async fn firm(config: &Config, command: FirmCommand) -> Result<ExitCode, Failure> {
    let state = wiring::state(config).await?;
    match command {
        FirmCommand::Add {
            id,
            url_prefix,
            credential,
            api_key,
            backfill,
            yes,
            probe,
            json,
        } => {
            let firm = new_firm(config, &id, url_prefix, api_key, backfill)?;
            let credential = credential.read(config)?;
            if backfill.is_some() && !yes {
                let cost = super::backfill::cost(config, &*state, &firm, &credential).await?;
                print_changed(json, &cost, &cost.to_string())?;
                return Err(
                    Failure::new(format!("`{id}` was not connected: this was the cost alone"))
                        .with_hint("add --yes to connect with the backfill, or leave --backfill out to begin now"),
                );
            }
            connect(&*state, &Operator::of_the_command(), &firm, &credential).await?;
            let next = format!("Connected `{id}`, in silent mode. Next: `skin-assist categories list {id}`.");
            print_changed(json, &firm, &next)?;
            if probe {
                say!("");
                let arguments = ProbeArguments {
                    firm: id,
                    json: false,
                    profile_out: None,
                };
                return super::probe::probe(config, arguments).await;
            }
        }
        FirmCommand::List(JsonFlag { json }) => list(&*state, json).await?,
        FirmCommand::Pause { id, json } => {
            set_status(&*state, &Operator::of_the_command(), &id, FirmStatus::Paused).await?;
            as_it_is(&*state, &id, json, &format!("`{id}` is paused.")).await?;
        }
        FirmCommand::Resume { id, json } => {
            set_status(&*state, &Operator::of_the_command(), &id, FirmStatus::Active).await?;
            as_it_is(&*state, &id, json, &format!("`{id}` is resumed.")).await?;
        }
        FirmCommand::Remove {
            id,
            yes,
            shred: true,
            json,
        } => {
            drop(state);
            let line = shred(config, &id, yes).await?;
            print_changed(json, &json!({ "removed": id, "shredded": true }), &line)?;
        }
        FirmCommand::Remove {
            id,
            yes,
            shred: false,
            json,
        } => {
            let firm = known_firm(&*state, &id).await?;
            if !yes {
                return Err(
                    Failure::new(format!("`{id}` and everything stored for it would be removed"))
                        .with_hint("add --yes if that is what you want; `pause` keeps everything"),
                );
            }
            state
                .audited(changed(&firm.id, "removed"))
                .remove_firm(&firm.id)
                .await
                .map_err(state_failed)?;
            let line = format!(
                "Removed `{id}`. Backups of the state can still be read with its key; --shred destroys that too."
            );
            print_changed(json, &json!({ "removed": id, "shredded": false }), &line)?;
        }
        FirmCommand::Credential { id, credential, json } => {
            let firm = known_firm(&*state, &id).await?;
            state
                .audited(changed(&firm.id, "credential"))
                .replace_credential(&firm.id, &credential.read(config)?)
                .await
                .map_err(state_failed)?;
            let line = format!("Replaced the credential of `{id}`; a running engine takes it within seconds.");
            print_changed(json, &firm, &line)?;
        }
        FirmCommand::Mode {
            id,
            mode,
            intended_use,
            recorded_by,
            json,
        } => {
            let (mode, permission) = wanted(mode, intended_use.as_deref(), recorded_by)?;
            set_mode(&*state, &Operator::of_the_command(), &id, mode, permission).await?;
            as_it_is(&*state, &id, json, &format!("`{id}` is in {mode} mode.")).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells of a practice that was changed.
async fn as_it_is(state: &dyn StateStore, id: &str, json: JsonFlag, line: &str) -> Result<(), Failure> {
    print_changed(json, &known_firm(state, id).await?, line)
}

/// The entry of a firm's change.
fn changed(firm: &FirmId, what: impl Into<String>) -> AuditRecord {
    by_operator(firm, AuditAction::FirmChanged, what)
}

/// Connects a practice.
pub(crate) async fn connect(
    state: &dyn StateStore,
    operator: &Operator,
    firm: &Firm,
    credential: &NewCredential,
) -> Result<(), Failure> {
    let record = operator.entry(&firm.id, AuditAction::FirmChanged, "connected");
    state
        .audited(record)
        .add_firm(firm, credential)
        .await
        .map_err(state_failed)
}

/// A practice to connect: in silent mode, with no category chosen. Photos filed from now on are assessed, or from `backfill` ago.
pub(crate) fn new_firm(
    config: &Config,
    id: &str,
    url_prefix: String,
    api_key: Option<String>,
    backfill: Option<Backfill>,
) -> Result<Firm, Failure> {
    if let Some(name) = &api_key
        && !config.further_api_keys()?.contains_key(name)
    {
        return Err(Failure::new(format!("there is no API key `{name}`"))
            .with_hint("ehr.further_api_key_files names them: NAME=FILE"));
    }
    let now = SystemClock.now();
    Ok(Firm {
        id: firm_id(id)?,
        url_prefix,
        status: FirmStatus::Active,
        mode: Mode::Silent,
        intended_use: None,
        categories: BTreeMap::new(),
        api_key,
        connected_at: now,
        photos_since: backfill.map_or(now, |Backfill(back)| now - back),
    })
}

/// Removes a practice for good. One that was removed before, and whose key is kept for its backups, too. What was done, for people.
async fn shred(config: &Config, id: &str, yes: bool) -> Result<String, Failure> {
    if !yes {
        return Err(Failure::new(format!(
            "`{id}`, everything stored for it, and what backups hold of it would be lost for good"
        ))
        .with_hint("add --yes if that is what you want; without --shred its backups stay readable"));
    }
    let firm = firm_id(id)?;
    let operator = Operator::of_the_command();
    if config.state.store == StoreName::Dynamodb {
        wiring::aws::shred(config, &firm, operator.name()).await?;
        return Ok(format!(
            "Removed `{id}` and destroyed its key. What point-in-time recovery keeps of it cannot be read any more."
        ));
    }
    let state = wiring::state_file(config)?;
    state
        .shred_firm(&firm, operator.name(), SystemClock.now())
        .map_err(state_failed)?;
    Ok(format!(
        "Removed `{id}` and destroyed its key. What backups of the state file hold of it cannot be read any more, \
         unless a copy of {} from before is kept somewhere: replace those copies now.",
        config.firm_keys_file().display()
    ))
}

async fn list(state: &dyn StateStore, json: bool) -> Result<(), Failure> {
    let firms = state.firms().await.map_err(state_failed)?;
    if json {
        return print_json(&firms);
    }
    let rows: Vec<_> = firms
        .iter()
        .map(|firm| {
            let uses = firm
                .categories
                .iter()
                .map(|(code, used)| format!("{code}={}", super::categories::word(*used)));
            [
                firm.id.to_string(),
                firm.url_prefix.clone(),
                if firm.status == FirmStatus::Active {
                    "active"
                } else {
                    "paused"
                }
                .to_owned(),
                firm.mode.to_string(),
                uses.collect::<Vec<_>>().join(" "),
            ]
        })
        .collect();
    super::print(&table(
        ["PRACTICE", "URL PREFIX", "STATUS", "MODE", "CATEGORIES"],
        &rows,
    ));
    Ok(())
}

/// Pauses or resumes a practice.
pub(crate) async fn set_status(
    state: &dyn StateStore,
    operator: &Operator,
    id: &str,
    status: FirmStatus,
) -> Result<(), Failure> {
    let firm = known_firm(state, id).await?;
    let word = if status == FirmStatus::Active {
        "resumed"
    } else {
        "paused"
    };
    state
        .audited(operator.entry(&firm.id, AuditAction::FirmChanged, word))
        .set_firm_status(&firm.id, status)
        .await
        .map_err(state_failed)
}

/// What the command line asks for: a mode, and what permits it.
fn wanted(
    mode: ModeArgument,
    intended_use: Option<&Path>,
    recorded_by: Option<String>,
) -> Result<(Mode, Option<IntendedUseRecord>), Failure> {
    match (mode, intended_use, recorded_by) {
        (ModeArgument::Draft, Some(document), Some(recorded_by)) => {
            let bytes = std::fs::read(document)
                .failed(|| format!("the intended-use document {} cannot be read", document.display()))
                .hint("give the file that permits drafts in this practice")?;
            Ok((Mode::Draft, Some(permission(&bytes, recorded_by))))
        }
        (ModeArgument::Draft, ..) => Err(
            Failure::new("drafts need the document that permits them and who records it")
                .with_hint("add --intended-use FILE --recorded-by NAME"),
        ),
        (ModeArgument::Silent, ..) => Ok((Mode::Silent, None)),
        (ModeArgument::Off, ..) => Ok((Mode::Off, None)),
    }
}

/// The record that a document permits drafts.
pub(crate) fn permission(document: &[u8], recorded_by: String) -> IntendedUseRecord {
    IntendedUseRecord {
        recorded_by,
        recorded_at: SystemClock.now(),
        document_sha256: hex::encode(Sha256::digest(document)),
    }
}

/// Changes a practice's mode. Drafts need what permits them; otherwise the record that there is stays.
pub(crate) async fn set_mode(
    state: &dyn StateStore,
    operator: &Operator,
    id: &str,
    mode: Mode,
    permission: Option<IntendedUseRecord>,
) -> Result<(), Failure> {
    let firm = known_firm(state, id).await?;
    if mode == Mode::Draft && permission.is_none() {
        return Err(Failure::new(
            "drafts need the document that permits them and who records it",
        ));
    }
    // By which document, too: the record itself is replaced by the next one.
    let by = permission.as_ref().filter(|_| mode == Mode::Draft);
    let by = by.map_or_else(String::new, |record| format!(" by {}", record.document_sha256));
    let record = permission.or(firm.intended_use);
    state
        .audited(operator.entry(&firm.id, AuditAction::FirmChanged, format!("mode {mode}{by}")))
        .set_mode(&firm.id, mode, record.as_ref())
        .await
        .map_err(state_failed)
}

#[cfg(test)]
mod tests {
    use skin_assist_core::phi::Secret;
    use skin_assist_store::SqliteStore;

    use super::*;

    #[test]
    fn a_change_of_mode_needs_its_record_and_is_in_the_audit_trail() {
        let store = SqliteStore::open_in_memory().unwrap();
        let store: &dyn StateStore = &store;
        let folder = tempfile::TempDir::new().unwrap();
        let document = folder.path().join("intended-use.txt");
        std::fs::write(&document, "for this test").unwrap();
        let firm = new_firm(&Config::defaults().unwrap(), "elm", "elm".to_owned(), None, None).unwrap();
        assert_eq!(
            (firm.mode, firm.intended_use.clone()),
            (Mode::Silent, None),
            "a new one is silent"
        );
        futures::executor::block_on(async {
            let credential = NewCredential::secret("client", Secret::new("secret".to_owned()));
            store.add_firm(&firm, &credential).await.unwrap();
            let name = || Some("Dr. Roe".to_owned());
            for (document, name) in [(None, name()), (Some(document.as_path()), None), (None, None)] {
                assert!(wanted(ModeArgument::Draft, document, name).is_err());
            }
            let operator = Operator::of_the_command();
            let refused = set_mode(store, &operator, "elm", Mode::Draft, None).await;
            assert!(refused.is_err(), "without a record nothing is written");
            assert_eq!(store.records().await.unwrap(), []);
            let (mode, permission) = wanted(ModeArgument::Draft, Some(&document), name()).unwrap();
            set_mode(store, &operator, "elm", mode, permission).await.unwrap();
            let record = store.firm(&firm.id).await.unwrap().unwrap().intended_use.unwrap();
            let sha256 = hex::encode(Sha256::digest("for this test"));
            assert_eq!(
                (record.recorded_by.as_str(), &record.document_sha256),
                ("Dr. Roe", &sha256)
            );
            for mode in [Mode::Off, Mode::Silent] {
                set_mode(store, &operator, "elm", mode, None).await.unwrap();
            }
            let kept = store.firm(&firm.id).await.unwrap().unwrap().intended_use;
            assert_eq!(kept, Some(record), "the record stays");
            let records = store.records().await.unwrap();
            let subjects: Vec<&str> = records.iter().map(|record| record.subject.as_str()).collect();
            assert_eq!(
                subjects,
                [format!("mode draft by {sha256}").as_str(), "mode off", "mode silent"]
            );
        });
    }
}
