//! Results on their way into the chart, and the journal of the one write that cannot be taken back.

use std::{convert::identity, time::Duration};

use async_trait::async_trait;
use rusqlite::params;
use skin_assist_core::{
    domain::{
        Assessment, AssessmentId, AssistResult, ChartEventKind, Delivery, DraftReference, FirmId, Reason,
        ResourceReference, Stage,
    },
    lease::Lease,
    phi::Phi,
    ports::{AuditAction, Deliveries, StateError},
    time::Timestamp,
};

use crate::{
    Outcome, SqliteStore, acquired, assessments, audit,
    codec::{Columns, Millis, damaged},
    events, execute, fenced, firms, first, number,
    sealed::{REFERENCE, Row, State},
};

const TABLE: &str = "assist_results";

/// One statement over one index: the head of `result_due`, which holds only rows that wait and whose firm is served.
pub(crate) const ACQUIRE: &str = "UPDATE assist_results
     SET waited_since = available_at, available_at = ?2, fence = fence + 1, attempt = attempt + 1
     WHERE rowid IN (
         SELECT rowid FROM assist_results
         WHERE available_at <= ?1 AND parked = 0 AND available_at IS NOT NULL
         ORDER BY available_at LIMIT ?3)
     RETURNING *, rowid";

/// Whether a result has a dead letter. One that was given up has; without one it was discarded by an operator.
macro_rules! has_letter {
    ($results:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM dead_letters AS l WHERE l.firm = ",
            $results,
            ".firm AND l.kind = 'result' AND l.subject = ",
            $results,
            ".assessment)"
        )
    };
}
pub(crate) use has_letter;

/// Results, with what tells those that were discarded.
macro_rules! results_where {
    ($chosen:literal) => {
        concat!(
            "SELECT *, delivery = 'buried' AND ",
            $crate::deliveries::has_letter!("assist_results"),
            " AS has_letter FROM assist_results WHERE ",
            $chosen
        )
    };
}
pub(crate) use results_where;

pub(crate) fn read_result(row: &Row<'_>) -> Outcome<AssistResult> {
    let columns = Columns { table: TABLE, row };
    Ok(AssistResult {
        assessment: columns.json("subject")?,
        key: serde_json::from_value(columns.text("result_key", identity)?.into())
            .map_err(|_| damaged(TABLE, "result_key"))?,
        photos: columns.json("photos")?,
        findings: Phi::new(columns.json("findings")?),
        photo_findings: Phi::new(columns.optional_json("photo_findings")?.unwrap_or_default()),
        note: Phi::new(columns.json("note")?),
        versions: columns.json("versions")?,
        assessed_at: columns.time("assessed_at")?,
        delivery: read_delivery(&columns)?,
    })
}

fn read_delivery(columns: &Columns<'_, '_>) -> Outcome<Delivery> {
    let at = || columns.time("delivery_at");
    Ok(match columns.get::<String>("delivery")?.as_str() {
        "pending" => Delivery::Pending,
        "intended" => Delivery::Intended {
            at: at()?,
            updates: columns.optional_text("reference", DraftReference)?,
        },
        "delivered" => Delivery::Delivered {
            reference: columns.text("reference", DraftReference)?,
            at: at()?,
        },
        "uncertain" => Delivery::Uncertain {
            reason: columns.reason("reason_code", "reason_hint")?,
            at: at()?,
        },
        "withheld" => Delivery::Withheld {
            reason: columns.reason("reason_code", "reason_hint")?,
            at: at()?,
        },
        "buried" if columns.get("has_letter")? => Delivery::Buried { at: at()? },
        "buried" => Delivery::Discarded { at: at()? },
        _ => return Err(damaged(TABLE, "delivery")),
    })
}

/// Where the result was cancelled, its other photos are judged anew.
pub(crate) fn open_if_cancelled(state: &State<'_>, assessment: &Assessment, now: Timestamp) -> Outcome<()> {
    let cancelled = number(
        state,
        "SELECT count(*) FROM assist_results WHERE firm = ?1 AND assessment = ?2 AND delivery = 'cancelled'",
        [
            assessment.firm.as_str(),
            &state.sealer(&assessment.firm).assessment(&assessment.id),
        ],
    )?;
    if cancelled == 1 {
        assessments::cancelled(state, assessment, now)?;
    }
    Ok(())
}

