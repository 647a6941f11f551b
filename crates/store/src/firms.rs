//! Firms and what an operator does with them.
//!
//! Pausing a firm, or switching it off, moves its rows aside: `parked` keeps them out of the index that `acquire` reads, so that such
//! a firm with a hundred thousand waiting photos costs the others nothing. The price is one pass over the firm's rows when an
//! operator does so or takes it back.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rusqlite::params;
use skin_assist_core::{
    domain::{CategoryCode, CategoryUse, Firm, FirmId, FirmStatus, IntendedUseRecord, Mode, NewCredential},
    ports::{AuditAction, AuditRecord, FirmAdministration, Firms, StateError},
    time::Timestamp,
};

use crate::{
    Outcome, SqliteStore, audit,
    codec::{Columns, Millis, to_json, to_word},
    execute, fence_floor, first, found, number, raise_fence_floor, rows,
    sealed::{CREDENTIAL, Row, State},
    subscriptions,
};

const COLUMNS: &str = "firm, url_prefix, status, mode, intended_use, categories, api_key, connected_at, photos_since";

fn read_firm(row: &Row<'_>) -> Outcome<Firm> {
    let columns = Columns { table: "firms", row };
    Ok(Firm {
        id: columns.text("firm", FirmId::new)?,
        url_prefix: columns.get("url_prefix")?,
        status: columns.word("status")?,
        mode: columns.word("mode")?,
        intended_use: columns.optional_json("intended_use")?,
        categories: columns.json("categories")?,
        api_key: columns.get("api_key")?,
        connected_at: columns.time("connected_at")?,
        photos_since: columns.time("photos_since")?,
    })
}

/// All firms, in the order of their ids.
pub(crate) fn all_firms(state: &State<'_>) -> Outcome<Vec<Firm>> {
    rows(
        state,
        &format!("SELECT {COLUMNS} FROM firms ORDER BY firm"),
        [],
        read_firm,
    )
}

/// The firm of this id.
pub(crate) fn of_id(state: &State<'_>, firm: &FirmId) -> Outcome<Option<Firm>> {
    first(
        state,
        &format!("SELECT {COLUMNS} FROM firms WHERE firm = ?1"),
        [firm.as_str()],
        read_firm,
    )
}

/// What a new row of the firm has in `parked`. [`StateError::NotFound`] when there is no such firm.
pub(crate) fn parked(state: &State<'_>, firm: &FirmId) -> Outcome<bool> {
    first(
        state,
        "SELECT status = 'paused' OR mode = 'off' FROM firms WHERE firm = ?1",
        [firm.as_str()],
        |row| row.get(0).map_err(crate::error::meaning),
    )?
    .ok_or(StateError::NotFound { what: "firm" })
}

/// Whether nothing may be written into the firm's charts, as it is now. A firm that is not there any more says nothing.
pub(crate) fn forbids_drafts(state: &State<'_>, firm: &FirmId) -> Outcome<bool> {
    let forbidden = number(
        state,
        "SELECT count(*) FROM firms WHERE firm = ?1 AND NOT (status = 'active' AND mode = 'draft')",
        [firm.as_str()],
    )?;
    Ok(forbidden > 0)
}

/// Makes the change of a firm's status or mode count for its rows: they are moved aside or back, and where drafts are not permitted any
/// more, leases on results of which no write has begun end.
fn settle(state: &State<'_>, firm: &FirmId) -> Outcome<()> {
    if forbids_drafts(state, firm)? {
        execute(
            state,
            "UPDATE assist_results SET fence = fence + 1
             WHERE firm = ?1 AND delivery = 'pending' AND available_at IS NOT NULL",
            [firm.as_str()],
        )?;
    }
    park(state, firm)
}

