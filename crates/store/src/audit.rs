//! The audit trail. The schema refuses to change or delete a record, and the records of a firm outlive the firm.

use async_trait::async_trait;
use rusqlite::params;
use skin_assist_core::{
    domain::FirmId,
    ports::{Audit, AuditRecord},
};

use crate::{
    Outcome, SqliteStore,
    codec::{Columns, Millis, to_word},
    execute, rows,
};

#[async_trait]
impl Audit for SqliteStore {
    async fn record(&self, record: &AuditRecord) -> Outcome<()> {
        self.write(|state| {
            execute(
                state,
                "INSERT INTO audit (at, firm, actor, action, subject) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    Millis(record.at),
                    record.firm.as_str(),
                    record.actor,
                    to_word(&record.action)?,
                    record.subject
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
                    Ok(AuditRecord {
                        at: columns.time("at")?,
                        firm: columns.text("firm", FirmId::new)?,
                        actor: columns.get("actor")?,
                        action: columns.word("action")?,
                        subject: columns.get("subject")?,
                    })
                },
            )
        })
    }
}
