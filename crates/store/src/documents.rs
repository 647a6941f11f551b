//! Photos on their way, until they have a result or are given up.

use std::{convert::identity, time::Duration};

use async_trait::async_trait;
use rusqlite::params;
use skin_assist_core::{
    domain::{
        AssessmentId, CategoryCode, ChartEventKind, ClosedAssessment, DocumentId, DocumentStep, DocumentWatch,
        DraftReference, EncounterId, FirmId, PatientId, PhotoDigest, PractitionerId, Reason, ReferenceCode,
        ResourceReference, Sibling, Stage, StoredPhoto,
    },
    lease::Lease,
    ports::{AuditAction, DocumentQueue, RecordedDocuments, RetractedDraft},
    time::Timestamp,
};

use crate::{
    Outcome, SqliteStore, acquired, assessments, audit,
    codec::{Columns, Millis, damaged},
    deliveries::has_letter,
    events, execute, fence_floor, fenced, firms, first, number,
    sealed::{PATIENT, PHOTO, Row, Sealer, State},
};

const TABLE: &str = "document_watch";

/// One statement over one index: the head of `document_due`, which holds only rows that wait and whose firm is served.
pub(crate) const ACQUIRE: &str = "UPDATE document_watch
     SET waited_since = available_at, available_at = ?3, fence = fence + 1, attempt = attempt + 1
     WHERE rowid IN (
         SELECT rowid FROM document_watch
         WHERE step = ?1 AND available_at <= ?2 AND parked = 0 AND available_at IS NOT NULL
         ORDER BY available_at LIMIT ?4)
     RETURNING *, rowid";

pub(crate) fn read_watch(row: &Row<'_>) -> Outcome<DocumentWatch> {
    let columns = Columns { table: TABLE, row };
    let photo = match columns.optional_text("photo_digest", identity)? {
        Some(digest) => Some(StoredPhoto {
            digest: serde_json::from_value::<PhotoDigest>(digest.into()).map_err(|_| damaged(TABLE, "photo_digest"))?,
            bytes: columns.count("photo_bytes")?,
            downloaded_at: columns.time("downloaded_at")?,
        }),
        None => None,
    };
    Ok(DocumentWatch {
        firm: columns.text("firm", FirmId::new)?,
        document: columns.text("document", DocumentId::new)?,
        encounter: columns.text("encounter", EncounterId::new)?,
        patient: columns.text("patient", PatientId::new)?,
        practitioner: columns.optional_text("practitioner", PractitionerId::new)?,
        category: columns.text("category", CategoryCode::new)?,
        route: columns.word("route")?,
        assessment: columns.text("assessment", AssessmentId::new)?,
        attached_at: columns.optional_time("attached_at")?,
        detected_at: columns.time("detected_at")?,
        gathers_until: columns.optional_time("gathers_until")?,
        closed: columns.optional_json("closed")?,
        photo,
    })
}

/// What looks at a firm's encounters found, on its way into the state.
pub(crate) struct Arrivals<'a> {
    state: &'a State<'a>,
    firm: &'a FirmId,
    seal: Sealer,
    parked: bool,
    fence: i64,
    now: Timestamp,
}

impl<'a> Arrivals<'a> {
    /// At `now`. [`StateError::NotFound`](skin_assist_core::ports::StateError::NotFound) when there is no such firm.
    pub(crate) fn at(state: &'a State<'a>, firm: &'a FirmId, now: Timestamp) -> Outcome<Self> {
        Ok(Self {
            state,
            firm,
            seal: state.sealer(firm),
            parked: firms::parked(state, firm)?,
            fence: fence_floor(state)?,
            now,
        })
    }

    /// Records what a look at an encounter showed: what is known already is left as it is, and what was retracted and not
    /// delivered is cancelled.
    pub(crate) fn record(
        &self,
        found: &[DocumentWatch],
        retracted: &[DocumentId],
        recorded: &mut RecordedDocuments,
    ) -> Outcome<()> {
        for watch in found {
            if insert(self, watch)? {
                let photo = ResourceReference::document(&watch.document);
                let encounter = ResourceReference::encounter(&watch.encounter);
                let kind = ChartEventKind::PhotoDetected;
                events::append(self.state, self.firm, kind, &photo, &[encounter], self.now)?;
                recorded.new.push(watch.document.clone());
            }
        }
        for document in retracted {
            let Some(draft) = retract(self.state, self.firm, document, self.now)? else {
                continue;
            };
            let entry = (
                self.firm,
                AuditAction::RetractedAfterDelivery,
                draft.assessment.as_str(),
            );
            audit::append_of(self.state, Stage::PollDocuments, entry, self.now)?;
            recorded.retracted.push(draft);
        }
        Ok(())
    }
}

