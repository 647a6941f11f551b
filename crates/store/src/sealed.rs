//! What of a firm is sealed with its key: which columns, on the way in and on the way out.
//!
//! # Invariants
//! - [`SEALED`] is the list; what it does not name is readable by whoever has the state's key, for ever.
//! - What is compared in SQL (keys, joins) is of one [`Kind`] on both sides. What is sorted or counted in SQL (times, states,
//!   fences, attempts) is not sealed.

use std::{cell::OnceCell, ops::Deref, sync::Arc};

use rusqlite::Connection;
use skin_assist_core::{
    domain::{AssessmentId, DocumentId, EncounterId, FirmId, PractitionerId},
    ports::StateError,
};
use skin_assist_vault::{DataKey, Kind};

use crate::{Outcome, codec::damaged, vault::Vault};

/// Documents and assessments: a dead letter is about the one or the other.
pub(crate) const ITEM: Kind = Kind::named("item");
pub(crate) const ENCOUNTER: Kind = Kind::named("encounter");
pub(crate) const PATIENT: Kind = Kind::named("patient");
pub(crate) const PRACTITIONER: Kind = Kind::named("practitioner");
pub(crate) const CREDENTIAL: Kind = Kind::named("credential");
pub(crate) const PHOTO: Kind = Kind::named("photo");
pub(crate) const CLOSED: Kind = Kind::named("closed assessment");
pub(crate) const RESULT_KEY: Kind = Kind::named("result key");
pub(crate) const FINDINGS: Kind = Kind::named("findings");
pub(crate) const TOP_FINDING: Kind = Kind::named("top finding");
pub(crate) const REFERENCE: Kind = Kind::named("reference");
pub(crate) const ASSESSMENT: Kind = Kind::named("assessment");
pub(crate) const NOTE: Kind = Kind::named("note");
pub(crate) const EVENT: Kind = Kind::named("event");
pub(crate) const AUDIT: Kind = Kind::named("audit");

/// The sealed columns of each table. All of these tables have a column `firm`. The subject of an audit record is sealed besides,
/// unless it is an operator's change of a firm: see `audit`.
pub(crate) const SEALED: &[(&str, &[(&str, Kind)])] = &[
    (
        "credentials",
        &[
            ("client_id", CREDENTIAL),
            ("client_secret", CREDENTIAL),
            ("key_id", CREDENTIAL),
            ("token", CREDENTIAL),
            ("refresh_token", CREDENTIAL),
        ],
    ),
    (
        "encounter_watch",
        &[
            ("encounter", ENCOUNTER),
            ("patient", PATIENT),
            ("practitioner", PRACTITIONER),
        ],
    ),
    (
        "document_watch",
        &[
            ("document", ITEM),
            ("encounter", ENCOUNTER),
            ("patient", PATIENT),
            ("practitioner", PRACTITIONER),
            ("assessment", ITEM),
            ("closed", CLOSED),
            ("lead", ITEM),
            ("photo_digest", PHOTO),
        ],
    ),
    ("findings", &[("result_key", RESULT_KEY), ("findings", FINDINGS)]),
    (
        "assist_results",
        &[
            ("assessment", ITEM),
            ("reference", REFERENCE),
            ("retracted_document", ITEM),
            ("result_key", RESULT_KEY),
            ("top_finding", TOP_FINDING),
            ("subject", ASSESSMENT),
            ("photos", PHOTO),
            ("findings", FINDINGS),
            ("note", NOTE),
            ("photo_findings", FINDINGS),
        ],
    ),
    ("dead_letters", &[("subject", ITEM)]),
    ("events", &[("focus", EVENT), ("context", EVENT)]),
];

/// What a column is sealed as, if it is.
pub(crate) fn kind(table: &str, column: &str) -> Option<Kind> {
    let (_, columns) = SEALED.iter().find(|(name, _)| *name == table)?;
    columns.iter().find(|(name, _)| *name == column).map(|(_, kind)| *kind)
}

