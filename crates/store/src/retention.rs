//! Keeping no longer than the policy says.

use async_trait::async_trait;
use rusqlite::params;
use skin_assist_core::{
    domain::FirmId,
    ports::{AuditAction, AuditRecord, Kept, Removed, Retention, RetentionLimits},
    time::Timestamp,
};

use crate::{
    Outcome, SqliteStore, audit,
    codec::{Columns, Millis},
    execute, raise_fence_floor, rows,
    sealed::{ENCOUNTER, PATIENT, State},
};

/// Results whose time has come. What an operator still has to look at stays: a draft whose photo was retracted, until they took note.
pub(crate) const OLD_RESULTS: &str = "DELETE FROM assist_results
     WHERE delivery IN ('delivered', 'withheld', 'cancelled') AND assessed_at <= ?1
         AND (retracted_at IS NULL OR acknowledged_at IS NOT NULL OR delivery = 'cancelled')
     RETURNING firm, assessment, fence";

/// Removes results, and what their photos' rows say of a patient. The rows stay: by them a photo is known, and not assessed anew when
/// its visit changes after years.
fn remove_results(state: &State<'_>, before: Timestamp, now: Timestamp) -> Outcome<u64> {
    let removed: Vec<(FirmId, String, i64)> = rows(state, OLD_RESULTS, params![Millis(before)], |row| {
        let columns = Columns {
            table: "assist_results",
            row,
        };
        Ok((
            columns.text("firm", FirmId::new)?,
            columns.get("assessment")?,
            columns.get("fence")?,
        ))
    })?;
    for (firm, assessment, fence) in &removed {
        raise_fence_floor(state, *fence)?;
        let seal = state.sealer(firm);
        execute(
            state,
            "UPDATE document_watch SET patient = ?3, practitioner = NULL, encounter = ?4, category = ''
             WHERE firm = ?1 AND assessment = ?2 AND step IN ('done', 'retracted')",
            params![
                firm.as_str(),
                assessment,
                seal.seal(PATIENT, ""),
                seal.seal(ENCOUNTER, "")
            ],
        )?;
    }
    let mut by_firm = std::collections::BTreeMap::<&FirmId, u64>::new();
    for (firm, ..) in &removed {
        *by_firm.entry(firm).or_default() += 1;
    }
    for (firm, number) in by_firm {
        let record = AuditRecord {
            at: now,
            firm: firm.clone(),
            actor: "retention".to_owned(),
            action: AuditAction::ResultsRemoved,
            subject: format!("{number} assessed until {before}"),
        };
        audit::append(state, &record)?;
    }
    Ok(removed.len() as u64)
}

fn kept(state: &State<'_>, what: &'static str, sql: &str) -> Outcome<Kept> {
    let figures = rows(state, sql, [], |row| {
        let columns = Columns { table: "kept", row };
        Ok(Kept {
            what,
            number: columns.count("number")?,
            oldest: columns.optional_time("oldest")?,
        })
    })?;
    Ok(figures.into_iter().next().unwrap_or(Kept {
        what,
        number: 0,
        oldest: None,
    }))
}

#[async_trait]
impl Retention for SqliteStore {
    async fn remove_expired(&self, limits: &RetentionLimits, now: Timestamp) -> Outcome<Removed> {
        self.write(|state| {
            let mut removed = Removed::default();
            if let Some(life) = limits.results {
                removed.results = remove_results(state, now - life, now)?;
            }
            if let Some(life) = limits.audit {
                removed.audit_entries = audit::shorten(state, now - life, now)?;
            }
            Ok(removed)
        })
    }

    async fn kept(&self) -> Outcome<Vec<Kept>> {
        self.read(|state| {
            Ok(vec![
                kept(
                    state,
                    "encounters under watch",
                    "SELECT count(*) AS number, min(first_seen_at) AS oldest FROM encounter_watch",
                )?,
                kept(
                    state,
                    "findings",
                    "SELECT count(*) AS number, min(recorded_at) AS oldest FROM findings",
                )?,
                kept(
                    state,
                    "results",
                    "SELECT count(*) AS number, min(assessed_at) AS oldest FROM assist_results",
                )?,
                kept(
                    state,
                    "dead letters",
                    "SELECT count(*) AS number, min(at) AS oldest FROM dead_letters",
                )?,
                kept(
                    state,
                    "events",
                    "SELECT count(*) AS number, min(at) AS oldest FROM events",
                )?,
                kept(
                    state,
                    "audit entries",
                    "SELECT count(*) AS number, min(at) AS oldest FROM audit",
                )?,
            ])
        })
    }
}