impl SqliteStore {
    /// Records the intent to post, or to change the version `updates` of an earlier draft.
    fn intend(
        &self,
        lease: &Lease<AssistResult>,
        updates: Option<&DraftReference>,
        unsettled: Option<&Reason>,
        now: Timestamp,
    ) -> Outcome<()> {
        let assessment = &lease.item().assessment;
        let retracted = self.write(|state| {
            if firms::forbids_drafts(state, &assessment.firm)? {
                return Err(StateError::DraftsNotPermitted);
            }
            let seal = state.sealer(&assessment.firm);
            // Who wants to post knows that the EHR does not have the draft, unless an earlier post is unsettled: one whose
            // photo was retracted meanwhile is cancelled now, and the lease with it.
            let retracted = first(
                state,
                "UPDATE assist_results
                 SET delivery = CASE WHEN NOT retracted THEN 'intended' WHEN ?5 IS NULL THEN 'cancelled'
                         ELSE 'uncertain' END,
                     delivery_at = ?4, reason_code = iif(retracted, ?5, NULL), reason_hint = iif(retracted, ?6, NULL),
                     available_at = iif(retracted, NULL, available_at), fence = fence + retracted,
                     reference = iif(retracted, NULL, ?7)
                 WHERE firm = ?1 AND assessment = ?2 AND fence = ?3
                 RETURNING retracted",
                params![
                    assessment.firm.as_str(),
                    seal.assessment(&assessment.id),
                    lease.fence().0 as i64,
                    Millis(now),
                    unsettled.map(Reason::code),
                    unsettled.map(Reason::hint),
                    seal.optional(REFERENCE, updates.map(|updates| updates.0.as_str()))
                ],
                |row| Columns { table: TABLE, row }.get::<bool>("retracted"),
            )?;
            let retracted = retracted.ok_or(StateError::LeaseLost)?;
            if retracted && unsettled.is_none() {
                assessments::cancelled(state, assessment, now)?;
            } else if retracted {
                events::append_of_draft(state, assessment, ChartEventKind::DraftUncertain, None, now)?;
            }
            Ok(retracted)
        })?;
        if retracted { Err(StateError::LeaseLost) } else { Ok(()) }
    }

    /// Ends a lease on a result in `delivery`, which waits for nobody.
    fn end_delivery(
        &self,
        lease: &Lease<AssistResult>,
        delivery: &'static str,
        reference: Option<&DraftReference>,
        reason: Option<&Reason>,
        now: Timestamp,
    ) -> Outcome<()> {
        let assessment = &lease.item().assessment;
        let told = match delivery {
            "delivered" => Some((AuditAction::DraftWritten, ChartEventKind::DraftDelivered)),
            "uncertain" => Some((AuditAction::DraftUncertain, ChartEventKind::DraftUncertain)),
            _ => None,
        };
        self.write(|state| {
            fenced(execute(
                state,
                "UPDATE assist_results SET delivery = ?4, delivery_at = ?5, reference = ?6, reason_code = ?7,
                     reason_hint = ?8, available_at = NULL
                 WHERE firm = ?1 AND assessment = ?2 AND fence = ?3",
                params![
                    assessment.firm.as_str(),
                    state.sealer(&assessment.firm).assessment(&assessment.id),
                    lease.fence().0 as i64,
                    delivery,
                    Millis(now),
                    state
                        .sealer(&assessment.firm)
                        .optional(REFERENCE, reference.map(|reference| reference.0.as_str())),
                    reason.map(Reason::code),
                    reason.map(Reason::hint)
                ],
            )?)?;
            match told {
                Some((action, kind)) => {
                    let entry = (&assessment.firm, action, assessment.id.as_str());
                    audit::append_of(state, Stage::WriteBack, entry, now)?;
                    events::append_of_draft(state, assessment, kind, reference.map(ResourceReference::draft), now)
                }
                None => Ok(()),
            }
        })
    }
}

#[async_trait]
impl Deliveries for SqliteStore {
    async fn acquire_results(
        &self,
        now: Timestamp,
        lease_for: Duration,
        limit: usize,
    ) -> Outcome<Vec<Lease<AssistResult>>> {
        let locked_until = now + lease_for;
        self.write(|state| {
            acquired(
                state,
                TABLE,
                ACQUIRE,
                params![
                    Millis(now),
                    Millis(locked_until),
                    i64::try_from(limit).unwrap_or(i64::MAX)
                ],
                locked_until,
                read_result,
            )
        })
    }

    async fn record_intent(
        &self,
        lease: &Lease<AssistResult>,
        unsettled: Option<&Reason>,
        now: Timestamp,
    ) -> Outcome<()> {
        self.intend(lease, None, unsettled, now)
    }

    async fn record_update_intent(
        &self,
        lease: &Lease<AssistResult>,
        updates: &DraftReference,
        now: Timestamp,
    ) -> Outcome<()> {
        self.intend(lease, Some(updates), None, now)
    }

