//! Models and synthesis: from a photo to a result.

use std::time::Duration;

use super::{Quota, StageError, StepEnd, done, download_photo::settle};
use crate::{
    domain::{
        AccessToken, AssessedPhoto, Assessment, AssistResult, Delivery, DocumentWatch, Findings, Firm, PatientFacts,
        PhotoBytes, ResultKey, Stage, StoredPhoto, Versions,
    },
    lease::Lease,
    phi::Phi,
    ports::{
        Audit, AuditAction, AuditRecord, CallKind, ContextPart, ContextSubject, DocumentQueue, InferenceRecords,
        LanguageModel, LanguageSpending, PatientContext, Photos, StateError, SynthesisRequest, VisionModel,
    },
    synthesis::{self, PIPELINE_VERSION},
    time::within,
};

/// How often the models begin to look at one photo, failures and crashes included. A photo that brings the process down
/// would otherwise do so for ever.
const MOST_LOOKS: u32 = 12;

/// How long a draft waits for the patient's context, all parts of it together. Without it a draft is still worth more than
/// none, and a worker that waits keeps the next photo waiting.
const CONTEXT_PATIENCE: Duration = Duration::from_secs(4);

/// Looks at a photo and makes a result of it.
pub struct Infer<'a> {
    /// The firm's token.
    pub token: &'a AccessToken,
    /// The photos' bytes.
    pub photos: &'a dyn Photos,
    /// The vision models.
    pub vision: &'a dyn VisionModel,
    /// The language model, or the composer.
    pub language: &'a dyn LanguageModel,
    /// What language models cost.
    pub spending: &'a dyn LanguageSpending,
    /// The minimum about the patient.
    pub context: &'a dyn PatientContext,
    /// The document's lease.
    pub queue: &'a dyn DocumentQueue,
    /// What inferences cost and bring.
    pub records: &'a dyn InferenceRecords,
    /// The audit trail.
    pub audit: &'a dyn Audit,
    /// The quota.
    pub quota: Quota<'a>,
}