/// The state in a transaction, with the keys of firms.
pub(crate) struct State<'a> {
    connection: &'a Connection,
    pub(crate) vault: &'a Vault,
}

impl<'a> State<'a> {
    pub(crate) const fn new(connection: &'a Connection, vault: &'a Vault) -> Self {
        Self { connection, vault }
    }

    /// What seals with the firm's key. A firm without a key has no rows: then nothing that is sealed fits any.
    pub(crate) fn sealer(&self, firm: &FirmId) -> Sealer {
        Sealer(self.vault.key(firm.as_str()))
    }
}

impl Deref for State<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

/// Seals with one firm's key.
pub(crate) struct Sealer(Option<Arc<DataKey>>);

impl Sealer {
    /// A value sealed; the empty text, which no sealed value is, where the firm has no key.
    pub(crate) fn seal(&self, kind: Kind, plain: &str) -> String {
        self.0.as_ref().map_or_else(String::new, |key| key.seal(kind, plain))
    }

    pub(crate) fn optional(&self, kind: Kind, plain: Option<&str>) -> Option<String> {
        plain.map(|plain| self.seal(kind, plain))
    }

    pub(crate) fn document(&self, document: &DocumentId) -> String {
        self.seal(ITEM, document.as_str())
    }

    pub(crate) fn assessment(&self, assessment: &AssessmentId) -> String {
        self.seal(ITEM, assessment.as_str())
    }

    pub(crate) fn encounter(&self, encounter: &EncounterId) -> String {
        self.seal(ENCOUNTER, encounter.as_str())
    }

    pub(crate) fn encounters(&self, encounters: &[EncounterId]) -> Vec<String> {
        encounters.iter().map(|encounter| self.encounter(encounter)).collect()
    }

    pub(crate) fn practitioner(&self, practitioner: Option<&PractitionerId>) -> Option<String> {
        self.optional(PRACTITIONER, practitioner.map(PractitionerId::as_str))
    }
}

/// A row, with the keys of firms.
pub(crate) struct Row<'a> {
    columns: &'a rusqlite::Row<'a>,
    vault: &'a Vault,
    key: OnceCell<Option<Arc<DataKey>>>,
}

impl<'a> Row<'a> {
    pub(crate) const fn new(columns: &'a rusqlite::Row<'a>, vault: &'a Vault) -> Self {
        Self {
            columns,
            vault,
            key: OnceCell::new(),
        }
    }

    /// Opens a sealed value of this row, which has to have its column `firm`.
    pub(crate) fn open(&self, table: &'static str, column: &'static str, kind: Kind, sealed: &str) -> Outcome<String> {
        let key = if let Some(key) = self.key.get() {
            key
        } else {
            let firm: String = self.columns.get("firm").map_err(|_| damaged(table, "firm"))?;
            self.key.get_or_init(|| self.vault.key(&firm))
        };
        let key = key.as_ref().ok_or_else(|| damaged(table, column))?;
        key.open(kind, sealed).map_err(|_| damaged(table, column))
    }
}

impl<'a> Deref for Row<'a> {
    type Target = rusqlite::Row<'a>;

    fn deref(&self) -> &rusqlite::Row<'a> {
        self.columns
    }
}

