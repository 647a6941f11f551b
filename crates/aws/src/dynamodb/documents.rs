//! Photos on their way, until they have a result or are given up.

use std::time::Duration;

use async_trait::async_trait;
use skin_assist_core::{
    domain::{
        AssessmentId, CategoryCode, ClosedAssessment, DocumentId, DocumentStep, DocumentWatch, EncounterId, FirmId,
        PatientId, PractitionerId, Reason, Sibling, Stage, StoredPhoto,
    },
    lease::Lease,
    ports::{DocumentQueue, StateError},
    time::Timestamp,
};

use super::{
    DynamoStore, Outcome, Transacted, Written,
    assessments::visit_of,
    codec::{Attributes, Row, number, text, time, to_json, to_word},
    due::{due_again, uncounted, wait_in, wait_no_more},
    operations::Letter,
    schema::{ATTACHED_AT, DETECTED_AT, DOCUMENT_WATCH, VISIT},
    write::{Key, Write},
};

const TABLE: &str = DOCUMENT_WATCH.name;

pub(super) fn key(firm: &FirmId, document: &DocumentId) -> Key {
    Key::new(firm.as_str(), document.as_str())
}

fn key_of(watch: &DocumentWatch) -> Key {
    key(&watch.firm, &watch.document)
}

/// What a document waits for.
fn step_of(watch: &DocumentWatch) -> DocumentStep {
    if watch.photo.is_some() {
        DocumentStep::Infer
    } else {
        DocumentStep::Download
    }
}

/// A document that was just found, due at once; or retracted already, as the same look showed.
pub(super) fn found(watch: &DocumentWatch, retracted: bool, fence: u64, now: Timestamp) -> Outcome<Write> {
    let step = step_of(watch).as_str();
    let write = Write::put(&DOCUMENT_WATCH, key_of(watch))
        .set("step", text(if retracted { "retracted" } else { step }))
        .set("fence", number(fence))
        .set("attempt", number(0))
        .set("looks", number(0))
        .set("encounter", text(watch.encounter.as_str()))
        .set("patient", text(watch.patient.as_str()))
        .set_or_remove(
            "practitioner",
            watch
                .practitioner
                .as_ref()
                .map(|practitioner| text(practitioner.as_str())),
        )
        .set("category", text(watch.category.as_str()))
        .set("route", text(to_word(&watch.route)?))
        .set("assessment", text(watch.assessment.as_str()))
        .set_or_remove(ATTACHED_AT, watch.attached_at.map(time))
        .set(DETECTED_AT, time(watch.detected_at))
        .set_or_remove("gathers_until", watch.gathers_until.map(time))
        .set_or_remove(
            VISIT,
            match watch.gathers_until {
                Some(_) => Some(text(visit_of(watch)?)),
                None => None,
            },
        )
        .set_or_remove("photo", watch.photo.as_ref().map(to_json).transpose()?.map(text));
    Ok(if retracted { write } else { wait_in(write, step, now) })
}

pub(super) fn read_watch(row: &Row) -> Outcome<DocumentWatch> {
    let attributes = Attributes { table: TABLE, row };
    Ok(DocumentWatch {
        firm: attributes.named("part", FirmId::new)?,
        document: attributes.named("item", DocumentId::new)?,
        encounter: attributes.named("encounter", EncounterId::new)?,
        patient: attributes.named("patient", PatientId::new)?,
        practitioner: attributes.optional_named("practitioner", PractitionerId::new)?,
        category: attributes.named("category", CategoryCode::new)?,
        route: attributes.word("route")?,
        assessment: attributes.named("assessment", AssessmentId::new)?,
        attached_at: attributes.optional_time(ATTACHED_AT)?,
        detected_at: attributes.time(DETECTED_AT)?,
        gathers_until: attributes.optional_time("gathers_until")?,
        closed: attributes.optional_json("closed")?,
        photo: attributes.optional_json("photo")?,
    })
}

impl DynamoStore {
    /// Writes under a lease on a document.
    async fn write_document(&self, write: Write) -> Outcome<()> {
        match self.write(write).await? {
            Written::Done(_) => Ok(()),
            Written::Refused(_) => Err(StateError::LeaseLost),
        }
    }
}

