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
    deliveries::has_letter,
    execute, firms, raise_fence_floor, rows,
    sealed::{ENCOUNTER, PATIENT, State},
};

/// Results whose time has come. What an operator still has to look at stays: a draft whose photo was retracted, until they took note.
pub(crate) const OLD_RESULTS: &str = "DELETE FROM assist_results
     WHERE delivery IN ('delivered', 'withheld', 'cancelled') AND assessed_at <= ?1
         AND (retracted_at IS NULL OR acknowledged_at IS NOT NULL OR delivery = 'cancelled')
     RETURNING firm, assessment, fence";

/// The same, of those that an operator discarded. By firm: for so few no index of their own is kept.
pub(crate) const OLD_DISCARDED: &str = concat!(
    "DELETE FROM assist_results
     WHERE firm IN (SELECT firm FROM firms) AND delivery = 'buried' AND assessed_at <= ?1 AND NOT ",
    has_letter!("assist_results"),
    " RETURNING firm, assessment, fence"
);

/// An entry of what was removed of a firm.
fn entry(firm: &FirmId, subject: String, now: Timestamp) -> AuditRecord {
    AuditRecord {
        at: now,
        firm: firm.clone(),
        actor: "retention".to_owned(),
        action: AuditAction::ResultsRemoved,
        subject,
    }
}

/// Removes results, and what their photos' rows say of a patient. The rows stay: by them a photo is known, and not assessed anew when
/// its visit changes after years.
fn remove_results(state: &State<'_>, before: Timestamp, now: Timestamp) -> Outcome<u64> {
    let mut removed: Vec<(FirmId, String, i64)> = Vec::new();
    for old in [OLD_RESULTS, OLD_DISCARDED] {
        removed.extend(rows(state, old, params![Millis(before)], |row| {
            let columns = Columns {
                table: "assist_results",
                row,
            };
            Ok((
                columns.text("firm", FirmId::new)?,
                columns.get("assessment")?,
                columns.get("fence")?,
            ))
        })?);
    }
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
        audit::append(state, &entry(firm, format!("{number} assessed until {before}"), now))?;
    }
    Ok(removed.len() as u64)
}

/// Removes what the rows of photos say of patients that were retracted before they had a result. The rows stay, as those of other photos do.
/// How many photos.
fn blank_retracted(state: &State<'_>, before: Timestamp, now: Timestamp) -> Outcome<u64> {
    let mut all = 0;
    for firm in firms::all_firms(state)? {
        let seal = state.sealer(&firm.id);
        let blanked = execute(
            state,
            "UPDATE document_watch SET patient = ?3, practitioner = NULL, encounter = ?4, category = ''
             WHERE firm = ?1 AND step = 'retracted' AND detected_at <= ?2 AND patient <> ?3
                 AND NOT EXISTS (SELECT 1 FROM assist_results AS r
                     WHERE r.firm = document_watch.firm AND r.assessment = document_watch.assessment)",
            params![
                firm.id.as_str(),
                Millis(before),
                seal.seal(PATIENT, ""),
                seal.seal(ENCOUNTER, "")
            ],
        )?;
        if blanked > 0 {
            let subject = format!("{blanked} retracted photos without a result, found until {before}");
            audit::append(state, &entry(&firm.id, subject, now))?;
            all += blanked as u64;
        }
    }
    Ok(all)
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
                removed.photos = blank_retracted(state, now - life, now)?;
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
                    "encounters",
                    "SELECT count(*) AS number, min(first_seen_at) AS oldest FROM encounter_watch",
                )?,
                kept(
                    state,
                    "photos",
                    "SELECT count(*) AS number, min(detected_at) AS oldest FROM document_watch",
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
