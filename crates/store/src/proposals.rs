//! Photos and results by name.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::params;
use skin_assist_core::{
    domain::{AssessmentId, AssistResult, DocumentId, DocumentStep, DocumentWatch, FirmId},
    ports::{Proposals, Proposed},
    time::Timestamp,
};

use crate::{
    Outcome, SqliteStore, acquired,
    codec::{Columns, Millis},
    deliveries::read_result,
    documents::read_watch,
    first, rows,
    sealed::{Row, State},
};

const DOCUMENTS: &str = "document_watch";
const RESULTS: &str = "assist_results";

/// How an item stands that could not be leased.
fn standing<T>(
    state: &State<'_>,
    table: &'static str,
    sql: &str,
    key: [&str; 2],
    is_of: impl Fn(&Columns<'_, '_>) -> Outcome<bool>,
    now: Timestamp,
) -> Outcome<Proposed<T>> {
    let until = first(state, sql, key, |row| {
        let columns = Columns { table, row };
        let waits = columns.get::<i64>("parked")? == 0 && is_of(&columns)?;
        Ok(columns
            .optional_time("available_at")?
            .filter(|until| waits && *until > now))
    })?;
    Ok(until.flatten().map_or(Proposed::Settled, Proposed::NotBefore))
}

fn due<T>(
    table: &'static str,
    subject: impl Fn(&Columns<'_, '_>) -> Outcome<T>,
) -> impl Fn(&Row<'_>) -> Outcome<(FirmId, T, Timestamp)> {
    move |row| {
        let columns = Columns { table, row };
        Ok((
            columns.text("firm", FirmId::new)?,
            subject(&columns)?,
            columns.time("available_at")?,
        ))
    }
}

#[async_trait]
impl Proposals for SqliteStore {
    async fn acquire_document(
        &self,
        firm: &FirmId,
        document: &DocumentId,
        step: DocumentStep,
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Proposed<DocumentWatch>> {
        let locked_until = now + lease_for;
        self.write(|state| {
            let sealed = state.sealer(firm).document(document);
            let key = [firm.as_str(), &sealed];
            let lease = acquired(
                state,
                DOCUMENTS,
                "UPDATE document_watch
                 SET waited_since = available_at, available_at = ?4, fence = fence + 1, attempt = attempt + 1
                 WHERE firm = ?1 AND document = ?2 AND step = ?5 AND available_at <= ?3 AND parked = 0
                 RETURNING *, rowid",
                params![key[0], key[1], Millis(now), Millis(locked_until), step.as_str()],
                locked_until,
                read_watch,
            )?;
            match lease.into_iter().next() {
                Some(lease) => Ok(Proposed::Leased(lease)),
                None => standing(
                    state,
                    DOCUMENTS,
                    "SELECT step, parked, available_at, gathers_until FROM document_watch WHERE firm = ?1 AND document = ?2",
                    key,
                    // One that waits for an earlier step may be under its lease, which is about to end. One that waits for further
                    // photos is proposed when it is due.
                    |columns| {
                        let waits_for = columns.get::<String>("step")?;
                        let gathers = columns.optional_time("gathers_until")? >= columns.optional_time("available_at")?;
                        Ok(match waits_for.as_str() {
                            "download" => true,
                            waits_for => waits_for == step.as_str() && !gathers,
                        })
                    },
                    now,
                ),
            }
        })
    }

    async fn acquire_result(
        &self,
        firm: &FirmId,
        assessment: &AssessmentId,
        now: Timestamp,
        lease_for: Duration,
    ) -> Outcome<Proposed<AssistResult>> {
        let locked_until = now + lease_for;
        self.write(|state| {
            let sealed = state.sealer(firm).assessment(assessment);
            let key = [firm.as_str(), &sealed];
            let lease = acquired(
                state,
                RESULTS,
                "UPDATE assist_results
                 SET waited_since = available_at, available_at = ?4, fence = fence + 1, attempt = attempt + 1
                 WHERE firm = ?1 AND assessment = ?2 AND available_at <= ?3 AND parked = 0
                 RETURNING *, rowid",
                params![key[0], key[1], Millis(now), Millis(locked_until)],
                locked_until,
                read_result,
            )?;
            match lease.into_iter().next() {
                Some(lease) => Ok(Proposed::Leased(lease)),
                None => standing(
                    state,
                    RESULTS,
                    "SELECT parked, available_at FROM assist_results WHERE firm = ?1 AND assessment = ?2",
                    key,
                    |_| Ok(true),
                    now,
                ),
            }
        })
    }

    async fn due_documents(
        &self,
        step: DocumentStep,
        now: Timestamp,
        limit: usize,
    ) -> Outcome<Vec<(FirmId, DocumentId, Timestamp)>> {
        self.read(|state| {
            rows(
                state,
                "SELECT firm, document, available_at FROM document_watch
                 WHERE step = ?1 AND available_at <= ?2 AND parked = 0 AND available_at IS NOT NULL
                 ORDER BY available_at LIMIT ?3",
                params![step.as_str(), Millis(now), i64::try_from(limit).unwrap_or(i64::MAX)],
                due(DOCUMENTS, |columns| columns.text("document", DocumentId::new)),
            )
        })
    }

    async fn due_results(&self, now: Timestamp, limit: usize) -> Outcome<Vec<(FirmId, AssessmentId, Timestamp)>> {
        self.read(|state| {
            rows(
                state,
                "SELECT firm, assessment, available_at FROM assist_results
                 WHERE available_at <= ?1 AND parked = 0 AND available_at IS NOT NULL
                 ORDER BY available_at LIMIT ?2",
                params![Millis(now), i64::try_from(limit).unwrap_or(i64::MAX)],
                due(RESULTS, |columns| columns.text("assessment", AssessmentId::new)),
            )
        })
    }
}