/// Moves the firm's rows aside or back, as its status and mode have it. Finished rows too: a replay or a resolution may make
/// them wait again.
fn park(state: &State<'_>, firm: &FirmId) -> Outcome<()> {
    let parked = parked(state, firm)?;
    for table in ["document_watch", "assist_results", "watch_lists"] {
        execute(
            state,
            &format!("UPDATE {table} SET parked = ?2 WHERE firm = ?1 AND parked <> ?2"),
            params![firm.as_str(), parked],
        )?;
    }
    Ok(())
}

/// Pauses every firm.
pub(crate) fn pause_all(state: &State<'_>) -> Outcome<()> {
    let paused = to_word(&FirmStatus::Paused)?;
    for firm in all_firms(state)? {
        execute(
            state,
            "UPDATE firms SET status = ?2 WHERE firm = ?1",
            [firm.id.as_str(), &paused],
        )?;
        park(state, &firm.id)?;
    }
    subscriptions::pause_all(state)
}

#[async_trait]
impl Firms for SqliteStore {
    async fn firms(&self) -> Outcome<Vec<Firm>> {
        self.read(all_firms)
    }

    async fn firm(&self, firm: &FirmId) -> Outcome<Option<Firm>> {
        self.read(|state| of_id(state, firm))
    }
}

#[async_trait]
impl FirmAdministration for SqliteStore {
    async fn add_firm(&self, firm: &Firm, credential: &NewCredential) -> Outcome<()> {
        let intended_use = firm.intended_use.as_ref().map(to_json).transpose()?;
        let categories = to_json(&firm.categories)?;
        self.write(|state| {
            let added = execute(
                state,
                &format!(
                    "INSERT INTO firms ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING"
                ),
                params![
                    firm.id.as_str(),
                    firm.url_prefix,
                    to_word(&firm.status)?,
                    to_word(&firm.mode)?,
                    intended_use,
                    categories,
                    firm.api_key,
                    Millis(firm.connected_at),
                    Millis(firm.photos_since)
                ],
            )?;
            if added == 0 {
                return Err(StateError::Exists {
                    what: "firm, or one with this URL prefix,",
                });
            }
            let key = state.vault.add(firm.id.as_str())?;
            execute(
                state,
                "UPDATE firms SET data_key = ?2 WHERE firm = ?1",
                [firm.id.as_str(), key.id()],
            )?;
            let seal = state.sealer(&firm.id);
            execute(
                state,
                "INSERT INTO credentials (firm, client_id, client_secret, key_id, fence) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    firm.id.as_str(),
                    seal.seal(CREDENTIAL, &credential.client_id),
                    seal.seal(CREDENTIAL, credential.client_secret.expose()),
                    seal.optional(CREDENTIAL, credential.key_id.as_deref()),
                    fence_floor(state)?
                ],
            )?;
            execute(
                state,
                "INSERT INTO watch_lists (firm, parked, fence) VALUES (?1, ?2, ?3)",
                params![firm.id.as_str(), !firm.is_served(), fence_floor(state)?],
            )?;
            Ok(())
        })
    }

    async fn set_firm_status(&self, firm: &FirmId, status: FirmStatus) -> Outcome<()> {
        self.write(|state| {
            let changed = execute(
                state,
                "UPDATE firms SET status = ?2 WHERE firm = ?1",
                params![firm.as_str(), to_word(&status)?],
            )?;
            found(changed, "firm")?;
            settle(state, firm)
        })
    }

    async fn set_categories(&self, firm: &FirmId, categories: &BTreeMap<CategoryCode, CategoryUse>) -> Outcome<()> {
        let categories = to_json(categories)?;
        self.write(|state| {
            let changed = execute(
                state,
                "UPDATE firms SET categories = ?2 WHERE firm = ?1",
                params![firm.as_str(), categories],
            )?;
            found(changed, "firm")
        })
    }

    async fn set_mode(&self, firm: &FirmId, mode: Mode, record: Option<&IntendedUseRecord>) -> Outcome<()> {
        let record = record.map(to_json).transpose()?;
        self.write(|state| {
            let changed = execute(
                state,
                "UPDATE firms SET mode = ?2, intended_use = ?3 WHERE firm = ?1",
                params![firm.as_str(), to_word(&mode)?, record],
            )?;
            found(changed, "firm")?;
            settle(state, firm)
        })
    }

    async fn replace_credential(&self, firm: &FirmId, credential: &NewCredential) -> Outcome<()> {
        self.write(|state| {
            let seal = state.sealer(firm);
            // The fence grows: what a refresh under way learns about the old credential is not about this one.
            let changed = execute(
                state,
                "UPDATE credentials SET client_id = ?2, client_secret = ?3, key_id = ?4,
                     token = NULL, issued_at = NULL, expires_at = NULL, refresh_token = NULL,
                     refused_code = NULL, refused_hint = NULL, retry_at = NULL,
                     fence = fence + 1, attempt = 0, available_at = 0
                 WHERE firm = ?1",
                params![
                    firm.as_str(),
                    seal.seal(CREDENTIAL, &credential.client_id),
                    seal.seal(CREDENTIAL, credential.client_secret.expose()),
                    seal.optional(CREDENTIAL, credential.key_id.as_deref())
                ],
            )?;
            found(changed, "firm")
        })
    }

    async fn remove_firm(&self, firm: &FirmId) -> Outcome<()> {
        self.write(|state| remove_rows(state, firm))
    }
}

