//! What inferences have cost and brought: findings, stored as soon as they are paid for, and results.

use async_trait::async_trait;
use rusqlite::params;
use skin_assist_core::{
    domain::{
        AssessmentId, AssistResult, Delivery, DocumentId, DocumentWatch, EarlierDraft, Findings, FirmId, Reason,
        ResultKey, Stage,
    },
    lease::Lease,
    phi::Phi,
    ports::{AuditAction, InferenceRecords},
    time::Timestamp,
};

use crate::{
    Outcome, SqliteStore, audit,
    codec::{Columns, Millis, to_json},
    documents, execute, fence_floor, fenced, firms, first,
    sealed::{ASSESSMENT, FINDINGS, NOTE, PATIENT, PHOTO, REFERENCE, RESULT_KEY, Row, State, TOP_FINDING},
};

/// How a delivery is written down.
struct DeliveryColumns<'a> {
    delivery: &'static str,
    at: Option<Timestamp>,
    reference: Option<&'a str>,
    reason: Option<&'a Reason>,
    waits: bool,
}

impl<'a> DeliveryColumns<'a> {
    fn of(delivery: &'a Delivery) -> Self {
        let plain = |delivery, at, waits| Self {
            delivery,
            at,
            reference: None,
            reason: None,
            waits,
        };
        match delivery {
            Delivery::Pending => plain("pending", None, true),
            Delivery::Intended { at, updates } => Self {
                reference: updates.as_ref().map(|updates| updates.0.as_str()),
                ..plain("intended", Some(*at), true)
            },
            Delivery::Delivered { reference, at } => Self {
                reference: Some(&reference.0),
                ..plain("delivered", Some(*at), false)
            },
            Delivery::Uncertain { reason, at } => Self {
                reason: Some(reason),
                ..plain("uncertain", Some(*at), false)
            },
            Delivery::Withheld { reason, at } => Self {
                reason: Some(reason),
                ..plain("withheld", Some(*at), false)
            },
            Delivery::Buried { at } | Delivery::Discarded { at } => plain("buried", Some(*at), false),
        }
    }
}

/// The most probable class, for people; none when the models abstained.
fn top_finding(findings: &Findings) -> Option<&str> {
    match findings.abstention {
        Some(_) => None,
        None => findings.ranked.first().map(|class| class.label.display.as_str()),
    }
}

/// Inserts a result unless its assessment has one.
fn insert(state: &State<'_>, firm: &FirmId, result: &AssistResult) -> Outcome<()> {
    let columns = DeliveryColumns::of(&result.delivery);
    let findings = result.findings.expose();
    let seal = state.sealer(firm);
    let inserted = execute(
        state,
        "INSERT INTO assist_results (firm, assessment, delivery, delivery_at, reference, reason_code, reason_hint,
             parked, available_at, fence, result_key, assessed_at, top_finding, subject, photos, versions, findings,
             note, photo_findings)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)
         ON CONFLICT (firm, assessment) DO NOTHING",
        params![
            firm.as_str(),
            seal.assessment(&result.assessment.id),
            columns.delivery,
            columns.at.map(Millis),
            seal.optional(REFERENCE, columns.reference),
            columns.reason.map(Reason::code),
            columns.reason.map(Reason::hint),
            firms::parked(state, firm)?,
            columns.waits.then_some(Millis(result.assessed_at)),
            fence_floor(state)?,
            seal.seal(RESULT_KEY, result.key.as_str()),
            Millis(result.assessed_at),
            seal.optional(TOP_FINDING, top_finding(findings)),
            seal.seal(ASSESSMENT, &to_json(&result.assessment)?),
            seal.seal(PHOTO, &to_json(&result.photos)?),
            to_json(&result.versions)?,
            seal.seal(FINDINGS, &to_json(findings)?),
            seal.seal(NOTE, &to_json(result.note.expose())?),
            match &**result.photo_findings.expose() {
                [] => None,
                _ => Some(seal.seal(FINDINGS, &to_json(result.photo_findings.expose())?)),
            },
        ],
    )?;
    if inserted == 1 {
        let entry = (firm, AuditAction::ResultRecorded, result.assessment.id.as_str());
        audit::append_of(state, Stage::Infer, entry, result.assessed_at)?;
    }
    Ok(())
}

#[async_trait]
impl InferenceRecords for SqliteStore {
    async fn findings(&self, firm: &FirmId, key: &ResultKey) -> Outcome<Option<Phi<Findings>>> {
        self.read(|state| {
            first(
                state,
                "SELECT firm, findings FROM findings WHERE firm = ?1 AND result_key = ?2",
                [firm.as_str(), &state.sealer(firm).seal(RESULT_KEY, key.as_str())],
                |row| Columns { table: "findings", row }.json("findings").map(Phi::new),
            )
        })
    }