impl Infer<'_> {
    /// Assesses the photo. An inference that was paid for already, before a crash, is not paid for again: findings are
    /// looked up by what makes them, and stored before the language model is called.
    pub async fn run(&self, firm: &Firm, lease: Lease<DocumentWatch>) -> Result<StepEnd, StateError> {
        let now = self.quota.clock.now();
        let photo = self.photos.get(&firm.id, &lease.item().document).await?;
        let (Some(stored), Some(photo)) = (lease.item().photo.clone(), photo) else {
            // The process was restarted: the bytes are gone, the document is not.
            return match done(self.queue.record_photo_lost(lease, now).await)? {
                StepEnd::Done => Ok(StepEnd::BytesLost),
                end => Ok(end),
            };
        };
        let attempt = within(
            self.quota.clock,
            lease.deadline(),
            self.assess(firm, &lease, &stored, &photo),
        )
        .await;
        let document = lease.item().document.clone();
        let end = match attempt.map_err(StageError::from).and_then(|outcome| outcome) {
            Ok(result) => done(self.records.record_result(lease, &result).await),
            Err(error) => settle(self.queue, lease, Stage::Infer, &error, self.quota.clock.now()).await,
        }?;
        if matches!(end, StepEnd::Done | StepEnd::Buried(_) | StepEnd::LeaseLost) {
            self.photos.delete(&firm.id, &document).await?;
        }
        Ok(end)
    }

    async fn assess(
        &self,
        firm: &Firm,
        lease: &Lease<DocumentWatch>,
        stored: &StoredPhoto,
        photo: &PhotoBytes,
    ) -> Result<AssistResult, StageError> {
        let watch = lease.item();
        let assessment = Assessment::of(watch);
        let models = self.vision.versions(watch.route);
        let key = ResultKey::new(&assessment.id, [&stored.digest], &models);
        let findings = match self.records.findings(&firm.id, &key).await? {
            Some(findings) => findings,
            None => self.look(lease, &key, photo).await?,
        };
        let patient = self.patient_facts(firm, &assessment).await;
        let request = SynthesisRequest {
            assessment: &assessment,
            findings: &[(watch.document.clone(), findings.expose())],
            patient,
            over_budget: self.is_over_budget(firm).await?,
        };
        let synthesis = self.language.synthesize(&request).await?;
        if let Some(used) = &synthesis.language {
            // Before the result: what was spent counts, whatever becomes of it.
            let now = self.quota.clock.now();
            self.spending.add_language_spent(&firm.id, now, &used.into()).await?;
        }
        let versions = Versions {
            // Those that really looked: a model server may have been given others since they were asked for.
            models: findings.expose().models.clone(),
            synthesis: synthesis.made_by.clone(),
            pipeline: PIPELINE_VERSION.to_owned(),
            language: synthesis.language.clone(),
        };
        let photos = vec![AssessedPhoto {
            document: watch.document.clone(),
            digest: stored.digest.clone(),
            attached_at: watch.attached_at,
            detected_at: watch.detected_at,
            downloaded_at: stored.downloaded_at,
        }];
        let note = synthesis::compose_note(&request, &synthesis, &photos, &versions);
        Ok(AssistResult {
            assessment,
            key,
            photos,
            findings,
            note: Phi::new(note),
            versions,
            assessed_at: self.quota.clock.now(),
            delivery: Delivery::Pending,
        })
    }

    async fn look(
        &self,
        lease: &Lease<DocumentWatch>,
        key: &ResultKey,
        photo: &PhotoBytes,
    ) -> Result<Phi<Findings>, StageError> {
        let watch = lease.item();
        if self.records.count_look(lease).await? > MOST_LOOKS {
            return Err(StageError::TooManyLooks);
        }
        let findings = Phi::new(self.vision.look(watch.route, photo).await?);
        let now = self.quota.clock.now();
        self.records.record_findings(lease, key, &findings, now).await?;
        self.audit
            .record(&AuditRecord {
                at: now,
                firm: watch.firm.clone(),
                actor: Stage::Infer.to_string(),
                action: AuditAction::Inferred,
                subject: watch.document.to_string(),
            })
            .await?;
        Ok(findings)
    }

    async fn is_over_budget(&self, firm: &Firm) -> Result<bool, StateError> {
        let Some(budget) = self.language.daily_budget_micros() else {
            return Ok(false);
        };
        let spent = self.spending.language_spent(&firm.id, self.quota.clock.now()).await?;
        Ok(spent.cost_micros >= budget)
    }

    /// The minimum about the patient, part by part, the most useful first: what was read before for the visit is not read again,
    /// and when calls are short the last parts are left out. A draft without them is still worth more than none: what cannot
    /// be read is named in the draft as not known.
    async fn patient_facts(&self, firm: &Firm, assessment: &Assessment) -> PatientFacts {
        let mut facts = PatientFacts::default();
        let Some(document) = assessment.documents.first() else {
            return facts;
        };
        let subject = ContextSubject {
            patient: &assessment.patient,
            encounter: &assessment.encounter,
            document,
        };
        let give_up_at = self.quota.clock.now() + CONTEXT_PATIENCE;
        for part in self.context.parts() {
            if let Some(known) = self.context.remembered(&firm.id, &subject, part) {
                facts = facts.with(known.into_exposed());
                continue;
            }
            if part == ContextPart::PriorResults && facts.site.is_none() {
                // Of which site would not be known: nothing of it could be used.
                continue;
            }
            let read = self.context.read_context(firm, self.token, &subject, part);
            let answer = within(self.quota.clock, give_up_at, self.quota.call(CallKind::Context, read)).await;
            match answer.map_err(StageError::from).and_then(|answer| answer) {
                Ok(further) => facts = facts.with(further.into_exposed()),
                Err(error) => {
                    let reason = error.reason();
                    tracing::info!(event = "context.unavailable", firm = %firm.id, part = part.as_str(), reason = reason.code());
                }
            }
        }
        facts
    }
}