    async fn delivery_of(&self, firm: &FirmId, assessment: &AssessmentId) -> Outcome<Option<Delivery>> {
        self.read(|state| {
            first(
                state,
                results_where!("firm = ?1 AND assessment = ?2 AND delivery <> 'cancelled' AND NOT retracted"),
                [firm.as_str(), &state.sealer(firm).assessment(assessment)],
                |row| read_delivery(&Columns { table: TABLE, row }),
            )
        })
    }

    async fn record_delivered(
        &self,
        lease: Lease<AssistResult>,
        reference: &DraftReference,
        now: Timestamp,
    ) -> Outcome<()> {
        self.end_delivery(&lease, "delivered", Some(reference), None, now)
    }

    async fn record_uncertain(&self, lease: Lease<AssistResult>, reason: &Reason, now: Timestamp) -> Outcome<()> {
        self.end_delivery(&lease, "uncertain", None, Some(reason), now)
    }

    async fn record_withheld(&self, lease: Lease<AssistResult>, reason: &Reason, now: Timestamp) -> Outcome<()> {
        self.end_delivery(&lease, "withheld", None, Some(reason), now)
    }

    async fn retry_delivery(&self, lease: Lease<AssistResult>, retry_at: Timestamp) -> Outcome<()> {
        let assessment = &lease.item().assessment;
        self.write(|state| {
            fenced(execute(
                state,
                "UPDATE assist_results SET delivery = iif(retracted, 'cancelled', 'pending'), delivery_at = NULL,
                     reference = NULL, available_at = iif(retracted, NULL, ?4)
                 WHERE firm = ?1 AND assessment = ?2 AND fence = ?3",
                params![
                    assessment.firm.as_str(),
                    state.sealer(&assessment.firm).assessment(&assessment.id),
                    lease.fence().0 as i64,
                    Millis(retry_at)
                ],
            )?)?;
            open_if_cancelled(state, assessment, retry_at)
        })
    }

    async fn retry_search(&self, lease: Lease<AssistResult>, retry_at: Timestamp) -> Outcome<()> {
        let assessment = &lease.item().assessment;
        self.write(|state| {
            fenced(execute(
                state,
                "UPDATE assist_results SET available_at = ?4 WHERE firm = ?1 AND assessment = ?2 AND fence = ?3",
                params![
                    assessment.firm.as_str(),
                    state.sealer(&assessment.firm).assessment(&assessment.id),
                    lease.fence().0 as i64,
                    Millis(retry_at)
                ],
            )?)
        })
    }

    async fn release_delivery(&self, lease: Lease<AssistResult>, due_at: Timestamp) -> Outcome<()> {
        let assessment = &lease.item().assessment;
        self.write(|state| {
            fenced(execute(
                state,
                "UPDATE assist_results SET available_at = ?4, attempt = max(attempt - 1, 0)
                 WHERE firm = ?1 AND assessment = ?2 AND fence = ?3",
                params![
                    assessment.firm.as_str(),
                    state.sealer(&assessment.firm).assessment(&assessment.id),
                    lease.fence().0 as i64,
                    Millis(due_at)
                ],
            )?)
        })
    }

    async fn bury_delivery(&self, lease: Lease<AssistResult>, reason: &Reason, now: Timestamp) -> Outcome<()> {
        let assessment = &lease.item().assessment;
        self.write(|state| {
            let sealed = state.sealer(&assessment.firm).assessment(&assessment.id);
            let key = params![assessment.firm.as_str(), sealed, lease.fence().0 as i64, Millis(now)];
            // A draft whose photo was retracted meanwhile is not worth a letter: it is cancelled.
            fenced(execute(
                state,
                "UPDATE assist_results SET delivery = iif(retracted, 'cancelled', 'buried'), delivery_at = ?4,
                     available_at = NULL
                 WHERE firm = ?1 AND assessment = ?2 AND fence = ?3",
                key,
            )?)?;
            let buried = execute(
                state,
                "INSERT INTO dead_letters (firm, kind, subject, stage, reason_code, reason_hint, attempts, at)
                 SELECT firm, 'result', assessment, 'write-back', ?3, ?4, ?5, ?6 FROM assist_results
                 WHERE firm = ?1 AND assessment = ?2 AND delivery = 'buried'",
                params![
                    assessment.firm.as_str(),
                    sealed,
                    reason.code(),
                    reason.hint(),
                    lease.attempt(),
                    Millis(now)
                ],
            )?;
            if buried > 0 {
                events::append_of_draft(state, assessment, ChartEventKind::GivenUp, None, now)?;
            }
            open_if_cancelled(state, assessment, now)
        })
    }
}
