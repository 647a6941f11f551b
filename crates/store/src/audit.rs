//! The audit trail. The schema refuses to change or delete a record, and the records of a firm outlive the firm. What a record is about
//! is sealed with the firm's key, unless it is what an operator did to the firm: it becomes unreadable when the firm is shredded.

use async_trait::async_trait;
use rusqlite::params;
use skin_assist_core::{
    domain::FirmId,
    ports::{Audit, AuditAction, AuditRecord},
};

use crate::{
    Outcome, SqliteStore,
    codec::{Columns, Millis, to_word},
    execute, rows,
    sealed::AUDIT,
};

/// The subject of a record whose firm was shredded.
const UNREADABLE: &str = "[shredded]";

/// Whether the subject came from the EHR. What an operator did to a firm is kept as it is, also when the firm is gone.
const fn is_sealed(action: AuditAction) -> bool {
    !matches!(action, AuditAction::FirmChanged)
}

#[async_trait]
impl Audit for SqliteStore {
    async fn record(&self, record: &AuditRecord) -> Outcome<()> {
        self.write(|state| {
            let subject = if is_sealed(record.action) {
                // What ends after its firm was shredded is recorded without what it was about.
                if state.vault.last_destroyed(record.firm.as_str()).is_none() {
                    state.vault.add(record.firm.as_str())?;
                }
                &state.sealer(&record.firm).seal(AUDIT, &record.subject)
            } else {
                &record.subject
            };
            execute(
                state,
                "INSERT INTO audit (at, firm, actor, action, subject) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    Millis(record.at),
                    record.firm.as_str(),
                    record.actor,
                    to_word(&record.action)?,
                    subject
                ],
            )?;
            Ok(())
        })
    }

    async fn records(&self) -> Outcome<Vec<AuditRecord>> {
        self.read(|state| {
            rows(
                state,
                "SELECT at, firm, actor, action, subject FROM audit ORDER BY id",
                [],
                |row| {
                    let columns = Columns { table: "audit", row };
                    let action = columns.word("action")?;
                    let subject: String = columns.get("subject")?;
                    Ok(AuditRecord {
                        at: columns.time("at")?,
                        firm: columns.text("firm", FirmId::new)?,
                        actor: columns.get("actor")?,
                        action,
                        subject: if is_sealed(action) {
                            // The record outlives the key: that something was read stays known, and of what does not.
                            row.open("audit", "subject", AUDIT, &subject)
                                .unwrap_or_else(|_| UNREADABLE.to_owned())
                        } else {
                            subject
                        },
                    })
                },
            )
        })
    }
}