pub(super) fn under(lease: &Lease<DocumentWatch>) -> Write {
    Write::update(&DOCUMENT_WATCH, key_of(lease.item())).fenced(lease.fence())
}

fn again(lease: &Lease<DocumentWatch>, due_at: Timestamp) -> Write {
    let watch = lease.item();
    due_again(&DOCUMENT_WATCH, key_of(watch), lease, step_of(watch).as_str(), due_at)
}

/// A document has its result.
pub(super) fn done(lease: &Lease<DocumentWatch>) -> Write {
    wait_no_more(under(lease))
        .set("step", text("done"))
        .set("attempt", number(0))
}

/// Whether the lease is still good.
pub(super) fn held(lease: &Lease<DocumentWatch>) -> Write {
    Write::check(&DOCUMENT_WATCH, key_of(lease.item())).fenced(lease.fence())
}

/// Counts a look of the models.
pub(super) fn looked(lease: &Lease<DocumentWatch>) -> Write {
    under(lease).set_by("#looks = #looks + :one").value("one", number(1))
}

#[async_trait]
impl DocumentQueue for DynamoStore {
    async fn acquire_documents(
        &self,
        step: DocumentStep,
        now: Timestamp,
        lease_for: Duration,
        limit: usize,
    ) -> Outcome<Vec<Lease<DocumentWatch>>> {
        let granted = self
            .acquire_due(&DOCUMENT_WATCH, step.as_str(), now, lease_for, limit)
            .await?;
        granted
            .iter()
            .map(|granted| Ok(granted.lease(read_watch(&granted.row)?)))
            .collect()
    }

    async fn record_photo(&self, lease: Lease<DocumentWatch>, photo: &StoredPhoto) -> Outcome<()> {
        let step = DocumentStep::Infer.as_str();
        let due_at = lease.item().gathers_until.max(Some(photo.downloaded_at));
        let write = wait_in(under(&lease), step, due_at.unwrap_or(photo.downloaded_at))
            .set("step", text(step))
            .set("photo", text(to_json(photo)?))
            .set("attempt", number(0));
        self.write_document(write).await
    }

    async fn record_photo_lost(&self, lease: Lease<DocumentWatch>, lost: &[DocumentId], now: Timestamp) -> Outcome<()> {
        if lease.item().gathers_until.is_some() {
            return self.open_without(&lease, lost, now).await;
        }
        let step = DocumentStep::Download.as_str();
        let write = wait_in(under(&lease), step, now)
            .set("step", text(step))
            .remove("photo");
        self.write_document(write).await
    }

    async fn siblings(&self, watch: &DocumentWatch) -> Outcome<Vec<Sibling>> {
        self.all_siblings(watch).await
    }

    async fn close_assessment(&self, lease: &Lease<DocumentWatch>, closed: &ClosedAssessment) -> Outcome<bool> {
        self.close(lease, closed).await
    }

    async fn retry_document(&self, lease: Lease<DocumentWatch>, retry_at: Timestamp) -> Outcome<()> {
        self.write_document(again(&lease, retry_at)).await
    }

    async fn release_document(&self, lease: Lease<DocumentWatch>, due_at: Timestamp) -> Outcome<()> {
        self.write_document(uncounted(again(&lease, due_at), &lease)).await
    }

    async fn bury_document(
        &self,
        lease: Lease<DocumentWatch>,
        stage: Stage,
        reason: &Reason,
        now: Timestamp,
    ) -> Outcome<()> {
        let watch = lease.item();
        let letter = Letter {
            number: self.next_letter().await?,
            firm: &watch.firm,
            kind: "document",
            subject: watch.document.as_str(),
            step: Some(step_of(watch)),
            stage,
            reason,
            attempts: lease.attempt(),
            at: now,
        };
        let dead = wait_no_more(under(&lease))
            .set("step", text("dead"))
            .set("letter", number(letter.number));
        let mut writes = vec![dead, letter.write()];
        self.set_free(&lease, &mut writes, now).await?;
        match self.transact(&writes).await? {
            Transacted::Done => Ok(()),
            Transacted::Refused(_) => Err(StateError::LeaseLost),
        }
    }
}