    async fn count_look(&self, lease: &Lease<DocumentWatch>, document: &DocumentId) -> Outcome<u32> {
        let looks = self.write(|state| {
            documents::held(state, lease)?;
            first(
                state,
                "UPDATE document_watch SET looks = looks + 1 WHERE firm = ?1 AND document = ?2 RETURNING looks",
                [
                    lease.item().firm.as_str(),
                    &state.sealer(&lease.item().firm).document(document),
                ],
                |row| {
                    Columns {
                        table: "document_watch",
                        row,
                    }
                    .count("looks")
                },
            )
        })?;
        looks.ok_or(skin_assist_core::ports::StateError::LeaseLost)
    }

    async fn record_findings(
        &self,
        lease: &Lease<DocumentWatch>,
        key: &ResultKey,
        findings: &Phi<Findings>,
        now: Timestamp,
    ) -> Outcome<()> {
        let firm = &lease.item().firm;
        let findings = to_json(findings.expose())?;
        self.write(|state| {
            documents::held(state, lease)?;
            let seal = state.sealer(firm);
            execute(
                state,
                "INSERT INTO findings (firm, result_key, recorded_at, findings) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (firm, result_key) DO UPDATE SET
                     recorded_at = excluded.recorded_at, findings = excluded.findings",
                params![
                    firm.as_str(),
                    seal.seal(RESULT_KEY, key.as_str()),
                    Millis(now),
                    seal.seal(FINDINGS, &findings)
                ],
            )?;
            Ok(())
        })
    }

    async fn record_result(&self, lease: Lease<DocumentWatch>, result: &AssistResult) -> Outcome<()> {
        let firm = &lease.item().firm;
        self.write(|state| {
            let seal = state.sealer(firm);
            let document = seal.document(&lease.item().document);
            fenced(execute(
                state,
                "UPDATE document_watch SET step = 'done', available_at = NULL, attempt = 0
                 WHERE firm = ?1 AND document = ?2 AND fence = ?3",
                params![firm.as_str(), document, lease.fence().0 as i64],
            )?)?;
            if lease.item().gathers_until.is_some() {
                execute(
                    state,
                    "UPDATE document_watch SET step = 'done', attempt = 0
                     WHERE firm = ?1 AND lead = ?2 AND encounter = ?3 AND step = 'gathered'",
                    [firm.as_str(), &document, &seal.encounter(&lease.item().encounter)],
                )?;
            }
            insert(state, firm, result)
        })
    }

    async fn earlier_draft(&self, firm: &FirmId, assessment: &AssessmentId) -> Outcome<Option<EarlierDraft>> {
        self.read(|state| {
            first(
                state,
                "SELECT firm, assessment, assessed_at FROM assist_results
                 WHERE firm = ?1 AND assessment = ?2
                     AND delivery IN ('pending', 'intended', 'delivered', 'uncertain') AND NOT retracted",
                [firm.as_str(), &state.sealer(firm).assessment(assessment)],
                read_earlier,
            )
        })
    }

    async fn draft_before(&self, watch: &DocumentWatch) -> Outcome<Option<EarlierDraft>> {
        self.read(|state| {
            let seal = state.sealer(&watch.firm);
            first(
                state,
                "SELECT r.firm, r.assessment, r.assessed_at
                 FROM document_watch d JOIN assist_results r ON r.firm = d.firm AND r.assessment = d.assessment
                 WHERE d.firm = ?1 AND d.encounter = ?2 AND d.category = ?3 AND d.route = ?4 AND d.patient = ?5
                     AND d.gathers_until IS NULL AND r.assessment <> ?6 AND r.assessed_at < ?7
                     AND r.delivery IN ('pending', 'intended', 'delivered', 'uncertain') AND NOT r.retracted
                 ORDER BY r.assessed_at DESC, r.assessment DESC LIMIT 1",
                params![
                    watch.firm.as_str(),
                    seal.encounter(&watch.encounter),
                    watch.category.as_str(),
                    watch.route.as_str(),
                    seal.seal(PATIENT, watch.patient.as_str()),
                    seal.assessment(&watch.assessment),
                    Millis(watch.detected_at)
                ],
                read_earlier,
            )
        })
    }
}

fn read_earlier(row: &Row<'_>) -> Outcome<EarlierDraft> {
    let columns = Columns {
        table: "assist_results",
        row,
    };
    Ok(EarlierDraft {
        assessment: columns.text("assessment", AssessmentId::new)?,
        date: columns.time("assessed_at")?,
    })
}