/// Refuses a lease that was lost.
pub(crate) fn held(state: &State<'_>, lease: &Lease<DocumentWatch>) -> Outcome<()> {
    fenced(number(
        state,
        "SELECT count(*) FROM document_watch WHERE firm = ?1 AND document = ?2 AND fence = ?3",
        params![
            lease.item().firm.as_str(),
            state.sealer(&lease.item().firm).document(&lease.item().document),
            lease.fence().0 as i64
        ],
    )? as usize)
}

/// Inserts a document that is due at once, unless it is known. Whether it was new.
fn insert(arrivals: &Arrivals<'_>, watch: &DocumentWatch) -> Outcome<bool> {
    let photo = watch.photo.as_ref();
    let seal = &arrivals.seal;
    let step = if photo.is_some() {
        DocumentStep::Infer
    } else {
        DocumentStep::Download
    };
    let inserted = execute(
        arrivals.state,
        "INSERT INTO document_watch (firm, document, step, parked, available_at, fence, encounter, patient,
             practitioner, category, route, assessment, attached_at, detected_at, photo_digest, photo_bytes,
             downloaded_at, gathers_until)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
         ON CONFLICT (firm, document) DO NOTHING",
        params![
            arrivals.firm.as_str(),
            seal.document(&watch.document),
            step.as_str(),
            arrivals.parked,
            Millis(arrivals.now),
            arrivals.fence,
            seal.encounter(&watch.encounter),
            seal.seal(PATIENT, watch.patient.as_str()),
            seal.practitioner(watch.practitioner.as_ref()),
            watch.category.as_str(),
            watch.route.as_str(),
            seal.assessment(&watch.assessment),
            watch.attached_at.map(Millis),
            Millis(watch.detected_at),
            photo.map(|photo| seal.seal(PHOTO, photo.digest.as_str())),
            photo.map(|photo| photo.bytes as i64),
            photo.map(|photo| Millis(photo.downloaded_at)),
            watch.gathers_until.map(Millis),
        ],
    )?;
    Ok(inserted == 1)
}