/// Seals every row of a state of the fourth edition or before, in the transaction that brings it to the fifth. A firm of which a
/// backup tells that was shredded after it was made is removed instead.
pub(crate) fn seal_all(state: &State<'_>) -> Outcome<()> {
    use crate::{execute, firms, rows};

    let known = rows(state, "SELECT firm, connected_at FROM firms ORDER BY firm", [], |row| {
        Ok((
            row.get::<_, String>("firm").map_err(crate::error::meaning)?,
            row.get::<_, i64>("connected_at").map_err(crate::error::meaning)?,
        ))
    })?;
    for (firm, connected_at) in known {
        if state.vault.last_destroyed(&firm).is_some_and(|at| at >= connected_at) {
            firms::remove_rows(state, &FirmId::new(firm))?;
            continue;
        }
        let key = state.vault.add(&firm)?;
        execute(
            state,
            "UPDATE firms SET data_key = ?2 WHERE firm = ?1",
            [firm.as_str(), key.id()],
        )?;
    }
    for (table, columns) in SEALED {
        // One of a later edition is sealed from its beginning.
        let is_there = crate::number(
            state,
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1",
            [*table],
        )? > 0;
        if is_there {
            seal_rows(state, table, columns, "1")?;
        }
    }
    seal_rows(state, "audit", &[("subject", AUDIT)], "action <> 'firm-changed'")
}

/// Seals those rows of a table of which the condition `which` is true.
fn seal_rows(state: &State<'_>, table: &str, columns: &[(&str, Kind)], which: &str) -> Outcome<()> {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let next = format!(
        "SELECT rowid AS row_number, firm, {} FROM {table} WHERE rowid > ?1 AND {which} ORDER BY rowid LIMIT 1",
        names.join(", ")
    );
    let set: Vec<String> = names
        .iter()
        .zip(2..)
        .map(|(name, place)| format!("{name} = ?{place}"))
        .collect();
    let update = format!("UPDATE {table} SET {} WHERE rowid = ?1", set.join(", "));
    let mut last = i64::MIN;
    // One by one: a row that is changed must not be met again by the statement that reads.
    while let Some((number, firm, values)) = crate::first(state, &next, [last], |row| {
        let read = || -> rusqlite::Result<_> {
            let values: rusqlite::Result<Vec<Option<String>>> = names.iter().map(|name| row.get(*name)).collect();
            Ok((row.get::<_, i64>("row_number")?, row.get::<_, String>("firm")?, values?))
        };
        read().map_err(crate::error::meaning)
    })? {
        // Of a firm that was removed long ago there is its audit trail, and it has a key for that; of one that was shredded nothing is
        // to be read.
        let sealer = match (state.vault.key(&firm), state.vault.last_destroyed(&firm)) {
            (None, Some(_)) => Sealer(None),
            _ => Sealer(Some(state.vault.add(&firm)?)),
        };
        let sealed = values
            .iter()
            .zip(columns)
            .map(|(value, (_, kind))| sealer.optional(*kind, value.as_deref()));
        let mut parameters: Vec<Box<dyn rusqlite::ToSql>> = vec![Box::new(number)];
        parameters.extend(sealed.map(|value| Box::new(value) as Box<dyn rusqlite::ToSql>));
        crate::execute(state, &update, rusqlite::params_from_iter(parameters))?;
        last = number;
    }
    Ok(())
}

/// Removes firms whose keys were destroyed (a backup from before was restored, or the process ended between the destruction of the key
/// and the removal of the rows), and refuses a state with a firm whose key is missing without a word.
pub(crate) fn settle(state: &State<'_>) -> Outcome<()> {
    for (firm, key) in unsettled(state)? {
        match key {
            Some(key) if state.vault.was_destroyed(&key) => crate::firms::remove_rows(state, &FirmId::new(firm))?,
            _ => return Err(StateError::from(state.vault.lacks(&firm))),
        }
    }
    Ok(())
}

/// The firms whose rows are not sealed with the key that there is for them.
pub(crate) fn unsettled(state: &State<'_>) -> Outcome<Vec<(String, Option<String>)>> {
    let mut firms = crate::rows(state, "SELECT firm, data_key FROM firms ORDER BY firm", [], |row| {
        let read = || -> rusqlite::Result<_> { Ok((row.get("firm")?, row.get("data_key")?)) };
        read().map_err(crate::error::meaning)
    })?;
    firms.retain(|(firm, key): &(String, Option<String>)| {
        let held = state.vault.key(firm);
        held.is_none_or(|held| Some(held.id()) != key.as_deref())
    });
    Ok(firms)
}
