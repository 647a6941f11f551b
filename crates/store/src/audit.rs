//! The audit trail: chains of entries ([`skin_assist_core::audit`]). The schema refuses to change an entry, to delete one before its
//! time, and to add one elsewhere than at the end; the entries of a firm outlive the firm. What came from its EHR is in them as it is in
//! all rows, sealed with the firm's key, and the chain is over the sealed text: it can be verified when nobody can read it any more.

use async_trait::async_trait;
use rusqlite::params;
use skin_assist_core::{
    audit::{AuditEntry, AuditHead, installation, removal},
    domain::{FirmId, Stage},
    ports::{Audit, AuditAction, AuditChain, AuditPage, AuditRecord, AuditTrail, StateStore},
    time::Timestamp,
};

use crate::{
    Outcome, SqliteStore,
    codec::{Columns, Millis},
    execute, first, rows,
    sealed::{AUDIT, Row, State},
};

const TABLE: &str = "audit";

/// The subject of a record whose firm was shredded.
const UNREADABLE: &str = "[shredded]";

/// Where the firm's chain ends: its last entry, or where all were removed up to.
const HEAD: &str = "SELECT number, hash FROM audit WHERE firm = ?1
     UNION ALL SELECT number, hash FROM audit_bases WHERE firm = ?1
     ORDER BY number DESC LIMIT 1";

fn head_of(state: &State<'_>, sql: &str, firm: &FirmId) -> Outcome<AuditHead> {
    let head = first(state, sql, [firm.as_str()], |row| {
        let columns = Columns { table: TABLE, row };
        Ok(AuditHead {
            firm: firm.clone(),
            number: columns.count("number")?,
            hash: columns.get("hash")?,
        })
    })?;
    Ok(head.unwrap_or_else(|| AuditHead::beginning(firm.clone())))
}

/// Writes an entry at the end of its chain, in the caller's transaction. What it is about is sealed, where that came from the EHR.
pub(crate) fn append(state: &State<'_>, record: &AuditRecord) -> Outcome<()> {
    if !record.action.is_about_a_record() {
        return append_as_it_is(state, record);
    }
    // What ends after its firm was shredded is recorded without what it was about.
    let firm = record.firm.as_str();
    if state.vault.key(firm).is_none() && state.vault.last_destroyed(firm).is_none() {
        state.vault.add(firm)?;
    }
    let sealed = AuditRecord {
        subject: state.sealer(&record.firm).seal(AUDIT, &record.subject),
        ..record.clone()
    };
    append_as_it_is(state, &sealed)
}

fn append_as_it_is(state: &State<'_>, record: &AuditRecord) -> Outcome<()> {
    let entry = AuditEntry::after(&head_of(state, HEAD, &record.firm)?, record);
    execute(
        state,
        "INSERT INTO audit (firm, number, at, actor, action, subject, previous, hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            entry.firm.as_str(),
            entry.number as i64,
            Millis(entry.at),
            entry.actor,
            entry.action,
            entry.subject,
            entry.previous,
            entry.hash
        ],
    )?;
    Ok(())
}

/// The entry of a stage's transition.
pub(crate) fn append_of(
    state: &State<'_>,
    stage: Stage,
    (firm, action, subject): (&FirmId, AuditAction, &str),
    at: Timestamp,
) -> Outcome<()> {
    append(
        state,
        &AuditRecord {
            at,
            firm: firm.clone(),
            actor: stage.to_string(),
            action,
            subject: subject.to_owned(),
        },
    )
}

/// Removes what is older than `before` from the beginning of each chain, and says so at its end. How many entries.
pub(crate) fn shorten(state: &State<'_>, before: Timestamp, now: Timestamp) -> Outcome<u64> {
    let mut removed = 0;
    for firm in firms(state)? {
        // Up to the first entry that is not too old: what comes after it stays, whatever its time says.
        let base = first(
            state,
            "SELECT number, hash FROM audit
             WHERE firm = ?1 AND number < (
                 SELECT coalesce(min(number), 1 + (SELECT max(number) FROM audit WHERE firm = ?1))
                 FROM audit WHERE firm = ?1 AND at > ?2)
             ORDER BY number DESC LIMIT 1",
            params![firm.as_str(), Millis(before)],
            |row| {
                let columns = Columns { table: TABLE, row };
                Ok(AuditHead {
                    firm: firm.clone(),
                    number: columns.count("number")?,
                    hash: columns.get("hash")?,
                })
            },
        )?;
        let Some(base) = base else { continue };
        // Said first: the chain goes on from its last entry, which may be one of those that go.
        let record = AuditRecord {
            at: now,
            firm: firm.clone(),
            actor: "retention".to_owned(),
            action: AuditAction::TrailShortened,
            subject: removal(&base),
        };
        append(state, &record)?;
        execute(
            state,
            "INSERT INTO audit_bases (firm, number, hash) VALUES (?1, ?2, ?3)
             ON CONFLICT (firm) DO UPDATE SET number = excluded.number, hash = excluded.hash",
            params![firm.as_str(), base.number as i64, base.hash],
        )?;
        removed += execute(
            state,
            "DELETE FROM audit WHERE firm = ?1 AND number <= ?2",
            params![firm.as_str(), base.number as i64],
        )? as u64;
    }
    Ok(removed)
}