impl SqliteStore {
    /// Removes a firm for good: its data key is destroyed first, and then its rows are deleted. From then on nobody can read what was
    /// sealed with it, in this file or in any backup of the fifth edition or later; the subjects of its audit records neither. A firm that
    /// was removed before, but whose key is still there for its backups, can be shredded too.
    ///
    /// A crash between the two leaves rows that cannot be read; they are deleted when the state is opened next.
    ///
    /// The audit trail says that `actor` began with it before the key is destroyed, which no transaction takes back, and that it is done in
    /// the transaction that deletes the rows.
    ///
    /// # Errors
    /// [`StateError::NotFound`] when there is neither the firm nor a key of it.
    pub fn shred_firm(&self, firm: &FirmId, actor: &str, now: Timestamp) -> Outcome<()> {
        let told = |state: &State<'_>, subject: &str| {
            let record = AuditRecord {
                at: now,
                firm: firm.clone(),
                actor: actor.to_owned(),
                action: AuditAction::FirmChanged,
                subject: subject.to_owned(),
            };
            audit::append(state, &record)
        };
        self.write(|state| {
            if of_id(state, firm)?.is_none() && state.vault.key(firm.as_str()).is_none() {
                return Err(StateError::NotFound { what: "firm" });
            }
            told(state, "shredding begun")
        })?;
        let done = self.write(|state| {
            let destroyed = state.vault.destroy(firm, now)?;
            match remove_rows(state, firm) {
                Err(StateError::NotFound { .. }) if destroyed => {}
                outcome => outcome?,
            }
            told(state, "shredded")
        });
        if done.is_err() {
            // The key may be gone and the rows still there: the next transaction compares them.
            self.vault.doubt();
        }
        done
    }
}

/// Deletes a firm and all its rows. [`StateError::NotFound`] when there is no such firm.
pub(crate) fn remove_rows(state: &State<'_>, firm: &FirmId) -> Outcome<()> {
    let highest = number(
        state,
        "SELECT max(
             coalesce((SELECT max(fence) FROM credentials WHERE firm = ?1), 0),
             coalesce((SELECT max(fence) FROM watch_lists WHERE firm = ?1), 0),
             coalesce((SELECT max(fence) FROM encounter_watch WHERE firm = ?1), 0),
             coalesce((SELECT max(fence) FROM document_watch WHERE firm = ?1), 0),
             coalesce((SELECT max(fence) FROM assist_results WHERE firm = ?1), 0))",
        [firm.as_str()],
    )?;
    raise_fence_floor(state, highest)?;
    found(
        execute(state, "DELETE FROM firms WHERE firm = ?1", [firm.as_str()])?,
        "firm",
    )
}