/// Cancels what has not been delivered of a document that was retracted in the EHR: whoever holds a lease on it loses
/// it, and its dead letter, if it has one, is no longer to be replayed.
///
/// A result whose post may be under way (intended, uncertain) is not touched, but marked: if it turns out that the EHR
/// does not have the draft, it is cancelled instead of posted again. Such a result and a delivered one are given back, once:
/// the clinic has to know. Subscribers are told, once for each photo that they were told of.
fn retract(state: &State<'_>, firm: &FirmId, document: &DocumentId, now: Timestamp) -> Outcome<Option<RetractedDraft>> {
    let sealed = state.sealer(firm).document(document);
    // The assessment as it is sealed: it is only compared.
    let known = first(
        state,
        "SELECT firm, step, withdrawn, encounter, assessment FROM document_watch WHERE firm = ?1 AND document = ?2",
        [firm.as_str(), &sealed],
        |row| {
            let columns = Columns { table: TABLE, row };
            let encounter = columns.text("encounter", EncounterId::new)?;
            let (step, assessment) = (columns.get::<String>("step")?, columns.get::<String>("assessment")?);
            Ok((step, columns.get::<bool>("withdrawn")?, encounter, assessment))
        },
    )?;
    let Some((step, withdrawn, encounter, assessment)) = known else {
        return Ok(None);
    };
    let is_news = step != "retracted" && !withdrawn;
    let mut context = vec![ResourceReference::encounter(&encounter)];
    let cancelled = execute(
        state,
        // What an operator discarded stays so: that holds for its other photos, too.
        concat!(
            "UPDATE assist_results SET delivery = 'cancelled', delivery_at = ?3, retracted = 1, available_at = NULL,
                 fence = fence + 1
             WHERE firm = ?1 AND assessment = ?2 AND (delivery IN ('pending', 'withheld') OR delivery = 'buried' AND ",
            has_letter!("assist_results"),
            ")"
        ),
        params![firm.as_str(), assessment, Millis(now)],
    )?;
    let posted = first(
        state,
        "UPDATE assist_results SET retracted = 1, retracted_document = ?3, retracted_at = ?4
         WHERE firm = ?1 AND assessment = ?2 AND delivery IN ('intended', 'uncertain', 'delivered')
             AND retracted_at IS NULL
         RETURNING firm, assessment, reference, retracted_document, retracted_at",
        params![firm.as_str(), assessment, sealed, Millis(now)],
        read_retracted,
    )?;
    if step != "done" || cancelled == 1 {
        // Those that were judged with it are judged anew, without it.
        assessments::leave(state, firm, document, now)?;
        execute(
            state,
            "UPDATE document_watch SET step = 'retracted', available_at = NULL, fence = fence + 1
             WHERE firm = ?1 AND document = ?2 AND step <> 'retracted'",
            [firm.as_str(), &sealed],
        )?;
        for (kind, subject) in [("document", sealed.as_str()), ("result", assessment.as_str())] {
            execute(
                state,
                "DELETE FROM dead_letters WHERE firm = ?1 AND kind = ?2 AND subject = ?3",
                [firm.as_str(), kind, subject],
            )?;
        }
    } else {
        // Its draft may turn out not to be in the chart: then it is not judged anew with the others.
        execute(
            state,
            "UPDATE document_watch SET withdrawn = 1 WHERE firm = ?1 AND document = ?2 AND NOT withdrawn",
            [firm.as_str(), &sealed],
        )?;
        context.extend(draft_of(state, firm, &assessment)?);
    }
    if is_news {
        let photo = ResourceReference::document(document);
        events::append(state, firm, ChartEventKind::PhotoRetracted, &photo, &context, now)?;
    }
    Ok(posted)
}

/// The draft of an assessment, by its sealed id, where it is in the chart.
fn draft_of(state: &State<'_>, firm: &FirmId, assessment: &str) -> Outcome<Option<ResourceReference>> {
    let draft = first(
        state,
        "SELECT firm, reference FROM assist_results WHERE firm = ?1 AND assessment = ?2 AND delivery = 'delivered'",
        [firm.as_str(), assessment],
        |row| {
            let columns = Columns {
                table: "assist_results",
                row,
            };
            columns.optional_text("reference", DraftReference)
        },
    )?;
    Ok(draft.flatten().as_ref().map(ResourceReference::draft))
}

/// A posted draft whose photo was retracted.
pub(crate) fn read_retracted(row: &Row<'_>) -> Outcome<RetractedDraft> {
    let columns = Columns {
        table: "assist_results",
        row,
    };
    let firm = columns.text("firm", FirmId::new)?;
    let assessment = columns.text("assessment", AssessmentId::new)?;
    Ok(RetractedDraft {
        document: columns.text("retracted_document", DocumentId::new)?,
        reference_code: ReferenceCode::of(&firm, &assessment),
        reference: columns.optional_text("reference", DraftReference)?,
        noticed_at: columns.time("retracted_at")?,
        firm,
        assessment,
    })
}

#[async_trait]
impl DocumentQueue for SqliteStore {
    async fn acquire_documents(
        &self,
        step: DocumentStep,
        now: Timestamp,
        lease_for: Duration,
        limit: usize,
    ) -> Outcome<Vec<Lease<DocumentWatch>>> {
        let locked_until = now + lease_for;
        self.write(|state| {
            acquired(
                state,
                TABLE,
                ACQUIRE,
                params![
                    step.as_str(),
                    Millis(now),
                    Millis(locked_until),
                    i64::try_from(limit).unwrap_or(i64::MAX)
                ],
                locked_until,
                read_watch,
            )
        })
    }

    async fn record_photo(&self, lease: Lease<DocumentWatch>, photo: &StoredPhoto) -> Outcome<()> {
        self.write(|state| {
            let seal = state.sealer(&lease.item().firm);
            fenced(execute(
                state,
                "UPDATE document_watch SET step = 'infer', photo_digest = ?4, photo_bytes = ?5, downloaded_at = ?6,
                     available_at = max(?6, coalesce(gathers_until, 0)), attempt = 0
                 WHERE firm = ?1 AND document = ?2 AND fence = ?3",
                params![
                    lease.item().firm.as_str(),
                    seal.document(&lease.item().document),
                    lease.fence().0 as i64,
                    seal.seal(PHOTO, photo.digest.as_str()),
                    photo.bytes as i64,
                    Millis(photo.downloaded_at)
                ],
            )?)
        })
    }

    async fn record_photo_lost(&self, lease: Lease<DocumentWatch>, lost: &[DocumentId], now: Timestamp) -> Outcome<()> {
        let watch = lease.item();
        self.write(|state| {
            held(state, &lease)?;
            assessments::open_again(state, &watch.firm, &watch.document, now)?;
            let seal = state.sealer(&watch.firm);
            for document in lost {
                execute(
                    state,
                    "UPDATE document_watch SET step = 'download', photo_digest = NULL, photo_bytes = NULL,
                         downloaded_at = NULL, available_at = ?3
                     WHERE firm = ?1 AND document = ?2 AND step IN ('download', 'infer')",
                    params![watch.firm.as_str(), seal.document(document), Millis(now)],
                )?;
            }
            Ok(())
        })
    }

    async fn siblings(&self, watch: &DocumentWatch) -> Outcome<Vec<Sibling>> {
        self.read(|state| assessments::siblings(state, watch))
    }

    async fn close_assessment(&self, lease: &Lease<DocumentWatch>, closed: &ClosedAssessment) -> Outcome<bool> {
        self.write_if(|state| {
            held(state, lease)?;
            assessments::close(state, lease.item(), closed)
        })
    }

    async fn retry_document(&self, lease: Lease<DocumentWatch>, retry_at: Timestamp) -> Outcome<()> {
        self.write(|state| {
            fenced(execute(
                state,
                "UPDATE document_watch SET available_at = ?4 WHERE firm = ?1 AND document = ?2 AND fence = ?3",
                params![
                    lease.item().firm.as_str(),
                    state.sealer(&lease.item().firm).document(&lease.item().document),
                    lease.fence().0 as i64,
                    Millis(retry_at)
                ],
            )?)
        })
    }

    async fn release_document(&self, lease: Lease<DocumentWatch>, due_at: Timestamp) -> Outcome<()> {
        self.write(|state| {
            fenced(execute(
                state,
                "UPDATE document_watch SET available_at = ?4, attempt = max(attempt - 1, 0)
                 WHERE firm = ?1 AND document = ?2 AND fence = ?3",
                params![
                    lease.item().firm.as_str(),
                    state.sealer(&lease.item().firm).document(&lease.item().document),
                    lease.fence().0 as i64,
                    Millis(due_at)
                ],
            )?)
        })
    }

    async fn bury_document(
        &self,
        lease: Lease<DocumentWatch>,
        stage: Stage,
        reason: &Reason,
        now: Timestamp,
    ) -> Outcome<()> {
        self.write(|state| {
            let firm = lease.item().firm.as_str();
            let document = &*state.sealer(&lease.item().firm).document(&lease.item().document);
            // The letter first: it takes the step along.
            fenced(execute(
                state,
                "INSERT INTO dead_letters (firm, kind, subject, step, stage, reason_code, reason_hint, attempts, at)
                 SELECT firm, 'document', document, step, ?4, ?5, ?6, ?7, ?8 FROM document_watch
                 WHERE firm = ?1 AND document = ?2 AND fence = ?3",
                params![
                    firm,
                    document,
                    lease.fence().0 as i64,
                    stage.as_str(),
                    reason.code(),
                    reason.hint(),
                    lease.attempt(),
                    Millis(now)
                ],
            )?)?;
            fenced(execute(
                state,
                "UPDATE document_watch SET step = 'dead', available_at = NULL WHERE firm = ?1 AND document = ?2",
                [firm, document],
            )?)?;
            let photo = ResourceReference::document(&lease.item().document);
            let encounter = ResourceReference::encounter(&lease.item().encounter);
            let kind = ChartEventKind::GivenUp;
            events::append(state, &lease.item().firm, kind, &photo, &[encounter], now)?;
            assessments::open_again(state, &lease.item().firm, &lease.item().document, now)
        })
    }
}