/// The firms that have chains.
fn firms(state: &State<'_>) -> Outcome<Vec<FirmId>> {
    rows(
        state,
        "SELECT firm FROM audit UNION SELECT firm FROM audit_bases ORDER BY firm",
        [],
        |row| Columns { table: TABLE, row }.text("firm", FirmId::new),
    )
}

/// Puts the entries of a file of an earlier edition, which are in `audit_before`, into chains, in the order in which they were
/// recorded, and says how many there were: before this nothing would have shown a change of them.
pub(crate) fn chain_earlier(state: &State<'_>) -> Outcome<()> {
    let earlier = rows(
        state,
        "SELECT at, firm, actor, action, subject FROM audit_before ORDER BY id",
        [],
        |row| read_record(row, |_, stored| stored),
    )?;
    // Their subjects were sealed by the fifth edition.
    for record in &earlier {
        append_as_it_is(state, record)?;
    }
    if let Some(last) = earlier.iter().map(|record| record.at).max() {
        let record = AuditRecord {
            at: last,
            firm: installation(),
            actor: "migration".to_owned(),
            action: AuditAction::TrailChained,
            subject: format!("{} entries of before", earlier.len()),
        };
        append(state, &record)?;
    }
    execute(state, "DROP TABLE audit_before", []).map(|_| ())
}

fn read_record(row: &Row<'_>, subject: impl FnOnce(AuditAction, String) -> String) -> Outcome<AuditRecord> {
    let columns = Columns { table: TABLE, row };
    let action = columns.word("action")?;
    Ok(AuditRecord {
        at: columns.time("at")?,
        firm: columns.text("firm", FirmId::new)?,
        actor: columns.get("actor")?,
        action,
        subject: subject(action, columns.get("subject")?),
    })
}

/// What a stored subject says; nothing where it is not sealed, or the key is gone.
fn open(row: &Row<'_>, stored: &str) -> Option<String> {
    row.open(TABLE, "subject", AUDIT, stored).ok()
}

#[async_trait]
impl Audit for SqliteStore {
    async fn record(&self, record: &AuditRecord) -> Outcome<()> {
        self.write(|state| append(state, record))
    }

    async fn records(&self) -> Outcome<Vec<AuditRecord>> {
        self.read(|state| {
            rows(
                state,
                "SELECT at, firm, actor, action, subject FROM audit ORDER BY id",
                [],
                |row| {
                    read_record(row, |action, stored| match open(row, &stored) {
                        Some(subject) => subject,
                        // The record outlives the key: that something was read stays known, and of what does not.
                        None if action.is_about_a_record() => UNREADABLE.to_owned(),
                        None => stored,
                    })
                },
            )
        })
    }
}

#[async_trait]
impl AuditTrail for SqliteStore {
    async fn audit_chains(&self) -> Outcome<Vec<AuditChain>> {
        self.read(|state| {
            let chain = |firm: FirmId| {
                Ok(AuditChain {
                    base: head_of(state, "SELECT number, hash FROM audit_bases WHERE firm = ?1", &firm)?,
                    head: head_of(state, HEAD, &firm)?,
                })
            };
            firms(state)?.into_iter().map(chain).collect()
        })
    }

    async fn audit_entries(&self, firm: &FirmId, from: u64, limit: usize) -> Outcome<AuditPage> {
        self.read(|state| {
            let mut last = 0;
            let entries = rows(
                state,
                "SELECT id, firm, number, at, actor, action, subject, previous, hash FROM audit
                 WHERE firm = ?1 AND id >= ?2 ORDER BY id LIMIT ?3",
                params![firm.as_str(), from as i64, i64::try_from(limit).unwrap_or(i64::MAX)],
                |row| {
                    let columns = Columns { table: TABLE, row };
                    last = columns.count("id")?;
                    let subject: String = columns.get("subject")?;
                    Ok(AuditEntry {
                        firm: columns.text("firm", FirmId::new)?,
                        number: columns.count("number")?,
                        at: columns.time("at")?,
                        actor: columns.get("actor")?,
                        action: columns.get("action")?,
                        opened: open(row, &subject),
                        subject,
                        previous: columns.get("previous")?,
                        hash: columns.get("hash")?,
                    })
                },
            )?;
            Ok(AuditPage {
                next: (entries.len() >= limit).then_some(last + 1),
                entries,
            })
        })
    }

    fn audited(&self, record: AuditRecord) -> Box<dyn StateStore + '_> {
        Box::new(self.with_entry(record))
    }
}
